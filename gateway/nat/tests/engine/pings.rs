//! Pings of the gateway itself: of its interfaces' addresses, and of pools with `ping = true`; whole and in fragments.

use std::net::Ipv4Addr;

use natgw_nat::{Direction, DropReason, Protocol, Settings, Static};
use natgw_wire::icmpv4::message;

use crate::fragment_sim::{Left, piece, split};
use crate::fragments::{ROOM, large, orders, pieces, remembered, whole};
use crate::packet::{Body, Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, settings, steering};

const HOST: &str = "10.64.0.5:4000";
const REMOTE: &str = "198.51.100.7:7";
const POOL: &str = "203.0.113.10:0";
const STATIC: &str = "203.0.113.20:0";
const OWN: [&str; 2] = ["10.64.0.1:0", "203.0.113.2:0"];

fn answering(settings: &mut Settings) {
    settings.pools[0].ping = true;
}

/// A pool of the gateway's own outside address.
fn masquerade(settings: &mut Settings) {
    settings.pools[0].addresses = vec![Ipv4Addr::new(203, 0, 113, 2)];
}

fn with_static(settings: &mut Settings) {
    settings.statics = vec![Static {
        external: "203.0.113.20/32".parse().expect("prefix"),
        internal: "10.64.0.20/32".parse().expect("prefix"),
    }];
}

