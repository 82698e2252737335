//! How sessions end, and how mappings rest and end after them.

use crate::ids::{MappingId, SessionId, SubscriberId};
use crate::mapping::Kind;
use crate::mapping::filter::Pair;
use crate::packet::verdict::{DeleteReason, Protocol};
use crate::session::{Session, tcp_state};
use crate::shard::Shard;
use crate::table::time::Time;

impl Shard {
    /// Ends a session whose time is over though its timer has not rung yet.
    pub(crate) fn expire(&mut self, id: SessionId, now: Time) {
        self.sessions.stop_timer(id);
        self.end_session(id, None, now);
    }

    /// Takes a session away; its timer does not run any more. It was idle, or closed, where no other reason is given.
    pub(crate) fn end_session(&mut self, id: SessionId, reason: Option<DeleteReason>, now: Time) {
        let closed = is_closed(&self.sessions[id]);
        let reason = reason.unwrap_or(if closed { DeleteReason::Closed } else { DeleteReason::Idle });
        let subscriber = self.remove_session(id, closed, reason, now);
        self.subscribers.remove_if_idle(subscriber);
    }

    /// Ends a session at once, whose timer runs.
    pub(crate) fn end_now(&mut self, id: SessionId, reason: DeleteReason, now: Time) {
        self.sessions.stop_timer(id);
        self.end_session(id, Some(reason), now);
    }

    /// As [`Shard::end_session`], of a session whose mapping need not rest where it is `closed`. The subscriber, whose it
    /// was, stays.
    #[inline(always)]
    pub(crate) fn remove_session(
        &mut self,
        id: SessionId,
        closed: bool,
        reason: DeleteReason,
        now: Time,
    ) -> SubscriberId {
        if self.is_over(id) {
            self.remove_closed(id);
        }
        let session = self.sessions[id];
        let protocol = session.protocol();
        self.sessions.remove(id);
        let mapping = session.mapping;
        // No remote has seen anything of one that was withdrawn.
        let closed = closed || reason == DeleteReason::Withdrawn;
        self.mappings[mapping].remove_session(closed);
        let line = self.mappings[mapping];
        if session.permits != 0 {
            let remote = session.flows[1].tuple().source;
            self.permissions.remove(Pair { mapping, internal: line.internal(), remote }, id);
        }
        match line.kind() {
            Kind::Redirect => {
                let port = session.flows[0].tuple().destination_port;
                self.redirects.end(protocol, (session.stand_in != 0).then_some(port));
                // The host began its connection anew.
                self.subscribers[line.subscriber].end_half_open(session.half_open);
            }
            _ => self.subscribers[line.subscriber].end_session(protocol, session.half_open),
        }
        self.counters.sessions[protocol] -= 1;
        self.counters.sessions_deleted[reason] += 1;
        self.release_if_unused(mapping, now);
        line.subscriber
    }

    /// The handshake of a connection that was closed or reset begins anew.
    pub(crate) fn begin_half_open(&mut self, id: SessionId) {
        let session = &mut self.sessions[id];
        if session.half_open == 0 {
            let subscriber = self.mappings[session.mapping].subscriber;
            session.half_open = self.subscribers[subscriber].begin_half_open();
        }
    }

    /// Both sides have been heard.
    pub(crate) fn end_half_open(&mut self, id: SessionId) {
        let session = &mut self.sessions[id];
        let subscriber = self.mappings[session.mapping].subscriber;
        self.subscribers[subscriber].end_half_open(session.half_open);
        session.half_open = 0;
    }

    /// A mapping without sessions rests or, where nothing is left to wait for, ends. The subscriber stays.
    pub(crate) fn release_if_unused(&mut self, id: MappingId, now: Time) {
        let mapping = self.mappings[id];
        if mapping.is_in_use() || mapping.is_resting() {
            return;
        }
        self.counters.mappings -= 1;
        let protocol = mapping.protocol();
        let has_port = mapping.kind() == Kind::Pool && protocol.has_ports();
        let rests = has_port && mapping.is_to_rest() && self.policy.port_hold_ms > 0;
        if rests && self.is_live(&mapping) {
            self.hold_port_of(id);
            let end = now.plus_ms(u64::from(self.policy.port_hold_ms));
            self.mappings.rest(id, self.subscribers[mapping.subscriber].resting_head(protocol), end);
            return;
        }
        self.remove_mapping(id, now);
    }

    /// Ends the rest of a mapping whose timer does not run any more: its port is anybody's. The subscriber stays.
    pub(crate) fn end_rest(&mut self, id: MappingId, now: Time) {
        let mapping = self.mappings[id];
        self.mappings.unchain(id, self.subscribers[mapping.subscriber].resting_head(mapping.protocol()));
        self.remove_mapping(id, now);
    }

    /// Takes away a mapping without sessions that is in no chain.
    fn remove_mapping(&mut self, id: MappingId, now: Time) {
        let mapping = self.mappings[id];
        self.subscribers[mapping.subscriber].let_go();
        if mapping.kind() == Kind::Pool {
            if mapping.protocol().has_ports() {
                self.free_port_of(id, now);
            }
            self.pools[mapping.grant.pool].remove_mapping(mapping.grant.place);
        }
        self.mappings.remove(id);
    }

    /// Its inside endpoint takes a resting mapping up again.
    pub(crate) fn reactivate(&mut self, id: MappingId) {
        let mapping = self.mappings[id];
        if !mapping.is_resting() {
            return;
        }
        let protocol = mapping.protocol();
        self.mappings.reactivate(id, self.subscribers[mapping.subscriber].resting_head(protocol));
        self.pools[mapping.grant.pool].unhold(protocol);
        self.counters.mappings += 1;
    }
}

/// A TCP session whose end was seen.
pub(crate) fn is_closed(session: &Session) -> bool {
    session.protocol() == Protocol::Tcp && tcp_state::State::from_index(session.tcp_state).is_closed()
}

impl Shard {
    /// Ends a session that is over before its time, for its subscriber's sake, who stays. Its port rests: it is for nobody
    /// else yet.
    #[cold]
    pub(crate) fn give_up(&mut self, id: SessionId, now: Time) {
        self.gave_up = true;
        self.sessions.stop_timer(id);
        self.remove_session(id, false, DeleteReason::Reused, now);
    }
}
