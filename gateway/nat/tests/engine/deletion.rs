//! Sessions that an operator ends.

use natgw_nat::{DeleteReason, Deleted, DropReason, Filter, Protocol};
use natgw_wire::tcp::Flags;
use proptest::prelude::*;

use crate::packet::{Packet, ep};
use crate::random_ops::{run, shape, steps};
use crate::sim::{Gateway, settings};

const HOST: &str = "10.64.0.5:4000";
const OTHER: &str = "10.64.0.6:4000";
const REMOTE: &str = "198.51.100.7:7000";
const ELSEWHERE: &str = "192.0.2.9:7000";

#[test]
fn deletion_ends_what_the_filter_names_and_leaves_the_rest() {
    let all = Filter::default();
    let filters = [
        (all, 3),
        (Filter { inside: Some([10, 64, 0, 5].into()), ..all }, 2),
        (Filter { remote: Some([192, 0, 2, 9].into()), ..all }, 1),
        (Filter { protocol: Some(Protocol::Tcp), ..all }, 2),
        (Filter { port: Some(7000), ..all }, 3),
        (Filter { port: Some(7001), ..all }, 0),
    ];
    for (filter, expected) in filters {
        let mut gateway = Gateway::new(settings());
        gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
        gateway.open(Protocol::Tcp, ep(HOST), ep(ELSEWHERE));
        gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
        assert_eq!(gateway.delete(&filter), expected);
        assert_eq!(gateway.sessions().len() as u32, 3 - expected);
        let counters = gateway.shards[0].counters();
        assert_eq!(counters.sessions_deleted[DeleteReason::Deleted], u64::from(expected));
        assert_eq!(counters.sessions_deleted.iter().sum::<u64>(), u64::from(expected));
    }
}

#[test]
fn deletion_cuts_both_directions_until_the_inside_speaks_again() {
    let mut gateway = Gateway::new(settings());
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.inbound(Packet::udp(ep(REMOTE), external)).delivered();
    let outside = Some(external.address.into());
    assert_eq!(gateway.delete(&Filter { outside, ..Filter::default() }), 1);
    assert_eq!(gateway.inbound(Packet::udp(ep(REMOTE), external)).reason(), DropReason::NoMapping);
    assert_eq!(gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE)), external, "its mapping rested");
    gateway.inbound(Packet::udp(ep(REMOTE), external)).delivered();
}

#[test]
fn deletion_leaves_ports_resting_as_any_end_does() {
    let mut gateway = Gateway::new(settings());
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.delete(&Filter::default());
    let held = |gateway: &Gateway| gateway.shards[0].pool_usage(0, Protocol::Udp).held;
    assert_eq!((held(&gateway), gateway.mappings()[0].resting), (1, true));
    gateway.pass_s(u64::from(gateway.settings.timeouts.port_hold_s) + 1);
    assert_eq!((held(&gateway), gateway.mappings().len()), (0, 0));
}

#[test]
fn deletion_ends_a_connection_for_both_ends() {
    let mut gateway = Gateway::new(settings());
    let external = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    gateway.inbound(Packet::tcp(ep(REMOTE), external, Flags(Flags::SYN.0 | Flags::ACK.0))).delivered();
    gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), Flags::ACK)).out();
    assert_eq!(gateway.delete(&Filter::default()), 1);
    gateway.pass_s(10_000);
    assert_eq!(gateway.shards[0].counters().sessions_deleted.iter().sum::<u64>(), 1, "its timer is stopped");
}

#[test]
fn deletion_looks_at_no_more_lines_than_its_budget() {
    let mut gateway = Gateway::new(settings());
    for port in 0..100 {
        gateway.open(Protocol::Udp, ep(&format!("10.64.0.5:{}", 5000 + port)), ep(REMOTE));
    }
    let now = gateway.now;
    let shard = &mut gateway.shards[0];
    let mut delete = |from| shard.delete_sessions(from, 32, &Filter::default(), now);
    assert_eq!(delete(0), Deleted { sessions: 32, next: Some(32) });
    assert_eq!(delete(32), Deleted { sessions: 32, next: Some(64) });
    assert_eq!(delete(0), Deleted { sessions: 0, next: Some(32) });
    assert_eq!(delete(64), Deleted { sessions: 32, next: Some(96) });
    assert_eq!(delete(96), Deleted { sessions: 4, next: None });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// Whatever happened before and happens after, and whatever is deleted in between: in the end nothing is held.
    #[test]
    fn deletion_leaves_nothing_behind(
        shape in shape(),
        before in steps(80),
        protocol in prop::option::of(prop::sample::select(Protocol::WITH_PORTS.to_vec())),
        after in steps(40),
    ) {
        let mut gateway = shape.gateway();
        for step in before {
            run(&mut gateway, &shape, step);
        }
        let is_named = |found: Protocol| protocol.is_none_or(|protocol| protocol == found);
        let (named, rest): (Vec<_>, Vec<_>) =
            gateway.sessions().into_iter().partition(|session| is_named(session.protocol));
        prop_assert_eq!(gateway.delete(&Filter { protocol, ..Filter::default() }) as usize, named.len());
        prop_assert_eq!(gateway.sessions(), rest);
        for step in after {
            run(&mut gateway, &shape, step);
        }
        gateway.drain();
        for (shard, fresh) in gateway.shards.iter_mut().zip(&shape.gateway().shards) {
            let counters = *shard.counters();
            prop_assert_eq!((counters.sessions, counters.mappings, counters.subscribers), ([0; 4], 0, 0));
            for protocol in Protocol::WITH_PORTS {
                prop_assert_eq!(shard.pool_usage(0, protocol), fresh.pool_usage(0, protocol), "{:?}", protocol);
            }
        }
    }
}
