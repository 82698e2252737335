//! New rules, timeouts and limits for a running gateway: what is still allowed goes on untouched, the rest ends.

use std::net::Ipv4Addr;

use gateway::nat::{DeleteReason, DropReason, Pool, Protocol, RuleAction, Settings};
use gateway::wire::tcp::Flags;
use proptest::prelude::*;

use crate::packet::{Packet, ep};
use crate::trial::{run, shape, steps};
use crate::world::{Gateway, rule};

const HOST: &str = "10.64.0.5:4000";
const OTHER: &str = "10.64.0.6:4000";
const REMOTE: &str = "198.51.100.7:7000";
const ELSEWHERE: &str = "192.0.2.9:7000";

fn two_pools() -> Gateway {
    Gateway::changed(|settings| {
        let second = Pool {
            name: "second".into(),
            addresses: vec!["203.0.113.40".parse().unwrap()],
            ..settings.pools[0].clone()
        };
        settings.pools.push(second);
    })
}

fn ended(gateway: &mut Gateway) -> u64 {
    let ended =
        |shard: &mut gateway::nat::Shard| shard.counters().sessions_deleted[DeleteReason::Reload as usize];
    gateway.shards.iter_mut().map(ended).sum()
}

#[test]
fn reload_ends_what_a_new_rule_forbids_and_leaves_the_rest() {
    let mut gateway = two_pools();
    let stays = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    gateway.open(Protocol::Tcp, ep(HOST), ep(ELSEWHERE));
    gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
    gateway.reload(|settings| {
        settings.rules.insert(0, rule("0.0.0.0/0", "192.0.2.0/24", RuleAction::Drop));
        settings.rules.insert(0, rule("10.64.0.6/32", "0.0.0.0/0", RuleAction::Drop));
    });
    assert_eq!(ended(&mut gateway), 2);
    assert_eq!(gateway.sessions().len(), 1);
    // The one that stays is the same connection, in both directions, without a new SYN.
    assert_eq!(gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), Flags::ACK)).out().source, stays);
    assert_eq!(gateway.inbound(Packet::tcp(ep(REMOTE), stays, Flags::ACK)).delivered().destination, ep(HOST));
    assert_eq!(gateway.outbound(Packet::udp(ep(OTHER), ep(REMOTE))).reason(), DropReason::RuleDrop);
    assert_eq!(
        gateway.outbound(Packet::tcp(ep(HOST), ep(ELSEWHERE), Flags::ACK)).reason(),
        DropReason::RuleDrop
    );
}

#[test]
fn reload_ends_sessions_whose_rule_names_another_pool_now() {
    let mut gateway = two_pools();
    let before = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
    gateway
        .reload(|settings| settings.rules.insert(0, rule("10.64.0.5/32", "0.0.0.0/0", RuleAction::Pool(1))));
    assert_eq!(ended(&mut gateway), 1);
    let after = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    assert_ne!(before.address, after.address);
    gateway
        .reload(|settings| settings.rules.insert(0, rule("10.64.0.5/32", "0.0.0.0/0", RuleAction::Exempt)));
    assert_eq!(ended(&mut gateway), 2);
    assert_eq!(gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE)), ep(HOST));
    gateway.reload(|settings| settings.rules.clear());
    assert_eq!((ended(&mut gateway), gateway.sessions().len()), (4, 0));
}

#[test]
fn reload_brings_forward_ends_that_a_shorter_timeout_asks_for() {
    let mut gateway = two_pools();
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.reload(|settings| settings.timeouts.udp_s = 20);
    gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
    gateway.pass_s(19);
    assert_eq!(gateway.sessions().len(), 2);
    gateway.pass_s(2);
    assert_eq!(gateway.sessions().len(), 0);
    assert_eq!(ended(&mut gateway), 0, "they were idle");
}

#[test]
fn reload_lets_new_limits_hold_for_what_comes() {
    let mut gateway = two_pools();
    let port = |port: u16| Packet::udp(ep(&format!("10.64.0.5:{port}")), ep(REMOTE));
    for nth in 0..5 {
        gateway.outbound(port(5000 + nth)).out();
    }
    gateway.reload(|settings| settings.limits.ports_per_subscriber = 3);
    assert_eq!(gateway.sessions().len(), 5, "what is there stays");
    assert_eq!(gateway.outbound(port(6000)).reason(), DropReason::SubscriberPorts);
}

/// Rules that strike some hosts and some remotes of a trial.
fn rules() -> impl Strategy<Value = Vec<(&'static str, &'static str, RuleAction)>> {
    let sources = prop::sample::select(vec!["0.0.0.0/0", "10.64.0.5/32", "10.64.0.6/31", "10.64.0.20/32"]);
    let destinations =
        prop::sample::select(vec!["0.0.0.0/0", "198.51.100.7/32", "192.0.2.0/24", "203.0.113.0/24"]);
    let actions = prop::sample::select(vec![
        RuleAction::Reject,
        RuleAction::Drop,
        RuleAction::Exempt,
        RuleAction::Pool(0),
    ]);
    prop::collection::vec((sources, destinations, actions), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// After a reload and its sweep no session is left that the new rules would not let begin, and none that they would
    /// is gone; when all is over, nothing is held.
    #[test]
    fn reload_leaves_exactly_the_sessions_that_may_begin(
        shape in shape(),
        before in steps(80),
        new in rules(),
        after in steps(40),
    ) {
        let mut gateway = shape.gateway();
        for step in before {
            run(&mut gateway, &shape, step);
        }
        let sessions = gateway.sessions();
        let mut settings = Settings::default();
        gateway.reload(|changed| {
            let new = new.iter().map(|&(source, destination, action)| rule(source, destination, action));
            changed.rules.splice(0..0, new);
            settings = changed.clone();
        });
        let expected: Vec<_> = sessions
            .into_iter()
            .filter(|session| {
                let matches = |rule: &&gateway::nat::Rule| {
                    rule.source.contains(&Ipv4Addr::from_bits(session.internal.address))
                        && rule.destination.contains(&Ipv4Addr::from_bits(session.remote.address))
                };
                let action = settings.rules.iter().find(matches).map(|rule| rule.action);
                let exempt = session.internal == session.external;
                match action {
                    Some(RuleAction::Reject | RuleAction::Drop) | None => session.pool.is_none() && !exempt && action.is_none(),
                    Some(RuleAction::Exempt) => exempt,
                    Some(RuleAction::Pool(_)) => !exempt,
                }
            })
            .map(|session| (session.protocol, session.internal, session.remote, session.external))
            .collect();
        let left: Vec<_> = gateway
            .sessions()
            .iter()
            .map(|session| (session.protocol, session.internal, session.remote, session.external))
            .collect();
        prop_assert_eq!(left, expected);
        for step in after {
            run(&mut gateway, &shape, step);
        }
        gateway.drain();
        prop_assert_eq!((gateway.sessions().len(), gateway.mappings().len()), (0, 0));
        for (shard, fresh) in gateway.shards.iter_mut().zip(&shape.gateway().shards) {
            let counters = *shard.counters();
            prop_assert_eq!((counters.mappings, counters.subscribers), (0, 0));
            for protocol in Protocol::WITH_PORTS {
                prop_assert_eq!(shard.pool_usage(0, protocol), fresh.pool_usage(0, protocol), "{:?}", protocol);
            }
        }
    }
}
