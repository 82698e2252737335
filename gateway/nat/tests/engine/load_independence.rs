//! RFC 4787 REQ-11: existing hosts see no difference whether tables and ports are free, nearly all in use, or all in use.

use std::collections::HashSet;

use natgw_nat::{DropReason, Endpoint, Filter, MappingMode, Protocol, RuleAction};
use proptest::prelude::*;

use crate::packet::{Packet, at_port, ep};
use crate::random_ops::{
    Event, FragmentAction, Meaning, Sent, Shape, Step, externals, holds, resolve, run, shape, steps,
};
use crate::sim::{Gateway, rule};

/// What is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fill {
    /// The session table.
    Sessions,
    /// The mapping table.
    Mappings,
    /// The ports of the pool, of every protocol.
    Ports,
}

/// Who fills.
const FILLER: &str = "10.64.0.130:1024";
/// The subscriber that begins when all is in use.
const LATE: &str = "10.64.0.250:9";
/// Whom both send to.
const REMOTE: &str = "198.51.100.200:9";

impl Fill {
    /// The shape with room for this, and two pools: one for the flows, one for who fills a table.
    fn gateway(self, shape: &Shape) -> Gateway {
        let mut settings = shape.settings();
        let mut others = settings.pools[0].clone();
        (others.addresses, others.ports) = (vec!["203.0.113.30".parse().expect("address")], 1024..=65535);
        settings.pools.push(others);
        if self != Fill::Ports {
            settings.rules.insert(0, rule("10.64.0.128/25", "0.0.0.0/0", RuleAction::Pool(1)));
        }
        Gateway::with_shards(settings, 1, shape.sessions())
    }

    fn apply(self, gateway: &mut Gateway, shape: &Shape, percent: u32) {
        match self {
            Fill::Sessions => {
                let there = gateway.sessions().len() as u32;
                for at in there..shape.sessions() * percent / 100 {
                    gateway.open(Protocol::Udp, ep(FILLER), at_port(ep(REMOTE), at as u16));
                }
            }
            Fill::Mappings => fill_mappings(gateway, 2 * shape.sessions() as usize * percent as usize / 100),
            Fill::Ports => Protocol::WITH_PORTS.into_iter().for_each(|of| fill_ports(gateway, of, percent)),
        }
    }

    /// The refusal that this subscriber gets.
    fn refusal(self) -> DropReason {
        match self {
            Fill::Sessions => DropReason::SessionsFull,
            Fill::Mappings => DropReason::MappingsFull,
            Fill::Ports => DropReason::PortsExhausted,
        }
    }
}

/// There are more mappings than sessions, so those that fill the table rest.
fn fill_mappings(gateway: &mut Gateway, target: usize) {
    let mine = Filter { inside: Some(ep(FILLER).address.into()), ..Filter::default() };
    let mut port = ep(FILLER).port;
    let mut there = gateway.mappings().len();
    while there < target {
        for _ in there..target.min(there + 128) {
            gateway.open(Protocol::Udp, at_port(ep(FILLER), port), ep(REMOTE));
            port += 1;
        }
        gateway.delete(&mine);
        there = gateway.mappings().len();
    }
}

/// A port for one host after the other.
fn fill_ports(gateway: &mut Gateway, protocol: Protocol, percent: u32) {
    let hosts = (0..).map(|nth| Endpoint { address: ep(FILLER).address + nth, ..ep(FILLER) });
    for host in hosts {
        let usage = gateway.shards[0].pool_usage(0, protocol);
        let is_enough = (usage.used + 1) * 100 > usage.total * percent;
        if percent < 100 && is_enough {
            return;
        }
        let fate: FragmentAction = gateway.outbound(Packet::first(protocol, host, ep(REMOTE))).into();
        if !matches!(fate, FragmentAction::Out(..)) {
            assert_eq!(fate, FragmentAction::Drop(DropReason::PortsExhausted));
            return;
        }
    }
}

fn is_open(gateway: &Gateway, sent: &Sent) -> bool {
    let key = (sent.meaning.protocol(), sent.from, sent.to);
    gateway
        .sessions()
        .iter()
        .any(|session| (session.protocol, session.internal, session.remote) == key && !is_over(session.state))
}

