//! Which sessions and mappings a listing shows: asked by management, evaluated by the workers that own them.
//!
//! Everything here is `Copy` and of fixed size, so that it fits a command to a worker.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::nat::Protocol;

/// What a session or mapping must have in common with the question; an empty filter takes all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Inside address.
    pub inside: Option<Ipv4Addr>,
    /// Outside address.
    pub outside: Option<Ipv4Addr>,
    /// Remote address. A mapping has no remote, so none matches.
    pub remote: Option<Ipv4Addr>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Port or query identifier of any of the endpoints.
    pub port: Option<u16>,
}

impl Filter {
    /// Whether a session or mapping with these endpoints is asked for; a mapping has no `remote`.
    pub fn matches(
        &self,
        protocol: Protocol,
        inside: SocketAddrV4,
        outside: SocketAddrV4,
        remote: Option<SocketAddrV4>,
    ) -> bool {
        let ports = [Some(inside.port()), Some(outside.port()), remote.map(|remote| remote.port())];
        self.protocol.is_none_or(|asked| asked == protocol)
            && self.inside.is_none_or(|asked| asked == *inside.ip())
            && self.outside.is_none_or(|asked| asked == *outside.ip())
            && self.remote.is_none_or(|asked| remote.is_some_and(|remote| asked == *remote.ip()))
            && self.port.is_none_or(|asked| ports.contains(&Some(asked)))
    }
}

/// Where a listing goes on: a place in a worker's table. Users see an opaque string.
///
/// A table changes between two pages: what is new may be missed, and nothing shows twice that kept its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The worker to ask next.
    pub worker: u16,
    /// The first place in its table that has not been looked at.
    pub position: u32,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.worker, self.position)
    }
}

/// A string that no page gave out as its cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this gateway")]
pub struct BadCursor;

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Cursor, BadCursor> {
        let (worker, position) = text.split_once('-').ok_or(BadCursor)?;
        Ok(Cursor {
            worker: u16::from_str_radix(worker, 16).map_err(|_| BadCursor)?,
            position: u32::from_str_radix(position, 16).map_err(|_| BadCursor)?,
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cursor, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    #[test]
    fn every_condition_must_hold() {
        let (inside, outside, remote) =
            (endpoint("10.0.0.1:1000"), endpoint("203.0.113.10:2000"), endpoint("198.51.100.1:53"));
        let matches = |filter: Filter| filter.matches(Protocol::Udp, inside, outside, Some(remote));
        assert!(matches(Filter::default()));
        for port in [1000, 2000, 53] {
            assert!(matches(Filter { port: Some(port), ..Filter::default() }));
        }
        assert!(!matches(Filter { port: Some(54), ..Filter::default() }));
        assert!(!matches(Filter { protocol: Some(Protocol::Tcp), ..Filter::default() }));
        assert!(!matches(Filter { inside: Some(*outside.ip()), ..Filter::default() }));
        let all = Filter {
            inside: Some(*inside.ip()),
            outside: Some(*outside.ip()),
            remote: Some(*remote.ip()),
            protocol: Some(Protocol::Udp),
            port: Some(53),
        };
        assert!(matches(all));
        assert!(!all.matches(Protocol::Udp, inside, outside, None));
    }

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor { worker: 300, position: u32::MAX };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "-", "1", "1-", "x-1", "10000-0", "0-100000000", "1-2-3"] {
            assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad}");
        }
    }
}
