//! Permanent mappings (port forwards, 1:1), masquerading on an own address, exemptions and drop rules.

use std::net::Ipv4Addr;

use natgw_nat::{
    DropReason, Filtering, IcmpReply, PoolUsage, PortForward, Protocol, RuleAction, Settings, Static,
};
use natgw_wire::tcp::Flags;

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, forward, rule, settings};

const HOST: &str = "10.64.0.5:4000";
const SERVER: &str = "10.64.0.12";
const REMOTE: &str = "198.51.100.7:7000";

fn statics(settings: &mut Settings, external: &str, internal: &str) {
    let [external, internal] = [external, internal].map(|prefix| prefix.parse().expect("prefix"));
    settings.statics.push(Static { external, internal });
}

fn one_to_one(settings: &mut Settings) {
    statics(settings, "203.0.113.20/32", "10.64.0.20/32");
}

#[test]
fn port_forward_of_a_range_reaches_the_inside_host_port_by_port() {
    let mut gateway = Gateway::changed(|settings| {
        let first = forward(Protocol::Tcp, "203.0.113.13:9000", "10.64.0.12:80");
        settings.port_forwards.push(PortForward { external_ports: 9000..=9009, ..first });
    });
    for port in 0..10 {
        let external = ep(&format!("203.0.113.13:{}", 9000 + port));
        let internal = ep(&format!("{SERVER}:{}", 80 + port));
        let syn = gateway.inbound(Packet::tcp(ep(REMOTE), external, Flags::SYN)).delivered();
        assert_eq!((syn.source, syn.destination), (ep(REMOTE), internal));
        let answer = gateway.outbound(Packet::tcp(internal, ep(REMOTE), Flags::SYN | Flags::ACK)).out();
        assert_eq!(answer.source, external);
        gateway.inbound(Packet::tcp(ep(REMOTE), external, Flags::ACK)).delivered();
    }
    assert!(gateway.sessions().iter().all(|session| session.state == "established"));
    for outside in ["203.0.113.13:8999", "203.0.113.13:9010"] {
        let stray = Packet::tcp(ep(REMOTE), ep(outside), Flags::SYN);
        assert_eq!(gateway.inbound(stray).reason(), DropReason::NoMapping);
    }
    let datagram = Packet::udp(ep(REMOTE), ep("203.0.113.13:9000"));
    assert_eq!(gateway.inbound(datagram).reason(), DropReason::NoMapping, "the forward is of TCP alone");
}

#[test]
fn port_forward_refusal_by_the_inside_host_passes_without_a_session() {
    let mut gateway = Gateway::changed(|settings| {
        settings.port_forwards.push(forward(Protocol::Tcp, "203.0.113.13:9000", "10.64.0.12:80"));
    });
    let external = ep("203.0.113.13:9000");
    gateway.inbound(Packet::tcp(ep(REMOTE), external, Flags::SYN)).delivered();
    let refusal = Packet::tcp(ep("10.64.0.12:80"), ep(REMOTE), Flags::RST | Flags::ACK);
    assert_eq!(gateway.outbound(refusal).out().source, external);
    assert_eq!(gateway.sessions(), []);
}

#[test]
fn port_forward_hairpins_between_shards_too() {
    for shards in [1, 2] {
        let mut settings = settings();
        settings.port_forwards.push(forward(Protocol::Udp, "203.0.113.13:53", "10.64.0.12:5353"));
        let mut gateway = Gateway::with_shards(settings, shards, 64);
        let (external, internal) = (ep("203.0.113.13:53"), ep("10.64.0.12:5353"));
        let seen = gateway.outbound(Packet::udp(ep(HOST), external)).delivered();
        assert_eq!(seen.destination, internal);
        assert_ne!(seen.source.address, ep(HOST).address, "the target sees the sender's outside address");
        let back = gateway.outbound(Packet::udp(internal, seen.source)).delivered();
        assert_eq!((back.source, back.destination), (external, ep(HOST)));
    }
}

#[test]
fn port_forward_keeps_its_port_from_the_pool() {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools[0].addresses.truncate(1);
        settings.pools[0].ports = 4000..=4001;
        settings.port_forwards.push(forward(Protocol::Udp, "203.0.113.10:4000", "10.64.0.12:4000"));
    });
    assert_eq!(gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE)).port, 4001);
    let other = Packet::udp(ep("10.64.0.6:4000"), ep(REMOTE));
    assert_eq!(gateway.outbound(other).reason(), DropReason::PortsExhausted);
    assert_eq!(gateway.shards[0].pool_usage(0, Protocol::Udp), PoolUsage { used: 2, held: 0, total: 2 });
    // Of TCP both are free.
    assert_eq!(gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE)).port, 4000);
}

