//! Twice NAT: inside hosts reach remotes by other addresses, because an outside network overlaps with an inside one.

use natgw_nat::{DropReason, Protocol, RuleAction, Settings, Twice};

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, forward, rule};

const HOST: &str = "10.64.0.5:4000";
/// A remote with the very address of [`HOST`], and by what that knows it.
const REMOTE: &str = "10.64.0.5:7000";
const REMOTE_INSIDE: &str = "10.99.0.5:7000";
const FORWARD: &str = "203.0.113.13:53";

fn twice(external: &str, internal: &str) -> Twice {
    let [external, internal] = [external, internal].map(|prefix| prefix.parse().expect("prefix"));
    Twice { external, internal }
}

/// 10.64.0.0/24 is behind both sides; inside, the other one is 10.99.0.0/24.
fn overlapping(settings: &mut Settings) {
    settings.twice = vec![
        twice("10.64.0.0/24", "10.99.0.0/24"),
        twice("192.0.2.0/28", "10.98.0.16/28"),
        twice("192.0.2.64/32", "10.98.0.1/32"),
    ];
    settings.port_forwards = vec![forward(Protocol::Udp, FORWARD, "10.64.0.12:53")];
}

fn gateway() -> Gateway {
    Gateway::changed(overlapping)
}

#[test]
fn rfc4787_req7_every_host_reaches_every_remote_of_an_overlapping_network() {
    let mut gateway = gateway();
    for protocol in Protocol::WITH_PORTS {
        for host in [5, 6, 254] {
            for remote in [1, 5, 6, 254] {
                // The gateway's own address is its own on both sides.
                if remote == 1 {
                    continue;
                }
                let port = if protocol == Protocol::Icmp { 0 } else { 7000 };
                let inside = ep(&format!("10.64.0.{host}:4000"));
                let outside = ep(&format!("10.64.0.{remote}:{port}"));
                let known_as = ep(&format!("10.99.0.{remote}:{port}"));
                let sent = gateway.outbound(Packet::first(protocol, inside, known_as)).out();
                assert_eq!(sent.destination, outside);
                let answer = Packet::answer(protocol, outside, sent.source);
                let delivered = gateway.inbound(answer).delivered();
                assert_eq!((delivered.source, delivered.destination), (known_as, inside));
            }
        }
    }
}

#[test]
fn rfc4787_req7_an_overlapping_remote_reaches_a_forwarded_port() {
    let mut gateway = gateway();
    let seen = gateway.inbound(Packet::udp(ep(REMOTE), ep(FORWARD))).delivered();
    assert_eq!((seen.source, seen.destination), (ep(REMOTE_INSIDE), ep("10.64.0.12:53")));
    assert_eq!(gateway.sessions(), []);
    let answer = gateway.outbound(Packet::udp(ep("10.64.0.12:53"), ep(REMOTE_INSIDE))).out();
    assert_eq!((answer.source, answer.destination), (ep(FORWARD), ep(REMOTE)));
}

#[test]
fn twice_is_listed_with_both_names_of_the_remote() {
    let mut gateway = gateway();
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE_INSIDE));
    let [session] = gateway.sessions()[..] else { panic!("one session") };
    assert_eq!((session.remote, session.remote_inside), (ep(REMOTE), Some(ep(REMOTE_INSIDE))));
    assert!(gateway.shards[0].is_for_outside(Some(session.id), ep(REMOTE).address));
}

#[test]
fn twice_pairs_the_hosts_of_each_prefix_in_order() {
    let mut gateway = gateway();
    for (inside, outside) in [
        ("10.98.0.16:5", "192.0.2.0:5"),
        ("10.98.0.31:5", "192.0.2.15:5"),
        ("10.98.0.1:5", "192.0.2.64:5"),
        ("10.98.0.2:5", "10.98.0.2:5"),
        ("10.98.0.32:5", "10.98.0.32:5"),
        ("198.51.100.7:5", "198.51.100.7:5"),
    ] {
        assert_eq!(gateway.outbound(Packet::udp(ep(HOST), ep(inside))).out().destination, ep(outside));
    }
}

#[test]
fn twice_filters_by_the_remotes_own_address() {
    let mut gateway = gateway();
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE_INSIDE));
    let other_port = gateway.inbound(Packet::udp(at_port(ep(REMOTE), 9), external)).delivered();
    assert_eq!(other_port.source, at_port(ep(REMOTE_INSIDE), 9));
    let other = Packet::udp(ep("10.64.0.77:7000"), external);
    assert_eq!(gateway.inbound(other).reason(), DropReason::Filtered);
    gateway.pass_s(301);
    assert_eq!(gateway.sessions(), []);
    let late = Packet::udp(ep(REMOTE), external);
    assert_eq!(gateway.inbound(late).reason(), DropReason::NoMapping);
}

#[test]
fn twice_translates_errors_both_ways() {
    let mut gateway = gateway();
    let sent = gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE_INSIDE))).out();
    for (from, seen_as) in
        [("10.64.0.5", "10.99.0.5:0"), ("10.64.0.200", "10.99.0.200:0"), ("192.0.2.254", "192.0.2.254:0")]
    {
        let error = gateway.inbound(Packet::error(from, 3, 3, &sent.bytes)).delivered();
        assert_eq!((error.source, error.destination.address), (ep(seen_as), ep(HOST).address));
        assert_eq!((error.embedded().source, error.embedded().destination), (ep(HOST), ep(REMOTE_INSIDE)));
    }
    let delivered = gateway.inbound(Packet::udp(ep(REMOTE), sent.source)).delivered();
    let error = gateway.outbound(Packet::error("10.64.0.5", 3, 3, &delivered.bytes)).out();
    assert_eq!((error.source.address, error.destination.address), (sent.source.address, ep(REMOTE).address));
    assert_eq!((error.embedded().source, error.embedded().destination), (ep(REMOTE), sent.source));
    // Without a session, by the mapping of a forward.
    let delivered = gateway.inbound(Packet::udp(ep(REMOTE), ep(FORWARD))).delivered();
    let error = gateway.outbound(Packet::error("10.64.0.12", 3, 3, &delivered.bytes)).out();
    assert_eq!((error.destination.address, error.embedded().destination), (ep(REMOTE).address, ep(FORWARD)));
}

#[test]
fn a_remote_has_one_name_inside() {
    let mut gateway = gateway();
    let by_its_own = Packet::udp(ep(HOST), ep("192.0.2.3:5"));
    assert_eq!(gateway.outbound(by_its_own).reason(), DropReason::NoRoute);
    let by_the_inside_one = Packet::udp(ep("10.99.0.5:7000"), ep(FORWARD));
    assert_eq!(gateway.inbound(by_the_inside_one).reason(), DropReason::SpoofedOutside);
}

#[test]
fn an_exempt_session_does_not_reach_a_remote_of_two_names() {
    let mut gateway = Gateway::changed(|settings| {
        overlapping(settings);
        settings.rules.insert(0, rule("10.64.0.0/24", "10.99.0.0/24", RuleAction::Exempt));
    });
    let exempt = Packet::udp(ep(HOST), ep(REMOTE_INSIDE));
    assert_eq!(gateway.outbound(exempt).reason(), DropReason::NoRule);
}
