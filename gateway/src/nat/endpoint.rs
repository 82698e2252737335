//! Endpoints and the pair of them that a packet carries.

use std::fmt;
use std::net::Ipv4Addr;

use bytemuck::{Pod, Zeroable};

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