#[test]
fn port_forward_is_open_again_when_its_sessions_are_over() {
    let mut gateway = Gateway::changed(|settings| {
        settings.port_forwards.push(forward(Protocol::Udp, "203.0.113.13:53", "10.64.0.12:5353"));
    });
    for _ in 0..3 {
        gateway.inbound(Packet::udp(ep("192.0.2.1:1"), ep("203.0.113.13:53"))).delivered();
        gateway.outbound(Packet::udp(ep("10.64.0.12:5353"), ep(REMOTE))).out();
        gateway.inbound(Packet::udp(ep("192.0.2.1:1"), ep("203.0.113.13:53"))).delivered();
        gateway.pass_ms(300_128);
        assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
    }
}

#[test]
fn static_mapping_passes_every_port_both_ways() {
    let mut gateway = Gateway::changed(one_to_one);
    let (inside, outside) = (ep("10.64.0.20:1234"), ep("203.0.113.20:1234"));
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        assert_eq!(gateway.open(protocol, inside, ep(REMOTE)), outside);
        for port in [1, 22, 1234, 65535] {
            let sent = Packet::first(protocol, ep("192.0.2.1:5"), at_port(outside, port));
            assert_eq!(gateway.inbound(sent).delivered().destination, at_port(inside, port));
        }
    }
    assert_eq!(gateway.sessions().len(), 2);
}

#[test]
fn static_mapping_of_a_prefix_pairs_its_addresses_in_order() {
    for shards in [1, 3] {
        let mut settings = settings();
        settings.inside_routed.push("10.64.9.0/24".parse().expect("prefix"));
        settings.rules.clear();
        statics(&mut settings, "203.0.113.64/28", "10.64.9.0/28");
        let mut gateway = Gateway::with_shards(settings, shards, 64);
        for host in 0..16 {
            let (inside, outside) =
                (ep(&format!("10.64.9.{host}:1234")), ep(&format!("203.0.113.{}:1234", 64 + host)));
            assert_eq!(gateway.open(Protocol::Udp, inside, ep(REMOTE)), outside);
            let sent = Packet::tcp(ep("192.0.2.1:5"), at_port(outside, 22), Flags::SYN);
            assert_eq!(gateway.inbound(sent).delivered().destination, at_port(inside, 22));
        }
        let beyond = Packet::udp(ep("10.64.9.16:1234"), ep(REMOTE));
        assert_eq!(gateway.outbound(beyond).reason(), DropReason::NoRule);
        let beyond = Packet::udp(ep(REMOTE), ep("203.0.113.80:1234"));
        assert_eq!(gateway.inbound(beyond).reason(), DropReason::NoMapping);
    }
}

#[test]
fn static_mapping_of_a_prefix_leaves_the_gateways_own_address_out() {
    let mut gateway = Gateway::changed(|settings| statics(settings, "203.0.113.64/28", "10.64.0.0/28"));
    let own = Packet::udp(ep(REMOTE), ep("203.0.113.65:53"));
    assert_eq!(gateway.inbound(own).reason(), DropReason::NoMapping);
    let next = Packet::udp(ep(REMOTE), ep("203.0.113.66:53"));
    assert_eq!(gateway.inbound(next).delivered().destination, ep("10.64.0.2:53"));
}

#[test]
fn static_mapping_pings_both_ways() {
    let mut gateway = Gateway::changed(one_to_one);
    for ident in [0, 77] {
        let (inside, outside) = (ep("10.64.0.20:0"), ep("203.0.113.20:0"));
        let asked = gateway.inbound(Packet::ping(at_port(ep(REMOTE), ident), outside)).delivered();
        assert_eq!((asked.source, asked.destination), (at_port(ep(REMOTE), ident), inside));
        let reply = gateway.outbound(Packet::pong(inside, asked.source)).out();
        assert_eq!((reply.source, reply.destination), (outside, at_port(ep(REMOTE), ident)));
        assert_eq!(gateway.sessions(), []);
    }
    let asked = gateway.outbound(Packet::ping(ep("10.64.0.20:9"), ep("192.0.2.1:0"))).out();
    assert_eq!(asked.source, ep("203.0.113.20:9"));
    let reply = gateway.inbound(Packet::pong(ep("192.0.2.1:0"), asked.source)).delivered();
    assert_eq!(reply.destination, ep("10.64.0.20:9"));
}

