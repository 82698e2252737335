//! The messages that a router sends of its own: an ICMP error about a packet, and the reply to an echo.
//!
//! Both replace the packet in its own buffer, and both keep silent where RFC 1122 section 3.2.2 and RFC 1812 section
//! 4.3.2.7 ask for it. Whether the frame was a link-layer broadcast, whether an address is a subnet's broadcast and
//! whether the rate limit allows an answer is known to the caller alone.

use std::net::Ipv4Addr;

use super::{HEADER_LEN, Packet, is_error, message};
use crate::checksum::Delta;
use crate::ipv4;

/// The most octets that an error has, its IPv4 header included (RFC 1812 section 4.3.2.3).
pub const ERROR_LEN_MAX: usize = 576;

/// Replaces the IPv4 packet at the front of `buf` by an ICMP error to its source, and returns the error's octets.
///
/// `(S -> D, payload)` becomes `(source -> S, ICMP ty/code/rest, (S -> D, payload...))`: the offender, header and
/// all, is quoted as it lies in `buf` as far as [`ERROR_LEN_MAX`] and `buf` allow. `buf` may be longer than the
/// offender; the error is up to 28 octets longer than what it quotes.
///
/// `None`, with `buf` as it was, when no error may be sent: about another ICMP error, about a fragment other than the
/// first, from or to an address that is no host's; and when `buf` has no room for the header and eight octets of
/// the offender (RFC 792), or holds no IPv4 packet.
pub fn error(buf: &mut [u8], ty: u8, code: u8, rest: u32, source: Ipv4Addr) -> Option<usize> {
    let offender = ipv4::Packet::new_checked(&*buf).ok()?;
    if !may_be_reported(&offender) {
        return None;
    }
    let (dst, ident) = (offender.src(), offender.ident());
    let total_len = usize::from(offender.total_len());
    let room = buf.len().min(ERROR_LEN_MAX).checked_sub(QUOTE_AT)?;
    if room < total_len.min(offender.header_len() + 8) {
        return None;
    }
    let quoted = total_len.min(room);
    buf.copy_within(..quoted, QUOTE_AT);
    let buf = &mut buf[..QUOTE_AT + quoted];
    fill_message(buf, ty, code, rest);
    fill_header(buf, ident, source, dst);
    Some(buf.len())
}

/// As [`error`], to the front of `buf` and about a packet of which `quote` is the start. `None` also where that is less
/// than its header and eight octets.
pub fn error_about(
    quote: &[u8],
    buf: &mut [u8],
    ty: u8,
    code: u8,
    rest: u32,
    source: Ipv4Addr,
) -> Option<usize> {
    let offender = ipv4::Packet::new_header(quote).ok()?;
    let is_enough = quote.len() >= usize::from(offender.total_len()).min(offender.header_len() + 8);
    if !is_enough || !may_be_reported(&offender) {
        return None;
    }
    let buf = buf.get_mut(..QUOTE_AT + quote.len()).filter(|buf| buf.len() <= ERROR_LEN_MAX)?;
    buf[QUOTE_AT..].copy_from_slice(quote);
    fill_message(buf, ty, code, rest);
    fill_header(buf, offender.ident(), source, offender.src());
    Some(buf.len())
}

fn fill_message(error: &mut [u8], ty: u8, code: u8, rest: u32) {
    let mut message = Packet::new_unchecked(&mut error[ipv4::HEADER_LEN..]);
    message.set_ty(ty);
    message.set_code(code);
    message.set_rest(rest);
    message.fill_checksum();
}

fn fill_header(error: &mut [u8], ident: u16, source: Ipv4Addr, dst: Ipv4Addr) {
    let total_len = error.len() as u16;
    error[..ipv4::HEADER_LEN].fill(0);
    let mut packet = ipv4::Packet::new_unchecked(error);
    packet.set_header_len(ipv4::HEADER_LEN);
    packet.set_tos(INTERNETWORK_CONTROL);
    packet.set_total_len(total_len);
    packet.set_ident(ident);
    packet.set_ttl(TTL);
    packet.set_protocol(ipv4::ICMP);
    packet.set_src(source);
    packet.set_dst(dst);
    packet.fill_checksum();
}

