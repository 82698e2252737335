//! Protocols without ports that the engine knows: by address, where their pool or a 1:1 mapping translates them.

use natgw_nat::{
    Direction, DropReason, Filter, IpProtocol, OtherProtocols, Protocol, Rule, RuleAction, SessionFailure,
    Settings, Static,
};

use crate::fragment_sim::{ident, split};
use crate::fragments::{orders, pieces, whole};
use crate::packet::{Body, DCCP, GRE, Packet, UDP_LITE, at_port, ep};
use crate::sim::{Gateway, rule};

const ESP: u8 = 50;
const AH: u8 = 51;
const SCTP: u8 = 132;
const NUMBERS: [u8; 6] = [GRE, ESP, SCTP, UDP_LITE, DCCP, 99];

const HOST: &str = "10.64.0.5:0";
const OTHER_HOST: &str = "10.64.0.6:0";
const REMOTE: &str = "198.51.100.7:0";
const OTHER_REMOTE: &str = "198.51.100.8:0";

fn translate_all(settings: &mut Settings) {
    settings.pools[0].other_protocols = OtherProtocols::ALL;
}

/// Of a pool with so many addresses.
fn gateway(addresses: usize) -> Gateway {
    Gateway::changed(|settings| {
        translate_all(settings);
        settings.pools[0].addresses.truncate(addresses);
    })
}

fn from_host(number: u8) -> Packet {
    Packet::other(number, ep(HOST), ep(REMOTE))
}

#[test]
fn each_protocol_makes_the_round_trip_by_its_addresses() {
    let mut gateway = gateway(3);
    let mut outside = None;
    for number in NUMBERS {
        let sent = from_host(number);
        let out = gateway.outbound(sent.clone()).out();
        assert_eq!((out.protocol, out.destination), (number, sent.destination));
        // Paired pooling: one address for everything that a host sends.
        assert_eq!(*outside.get_or_insert(out.source.address), out.source.address);
        let back = gateway.inbound(Packet::other(number, ep(REMOTE), out.source)).delivered();
        assert_eq!((back.protocol, back.source, back.destination), (number, out.destination, sent.source));
        gateway.outbound(sent).out();
    }
    let tcp = gateway.open(Protocol::Tcp, ep("10.64.0.5:4000"), ep("198.51.100.7:80"));
    assert_eq!(Some(tcp.address), outside);
    assert_eq!(gateway.sessions().iter().filter(|session| session.protocol == Protocol::Other).count(), 6);
    let counters = gateway.shards[0].counters();
    assert_eq!(counters.translated.map(|of| of[Protocol::Other]), [12, 6]);
    assert_eq!(counters.sessions[Protocol::Other], 6);
}

#[test]
fn a_packet_without_layer_4_passes() {
    let mut gateway = gateway(1);
    let empty = |from, to| Packet {
        body: Body::Other { number: 99, payload: vec![] },
        ..Packet::other(99, from, to)
    };
    let out = gateway.outbound(empty(ep(HOST), ep(REMOTE))).out();
    gateway.inbound(empty(ep(REMOTE), out.source)).delivered();
}

#[test]
fn unsolicited_packets_are_dropped() {
    let mut gateway = gateway(1);
    let out = gateway.outbound(from_host(GRE)).out();
    for stray in
        [Packet::other(GRE, ep(OTHER_REMOTE), out.source), Packet::other(ESP, ep(REMOTE), out.source)]
    {
        assert_eq!(gateway.inbound(stray).reason(), DropReason::NoMapping);
    }
}

#[test]
fn a_pool_translates_no_protocol_that_it_does_not_name() {
    let named = OtherProtocols::NONE.with(IpProtocol::GRE);
    let mut gateway = Gateway::changed(|settings| settings.pools[0].other_protocols = named);
    gateway.outbound(from_host(GRE)).out();
    for number in [ESP, SCTP, UDP_LITE, DCCP, 99] {
        assert_eq!(gateway.outbound(from_host(number)).reason(), DropReason::Protocol);
    }
    let mut gateway = Gateway::changed(|_| {});
    assert_eq!(gateway.outbound(from_host(GRE)).reason(), DropReason::Protocol);
    assert!(gateway.sessions().is_empty() && gateway.mappings().is_empty());
}

