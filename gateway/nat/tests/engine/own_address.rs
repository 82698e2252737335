//! Packets from inside to the gateway's own outside addresses, which mappings may use as well, and hairpinned packets
//! without a mapping.

use natgw_nat::{
    DropReason, Filtering, ForwardSource, IcmpReply, MappingMode, PortForward, Protocol, Refuse, Settings,
};
use natgw_wire::tcp::Flags;

use crate::packet::{GRE, Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, forward, settings};

const HOST: &str = "10.64.0.5:4000";
const OTHER: &str = "10.64.0.6:5000";
const REMOTE: &str = "198.51.100.7:7000";
/// The gateway's.
const OWN: &str = "203.0.113.2:33434";

fn forwarding(source: ForwardSource) -> Settings {
    let mut settings = settings();
    let forward = forward(Protocol::Tcp, "203.0.113.2:8080", "10.64.0.12:80");
    settings.port_forwards.push(PortForward { source, ..forward });
    settings
}

/// All sessions leave from the gateway's own address.
fn masquerade() -> Settings {
    let mut settings = settings();
    settings.pools[0].addresses = vec!["203.0.113.2".parse().expect("address")];
    settings
}

fn assert_leaves_nothing(gateway: &Gateway) {
    assert_eq!((gateway.sessions().len(), gateway.mappings().len()), (0, 0));
}

/// What a traceroute, a scan, a tunnel and a ping send.
fn probes() -> [Packet; 5] {
    [
        Packet::udp(ep(HOST), ep(OWN)),
        Packet::tcp(ep(HOST), at_port(ep(OWN), 80), Flags::SYN),
        Packet::other(GRE, ep(HOST), ep(OWN)),
        Packet::ping(ep(HOST), ep(OWN)),
        Packet::pong(ep(HOST), ep(OWN)),
    ]
}

/// The test world holds a local packet against the one that was sent.
#[test]
fn what_is_for_the_gateway_stays_as_it_was_sent_and_leaves_nothing() {
    for source in [ForwardSource::Remote, ForwardSource::Gateway] {
        for probe in probes() {
            for ttl in [1, 64] {
                let mut gateway = Gateway::new(forwarding(source));
                assert_eq!(gateway.outbound(probe.clone().ttl(ttl)), Outcome::Local, "{probe:?} {ttl}");
                assert_leaves_nothing(&gateway);
            }
        }
    }
    let mut gateway = Gateway::new(forwarding(ForwardSource::Remote));
    let forwarded = Packet::tcp(ep(HOST), at_port(ep(OWN), 8080), Flags::SYN);
    assert_eq!(gateway.outbound(forwarded).delivered().destination, ep("10.64.0.12:80"));
}

#[test]
fn a_masqueraded_address_is_the_gateways_where_no_mapping_is_whichever_shard_owns_the_port() {
    for shards in [1, 2, 4] {
        for mapping in [MappingMode::EndpointIndependent, MappingMode::AddressAndPortDependent] {
            let mut settings = masquerade();
            settings.pools[0].mapping = mapping;
            settings.pools[0].other_protocols = natgw_nat::OtherProtocols::ALL;
            let mut gateway = Gateway::with_shards(settings, shards, 1024);
            for port in [53, 1024, 10_000, 20_000, 33_434, 50_000, 65_535] {
                let sent = Packet::udp(ep(HOST), at_port(ep(OWN), port));
                assert_eq!(gateway.outbound(sent), Outcome::Local, "{shards} shards, port {port}");
            }
            for probe in probes() {
                assert_eq!(gateway.outbound(probe.clone()), Outcome::Local, "{shards} shards, {probe:?}");
            }
            assert_leaves_nothing(&gateway);
            let withdrawn = gateway.shards.iter_mut().map(|shard| {
                let counters = shard.counters();
                assert_eq!(counters.sessions, [0; Protocol::COUNT]);
                counters.sessions_deleted.iter().sum::<u64>()
            });
            assert!(withdrawn.sum::<u64>() == 0 || shards > 1, "one shard knows at once");
        }
    }
}

#[test]
fn a_session_with_the_gateways_address_that_others_use_goes_on() {
    let mut settings = masquerade();
    settings.pools[0].filtering = Filtering::EndpointIndependent;
    let mut gateway = Gateway::with_shards(settings, 2, 1024);
    let mapped = gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
    let seen = gateway.outbound(Packet::udp(ep(HOST), mapped)).delivered();
    assert_eq!(seen.destination, ep(OTHER));
    let answer = gateway.outbound(Packet::udp(ep(OTHER), seen.source)).delivered();
    assert_eq!((answer.source, answer.destination), (mapped, ep(HOST)));
}

#[test]
fn a_hop_to_a_masqueraded_port_that_several_hosts_share_is_a_hop() {
    let mut settings = masquerade();
    settings.pools[0].mapping = MappingMode::AddressAndPortDependent;
    let mut gateway = Gateway::new(settings);
    let mapped = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let late = |to| Packet::udp(ep(REMOTE), to).ttl(1);
    assert_eq!(gateway.inbound(late(mapped)), Outcome::Reply(IcmpReply::TimeExceeded));
    assert_eq!(
        gateway.outbound(Packet::udp(ep(OTHER), mapped).ttl(1)),
        Outcome::Reply(IcmpReply::TimeExceeded)
    );
    let unmapped = at_port(mapped, mapped.port ^ 1);
    assert_eq!(gateway.inbound(late(unmapped)), Outcome::Local);
    assert_eq!(gateway.outbound(Packet::udp(ep(OTHER), unmapped).ttl(1)), Outcome::Local);
}

#[test]
fn a_hop_to_a_host_behind_a_masqueraded_address_without_ports_is_a_hop() {
    let mut settings = masquerade();
    settings.pools[0].other_protocols = natgw_nat::OtherProtocols::ALL;
    let mut gateway = Gateway::new(settings);
    let seen = gateway.outbound(Packet::other(GRE, ep(HOST), ep(REMOTE))).out();
    let late = |from: &str| Packet::other(GRE, ep(from), seen.source).ttl(1);
    assert_eq!(gateway.inbound(late(REMOTE)), Outcome::Reply(IcmpReply::TimeExceeded));
    assert_eq!(gateway.inbound(late("198.51.100.8:0")), Outcome::Local);
}

/// RFC 5508 REQ-8. A mapping that keeps a host out is another matter: the hosts behind it may be about to send to it
/// (RFC 5382 REQ-4).
#[test]
fn rfc5508_req8_a_hairpinned_packet_without_a_mapping_is_refused() {
    for shards in [1, 2] {
        for refuse in [Refuse::Reject, Refuse::Drop] {
            let mut gateway = Gateway::with_shards(Settings { refuse, ..settings() }, shards, 1024);
            let mapped = gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
            let refused = match refuse {
                Refuse::Reject => Outcome::Reject,
                Refuse::Drop => Outcome::Drop,
            };
            for host in ["203.0.113.10", "203.0.113.11", "203.0.113.12"] {
                let nobody = format!("{host}:999");
                for protocol in [Protocol::Udp, Protocol::Tcp] {
                    let sent = Packet::first(protocol, ep(HOST), ep(&nobody));
                    assert_eq!(gateway.outbound(sent), refused(DropReason::NoMapping));
                }
            }
            assert_eq!(gateway.outbound(Packet::udp(ep(HOST), mapped)), Outcome::Drop(DropReason::Filtered));
        }
    }
}
