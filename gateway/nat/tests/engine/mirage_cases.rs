//! The cases that the tests of mirage-nat state, tried on this engine. The suite began with them.
//!
//! Rewriting, one flow twice, endpoints that are taken, what no NAT translates, errors of routers in between, and many
//! entries; fragments are in [`crate::mirage_fragments`].

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use natgw_config::Config;
use natgw_nat::{Direction, DropReason, Endpoint, Filter, Protocol};
use natgw_wire::ipv4;

use crate::packet::{Packet, Seen, at_port, ep};
use crate::sim::{Gateway, forward, settings};

const HOST: &str = "10.64.0.5:4000";
const OTHER: &str = "10.64.0.6:4000";
const REMOTE: &str = "198.51.100.7:7000";
const ROUTER: &str = "192.0.2.254";

/// The one outside endpoint of [`one_endpoint`].
const EXTERNAL: &str = "203.0.113.10:9001";

/// A gateway whose pool is one endpoint, which no host's port looks like.
fn one_endpoint() -> Gateway {
    Gateway::changed(|settings| {
        settings.pools[0].addresses.truncate(1);
        settings.pools[0].ports = 9001..=9001;
    })
}

/// `(10.64.0.5:4000 -> r:q)` becomes `(203.0.113.10:9001 -> r:q)`, and the reply to that comes back: with a TTL of one
/// less, right checksums, and every other octet as it was.
fn is_rewritten_out_and_back(protocol: Protocol) {
    let mut gateway = one_endpoint();
    let first = Packet::first(protocol, ep(HOST), ep(REMOTE)).ttl(52);
    let out = gateway.outbound(first.clone()).out();
    assert_eq!(out.bytes, Packet { source: ep(EXTERNAL), ttl: 51, ..first }.bytes());
    let reply = Packet::answer(protocol, ep(REMOTE), ep(EXTERNAL)).ttl(52);
    let back = gateway.inbound(reply.clone()).delivered();
    assert_eq!(back.bytes, Packet { destination: ep(HOST), ttl: 51, ..reply }.bytes());
}

#[test]
fn udp_is_rewritten_out_and_back() {
    is_rewritten_out_and_back(Protocol::Udp);
}

#[test]
fn tcp_is_rewritten_out_and_back() {
    is_rewritten_out_and_back(Protocol::Tcp);
}

#[test]
fn ping_is_rewritten_out_and_back() {
    is_rewritten_out_and_back(Protocol::Icmp);
}

#[test]
fn a_flow_that_is_added_again_is_the_same_entry_and_lives_longer() {
    for protocol in Protocol::WITH_PORTS {
        let mut gateway = one_endpoint();
        let timeouts = gateway.settings.timeouts;
        let timeout_s = match protocol {
            Protocol::Udp => timeouts.udp_s,
            Protocol::Tcp => timeouts.tcp_opening_s,
            Protocol::Icmp => timeouts.icmp_s,
            Protocol::Other => timeouts.other_s,
        };
        for _ in 0..3 {
            assert_eq!(gateway.open(protocol, ep(HOST), ep(REMOTE)), ep(EXTERNAL));
            gateway.pass_s(u64::from(timeout_s) - 1);
        }
        assert_eq!((gateway.sessions().len(), gateway.mappings().len()), (1, 1), "{protocol:?}");
        assert_eq!(gateway.shards[0].counters().sessions_created.iter().sum::<u64>(), 1);
        gateway.inbound(Packet::answer(protocol, ep(REMOTE), ep(EXTERNAL))).delivered();
    }
}

#[test]
fn an_outside_endpoint_in_use_is_refused_to_another() {
    for protocol in Protocol::WITH_PORTS {
        let mut gateway = one_endpoint();
        gateway.open(protocol, ep(HOST), ep(REMOTE));
        for remote in [REMOTE, "198.51.100.8:7000"] {
            let overlapping = Packet::first(protocol, ep(OTHER), ep(remote));
            assert_eq!(gateway.outbound(overlapping).reason(), DropReason::PortsExhausted);
        }
        // Nor does a host inside get to speak as that endpoint.
        let half_known = Packet::first(protocol, ep(EXTERNAL), ep(REMOTE));
        assert_eq!(gateway.outbound(half_known).reason(), DropReason::SpoofedInside);
        let back = gateway.inbound(Packet::answer(protocol, ep(REMOTE), ep(EXTERNAL))).delivered();
        assert_eq!(back.destination, ep(HOST), "{protocol:?}: it stays whose it was");
    }
}