/// RFC 3715 section 2.1.
#[test]
fn authentication_headers_are_refused_whatever_is_asked_for() {
    let mut gateway = Gateway::changed(|settings| {
        translate_all(settings);
        one_to_one(settings);
    });
    for host in [HOST, "10.64.0.20:0"] {
        let packet = Packet::other(AH, ep(host), ep(REMOTE));
        assert_eq!(gateway.outbound(packet).reason(), DropReason::AuthenticationHeader);
    }
    let inbound = Packet::other(AH, ep(REMOTE), ep("203.0.113.20:0"));
    assert_eq!(gateway.inbound(inbound).reason(), DropReason::AuthenticationHeader);
}

#[test]
fn a_session_lasts_as_long_as_its_timeout() {
    let mut gateway = Gateway::changed(|settings| {
        translate_all(settings);
        settings.timeouts.other_s = 200;
    });
    let out = gateway.outbound(from_host(ESP)).out();
    let answer = Packet::other(ESP, ep(REMOTE), out.source);
    gateway.pass_ms(100_000);
    gateway.outbound(from_host(ESP)).out();
    gateway.pass_ms(199_999);
    gateway.inbound(answer.clone()).delivered();
    gateway.pass_ms(1);
    assert_eq!(gateway.inbound(answer).reason(), DropReason::NoMapping);
    assert!(gateway.mappings().is_empty(), "there is no port to rest");
    assert_eq!(gateway.shards[0].counters().subscribers, 0);
}

#[test]
fn hosts_share_an_address_where_their_remotes_differ() {
    let mut gateway = gateway(1);
    let [first, second] = [(HOST, REMOTE), (OTHER_HOST, OTHER_REMOTE)].map(|(host, remote)| {
        let out = gateway.outbound(Packet::other(GRE, ep(host), ep(remote))).out();
        (out.source, ep(host), ep(remote))
    });
    assert_eq!(first.0, second.0);
    for (outside, host, remote) in [first, second] {
        let back = gateway.inbound(Packet::other(GRE, remote, outside)).delivered();
        assert_eq!(back.destination.address, host.address);
    }
}

#[test]
fn hosts_with_the_same_remote_get_an_address_each_until_there_is_none() {
    let mut gateway = gateway(3);
    let host = |n: u32| at_port(ep(&format!("10.64.0.{}:0", 5 + n)), 0);
    let mut outside = std::collections::HashSet::new();
    for n in 0..3 {
        let out = gateway.outbound(Packet::other(GRE, host(n), ep(REMOTE))).out();
        assert!(outside.insert(out.source.address), "{n}");
    }
    let late = Packet::other(GRE, host(3), ep(REMOTE));
    assert_eq!(gateway.outbound(late.clone()).reason(), DropReason::AddressTaken);
    assert_eq!(gateway.shards[0].counters().session_failures[SessionFailure::AddressTaken], 1);
    assert_eq!(gateway.shards[0].pool_failures(0, SessionFailure::AddressTaken), 1);
    assert_eq!(gateway.shards[0].counters().subscribers, 3, "who gets nothing is not remembered");
    // Another protocol, and another remote, are free.
    gateway.outbound(Packet::other(ESP, host(3), ep(REMOTE))).out();
    gateway.outbound(Packet::other(GRE, host(3), ep(OTHER_REMOTE))).out();
    // Now it is paired, and waits until the address is free; a session whose time is over does not count.
    assert_eq!(gateway.outbound(late.clone()).reason(), DropReason::AddressTaken);
    gateway.now = gateway.now.plus_ms(300_000);
    gateway.outbound(late).out();
}

#[test]
fn a_host_that_is_paired_is_refused_rather_than_moved() {
    let mut gateway = gateway(3);
    let taken = gateway.outbound(from_host(GRE)).out().source.address;
    // Some of these get the address that is taken.
    let hosts = (20..60).map(|n| ep(&format!("10.64.0.{n}:4000")));
    for host in hosts {
        let paired = gateway.open(Protocol::Udp, host, ep("198.51.100.7:53")).address;
        let outcome = gateway.outbound(Packet::other(GRE, host, ep(REMOTE)));
        if paired == taken {
            assert_eq!(outcome.reason(), DropReason::AddressTaken);
            return;
        }
        gateway.delete(&Filter { inside: Some(host.address.into()), ..Filter::default() });
    }
    panic!("nobody got the address");
}