/// Turns the echo at the front of `buf` into its reply, and returns the reply's octets.
///
/// `(S -> D, echo)` becomes `(D -> S, echo reply)` with a fresh TTL; type of service, options, identifier, sequence
/// and data stay (RFC 1122 section 3.2.2.6). `None`, with `buf` as it was, when `buf` holds no whole echo, its
/// checksum is wrong, or an address is no host's.
pub fn echo_reply(buf: &mut [u8]) -> Option<usize> {
    let mut packet = ipv4::Packet::new_checked(buf).ok()?;
    let (src, dst) = (packet.src(), packet.dst());
    if packet.protocol() != ipv4::ICMP || packet.is_fragment() || !ipv4::is_host(src) || !ipv4::is_host(dst) {
        return None;
    }
    let mut echo = Packet::new_verified(packet.payload_mut()).ok()?;
    if (echo.ty(), echo.code()) != (message::ECHO, 0) {
        return None;
    }
    echo.set_ty(message::ECHO_REPLY);
    echo.apply(Delta::new().replace_u16(u16::from(message::ECHO) << 8, u16::from(message::ECHO_REPLY) << 8));
    packet.set_src(dst);
    packet.set_dst(src);
    packet.set_ttl(TTL);
    packet.fill_checksum();
    Some(usize::from(packet.total_len()))
}

fn may_be_reported(offender: &ipv4::Packet<&[u8]>) -> bool {
    let is_first = offender.frag_offset() == 0;
    let ty = offender.payload().first().copied();
    let is_icmp_error = offender.protocol() == ipv4::ICMP && ty.is_none_or(is_error);
    is_first && !is_icmp_error && ipv4::is_host(offender.src()) && ipv4::is_host(offender.dst())
}

/// Where the offender stands in the error.
const QUOTE_AT: usize = ipv4::HEADER_LEN + HEADER_LEN;
/// Precedence 6 (RFC 1812 section 4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;
/// RFC 1700, "IP time to live parameter".
const TTL: u8 = 64;

#[cfg(test)]
mod tests {
    use super::super::{time_exceeded, unreachable};
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
    const HOST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
    const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    /// A packet of `total_len` octets in a buffer of `len`.
    fn packet(protocol: u8, total_len: u16, len: usize) -> Vec<u8> {
        let mut buf: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mut packet = ipv4::Packet::new_unchecked(&mut buf[..]);
        packet.set_header_len(20);
        packet.set_total_len(total_len);
        packet.set_dont_frag(true);
        packet.set_more_frags(false);
        packet.set_frag_offset(0);
        packet.set_protocol(protocol);
        packet.set_src(HOST);
        packet.set_dst(REMOTE);
        packet.fill_checksum();
        buf
    }

    fn port_unreachable(buf: &mut [u8]) -> Option<usize> {
        error(buf, message::UNREACHABLE, unreachable::PORT, 0, GATEWAY)
    }

    #[test]
    fn an_error_quotes_the_offender() {
        let mut buf = packet(ipv4::UDP, 100, 200);
        let offender = buf[..100].to_vec();
        let len = error(&mut buf, message::TIME_EXCEEDED, time_exceeded::TTL, 7, GATEWAY).unwrap();
        assert_eq!(len, 128);
        let packet = ipv4::Packet::new_verified(&buf[..len]).unwrap();
        assert_eq!((packet.src(), packet.dst(), packet.protocol()), (GATEWAY, HOST, ipv4::ICMP));
        assert_eq!((packet.ttl(), packet.tos(), packet.total_len()), (64, 0xc0, 128));
        assert!(!packet.dont_frag() && !packet.is_fragment());
        let message = Packet::new_verified(packet.payload()).unwrap();
        assert_eq!((message.ty(), message.code(), message.rest()), (11, 0, 7));
        assert_eq!(message.embedded(), offender);
    }

