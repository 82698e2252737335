//! IPv4 packets as tests write and read them: octet by octet, apart from the code under test.

use std::net::{Ipv4Addr, SocketAddrV4};

use natgw_wire::ethernet::Mac;

/// What a packet is above IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Udp,
    /// With these flags.
    Tcp(u8),
    /// The identifier is the sender's port.
    EchoRequest,
    /// The identifier is the receiver's port.
    EchoReply,
    /// Type and code; the payload is the packet that it is about. Ports are 0.
    Error(u8, u8),
}

pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;

impl Kind {
    pub fn protocol(self) -> u8 {
        match self {
            Kind::Udp => 17,
            Kind::Tcp(_) => 6,
            Kind::EchoRequest | Kind::EchoReply | Kind::Error(..) => 1,
        }
    }

    /// What an answer to it is.
    pub fn answer(self) -> Kind {
        match self {
            Kind::Tcp(SYN) => Kind::Tcp(SYN | ACK),
            Kind::EchoRequest => Kind::EchoReply,
            other => other,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub kind: Kind,
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub ttl: u8,
    pub payload: Vec<u8>,
}

impl Packet {
    pub fn new(kind: Kind, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Packet {
        Packet { kind, from, to, ttl: 64, payload: payload.to_vec() }
    }

    /// An ICMP error from `from` to the sender of what it is about.
    pub fn error(ty: u8, code: u8, from: Ipv4Addr, about: &Packet) -> Packet {
        let (from, to) = (SocketAddrV4::new(from, 0), SocketAddrV4::new(*about.from.ip(), 0));
        Packet::new(Kind::Error(ty, code), from, to, &about.octets())
    }

    /// What the receiver answers.
    pub fn answer(&self) -> Packet {
        Packet { kind: self.kind.answer(), from: self.to, to: self.from, ttl: 64, ..self.clone() }
    }

    /// The packet as the next router passes it on.
    pub fn routed(&self) -> Packet {
        Packet { ttl: self.ttl - 1, ..self.clone() }
    }

    /// The packet, all checksums filled in.
    pub fn octets(&self) -> Vec<u8> {
        let word = |value: u16| value.to_be_bytes();
        let (source, destination) = (word(self.from.port()), word(self.to.port()));
        let mut l4 = match self.kind {
            Kind::Udp => [source, destination, word(8 + self.payload.len() as u16), [0; 2]].concat(),
            Kind::Tcp(flags) => {
                let fixed = [0, 0, 0, 7, 0, 0, 0, 9, 0x50, flags, 0x20, 0, 0, 0, 0, 0];
                [&source[..], &destination, &fixed].concat()
            }
            Kind::EchoRequest => [[8, 0], [0; 2], source, [0, 1]].concat(),
            Kind::EchoReply => [[0, 0], [0; 2], destination, [0, 1]].concat(),
            Kind::Error(ty, code) => vec![ty, code, 0, 0, 0, 0, 0, 0],
        };
        l4.extend(&self.payload);
        let at = checksum_at(self.kind.protocol());
        let checksum = match (!sum(&self.pseudo_header(l4.len()), &l4), self.kind) {
            // A datagram with 0 there has none (RFC 768).
            (0, Kind::Udp) => 0xffff,
            (checksum, _) => checksum,
        };
        l4[at..at + 2].copy_from_slice(&word(checksum));

        let mut packet = vec![0x45, 0];
        packet.extend(word(20 + l4.len() as u16));
        packet.extend([0x12, 0x34, 0x40, 0, self.ttl, self.kind.protocol(), 0, 0]);
        packet.extend(self.from.ip().octets());
        packet.extend(self.to.ip().octets());
        let checksum = word(!sum(&[], &packet));
        packet[10..12].copy_from_slice(&checksum);
        packet.extend(l4);
        packet
    }

    /// Reads what [`Packet::octets`] writes.
    ///
    /// # Panics
    /// When a length or a checksum is wrong.
    pub fn read(octets: &[u8]) -> Packet {
        assert_eq!(octets[0], 0x45);
        assert_eq!(sum(&[], &octets[..20]), 0xffff, "IPv4 header checksum of {octets:02x?}");
        let octets = &octets[..usize::from(u16::from_be_bytes([octets[2], octets[3]]))];
        let address =
            |at: usize| Ipv4Addr::from([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        let l4 = &octets[20..];
        let word = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
        let (kind, source, destination, header_len) = match (octets[9], l4[0]) {
            (17, _) => (Kind::Udp, word(0), word(2), 8),
            (6, _) => (Kind::Tcp(l4[13]), word(0), word(2), 20),
            (1, 8) => (Kind::EchoRequest, word(4), 0, 8),
            (1, 0) => (Kind::EchoReply, 0, word(4), 8),
            (1, ty) => (Kind::Error(ty, l4[1]), 0, 0, 8),
            (protocol, _) => panic!("protocol {protocol}"),
        };
        let packet = Packet {
            kind,
            from: SocketAddrV4::new(address(12), source),
            to: SocketAddrV4::new(address(16), destination),
            ttl: octets[8],
            payload: l4[header_len..].to_vec(),
        };
        if kind == Kind::Udp {
            assert_eq!(usize::from(word(4)), l4.len(), "UDP length");
        }
        assert_eq!(sum(&packet.pseudo_header(l4.len()), l4), 0xffff, "checksum of {packet:?}");
        packet
    }

    fn pseudo_header(&self, len: usize) -> Vec<u8> {
        if self.kind.protocol() == 1 {
            return Vec::new();
        }
        let [high, low] = (len as u16).to_be_bytes();
        [&self.from.ip().octets()[..], &self.to.ip().octets(), &[0, self.kind.protocol(), high, low]].concat()
    }
}

/// A datagram whose checksum comes out as 0 says so by all ones, for 0 means that there is none (RFC 768).
#[test]
fn a_checksum_of_zero_is_written_as_all_ones() {
    let (from, to) = ("10.64.0.2:0".parse().unwrap(), "192.0.2.200:443".parse().unwrap());
    let packet = |word: u16| Packet::new(Kind::Udp, from, to, &word.to_be_bytes()).octets();
    let all_ones = (0..=u16::MAX).map(packet).filter(|octets| octets[26..28] == [0xff; 2]);
    assert_eq!(all_ones.inspect(|octets| drop(Packet::read(octets))).count(), 1);
}

/// A frame's link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub dst: Mac,
    pub src: Mac,
    pub vlan: Option<u16>,
}

impl Link {
    /// A frame of this type around `payload`, padded to what Ethernet wants.
    pub fn frame(&self, ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let tag = self.vlan.map(|vid| [[0x81, 0x00], vid.to_be_bytes()].concat()).unwrap_or_default();
        let mut frame = [&self.dst.0[..], &self.src.0, &tag, &ethertype.to_be_bytes(), payload].concat();
        frame.resize(frame.len().max(60), 0);
        frame
    }

    /// The link layer, the type and the rest of a frame.
    pub fn read(frame: &[u8]) -> (Link, u16, &[u8]) {
        let mac = |at: usize| Mac(frame[at..at + 6].try_into().unwrap());
        let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        let (vlan, at) = if word(12) == 0x8100 { (Some(word(14) & 0xfff), 16) } else { (None, 12) };
        (Link { dst: mac(0), src: mac(6), vlan }, word(at), &frame[at + 2..])
    }
}

/// Makes the header checksum of an IPv4 packet right again.
pub fn refill_header_checksum(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let header_len = (usize::from(packet[0] & 0xf) * 4).min(packet.len());
    let checksum = !sum(&[], &packet[..header_len]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn checksum_at(protocol: u8) -> usize {
    match protocol {
        17 => 6,
        6 => 16,
        _ => 2,
    }
}

/// The ones' complement sum of both (RFC 1071); 0xffff where a right checksum is among them.
fn sum(front: &[u8], rest: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for (index, &octet) in front.iter().chain(rest).enumerate() {
        sum += u32::from(octet) << if index % 2 == 0 { 8 } else { 0 };
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