#[test]
fn errors_about_them_are_translated_both_ways() {
    for number in NUMBERS {
        let mut gateway = gateway(3);
        let sent = from_host(number);
        let out = gateway.outbound(sent.clone()).out();
        for quoted in [out.bytes.len(), 28] {
            let error = Packet::error("192.0.2.1", 3, 2, &out.bytes[..quoted]);
            let seen = gateway.inbound(error).delivered();
            assert_eq!(seen.destination.address, sent.source.address);
            let embedded = seen.embedded();
            assert_eq!((embedded.source, embedded.destination), (sent.source, sent.destination));
        }
        let back = gateway.inbound(Packet::other(number, ep(REMOTE), out.source)).delivered();
        let seen = gateway.outbound(Packet::error("10.64.0.5", 3, 2, &back.bytes)).out();
        assert_eq!(seen.source.address, out.source.address);
        assert_eq!(seen.embedded().destination, out.source);

        let stray = Packet::other(number, ep(out_of(&out.source)), ep(OTHER_REMOTE)).bytes();
        let error = Packet::error("192.0.2.1", 3, 2, &stray);
        assert_eq!(gateway.inbound(error).reason(), DropReason::IcmpNoSession);
        let unheard = Packet::other(number, ep(OTHER_REMOTE), ep(HOST)).bytes();
        let error = Packet::error("10.64.0.5", 3, 2, &unheard);
        assert_eq!(gateway.outbound(error).reason(), DropReason::IcmpNoSession);
    }
}

fn out_of(endpoint: &natgw_nat::Endpoint) -> &'static str {
    match endpoint.address & 0xff {
        10 => "203.0.113.10:0",
        11 => "203.0.113.11:0",
        _ => "203.0.113.12:0",
    }
}

#[test]
fn rfc4787_req14_their_fragments_pass_in_every_order() {
    for number in NUMBERS {
        let mut pieces = pieces(translate_all);
        for (direction, nth) in [(Direction::Outbound, 0), (Direction::Inbound, 1)] {
            let outside = pieces.gateway.outbound(from_host(number)).out().source;
            let packet = match direction {
                Direction::Outbound => from_host(number),
                Direction::Inbound => Packet::other(number, ep(REMOTE), outside),
            };
            for (at, order) in orders(&split(&packet.bytes(), 24, 0)).iter().enumerate() {
                let number_of = (at + 10 * nth) as u16 + 1;
                let order: Vec<_> = order.iter().map(|piece| renamed(piece, number_of)).collect();
                let left = pieces.arrive_all(&order, direction);
                let seen = whole(&left);
                let ends = (seen.source.address, seen.destination.address);
                let expected = match direction {
                    Direction::Outbound => (outside.address, ep(REMOTE).address),
                    Direction::Inbound => (ep(REMOTE).address, ep(HOST).address),
                };
                assert_eq!((ends, pieces.held()), (expected, 0));
            }
        }
    }
}

/// The fragment under another identification.
fn renamed(piece: &[u8], number: u16) -> Vec<u8> {
    let mut bytes = piece.to_vec();
    let mut packet = natgw_wire::ipv4::Packet::new_unchecked(&mut bytes[..]);
    packet.set_ident(number);
    packet.fill_checksum();
    assert_eq!(ident(&bytes), number);
    bytes
}

fn one_to_one(settings: &mut Settings) {
    let [external, internal] = ["203.0.113.20/32", "10.64.0.20/32"].map(|net| net.parse().expect("prefix"));
    settings.statics.push(Static { external, internal });
}

#[test]
fn a_static_mapping_is_of_every_protocol_both_ways() {
    for number in NUMBERS {
        let mut gateway = Gateway::changed(one_to_one);
        let (host, outside) = (ep("10.64.0.20:0"), ep("203.0.113.20:0"));
        let back = gateway.inbound(Packet::other(number, ep(REMOTE), outside)).delivered();
        assert_eq!(back.destination.address, host.address);
        assert!(gateway.sessions().is_empty(), "nothing from outside takes memory");
        let out = gateway.outbound(Packet::other(number, host, ep(REMOTE))).out();
        assert_eq!(out.source.address, outside.address);
        gateway.inbound(Packet::other(number, ep(REMOTE), outside)).delivered();
        let error = Packet::error("192.0.2.1", 3, 2, &out.bytes);
        assert_eq!(gateway.inbound(error).delivered().destination.address, host.address);
    }
}

