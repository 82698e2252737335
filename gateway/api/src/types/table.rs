//! Rows of the tables, and how a table is asked for in pages.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Address, Cursor, Endpoint, text};
use natgw_nat::{Direction, Filter, IpProtocol, MappingView, Protocol, SessionView};

/// A neighbour (RFC 826).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Neighbor {
    /// Its IPv4 address.
    #[schema(value_type = Address)]
    pub address: Ipv4Addr,
    /// Its Ethernet address, once known.
    pub mac: Option<String>,
    /// The interface it is reached by.
    pub interface: String,
    /// `incomplete`, `reachable`, `stale`, `probe` or `failed`.
    pub state: Cow<'static, str>,
    /// Seconds since it was last heard of, or first asked for.
    pub age_s: u64,
    /// It is the gateway of a route.
    pub gateway: bool,
}

/// A route.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// Destination, `address/length`.
    pub prefix: String,
    /// Next hop; none for a connected prefix.
    #[schema(value_type = Option<Address>)]
    pub via: Option<Ipv4Addr>,
    /// The interface it leads to.
    pub interface: String,
    /// `connected` or `static`.
    pub kind: Cow<'static, str>,
}

/// A permanent mapping.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Forward {
    /// Names it as long as it is there: kind or protocol, and outside endpoint, as in `tcp-203.0.113.13-8080`.
    pub id: String,
    /// `file`, or `api` where it was added while the gateway runs.
    pub origin: Cow<'static, str>,
    /// `port-forward`, `redirect` or `static`.
    pub kind: Cow<'static, str>,
    /// Protocol; none for a 1:1 mapping, which takes all.
    #[schema(value_type = Option<text::Protocol>)]
    pub protocol: Option<Protocol>,
    /// Outside address, with `:port` or `:first-last`.
    pub external: String,
    /// Inside address, with `:port` or `:first-last`.
    pub internal: String,
    /// The worker that owns it.
    pub worker: u16,
}

/// A port forward to be added while the gateway runs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "protocol": "tcp", "external": "203.0.113.13:9090", "internal": "10.64.0.12:90" }))]
pub struct NewForward {
    /// `udp` or `tcp`.
    pub protocol: String,
    /// Outside address, with `:port` or `:first-last`.
    pub external: String,
    /// Inside address, with `:port` or `:first-last`.
    pub internal: String,
    /// What the inside host sees as source: `remote`, or `gateway` for a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// An inside host.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Subscriber {
    /// Its inside address.
    #[schema(value_type = Address)]
    pub address: Ipv4Addr,
    /// The outside address it is paired with, where it has one (RFC 4787 REQ-2).
    #[schema(value_type = Option<Address>)]
    pub outside: Option<Ipv4Addr>,
    /// The pool of that address.
    pub pool: Option<String>,
    /// Live sessions.
    pub sessions: u32,
    /// Outside ports of its mappings, all protocols.
    pub ports: u32,
    /// The ports of the blocks that these are of, `first-last`, where the pool hands out blocks.
    pub blocks: Vec<String>,
    /// The worker that owns it.
    pub worker: u16,
}

impl Subscriber {
    /// Adds a block of ports, where it is not there yet.
    pub fn add_block(&mut self, ports: &RangeInclusive<u16>) {
        let text = format!("{}-{}", ports.start(), ports.end());
        if !self.blocks.contains(&text) {
            self.blocks.push(text);
        }
    }
}

/// An outside endpoint that stands for an inside one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Mapping {
    /// Protocol.
    #[schema(value_type = text::IpProtocol)]
    pub protocol: IpProtocol,
    /// Inside endpoint.
    pub inside: Endpoint,
    /// Outside endpoint.
    pub outside: Endpoint,
    /// The remote endpoint that it serves alone, where the pool's ports are shared between remotes.
    pub remote: Option<Endpoint>,
    /// Where the outside endpoint comes from: `pool`, `permanent` (port forward, 1:1), `redirect` or `exempt`
    /// (untranslated).
    pub kind: Cow<'static, str>,
    /// The pool, where one gave it.
    pub pool: Option<String>,
    /// Live sessions that use it.
    pub sessions: u32,
    /// Nothing uses it any more; it keeps its port from others for a while (RFC 6888 REQ-8).
    pub resting: bool,
    /// Seconds since it was made.
    pub age_s: u64,
    /// The worker that owns it.
    pub worker: u16,
}

