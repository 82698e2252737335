//! Literal packets, and the shortcuts against the long way.

use super::*;

/// 24 octets of header, 4 of payload, 2 of padding.
const PACKET: [u8; 30] = *b"\x46\xc0\x00\x1c\x12\x34\x20\x05\x40\x11\x00\x00\x0a\x40\x00\x02\xc6\x33\x64\x07\
    \x94\x04\x00\x00abcd\xee\xee";

fn packet() -> Packet<[u8; 30]> {
    let mut packet = Packet::new_checked(PACKET).unwrap();
    packet.fill_checksum();
    packet
}

#[test]
fn reads_every_field() {
    let packet = packet();
    assert_eq!((packet.version(), packet.header_len(), packet.total_len()), (4, 24, 28));
    assert_eq!((packet.tos(), packet.ident(), packet.ttl(), packet.protocol()), (0xc0, 0x1234, 64, UDP));
    assert_eq!((packet.dont_frag(), packet.more_frags(), packet.frag_offset()), (false, true, 40));
    assert_eq!((packet.src(), packet.dst()), ([10, 64, 0, 2].into(), [198, 51, 100, 7].into()));
    assert_eq!((packet.src_bits(), packet.dst_bits()), (0x0a40_0002, 0xc633_6407));
    assert_eq!((packet.options(), packet.payload()), (&b"\x94\x04\x00\x00"[..], &b"abcd"[..]));
    assert!(packet.is_fragment() && packet.is_checksum_right());
}

#[test]
fn writes_every_field() {
    let mut packet = Packet::new_unchecked([0; 24]);
    packet.set_header_len(20);
    packet.set_tos(0x10);
    packet.set_total_len(24);
    packet.set_ident(0xabcd);
    packet.set_dont_frag(true);
    packet.set_more_frags(true);
    packet.set_frag_offset(1480);
    packet.set_dont_frag(false);
    packet.set_ttl(1);
    packet.set_protocol(TCP);
    packet.set_src([192, 0, 2, 1].into());
    packet.set_dst([192, 0, 2, 2].into());
    packet.payload_mut().copy_from_slice(b"data");
    packet.set_checksum(0xbeef);
    assert_eq!(
        &packet.0,
        b"\x45\x10\x00\x18\xab\xcd\x20\xb9\x01\x06\xbe\xef\xc0\x00\x02\x01\xc0\x00\x02\x02data"
    );
}

#[test]
fn checks_lengths_and_checksum() {
    let bytes = packet().0;
    let with = |at: usize, octet: u8| {
        let mut bytes = bytes;
        bytes[at] = octet;
        Packet::new_verified(bytes).err()
    };
    assert_eq!(Packet::new_verified(&bytes[..19]).err(), Some(Error::Truncated));
    assert_eq!(Packet::new_verified(&bytes[..23]).err(), Some(Error::IpHeaderLength));
    assert_eq!(Packet::new_verified(&bytes[..27]).err(), Some(Error::IpTotalLength));
    assert_eq!(with(0, 0x65), Some(Error::IpVersion));
    assert_eq!(with(0, 0x44), Some(Error::IpHeaderLength));
    assert_eq!(with(0, 0x48), Some(Error::IpHeaderLength));
    assert_eq!(with(3, 23), Some(Error::IpTotalLength));
    assert_eq!(with(3, 31), Some(Error::IpTotalLength));
    assert_eq!(with(8, 63), Some(Error::IpChecksum));
    assert_eq!(with(8, 64), None);
}

#[test]
fn a_packet_cut_short_has_the_payload_that_is_there() {
    let mut bytes = packet().0;
    assert_eq!(Packet::new_header(&bytes[..26]).unwrap().payload(), b"ab");
    bytes[2..4].copy_from_slice(&[0, 0]);
    assert_eq!(Packet::new_header(&bytes[..]).unwrap().payload(), b"");
}

#[test]
fn decrementing_the_ttl_keeps_the_checksum_right() {
    let mut packet = packet();
    for ttl in (0..64).rev() {
        packet.decrement_ttl();
        assert_eq!(packet.ttl(), ttl);
        assert!(packet.is_checksum_right());
    }
    packet.decrement_ttl();
    assert_eq!(packet.ttl(), 0);
}

#[test]
fn some_addresses_are_no_host() {
    for address in
        [[0, 0, 0, 0], [0, 1, 2, 3], [127, 0, 0, 1], [224, 0, 0, 1], [239, 255, 255, 255], [255; 4]]
    {
        assert!(!is_host(address.into()), "{address:?}");
    }
    for address in [[10, 0, 0, 255], [223, 255, 255, 254], [240, 0, 0, 1], [255, 255, 255, 254]] {
        assert!(is_host(address.into()), "{address:?}");
    }
}
