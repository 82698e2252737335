//! RFC 7422: deterministic mapping.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use natgw_nat::{Deterministic, DropReason, Endpoint, Protocol, Ranges, SessionFailure, Settings};

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, rule, settings};

const REMOTE: &str = "198.51.100.7:7000";

/// 64 subscribers of 10.64.0.64/26 on three addresses, 100 ports each.
fn fixed() -> Settings {
    let mut settings = settings();
    settings.pools[0].ports = 1024..=3623;
    settings.pools[0].deterministic =
        Some(Deterministic { inside: vec!["10.64.0.64/26".parse().unwrap()], size: 100 });
    settings.limits.new_sessions_per_subscriber_per_s = 1_000_000;
    settings
}

fn host(nth: u8) -> Endpoint {
    ep(&format!("10.64.0.{}:4000", 64 + nth))
}

#[test]
fn rfc7422_a_subscribers_ports_follow_from_the_configuration_alone() {
    let ranges = Ranges::of(&fixed().pools[0]).unwrap();
    for shards in [1, 2, 3, 5, 64] {
        let mut gateway = Gateway::with_shards(fixed(), shards, 256);
        // In another order each time.
        for nth in (0..64).map(|nth| ((nth * 37 + shards) % 64) as u8) {
            for protocol in Protocol::WITH_PORTS {
                let outside = gateway.open(protocol, host(nth), ep(REMOTE));
                let (place, ports) = ranges.outside(host(nth).address.into()).unwrap();
                let address = Ipv4Addr::new(203, 0, 113, 10 + place as u8);
                assert_eq!(Ipv4Addr::from(outside.address), address);
                assert!(ports.contains(&outside.port), "{outside:?} is not of {ports:?}");
                assert_eq!(ranges.inside(place, outside.port), Some(host(nth).address.into()));
                // The answer finds its way, to whichever shard.
                gateway.inbound(Packet::answer(protocol, ep(REMOTE), outside)).delivered();
            }
        }
    }
}

#[test]
fn rfc7422_all_ports_of_a_range_serve_and_no_other() {
    let mut gateway = Gateway::with_shards(fixed(), 1, 4096);
    let mut seen = BTreeMap::new();
    for nth in [0, 63] {
        for port in 0..100 {
            let outside = gateway.open(Protocol::Udp, at_port(host(nth), 5000 + port), ep(REMOTE));
            assert_eq!(seen.insert(outside, nth), None);
        }
        let more = gateway.outbound(Packet::udp(at_port(host(nth), 6000), ep(REMOTE)));
        assert_eq!(more, Outcome::Reject(DropReason::SubscriberPortBlocks), "signalled");
    }
    // Its ports need no rest: no other subscriber gets them.
    gateway.pass_s(301);
    (0..100).for_each(|port| _ = gateway.open(Protocol::Udp, at_port(host(0), 7000 + port), ep(REMOTE)));
    assert_eq!(gateway.shards[0].next_block_record(), None, "there is nothing to record");
    assert_eq!(gateway.shards[0].pool_usage(0, Protocol::Udp).total, 6400);
}

#[test]
fn rfc7422_unlisted_hosts_are_refused() {
    let mut gateway = Gateway::new(fixed());
    let stranger = Packet::udp(ep("10.64.0.5:4000"), ep(REMOTE));
    assert_eq!(gateway.outbound(stranger), Outcome::Reject(DropReason::NoPortRange), "signalled");
    assert_eq!(gateway.shards[0].pool_failures(0, SessionFailure::NoPortRange), 1);
    assert_eq!(gateway.shards[0].counters().subscribers, 0);
}

#[test]
fn rfc7422_ports_are_random_within_the_range_and_parity_holds() {
    let mut gateway = Gateway::with_shards(fixed(), 1, 4096);
    let drawn: Vec<u16> =
        (1..=60).map(|port| gateway.open(Protocol::Tcp, at_port(host(7), port), ep(REMOTE)).port).collect();
    let steps = drawn.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 1).count();
    assert!(steps < 10, "{steps} of 59 ports lie beside the one before");
    for port in 5000..5040 {
        assert_eq!(gateway.open(Protocol::Udp, at_port(host(7), port), ep(REMOTE)).port % 2, port % 2);
    }
}

#[test]
fn rfc7422_hosts_with_ranges_hairpin() {
    let mut gateway = Gateway::with_shards(fixed(), 3, 256);
    let outside = gateway.open(Protocol::Udp, host(1), ep(REMOTE));
    let mine = gateway.open(Protocol::Udp, host(2), ep(REMOTE));
    gateway.outbound(Packet::udp(host(1), mine));
    let seen = gateway.outbound(Packet::udp(host(2), outside)).delivered();
    assert_eq!((seen.source, seen.destination), (mine, host(1)));
}

#[test]
fn a_pool_beside_it_is_as_ever() {
    let mut settings = fixed();
    let mut other = settings.pools[0].clone();
    other.name = "other".into();
    other.addresses = vec![Ipv4Addr::new(203, 0, 113, 50)];
    other.deterministic = None;
    settings.pools.push(other);
    settings.rules.insert(0, rule("10.64.0.0/26", "0.0.0.0/0", natgw_nat::RuleAction::Pool(1)));
    let mut gateway = Gateway::with_shards(settings, 2, 256);
    let outside = gateway.open(Protocol::Udp, ep("10.64.0.5:3000"), ep(REMOTE));
    assert_eq!((outside.address, outside.port), (ep("203.0.113.50:1").address, 3000));
    gateway.open(Protocol::Udp, host(1), ep(REMOTE));
}
