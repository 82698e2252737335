//! Property tests: each is named after what must hold, and tried with ten million random packets and time steps.

use std::collections::{HashMap, HashSet};

use natgw_nat::{Counters, DeleteReason, Direction, DropReason, Endpoint, Filtering, Protocol, Verdict};
use natgw_wire::tcp::Flags;
use proptest::prelude::*;

use crate::model::Model;
use crate::packet::{Packet, Seen, at_port, ep, unchanging};
use crate::random_ops::{
    Event, FragmentAction, Meaning, Sent, Shape, Step, TICK_MS, TIMEOUTS, externals, holds, resolve, run,
    shape, steps,
};
use crate::sim::Gateway;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn agrees_with_the_model() {
    holds((shape(), steps(400)), |(shape, steps)| {
        let mut gateway = shape.gateway();
        let mut model = Model::new(shape);
        for &step in &steps {
            match run(&mut gateway, &shape, step) {
                Event::Sent(sent, fate) => {
                    let expected = model.outbound(&sent, &gateway.sessions());
                    prop_assert_eq!(fate, expected, "{:?}", sent);
                }
                Event::Received(sent, fate) => prop_assert_eq!(fate, model.inbound(&sent), "{:?}", sent),
                Event::Passed => {
                    let Step::Pass(ticks) = step else { unreachable!() };
                    model.pass_ms(ticks * TICK_MS);
                }
            }
            let resting = gateway.mappings().iter().filter(|mapping| mapping.resting).count();
            let counts = (gateway.sessions().len(), gateway.mappings().len() - resting, resting);
            prop_assert_eq!(counts, model.counts());
        }
        Ok(steps.len())
    });
}

#[test]
fn no_outside_endpoint_twice() {
    holds((shape(), steps(400)), |(shape, steps)| {
        let mut gateway = shape.gateway();
        for &step in &steps {
            run(&mut gateway, &shape, step);
            let mappings = gateway.mappings();
            // Over protocols without ports hosts share an address, and their sessions differ by the remote.
            let of_ports = mappings.iter().filter(|m| m.protocol.has_ports());
            let distinct: HashSet<_> = of_ports.clone().map(|m| (m.protocol, m.external, m.remote)).collect();
            prop_assert_eq!(distinct.len(), of_ports.count());
            let sessions = gateway.sessions();
            let distinct: HashSet<_> = sessions.iter().map(|s| (s.protocol, s.external, s.remote)).collect();
            prop_assert_eq!(distinct.len(), sessions.len());
        }
        Ok(steps.len())
    });
}

#[test]
fn replies_reach_the_sender() {
    holds((shape(), steps(400)), |(shape, steps)| {
        let mut gateway = shape.gateway();
        for &step in &steps {
            let Event::Sent(sent, FragmentAction::Out(external, remote)) = run(&mut gateway, &shape, step)
            else {
                continue;
            };
            let answer = match sent.meaning {
                Meaning::Datagram => Meaning::Datagram,
                Meaning::Segment(Flags::SYN) => Meaning::Segment(Flags::SYN | Flags::ACK),
                Meaning::Query => Meaning::Reply,
                other @ Meaning::Other(_) => other,
                _ => continue,
            };
            let reply = Sent { from: remote, to: external, meaning: answer };
            let fate: FragmentAction = gateway.inbound(reply.packet()).into();
            prop_assert_eq!(fate, FragmentAction::In(remote, sent.from));
        }
        Ok(steps.len())
    });
}

/// By outside endpoint: who was sent to from there, and when.
type Asked = HashMap<(Protocol, Endpoint), Vec<(Endpoint, u64)>>;

/// TCP alone is kept alive by who is sent to, outside or through hairpinning, and only a connection that is there.
fn keep_alive(asked: &mut Asked, sent: Sent, from: Endpoint, now: u64) {
    let protocol = sent.meaning.protocol();
    let remotes = asked.entry((protocol, sent.to)).or_default();
    if protocol == Protocol::Tcp && remotes.iter().any(|&(remote, _)| remote == from) {
        remotes.push((from, now));
    }
}