#[test]
fn rfc4787_req9_they_hairpin() {
    let mut gateway = Gateway::changed(|settings| {
        translate_all(settings);
        one_to_one(settings);
        settings.pools[0].addresses.truncate(1);
    });
    let to_static = gateway.outbound(Packet::other(GRE, ep(HOST), ep("203.0.113.20:0"))).delivered();
    assert_eq!(to_static.source.address, ep("203.0.113.10:0").address);
    assert_eq!(to_static.destination.address, ep("10.64.0.20:0").address);
    let answer = Packet::other(GRE, ep("10.64.0.20:0"), ep("203.0.113.10:0"));
    let answer = gateway.outbound(answer).delivered();
    assert_eq!(answer.destination.address, ep(HOST).address);
    assert_eq!(answer.source.address, ep("203.0.113.20:0").address);
}

#[test]
fn exempt_traffic_of_every_protocol_stays_as_it_is() {
    let exempt = rule("10.64.0.0/24", "192.0.2.0/24", RuleAction::Exempt);
    let mut gateway = Gateway::changed(|settings| settings.rules.insert(0, exempt));
    let (host, remote) = (ep(HOST), ep("192.0.2.9:0"));
    let out = gateway.outbound(Packet::other(ESP, host, remote)).out();
    assert_eq!(out.source.address, host.address);
    let back = gateway.inbound(Packet::other(ESP, remote, host)).delivered();
    assert_eq!(back.destination.address, host.address);
}

#[test]
fn a_rule_names_one_of_them_or_all() {
    let of = |number: u16| Rule {
        protocol: Some(Protocol::Other),
        ports: number..=number,
        ..rule("10.64.0.0/24", "0.0.0.0/0", RuleAction::Drop)
    };
    // A port without a protocol means UDP and TCP.
    let port = Rule { ports: ESP.into()..=ESP.into(), protocol: None, ..of(0) };
    let mut gateway = Gateway::changed(|settings| {
        translate_all(settings);
        settings.rules.splice(0..0, [of(GRE.into()), port]);
    });
    assert_eq!(gateway.outbound(from_host(GRE)).reason(), DropReason::RuleDrop);
    gateway.outbound(from_host(ESP)).out();
    gateway.outbound(from_host(99)).out();
    gateway.reload(|settings| settings.rules[0].ports = 0..=u16::MAX);
    assert!(gateway.sessions().is_empty());
    gateway.open(Protocol::Tcp, ep("10.64.0.5:4000"), ep("198.51.100.7:80"));
}

#[test]
fn their_sessions_have_limits() {
    let mut gateway = Gateway::changed(|settings| {
        translate_all(settings);
        settings.limits.protocol_sessions_per_subscriber[Protocol::Other] = 2;
    });
    gateway.outbound(from_host(GRE)).out();
    gateway.outbound(from_host(ESP)).out();
    assert_eq!(gateway.outbound(from_host(SCTP)).reason(), DropReason::SubscriberSessions);
    gateway.open(Protocol::Tcp, ep("10.64.0.5:4000"), ep("198.51.100.7:80"));

    let mut gateway = Gateway::changed(|settings| {
        translate_all(settings);
        settings.limits.sessions_per_subscriber = 2;
        settings.limits.ports_per_subscriber = 1;
    });
    gateway.outbound(from_host(GRE)).out();
    gateway.open(Protocol::Tcp, ep("10.64.0.5:4000"), ep("198.51.100.7:80"));
    assert_eq!(gateway.outbound(from_host(ESP)).reason(), DropReason::SubscriberSessions);
}

#[test]
fn one_of_them_is_listed_and_deleted_by_its_number() {
    let mut gateway = gateway(3);
    NUMBERS.into_iter().for_each(|number| drop(gateway.outbound(from_host(number)).out()));
    let gre = Filter { protocol: Some(Protocol::Other), port: Some(GRE.into()), ..Filter::default() };
    assert_eq!(gateway.delete(&gre), 1);
    assert_eq!(gateway.outbound(from_host(ESP)).out().protocol, ESP);
    assert_eq!(gateway.mappings().len(), NUMBERS.len() - 1);
    assert_eq!(gateway.delete(&Filter::default()) as usize, NUMBERS.len() - 1);
    assert!(gateway.sessions().is_empty() && gateway.mappings().is_empty());
    let usage = Protocol::WITH_PORTS.map(|protocol| gateway.shards[0].pool_usage(0, protocol).used);
    assert_eq!(usage, [0; 3]);
}
