//! `POST /api/v1/explain`: what would become of a packet.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Address, Endpoint, Holder, Mapping, Neighbor, Route, Session, text};
use natgw_nat::{Direction, IpProtocol, Protocol};

/// The first packet of a flow, as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Question {
    /// Protocol.
    #[param(value_type = text::IpProtocol)]
    pub protocol: IpProtocol,
    /// Source. Of ICMP, the query identifier stands in the port's place.
    pub source: Endpoint,
    /// Destination. Of ICMP, no port or 0 is a query and an identifier a reply.
    pub destination: Endpoint,
    /// The side that it arrives on; by default the one that the route to its source leads to.
    #[param(value_type = Option<text::Direction>)]
    pub direction: Option<Direction>,
}

/// Of a [`Question`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "source, destination: over udp and tcp with a port, over icmp with an identifier or without, else addresses alone"
)]
pub struct WrongPorts;

impl Question {
    /// Whether its endpoints have ports where its protocol has.
    ///
    /// # Errors
    /// [`WrongPorts`].
    pub fn check(&self) -> Result<(), WrongPorts> {
        let ports = [self.source.port, self.destination.port];
        let fits = match self.protocol.translated_as() {
            Ok(Protocol::Udp | Protocol::Tcp) => ports.iter().all(Option::is_some),
            Ok(Protocol::Icmp) => true,
            Ok(Protocol::Other) | Err(_) => ports == [None, None],
        };
        if fits { Ok(()) } else { Err(WrongPorts) }
    }
}

/// What would become of it, with whatever had a part in that.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// `outbound` or `inbound`.
    pub direction: Cow<'static, str>,
    /// The worker that owns the packet.
    pub worker: u16,
    /// `session` (one translates it), `new-session`, `mapping` (one lets it in), `local` (for the gateway itself), `drop`,
    /// or `reject` (dropped, and the sender is told).
    pub outcome: Cow<'static, str>,
    /// The drop reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// The key of the configuration that another outcome would need another value of, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Cow<'static, str>>,
    /// Which of `nat.rules` matches first, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// Where the outside endpoint comes from: `pool`, `permanent`, `redirect` or `exempt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'static, str>>,
    /// The pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The ports that the subscriber has to itself, among them the mapping's, `first-last`: a port block, or those of
    /// deterministic mapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_block: Option<String>,
    /// Who has outside ports to itself, mapped or not: the inside host, or the one that the outside endpoint belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// Who may answer from outside, of a pool's mapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtering: Option<Cow<'static, str>>,
    /// The subscriber, where it has anything to its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscriber: Option<SubscriberState>,
    /// The mapping that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<Mapping>,
    /// The session that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
    /// The source as the packet leaves; none where its port would be drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Endpoint>,
    /// The destination as the packet leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Endpoint>,
    /// The destination is an outside endpoint of this gateway.
    #[serde(default)]
    pub hairpins: bool,
    /// What becomes of it then. Where its source would be drawn, it is taken for one that nobody has sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub then: Option<Box<Explanation>>,
    /// The route to its destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// The next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Address>)]
    pub next_hop: Option<Ipv4Addr>,
    /// What is known of the next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbor: Option<Neighbor>,
}

/// A subscriber and what of its limits it uses.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SubscriberState {
    /// Its inside address.
    #[schema(value_type = Address)]
    pub address: Ipv4Addr,
    /// The outside address that it is paired with in the pool (RFC 4787 REQ-2).
    #[schema(value_type = Option<Address>)]
    pub outside: Option<Ipv4Addr>,
    /// Sessions of all protocols.
    pub sessions: u32,
    /// TCP sessions that never were open.
    pub half_open: u16,
    /// Outside ports of the packet's protocol, in use and resting.
    pub ports: u16,
}

impl fmt::Display for SubscriberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, sessions: {} ({} half open), ports of this protocol: {}",
            self.address, self.sessions, self.half_open, self.ports
        )?;
        self.outside.map_or(Ok(()), |outside| write!(f, ", paired with {outside}"))
    }
}

impl Explanation {
    /// Whether the packet goes on.
    pub fn is_forwarded(&self) -> bool {
        matches!(&*self.outcome, "session" | "new-session" | "mapping")
    }
}
