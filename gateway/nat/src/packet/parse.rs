//! From bytes to what the engine needs to know of a packet: its flow, and where its layer 4 begins.

use std::hint::select_unpredictable;

use crate::packet::endpoint::{End, Ends, Flow, Tuple};
use crate::packet::ip_protocol::IpProtocol;
use crate::packet::tcp_flags;
use crate::packet::verdict::{DropReason, Protocol, Verdict};
use natgw_wire::{icmpv4, ipv4, udp};

/// A valid IPv4 packet that the engine can look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// For ICMP errors only the addresses.
    pub(crate) flow: Flow,
    pub(crate) protocol: Protocol,
    /// Octets before layer 4.
    pub(crate) header_len: u8,
    pub(crate) ttl: u8,
    /// TCP flags; ACK for the others, to whose sessions they mean nothing.
    pub(crate) flags: u8,
    pub(crate) kind: Kind,
}

/// How a packet is worked on, and what it names of its ends besides their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// UDP or TCP behind a header without options, and at least [`PLAIN_LEN`] octets in the buffer: both ports.
    Plain,
    /// Any other UDP or TCP packet: both ports.
    Ports,
    /// An ICMP query: the sender's identifier.
    Query,
    /// The reply to an ICMP query: the receiver's identifier.
    Reply,
    /// A protocol without ports: its number, for both ends.
    Number,
    /// An ICMP error: nothing. It is looked up by the packet embedded in it.
    Error,
}

impl Parsed {
    /// Its flow in numbers.
    pub(crate) fn tuple(&self) -> Tuple {
        self.flow.tuple()
    }

    /// Its ends, as far as it names them.
    pub(crate) fn ends(&self) -> Ends {
        let tuple = self.tuple();
        let (from, to) = match self.kind {
            Kind::Plain | Kind::Ports | Kind::Number => (true, true),
            Kind::Query => (true, false),
            Kind::Reply => (false, true),
            Kind::Error => (false, false),
        };
        Ends {
            from: End { address: tuple.source, port: from.then_some(tuple.source_port) },
            to: End { address: tuple.destination, port: to.then_some(tuple.destination_port) },
        }
    }

    /// Whether it is an ICMP query.
    pub(crate) fn is_query(&self) -> bool {
        self.kind == Kind::Query
    }

    /// Its sender's end.
    pub(crate) fn sender(&self) -> End {
        self.ends().from
    }

    /// Its receiver's end.
    pub(crate) fn receiver(&self) -> End {
        self.ends().to
    }
}

/// What the established path reads and writes of a packet: up to the end of a TCP header without options. A buffer is never
/// shorter for a frame from Ethernet, which pads to 60 octets.
pub(crate) const PLAIN_LEN: usize = 40;

/// [`parse`] for nearly every packet, and `None` for the others: one check of the buffer's length, and no branch on what
/// differs between UDP and TCP.
#[inline(always)]
pub(crate) fn parse_plain(packet: &[u8]) -> Option<Parsed> {
    let head = packet.first_chunk::<PLAIN_LEN>()?;
    let ip = ipv4::Packet::new_unchecked(head);
    let words: [u32; 6] = bytemuck::pod_read_unaligned(&head[..24]);
    let total_len = usize::from(ip.total_len());
    if head[0] != WITHOUT_OPTIONS || ip.is_fragment() || total_len > packet.len() {
        return None;
    }
    // A one's complement sum is 0xffff where 0xffff divides the words' plain sum, whatever the order of octets.
    let sum: u64 = words[..5].iter().map(|&word| u64::from(word)).sum();
    if !sum.is_multiple_of(0xffff) {
        return None;
    }
    let number = ip.protocol();
    if number >= 32 || PLAIN_PROTOCOLS >> number & 1 == 0 {
        return None;
    }
    let is_tcp = number == ipv4::TCP;
    // What UDP says of its length, and TCP of its header's, lies between its least value and what IPv4 says.
    let (udp_len, data_offset) = (u16::from_be_bytes([head[24], head[25]]), u16::from(head[32] >> 4) * 4);
    let said = usize::from(select_unpredictable(is_tcp, data_offset, udp_len));
    let least = select_unpredictable(is_tcp, natgw_wire::tcp::HEADER_LEN, udp::HEADER_LEN);
    let flags = select_unpredictable(is_tcp, head[33], tcp_flags::ACK);
    if said < least || ipv4::HEADER_LEN + said > total_len || tcp_flags::is_nonsense(flags) {
        return None;
    }
    Some(Parsed {
        flow: Flow { source: words[3], destination: words[4], ports: words[5] },
        protocol: if is_tcp { Protocol::Tcp } else { Protocol::Udp },
        header_len: ipv4::HEADER_LEN as u8,
        ttl: ip.ttl(),
        flags,
        kind: Kind::Plain,
    })
}