#[test]
fn an_outside_endpoint_is_configured_for_one_host_alone() {
    const CONFIG: &str = include_str!("../../../../config/gateway.toml");
    let another = |protocol: &str, external: &str| {
        let internal = "10.64.0.77:7777";
        let added = format!(
            "{CONFIG}\n[[nat.port_forwards]]\nprotocol = \"{protocol}\"\nexternal = \"{external}\"\ninternal = \"{internal}\"\n"
        );
        Config::parse(&added, "gateway.toml").map(|_| ()).map_err(|mistakes| mistakes.len())
    };
    assert_eq!(another("tcp", "203.0.113.13:8081"), Ok(()));
    assert_eq!(another("udp", "203.0.113.13:8080"), Ok(()), "TCP's port is not UDP's");
    assert_eq!(another("tcp", "203.0.113.13:8080"), Err(1), "another forward has it");
    assert_eq!(another("tcp", "203.0.113.70:8080"), Err(1), "a 1:1 mapping has it");
}

#[test]
fn a_port_is_free_for_each_protocol_apart() {
    let mut gateway = one_endpoint();
    for (protocol, host) in [(Protocol::Udp, HOST), (Protocol::Tcp, OTHER), (Protocol::Icmp, "10.64.0.7:1")] {
        let used = |gateway: &Gateway| gateway.shards[0].pool_usage(0, protocol).used;
        assert_eq!(used(&gateway), 0, "{protocol:?}");
        assert_eq!(gateway.open(protocol, ep(host), ep(REMOTE)), ep(EXTERNAL));
        assert_eq!(used(&gateway), 1);
        let second = Packet::first(protocol, ep("10.64.0.8:1"), ep(REMOTE));
        assert_eq!(gateway.outbound(second).reason(), DropReason::PortsExhausted);
    }
}

#[test]
fn a_forwarded_port_is_free_for_the_other_protocol() {
    let mut settings = settings();
    settings.pools[0].addresses.truncate(1);
    settings.pools[0].ports = 9001..=9001;
    settings.port_forwards.push(forward(Protocol::Udp, EXTERNAL, "10.64.0.12:5353"));
    let mut gateway = Gateway::new(settings);
    let udp = Packet::first(Protocol::Udp, ep(HOST), ep(REMOTE));
    assert_eq!(gateway.outbound(udp).reason(), DropReason::PortsExhausted);
    assert_eq!(gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE)), ep(EXTERNAL));
}

#[test]
fn broadcasts_are_refused_and_leave_no_entry() {
    let mut gateway = Gateway::changed(|_| {});
    for protocol in Protocol::WITH_PORTS {
        for to in ["255.255.255.255:80", "10.64.0.255:80", "203.0.113.255:80"] {
            let broadcast = Packet::first(protocol, ep(HOST), ep(to)).ttl(30);
            let reason = gateway.outbound(broadcast).reason();
            let expected = [DropReason::DestinationBroadcast, DropReason::DestinationDirectedBroadcast];
            assert!(expected.contains(&reason), "{protocol:?} to {to}: {reason:?}");
        }
    }
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
}

#[test]
fn a_bare_header_is_refused() {
    let mut gateway = Gateway::changed(|_| {});
    for protocol in Protocol::WITH_PORTS {
        let mut bytes = Packet::first(protocol, ep(HOST), ep(REMOTE)).bytes();
        bytes.truncate(20);
        let mut header = ipv4::Packet::new_unchecked(&mut bytes[..]);
        header.set_total_len(20);
        header.fill_checksum();
        for direction in Direction::ALL {
            assert_eq!(gateway.raw(&bytes, direction).reason(), DropReason::Truncated);
            assert_eq!(gateway.raw(&[], direction).reason(), DropReason::Truncated);
        }
    }
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
}