/// A connection that is over gives its place up where its own host needs one.
fn is_over(state: &str) -> bool {
    matches!(state, "closed" | "reset")
}

#[derive(Debug, PartialEq, Eq)]
struct Fates {
    /// Of packets of flows that were there before, and from outside.
    known: Vec<FragmentAction>,
    /// Of the first packets from mappings that were there before to remotes that were not.
    fresh: Vec<FragmentAction>,
}

#[test]
fn equal_behaviour_at_any_fill() {
    let fill = prop::sample::select(vec![Fill::Sessions, Fill::Mappings, Fill::Ports]);
    let then = prop::collection::vec((any::<u8>(), steps(2)), 1..400);
    holds((shape(), fill, steps(400), then), |(shape, fill, first, then)| {
        let shape = Shape {
            roomy: true,
            sessions_per_subscriber: u32::MAX,
            ports_per_subscriber: u32::MAX,
            ports: 24,
            shards: 1,
            ..shape
        };
        let one_mapping = shape.mapping == MappingMode::EndpointIndependent;
        let outcomes = [0u32, 90, 100].map(|percent| {
            let mut gateway = fill.gateway(&shape);
            let mut flows: Vec<Sent> = first
                .iter()
                .filter(|step| !matches!(step, Step::Pass(_)))
                .filter_map(|&step| match run(&mut gateway, &shape, step) {
                    Event::Sent(sent, FragmentAction::Out(..)) if is_open(&gateway, &sent) => Some(sent),
                    _ => None,
                })
                .collect();
            flows.retain(|flow| is_open(&gateway, flow));
            let over: HashSet<_> = gateway
                .sessions()
                .iter()
                .filter(|s| is_over(s.state))
                .map(|s| (s.protocol, s.external))
                .collect();
            let known = externals(&gateway);
            let mappings = gateway.mappings();
            let mapped: HashSet<_> = mappings.iter().map(|m| (m.protocol, m.external)).collect();
            let is_mapped = |flow: &&Sent| {
                flow.meaning == Meaning::Datagram
                    && mappings
                        .iter()
                        .any(|m| (m.protocol, m.pool, m.internal) == (Protocol::Udp, Some(0), flow.from))
            };
            fill.apply(&mut gateway, &shape, percent);
            let mut fates = Fates { known: Vec::new(), fresh: Vec::new() };
            for (pick, steps) in &then {
                if let Step::Receive { .. } = steps[0] {
                    let received = resolve(&shape, steps[0], &known).expect_err("from outside");
                    let to = (received.meaning.protocol(), received.to);
                    // A subscriber that fills a pool may get ports that were free.
                    if !over.contains(&to) && (fill != Fill::Ports || mapped.contains(&to)) {
                        fates.known.push(gateway.inbound(received.packet()).into());
                    }
                } else if !flows.is_empty() {
                    let flow = flows[usize::from(*pick) % flows.len()];
                    fates.known.push(gateway.outbound(flow.packet()).into());
                }
            }
            // Each needs a session, and where mappings are by destination, a port.
            if fill != Fill::Sessions && one_mapping {
                let fresh =
                    flows.iter().filter(is_mapped).map(|flow| Sent { to: at_port(ep(REMOTE), 10), ..*flow });
                fates.fresh = fresh.map(|sent| gateway.outbound(sent.packet()).into()).collect();
            }
            let late: FragmentAction = gateway.outbound(Packet::udp(ep(LATE), ep(REMOTE))).into();
            // Who has a resting port takes it over, however full the table.
            let own: FragmentAction =
                gateway.outbound(Packet::udp(at_port(ep(FILLER), 9), ep(REMOTE))).into();
            (fates, late, own)
        });
        prop_assert_eq!(&outcomes[0].0, &outcomes[1].0);
        prop_assert_eq!(&outcomes[0].0, &outcomes[2].0);
        for (_, late, _) in &outcomes[..2] {
            prop_assert!(matches!(late, FragmentAction::Out(..)), "{late:?}");
        }
        prop_assert_eq!(outcomes[2].1, FragmentAction::Drop(fill.refusal()));
        if fill == Fill::Mappings {
            prop_assert!(matches!(outcomes[2].2, FragmentAction::Out(..)), "{:?}", outcomes[2].2);
        }
        Ok(3 * (first.len() + then.len()))
    });
}
