//! Packets to send, built with `natgw_wire`, and an independent reader of translated ones.
//!
//! [`Seen::read`] shares no code with the gateway: it sums every checksum word by word from scratch, of the packet
//! and of the packet inside an ICMP error, and [`unchanging`] shows all that no translation may touch.

use std::net::{Ipv4Addr, SocketAddrV4};

use natgw_nat::{Endpoint, Protocol};
use natgw_wire::tcp::Flags;
use natgw_wire::{icmpv4, ipv4, tcp, udp};

/// `"10.64.0.5:4000"` as an endpoint.
pub(crate) fn ep(text: &str) -> Endpoint {
    let address: SocketAddrV4 = text.parse().expect("address:port");
    Endpoint::new(*address.ip(), address.port())
}

/// The same address with another port.
pub(crate) fn at_port(endpoint: Endpoint, port: u16) -> Endpoint {
    Endpoint { port, ..endpoint }
}

/// A packet to be. The port of the asking side is the identifier of an ICMP query.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub source: Endpoint,
    pub destination: Endpoint,
    pub ttl: u8,
    /// IPv4 options, a multiple of four octets.
    pub options: Vec<u8>,
    /// Octets of link-layer padding behind the packet.
    pub padding: usize,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Udp {
        checksum: bool,
        payload: Vec<u8>,
    },
    Tcp {
        flags: Flags,
        options: Vec<u8>,
        payload: Vec<u8>,
    },
    Query {
        ty: u8,
        seq: u16,
        payload: Vec<u8>,
    },
    Error {
        ty: u8,
        code: u8,
        rest: u32,
        payload: Vec<u8>,
    },
    /// Of a protocol without ports: all of layer 4, with its checksum where that is UDP-Lite's or DCCP's.
    Other {
        number: u8,
        payload: Vec<u8>,
    },
}

const PAYLOAD: &[u8] = b"seventeen octets.";

impl Packet {
    pub(crate) fn new(source: Endpoint, destination: Endpoint, body: Body) -> Packet {
        Packet { source, destination, ttl: 64, options: Vec::new(), padding: 0, body }
    }

    pub(crate) fn udp(source: Endpoint, destination: Endpoint) -> Packet {
        Packet::new(source, destination, Body::Udp { checksum: true, payload: PAYLOAD.to_vec() })
    }

    pub(crate) fn tcp(source: Endpoint, destination: Endpoint, flags: Flags) -> Packet {
        let body = Body::Tcp { flags, options: vec![2, 4, 5, 0xb4], payload: PAYLOAD.to_vec() };
        Packet::new(source, destination, body)
    }