/// The host gets the error with the very packet in it that it had sent, but for the TTL on the way.
fn an_error_in_between_embeds_what_was_sent(protocol: Protocol) {
    for (ty, code) in [(3, 0), (3, 1), (11, 0)] {
        let mut gateway = one_endpoint();
        let first = Packet::first(protocol, ep(HOST), ep(REMOTE));
        let seen = gateway.outbound(first.clone()).out();
        let error = gateway.inbound(Packet::error(ROUTER, ty, code, &seen.bytes)).delivered();
        assert_eq!(error.source, ep(&format!("{ROUTER}:0")));
        assert_eq!(error.destination, at_port(ep(HOST), 0));
        assert_eq!((error.bytes[20], error.bytes[21]), (ty, code));
        assert_eq!(error.embedded().bytes, first.ttl(63).bytes());
    }
}

#[test]
fn a_routers_error_about_a_ping_embeds_what_the_host_sent() {
    an_error_in_between_embeds_what_was_sent(Protocol::Icmp);
}

#[test]
fn a_routers_error_about_udp_embeds_what_the_host_sent() {
    an_error_in_between_embeds_what_was_sent(Protocol::Udp);
}

#[test]
fn a_routers_error_about_tcp_embeds_what_the_host_sent() {
    an_error_in_between_embeds_what_was_sent(Protocol::Tcp);
}

/// 700 flows of 50 hosts over three shards, and what each was told its outside endpoint is.
fn many_entries() -> (Gateway, HashMap<(Protocol, Endpoint, Endpoint), Endpoint>) {
    let mut gateway = Gateway::with_shards(settings(), 3, 1024);
    let flows = (0..700_u32).map(|nth| {
        let host = Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 10).to_bits() + nth % 50);
        let remote = Ipv4Addr::from_bits(Ipv4Addr::new(198, 51, 100, 1).to_bits() + nth * 7 % 97);
        let protocol = Protocol::WITH_PORTS[nth as usize % 3];
        let from = Endpoint::new(host, 1024 + (nth * 31 % 5000) as u16);
        let to = Endpoint::new(remote, if protocol == Protocol::Icmp { 0 } else { 80 });
        let external = gateway.open(protocol, from, to);
        ((protocol, from, to), external)
    });
    let flows = flows.collect();
    (gateway, flows)
}

fn replies_arrive(gateway: &mut Gateway, flows: &HashMap<(Protocol, Endpoint, Endpoint), Endpoint>) {
    for (&(protocol, from, to), &external) in flows {
        let back: Seen = gateway.inbound(Packet::answer(protocol, to, external)).delivered();
        assert_eq!((back.source, back.destination), (to, from));
    }
}

#[test]
fn hundreds_of_entries_are_added_and_every_reply_arrives() {
    let (mut gateway, flows) = many_entries();
    assert_eq!((flows.len(), gateway.sessions().len()), (700, 700));
    let externals: HashSet<_> = flows.iter().map(|(flow, external)| (flow.0, external)).collect();
    assert_eq!(externals.len(), gateway.mappings().len(), "no two mappings share an endpoint");
    replies_arrive(&mut gateway, &flows);
}

#[test]
fn one_hosts_entries_are_removed_and_no_others() {
    let (mut gateway, mut flows) = many_entries();
    let host = Ipv4Addr::new(10, 64, 0, 17);
    let filter = Filter { inside: Some(host), ..Filter::default() };
    assert_eq!(gateway.delete(&Filter { inside: Some(Ipv4Addr::LOCALHOST), ..filter }), 0, "nobody's");
    let removed: Vec<_> = flows.extract_if(|flow, _| flow.1.address == host.to_bits()).collect();
    assert_eq!(gateway.delete(&filter) as usize, removed.len());
    assert_eq!((removed.len(), gateway.sessions().len()), (14, 686));
    for ((protocol, _, to), external) in removed {
        let late = Packet::answer(protocol, to, external);
        assert_eq!(gateway.inbound(late).reason(), DropReason::NoMapping);
    }
    replies_arrive(&mut gateway, &flows);
    assert_eq!(gateway.delete(&Filter::default()), 686);
    gateway.drain();
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
}
