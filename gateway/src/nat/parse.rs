//! From bytes to what the engine needs to know of a packet: its flow, and where its layer 4 begins.

use super::endpoint::Tuple;
use super::tcp;
use super::verdict::{DropReason, Protocol};
use crate::wire::{self, icmpv4, ipv4, udp};

/// A valid IPv4 packet that the engine can look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The flow. For ICMP errors only the addresses.
    pub(crate) tuple: Tuple,
    pub(crate) protocol: Protocol,
    /// Octets before layer 4.
    pub(crate) header_len: u8,
    pub(crate) ttl: u8,
    /// TCP flags; 0 for the others.
    pub(crate) flags: u8,
    /// An ICMP error: to be looked up by the packet embedded in it.
    pub(crate) is_error: bool,
}

/// What the first octets of layer 4 say, as far as an error message quotes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) source: u16,
    pub(crate) destination: u16,
}

/// The ports, or the identifier in the place of the port that it stands in for: the asking host's.
#[inline(always)]
pub(crate) fn channel(protocol: Protocol, l4: &[u8]) -> Result<Channel, DropReason> {
    let head: &[u8; 8] = l4.first_chunk().ok_or(DropReason::Truncated)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    match protocol {
        Protocol::Udp | Protocol::Tcp => Ok(Channel { source: word(0), destination: word(2) }),
        Protocol::Icmp if icmpv4::is_request(head[0]) => Ok(Channel { source: word(4), destination: 0 }),
        Protocol::Icmp if icmpv4::is_reply(head[0]) => Ok(Channel { source: 0, destination: word(4) }),
        Protocol::Icmp => Err(DropReason::IcmpType),
    }
}

/// Checks everything that is checked of every packet, and reads its flow.
///
/// # Errors
/// The first thing that is wrong with it.
#[inline]
pub(crate) fn parse(packet: &[u8]) -> Result<Parsed, DropReason> {
    let ip = ipv4::Packet::new_checked(packet)?;
    if !ip.is_checksum_right() {
        return Err(DropReason::IpChecksum);
    }
    if ip.is_fragment() {
        return Err(DropReason::Fragment);
    }
    let protocol = Protocol::from_number(ip.protocol()).ok_or(DropReason::Protocol)?;
    let mut parsed = Parsed {
        tuple: Tuple {
            source: ip.src_bits(),
            destination: ip.dst_bits(),
            source_port: 0,
            destination_port: 0,
        },
        protocol,
        header_len: ip.header_len() as u8,
        ttl: ip.ttl(),
        flags: 0,
        is_error: false,
    };
    let l4 = ip.payload();
    match protocol {
        Protocol::Udp => {
            udp::Packet::new_checked(l4)?;
        }
        Protocol::Tcp => {
            let segment = wire::tcp::Packet::new_checked(l4)?;
            parsed.flags = segment.flags().0;
            if tcp::is_nonsense(parsed.flags) {
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
                parsed.is_error = true;
                return Ok(parsed);
            }
        }
    }
    let channel = channel(protocol, l4)?;
    parsed.tuple.source_port = channel.source;
    parsed.tuple.destination_port = channel.destination;
    Ok(parsed)
}

impl From<wire::Error> for DropReason {
    fn from(error: wire::Error) -> DropReason {
        match error {
            wire::Error::Truncated => DropReason::Truncated,
            wire::Error::Vlan => DropReason::Vlan,
            wire::Error::Arp => DropReason::ArpMalformed,
            wire::Error::IpVersion => DropReason::IpVersion,
            wire::Error::IpHeaderLength => DropReason::IpHeaderLength,
            wire::Error::IpTotalLength => DropReason::IpTotalLength,
            wire::Error::IpChecksum => DropReason::IpChecksum,
            wire::Error::UdpLength => DropReason::UdpLength,
            wire::Error::TcpDataOffset => DropReason::TcpDataOffset,
            wire::Error::IcmpChecksum => DropReason::IcmpChecksum,
        }
    }
}
