//! Dropped packets: each has one reason, is counted once, and nothing is sent.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use natgw_dpdk::Mempool;
use natgw_nat::{DropReason, Filtering, Refuse, Rule, RuleAction};
use natgw_wire::ethernet::{self, Mac};

use crate::lab::{Lab, POOL, ROUTER, Sent, Setup, Side, drops};
use crate::packet::{Kind, Link, Packet, SYN, refill_header_checksum};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn packet(kind: Kind, from: Ipv4Addr, to: Ipv4Addr) -> Packet {
    let port = if kind == Kind::EchoRequest { 0 } else { 443 };
    Packet::new(kind, SocketAddrV4::new(from, 5000), SocketAddrV4::new(to, port), b"to be dropped")
}

/// An IPv4 packet with one octet changed and the header checksum filled in again.
fn changed(kind: Kind, at: usize, value: u8) -> Vec<u8> {
    let mut octets = packet(kind, HOST, REMOTE).octets();
    octets[at] = value;
    refill_header_checksum(&mut octets);
    octets
}

/// Frames from `side`, each with the one reason that it has to be dropped for.
fn malformed(lab: &Lab, side: Side) -> Vec<(DropReason, Vec<u8>)> {
    use DropReason::*;
    let link = lab.link(side, HOST);
    let whole = lab.frame(Side::Inside, &packet(Kind::Udp, HOST, REMOTE));
    let tag = |vid: u8, frame: &[u8]| [&frame[..12], &[0x81, 0, 0, vid], &frame[12..]].concat();
    let complainer = if side == Side::Inside { HOST } else { REMOTE };
    let error = Packet::error(3, 3, complainer, &packet(Kind::Udp, REMOTE, POOL)).octets();
    let mut wrong_checksum = error.clone();
    wrong_checksum[22] ^= 1;
    let short = Packet { payload: vec![0x45; 12], ..packet(Kind::Error(3, 3), HOST, REMOTE) };
    let ip = |octets: &[u8]| link.frame(ethernet::IPV4, octets);
    vec![
        (Truncated, whole[..13].to_vec()),
        (Truncated, tag(0, &whole)[..15].to_vec()),
        (Truncated, whole[..14 + 19].to_vec()),
        (EtherType, link.frame(0x86dd, &[0x60; 60])),
        (EtherType, link.frame(0x0003, &[0; 60])),
        (Vlan, tag(42, &whole)),
        (Vlan, tag(7, &tag(42, &whole))),
        (Vlan, [&whole[..12], &[0x88, 0xa8, 0, 42], &whole[12..]].concat()),
        (NotForUs, Link { dst: Mac([2, 9, 9, 9, 9, 9]), ..link }.frame(ethernet::IPV4, &whole[14..])),
        (NotForUs, Link { dst: Mac::BROADCAST, ..link }.frame(ethernet::IPV4, &whole[14..])),
        (ArpMalformed, link.frame(ethernet::ARP, &[0; 46])),
        (ArpMalformed, link.frame(ethernet::ARP, &[0; 46])[..20].to_vec()),
        (IpVersion, ip(&changed(Kind::Udp, 0, 0x65))),
        (IpHeaderLength, ip(&changed(Kind::Udp, 0, 0x44))),
        (IpHeaderLength, ip(&changed(Kind::Udp, 0, 0x4f)[..41])),
        (IpTotalLength, ip(&changed(Kind::Udp, 2, 9))),
        (IpTotalLength, ip(&changed(Kind::Udp, 3, 19))),
        (IpChecksum, ip(&[&whole[14..24], &[0, 0], &whole[26..]].concat())),
        (UdpLength, ip(&changed(Kind::Udp, 25, 7))),
        (UdpLength, ip(&changed(Kind::Udp, 24, 9))),
        (TcpDataOffset, ip(&changed(Kind::Tcp(SYN), 32, 0x40))),
        (TcpDataOffset, ip(&changed(Kind::Tcp(SYN), 32, 0xf0))),
        (TcpFlags, ip(&packet(Kind::Tcp(0), HOST, REMOTE).octets())),
        (TcpFlags, ip(&packet(Kind::Tcp(SYN | 1), HOST, REMOTE).octets())),
        (IcmpChecksum, ip(&wrong_checksum)),
        (IcmpEmbedded, ip(&short.octets())),
        (IcmpType, ip(&changed(Kind::EchoRequest, 20, 42))),
        (IcmpType, ip(&changed(Kind::EchoRequest, 20, 5))),
        (IcmpNoSession, ip(&error)),
        (FragmentMalformed, ip(&changed(Kind::Udp, 6, 0x20))),
        (AuthenticationHeader, ip(&changed(Kind::Udp, 9, 51))),
    ]
}