#[test]
fn static_mapping_translates_errors_both_ways() {
    let mut gateway = Gateway::changed(one_to_one);
    let delivered = gateway.inbound(Packet::udp(ep(REMOTE), ep("203.0.113.20:99"))).delivered();
    let error = gateway.outbound(Packet::error("10.64.0.20", 3, 3, &delivered.bytes)).out();
    assert_eq!((error.source, error.embedded().destination), (ep("203.0.113.20:0"), ep("203.0.113.20:99")));
    let sent = gateway.outbound(Packet::udp(ep("10.64.0.20:5"), ep(REMOTE))).out();
    let back = gateway.inbound(Packet::error("192.0.2.254", 11, 0, &sent.bytes)).delivered();
    assert_eq!((back.destination, back.embedded().source), (ep("10.64.0.20:0"), ep("10.64.0.20:5")));
}

#[test]
fn static_mapping_hairpins() {
    let mut gateway = Gateway::changed(one_to_one);
    let seen = gateway.outbound(Packet::udp(ep(HOST), ep("203.0.113.20:53"))).delivered();
    assert_eq!(seen.destination, ep("10.64.0.20:53"));
    let back = gateway.outbound(Packet::udp(ep("10.64.0.20:53"), seen.source)).delivered();
    assert_eq!((back.source, back.destination), (ep("203.0.113.20:53"), ep(HOST)));
}

/// The pool is the gateway's own outside address.
fn masquerading() -> Gateway {
    Gateway::changed(|settings| {
        settings.pools[0].addresses = vec![Ipv4Addr::new(203, 0, 113, 2)];
        settings.pools[0].filtering = Filtering::EndpointIndependent;
    })
}

#[test]
fn masquerade_translates_to_the_own_address_and_leaves_the_rest_to_the_gateway() {
    let mut gateway = masquerading();
    for protocol in Protocol::WITH_PORTS {
        let external = gateway.open(protocol, ep(HOST), ep(REMOTE));
        assert_eq!(external.address, ep("203.0.113.2:0").address);
        let answer = Packet::answer(protocol, ep(REMOTE), external);
        assert_eq!(gateway.inbound(answer).delivered().destination, ep(HOST));
    }
    for own in ["203.0.113.2:22", "203.0.113.2:65000"] {
        assert_eq!(gateway.inbound(Packet::tcp(ep(REMOTE), ep(own), Flags::SYN)), Outcome::Local);
        assert_eq!(gateway.inbound(Packet::udp(ep(REMOTE), ep(own))), Outcome::Local);
    }
}

#[test]
fn masquerade_leaves_pings_of_the_own_address_to_the_gateway() {
    let mut gateway = masquerading();
    gateway.open(Protocol::Icmp, ep(HOST), ep(REMOTE));
    let own = ep("203.0.113.2:0");
    assert_eq!(gateway.inbound(Packet::ping(ep(REMOTE), own)), Outcome::Local);
    assert_eq!(gateway.outbound(Packet::ping(ep(HOST), own)), Outcome::Local);
    assert_eq!(gateway.outbound(Packet::ping(ep(HOST), ep("10.64.0.1:0"))), Outcome::Local);
}

#[test]
fn masquerade_hairpins() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut gateway = masquerading();
        let external = gateway.open(protocol, ep(HOST), ep(REMOTE));
        let call = Packet::first(protocol, ep("10.64.0.6:5000"), external);
        let seen = gateway.outbound(call).delivered();
        assert_eq!(seen.destination, ep(HOST));
        assert_eq!(seen.source.address, external.address, "the caller's outside endpoint");
    }
}

/// What ends at the gateway needs no further hop; what only passes does.
#[test]
fn masquerade_answers_for_the_own_address_at_ttl_1() {
    let mut gateway = masquerading();
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    assert_eq!(gateway.inbound(Packet::ping(ep(REMOTE), ep("203.0.113.2:0")).ttl(1)), Outcome::Local);
    assert_eq!(gateway.outbound(Packet::ping(ep(HOST), ep("203.0.113.2:0")).ttl(1)), Outcome::Local);
    assert_eq!(gateway.inbound(Packet::udp(ep(REMOTE), ep("203.0.113.2:9")).ttl(1)), Outcome::Local);
    let passing = gateway.inbound(Packet::udp(ep(REMOTE), external).ttl(1));
    assert_eq!(passing, Outcome::Reply(IcmpReply::TimeExceeded));
}

