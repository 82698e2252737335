//! Protocols by their number in the IPv4 header, and sets of them.
//!
//! The engine knows the ports of UDP and TCP, and the identifiers of ICMP queries. Of every other protocol it knows the
//! addresses only: [`Protocol::Other`] stands for all of them, and in an endpoint the number stands in the port's place.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::packet::verdict::{DropReason, Protocol};

/// A number of IANA's registry of protocol numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    /// Datagram Congestion Control Protocol (RFC 4340).
    pub const DCCP: IpProtocol = IpProtocol(33);
    /// Generic Routing Encapsulation (RFC 2784).
    pub const GRE: IpProtocol = IpProtocol(47);
    /// Encapsulating Security Payload (RFC 4303).
    pub const ESP: IpProtocol = IpProtocol(50);
    /// Authentication Header (RFC 4302). It covers both addresses, so its receiver refuses a translated one
    /// (RFC 3715 section 2.1).
    pub const AH: IpProtocol = IpProtocol(51);
    /// Stream Control Transmission Protocol (RFC 9260).
    pub const SCTP: IpProtocol = IpProtocol(132);
    /// Lightweight UDP (RFC 3828).
    pub const UDP_LITE: IpProtocol = IpProtocol(136);

    const NAMES: [(&str, IpProtocol); 9] = [
        ("udp", IpProtocol(17)),
        ("tcp", IpProtocol(6)),
        ("icmp", IpProtocol(1)),
        ("gre", IpProtocol::GRE),
        ("esp", IpProtocol::ESP),
        ("ah", IpProtocol::AH),
        ("sctp", IpProtocol::SCTP),
        ("udp-lite", IpProtocol::UDP_LITE),
        ("dccp", IpProtocol::DCCP),
    ];

    /// As what the engine translates it.
    ///
    /// # Errors
    /// [`DropReason::AuthenticationHeader`]: not at all.
    pub const fn translated_as(self) -> Result<Protocol, DropReason> {
        match self {
            IpProtocol(17) => Ok(Protocol::Udp),
            IpProtocol(6) => Ok(Protocol::Tcp),
            IpProtocol(1) => Ok(Protocol::Icmp),
            IpProtocol::AH => Err(DropReason::AuthenticationHeader),
            _ => Ok(Protocol::Other),
        }
    }

    /// The protocol of a session or mapping with an endpoint whose port is this.
    pub const fn of(protocol: Protocol, port: u16) -> IpProtocol {
        match protocol {
            Protocol::Udp => IpProtocol(17),
            Protocol::Tcp => IpProtocol(6),
            Protocol::Icmp => IpProtocol(1),
            Protocol::Other => IpProtocol(port as u8),
        }
    }
}

/// The name, or the number of a protocol that has none.
impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match IpProtocol::NAMES.iter().find(|(_, known)| known == self) {
            Some((name, _)) => f.pad(name),
            None => fmt::Display::fmt(&self.0, f),
        }
    }
}

impl From<IpProtocol> for String {
    fn from(protocol: IpProtocol) -> String {
        protocol.to_string()
    }
}

/// Neither a name that is known nor a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("udp, tcp, icmp, gre, esp, sctp, udp-lite, dccp or a number from 0 to 255")]
pub struct UnknownProtocol;

impl FromStr for IpProtocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<IpProtocol, UnknownProtocol> {
        match IpProtocol::NAMES.iter().find(|(name, _)| *name == text) {
            Some(&(_, protocol)) => Ok(protocol),
            None => text.parse().map(IpProtocol).map_err(|_| UnknownProtocol),
        }
    }
}

impl TryFrom<String> for IpProtocol {
    type Error = UnknownProtocol;

    fn try_from(text: String) -> Result<IpProtocol, UnknownProtocol> {
        text.parse()
    }
}

/// Which protocols beyond UDP, TCP and ICMP a pool translates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherProtocols([u64; 4]);

impl OtherProtocols {
    /// None.
    pub const NONE: OtherProtocols = OtherProtocols([0; 4]);
    /// Every one that can be translated.
    pub const ALL: OtherProtocols = OtherProtocols([!0; 4]);

    /// These too.
    #[must_use]
    pub const fn with(mut self, protocol: IpProtocol) -> OtherProtocols {
        self.0[protocol.0 as usize / 64] |= 1 << (protocol.0 % 64);
        self
    }

    /// Whether it is one of them.
    pub const fn contains(&self, protocol: IpProtocol) -> bool {
        self.0[protocol.0 as usize / 64] >> (protocol.0 % 64) & 1 != 0
    }

    /// Every one of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = IpProtocol> {
        (0..=u8::MAX).map(IpProtocol).filter(|&protocol| self.contains(protocol))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_is_read_as_it_is_written() {
        for number in 0..=u8::MAX {
            let protocol = IpProtocol(number);
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
            assert_eq!(number.to_string().parse(), Ok(protocol));
            if let Ok(known) = protocol.translated_as() {
                assert_eq!(IpProtocol::of(known, number.into()), protocol);
            }
        }
        assert_eq!("ipsec".parse::<IpProtocol>(), Err(UnknownProtocol));
        assert_eq!("256".parse::<IpProtocol>(), Err(UnknownProtocol));
    }

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let set = OtherProtocols::NONE.with(IpProtocol(0)).with(IpProtocol::SCTP).with(IpProtocol(255));
        assert_eq!(set.iter().map(|protocol| protocol.0).collect::<Vec<_>>(), [0, 132, 255]);
        assert_eq!(OtherProtocols::ALL.iter().count(), 256);
        assert_eq!(OtherProtocols::NONE.iter().count(), 0);
    }
}
