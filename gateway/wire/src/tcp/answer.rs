//! The reset that ends a connection which one side does not know.

use super::{Flags, HEADER_LEN, Packet};
use crate::ipv4;

/// Replaces the segment at the front of `buf`, with its IPv4 header, by the RST that an endpoint without the connection
/// answers with (RFC 9293 section 3.10.7.1), and returns its octets.
///
/// `(S:p -> D:q, segment)` becomes `(D:q -> S:p, RST)`. Its sequence number is what the segment acknowledges; where it
/// acknowledges nothing, the RST acknowledges the segment.
///
/// `None`, with `buf` as it was, where nothing may be sent: about another RST, a fragment, a segment whose checksum is wrong,
/// from or to an address that is no host's; and where `buf` does not hold a whole segment.
pub fn reset(buf: &mut [u8]) -> Option<usize> {
    let packet = ipv4::Packet::new_checked(&*buf).ok()?;
    let (source, destination) = (packet.src(), packet.dst());
    let between_hosts = ipv4::is_host(source) && ipv4::is_host(destination);
    if packet.protocol() != ipv4::TCP || packet.is_fragment() || !between_hosts {
        return None;
    }
    let segment = Packet::new_checked(packet.payload()).ok()?;
    let flags = segment.flags();
    if flags.contains(Flags::RST) || !segment.is_checksum_right(source, destination) {
        return None;
    }
    let ports = (segment.src_port(), segment.dst_port());
    let (seq, ack, reset) = if flags.contains(Flags::ACK) {
        (segment.ack(), 0, Flags::RST)
    } else {
        // SYN and FIN take a number each (section 3.4).
        let control = u32::from(flags.contains(Flags::SYN)) + u32::from(flags.contains(Flags::FIN));
        let len = segment.payload().len() as u32 + control;
        (0, segment.seq().wrapping_add(len), Flags::RST | Flags::ACK)
    };

    let buf = &mut buf[..RESET_LEN];
    buf.fill(0);
    let mut packet = ipv4::Packet::new_unchecked(buf);
    packet.set_header_len(ipv4::HEADER_LEN);
    packet.set_total_len(RESET_LEN as u16);
    packet.set_dont_frag(true);
    packet.set_ttl(TTL);
    packet.set_protocol(ipv4::TCP);
    packet.set_src(destination);
    packet.set_dst(source);
    packet.fill_checksum();
    let mut segment = Packet::new_unchecked(packet.payload_mut());
    segment.set_src_port(ports.1);
    segment.set_dst_port(ports.0);
    segment.set_seq(seq);
    segment.set_ack(ack);
    segment.set_header_len(HEADER_LEN);
    segment.set_flags(reset);
    segment.fill_checksum(destination, source);
    Some(RESET_LEN)
}

const RESET_LEN: usize = ipv4::HEADER_LEN + HEADER_LEN;
/// RFC 1700, "IP time to live parameter".
const TTL: u8 = 64;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 5);
    const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
    const DATA: usize = 7;

    /// A segment with data, numbers near their end and options in both headers.
    fn segment(flags: Flags) -> Vec<u8> {
        let mut buf = vec![0; 24 + 24 + DATA];
        let mut packet = ipv4::Packet::new_unchecked(&mut buf[..]);
        packet.set_header_len(24);
        packet.set_total_len((24 + 24 + DATA) as u16);
        packet.set_ttl(1);
        packet.set_protocol(ipv4::TCP);
        packet.set_src(HOST);
        packet.set_dst(REMOTE);
        packet.fill_checksum();
        let mut segment = Packet::new_unchecked(packet.payload_mut());
        segment.set_src_port(4000);
        segment.set_dst_port(443);
        segment.set_seq(u32::MAX - 3);
        segment.set_ack(0x0506_0708);
        segment.set_header_len(24);
        segment.set_flags(flags);
        segment.fill_checksum(HOST, REMOTE);
        buf
    }

    #[test]
    fn rfc9293_3_10_7_1_numbers_are_those_that_the_sender_takes() {
        let fin = Flags::FIN | Flags::ACK;
        let of_acknowledged = |flags| (flags, Flags::RST, 0x0506_0708, 0);
        let of_others = |flags, ack| (flags, Flags::RST | Flags::ACK, 0, ack);
        for (flags, expected, seq, ack) in [
            of_acknowledged(Flags::ACK),
            of_acknowledged(fin),
            of_acknowledged(Flags::SYN | Flags::ACK),
            of_others(Flags::SYN, 4),
            of_others(Flags::PSH, 3),
            of_others(Flags::FIN, 4),
        ] {
            let mut buf = segment(flags);
            assert_eq!(reset(&mut buf), Some(40));
            let packet = ipv4::Packet::new_verified(&buf[..40]).unwrap();
            assert_eq!((packet.src(), packet.dst(), packet.ttl()), (REMOTE, HOST, 64));
            let reset = Packet::new_checked(packet.payload()).unwrap();
            assert!(reset.is_checksum_right(REMOTE, HOST));
            assert_eq!((reset.src_port(), reset.dst_port()), (443, 4000));
            assert_eq!((reset.flags(), reset.seq(), reset.ack()), (expected, seq, ack), "{flags:?}");
        }
    }

    #[test]
    fn no_reset_is_sent_about_a_reset_a_fragment_or_what_is_broken() {
        let refused = |flags: Flags, change: &dyn Fn(&mut ipv4::Packet<&mut [u8]>)| {
            let mut buf = segment(flags);
            change(&mut ipv4::Packet::new_unchecked(&mut buf[..]));
            let before = buf.clone();
            assert_eq!((reset(&mut buf), buf), (None, before));
        };
        refused(Flags::RST, &|_| ());
        refused(Flags::RST | Flags::ACK, &|_| ());
        refused(Flags::ACK, &|packet| packet.set_more_frags(true));
        refused(Flags::ACK, &|packet| packet.set_frag_offset(8));
        refused(Flags::ACK, &|packet| packet.set_protocol(ipv4::UDP));
        refused(Flags::ACK, &|packet| packet.payload_mut()[25] ^= 1);
        for address in [[0; 4], [255; 4], [224, 0, 0, 5], [127, 0, 0, 1]] {
            refused(Flags::ACK, &|packet| packet.set_src(address.into()));
            refused(Flags::ACK, &|packet| packet.set_dst(address.into()));
        }
        assert_eq!(reset(&mut segment(Flags::ACK)[..40]), None);
        assert_eq!(reset(&mut [0x45; 10]), None);
    }
}
