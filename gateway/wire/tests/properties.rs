//! What must hold of the wire formats for any bytes: nothing panics, lengths stay inside, and a checksum updated by a
//! delta is the checksum computed anew.

use std::net::Ipv4Addr;

use natgw_wire::checksum::Delta;
use natgw_wire::{Error, arp, ethernet, icmpv4, ipv4, ports, tcp, udp, vlan};
use proptest::prelude::*;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

/// Reads `bytes` as every protocol, each as deep as it goes.
fn read_as_everything(bytes: &[u8]) {
    if let Ok(layer2) = ethernet::parse(bytes) {
        assert!(layer2.header_len <= bytes.len());
        read_as_everything(&bytes[layer2.header_len..]);
    }
    if let Ok(tag) = vlan::Packet::new_checked(bytes) {
        assert!(tag.vid() <= 4095 && tag.payload().len() + vlan::HEADER_LEN == bytes.len());
    }
    if let Ok(repr) = arp::Repr::parse(bytes) {
        assert_eq!(repr.emit(), bytes[..arp::LEN]);
    }
    read_ipv4(bytes, Depth::Outer);
}

/// How far inside an ICMP error a packet stands.
#[derive(Clone, Copy, PartialEq)]
enum Depth {
    Outer,
    Embedded,
}

fn read_ipv4(bytes: &[u8], depth: Depth) {
    let Ok(packet) = ipv4::Packet::new_header(bytes) else {
        assert!(ipv4::Packet::new_checked(bytes).is_err() && ipv4::Packet::new_verified(bytes).is_err());
        return;
    };
    assert!(packet.options().len() + ipv4::HEADER_LEN == packet.header_len());
    assert!(packet.header_len() + packet.payload().len() <= bytes.len());
    if ipv4::Packet::new_checked(bytes).is_ok() {
        assert_eq!(packet.header_len() + packet.payload().len(), usize::from(packet.total_len()));
    }
    assert_eq!(packet.is_fragment(), packet.more_frags() || packet.frag_offset() != 0);
    assert_eq!((packet.src_bits(), packet.dst_bits()), (packet.src().into(), packet.dst().into()));
    let _ = (packet.tos(), packet.ident(), packet.ttl(), packet.dont_frag(), packet.is_checksum_right());
    read_layer4(packet.payload(), depth);
}

fn read_layer4(bytes: &[u8], depth: Depth) {
    if let Ok(header) = udp::Packet::new_header(bytes) {
        let whole = udp::Packet::new_checked(bytes);
        assert!(whole.is_err() || header.payload().len() + udp::HEADER_LEN == usize::from(header.len()));
        let _ = (header.is_checksum_right(GATEWAY, GATEWAY), header.payload());
    }
    if let Ok(segment) = tcp::Packet::new_checked(bytes) {
        assert_eq!(tcp::HEADER_LEN + segment.options().len() + segment.payload().len(), bytes.len());
        let _ = (segment.seq(), segment.ack(), segment.flags(), segment.window());
        let _ = segment.is_checksum_right(GATEWAY, GATEWAY);
    }
    if let Ok(ports) = ports::Packet::new_checked(bytes) {
        let _ = (ports.src_port(), ports.dst_port());
    }
    if let Ok(message) = icmpv4::Packet::new_checked(bytes) {
        let _ = (message.code(), message.rest(), message.ident(), message.seq(), message.is_checksum_right());
        assert!(message.embedded().len() <= message.payload().len());
        if depth == Depth::Outer {
            read_ipv4(message.embedded(), Depth::Embedded);
        }
    }
}

