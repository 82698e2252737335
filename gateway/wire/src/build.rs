//! Whole IPv4 packets with right lengths and checksums, for programs that send some of their own: tests, probes, generators.
//! Unlike the rest of this crate, it allocates.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{icmpv4, ipv4, tcp, udp};

/// Time to live of the packets.
pub const TTL: u8 = 64;

/// A UDP datagram, without options or fragments.
///
/// # Panics
/// The packet would be longer than 65,535 octets.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; udp::HEADER_LEN];
    datagram.extend(payload);
    let len = octets(datagram.len());
    let mut view = udp::Packet::new_unchecked(&mut datagram[..]);
    view.set_src_port(from.port());
    view.set_dst_port(to.port());
    view.set_len(len);
    view.fill_checksum(*from.ip(), *to.ip());
    ipv4(*from.ip(), *to.ip(), ipv4::UDP, &datagram)
}

/// A TCP segment without options, with sequence and acknowledgement number 0 and the largest window.
///
/// # Panics
/// The packet would be longer than 65,535 octets.
pub fn tcp(from: SocketAddrV4, to: SocketAddrV4, flags: tcp::Flags, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; tcp::HEADER_LEN];
    segment.extend(payload);
    let mut view = tcp::Packet::new_unchecked(&mut segment[..]);
    view.set_src_port(from.port());
    view.set_dst_port(to.port());
    view.set_header_len(tcp::HEADER_LEN);
    view.set_flags(flags);
    view.set_window(u16::MAX);
    view.fill_checksum(*from.ip(), *to.ip());
    ipv4(*from.ip(), *to.ip(), ipv4::TCP, &segment)
}

/// An echo request (RFC 792) with sequence number 0.
///
/// # Panics
/// The packet would be longer than 65,535 octets.
pub fn echo_request(from: Ipv4Addr, to: Ipv4Addr, identifier: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = identifier.to_be_bytes();
    let mut message = vec![icmpv4::message::ECHO, 0, 0, 0, high, low, 0, 0];
    message.extend(payload);
    icmpv4::Packet::new_unchecked(&mut message[..]).fill_checksum();
    ipv4(from, to, ipv4::ICMP, &message)
}

/// A packet of this protocol with this payload.
///
/// # Panics
/// It would be longer than 65,535 octets.
pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; ipv4::HEADER_LEN];
    packet.extend(payload);
    let len = octets(packet.len());
    let mut view = ipv4::Packet::new_unchecked(&mut packet[..]);
    view.set_header_len(ipv4::HEADER_LEN);
    view.set_total_len(len);
    view.set_ttl(TTL);
    view.set_protocol(protocol);
    view.set_src(from);
    view.set_dst(to);
    view.fill_checksum();
    packet
}

fn octets(len: usize) -> u16 {
    u16::try_from(len).expect("no longer than an IPv4 packet may be")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_checksum_is_right() {
        let (from, to) = ("10.64.0.11:40000".parse().unwrap(), "198.51.100.10:53".parse().unwrap());
        let (source, destination) = (*SocketAddrV4::ip(&from), *SocketAddrV4::ip(&to));
        for payload in [&b""[..], b"odd", b"even"] {
            let packet = udp(from, to, payload);
            let view = ipv4::Packet::new_verified(&packet[..]).unwrap();
            assert_eq!(
                (view.src(), view.dst(), view.protocol(), view.ttl()),
                (source, destination, ipv4::UDP, TTL)
            );
            let datagram = udp::Packet::new_checked(view.into_payload()).unwrap();
            assert_eq!((datagram.src_port(), datagram.dst_port(), datagram.payload()), (40000, 53, payload));
            assert!(datagram.is_checksum_right(source, destination));

            let packet = tcp(from, to, tcp::Flags::SYN, payload);
            let view = ipv4::Packet::new_verified(&packet[..]).unwrap();
            let segment = tcp::Packet::new_checked(view.into_payload()).unwrap();
            assert_eq!((segment.src_port(), segment.dst_port(), segment.payload()), (40000, 53, payload));
            assert!(
                segment.flags().contains(tcp::Flags::SYN) && segment.is_checksum_right(source, destination)
            );

            let packet = echo_request(source, destination, 0x1234, payload);
            let view = ipv4::Packet::new_verified(&packet[..]).unwrap();
            let message = icmpv4::Packet::new_verified(view.into_payload()).unwrap();
            assert_eq!((message.ty(), message.code(), message.ident()), (icmpv4::message::ECHO, 0, 0x1234));
        }
    }

    #[test]
    #[should_panic(expected = "no longer than an IPv4 packet may be")]
    fn a_packet_that_is_too_long_is_refused() {
        udp("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), &vec![0; 65_508]);
    }
}
