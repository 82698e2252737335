//! Rows of the tables, and how a table is asked for in pages.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

use crate::filter::{Cursor, Filter};
use crate::nat::Protocol;
use crate::neighbor;

/// A neighbour (RFC 826).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Neighbor {
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its Ethernet address, once known.
    pub mac: Option<String>,
    /// The interface it is reached by.
    pub interface: String,
    /// By [`neighbor::State::name`].
    pub state: Cow<'static, str>,
    /// Seconds since it was last heard of, or first asked for.
    pub age_s: u64,
    /// It is the gateway of a route.
    pub gateway: bool,
}

impl Neighbor {
    /// A neighbour on the interface of this name.
    pub fn of(listed: &neighbor::Listed, interface: &str) -> Neighbor {
        Neighbor {
            address: listed.ip.into(),
            mac: listed.mac.map(|mac| mac.to_string()),
            interface: interface.into(),
            state: listed.state.name().into(),
            age_s: listed.age_s,
            gateway: listed.pinned,
        }
    }
}

/// A route.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Route {
    /// Destination, `address/length`.
    pub prefix: String,
    /// Next hop; none for a connected prefix.
    pub via: Option<Ipv4Addr>,
    /// The interface it leads to.
    pub interface: String,
    /// `connected` or `static`.
    pub kind: Cow<'static, str>,
}

impl Route {
    /// A route to the interface of this name.
    pub fn of(entry: &neighbor::RouteEntry, interface: &str) -> Route {
        Route {
            prefix: entry.prefix.to_string(),
            via: entry.via,
            interface: interface.into(),
            kind: if entry.via.is_some() { "static".into() } else { "connected".into() },
        }
    }
}

/// A permanent mapping.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forward {
    /// `port-forward` or `static`.
    pub kind: Cow<'static, str>,
    /// Protocol; none for a 1:1 mapping, which takes all.
    pub protocol: Option<Protocol>,
    /// Outside address, with `:port` or `:first-last`.
    pub external: String,
    /// Inside address, with `:port` or `:first-last`.
    pub internal: String,
    /// The worker that owns it.
    pub worker: u16,
}

/// An inside host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subscriber {
    /// Its inside address.
    pub address: Ipv4Addr,
    /// The outside address it is paired with, where it has one (RFC 4787 REQ-2).
    pub outside: Option<Ipv4Addr>,
    /// The pool of that address.
    pub pool: Option<String>,
    /// Live sessions.
    pub sessions: u32,
    /// Outside ports of its mappings, all protocols.
    pub ports: u32,
    /// The worker that owns it.
    pub worker: u16,
}

/// An outside endpoint that stands for an inside one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mapping {
    /// Protocol.
    pub protocol: Protocol,
    /// Inside endpoint.
    pub inside: SocketAddrV4,
    /// Outside endpoint.
    pub outside: SocketAddrV4,
    /// `dynamic`, `port-forward` or `static`.
    pub kind: Cow<'static, str>,
    /// The pool of the outside endpoint; none for a permanent mapping.
    pub pool: Option<String>,
    /// Live sessions that use it.
    pub sessions: u32,
    /// The worker that owns it.
    pub worker: u16,
}

/// A flow between an inside and a remote endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Protocol.
    pub protocol: Protocol,
    /// Inside endpoint.
    pub inside: SocketAddrV4,
    /// Outside endpoint.
    pub outside: SocketAddrV4,
    /// Remote endpoint.
    pub remote: SocketAddrV4,
    /// TCP: state of the connection (RFC 5382, RFC 7857); others: `active`.
    pub state: Cow<'static, str>,
    /// Seconds since it was made.
    pub age_s: u32,
    /// Seconds until it ends if nothing comes.
    pub expires_in_s: u32,
    /// Packets from inside.
    pub packets_out: u64,
    /// Packets from outside.
    pub packets_in: u64,
    /// The pool of the outside endpoint; none for permanent mappings and untranslated sessions.
    pub pool: Option<String>,
    /// The worker that owns it.
    pub worker: u16,
}

/// Which part of a table to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Rows asked for.
    pub filter: Filter,
    /// Most rows on the page, at least 1.
    pub limit: usize,
    /// Where to go on; `None` is the start.
    pub cursor: Option<Cursor>,
}

impl Query {
    /// Rows on a page when nobody says.
    pub const LIMIT_DEFAULT: usize = 100;
    /// Most rows on a page.
    pub const LIMIT_MAX: usize = 1000;
}

/// A page of a table. Only the last page has no cursor; a page may be short or empty before that, because a worker
/// looks at a bounded part of its table for one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// Rows.
    pub items: Vec<T>,
    /// What to ask for the next page.
    pub next_cursor: Option<Cursor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_and_a_route_are_written_as_people_do() {
        let listed = neighbor::Listed {
            interface: neighbor::InterfaceId(1),
            ip: u32::from(Ipv4Addr::new(203, 0, 113, 1)),
            mac: Some(crate::wire::ethernet::Mac([2, 0, 0, 0, 0, 0xa])),
            state: neighbor::State::Reachable,
            age_s: 3,
            pinned: true,
        };
        let json = serde_json::to_value(Neighbor::of(&listed, "outside")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "address": "203.0.113.1",
                "mac": "02:00:00:00:00:0a",
                "interface": "outside",
                "state": "reachable",
                "age_s": 3,
                "gateway": true,
            })
        );
        let entry = neighbor::RouteEntry {
            prefix: "10.64.0.0/24".parse().unwrap(),
            interface: neighbor::InterfaceId(0),
            via: None,
        };
        let route = Route::of(&entry, "inside");
        assert_eq!((route.prefix.as_str(), &*route.kind), ("10.64.0.0/24", "connected"));
    }

    #[test]
    fn an_endpoint_and_a_cursor_are_strings() {
        let page = Page {
            items: vec!["10.0.0.1:53".parse::<SocketAddrV4>().unwrap()],
            next_cursor: Some(Cursor { worker: 1, position: 16 }),
        };
        assert_eq!(
            serde_json::to_string(&page).unwrap(),
            r#"{"items":["10.0.0.1:53"],"next_cursor":"1-10"}"#
        );
    }
}
