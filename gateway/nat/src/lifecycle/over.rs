//! Sessions that are over ([`crate::session::closed`]) go before their time, for a new session of their own subscriber.

use crate::ids::{SessionId, SubscriberId};
use crate::mapping::Kind;
use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::{Protocol, SessionFailure};
use crate::session::closed::{ANY, Chain};
use crate::session::tcp_state;
use crate::shard::Shard;

impl Shard {
    /// Whether a session is in a chain of [`ClosedSessions`](crate::session::closed::ClosedSessions). Redirected ones have no
    /// room that is a subscriber's.
    pub(crate) fn is_over(&self, id: SessionId) -> bool {
        let session = &self.sessions[id];
        session.protocol == Protocol::Tcp as u8
            && tcp_state::State::from_index(session.tcp_state).is_over()
            && self.mappings[session.mapping].kind() != Kind::Redirect
    }

    /// A session is over from now on.
    pub(crate) fn add_closed(&mut self, id: SessionId) {
        self.closed.add(self.subscriber_of_session(id), self.chain(id), id);
    }

    /// A session that was over ends, or is about to be not over any more.
    pub(crate) fn remove_closed(&mut self, id: SessionId) {
        self.closed.remove(self.subscriber_of_session(id), self.chain(id), id);
    }

    /// The chain of a session that is over: what it counts as does not change until it leaves the chain.
    fn chain(&self, id: SessionId) -> Chain {
        if self.sessions[id].half_open == 0 { Chain::Closed } else { Chain::Refused }
    }

    fn subscriber_of_session(&self, id: SessionId) -> SubscriberId {
        self.mappings[self.sessions[id].mapping].subscriber
    }

    /// Whether the subscriber may have another session, `opening` being the state of a TCP connection to be opened, and which
    /// of its sessions that are over it gives up for it.
    pub(crate) fn room_within_bounds(
        &self,
        subscriber: SubscriberId,
        protocol: Protocol,
        opening: Option<tcp_state::State>,
    ) -> Result<Option<SessionId>, SessionFailure> {
        let bounds = &self.policy.bounds;
        let line = &self.subscribers[subscriber];
        let Err(failure) = bounds.admit(line, protocol, opening) else { return Ok(None) };
        let makes_room = |&id: &SessionId| {
            let without = line.without(Protocol::Tcp, self.sessions[id].half_open);
            bounds.admit(&without, protocol, opening).is_ok()
        };
        let order = match failure {
            SessionFailure::SubscriberHalfOpen => [Chain::Refused, Chain::Closed],
            _ => ANY,
        };
        self.closed.oldest_of(subscriber, order).find(makes_room).map(Some).ok_or(failure)
    }

    /// Whether a session's connection may begin anew, which is over: it is half open again. Which other session that is over
    /// is given up for it.
    pub(crate) fn room_to_begin_anew(&self, id: SessionId) -> Result<Option<SessionId>, SessionFailure> {
        if self.draining {
            return Err(SessionFailure::Draining);
        }
        let subscriber = self.subscriber_of_session(id);
        let half_open = self.subscribers[subscriber].half_open();
        let bounds = &self.policy.bounds;
        if self.sessions[id].half_open != 0 || bounds.admits_half_open(half_open) {
            return Ok(None);
        }
        let makes_room =
            |&other: &SessionId| bounds.admits_half_open(half_open - self.sessions[other].half_open);
        let refused = self.closed.oldest(subscriber, Chain::Refused).find(makes_room);
        refused.map(Some).ok_or(SessionFailure::SubscriberHalfOpen)
    }

    /// The oldest session of an inside address that is over.
    pub(crate) fn oldest_closed(&self, inside: u32) -> Option<SessionId> {
        self.closed.oldest_of(self.subscribers.find(inside)?, ANY).next()
    }

    /// A session that is over and the only one of a mapping whose port fits.
    pub(crate) fn closed_with_port(
        &self,
        subscriber: SubscriberId,
        pool: u16,
        protocol: Protocol,
        remote: Option<Endpoint>,
    ) -> Option<SessionId> {
        if protocol != Protocol::Tcp {
            return None;
        }
        self.closed.oldest_of(subscriber, ANY).find(|&id| {
            let mapping = self.sessions[id].mapping;
            let line = &self.mappings[mapping];
            line.is_of_pool(pool)
                && line.sessions() == 1
                && self.is_live(line)
                && remote.is_none_or(|remote| self.overlaps.remote(mapping) == remote)
        })
    }
}
