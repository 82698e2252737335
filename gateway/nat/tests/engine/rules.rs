//! Rules: the first that matches a new session decides, by addresses, protocol, ports of both ends and ICMP type.

use natgw_nat::{DropReason, Protocol, Rule, RuleAction};
use natgw_wire::icmpv4::message;

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, rule};

const HOST: &str = "10.64.0.5:4000";
const REMOTE: &str = "198.51.100.7:7000";

/// Everything from inside, with this action.
fn all(action: RuleAction) -> Rule {
    rule("10.64.0.0/24", "0.0.0.0/0", action)
}

#[test]
fn without_a_match_nothing_is_forwarded() {
    let mut gateway = Gateway::changed(|settings| settings.rules.clear());
    for protocol in Protocol::WITH_PORTS {
        let first = Packet::first(protocol, ep(HOST), ep(REMOTE));
        assert_eq!(gateway.outbound(first).reason(), DropReason::NoRule);
    }
}

#[test]
fn the_first_match_decides_by_protocol_and_ports_of_both_ends() {
    let tcp = Some(Protocol::Tcp);
    let drop = all(RuleAction::Drop);
    let mut gateway = Gateway::changed(|settings| {
        settings.rules = vec![
            Rule { protocol: tcp, source_ports: 4000..=4009, ports: 25..=25, ..all(RuleAction::Pool(0)) },
            Rule { protocol: tcp, ports: 25..=25, ..drop.clone() },
            Rule { source_ports: 1..=1023, ..drop },
            all(RuleAction::Pool(0)),
        ];
    });
    let mut is_dropped = |protocol, source_port, port| {
        let packet = Packet::first(protocol, at_port(ep(HOST), source_port), at_port(ep(REMOTE), port));
        match gateway.outbound(packet) {
            crate::sim::Outcome::Out(_) => false,
            other => other.reason() == DropReason::RuleDrop,
        }
    };
    use Protocol::{Icmp, Tcp, Udp};
    for (protocol, source_port, port, dropped) in [
        (Tcp, 4000, 25, false),
        (Tcp, 4009, 25, false),
        (Tcp, 4010, 25, true),
        (Tcp, 4010, 26, false),
        (Udp, 4010, 25, false),
        (Udp, 1023, 26, true),
        (Tcp, 1023, 26, true),
        (Udp, 1024, 26, false),
        // A rule about ports is none about identifiers.
        (Icmp, 1023, 0, false),
    ] {
        assert_eq!(is_dropped(protocol, source_port, port), dropped, "{protocol:?} {source_port} {port}");
    }
}

/// Of ICMP, only what these types name is translated.
fn only_types(types: &[u8]) -> Gateway {
    let rule =
        Rule { protocol: Some(Protocol::Icmp), icmp_types: types.to_vec(), ..all(RuleAction::Pool(0)) };
    Gateway::changed(|settings| settings.rules = vec![rule])
}

#[test]
fn icmp_types_let_through_what_they_name() {
    let mut gateway = only_types(&[message::ECHO]);
    gateway.open(Protocol::Icmp, ep(HOST), ep(REMOTE));
    let timestamp = Packet::query(ep("10.64.0.6:9"), ep("198.51.100.7:0"), message::TIMESTAMP);
    assert_eq!(gateway.outbound(timestamp).reason(), DropReason::NoRule);
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).reason(), DropReason::NoRule);
}

#[test]
fn icmp_types_hold_within_a_session_too() {
    let mut gateway = only_types(&[message::ECHO]);
    gateway.open(Protocol::Icmp, ep(HOST), ep(REMOTE));
    let same_session = Packet::query(ep(HOST), ep("198.51.100.7:0"), message::TIMESTAMP);
    assert_eq!(gateway.outbound(same_session).reason(), DropReason::RuleDrop);
    gateway.open(Protocol::Icmp, ep(HOST), ep(REMOTE));
    gateway.reload(|settings| settings.rules[0].icmp_types = vec![message::TIMESTAMP]);
    assert_eq!(gateway.outbound(Packet::ping(ep(HOST), ep(REMOTE))).reason(), DropReason::RuleDrop);
}
