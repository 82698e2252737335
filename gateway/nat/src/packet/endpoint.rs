//! Endpoints and the pair of them that a packet carries.

use std::fmt;
use std::net::Ipv4Addr;

use bytemuck::{Pod, Zeroable};

use crate::packet::verdict::Direction;

/// An address with a port, or with a query identifier where the protocol is ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// IPv4 address, as a number.
    pub address: u32,
    /// Port or identifier.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint from its parts.
    pub fn new(address: Ipv4Addr, port: u16) -> Endpoint {
        Endpoint { address: address.to_bits(), port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Ipv4Addr::from_bits(self.address), self.port)
    }
}

/// One end of a packet as the packet names it: an ICMP query names no port or identifier of its receiver, the reply to it
/// none of its sender, an error neither. Mappings are looked up by what is named; the 0 that stands for the rest in a
/// [`Tuple`] is the identifier of another mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) address: u32,
    pub(crate) port: Option<u16>,
}

impl End {
    /// The endpoint, where the packet names one.
    pub(crate) fn endpoint(self) -> Option<Endpoint> {
        self.port.map(|port| Endpoint { address: self.address, port })
    }

    /// The same end under another address.
    #[must_use]
    pub(crate) fn at(self, address: u32) -> End {
        End { address, ..self }
    }
}

impl From<Endpoint> for End {
    fn from(endpoint: Endpoint) -> End {
        End { address: endpoint.address, port: Some(endpoint.port) }
    }
}

/// Sender and receiver of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) from: End,
    pub(crate) to: End,
}

impl Ends {
    /// Those of an answer.
    #[must_use]
    pub(crate) fn reversed(self) -> Ends {
        Ends { from: self.to, to: self.from }
    }

    /// The inside host's end of a packet that goes in this direction, as the side that it comes from knows it. ICMP sessions
    /// are the asking host's: a packet that does not name this end is of none.
    pub(crate) fn host(self, direction: Direction) -> End {
        match direction {
            Direction::Outbound => self.from,
            Direction::Inbound => self.to,
        }
    }

    /// The key of the packet's session.
    pub(crate) fn tuple(self) -> Tuple {
        Tuple {
            source: self.from.address,
            destination: self.to.address,
            source_port: self.from.port.unwrap_or(0),
            destination_port: self.to.port.unwrap_or(0),
        }
    }
}

/// Source and destination of a packet, as numbers.
///
/// An ICMP query carries one identifier: it stands in for the inside host's port, and the remote's is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Tuple {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl Tuple {
    /// From one endpoint to another.
    pub fn new(source: Endpoint, destination: Endpoint) -> Tuple {
        Tuple {
            source: source.address,
            destination: destination.address,
            source_port: source.port,
            destination_port: destination.port,
        }
    }

    /// The sender.
    pub fn from(&self) -> Endpoint {
        Endpoint { address: self.source, port: self.source_port }
    }

    /// The receiver.
    pub fn to(&self) -> Endpoint {
        Endpoint { address: self.destination, port: self.destination_port }
    }

    /// The tuple of an answer.
    #[must_use]
    #[inline]
    pub fn reversed(&self) -> Tuple {
        Tuple {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// A [`Tuple`] as it stands in packets: the twelve octets from the IPv4 source address to the destination port of a packet
/// without options, in network byte order. So comparing, hashing and writing it swaps no octets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, Pod, Zeroable)]
pub(crate) struct Flow {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) ports: u32,
}

impl Flow {
    /// Both addresses.
    #[inline(always)]
    pub(crate) fn addresses(&self) -> u64 {
        u64::from(self.source) | u64::from(self.destination) << 32
    }

    /// The flow of an answer.
    #[must_use]
    #[inline(always)]
    pub(crate) fn reversed(&self) -> Flow {
        Flow { source: self.destination, destination: self.source, ports: self.ports.rotate_left(16) }
    }

    /// Source port and destination port.
    #[inline(always)]
    pub(crate) fn octets_of_ports(&self) -> [u8; 4] {
        self.ports.to_ne_bytes()
    }

    /// In numbers.
    pub(crate) fn tuple(&self) -> Tuple {
        let [a, b, c, d] = self.ports.to_ne_bytes();
        Tuple {
            source: u32::from_be(self.source),
            destination: u32::from_be(self.destination),
            source_port: u16::from_be_bytes([a, b]),
            destination_port: u16::from_be_bytes([c, d]),
        }
    }
}

impl PartialEq for Flow {
    #[inline(always)]
    fn eq(&self, other: &Flow) -> bool {
        self.addresses() == other.addresses() && self.ports == other.ports
    }
}

impl From<&Tuple> for Flow {
    fn from(tuple: &Tuple) -> Flow {
        let ([a, b], [c, d]) = (tuple.source_port.to_be_bytes(), tuple.destination_port.to_be_bytes());
        Flow {
            source: tuple.source.to_be(),
            destination: tuple.destination.to_be(),
            ports: u32::from_ne_bytes([a, b, c, d]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_its_tuple_in_network_byte_order() {
        let tuple = Tuple {
            source: 0x0102_0304,
            destination: 0x0506_0708,
            source_port: 0x090a,
            destination_port: 0x0b0c,
        };
        let flow = Flow::from(&tuple);
        assert_eq!(bytemuck::bytes_of(&flow), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!((flow.tuple(), flow.reversed().tuple()), (tuple, tuple.reversed()));
    }
}
