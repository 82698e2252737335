//! Pools with address-and-port-dependent mapping: ports that mappings to different destinations share (RFC 4787 REQ-1,
//! RFC 7857 section 3), and what the other requirements mean there.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use natgw_nat::{DropReason, Endpoint, Filtering, MappingMode, PoolUsage, Protocol, Settings};

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, settings};

const HOST: &str = "10.64.0.5:4000";
const OTHER: &str = "10.64.0.6:4000";
const REMOTE: &str = "198.51.100.7:7000";
const ELSEWHERE: &str = "192.0.2.9:7000";

/// A pool of a few ports of one address, each of which serves every destination.
fn shared(ports: u16) -> Settings {
    let mut settings = settings();
    settings.pools[0].addresses.truncate(1);
    settings.pools[0].ports = 2000..=1999 + ports;
    settings.pools[0].mapping = MappingMode::AddressAndPortDependent;
    settings.limits.new_sessions_per_subscriber_per_s = 1_000_000;
    settings
}

fn usage(gateway: &Gateway) -> PoolUsage {
    gateway.shards[0].pool_usage(0, Protocol::Udp)
}

#[test]
fn rfc4787_req1_an_address_and_port_dependent_pool_maps_each_destination_apart() {
    let mut settings = settings();
    settings.pools[0].mapping = MappingMode::AddressAndPortDependent;
    settings.pools[0].port_preservation = false;
    let mut gateway = Gateway::new(settings);
    let remotes = ["198.51.100.7:7000", "198.51.100.7:7001", "198.51.100.8:7000"].map(ep);
    let mapped = remotes.map(|remote| gateway.open(Protocol::Udp, ep(HOST), remote));
    assert_eq!(HashSet::from(mapped).len(), 3);
    let mappings = gateway.mappings();
    assert!(mappings.iter().map(|mapping| mapping.remote).eq(remotes.map(Some)));
    for (remote, external) in remotes.into_iter().zip(mapped) {
        assert_eq!(gateway.open(Protocol::Udp, ep(HOST), remote), external, "while it lives it is kept");
        assert_eq!(gateway.inbound(Packet::udp(remote, external)).delivered().destination, ep(HOST));
    }
}

#[test]
fn rfc7857_two_ports_serve_500_destinations() {
    for protocol in Protocol::WITH_PORTS {
        let mut gateway = Gateway::with_shards(shared(2), 1, 2048);
        let remote = |nth: u32| Endpoint { address: ep(REMOTE).address + nth, port: 443 };
        let hosts = [HOST, OTHER].map(ep);
        for nth in 0..500 {
            let external = hosts.map(|host| gateway.open(protocol, host, remote(nth)));
            assert_ne!(external[0], external[1]);
            let third = Packet::first(protocol, ep("10.64.0.7:4000"), remote(nth));
            assert_eq!(gateway.outbound(third).reason(), DropReason::PortsExhausted, "two ports are two");
        }
        for session in gateway.sessions() {
            let back = gateway.inbound(Packet::answer(protocol, session.remote, session.external));
            assert_eq!(back.delivered().destination, session.internal);
        }
        assert_eq!(gateway.sessions().len(), 1000);
        let usage = gateway.shards[0].pool_usage(0, protocol);
        assert_eq!(usage, PoolUsage { used: 2, held: 0, total: 2 });
    }
}

#[test]
fn rfc7857_a_shared_port_admits_only_the_remotes_of_its_sessions() {
    let mut settings = shared(1);
    settings.pools[0].filtering = Filtering::EndpointIndependent;
    let mut gateway = Gateway::new(settings);
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    assert_eq!(gateway.open(Protocol::Udp, ep(OTHER), ep(ELSEWHERE)), external);
    for stranger in ["198.51.100.7:7001", "192.0.2.9:7001", "192.0.2.10:7000"] {
        assert_eq!(gateway.inbound(Packet::udp(ep(stranger), external)).reason(), DropReason::NoMapping);
    }
    for (remote, host) in [(REMOTE, HOST), (ELSEWHERE, OTHER)] {
        assert_eq!(gateway.inbound(Packet::udp(ep(remote), external)).delivered().destination, ep(host));
    }
}

#[test]
fn rfc5508_req4_an_error_about_a_shared_port_goes_to_the_host_that_sent_to_that_remote() {
    let mut gateway = Gateway::new(shared(1));
    let sent = [(HOST, REMOTE), (OTHER, ELSEWHERE)]
        .map(|(host, remote)| (host, gateway.outbound(Packet::udp(ep(host), ep(remote))).out()));
    assert_eq!(sent[0].1.source, sent[1].1.source);
    for (host, sent) in &sent {
        let seen = gateway.inbound(Packet::error("192.0.2.254", 3, 3, &sent.bytes)).delivered();
        assert_eq!((seen.destination.address, seen.embedded().source), (ep(host).address, ep(host)));
    }
    let mut unknown = Packet::udp(sent[0].1.source, ep("192.0.2.77:1")).bytes();
    unknown[8] = 63;
    let stray = gateway.inbound(Packet::error("192.0.2.254", 3, 3, &unknown));
    assert!(matches!(stray.reason(), DropReason::IcmpEmbedded | DropReason::IcmpNoSession));
}

