//! Packets that are larger than the MTU of the next link: answered with that MTU, or sent in fragments (RFC 4787 REQ-13).

use std::net::{Ipv4Addr, SocketAddrV4};

use natgw_nat::{DropReason, FragmentEvent, IcmpGenerated, Protocol};
use natgw_wire::ipv4;

use crate::lab::{Lab, OWN, POOL, ROUTER, Seen, Sent, Setup, Side};
use crate::packet::{Kind, Link, Packet, refill_header_checksum};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 50);
const REMOTE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 443);
const FORWARD: SocketAddrV4 = SocketAddrV4::new(POOL, 8080);
const NARROW: u16 = 1400;
/// What an error quotes of a packet of 1500 octets (RFC 1812 section 4.3.2.3).
const QUOTED: usize = 576 - 28;

fn host(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(HOST, port)
}

/// A datagram that makes a packet of 1500 octets, each different from its neighbours.
fn large(from: SocketAddrV4, to: SocketAddrV4) -> Packet {
    let payload: Vec<u8> = (0..1472_u32).map(|at| (at % 251) as u8).collect();
    Packet::new(Kind::Udp, from, to, &payload)
}

fn setups(mtus: [u16; 2]) -> Vec<Setup> {
    let forwarded = |setup: Setup| Setup {
        mtus,
        ..setup.forward(Protocol::Udp, (*FORWARD.ip(), FORWARD.port()), SERVER)
    };
    vec![
        forwarded(Setup::new(1)),
        forwarded(Setup::new(3)),
        forwarded(Setup { vlans: [None, Some(5)], ..Setup::new(2) }),
        forwarded(Setup { vlans: [Some(6), None], queues: [1, 1], ..Setup::new(2) }),
    ]
}

/// The error that a frame brings, and the MTU that it tells.
fn error(seen: &Seen) -> (Packet, u16) {
    let (_, _, octets) = Link::read(&seen.frame);
    (seen.packet(), u16::from_be_bytes([octets[26], octets[27]]))
}

#[track_caller]
fn assert_answered(lab: &mut Lab, side: Side, sent: &Packet) {
    let seen = lab.one(side, sent);
    let (error, mtu) = error(&seen);
    assert_eq!((seen.side, error.kind, mtu), (side, Kind::Error(3, 4), NARROW));
    assert_eq!((*error.from.ip(), error.to.ip()), (OWN[side as usize], sent.from.ip()));
    assert_eq!(error.payload, sent.octets()[..QUOTED], "the packet as its sender knows it");
}

#[test]
fn rfc4787_req13_outbound_packets_too_large_are_answered_with_the_next_hops_mtu() {
    for setup in setups([1500, NARROW]) {
        setup.run(|lab| {
            lab.learn_all([HOST]);
            assert_answered(lab, Side::Inside, &large(host(5000), REMOTE));
            // Also where the session and the next hop are known already.
            let fits = Packet { payload: vec![3; usize::from(NARROW) - 28], ..large(host(5000), REMOTE) };
            assert_eq!(lab.one(Side::Inside, &fits).side, Side::Outside);
            assert_answered(lab, Side::Inside, &large(host(5000), REMOTE));
            let generated = |lab: &mut Lab, kind: IcmpGenerated| -> u64 {
                lab.rest().iter().map(|counters| counters.nat.icmp_generated[kind as usize]).sum()
            };
            assert_eq!(generated(lab, IcmpGenerated::FragmentationNeeded), 2);
        });
    }
}

#[test]
fn rfc4787_req13_inbound_packets_too_large_are_answered_with_the_next_hops_mtu() {
    for setup in setups([NARROW, 1500]) {
        setup.run(|lab| {
            lab.learn_all([HOST, SERVER]);
            let there = lab.one(Side::Inside, &Packet::new(Kind::Udp, host(5000), REMOTE, b"small")).packet();
            assert_answered(lab, Side::Outside, &large(REMOTE, there.from));
            // No session, but a forward.
            assert_answered(lab, Side::Outside, &large(REMOTE, FORWARD));
        });
    }
}

#[test]
fn rfc4787_req13_hairpinned_packets_too_large_are_answered_with_the_next_hops_mtu() {
    for setup in setups([NARROW, 1500]) {
        setup.run(|lab| {
            let hosts: Vec<_> = (2..12).map(|nth| Ipv4Addr::new(10, 64, 9, nth)).collect();
            lab.learn_all(hosts.iter().copied().chain([SERVER]));
            for &host in &hosts {
                assert_answered(lab, Side::Inside, &large(SocketAddrV4::new(host, 5000), FORWARD));
            }
        });
    }
}

