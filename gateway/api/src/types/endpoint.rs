//! Endpoints and protocols, as people write them.

use std::fmt;
use std::net::{AddrParseError, Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use natgw_nat::{Filter, IpProtocol, Protocol, UnknownProtocol};

/// An address with a port or query identifier, or of a protocol without ports the address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Endpoint {
    /// The address.
    pub address: Ipv4Addr,
    /// The port, where there are ports.
    pub port: Option<u16>,
}

impl Endpoint {
    /// An endpoint of a session or mapping over `protocol`.
    pub fn of(protocol: Protocol, endpoint: natgw_nat::Endpoint) -> Endpoint {
        Endpoint { address: endpoint.address.into(), port: protocol.has_ports().then_some(endpoint.port) }
    }
}

impl From<SocketAddrV4> for Endpoint {
    fn from(address: SocketAddrV4) -> Endpoint {
        Endpoint { address: *address.ip(), port: Some(address.port()) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.to_string()
    }
}

impl FromStr for Endpoint {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Endpoint, AddrParseError> {
        match text.parse::<SocketAddrV4>() {
            Ok(address) => Ok(address.into()),
            Err(_) => Ok(Endpoint { address: text.parse()?, port: None }),
        }
    }
}

impl TryFrom<String> for Endpoint {
    type Error = AddrParseError;

    fn try_from(text: String) -> Result<Endpoint, AddrParseError> {
        text.parse()
    }
}

/// The protocols that a table is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Protocols {
    /// One.
    One(IpProtocol),
    /// All but UDP, TCP and ICMP.
    Other,
}

/// Why a table cannot be asked so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("port: asked for together with a protocol whose ports the gateway does not know")]
pub struct WithoutPorts;

impl Protocols {
    /// Narrows `filter`, which may ask for a port already, to these.
    ///
    /// # Errors
    /// [`WithoutPorts`].
    pub fn narrow(self, filter: Filter) -> Result<Filter, WithoutPorts> {
        let (protocol, number) = match self {
            Protocols::Other => (Protocol::Other, None),
            Protocols::One(number) => (number.translated_as().unwrap_or(Protocol::Other), Some(number)),
        };
        match (protocol.has_ports(), filter.port) {
            (true, _) => Ok(Filter { protocol: Some(protocol), ..filter }),
            (false, Some(_)) => Err(WithoutPorts),
            (false, None) => {
                let port = number.map(|number| number.0.into());
                Ok(Filter { protocol: Some(protocol), port, ..filter })
            }
        }
    }
}

impl FromStr for Protocols {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Protocols, UnknownProtocol> {
        if text == Protocol::Other.name() { Ok(Protocols::Other) } else { text.parse().map(Protocols::One) }
    }
}

impl TryFrom<String> for Protocols {
    type Error = String;

    fn try_from(text: String) -> Result<Protocols, String> {
        text.parse().map_err(|error: UnknownProtocol| format!("`{text}`: expected {error}, or other"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_without_ports_is_asked_for_by_its_number() {
        let narrow = |text: &str, port| {
            text.parse::<Protocols>().unwrap().narrow(Filter { port, ..Filter::default() })
        };
        let asked = |protocol, port| Ok(Filter { protocol: Some(protocol), port, ..Filter::default() });
        assert_eq!(narrow("udp", Some(53)), asked(Protocol::Udp, Some(53)));
        assert_eq!(narrow("6", None), asked(Protocol::Tcp, None));
        assert_eq!(narrow("gre", None), asked(Protocol::Other, Some(47)));
        assert_eq!(narrow("99", None), asked(Protocol::Other, Some(99)));
        assert_eq!(narrow("other", None), asked(Protocol::Other, None));
        assert_eq!(narrow("esp", Some(500)), Err(WithoutPorts));
    }
}