#[test]
fn pool_addresses_answer_no_ping_unless_the_pool_says_so() {
    for says_so in [false, true] {
        let mut gateway = Gateway::changed(|settings| settings.pools[0].ping = says_so);
        for nth in 10..=12 {
            let address = at_port(ep(&format!("203.0.113.{nth}:0")), 0);
            for outcome in [
                gateway.inbound(Packet::ping(ep(REMOTE), address)),
                gateway.outbound(Packet::ping(ep(HOST), address)),
                gateway.inbound(Packet::ping(ep(REMOTE), address).ttl(1)),
            ] {
                match outcome {
                    Outcome::Local => assert!(says_so),
                    // A host inside gets an ICMP error: no host has the address.
                    Outcome::Reject(DropReason::NoMapping) => assert!(!says_so),
                    Outcome::Drop(DropReason::NoMapping) | Outcome::Reply(_) => assert!(!says_so),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(gateway.sessions().len(), if says_so { 0 } else { 3 });
        // Nothing else of theirs is the gateway's own, and others' addresses are not.
        let udp = gateway.inbound(Packet::udp(ep(REMOTE), ep("203.0.113.10:7")));
        assert_eq!(udp, Outcome::Drop(DropReason::NoMapping));
        let beside = gateway.inbound(Packet::ping(ep(REMOTE), ep("203.0.113.13:0")));
        assert_eq!(beside, Outcome::Drop(DropReason::NoMapping));
    }
}

#[test]
fn a_pool_that_answers_pings_takes_nothing_from_hosts() {
    let mut gateway = Gateway::changed(|settings| {
        answering(settings);
        with_static(settings);
    });
    // A reply finds its host, and so does a ping of the host's own address outside.
    let external = gateway.open(Protocol::Icmp, ep(HOST), ep(REMOTE));
    let reply = gateway.inbound(Packet::pong(ep(REMOTE), external)).delivered();
    assert_eq!(reply.destination, ep(HOST));
    for ping in
        [Packet::ping(ep(REMOTE), ep(STATIC)), Packet::query(ep(REMOTE), ep(STATIC), message::TIMESTAMP)]
    {
        assert_eq!(gateway.inbound(ping).delivered().destination.address, ep("10.64.0.20:0").address);
    }
    let from_inside = gateway.outbound(Packet::ping(ep(HOST), ep(STATIC))).delivered();
    assert_eq!(from_inside.destination.address, ep("10.64.0.20:0").address);
    // A question names no endpoint of its destination, whatever identifier it bears.
    let question = Packet::ping(at_port(ep(REMOTE), external.port), external);
    assert_eq!(gateway.inbound(question), Outcome::Local);
}

/// As for as long as a reload gives an address of a 1:1 mapping to a pool.
#[test]
fn a_static_hosts_pings_are_its_own_in_a_pool_that_answers_too() {
    let mut settings = settings();
    let owners = steering(&settings, 1);
    answering(&mut settings);
    with_static(&mut settings);
    settings.statics[0].external = "203.0.113.10/32".parse().expect("prefix");
    let mut gateway = Gateway::with_steering(settings, owners, 1024);
    let host = ep("10.64.0.20:0").address;
    let seen = gateway.inbound(Packet::ping(ep(REMOTE), ep(POOL))).delivered();
    assert_eq!(seen.destination.address, host);
    let seen = gateway.outbound(Packet::ping(ep(HOST), ep(POOL))).delivered();
    assert_eq!(seen.destination.address, host);
    assert_eq!(gateway.inbound(Packet::ping(ep(REMOTE), ep("203.0.113.11:0"))), Outcome::Local);
}

#[test]
fn a_reload_lets_pools_answer_pings_and_be_silent_again() {
    let mut gateway = Gateway::changed(|_| ());
    let ping = || Packet::ping(ep(HOST), ep(POOL));
    // It has a session, under which it would go unanswered for as long as the host pings.
    assert_eq!(gateway.outbound(ping()), Outcome::Reject(DropReason::NoMapping));
    let other = gateway.open(Protocol::Icmp, ep("10.64.0.6:9"), ep(REMOTE));
    assert_eq!(gateway.sessions().len(), 2);
    gateway.reload(answering);
    assert_eq!(gateway.sessions().len(), 1);
    assert_eq!(gateway.outbound(ping()), Outcome::Local);
    assert_eq!(gateway.inbound(Packet::ping(ep(REMOTE), ep(POOL))), Outcome::Local);
    assert_eq!(gateway.open(Protocol::Icmp, ep("10.64.0.6:9"), ep(REMOTE)), other);
    // An address that a reload adds to the pool answers as well.
    gateway.reload(|settings| settings.pools[0].addresses.push([203, 0, 113, 14].into()));
    assert_eq!(gateway.inbound(Packet::ping(ep(REMOTE), ep("203.0.113.14:0"))), Outcome::Local);
    gateway.reload(|settings| settings.pools[0].ping = false);
    assert_eq!(gateway.outbound(ping()), Outcome::Reject(DropReason::NoMapping));
    assert_eq!(gateway.inbound(Packet::ping(ep(REMOTE), ep(POOL))), Outcome::Drop(DropReason::NoMapping));
}

/// A ping of 4000 octets in fragments, in every order; what became of all fragments.
fn pinged(change: fn(&mut Settings), to: &str, direction: Direction, ttl: u8) -> Vec<Left> {
    let mut pieces = pieces(change);
    let from = if direction == Direction::Outbound { HOST } else { REMOTE };
    let bytes = large(Protocol::Icmp, ep(from), ep(to), 4000).ttl(ttl).bytes();
    let mut left = Vec::new();
    for (nth, order) in orders(&split(&bytes, ROOM, 0)).iter().enumerate() {
        let renamed = order.iter().map(|one| {
            let at = crate::fragment_sim::offset(one);
            piece(&one[..20], &one[20..], at, one[6] & 0x20 != 0, 100 + nth as u16)
        });
        left.extend(pieces.arrive_all(&renamed.collect::<Vec<_>>(), direction));
    }
    assert_eq!((pieces.held(), pieces.gateway.sessions().len()), (0, 0));
    left
}

#[test]
fn pings_in_fragments_are_local_to_the_last_fragment_in_any_order() {
    let of_own = |to, direction, ttl| pinged(|_| (), to, direction, ttl);
    for ttl in [1, 64] {
        for left in [
            of_own(OWN[0], Direction::Outbound, ttl),
            of_own(OWN[1], Direction::Outbound, ttl),
            of_own(OWN[1], Direction::Inbound, ttl),
        ] {
            // No table knows of them, so none has to wait for the first.
            assert_eq!(left, vec![Left::Local; 15]);
        }
    }
    for left in [
        pinged(answering, POOL, Direction::Outbound, 64),
        pinged(answering, POOL, Direction::Inbound, 64),
        pinged(masquerade, OWN[1], Direction::Outbound, 64),
        pinged(masquerade, OWN[1], Direction::Inbound, 64),
    ] {
        // Only the first one tells a question to the gateway from the answer to a host's.
        let held = left.iter().filter(|left| **left == Left::Held).count();
        let local = left.iter().filter(|left| **left == Left::Local).count();
        assert!(local == 15 && held > 0 && held + local == left.len(), "{left:?}");
    }
    assert!(!pinged(|_| (), "203.0.113.13:0", Direction::Inbound, 64).contains(&Left::Local));
}

#[test]
fn a_large_reply_to_a_host_behind_the_gateways_own_address_is_the_hosts() {
    for change in [masquerade, answering] {
        let mut pieces = pieces(change);
        let external = pieces.gateway.open(Protocol::Icmp, ep(HOST), ep(REMOTE));
        let mut reply = large(Protocol::Icmp, at_port(ep(REMOTE), 0), external, 4000);
        let Body::Query { ty, .. } = &mut reply.body else { panic!("an ICMP message") };
        *ty = message::ECHO_REPLY;
        let left = pieces.arrive_all(&split(&reply.bytes(), ROOM, 7), Direction::Inbound);
        assert_eq!(whole(&left).destination, ep(HOST));
        assert_eq!(remembered(&mut pieces), 0);
    }
}

#[test]
fn fragments_to_the_gateway_from_spoofed_sources_are_dropped() {
    let mut pieces = pieces(|_| ());
    let mut refused = |from: &str, to: &str, direction| {
        let bytes = large(Protocol::Icmp, ep(from), ep(to), 4000).bytes();
        let left = pieces.arrive_all(&split(&bytes, ROOM, 7), direction);
        let [Left::Drop(reason), ..] = left[..] else { panic!("{left:?}") };
        assert_eq!(left, vec![Left::Drop(reason); 3]);
        reason
    };
    let (out, inbound) = (Direction::Outbound, Direction::Inbound);
    assert_eq!(refused("10.65.0.5:4", OWN[0], out), DropReason::SpoofedInside);
    assert_eq!(refused("10.64.0.1:4", OWN[0], out), DropReason::SpoofedGateway);
    assert_eq!(refused("10.64.0.5:4", OWN[1], inbound), DropReason::SpoofedOutside);
    assert_eq!(refused("203.0.113.10:4", OWN[1], inbound), DropReason::SpoofedGateway);
    assert_eq!(refused(REMOTE, OWN[0], inbound), DropReason::InsideFromOutside);
}