#[test]
fn masquerade_drops_errors_about_the_gateways_own_packets_as_local() {
    let mut gateway = masquerading();
    let own = Packet::udp(ep("203.0.113.2:123"), ep(REMOTE)).bytes();
    let error = Packet::error("192.0.2.254", 3, 3, &own);
    assert_eq!(gateway.inbound(error).reason(), DropReason::LocalNoService);
}

#[test]
fn rules_are_first_match_and_no_match_is_not_forwarded() {
    let mut gateway = Gateway::changed(|settings| {
        let mut telnet = rule("10.64.0.0/24", "0.0.0.0/0", RuleAction::Drop);
        (telnet.protocol, telnet.ports) = (Some(Protocol::Tcp), 23..=23);
        settings.rules = vec![
            telnet,
            rule("10.64.0.0/24", "198.51.100.0/24", RuleAction::Pool(0)),
            rule("10.64.0.0/24", "198.51.100.7/32", RuleAction::Drop),
        ];
    });
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let telnet = Packet::tcp(ep(HOST), ep("198.51.100.7:23"), Flags::SYN);
    assert_eq!(gateway.outbound(telnet).reason(), DropReason::RuleDrop);
    gateway.open(Protocol::Udp, ep(HOST), ep("198.51.100.7:23"));
    let elsewhere = Packet::udp(ep(HOST), ep("192.0.2.1:1"));
    assert_eq!(gateway.outbound(elsewhere).reason(), DropReason::NoRule);
}

#[test]
fn rules_bind_hosts_with_permanent_mappings_too() {
    let mut gateway = Gateway::changed(|settings| {
        one_to_one(settings);
        settings.rules = vec![rule("10.64.0.0/24", "192.0.2.0/24", RuleAction::Drop)];
    });
    let refused = Packet::udp(ep("10.64.0.20:1"), ep("192.0.2.1:1"));
    assert_eq!(gateway.outbound(refused).reason(), DropReason::RuleDrop);
    gateway.open(Protocol::Udp, ep("10.64.0.20:1"), ep(REMOTE));
}

#[test]
fn a_flood_of_forged_syns_through_a_forward_makes_no_session() {
    let mut gateway = Gateway::changed(|settings| {
        settings.port_forwards.push(forward(Protocol::Tcp, "203.0.113.13:8080", "10.64.0.12:80"));
    });
    for forged in 0..500 {
        let remote = ep(&format!("198.51.{}.{}:1024", forged / 250, forged % 250 + 1));
        gateway.inbound(Packet::tcp(remote, ep("203.0.113.13:8080"), Flags::SYN)).delivered();
        gateway.outbound(Packet::tcp(ep("10.64.0.12:80"), remote, Flags::SYN | Flags::ACK)).out();
    }
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
}

#[test]
fn an_endpoint_has_a_mapping_in_each_pool_that_rules_send_it_to() {
    let mut gateway = Gateway::changed(|settings| {
        let mut partner = settings.pools[0].clone();
        partner.name = "partner".into();
        partner.addresses = vec![Ipv4Addr::new(192, 0, 2, 200)];
        settings.pools.push(partner);
        settings.rules.insert(0, rule("10.64.0.0/24", "198.18.0.0/16", RuleAction::Pool(1)));
    });
    let elsewhere = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let partner = gateway.open(Protocol::Udp, ep(HOST), ep("198.18.0.1:9"));
    assert_eq!(Ipv4Addr::from_bits(partner.address), Ipv4Addr::new(192, 0, 2, 200));
    assert_eq!(gateway.open(Protocol::Udp, ep(HOST), ep("198.51.100.8:9")), elsewhere);
    assert_eq!(gateway.open(Protocol::Udp, ep(HOST), ep("198.18.0.2:9")), partner);
}

#[test]
fn the_gateways_inside_address_is_not_to_be_seen_from_outside() {
    let mut gateway = Gateway::changed(|_| {});
    for ttl in [1, 64] {
        let ping = Packet::ping(ep("198.51.100.7:5"), ep("10.64.0.1:0")).ttl(ttl);
        assert_eq!(gateway.inbound(ping).reason(), DropReason::InsideFromOutside);
    }
}