/// Frames with nothing wrong but what they want.
fn refused(lab: &Lab) -> Vec<(Side, DropReason, Vec<u8>)> {
    use DropReason::*;
    let frame = |side: Side, kind: Kind, from: [u8; 4], to: [u8; 4]| {
        lab.frame(side, &packet(kind, from.into(), to.into()))
    };
    let out = |reason, kind, from, to| (Side::Inside, reason, frame(Side::Inside, kind, from, to));
    let inwards = |reason, kind, from, to| (Side::Outside, reason, frame(Side::Outside, kind, from, to));
    let (host, remote, pool) = (HOST.octets(), REMOTE.octets(), POOL.octets());
    let [own_inside, own_outside] = Side::BOTH.map(|side| side.own().octets());
    vec![
        out(SourceLoopback, Kind::Udp, [127, 0, 0, 1], remote),
        out(SpoofedGateway, Kind::Udp, own_inside, remote),
        out(DestinationMulticast, Kind::Udp, host, [224, 0, 0, 1]),
        out(DestinationBroadcast, Kind::Udp, host, [255; 4]),
        out(SpoofedInside, Kind::Udp, [192, 0, 2, 1], remote),
        out(NoRule, Kind::Udp, [10, 64, 200, 1], remote),
        out(RuleDrop, Kind::Udp, host, [192, 0, 2, 66]),
        out(TcpNoSession, Kind::Tcp(0x10), host, remote),
        out(LocalNoService, Kind::Tcp(SYN), host, own_inside),
        inwards(SpoofedGateway, Kind::Udp, own_outside, pool),
        inwards(SpoofedOutside, Kind::Udp, host, pool),
        inwards(InsideFromOutside, Kind::Udp, remote, host),
        inwards(NoMapping, Kind::Udp, remote, pool),
        inwards(NoMapping, Kind::Tcp(SYN), remote, pool),
        inwards(LocalNoService, Kind::Udp, remote, own_outside),
    ]
}

#[test]
fn every_malformed_frame_has_its_reason_on_every_queue() {
    for mut setup in [Setup::new(1), Setup::new(3), Setup { queues: [1, 2], ..Setup::new(3) }] {
        // The sender of an authentication header would be told.
        setup.settings.refuse = Refuse::Drop;
        setup.run(|lab| {
            let mut expected = BTreeMap::new();
            for side in Side::BOTH {
                for (reason, frame) in malformed(lab, side) {
                    for queue in 0..lab.queues(side) {
                        lab.send(&Sent { side, queue, frame: frame.clone() });
                        *expected.entry(reason.name()).or_default() += 1;
                    }
                }
            }
            assert_dropped(lab, &expected);
        });
    }
}

#[test]
fn every_refusal_has_its_reason_on_every_queue() {
    let mut setup = Setup::new(3);
    let any = setup.settings.rules[0].clone();
    let drop =
        Rule { destination: "192.0.2.66/32".parse().unwrap(), action: RuleAction::Drop, ..any.clone() };
    setup.settings.refuse = Refuse::Drop;
    setup.settings.rules = vec![drop, Rule { source: "10.64.0.0/17".parse().unwrap(), ..any }];
    setup.run(|lab| {
        lab.learn_all([HOST]);
        let mut expected = BTreeMap::new();
        for (side, reason, frame) in refused(lab) {
            for queue in 0..lab.queues(side) {
                lab.send(&Sent { side, queue, frame: frame.clone() });
                *expected.entry(reason.name()).or_default() += 1;
            }
        }
        assert_dropped(lab, &expected);
    });
}

fn assert_dropped(lab: &mut Lab, expected: &BTreeMap<&'static str, u64>) {
    let mut found = BTreeMap::new();
    for (reason, count) in lab.rest().iter().flat_map(drops) {
        *found.entry(reason).or_default() += count;
    }
    assert_eq!(&found, expected);
    assert!(lab.look().is_empty());
}

#[test]
fn a_filter_refuses_strangers_wherever_they_arrive() {
    let mut setup = Setup::new(3);
    setup.settings.pools[0].filtering = Filtering::AddressDependent;
    setup.run(|lab| {
        lab.learn_all([HOST]);
        let out = lab.one(Side::Inside, &packet(Kind::Udp, HOST, REMOTE)).packet();
        let stranger = Packet { from: SocketAddrV4::new([192, 0, 2, 9].into(), 443), ..out.answer() };
        for queue in 0..3 {
            let frame = lab.frame(Side::Outside, &stranger);
            lab.send(&Sent { side: Side::Outside, queue, frame });
        }
        assert_eq!(lab.dropped(DropReason::Filtered), 3);
        assert_eq!(lab.one(Side::Outside, &out.answer()).side, Side::Inside);
    });
}