#[test]
fn rfc4787_req9_hosts_behind_shared_ports_hairpin_once_both_have_sent() {
    for shards in [1, 2] {
        let mut settings = shared(40);
        settings.pools[0].addresses.push(Ipv4Addr::new(203, 0, 113, 11));
        let mut gateway = Gateway::with_shards(settings, shards, 1024);
        let (caller, target) = (ep(HOST), ep("10.64.0.8:5000"));
        let of_target = gateway.open(Protocol::Udp, target, ep(REMOTE));
        assert_eq!(gateway.outbound(Packet::udp(caller, of_target)).reason(), DropReason::NoMapping);
        let of_caller = gateway.sessions().iter().find(|s| s.internal == caller).expect("session").external;
        let back = gateway.outbound(Packet::udp(target, of_caller));
        // Towards the caller the target has an endpoint of its own, perhaps another than the caller knows.
        let towards = gateway.sessions().iter().find(|s| s.remote == of_caller).expect("session").external;
        let known = towards == of_target;
        assert_eq!(back.is_delivered(), known);
        assert_eq!(gateway.outbound(Packet::udp(caller, of_target)).is_delivered(), known);
    }
}

#[test]
fn rfc6888_req8_a_shared_port_rests_towards_its_remote_alone() {
    let mut gateway = Gateway::new(shared(1));
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.pass_s(200);
    gateway.open(Protocol::Udp, ep(HOST), ep(ELSEWHERE));
    gateway.pass_s(101);
    assert_eq!(usage(&gateway), PoolUsage { used: 1, held: 0, total: 1 }, "one of its mappings is in use");
    assert_eq!(gateway.outbound(Packet::udp(ep(OTHER), ep(REMOTE))).reason(), DropReason::PortsExhausted);
    assert_eq!(gateway.open(Protocol::Udp, ep(OTHER), ep("192.0.2.77:7000")), external);
    // The subscriber itself goes on with what rests for the others' sake.
    assert_eq!(gateway.open(Protocol::Udp, at_port(ep(HOST), 4001), ep(REMOTE)), external);
    gateway.pass_s(301);
    assert_eq!(usage(&gateway), PoolUsage { used: 0, held: 1, total: 1 });
    gateway.pass_s(121);
    assert_eq!(usage(&gateway), PoolUsage { used: 0, held: 0, total: 1 });
    assert_eq!(gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE)), external);
}

#[test]
fn rfc6888_req4_a_shared_port_counts_once_for_each_remote() {
    let mut settings = shared(100);
    settings.limits.ports_per_subscriber = 4;
    let mut gateway = Gateway::new(settings);
    let remote = |nth: u16| at_port(ep(REMOTE), 7000 + nth);
    for nth in 0..4 {
        gateway.open(Protocol::Udp, ep(HOST), remote(nth));
    }
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), remote(4))).reason(), DropReason::SubscriberPorts);
    gateway.open(Protocol::Udp, ep(OTHER), remote(4));
}

#[test]
fn rfc4787_req2_a_subscriber_is_paired_with_an_address_that_has_a_port_towards_its_remote() {
    let mut settings = shared(2);
    settings.pools[0].addresses = (10..14).map(|host| Ipv4Addr::new(203, 0, 113, host)).collect();
    let mut gateway = Gateway::new(settings);
    let host = |nth: u32| Endpoint { address: ep(HOST).address + nth, port: 4000 };
    let first = [0, 1, 2, 3, 4, 5, 6, 7].map(|nth| gateway.open(Protocol::Udp, host(nth), ep(REMOTE)));
    assert_eq!(HashSet::from(first).len(), 8, "every port of every address");
    assert_eq!(gateway.outbound(Packet::udp(host(8), ep(REMOTE))).reason(), DropReason::PortsExhausted);
    for (nth, first) in first.into_iter().enumerate() {
        assert_eq!(gateway.open(Protocol::Udp, host(nth as u32), ep(ELSEWHERE)).address, first.address);
    }
}

#[test]
fn rfc6888_req14_all_of_a_shared_pools_ports_are_usable_towards_every_remote() {
    let mut settings = shared(1);
    settings.pools[0].ports = 1024..=65535;
    settings.limits.ports_per_subscriber = 65535;
    let mut gateway = Gateway::with_shards(settings, 1, 140_000);
    // Every inside port is 1, outside the pool: none is preserved, all are drawn.
    let host =
        |nth: u32| Endpoint { address: ep("10.64.0.10:0").address + nth % 200, port: 1 + (nth / 200) as u16 };
    for remote in [REMOTE, ELSEWHERE] {
        let drawn: HashSet<u16> =
            (0..64_512).map(|nth| gateway.open(Protocol::Udp, host(nth), ep(remote)).port).collect();
        assert_eq!(drawn.len(), 64_512);
        assert_eq!(usage(&gateway), PoolUsage { used: 64_512, held: 0, total: 64_512 });
        let one_more = Packet::udp(ep("10.64.0.240:80"), ep(remote));
        assert_eq!(gateway.outbound(one_more).reason(), DropReason::PortsExhausted);
    }
}