/// Answers `bytes` as a router would. The answer must be a packet that a host accepts.
fn answer(bytes: &[u8]) {
    let mut buf = bytes.to_vec();
    if let Some(len) = icmpv4::error(&mut buf, 3, 4, 1400, GATEWAY) {
        assert!(len <= icmpv4::ERROR_LEN_MAX && len <= buf.len());
        let packet = ipv4::Packet::new_verified(&buf[..len]).unwrap();
        assert_eq!((packet.src(), packet.dst()), (GATEWAY, ipv4::Packet::new_unchecked(bytes).src()));
        let message = icmpv4::Packet::new_verified(packet.payload()).unwrap();
        assert!(bytes.starts_with(message.embedded()));
    } else {
        assert_eq!(buf, bytes);
    }
    if let Some(len) = icmpv4::echo_reply(&mut buf) {
        let packet = ipv4::Packet::new_verified(&buf[..len]).unwrap();
        assert!(icmpv4::Packet::new_verified(packet.payload()).is_ok());
    }
}

/// A valid packet of each kind, in an Ethernet frame with a little padding.
fn valid_frames() -> Vec<Vec<u8>> {
    let host = Ipv4Addr::new(10, 64, 0, 2);
    let ip = |protocol: u8, options: &[u8], payload: &[u8]| {
        let header_len = ipv4::HEADER_LEN + options.len();
        let mut bytes = [&[0; 20], options, payload].concat();
        let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
        packet.set_header_len(header_len);
        packet.set_total_len((header_len + payload.len()) as u16);
        packet.set_ttl(64);
        packet.set_protocol(protocol);
        packet.set_src(host);
        packet.set_dst(GATEWAY);
        packet.fill_checksum();
        bytes
    };
    let mut datagram = vec![0x35; 30];
    let mut udp = udp::Packet::new_unchecked(&mut datagram[..]);
    udp.set_len(30);
    udp.fill_checksum(host, GATEWAY);
    let mut segment = vec![0x50; 44];
    let mut tcp = tcp::Packet::new_unchecked(&mut segment[..]);
    tcp.set_header_len(24);
    tcp.fill_checksum(host, GATEWAY);
    let mut echo = vec![0; 24];
    let mut message = icmpv4::Packet::new_unchecked(&mut echo[..]);
    message.set_ty(icmpv4::message::ECHO);
    message.fill_checksum();
    let mut unreachable = ip(ipv4::TCP, &[1; 4], &segment);
    unreachable.resize(200, 0);
    let len = icmpv4::error(&mut unreachable, 3, 1, 0x0005_0000, host).unwrap();
    unreachable.truncate(len);
    let request = arp::Repr::request(ethernet::Mac([2, 0, 0, 0, 0, 1]), host, GATEWAY).emit();

    let frame = |vlan: Option<u16>, ethertype: u16, payload: &[u8]| {
        let mut bytes = vec![0; ethernet::header_len(vlan)];
        ethernet::emit(&mut bytes, ethernet::Mac::BROADCAST, ethernet::Mac::default(), vlan, ethertype)
            .unwrap();
        [&bytes, payload, &[0; 6]].concat()
    };
    vec![
        frame(None, ethernet::ARP, &request),
        frame(Some(42), ethernet::IPV4, &ip(ipv4::UDP, &[], &datagram)),
        frame(None, ethernet::IPV4, &ip(ipv4::TCP, &[1; 8], &segment)),
        frame(None, ethernet::IPV4, &ip(ipv4::ICMP, &[], &echo)),
        frame(None, ethernet::IPV4, &unreachable),
    ]
}

#[test]
fn mutated_packets_are_read_or_refused() {
    let frames = valid_frames();
    // A plain linear congruential generator: the same mutations in every run.
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for nth in 0..20_000 {
        let mut frame = frames[nth % frames.len()].clone();
        for _ in 0..=random(3) {
            let at = random(frame.len());
            match random(4) {
                0 => frame[at] ^= 1 << random(8),
                1 => frame[at] = [0, 1, 4, 5, 15, 0x45, 0x7f, 0x80, 0xff][random(9)],
                2 => frame.truncate(at.max(1)),
                _ => frame.extend_from_within(at..),
            }
        }
        read_as_everything(&frame);
        if let Ok(layer2) = ethernet::parse(&frame) {
            answer(&frame[layer2.header_len..]);
        }
    }
}