#[test]
fn a_frame_in_several_buffers_is_dropped() {
    crate::main_lcore::run(|eal| {
        let small = Mempool::new(eal, "small", 63, 0, 128 + Mempool::HEADROOM).unwrap();
        let mut lab = Setup::new(2).start(eal);
        let long = Packet { payload: vec![1; 1000], ..packet(Kind::Udp, HOST, REMOTE) };
        for (side, queue) in [(Side::Inside, 0), (Side::Inside, 1), (Side::Outside, 1)] {
            let frame = lab.frame(side, &long);
            let mut packet = lab.buffer();
            assert!(packet.set_len(frame.len()));
            packet.data_mut().copy_from_slice(&frame);
            let segmented = packet.copy(&small).unwrap();
            assert!(segmented.is_segmented());
            lab.send_mbuf(side, queue, segmented);
        }
        assert_eq!(lab.dropped(DropReason::Segmented), 3);
        lab.take_down();
        assert_eq!(small.in_use(), 0, "all segments are back");
    });
}

#[test]
fn a_full_ring_to_a_worker_is_counted() {
    Setup::new(2).run(|lab| {
        lab.learn_all([HOST]);
        let owner = lab.owner(Side::Inside, &packet(Kind::Udp, HOST, REMOTE)).index();
        lab.stop(owner);
        let frame = lab.frame(Side::Inside, &packet(Kind::Udp, HOST, REMOTE));
        for _ in 0..RING + 500 {
            lab.send(&Sent { side: Side::Inside, queue: 1 - owner, frame: frame.clone() });
        }
        let other = lab.rest()[1 - owner];
        assert_eq!((other.handoff.sent, other.handoff.full), (RING, 500));
        assert_eq!(drops(&other), [("handoff-full", 500)]);
    });
}

#[test]
fn a_full_ring_on_the_way_to_a_port_is_counted() {
    // Worker 0 has the only transmit queue of the outside port.
    Setup { queues: [2, 1], ..Setup::new(2) }.run(|lab| {
        let host = (2..).map(|nth| Ipv4Addr::new(10, 64, 0, nth));
        let is_second = |host: &Ipv4Addr| lab.dataplane().steering.outbound_owner(host.to_bits()).0 == 1;
        let host = { host }.find(is_second).unwrap();
        lab.learn_all([host]);
        lab.stop(0);
        let frame = lab.frame(Side::Inside, &packet(Kind::Udp, host, REMOTE));
        for _ in 0..RING + 500 {
            lab.send(&Sent { side: Side::Inside, queue: 1, frame: frame.clone() });
        }
        let second = lab.rest()[1];
        assert_eq!((second.handoff.sent, second.handoff.full), (RING, 500));
        assert_eq!(drops(&second), [("handoff-full", 500)]);
    });
}

/// What a ring between workers holds.
const RING: u64 = 1024;

#[test]
fn a_port_that_takes_no_more_is_counted() {
    for workers in [1, 2] {
        Setup { room: 64, ..Setup::new(workers) }.run(|lab| {
            lab.learn_all([HOST]);
            for _ in 0..300 {
                lab.send_packet(Side::Inside, &packet(Kind::Udp, HOST, REMOTE));
            }
            assert_eq!(lab.dropped(DropReason::TransmitFull), 300 - 64);
            assert_eq!(lab.look().len(), 64);
            assert_eq!(
                lab.one(Side::Inside, &packet(Kind::Udp, HOST, REMOTE)).link().dst,
                Lab::mac_of(ROUTER)
            );
        });
    }
}

#[test]
fn a_priority_tag_changes_nothing() {
    Setup::new(2).run(|lab| {
        lab.learn_all([HOST]);
        for queue in [0, 1] {
            let frame = lab.frame(Side::Inside, &packet(Kind::Udp, HOST, REMOTE));
            let tagged = [&frame[..12], &[0x81, 0, 0xe0, 0], &frame[12..]].concat();
            let seen = lab.exchange(vec![Sent { side: Side::Inside, queue, frame: tagged }], 1).remove(0);
            assert_eq!((seen.side, seen.link().vlan), (Side::Outside, None));
            assert_eq!(seen.packet().to, packet(Kind::Udp, HOST, REMOTE).to);
        }
        let ping = packet(Kind::EchoRequest, HOST, Side::Inside.own());
        let frame = lab.frame(Side::Inside, &ping);
        let tagged = [&frame[..12], &[0x81, 0, 0xe0, 0], &frame[12..]].concat();
        let reply = lab.exchange(vec![Sent { side: Side::Inside, queue: 0, frame: tagged }], 1).remove(0);
        assert_eq!(reply.packet(), ping.answer());
    });
}