/// Bit `number` is set for the protocols of plain packets.
const PLAIN_PROTOCOLS: u32 = 1 << ipv4::UDP | 1 << ipv4::TCP;

/// Version 4, five words.
const WITHOUT_OPTIONS: u8 = 0x45;

/// What the first octets of layer 4 say, as far as an error message quotes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    /// UDP and TCP.
    Ports { source: u16, destination: u16 },
    /// The identifier of an ICMP query: the sender's.
    Query(u16),
    /// The identifier of the reply to one: the receiver's.
    Reply(u16),
    /// Protocols without ports.
    Number(IpProtocol),
}

impl Channel {
    fn kind(self) -> Kind {
        match self {
            Channel::Ports { .. } => Kind::Ports,
            Channel::Query(_) => Kind::Query,
            Channel::Reply(_) => Kind::Reply,
            Channel::Number(_) => Kind::Number,
        }
    }

    /// The ends of a packet between these addresses.
    pub(crate) fn between(self, source: u32, destination: u32) -> Ends {
        let (from, to) = match self {
            Channel::Ports { source, destination } => (Some(source), Some(destination)),
            Channel::Query(identifier) => (Some(identifier), None),
            Channel::Reply(identifier) => (None, Some(identifier)),
            Channel::Number(number) => (Some(number.0.into()), Some(number.0.into())),
        };
        Ends { from: End { address: source, port: from }, to: End { address: destination, port: to } }
    }
}

/// Reads what a packet names of its ends.
#[inline(always)]
pub(crate) fn channel(number: IpProtocol, l4: &[u8]) -> Result<(Protocol, Channel), DropReason> {
    let protocol = number.translated_as()?;
    if protocol == Protocol::Other {
        return Ok((protocol, Channel::Number(number)));
    }
    let head: &[u8; 8] = l4.first_chunk().ok_or(DropReason::Truncated)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let channel = match protocol {
        Protocol::Icmp if icmpv4::is_request(head[0]) => Channel::Query(word(4)),
        Protocol::Icmp if icmpv4::is_reply(head[0]) => Channel::Reply(word(4)),
        Protocol::Icmp => return Err(DropReason::IcmpType),
        Protocol::Udp | Protocol::Tcp | Protocol::Other => {
            Channel::Ports { source: word(0), destination: word(2) }
        }
    };
    Ok((protocol, channel))
}

/// Checks everything that is checked of every packet, and reads its flow.
///
/// # Errors
/// [`Verdict::Drop`] for the first thing that is wrong with it, or [`Verdict::Fragment`].
#[inline(never)]
pub(crate) fn parse(packet: &[u8]) -> Result<Parsed, Verdict> {
    let ip = ipv4::Packet::new_verified(packet).map_err(|error| Verdict::Drop(error.into()))?;
    if ip.is_fragment() {
        return Err(Verdict::Fragment);
    }
    parse_layer4(&ip).map_err(Verdict::Drop)
}

