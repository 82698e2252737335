//! Redirects: port forwards whose answers cannot be told by the inside endpoint alone.
//!
//! Either the inside host sees the gateway in the place of the remote, and the answers come back through the gateway
//! wherever else the inside host's routes lead:
//!
//! ```text
//! inbound:  (r:q -> X:P) becomes (g:k -> a:p)
//! outbound: (a:p -> g:k) becomes (X:P -> r:q)
//! ```
//!
//! Or `a:p` has another outside endpoint for what it sends by itself, of an earlier forward or a 1:1 mapping (RFC 4787
//! REQ-1), and this one is a further one:
//!
//! ```text
//! inbound:  (r:q -> X:P) becomes (r:q -> a:p)
//! outbound: (a:p -> r:q) becomes (X:P -> r:q)
//! ```
//!
//! The remote that `g:k` stands for, and the outside endpoint that `r:q` used, are kept from the first inbound packet on: a
//! redirect is the one session that a packet from outside makes, and the one memory that forged sources can take. Therefore
//!
//! - it has a budget of its own ([`Limits::redirected_sessions`](crate::Limits::redirected_sessions), half a shard's table at most), and what is beyond is
//!   refused and counted: the sessions from inside never have less room for it;
//! - it is *half open*, refreshed by nothing and over after [`Timeouts::redirect_half_open_s`](crate::Timeouts), until the
//!   inside host has answered; of TCP, until the remote has acknowledged that answer, which forged sources do not see.

use std::net::Ipv4Addr;

use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::Protocol;
use crate::pool::ShardPool;
use crate::pool::port_bitmap::PortRequest;
use crate::settings::{ForwardSource, Pool, Settings, Share};
use crate::table::hash::Random;

/// Where a redirected outside endpoint leads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// `a:p`.
    pub(crate) internal: Endpoint,
    /// `g`, or `None` where the host sees the remote itself.
    pub(crate) gateway: Option<u32>,
}

/// The ports `k` that stand for remotes, where anything is redirected. They are of no address by themselves: a shard's
/// redirects each have their own.
pub(crate) struct Redirects {
    ports: Option<ShardPool>,
    live: u32,
}

impl Redirects {
    pub(crate) fn new(settings: &Settings) -> Redirects {
        let all = Share { address: Ipv4Addr::UNSPECIFIED, ports: 1024..=u16::MAX };
        let is_needed = settings.port_forwards.iter().any(|forward| forward.source == ForwardSource::Gateway);
        Redirects { ports: is_needed.then(|| ShardPool::new(&Pool::default(), &[all])), live: 0 }
    }

    /// Has what it needs for `new`; what redirected sessions have already, it keeps.
    pub(crate) fn adopt(&mut self, new: &mut Redirects) {
        if self.ports.is_none() {
            std::mem::swap(&mut self.ports, &mut new.ports);
        }
    }

    pub(crate) fn alloc(&mut self, protocol: Protocol, random: &mut Random) -> Option<u16> {
        let any = PortRequest { inside: u16::MAX, preserved: false, parity: false };
        self.ports.as_mut()?.alloc(0, protocol, any, random)
    }

    /// A session begins.
    pub(crate) fn begin(&mut self) {
        self.live += 1;
    }

    /// A session is over, and the port that stood for its remote is free, if one did.
    pub(crate) fn end(&mut self, protocol: Protocol, port: Option<u16>) {
        self.live -= 1;
        if let Some(port) = port {
            self.free(protocol, port);
        }
    }

    pub(crate) fn free(&mut self, protocol: Protocol, port: u16) {
        if let Some(ports) = &mut self.ports {
            ports.free(0, protocol, port);
        }
    }

    /// Whether no port is left.
    pub(crate) fn is_exhausted(&self, protocol: Protocol) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.ports(0, protocol).free_count() == 0)
    }

    /// Redirected sessions.
    pub(crate) fn live(&self) -> u32 {
        self.live
    }
}
