//! Protocols without ports: GRE, ESP, SCTP and others that a pool is configured to translate.
//!
//! `(a -> r, n) becomes (X -> r, n)`, where `n` is the protocol. An inside host has one mapping for each protocol, and a
//! session for each remote. Hosts may share an outside address. The remote tells inbound packets apart, so such a packet finds
//! its host by the session alone; and two hosts that talk to the same remote over the same protocol need an outside
//! address each.
//!
//! No port is freed when such a mapping ends, so it does not rest: it ends with its last session.

use crate::ids::{SessionId, SubscriberId};
use crate::lifecycle::allocation::Pairing;
use crate::lifecycle::request::Request;
use crate::packet::endpoint::{End, Endpoint, Flow, Tuple};
use crate::packet::ip_protocol::IpProtocol;
use crate::packet::verdict::{DeleteReason, Direction, Protocol, SessionFailure};
use crate::shard::Shard;
use crate::table::hash::Random;
use crate::table::time::{Time, is_past};

/// How many addresses of a pool are looked at for one that nobody has towards the remote.
const ADDRESS_STEPS: usize = 16;

impl Shard {
    /// Whether a pool translates packets of this sender: of a protocol without ports its end names the number.
    #[inline(always)]
    pub(crate) fn is_translated(&self, pool: usize, sender: End, protocol: Protocol) -> bool {
        protocol.has_ports()
            || sender.port.is_some_and(|number| self.is_named(pool, IpProtocol(number as u8)))
    }

    #[cold]
    fn is_named(&self, pool: usize, number: IpProtocol) -> bool {
        self.pools[pool].translates(number)
    }

    /// The place in a pool of the outside address that the subscriber would get: it stays with the one that it is paired with
    /// or has port blocks of (RFC 4787 REQ-2).
    #[cold]
    pub(crate) fn address_plan(
        &self,
        subscriber: Option<SubscriberId>,
        pool: u16,
        request: &Request,
        random: &mut Random,
    ) -> Result<u16, SessionFailure> {
        let Request { internal, remote, now, .. } = *request;
        let from = &self.pools[pool];
        let only = self.only_place(subscriber, pool, internal.address);
        let start = only.unwrap_or_else(|| from.any(random));
        let steps = if only.is_some() { 1 } else { ADDRESS_STEPS };
        let is_free = |&place: &u16| {
            let external = Endpoint { address: from.address(place), ..internal };
            self.holder(external, remote, now).is_none()
        };
        from.open_places_from(start).take(steps).find(is_free).ok_or(SessionFailure::AddressTaken)
    }

    /// The place in the pool of the only address that the subscriber may get, where it may not get any.
    fn only_place(&self, subscriber: Option<SubscriberId>, pool: u16, inside: u32) -> Option<u16> {
        let from = &self.pools[pool];
        let of_range = from.ranges().and_then(|ranges| ranges.outside(inside.into()));
        if let Some((place, _)) = of_range {
            return Some(place as u16);
        }
        let id = subscriber?;
        let of_blocks = from.blocks().and_then(|blocks| blocks.held_by(id));
        let paired = || match self.pairing(&self.subscribers[id], pool) {
            Pairing::Bound(place) => Some(place),
            Pairing::Open => None,
        };
        of_blocks.map(|(place, _)| place).or_else(paired)
    }

    /// Ends a session whose time is over and that has this outside address towards the request's remote; whether there was one.
    /// The request's subscriber stays.
    #[inline(always)]
    pub(crate) fn clear_expired_holder(
        &mut self,
        subscriber: SubscriberId,
        external: Endpoint,
        request: &Request,
    ) -> bool {
        !request.protocol.has_ports() && self.clear_expired(subscriber, external, request)
    }

    #[cold]
    fn clear_expired(&mut self, subscriber: SubscriberId, external: Endpoint, request: &Request) -> bool {
        let expired = self.entered(external, request.remote);
        let Some(id) = expired.filter(|&id| is_past(self.sessions[id].expires, request.now)) else {
            return false;
        };
        self.sessions.stop_timer(id);
        let owner = self.remove_session(id, false, DeleteReason::Idle, request.now);
        if owner != subscriber {
            self.subscribers.remove_if_idle(owner);
        }
        true
    }

    /// The session that has this outside address towards the remote.
    pub(crate) fn holder(&self, external: Endpoint, remote: Endpoint, now: Time) -> Option<SessionId> {
        self.entered(external, remote).filter(|&id| !is_past(self.sessions[id].expires, now))
    }

    /// As [`Shard::holder`], or one whose time is over.
    fn entered(&self, external: Endpoint, remote: Endpoint) -> Option<SessionId> {
        let flow = Flow::from(&Tuple::new(remote, external));
        self.sessions.find(&flow, Protocol::Other, Direction::Inbound)
    }
}
