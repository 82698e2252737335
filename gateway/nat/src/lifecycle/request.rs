//! What is asked for when a session is to begin.

use crate::ids::{GrantId, SubscriberId};
use crate::packet::endpoint::{End, Endpoint, Flow};
use crate::packet::verdict::Protocol;
use crate::session::tcp_state;
use crate::table::time::Time;

/// Where a new session's outside endpoint shall come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A pool.
    Pool(u16),
    /// A port forward or a 1:1 mapping.
    Permanent(End),
    /// No translation.
    Exempt,
}

/// A session that is to be, as far as its first packet tells.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) protocol: Protocol,
    /// Of the packet, as it came.
    pub(crate) flow: Flow,
    pub(crate) internal: Endpoint,
    /// As it is known outside.
    pub(crate) remote: Endpoint,
    pub(crate) origin: Origin,
    /// The state of a TCP connection to be opened.
    pub(crate) opening: Option<tcp_state::State>,
    pub(crate) now: Time,
}

/// What a mapping needs an outside endpoint for.
#[derive(Clone, Copy)]
pub(crate) struct AllocRequest {
    pub(crate) subscriber: SubscriberId,
    pub(crate) pool: u16,
    pub(crate) protocol: Protocol,
    /// The inside port.
    pub(crate) inside: u16,
    /// The only remote endpoint that it will serve, where the pool's ports are shared.
    pub(crate) remote: Option<Endpoint>,
    pub(crate) now: Time,
}

/// An outside endpoint, and the grant that it is of.
pub(crate) type Allocation = (Endpoint, GrantId);