    /// A packet of a protocol without ports; what both endpoints have as port does not matter.
    pub(crate) fn other(number: u8, source: Endpoint, destination: Endpoint) -> Packet {
        let mut payload: Vec<u8> = (1..=100).collect();
        // UDP-Lite: coverage of 20 octets; DCCP: six words of header, coverage of header and four octets more.
        match number {
            UDP_LITE => payload[4..8].copy_from_slice(&[0, 20, 0, 0]),
            DCCP => payload[4..8].copy_from_slice(&[6, 2, 0, 0]),
            _ => {}
        }
        if let Some(covered) = covered(number, &payload) {
            let addresses = [source.address.to_be_bytes(), destination.address.to_be_bytes()].concat();
            let pseudo = [&addresses[..], &[0, number], &(payload.len() as u16).to_be_bytes()].concat();
            let checksum = match !sum(&[&pseudo, covered]) {
                0 => 0xffff,
                checksum => checksum,
            };
            payload[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
        let at = |endpoint| at_port(endpoint, number.into());
        Packet::new(at(source), at(destination), Body::Other { number, payload })
    }

    /// A query or a reply; the asking side's port is the identifier.
    pub(crate) fn query(source: Endpoint, destination: Endpoint, ty: u8) -> Packet {
        Packet::new(source, destination, Body::Query { ty, seq: 1, payload: PAYLOAD.to_vec() })
    }

    pub(crate) fn ping(source: Endpoint, destination: Endpoint) -> Packet {
        Packet::query(source, at_port(destination, 0), icmpv4::message::ECHO)
    }

    pub(crate) fn pong(source: Endpoint, destination: Endpoint) -> Packet {
        Packet::query(at_port(source, 0), destination, icmpv4::message::ECHO_REPLY)
    }

    /// The first packet of a flow.
    pub(crate) fn first(protocol: Protocol, source: Endpoint, destination: Endpoint) -> Packet {
        match protocol {
            Protocol::Udp => Packet::udp(source, destination),
            Protocol::Tcp => Packet::tcp(source, destination, Flags::SYN),
            Protocol::Icmp => Packet::ping(source, destination),
            Protocol::Other => Packet::other(GRE, source, destination),
        }
    }

    /// What the other side answers to [`Packet::first`].
    pub(crate) fn answer(protocol: Protocol, source: Endpoint, destination: Endpoint) -> Packet {
        match protocol {
            Protocol::Udp => Packet::udp(source, destination),
            Protocol::Tcp => Packet::tcp(source, destination, Flags::SYN | Flags::ACK),
            Protocol::Icmp => Packet::pong(source, destination),
            Protocol::Other => Packet::other(GRE, source, destination),
        }
    }

    /// An ICMP error of `from` to the sender of `about`.
    pub(crate) fn error(from: &str, ty: u8, code: u8, about: &[u8]) -> Packet {
        let from = Endpoint::new(from.parse().expect("address"), 0);
        let to = Endpoint { address: word32(about, 12), port: 0 };
        Packet::new(from, to, Body::Error { ty, code, rest: 0, payload: about.to_vec() })
    }

    pub(crate) fn ttl(self, ttl: u8) -> Packet {
        Packet { ttl, ..self }
    }

    pub(crate) fn options(self, options: &[u8]) -> Packet {
        Packet { options: options.to_vec(), ..self }
    }

    pub(crate) fn padding(self, padding: usize) -> Packet {
        Packet { padding, ..self }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let (protocol, l4) = self.layer4();
        let header_len = 20 + self.options.len();
        let mut bytes = vec![0; header_len];
        bytes[20..].copy_from_slice(&self.options);
        bytes.extend(l4);
        let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
        packet.set_header_len(header_len);
        packet.set_total_len(packet_len(header_len, &self.body));
        packet.set_ident(0x1234);
        packet.set_dont_frag(true);
        packet.set_ttl(self.ttl);
        packet.set_protocol(protocol);
        packet.set_src_bits(self.source.address);
        packet.set_dst_bits(self.destination.address);
        packet.fill_checksum();
        bytes.resize(bytes.len() + self.padding, 0xee);
        bytes
    }

    fn layer4(&self) -> (u8, Vec<u8>) {
        let (src, dst): (Ipv4Addr, Ipv4Addr) = (self.source.address.into(), self.destination.address.into());
        match &self.body {
            Body::Udp { checksum, payload } => {
                let mut bytes = [&[0; 8], &payload[..]].concat();
                let mut datagram = udp::Packet::new_unchecked(&mut bytes[..]);
                datagram.set_src_port(self.source.port);
                datagram.set_dst_port(self.destination.port);
                datagram.set_len(8 + payload.len() as u16);
                if *checksum {
                    datagram.fill_checksum(src, dst);
                }
                (ipv4::UDP, bytes)
            }
            Body::Tcp { flags, options, payload } => {
                let mut bytes = [&[0; 20], &options[..], &payload[..]].concat();
                let mut segment = tcp::Packet::new_unchecked(&mut bytes[..]);
                segment.set_src_port(self.source.port);
                segment.set_dst_port(self.destination.port);
                segment.set_seq(0x0102_0304);
                segment.set_ack(0x0506_0708);
                segment.set_header_len(20 + options.len());
                segment.set_flags(*flags);
                segment.set_window(8192);
                segment.fill_checksum(src, dst);
                (ipv4::TCP, bytes)
            }
            Body::Query { ty, seq, payload } => {
                let asks = icmpv4::is_request(*ty);
                let ident = if asks { self.source.port } else { self.destination.port };
                (ipv4::ICMP, message(*ty, 0, u32::from(ident) << 16 | u32::from(*seq), payload))
            }
            Body::Error { ty, code, rest, payload } => (ipv4::ICMP, message(*ty, *code, *rest, payload)),
            Body::Other { number, payload } => (*number, payload.clone()),
        }
    }
}

fn packet_len(header_len: usize, body: &Body) -> u16 {
    let layer4 = match body {
        Body::Udp { payload, .. } | Body::Query { payload, .. } | Body::Error { payload, .. } => {
            8 + payload.len()
        }
        Body::Tcp { options, payload, .. } => 20 + options.len() + payload.len(),
        Body::Other { payload, .. } => payload.len(),
    };
    (header_len + layer4) as u16
}

fn message(ty: u8, code: u8, rest: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; 8], payload].concat();
    let mut message = icmpv4::Packet::new_unchecked(&mut bytes[..]);
    message.set_ty(ty);
    message.set_code(code);
    message.set_rest(rest);
    message.fill_checksum();
    bytes
}

/// A packet as a receiver reads it, every checksum of it being right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub source: Endpoint,
    pub destination: Endpoint,
    pub protocol: u8,
    pub ttl: u8,
    /// The packet that an ICMP error embeds.
    pub embedded: Option<Box<Seen>>,
    pub bytes: Vec<u8>,
}