/// Nothing gets in that no host inside asked for lately, by the pool's filtering; permanent mappings excepted.
#[test]
fn blocks_unsolicited() {
    holds((shape(), steps(400)), |(shape, steps)| {
        let mut gateway = shape.gateway();
        let mut asked = Asked::new();
        for &step in &steps {
            let now = gateway.now.0;
            match run(&mut gateway, &shape, step) {
                // Wherever it went, it made or refreshed the session, where there is one.
                Event::Sent(sent, fate) => {
                    let of = |s: &&natgw_nat::SessionView| {
                        (s.protocol, s.internal, s.remote) == (sent.meaning.protocol(), sent.from, sent.to)
                    };
                    if let Some(session) = gateway.sessions().iter().find(of) {
                        let remotes = asked.entry((session.protocol, session.external)).or_default();
                        remotes.push((session.remote, now));
                    }
                    if let FragmentAction::In(from, _) = fate {
                        keep_alive(&mut asked, sent, from, now);
                    }
                }
                Event::Received(sent, FragmentAction::In(from, to)) => {
                    if to.address >= ep("10.64.0.12:0").address {
                        continue;
                    }
                    let protocol = sent.meaning.protocol();
                    let lately = |at: u64| now - at < longest_ms(protocol);
                    let admits = |remote: Endpoint| match shape.settings().pools[0].filtering_of(protocol) {
                        Filtering::EndpointIndependent => true,
                        Filtering::AddressDependent => remote.address == from.address,
                        Filtering::AddressAndPortDependent => remote == from,
                    };
                    let remotes = asked.entry((protocol, sent.to)).or_default();
                    let allowed = remotes.iter().any(|&(remote, at)| admits(remote) && lately(at));
                    prop_assert!(allowed, "{sent:?} reached {to}");
                    keep_alive(&mut asked, sent, from, now);
                }
                _ => {}
            }
        }
        Ok(steps.len())
    });
}

#[test]
fn no_state_from_outside() {
    holds((shape(), steps(400)), |(shape, steps)| {
        let mut gateway = shape.gateway();
        for &step in &steps {
            let before = tables(&mut gateway);
            if let Event::Received(sent, _) = run(&mut gateway, &shape, step) {
                prop_assert_eq!(before, tables(&mut gateway), "{:?}", sent);
            }
        }
        Ok(steps.len())
    });
}

#[test]
fn ports_are_conserved() {
    holds((shape(), steps(400)), |(shape, steps)| {
        let mut gateway = shape.gateway();
        let reserved: Vec<_> = usage(&gateway);
        for &step in &steps {
            run(&mut gateway, &shape, step);
            let mappings = gateway.mappings();
            for (protocol, (used, held, total)) in Protocol::WITH_PORTS.into_iter().zip(usage(&gateway)) {
                let of = |resting| -> HashSet<Endpoint> {
                    let mine = mappings.iter().filter(|m| m.protocol == protocol && m.pool == Some(0));
                    mine.filter(|m| m.resting == resting).map(|m| m.external).collect()
                };
                let (in_use, resting) = (of(false), of(true));
                let expected = (in_use.len() as u32, resting.difference(&in_use).count() as u32);
                prop_assert_eq!((used - reserved[protocol as usize].0, held), expected);
                prop_assert!(used + held <= total);
            }
        }
        gateway.pass_ms(321_000);
        gateway.pass_ms(81_000);
        prop_assert_eq!(usage(&gateway), reserved);
        prop_assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
        for shard in &mut gateway.shards {
            prop_assert_eq!((shard.counters().mappings, shard.counters().subscribers), (0, 0));
        }
        Ok(steps.len())
    });
}

