//! Who has outside ports to itself: the question and the answer.

use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Address;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The outside ports of a subscriber.
    Subscriber(Ipv4Addr),
    /// The subscriber of an outside endpoint.
    Endpoint(SocketAddrV4),
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whose::Subscriber(inside) => inside.fmt(f),
            Whose::Endpoint(outside) => outside.fmt(f),
        }
    }
}

impl FromStr for Whose {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Whose, Self::Err> {
        let endpoint = || text.parse().map(Whose::Endpoint);
        text.parse().map(Whose::Subscriber).or_else(|_| endpoint()).map_err(
            |_| "an inside address like 100.64.1.7, or an outside address with a port like 203.0.113.10:5000",
        )
    }
}

/// Outside ports of one subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holder {
    /// Its inside address.
    #[schema(value_type = Address)]
    pub inside: Ipv4Addr,
    /// The outside address.
    #[schema(value_type = Address)]
    pub outside: Ipv4Addr,
    /// The ports, of every protocol, `first-last`.
    pub ports: String,
    /// The pool.
    pub pool: String,
    /// Whence: `block` (taken at run time, RFC 6888) or `deterministic` (by the configuration, RFC 7422).
    pub kind: Cow<'static, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_or_an_endpoint_is_asked_about() {
        for text in ["100.64.1.7", "203.0.113.10:5000"] {
            assert_eq!(text.parse::<Whose>().map(|whose| whose.to_string()).as_deref(), Ok(text));
        }
        for text in ["203.0.113.11:x", "203.0.113.11:", "everybody", ""] {
            assert!(text.parse::<Whose>().is_err(), "{text}");
        }
    }
}
