//! Frames made by hand, and spoilt by hand.

use std::net::Ipv4Addr;

/// A MAC address.
pub(crate) type Mac = [u8; 6];

/// Bytes before the IPv4 header.
const ETHERNET: usize = 14;

/// An Ethernet frame.
pub(crate) fn ethernet(to: Mac, from: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 packet; `options` must be a multiple of four bytes.
pub(crate) fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header_length = 20 + options.len();
    let total = u16::try_from(header_length + payload.len()).expect("a short packet");
    let version_ihl = 0x40 | (header_length / 4) as u8;
    let [high, low] = total.to_be_bytes();
    let fixed = [version_ihl, 0, high, low, 0x12, 0x34, 0, 0, 64, protocol, 0, 0];
    let mut packet = [&fixed[..], &from.octets(), &to.octets(), options, payload].concat();
    let checksum = checksum(&packet[..header_length]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// A packet in fragments, each with no more than `room` bytes, a multiple of eight, behind its header.
pub(crate) fn fragments(packet: &[u8], room: usize, ident: u16) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(usize::from(packet[0] & 15) * 4);
    let parts = payload.chunks(room).enumerate().map(|(nth, part)| {
        let more = if (nth + 1) * room < payload.len() { 0x2000 } else { 0 };
        let mut fragment = [header, part].concat();
        let length = fragment.len() as u16;
        let words = [length, ident, (nth * room / 8) as u16 | more].map(u16::to_be_bytes).concat();
        fragment[2..8].copy_from_slice(&words);
        fragment[10..12].fill(0);
        let checksum = checksum(&fragment[..header.len()]);
        fragment[10..12].copy_from_slice(&checksum.to_be_bytes());
        fragment
    });
    parts.collect()
}

/// A UDP datagram in IPv4.
pub(crate) fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), options: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let header = [from.1, to.1, length, 0].map(u16::to_be_bytes).concat();
    transport(from.0, to.0, 17, options, [&header, payload].concat(), 6)
}

/// A TCP segment in IPv4, without options.
pub(crate) fn tcp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let ports = [from.1, to.1].map(u16::to_be_bytes).concat();
    let rest = [0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    transport(from.0, to.0, 6, &[], [&ports, &rest[..], payload].concat(), 16)
}

/// An ICMP message in IPv4: type, code and what follows the checksum.
pub(crate) fn icmp(from: Ipv4Addr, to: Ipv4Addr, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], rest].concat();
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    ipv4(from, to, 1, &[], &message)
}

/// An ARP request for `target`.
pub(crate) fn arp_request(mac: Mac, from: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, 1];
    [&fixed[..], &mac, &from.octets(), &[0; 6], &target.octets()].concat()
}

fn transport(
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    options: &[u8],
    mut segment: Vec<u8>,
    at: usize,
) -> Vec<u8> {
    let length = (segment.len() as u16).to_be_bytes();
    let pseudo = [&from.octets()[..], &to.octets(), &[0, protocol], &length].concat();
    let checksum = checksum(&[&pseudo, &segment[..]].concat());
    segment[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    ipv4(from, to, protocol, options, &segment)
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// A generator of the same numbers for the same seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % bound as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

/// Spoils a frame in one to eight places. The station addresses stay as they are, or a bridge would keep the frame to
/// itself; half of the frames get a right header checksum again, or few would get past it.
pub(crate) fn mutate(frame: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(8) {
        let at = ETHERNET - 2 + random.below(frame.len() - ETHERNET + 2);
        match random.below(8) {
            0 | 1 => frame[at] ^= 1 << random.below(8),
            2 | 3 => frame[at] = random.byte(),
            4 => frame[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            5 => frame.truncate(at.max(ETHERNET)),
            6 => frame.extend((0..random.below(64)).map(|_| 0xa5)),
            // The length fields of IPv4: version and header length, total length, fragment offset.
            _ => {
                let field = ETHERNET + [0, 2, 3, 6, 7][random.below(5)];
                if let Some(byte) = frame.get_mut(field) {
                    *byte = random.byte();
                }
            }
        }
        if frame.len() <= ETHERNET {
            break;
        }
    }
    if random.below(2) == 0 {
        repair_header_checksum(frame);
    }
}

fn repair_header_checksum(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(ETHERNET..) else { return };
    let header_length = packet.first().map_or(0, |&first| usize::from(first & 15) * 4);
    if (20..=packet.len()).contains(&header_length) {
        packet[10..12].fill(0);
        let checksum = checksum(&packet[..header_length]);
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}
