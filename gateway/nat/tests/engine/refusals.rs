//! Refused packets: malformed ones, spoofed ones and those whose TTL has expired, each under its own reason. A refused packet
//! stays as it was.

use natgw_nat::{Direction, DropReason, IcmpReply, Protocol, Refuse, RuleAction, SourceRoute};
use natgw_wire::ipv4;
use natgw_wire::tcp::Flags;

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, rule};

const HOST: &str = "10.64.0.5:4000";
const REMOTE: &str = "198.51.100.7:7000";

/// A packet with some octets changed and its header checksum made right again.
fn forged(packet: &Packet, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = packet.bytes();
    change(&mut bytes);
    if let Ok(mut header) = ipv4::Packet::new_header(&mut bytes[..]) {
        header.fill_checksum();
    }
    bytes
}

#[test]
fn malformed_packets_are_dropped_each_for_its_reason() {
    use DropReason as Why;
    let udp = Packet::udp(ep(HOST), ep(REMOTE));
    let tcp = Packet::tcp(ep(HOST), ep(REMOTE), Flags::SYN);
    let ping = Packet::ping(ep(HOST), ep(REMOTE));
    let with = |packet: &Packet, at: usize, octet: u8| forged(packet, |bytes| bytes[at] = octet);
    let cut = |packet: &Packet, len: usize| {
        forged(packet, |bytes| {
            bytes.truncate(len);
            bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        })
    };
    let wrong_checksum = {
        let mut bytes = udp.bytes();
        bytes[10] ^= 1;
        bytes
    };
    let cases: Vec<(&str, Vec<u8>, DropReason)> = vec![
        ("nothing", vec![], Why::Truncated),
        ("19 octets", udp.bytes()[..19].to_vec(), Why::Truncated),
        ("version 6", with(&udp, 0, 0x65), Why::IpVersion),
        ("IHL 4", with(&udp, 0, 0x44), Why::IpHeaderLength),
        ("IHL beyond the packet", with(&udp, 0, 0x4f), Why::IpHeaderLength),
        ("total length 19", with(&udp, 3, 19), Why::IpTotalLength),
        ("total length beyond", with(&udp, 3, 0xff), Why::IpTotalLength),
        ("header checksum", wrong_checksum, Why::IpChecksum),
        ("protocol 51", with(&udp, 9, 51), Why::AuthenticationHeader),
        ("7 octets of UDP", cut(&udp, 27), Why::Truncated),
        ("UDP length 7", with(&udp, 25, 7), Why::UdpLength),
        ("UDP length beyond", with(&udp, 25, 0xff), Why::UdpLength),
        ("19 octets of TCP", cut(&tcp, 39), Why::Truncated),
        ("data offset 4", with(&tcp, 32, 0x40), Why::TcpDataOffset),
        ("data offset beyond", with(&tcp, 32, 0xf0), Why::TcpDataOffset),
        ("no flags", with(&tcp, 33, 0), Why::TcpFlags),
        ("SYN and FIN", with(&tcp, 33, 3), Why::TcpFlags),
        ("SYN and RST", with(&tcp, 33, 6), Why::TcpFlags),
        ("7 octets of ICMP", cut(&ping, 27), Why::Truncated),
        ("ICMP type 40", with(&ping, 20, 40), Why::IcmpType),
    ];
    let mut gateway = Gateway::changed(|_| {});
    for direction in Direction::ALL {
        for (what, bytes, reason) in &cases {
            let before = gateway.shards[0].counters().dropped[*reason as usize][direction];
            assert_eq!(gateway.raw(bytes, direction).reason(), *reason, "{what}");
            let after = gateway.shards[0].counters().dropped[*reason as usize][direction];
            assert_eq!(after, before + 1, "{what} is counted");
        }
    }
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
}