impl Mapping {
    /// A mapping of a worker's; `pools` are the names of all pools, by index.
    pub fn of(view: &MappingView, worker: u16, pools: &[String]) -> Mapping {
        let endpoint = |endpoint| Endpoint::of(view.protocol, endpoint);
        Mapping {
            protocol: IpProtocol::of(view.protocol, view.internal.port),
            inside: endpoint(view.internal),
            outside: endpoint(view.external),
            remote: view.remote.map(endpoint),
            kind: view.kind.into(),
            pool: pool_name(view.pool, pools),
            sessions: view.sessions,
            resting: view.resting,
            age_s: view.age_ms / 1000,
            worker,
        }
    }
}

/// A flow between an inside and a remote endpoint.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Protocol.
    #[schema(value_type = text::IpProtocol)]
    pub protocol: IpProtocol,
    /// Inside endpoint.
    pub inside: Endpoint,
    /// Outside endpoint.
    pub outside: Endpoint,
    /// Remote endpoint.
    pub remote: Endpoint,
    /// What the inside host sees in the remote's place, where that is another endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_inside: Option<Endpoint>,
    /// TCP: state of the connection (RFC 5382, RFC 7857); others: `active`.
    pub state: Cow<'static, str>,
    /// Seconds since it was made.
    pub age_s: u64,
    /// Seconds until it ends if nothing comes.
    pub expires_in_s: u64,
    /// Packets from inside; wraps at 2^32.
    pub packets_out: u32,
    /// Packets from outside; wraps at 2^32.
    pub packets_in: u32,
    /// The pool of the outside endpoint, where one gave it.
    pub pool: Option<String>,
    /// The worker that owns it.
    pub worker: u16,
}

impl Session {
    /// A session of a worker's; `pools` are the names of all pools, by index.
    pub fn of(view: &SessionView, worker: u16, pools: &[String]) -> Session {
        let endpoint = |endpoint| Endpoint::of(view.protocol, endpoint);
        Session {
            protocol: IpProtocol::of(view.protocol, view.internal.port),
            inside: endpoint(view.internal),
            outside: endpoint(view.external),
            remote: endpoint(view.remote),
            remote_inside: view.remote_inside.map(endpoint),
            state: view.state.into(),
            age_s: view.age_ms / 1000,
            expires_in_s: view.expires_in_ms.div_ceil(1000),
            packets_out: view.packets[Direction::Outbound as usize],
            packets_in: view.packets[Direction::Inbound as usize],
            pool: pool_name(view.pool, pools),
            worker,
        }
    }
}

/// What was ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// Sessions.
    pub sessions: u64,
}

fn pool_name(pool: Option<u16>, pools: &[String]) -> Option<String> {
    pools.get(usize::from(pool?)).cloned()
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
    /// Rows on a page without a limit in the request.
    pub const LIMIT_DEFAULT: usize = 100;
    /// Most rows on a page.
    pub const LIMIT_MAX: usize = 1000;
}

/// A page of a table. Only the last page has no cursor; a page may be short or empty before that, because a worker
/// looks at a bounded part of its table for one page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    fn a_session_keeps_what_the_engine_shows() {
        let endpoint = |last, port| natgw_nat::Endpoint::new(Ipv4Addr::new(10, 0, 0, last), port);
        let view = SessionView {
            id: natgw_nat::SessionId(7),
            protocol: Protocol::Tcp,
            internal: endpoint(1, 1000),
            external: endpoint(2, 2000),
            remote: endpoint(3, 80),
            remote_inside: None,
            state: "established",
            age_ms: 1999,
            expires_in_ms: 1,
            packets: [5, 6],
            pool: Some(1),
        };
        let session = Session::of(&view, 3, &["a".into(), "b".into()]);
        assert_eq!(session.outside.to_string(), "10.0.0.2:2000");
        assert_eq!((session.age_s, session.expires_in_s), (1, 1));
        assert_eq!((session.packets_out, session.packets_in), (5, 6));
        assert_eq!((session.pool.as_deref(), session.worker), (Some("b"), 3));
    }

    #[test]
    fn an_endpoint_and_a_cursor_are_strings() {
        let page = Page {
            items: ["10.0.0.1:53", "10.0.0.2"].map(|text| text.parse::<Endpoint>().unwrap()).to_vec(),
            next_cursor: Some(Cursor { worker: 1, position: 16 }),
        };
        let json = serde_json::to_string(&page).unwrap();
        assert_eq!(json, r#"{"items":["10.0.0.1:53","10.0.0.2"],"next_cursor":"1-10"}"#);
        assert_eq!(serde_json::from_str::<Page<Endpoint>>(&json).unwrap(), page);
    }
}