#[test]
fn every_field_may_be_cut_off() {
    for frame in valid_frames() {
        for len in 0..frame.len() {
            read_as_everything(&frame[..len]);
            answer(&frame[14.min(len)..len]);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_as_everything(&bytes);
        read_layer4(&bytes, Depth::Outer);
        answer(&bytes);
    }

    #[test]
    fn bytes_that_begin_like_ipv4_are_read_or_refused(
        mut bytes in prop::collection::vec(any::<u8>(), 20..700),
        words in 5_u8..=15,
    ) {
        let len = bytes.len() as u16;
        let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
        packet.set_header_len(usize::from(words) * 4);
        packet.set_total_len(len);
        read_as_everything(&bytes);
        answer(&bytes);
    }

    #[test]
    fn an_ipv4_header_rewritten_by_delta_is_as_if_computed_anew(
        mut bytes in prop::collection::vec(any::<u8>(), 60),
        src: u32,
        dst: u32,
    ) {
        let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
        packet.set_header_len(28);
        packet.fill_checksum();
        let delta = Delta::new().replace_u32(packet.src_bits(), src).replace_u32(packet.dst_bits(), dst);
        packet.set_src_bits(src);
        packet.set_dst_bits(dst);
        packet.apply(delta);
        packet.decrement_ttl();
        let updated = packet.checksum();
        packet.fill_checksum();
        prop_assert_eq!(updated, packet.checksum());
    }

    #[test]
    fn ports_and_addresses_rewritten_by_delta_are_as_if_computed_anew(
        mut bytes in prop::collection::vec(any::<u8>(), 24..90),
        [src, dst, new_src]: [u32; 3],
        port: u16,
    ) {
        let delta = |old_port| Delta::new().replace_u32(src, new_src).replace_u16(old_port, port);
        let (src, dst) = (Ipv4Addr::from(src), Ipv4Addr::from(dst));
        let new_src = Ipv4Addr::from(new_src);

        let len = bytes.len() as u16;
        let mut udp = udp::Packet::new_unchecked(&mut bytes[..]);
        udp.set_len(len);
        udp.fill_checksum(src, dst);
        let before = udp.checksum();
        let there = delta(udp.src_port());
        udp.set_src_port(port);
        udp.apply(there);
        let updated = udp.checksum();
        prop_assert_eq!(there.inverse().apply_udp(updated), before);
        udp.fill_checksum(new_src, dst);
        prop_assert_eq!(updated, udp.checksum());

        let mut tcp = tcp::Packet::new_unchecked(&mut bytes[..]);
        tcp.fill_checksum(src, dst);
        let before = tcp.checksum();
        let there = delta(tcp.src_port());
        tcp.set_src_port(port);
        tcp.apply(there);
        let updated = tcp.checksum();
        prop_assert_eq!(there.inverse().apply(updated), before);
        tcp.fill_checksum(new_src, dst);
        prop_assert_eq!(updated, tcp.checksum());
    }

    #[test]
    fn an_identifier_rewritten_by_delta_is_as_if_computed_anew(
        mut bytes in prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 8..40),
        ident: u16,
    ) {
        let mut message = icmpv4::Packet::new_unchecked(&mut bytes[..]);
        message.fill_checksum();
        let delta = Delta::new().replace_u16(message.ident(), ident);
        message.set_ident(ident);
        message.apply(delta);
        let updated = message.checksum();
        message.fill_checksum();
        prop_assert_eq!(updated, message.checksum());
    }

    #[test]
    fn a_frame_too_short_for_its_header_is_left_alone(len in 0_usize..18, vlan in prop::option::of(1_u16..4095)) {
        let mut frame = vec![0xee; len];
        let result = ethernet::emit(&mut frame, ethernet::Mac::BROADCAST, ethernet::Mac::default(), vlan, 0x0800);
        prop_assert_eq!(result.is_ok(), len >= ethernet::header_len(vlan));
        if result == Err(Error::Truncated) {
            prop_assert!(frame.iter().all(|&octet| octet == 0xee));
        }
    }
}