#[test]
fn padding_behind_a_packet_does_no_harm() {
    let mut gateway = Gateway::changed(|_| {});
    for protocol in Protocol::WITH_PORTS {
        let sent = gateway.outbound(Packet::first(protocol, ep(HOST), ep(REMOTE)).padding(21)).out();
        assert!(sent.bytes.ends_with(&[0xee; 21]));
        gateway.inbound(Packet::answer(protocol, ep(REMOTE), sent.source).padding(3)).delivered();
        let error = Packet::error("192.0.2.254", 3, 3, &sent.bytes[..sent.bytes.len() - 21]);
        gateway.inbound(error.padding(7)).delivered();
    }
}

#[test]
fn options_and_datagrams_without_checksum_pass() {
    let mut gateway = Gateway::changed(|_| {});
    let mut packet = Packet::udp(ep(HOST), ep(REMOTE)).options(&[0x94, 4, 0, 0, 1, 1, 1, 1]);
    if let crate::packet::Body::Udp { checksum, .. } = &mut packet.body {
        *checksum = false;
    }
    let seen = gateway.outbound(packet).out();
    assert_eq!(seen.bytes[34..36], [0, 0], "no checksum stays none");
}

#[test]
fn rfc7126_source_routes_are_dropped_unless_they_shall_pass() {
    // Behind no-operation and router alert.
    let with =
        |kind| Packet::udp(ep(HOST), ep(REMOTE)).options(&[1, 0x94, 4, 0, 0, kind, 7, 4, 192, 0, 2, 1]);
    let record_route = 7;
    for kind in [131, 137] {
        let mut gateway = Gateway::changed(|_| {});
        let mapped = gateway.outbound(with(record_route)).out().source;
        let answer = Packet::udp(ep(REMOTE), mapped).options(&[kind, 7, 4, 192, 0, 2, 1, 0]);
        assert_eq!(gateway.outbound(with(kind)), Outcome::Drop(DropReason::SourceRoute));
        assert_eq!(gateway.inbound(answer.clone()), Outcome::Drop(DropReason::SourceRoute));
        let own = Packet::ping(ep(HOST), ep("10.64.0.1:0")).options(&[kind, 7, 4, 192, 0, 2, 1, 0]);
        assert_eq!(gateway.outbound(own), Outcome::Drop(DropReason::SourceRoute));
        assert_eq!(gateway.shards[0].counters().dropped[DropReason::SourceRoute], [2, 1]);
        let mut gateway = Gateway::changed(|settings| settings.source_route = SourceRoute::Pass);
        let mapped = gateway.outbound(with(kind)).out().source;
        assert!(gateway.inbound(Packet { destination: mapped, ..answer }).is_delivered());
    }
    // Octets of another option, or behind the end, are none.
    for options in [[0, 131, 7, 4], [0x94, 4, 131, 137], [7, 200, 131, 137], [7, 0, 0x94, 131]] {
        let mut gateway = Gateway::changed(|_| {});
        gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE)).options(&options)).out();
    }
}

/// RFC 5508 REQ-8: whatever begins no session because of how the gateway is set up.
#[test]
fn rfc5508_req8_untranslated_protocols_are_refused_by_icmp() {
    for (number, reason) in
        [(crate::packet::GRE, DropReason::Protocol), (51, DropReason::AuthenticationHeader)]
    {
        for (refuse, refused) in
            [(Refuse::Reject, Outcome::Reject(reason)), (Refuse::Drop, Outcome::Drop(reason))]
        {
            let mut gateway = Gateway::changed(|settings| settings.refuse = refuse);
            assert_eq!(gateway.outbound(Packet::other(number, ep(HOST), ep(REMOTE))), refused);
        }
    }
    let mut gateway = Gateway::changed(|_| {});
    let spoofed = Packet::other(51, ep("192.0.2.1:0"), ep(REMOTE));
    assert_eq!(gateway.outbound(spoofed), Outcome::Drop(DropReason::AuthenticationHeader));
    let from_outside = Packet::other(51, ep(REMOTE), ep("203.0.113.10:0"));
    assert_eq!(gateway.inbound(from_outside), Outcome::Drop(DropReason::AuthenticationHeader));
}