/// [`parse`] from layer 4 on. Of a datagram's first fragment its header has to be there; its length speaks of more.
///
/// # Errors
/// The first thing that is wrong with it.
pub(crate) fn parse_layer4(ip: &ipv4::Packet<&[u8]>) -> Result<Parsed, DropReason> {
    let number = IpProtocol(ip.protocol());
    let protocol = number.translated_as()?;
    let (mut flags, mut is_error) = (tcp_flags::ACK, false);
    let l4 = ip.payload();
    match protocol {
        Protocol::Udp if ip.more_frags() => {
            if usize::from(udp::Packet::new_header(l4)?.len()) < udp::HEADER_LEN {
                return Err(DropReason::UdpLength);
            }
        }
        Protocol::Udp => {
            udp::Packet::new_checked(l4)?;
        }
        Protocol::Tcp => {
            let segment = natgw_wire::tcp::Packet::new_checked(l4)?;
            flags = segment.flags().0;
            if tcp_flags::is_nonsense(flags) {
                return Err(DropReason::TcpFlags);
            }
        }
        Protocol::Icmp => {
            let message = icmpv4::Packet::new_checked(l4)?;
            // A redirect is for a host on the same link, never for one behind a translator.
            if message.ty() == icmpv4::message::REDIRECT {
                return Err(DropReason::IcmpType);
            }
            if icmpv4::is_error(message.ty()) {
                if ip.more_frags() {
                    return Err(DropReason::FragmentMalformed);
                }
                is_error = true;
            }
        }
        Protocol::Other => {}
    }
    let (source, destination) = (ip.src_bits(), ip.dst_bits());
    let (tuple, kind) = if is_error {
        (Tuple { source, destination, ..Tuple::default() }, Kind::Error)
    } else {
        let (_, channel) = channel(number, l4)?;
        (channel.between(source, destination).tuple(), channel.kind())
    };
    Ok(Parsed {
        flow: Flow::from(&tuple),
        protocol,
        header_len: ip.header_len() as u8,
        ttl: ip.ttl(),
        flags,
        kind,
    })
}

impl From<natgw_wire::Error> for DropReason {
    fn from(error: natgw_wire::Error) -> DropReason {
        match error {
            natgw_wire::Error::Truncated => DropReason::Truncated,
            natgw_wire::Error::Vlan => DropReason::Vlan,
            natgw_wire::Error::Arp => DropReason::ArpMalformed,
            natgw_wire::Error::IpVersion => DropReason::IpVersion,
            natgw_wire::Error::IpHeaderLength => DropReason::IpHeaderLength,
            natgw_wire::Error::IpTotalLength => DropReason::IpTotalLength,
            natgw_wire::Error::IpChecksum => DropReason::IpChecksum,
            natgw_wire::Error::UdpLength => DropReason::UdpLength,
            natgw_wire::Error::TcpDataOffset => DropReason::TcpDataOffset,
            natgw_wire::Error::IcmpChecksum => DropReason::IcmpChecksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet that may be right, or wrong in one or two octets; with its checksum mended, or not.
    fn packet() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![any::<u8>(), Just(0x45), Just(0x50), Just(0x46), Just(0)];
        let changes = prop::collection::vec((0..48usize, octet), 0..3);
        (any::<[u8; 8]>(), any::<bool>(), 0x10u8..0x12, 20..60u8, changes, any::<bool>(), 38..60usize)
            .prop_map(|(addresses, is_udp, flags, total_len, changes, mend, len)| {
                let mut bytes = vec![0; 60];
                bytes[..12].copy_from_slice(&[0x45, 0, 0, total_len, 0, 0, 0x40, 0, 64, 6, 0, 0]);
                bytes[12..20].copy_from_slice(&addresses);
                bytes[20..24].copy_from_slice(&[4, 0, 0, 53]);
                (bytes[32], bytes[33]) = (0x50, flags);
                if is_udp {
                    bytes[9] = 17;
                    bytes[25] = 8;
                }
                for (at, octet) in changes {
                    bytes[at] = octet;
                }
                if mend {
                    ipv4::Packet::new_unchecked(&mut bytes[..]).fill_checksum();
                }
                bytes.truncate(len);
                bytes
            })
    }

    fn is_plain(protocol: Protocol) -> bool {
        matches!(protocol, Protocol::Udp | Protocol::Tcp)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// The short way accepts nothing that the long way refuses and reads the same, and misses nothing that is plain.
        #[test]
        fn plain_packets_are_parsed_alike(packet in packet()) {
            let full = parse(&packet);
            match parse_plain(&packet) {
                Some(plain) => prop_assert_eq!(full, Ok(Parsed { kind: Kind::Ports, ..plain })),
                None => prop_assert!(
                    packet.len() < PLAIN_LEN
                        || full.is_err()
                        || full.is_ok_and(|full| full.header_len != 20 || !is_plain(full.protocol))
                ),
            }
        }
    }
}