#[test]
fn a_packet_that_waited_for_its_next_hop_and_is_too_large_is_answered() {
    for setup in setups([1500, NARROW]) {
        setup.run(|lab| {
            let sent = large(host(5000), REMOTE);
            lab.send_packet(Side::Inside, &sent);
            lab.rest();
            lab.learn(Side::Outside, ROUTER);
            let seen = lab.exchange(Vec::new(), 1).remove(0);
            let (error, mtu) = error(&seen);
            assert_eq!((seen.side, error.kind, mtu), (Side::Inside, Kind::Error(3, 4), NARROW));
            assert_eq!(error.payload, sent.octets()[..QUOTED]);
        });
    }
}

#[test]
fn an_error_is_not_answered_however_large_it_is() {
    for setup in setups([1500, 576]) {
        setup.run(|lab| {
            lab.learn_all([HOST]);
            let there = lab.one(Side::Inside, &Packet::new(Kind::Udp, host(5000), REMOTE, b"small")).packet();
            let back = lab.one(Side::Outside, &there.answer()).packet();
            let about = Packet { payload: vec![7; 600], ..back };
            let error = Packet::error(3, 3, HOST, &about);
            lab.send_packet(Side::Inside, &error);
            assert_eq!(lab.dropped(DropReason::TooBig), 1);
        });
    }
}

/// A frame with a packet that may be cut.
fn divisible(lab: &Lab, side: Side, packet: &Packet) -> Sent {
    let mut sent = lab.misled(side, packet, 0);
    let ip = sent.frame.len() - packet.octets().len();
    sent.frame[ip + 6] = 0;
    refill_header_checksum(&mut sent.frame[ip..]);
    sent
}

/// The packet that comes out, made again of its fragments, which come in order.
#[track_caller]
fn reassembled(seen: &[Seen]) -> Packet {
    let mut whole = Vec::new();
    let first = ipv4::Packet::new_verified(Link::read(&seen[0].frame).2).unwrap().ident();
    for (nth, one) in seen.iter().enumerate() {
        let (_, _, octets) = Link::read(&one.frame);
        assert!(octets.len() <= NARROW.into());
        let piece = ipv4::Packet::new_verified(octets).unwrap();
        assert_eq!(usize::from(piece.frag_offset()), whole.len().saturating_sub(20));
        assert_eq!((piece.more_frags(), piece.ident()), (nth + 1 < seen.len(), first));
        whole.extend(if nth == 0 { &octets[..piece.total_len().into()] } else { piece.payload() });
    }
    let total_len = whole.len() as u16;
    whole[2..4].copy_from_slice(&total_len.to_be_bytes());
    whole[6] = 0;
    refill_header_checksum(&mut whole);
    Packet::read(&whole)
}

#[test]
fn rfc4787_req13a_packets_too_large_that_may_be_cut_leave_in_fragments_in_order() {
    for setup in setups([NARROW, NARROW]) {
        setup.run(|lab| {
            lab.learn_all([HOST, SERVER]);
            let small = lab.one(Side::Inside, &Packet::new(Kind::Udp, host(5000), REMOTE, b"small")).packet();
            let external = small.from;
            let cases = [
                (Side::Inside, large(host(5000), REMOTE), Side::Outside, large(external, REMOTE)),
                (Side::Outside, large(REMOTE, external), Side::Inside, large(REMOTE, host(5000))),
                (
                    Side::Inside,
                    large(host(5000), FORWARD),
                    Side::Inside,
                    large(external, SocketAddrV4::new(SERVER, 80)),
                ),
            ];
            for (side, sent, way_out, expected) in cases {
                let seen = lab.exchange(vec![divisible(lab, side, &sent)], 2);
                assert!(seen.iter().all(|seen| seen.side == way_out));
                assert_eq!(seen[0].link(), seen[1].link());
                assert_eq!(reassembled(&seen), expected.routed());
            }
            let created: u64 = lab
                .rest()
                .iter()
                .map(|counters| counters.nat.fragments[FragmentEvent::Created as usize])
                .sum();
            assert_eq!(created, 6);
        });
    }
}

#[test]
fn rfc1191_fragmentation_needed_is_sent_beside_a_flood_of_expired_ttls() {
    Setup { mtus: [1500, NARROW], ..Setup::new(1) }.run(|lab| {
        lab.learn_all([HOST]);
        // All on the wire at once: the limits earn next to nothing meanwhile.
        for nth in 0..6000_u32 {
            let host = SocketAddrV4::new(Ipv4Addr::from_bits(SERVER.to_bits() + nth % 100), 5000);
            lab.send_packet(Side::Inside, &Packet { ttl: 1, ..Packet::new(Kind::Udp, host, REMOTE, b"") });
        }
        for port in 5000..5500 {
            lab.send_packet(Side::Inside, &large(host(port), REMOTE));
        }
        assert!(lab.dropped(DropReason::ReplyLimited) > 0, "nothing is left for time exceeded");
        let needed = lab.look().iter().filter(|seen| seen.packet().kind == Kind::Error(3, 4)).count();
        assert_eq!(needed, 500);
    });
}
