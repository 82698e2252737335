//! How sessions end, and how mappings rest and end after them.

use crate::mapping::Kind;
use crate::mapping::filter::Pair;
use crate::packet::verdict::{DeleteReason, Protocol};
use crate::session::tcp_state;
use crate::session::{LIVE, Session};
use crate::shard::Shard;
use crate::table::time::Time;

impl Shard {
    /// Ends a session whose time is over though its timer has not rung yet.
    pub(crate) fn expire(&mut self, id: u32, now: Time) {
        self.idle.stop(id);
        self.end_session(id, None, now);
    }

    /// Takes a session away; its timer does not run any more. It was idle, or closed, where no other reason is given.
    pub(crate) fn end_session(&mut self, id: u32, reason: Option<DeleteReason>, now: Time) {
        let closed = is_closed(&self.sessions[id]);
        let reason = reason.unwrap_or(if closed { DeleteReason::Closed } else { DeleteReason::Idle });
        let subscriber = self.remove_session(id, closed, reason, now);
        self.subscribers.remove_if_idle(subscriber);
    }

    /// As [`Shard::end_session`], of a session whose mapping need not rest where it is `closed`. The subscriber, whose it
    /// was, stays.
    #[inline(always)]
    pub(crate) fn remove_session(&mut self, id: u32, closed: bool, reason: DeleteReason, now: Time) -> u32 {
        if self.is_over(id) {
            self.remove_closed(id);
        }
        let session = self.sessions[id];
        let protocol = session.protocol();
        self.sessions[id].flags &= !LIVE;
        for (direction, flow) in crate::Direction::ALL.into_iter().zip(&session.flows) {
            self.index.remove(self.secret.flow(flow, protocol, direction), id);
        }
        let mapping = session.mapping;
        // No remote has seen anything of one that was withdrawn.
        let closed = closed || reason == DeleteReason::Withdrawn;
        self.mappings.lines[mapping].remove_session(closed);
        let line = self.mappings.lines[mapping];
        if session.permits != 0 {
            let remote = session.flows[1].tuple().source;
            self.permissions.remove(Pair { mapping, internal: line.internal(), remote }, id);
        }
        let subscriber = &mut self.subscribers.lines[line.subscriber];
        subscriber.half_open -= session.half_open;
        match line.kind() {
            Kind::Redirect => {
                let port = session.flows[0].tuple().destination_port;
                self.redirects.end(protocol, (session.stand_in != 0).then_some(port));
            }
            _ => subscriber.sessions[protocol] -= 1,
        }
        self.session_ids.free(id);
        self.counters.sessions[protocol] -= 1;
        self.counters.sessions_deleted[reason] += 1;
        self.release_if_unused(mapping, now);
        line.subscriber
    }

    /// The handshake of a connection that was closed or reset begins anew.
    pub(crate) fn begin_half_open(&mut self, id: u32) {
        let session = &mut self.sessions[id];
        if session.half_open == 0 {
            let subscriber = self.mappings.lines[session.mapping].subscriber;
            session.half_open = self.subscribers.lines[subscriber].begin_half_open();
        }
    }

    /// Both sides have been heard.
    pub(crate) fn end_half_open(&mut self, id: u32) {
        let session = &mut self.sessions[id];
        let subscriber = self.mappings.lines[session.mapping].subscriber;
        self.subscribers.lines[subscriber].half_open -= session.half_open;
        session.half_open = 0;
    }

    /// A mapping without sessions rests or, where nothing is left to wait for, ends. The subscriber stays.
    pub(crate) fn release_if_unused(&mut self, id: u32, now: Time) {
        let mapping = self.mappings.lines[id];
        if mapping.is_in_use() || mapping.is_resting() {
            return;
        }
        self.counters.mappings -= 1;
        let protocol = mapping.protocol();
        let has_port = mapping.kind() == Kind::Pool && protocol.has_ports();
        let rests = has_port && mapping.is_to_rest() && self.policy.port_hold_ms > 0;
        if rests && self.is_live(&mapping) {
            let subscriber = &mut self.subscribers.lines[mapping.subscriber];
            self.mappings.chains.push(&mut subscriber.resting[protocol], id);
            self.hold_port_of(id);
            let until = now.plus_ms(u64::from(self.policy.port_hold_ms));
            self.mappings.lines[id].rest_until(until.low());
            self.mappings.rest.start(id, until);
            return;
        }
        self.remove_mapping(id, now);
    }

    /// Ends the rest of a mapping whose timer does not run any more: its port is anybody's. The subscriber stays.
    pub(crate) fn end_rest(&mut self, id: u32, now: Time) {
        let mapping = self.mappings.lines[id];
        let subscriber = &mut self.subscribers.lines[mapping.subscriber];
        self.mappings.chains.remove(&mut subscriber.resting[mapping.protocol()], id);
        self.remove_mapping(id, now);
    }

    /// Takes away a mapping without sessions that is in no chain.
    fn remove_mapping(&mut self, id: u32, now: Time) {
        let mapping = self.mappings.lines[id];
        self.subscribers.lines[mapping.subscriber].mappings -= 1;
        if mapping.kind() == Kind::Pool {
            if mapping.protocol().has_ports() {
                self.give_port_of(id, now);
            }
            self.pools[usize::from(mapping.grant.pool)].remove_mapping(mapping.grant.place);
        }
        self.mappings.remove(id);
    }

    /// Its inside endpoint takes a resting mapping up again.
    pub(crate) fn reactivate(&mut self, id: u32) {
        let mapping = self.mappings.lines[id];
        if !mapping.is_resting() {
            return;
        }
        let protocol = mapping.protocol();
        self.mappings.rest.stop(id);
        let subscriber = &mut self.subscribers.lines[mapping.subscriber];
        self.mappings.chains.remove(&mut subscriber.resting[protocol], id);
        self.pools[usize::from(mapping.grant.pool)].held[protocol] -= 1;
        self.mappings.lines[id].reactivate();
        self.counters.mappings += 1;
    }
}

/// A TCP session whose end was seen.
pub(crate) fn is_closed(session: &Session) -> bool {
    session.protocol() == Protocol::Tcp && tcp_state::State::from_index(session.tcp_state).is_closed()
}