/// Outside endpoints speak to one another through hairpinning alone.
#[test]
fn outside_hosts_cannot_continue_a_hairpinned_session() {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools[0].filtering = natgw_nat::Filtering::EndpointIndependent;
    });
    let other = gateway.open(Protocol::Udp, ep("10.64.0.6:5000"), ep(REMOTE));
    let seen = gateway.outbound(Packet::udp(ep(HOST), other)).delivered();
    let spoofed = Packet::udp(other, seen.source);
    assert_eq!(gateway.inbound(spoofed).reason(), DropReason::SpoofedGateway);
    gateway.outbound(Packet::udp(ep("10.64.0.6:5000"), seen.source)).delivered();
}

/// Addresses that no host has, with the reasons for such a source and such a destination.
const MARTIANS: [(&str, DropReason, DropReason); 11] = [
    ("0.0.0.0:5", DropReason::SourceZero, DropReason::DestinationZero),
    ("0.1.2.3:5", DropReason::SourceZero, DropReason::DestinationZero),
    ("127.0.0.1:5", DropReason::SourceLoopback, DropReason::DestinationLoopback),
    ("169.254.3.4:5", DropReason::SourceLinkLocal, DropReason::DestinationLinkLocal),
    ("224.0.0.251:5", DropReason::SourceMulticast, DropReason::DestinationMulticast),
    ("239.255.0.1:5", DropReason::SourceMulticast, DropReason::DestinationMulticast),
    ("255.255.255.255:5", DropReason::SourceBroadcast, DropReason::DestinationBroadcast),
    ("10.64.0.255:5", DropReason::SourceDirectedBroadcast, DropReason::DestinationDirectedBroadcast),
    ("203.0.113.255:5", DropReason::SourceDirectedBroadcast, DropReason::DestinationDirectedBroadcast),
    ("203.0.113.0:5", DropReason::SourceDirectedBroadcast, DropReason::DestinationDirectedBroadcast),
    ("240.0.0.1:5", DropReason::SourceAddress, DropReason::DestinationAddress),
];

#[test]
fn martian_sources_have_a_reason_each_in_both_directions() {
    let mut gateway = Gateway::changed(|_| {});
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    for (source, reason, _) in MARTIANS {
        let outward = Packet::udp(ep(source), ep(REMOTE));
        assert_eq!(gateway.outbound(outward).reason(), reason, "{source}");
        let inward = Packet::udp(ep(source), external);
        assert_eq!(gateway.inbound(inward).reason(), reason, "{source}");
    }
}

#[test]
fn class_e_is_let_through_inside_alone_and_where_it_is_allowed() {
    let class_e = |allowed: bool| {
        Gateway::changed(|settings| {
            settings.inside_routed = vec!["240.1.0.0/16".parse().expect("prefix")];
            settings.rules = vec![
                rule("240.1.0.0/16", "10.64.0.0/24", RuleAction::Exempt),
                rule("10.64.0.0/24", "240.1.0.0/16", RuleAction::Exempt),
                rule("0.0.0.0/0", "0.0.0.0/0", RuleAction::Pool(0)),
            ];
            settings.class_e = allowed;
        })
    };
    let (host, elsewhere) = (ep("240.1.2.3:5000"), ep("240.2.0.1:5"));
    let mut gateway = class_e(true);
    for protocol in Protocol::WITH_PORTS {
        let sent = gateway.outbound(Packet::first(protocol, host, ep(REMOTE))).out();
        let back = gateway.inbound(Packet::answer(protocol, ep(REMOTE), sent.source)).delivered();
        assert_eq!(back.destination.address, host.address);
    }
    // An error's offender, and a packet whose TTL ends here, too.
    let sent = gateway.outbound(Packet::udp(host, ep(REMOTE))).out();
    gateway.inbound(Packet::error("192.0.2.254", 3, 3, &sent.bytes)).delivered();
    let dying = gateway.outbound(Packet::udp(host, ep(REMOTE)).ttl(1));
    assert_eq!(dying, Outcome::Reply(IcmpReply::TimeExceeded));
    assert!(!matches!(
        gateway.outbound(Packet::udp(ep(HOST), host)),
        Outcome::Drop(DropReason::DestinationAddress)
    ));

    // Beyond the inside prefixes, and from outside, it is a martian as before.
    assert_eq!(gateway.outbound(Packet::udp(elsewhere, ep(REMOTE))).reason(), DropReason::SourceAddress);
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), elsewhere)).reason(), DropReason::DestinationAddress);
    assert_eq!(gateway.inbound(Packet::udp(elsewhere, sent.source)).reason(), DropReason::SourceAddress);
    assert_eq!(gateway.inbound(Packet::udp(host, sent.source)).reason(), DropReason::SpoofedOutside);
    let broadcast = Packet::udp(ep("255.255.255.255:5"), ep(REMOTE));
    assert_eq!(gateway.outbound(broadcast).reason(), DropReason::SourceBroadcast);

    assert_eq!(class_e(false).outbound(Packet::udp(host, ep(REMOTE))).reason(), DropReason::SourceAddress);
}