#[test]
fn counters_are_conserved() {
    holds((shape(), steps(400)), |(shape, steps)| {
        let mut gateway = shape.gateway();
        for &step in &steps {
            run(&mut gateway, &shape, step);
        }
        let (mut live, mut used) = (0, 0);
        for at in 0..shape.shards {
            let counters = *gateway.shards[at].counters();
            let translated =
                total(&counters.translated) + counters.icmp_errors_translated.iter().sum::<u64>();
            let verdicts = translated + total(&counters.dropped) + gateway.not_forwarded[at];
            prop_assert_eq!(gateway.given[at], verdicts, "every packet has one verdict");
            let created: u64 = counters.sessions_created.iter().sum();
            let deleted: u64 = counters.sessions_deleted.iter().sum();
            prop_assert_eq!(created - deleted, counters.sessions.iter().sum::<u64>());
            live += created - deleted;
            used += counters.mappings;
            prop_assert_eq!(failures(&counters), refusals(&counters), "each failure is one drop");
        }
        prop_assert_eq!(live, gateway.sessions().len() as u64);
        prop_assert_eq!(used, gateway.mappings().iter().filter(|mapping| !mapping.resting).count() as u64);
        Ok(steps.len())
    });
}

proptest! {
    #![proptest_config(cases(300))]

    /// The stages of a burst are about speed alone.
    #[test]
    fn bursts_equal_single_packets(shape in shape(), steps in steps(100), length in 1usize..70) {
        let shape = Shape { shards: 1, ..shape };
        let (mut single, mut burst) = (shape.gateway(), shape.gateway());
        let packets: Vec<(Direction, Vec<u8>)> = steps
            .into_iter()
            .filter(|step| !matches!(step, Step::Pass(_)))
            .map(|step| match resolve(&shape, step, &externals(&single)) {
                Ok(sent) => (Direction::Outbound, sent.packet().bytes()),
                Err(sent) => (Direction::Inbound, sent.packet().bytes()),
            })
            .collect();
        for direction in Direction::ALL {
            let mine = packets.iter().filter(|(of, _)| *of == direction).map(|(_, bytes)| bytes.clone());
            let mut together: Vec<Vec<u8>> = mine.collect();
            let mut alone = together.clone();
            for (alone, together) in alone.chunks_mut(length).zip(together.chunks_mut(length)) {
                let mut expected = vec![Verdict::Local; alone.len()];
                for (packet, verdict) in alone.iter_mut().zip(expected.chunks_mut(1)) {
                    single.shards[0].translate(std::slice::from_mut(packet), direction, single.now, verdict);
                }
                let mut verdicts = vec![Verdict::Drop(DropReason::NoBuffer); together.len()];
                burst.shards[0].translate(together, direction, burst.now, &mut verdicts);
                // A session that was given up for another of the same burst has no name behind it.
                let reused = single.shards[0].counters().sessions_deleted[DeleteReason::Reused] > 0;
                for (verdict, expected) in verdicts.iter().zip(&expected) {
                    let unnamed = reused
                        && *verdict == Verdict::Forward(None)
                        && matches!(expected, Verdict::Forward(Some(_)));
                    prop_assert!(unnamed || verdict == expected, "{:?}, not {:?}", verdict, expected);
                }
                prop_assert_eq!(together, alone);
            }
        }
        prop_assert_eq!(*single.shards[0].counters(), *burst.shards[0].counters());
    }
}

proptest! {
    #![proptest_config(cases(300))]

    /// Nothing panics, and what was right comes out right.
    #[test]
    fn any_bytes_are_survived(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..20),
        direction in prop::sample::select(Direction::ALL.to_vec()),
    ) {
        let (mut gateway, _) = busy();
        for bytes in packets {
            survives(&mut gateway, bytes, direction, false)?;
        }
    }

    #[test]
    fn damaged_packets_are_survived(
        damages in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), 0u8..8), 1..40),
        hairpinned: bool,
    ) {
        let (mut gateway, templates) = busy();
        for (template, at, octet, cut) in damages {
            let (direction, mut bytes) = templates[usize::from(template) % templates.len()].clone();
            let at = usize::from(at) % bytes.len();
            bytes[at] = octet;
            if cut == 0 {
                bytes.truncate(at);
            }
            // With a right header checksum the damage gets further in.
            if cut > 2 && let Ok(mut header) = natgw_wire::ipv4::Packet::new_header(&mut bytes[..]) {
                header.fill_checksum();
            }
            survives(&mut gateway, bytes, direction, hairpinned)?;
        }
    }
}