    #[test]
    fn an_error_about_a_kept_start_is_that_about_the_packet() {
        let whole = packet(ipv4::TCP, 60, 60);
        let mut expected = packet(ipv4::TCP, 60, 100);
        let len = port_unreachable(&mut expected).unwrap();
        let about = |quote: &[u8], room: usize| {
            let mut buf = vec![0xee; room];
            let (ty, code) = (message::UNREACHABLE, unreachable::PORT);
            error_about(quote, &mut buf, ty, code, 0, GATEWAY).map(|len| buf[..len].to_vec())
        };
        assert_eq!(about(&whole, 200).unwrap(), expected[..len]);
        let short = about(&whole[..28], 56).unwrap();
        let header = ipv4::Packet::new_verified(&short[..]).unwrap();
        assert_eq!(Packet::new_verified(header.payload()).unwrap().embedded(), &whole[..28]);
        assert_eq!((about(&whole[..27], 200), about(&whole, 87)), (None, None));
        assert_eq!(about(&packet(ipv4::ICMP, 20, 20), 200), None);
    }

    #[test]
    fn an_error_is_no_longer_than_576_octets_nor_than_its_buffer() {
        for (total_len, buf_len, expected) in [
            (1500, 1600, Some(576)),
            (548, 1600, Some(576)),
            (547, 1600, Some(575)),
            (100, 100, Some(100)),
            (28, 56, Some(56)),
            (28, 55, None),
            (29, 56, Some(56)),
            (24, 52, Some(52)),
            (20, 48, Some(48)),
            (20, 47, None),
        ] {
            let mut buf = packet(ipv4::UDP, total_len, buf_len);
            let before = buf.clone();
            let len = port_unreachable(&mut buf);
            assert_eq!(len, expected, "{total_len} in {buf_len}");
            match len {
                Some(len) => {
                    let packet = ipv4::Packet::new_verified(&buf[..len]).unwrap();
                    let message = Packet::new_verified(packet.payload()).unwrap();
                    assert_eq!(message.embedded(), &before[..len - 28]);
                }
                None => assert_eq!(buf, before),
            }
        }
    }

    #[test]
    fn rfc1812_4_3_2_7_no_error_about_errors_fragments_and_groups() {
        let refused = |change: &dyn Fn(&mut ipv4::Packet<&mut [u8]>)| {
            let mut buf = packet(ipv4::UDP, 100, 200);
            change(&mut ipv4::Packet::new_unchecked(&mut buf[..]));
            port_unreachable(&mut buf).is_none()
        };
        assert!(!refused(&|_| ()));
        assert!(!refused(&|packet| packet.set_more_frags(true)));
        assert!(refused(&|packet| packet.set_frag_offset(8)));
        for address in [[0; 4], [255; 4], [224, 0, 0, 5], [127, 0, 0, 1]] {
            assert!(refused(&|packet| packet.set_src(address.into())), "from {address:?}");
            assert!(refused(&|packet| packet.set_dst(address.into())), "to {address:?}");
        }
        let icmp = |ty: u8| {
            refused(&|packet| {
                packet.set_protocol(ipv4::ICMP);
                packet.payload_mut()[0] = ty;
            })
        };
        assert!(icmp(message::UNREACHABLE) && icmp(message::REDIRECT) && icmp(message::TIME_EXCEEDED));
        assert!(!icmp(message::ECHO) && !icmp(message::TIMESTAMP_REPLY));
        assert!(port_unreachable(&mut packet(ipv4::ICMP, 20, 100)).is_none());
        assert!(port_unreachable(&mut [0x45; 10]).is_none());
    }

    #[test]
    fn an_echo_is_answered_in_place() {
        let mut buf = packet(ipv4::ICMP, 60, 64);
        assert_eq!(echo_reply(&mut buf), None, "no echo");
        let mut echo = Packet::new_unchecked(&mut buf[20..60]);
        echo.set_ty(message::ECHO);
        echo.set_code(0);
        assert_eq!(echo_reply(&mut buf), None, "wrong checksum");
        Packet::new_unchecked(&mut buf[20..60]).fill_checksum();
        let data = buf[24..].to_vec();
        assert_eq!(echo_reply(&mut buf), Some(60));
        let packet = ipv4::Packet::new_verified(&buf[..]).unwrap();
        assert_eq!((packet.src(), packet.dst(), packet.ttl()), (REMOTE, HOST, 64));
        let reply = Packet::new_verified(packet.payload()).unwrap();
        assert_eq!((reply.ty(), reply.code()), (message::ECHO_REPLY, 0));
        assert_eq!(&buf[24..], data);
        assert_eq!(echo_reply(&mut buf), None, "a reply");
    }
}