#[test]
fn the_gateways_addresses_as_source_are_dropped() {
    let mut gateway = Gateway::changed(|_| {});
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    for own in ["10.64.0.1:5", "203.0.113.2:5"] {
        let outward = Packet::udp(ep(own), ep(REMOTE));
        assert_eq!(gateway.outbound(outward).reason(), DropReason::SpoofedGateway, "{own}");
        let inward = Packet::udp(ep(own), external);
        assert_eq!(gateway.inbound(inward).reason(), DropReason::SpoofedGateway, "{own}");
    }
}

#[test]
fn our_outside_endpoints_do_not_speak_from_outside() {
    let mut gateway = Gateway::changed(|_| {});
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let sent = gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).out();
    assert_eq!(
        gateway.inbound(Packet::udp(at_port(external, 9), external)).reason(),
        DropReason::SpoofedGateway
    );
    for own in ["203.0.113.10", "203.0.113.2"] {
        let error = Packet::error(own, 3, 3, &sent.bytes);
        assert_eq!(gateway.inbound(error).reason(), DropReason::SpoofedGateway, "{own}");
    }
}

#[test]
fn a_spoofed_source_is_not_answered_when_its_ttl_runs_out() {
    let mut gateway = Gateway::changed(|_| {});
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let outward = Packet::udp(ep("192.0.2.1:5"), ep(REMOTE)).ttl(1);
    assert_eq!(gateway.outbound(outward).reason(), DropReason::SpoofedInside);
    let inward = Packet::udp(ep(HOST), external).ttl(1);
    assert_eq!(gateway.inbound(inward).reason(), DropReason::SpoofedOutside);
}

#[test]
fn martian_destinations_have_a_reason_each_in_both_directions() {
    let mut gateway = Gateway::changed(|_| {});
    for (destination, _, reason) in MARTIANS {
        let outward = Packet::udp(ep(HOST), ep(destination));
        assert_eq!(gateway.outbound(outward).reason(), reason, "{destination}");
        let inward = Packet::udp(ep(REMOTE), ep(destination));
        assert_eq!(gateway.inbound(inward).reason(), reason, "{destination}");
    }
}

#[test]
fn spoofed_sources_have_a_reason_a_side() {
    let mut gateway = Gateway::changed(|settings| {
        settings.inside_routed.push("10.99.0.0/16".parse().expect("prefix"));
        settings.rules[0].source = "0.0.0.0/0".parse().expect("prefix");
    });
    let external = gateway.open(Protocol::Udp, ep("10.99.1.1:5"), ep(REMOTE));
    let foreign = Packet::udp(ep("192.0.2.1:5"), ep(REMOTE));
    assert_eq!(gateway.outbound(foreign).reason(), DropReason::SpoofedInside);
    for inside in [HOST, "10.99.200.200:1"] {
        let spoofed = Packet::udp(ep(inside), external);
        assert_eq!(gateway.inbound(spoofed).reason(), DropReason::SpoofedOutside);
    }
}