/// A gateway in use, and packets that pass it.
fn busy() -> (Gateway, Vec<(Direction, Vec<u8>)>) {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools[0].addresses.truncate(1);
        settings.pools[0].ports = 4000..=4100;
        settings.pools[0].filtering = Filtering::EndpointIndependent;
    });
    let (host, remote) = (ep("10.64.0.5:4000"), ep("198.51.100.7:7000"));
    let mut templates = Vec::new();
    for protocol in Protocol::WITH_PORTS {
        let first = Packet::first(protocol, host, remote).options(&[1, 1, 1, 1]).padding(2);
        let seen = gateway.outbound(first.clone()).out();
        let back =
            gateway.inbound(Packet::answer(protocol, at_port(remote, seen.destination.port), seen.source));
        let about_answer = back.delivered().bytes;
        templates.push((Direction::Outbound, first.bytes()));
        templates.push((Direction::Inbound, Packet::answer(protocol, seen.destination, seen.source).bytes()));
        templates.push((Direction::Inbound, Packet::error("192.0.2.254", 3, 3, &seen.bytes).bytes()));
        templates.push((Direction::Outbound, Packet::error("10.64.0.5", 11, 0, &about_answer).bytes()));
    }
    (gateway, templates)
}

fn survives(
    gateway: &mut Gateway,
    before: Vec<u8>,
    direction: Direction,
    hairpinned: bool,
) -> Result<(), TestCaseError> {
    let mut burst = [before.clone()];
    let mut verdicts = [Verdict::Local];
    let shard = &mut gateway.shards[0];
    if hairpinned {
        shard.translate_hairpinned(&mut burst[..], gateway.now, &mut verdicts);
    } else {
        shard.translate(&mut burst[..], direction, gateway.now, &mut verdicts);
    }
    let [after] = burst;
    if matches!(verdicts[0], Verdict::Forward(_) | Verdict::Hairpin) {
        prop_assert_eq!(unchanging(&before), unchanging(&after));
        if Seen::read(&before).is_ok() {
            prop_assert_eq!(Seen::read(&after).err(), None);
        }
    } else {
        prop_assert_eq!(before, after);
    }
    Ok(())
}

fn longest_ms(protocol: Protocol) -> u64 {
    1000 * u64::from(match protocol {
        Protocol::Udp => TIMEOUTS.udp_s,
        Protocol::Tcp => TIMEOUTS.tcp_established_s,
        Protocol::Icmp => TIMEOUTS.icmp_s,
        Protocol::Other => TIMEOUTS.other_s,
    })
}

type Tables = (Vec<[Endpoint; 3]>, Vec<(Endpoint, u32, bool)>, u64);

/// All that packets from outside must leave as it is: sessions, mappings, subscribers.
fn tables(gateway: &mut Gateway) -> Tables {
    let sessions = gateway.sessions().iter().map(|s| [s.internal, s.external, s.remote]).collect();
    let mappings = gateway.mappings().iter().map(|m| (m.external, m.sessions, m.resting)).collect();
    let subscribers = gateway.shards.iter_mut().map(|shard| shard.counters().subscribers).sum();
    (sessions, mappings, subscribers)
}

/// Used, held and all ports of the pool by protocol, over all shards.
fn usage(gateway: &Gateway) -> Vec<(u32, u32, u32)> {
    let of = |protocol| {
        gateway.shards.iter().fold((0, 0, 0), |(used, held, total), shard| {
            let usage = shard.pool_usage(0, protocol);
            (used + usage.used, held + usage.held, total + usage.total)
        })
    };
    Protocol::WITH_PORTS.map(of).to_vec()
}

fn total<const N: usize>(rows: &[[u64; N]]) -> u64 {
    rows.iter().flatten().sum()
}

fn failures(counters: &Counters) -> u64 {
    counters.session_failures.iter().sum()
}

/// Packets dropped for want of something.
fn refusals(counters: &Counters) -> u64 {
    use DropReason::*;
    [
        SessionsFull,
        MappingsFull,
        SubscribersFull,
        PortsExhausted,
        AddressTaken,
        SubscriberPorts,
        SubscriberSessions,
        SubscriberHalfOpen,
        SubscriberRate,
    ]
    .into_iter()
    .map(|reason| counters.dropped[reason].iter().sum::<u64>())
    .sum()
}