impl Seen {
    /// Reads a whole packet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Seen, String> {
        let total = word(bytes, 2).map_or(0, usize::from);
        if total > bytes.len() {
            return Err("cut short".into());
        }
        Seen::read_part(bytes)
    }

    /// Reads what there is of a packet; checksums over octets that are not there are not looked at.
    fn read_part(bytes: &[u8]) -> Result<Seen, String> {
        let header_len = usize::from(*bytes.first().ok_or("empty")? & 0xf) * 4;
        let header = bytes.get(..header_len.max(20)).ok_or("header cut short")?;
        if sum(&[header]) != 0xffff {
            return Err("IPv4 header checksum".into());
        }
        let total = usize::from(word(header, 2).ok_or("no length")?);
        let is_whole = (header_len..=bytes.len()).contains(&total);
        let l4 = &bytes[header_len..total.clamp(header_len, bytes.len())];
        let port = |at| word(l4, at).ok_or("layer 4 cut short");
        let pseudo = [&header[12..20], &[0, header[9]], &(l4.len() as u16).to_be_bytes()].concat();
        let (mut ports, mut embedded) = ((0, 0), None);
        let right = match header[9] {
            ipv4::UDP => {
                ports = (port(0)?, port(2)?);
                !is_whole || port(6)? == 0 || sum(&[&pseudo, l4]) == 0xffff
            }
            ipv4::TCP => {
                ports = (port(0)?, port(2)?);
                !is_whole || sum(&[&pseudo, l4]) == 0xffff
            }
            ipv4::ICMP => {
                match port(0)? >> 8 {
                    8 | 13 | 15 | 17 => ports = (port(4)?, 0),
                    0 | 14 | 16 | 18 => ports = (0, port(4)?),
                    _ => embedded = Some(Box::new(Seen::read_part(quoted(l4))?)),
                }
                !is_whole || sum(&[l4]) == 0xffff
            }
            other => {
                ports = (other.into(), other.into());
                let covered = covered(other, l4).filter(|_| is_whole);
                covered.is_none_or(|covered| sum(&[&pseudo, covered]) == 0xffff)
            }
        };
        if !right {
            return Err(format!("checksum of protocol {}", header[9]));
        }
        Ok(Seen {
            source: Endpoint { address: word32(header, 12), port: ports.0 },
            destination: Endpoint { address: word32(header, 16), port: ports.1 },
            protocol: header[9],
            ttl: header[8],
            embedded,
            bytes: bytes.to_vec(),
        })
    }

    /// The packet embedded in this error.
    pub(crate) fn embedded(&self) -> &Seen {
        self.embedded.as_deref().expect("an ICMP error")
    }
}

/// Protocols without ports that the engine knows.
pub(crate) const GRE: u8 = 47;
pub(crate) const DCCP: u8 = 33;
pub(crate) const UDP_LITE: u8 = 136;

/// What the checksum of UDP-Lite (RFC 3828 section 3.1) or DCCP (RFC 4340 section 9.2) covers besides the pseudo header.
fn covered(number: u8, l4: &[u8]) -> Option<&[u8]> {
    let len = match number {
        UDP_LITE => usize::from(word(l4, 4)?),
        DCCP => usize::from(*l4.get(4)?) * 4 + (usize::from(*l4.get(5)? & 0xf).checked_sub(1)?) * 4,
        _ => return None,
    };
    l4.get(..len)
}

/// The packet that an ICMP error quotes, without the extensions of RFC 4884.
fn quoted(message: &[u8]) -> &[u8] {
    let words = if matches!(message[0], 3 | 11 | 12) { usize::from(message[5]) } else { 0 };
    let end = if words == 0 { message.len() } else { message.len().min(8 + words * 4) };
    message.get(8..end).unwrap_or_default()
}

/// The packet with everything zeroed that a translation may change.
pub(crate) fn unchanging(bytes: &[u8]) -> Vec<u8> {
    let mut fixed = bytes.to_vec();
    fixed[8] = 0;
    blank(&mut fixed);
    fixed
}

fn blank(packet: &mut [u8]) {
    let (header_len, protocol) = (usize::from(packet[0] & 0xf) * 4, packet[9]);
    packet[10..20].fill(0);
    let l4 = &mut packet[header_len..];
    match protocol {
        ipv4::UDP => {
            let has_checksum = word(l4, 6).is_some_and(|checksum| checksum != 0);
            l4[..4].fill(0);
            l4[6..8].copy_from_slice(&[0, u8::from(has_checksum)]);
        }
        ipv4::TCP => {
            l4[..4].fill(0);
            if let Some(checksum) = l4.get_mut(16..18) {
                checksum.fill(0);
            }
        }
        UDP_LITE | DCCP => l4[6..8].fill(0),
        _ if protocol != ipv4::ICMP => {}
        _ if matches!(l4[0], 3 | 4 | 11 | 12) => {
            l4[2..4].fill(0);
            let len = quoted(l4).len();
            blank(&mut l4[8..8 + len]);
        }
        _ => l4[2..6].fill(0),
    }
}

/// RFC 1071 section 4.1, word by word; each part has an even length, or is the last.
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four octets"))
}
