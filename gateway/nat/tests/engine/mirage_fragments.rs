//! The cases of mirage-nat about packets larger than a link: fragmented before or behind the gateway, and reassembled
//! translated.

use natgw_nat::{Direction, Protocol};
use natgw_wire::icmpv4::message;
use natgw_wire::ipv4::{self, Fragments};

use crate::fragment_sim::split;
use crate::fragments::{HOST, REMOTE, ROOM, large, pieces, whole};
use crate::packet::{Body, Packet, at_port, ep};

const MTU: u16 = 1500;

/// A ping of so many octets of payload, that may be cut or not.
fn ping(len: usize, may_be_cut: bool) -> Vec<u8> {
    let mut bytes = large(Protocol::Icmp, ep(HOST), ep(REMOTE), len).bytes();
    let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
    packet.set_dont_frag(!may_be_cut);
    packet.fill_checksum();
    bytes
}

fn cut(packet: &[u8]) -> Option<Vec<Vec<u8>>> {
    let fragments = Fragments::new(packet, MTU)?;
    Some(fragments.map(|fragment| [&fragment.header, &packet[fragment.octets]].concat()).collect())
}

/// Octets of each fragment, and its flags and offset as they stand in the header.
fn shape(fragments: &[Vec<u8>]) -> Vec<(usize, u16)> {
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[6], bytes[7]]);
    fragments.iter().map(|fragment| (fragment.len(), word(fragment))).collect()
}

#[test]
fn a_packet_of_the_links_size_is_not_cut() {
    let packet = ping(1472, true);
    assert_eq!(cut(&packet), Some(vec![packet]));
}

#[test]
fn a_packet_of_1528_octets_becomes_fragments_of_1500_and_48() {
    let fragments = cut(&ping(1500, true)).expect("it may be cut");
    assert_eq!(shape(&fragments), [(1500, 0x2000), (48, 0x00b9)]);
}

#[test]
fn three_full_fragments_have_their_offsets() {
    let fragments = cut(&ping(4432, true)).expect("it may be cut");
    assert_eq!(shape(&fragments), [(1500, 0x2000), (1500, 0x20b9), (1500, 0x0172)]);
}

#[test]
fn a_packet_that_must_not_be_cut_is_not() {
    assert_eq!(cut(&ping(1473, false)), None);
}

#[test]
fn a_ping_of_two_fragments_arrives_whole_and_so_does_its_reply() {
    let mut pieces = pieces(|settings| settings.pools[0].ports = 9001..=9001);
    let packet = ping(1473, true);
    let out = whole(&pieces.arrive_all(&cut(&packet).expect("it may be cut"), Direction::Outbound));
    assert_eq!((out.source.port, out.destination), (9001, at_port(ep(REMOTE), 0)));
    assert_eq!(out.bytes[26..], packet[26..], "from the sequence number on");

    let body = Body::Query { ty: message::ECHO_REPLY, seq: 9, payload: packet[28..].to_vec() };
    let reply = split(&Packet::new(at_port(ep(REMOTE), 0), out.source, body).bytes(), ROOM, 9);
    let back = whole(&pieces.arrive_all(&reply, Direction::Inbound));
    assert_eq!((back.source, back.destination), (at_port(ep(REMOTE), 0), ep(HOST)));
    assert_eq!(back.bytes[26..], packet[26..]);
}
