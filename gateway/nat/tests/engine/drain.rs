//! Draining: sessions go on, and no new session begins.

use natgw_nat::{
    Direction, DropReason, Endpoint, Filtering, Outcome, Protocol, Question, SessionFailure, Static, Tuple,
};
use natgw_wire::tcp::Flags;

use crate::packet::{Packet, ep};
use crate::sim::{Gateway, Outcome as Became, forward, redirect};

const HOST: &str = "10.64.0.5:4000";
const REMOTE: &str = "198.51.100.7:7000";
const ELSEWHERE: &str = "192.0.2.9:7000";
const ANYBODY: &str = "192.0.2.77:1234";
const FORWARDED: &str = "203.0.113.13:8080";
const REDIRECTED: &str = "203.0.113.13:8081";
const STATIC: &str = "203.0.113.20:22";

/// With everything that admits packets from outside: endpoint-independent filtering, a forward, a redirect and a 1:1 address.
fn open_to_all() -> Gateway {
    Gateway::changed(|settings| {
        settings.pools[0].filtering = Filtering::EndpointIndependent;
        let server = "10.64.0.12:80";
        settings.port_forwards =
            vec![forward(Protocol::Udp, FORWARDED, server), redirect(Protocol::Udp, REDIRECTED, server)];
        settings.statics = vec![Static {
            external: "203.0.113.20/32".parse().unwrap(),
            internal: "10.64.0.20/32".parse().unwrap(),
        }];
    })
}

fn drain(gateway: &mut Gateway, on: bool) {
    gateway.shards.iter_mut().for_each(|shard| shard.drain(on));
}

fn inbound(gateway: &mut Gateway, to: Endpoint) -> Became {
    let tuple = Tuple::new(ep(ANYBODY), to);
    let question =
        Question { protocol: Protocol::Udp, tuple, direction: Direction::Inbound, hairpinned: false };
    let shard = gateway.owner_of_outside(Protocol::Udp, to);
    let explained = gateway.shards[shard].explain(&question, gateway.now).outcome;
    let became = gateway.inbound(Packet::udp(ep(ANYBODY), to));
    let said = matches!(explained, Outcome::Drop(DropReason::Draining));
    assert_eq!(said, !became.is_delivered(), "{to}: {explained:?}");
    became
}

#[test]
fn drain_lets_sessions_go_on_both_ways() {
    let mut gateway = open_to_all();
    for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Icmp] {
        let external = gateway.open(protocol, ep(HOST), ep(REMOTE));
        drain(&mut gateway, true);
        gateway.inbound(Packet::answer(protocol, ep(REMOTE), external)).delivered();
        let again = if protocol == Protocol::Tcp {
            Packet::tcp(ep(HOST), ep(REMOTE), Flags::ACK)
        } else {
            Packet::first(protocol, ep(HOST), ep(REMOTE))
        };
        assert_eq!(gateway.outbound(again).out().source, external);
        drain(&mut gateway, false);
    }
}

#[test]
fn drain_begins_no_session_from_inside() {
    for protocol in [Protocol::Udp, Protocol::Tcp, Protocol::Icmp] {
        let mut gateway = open_to_all();
        gateway.open(protocol, ep(HOST), ep(REMOTE));
        drain(&mut gateway, true);
        let made = gateway.shards[0].counters().sessions_created;
        // Not of another host, and not of the same endpoint either, which has its mapping.
        for from in ["10.64.0.6:4000", HOST] {
            let tuple = Tuple::new(ep(from), ep(ELSEWHERE));
            let question = Question { protocol, tuple, direction: Direction::Outbound, hairpinned: false };
            let explained = gateway.shards[0].explain(&question, gateway.now).outcome;
            assert_eq!(explained, Outcome::Reject(DropReason::Draining));
            let became = gateway.outbound(Packet::first(protocol, ep(from), ep(ELSEWHERE)));
            assert!(matches!(became, Became::Reject(DropReason::Draining)), "{became:?}");
        }
        let counters = gateway.shards[0].counters();
        assert_eq!(counters.sessions_created, made);
        assert_eq!(counters.session_failures[SessionFailure::Draining], 2);
        assert_eq!(counters.subscribers, 1, "nobody is remembered for it");
    }
}

#[test]
fn drain_lets_nothing_in_that_would_begin_a_session() {
    let mut gateway = open_to_all();
    let mapped = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let ways = [mapped, ep(FORWARDED), ep(REDIRECTED), ep(STATIC)];
    for to in ways {
        inbound(&mut gateway, to).delivered();
    }
    assert_eq!(gateway.sessions().len(), 2, "the host's, and the redirect's");
    gateway.delete(&natgw_nat::Filter { remote: Some(ep(ANYBODY).address.into()), ..Default::default() });
    drain(&mut gateway, true);
    for to in ways {
        assert_eq!(inbound(&mut gateway, to).reason(), DropReason::Draining, "{to}");
    }
    assert_eq!(gateway.sessions().len(), 1);
    // An error about a session that goes on arrives still.
    let sent = gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).out();
    let about = Packet::udp(sent.source, sent.destination).bytes();
    gateway.inbound(Packet::error("192.0.2.1", 3, 1, &about)).delivered();
    // A packet without a mapping has its own reason, drained or not.
    assert_eq!(
        gateway.inbound(Packet::udp(ep(ANYBODY), ep("203.0.113.11:9"))).reason(),
        DropReason::NoMapping
    );
}

#[test]
fn drain_outlives_a_reload_and_can_be_taken_back() {
    let mut gateway = open_to_all();
    drain(&mut gateway, true);
    gateway.reload(|settings| settings.timeouts.udp_s = 100);
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).reason(), DropReason::Draining);
    drain(&mut gateway, false);
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    inbound(&mut gateway, external).delivered();
}

#[test]
fn drain_lets_no_connection_begin_anew_on_the_ports_of_one_that_is_over() {
    let mut gateway = open_to_all();
    let external = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    gateway.inbound(Packet::tcp(ep(REMOTE), external, Flags::RST | Flags::ACK)).delivered();
    drain(&mut gateway, true);
    let syn = Packet::tcp(ep(HOST), ep(REMOTE), Flags::SYN);
    let tuple = Tuple::new(ep(HOST), ep(REMOTE));
    let question =
        Question { protocol: Protocol::Tcp, tuple, direction: Direction::Outbound, hairpinned: false };
    let shard = gateway.owner_of_inside(ep(HOST).address);
    let explained = gateway.shards[shard].explain(&question, gateway.now).outcome;
    assert_eq!(explained, Outcome::Reject(DropReason::Draining));
    assert_eq!(gateway.outbound(syn.clone()).reason(), DropReason::Draining);
    drain(&mut gateway, false);
    gateway.outbound(syn).out();
}