#[test]
fn errors_with_spoofed_or_impossible_addresses_are_dropped() {
    let mut gateway = Gateway::changed(|_| {});
    let sent = gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).out();
    for (from, reason) in [
        ("10.64.0.9", DropReason::SpoofedOutside),
        ("127.0.0.1", DropReason::SourceLoopback),
        ("224.0.0.1", DropReason::SourceMulticast),
    ] {
        assert_eq!(gateway.inbound(Packet::error(from, 3, 3, &sent.bytes)).reason(), reason);
    }
    let delivered = gateway.inbound(Packet::udp(ep(REMOTE), sent.source)).delivered();
    let spoofed = Packet::error("192.0.2.1", 3, 3, &delivered.bytes);
    assert_eq!(gateway.outbound(spoofed).reason(), DropReason::SpoofedInside);
}

#[test]
fn inside_addresses_cannot_be_reached_from_outside() {
    let mut gateway = Gateway::changed(|_| {});
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    for inside in [HOST, "10.64.0.77:1"] {
        let direct = Packet::udp(ep(REMOTE), ep(inside));
        assert_eq!(gateway.inbound(direct).reason(), DropReason::InsideFromOutside);
    }
}

#[test]
fn unsolicited_packets_find_no_mapping() {
    let mut gateway = Gateway::changed(|_| {});
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    for external in ["203.0.113.10:1", "203.0.113.99:4000"] {
        for protocol in Protocol::WITH_PORTS {
            let unsolicited = Packet::first(protocol, ep(REMOTE), ep(external));
            assert_eq!(gateway.inbound(unsolicited).reason(), DropReason::NoMapping);
        }
    }
}

#[test]
fn packets_for_the_gateway_itself_are_local() {
    let mut gateway = Gateway::changed(|_| {});
    for own in ["10.64.0.1:22", "203.0.113.2:22"] {
        for protocol in Protocol::WITH_PORTS {
            assert_eq!(gateway.outbound(Packet::first(protocol, ep(HOST), ep(own))), Outcome::Local);
            assert_eq!(gateway.outbound(Packet::first(protocol, ep(HOST), ep(own)).ttl(1)), Outcome::Local);
        }
    }
    assert_eq!(gateway.inbound(Packet::ping(ep(REMOTE), ep("203.0.113.2:0"))), Outcome::Local);
    assert_eq!(gateway.inbound(Packet::tcp(ep(REMOTE), ep("203.0.113.2:22"), Flags::SYN)), Outcome::Local);
    assert_eq!(gateway.sessions(), []);
}

#[test]
fn ttl_1_is_answered_and_neither_translated_nor_counted_as_a_session() {
    let mut gateway = Gateway::changed(|_| {});
    for protocol in Protocol::WITH_PORTS {
        for ttl in [0, 1] {
            let outcome = gateway.outbound(Packet::first(protocol, ep(HOST), ep(REMOTE)).ttl(ttl));
            assert_eq!(outcome, Outcome::Reply(IcmpReply::TimeExceeded));
        }
    }
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    for packet in [Packet::udp(ep(REMOTE), external), Packet::udp(ep(REMOTE), at_port(external, 1))] {
        assert_eq!(gateway.inbound(packet.ttl(1)), Outcome::Reply(IcmpReply::TimeExceeded));
    }
    let sent = gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).out();
    let error = Packet::error("192.0.2.254", 3, 3, &sent.bytes).ttl(1);
    assert_eq!(gateway.inbound(error).reason(), DropReason::TtlExceeded);
}

/// A hairpinned packet passes one router, not two: [`crate::sim`] sees that the TTL goes down by one.
#[test]
fn ttl_2_suffices_for_a_hairpin() {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools[0].filtering = natgw_nat::Filtering::EndpointIndependent;
    });
    let of_target = gateway.open(Protocol::Udp, ep("10.64.0.8:5000"), ep(REMOTE));
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), of_target).ttl(2)).delivered().ttl, 1);
    let outcome = gateway.outbound(Packet::udp(ep(HOST), of_target).ttl(1));
    assert_eq!(outcome, Outcome::Reply(IcmpReply::TimeExceeded));
}

#[test]
fn a_refused_first_packet_leaves_nothing_behind() {
    let mut gateway = Gateway::changed(|settings| settings.rules.clear());
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).reason(), DropReason::NoRule);
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
    assert_eq!(gateway.shards[0].counters().subscribers, 0);
}
