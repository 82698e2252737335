//! What is due: idle sessions, and rests of ports. A bounded piece of it a call.
//!
//! An end needs as many cold lines as a beginning (`lookahead`), and they depend on one another just so. So the timers that
//! ring next are gone through together first, a step at a time, before each is worked on.

use std::ops::Range;

use crate::ids::{GrantId, MappingId};
use crate::lifecycle::remove::is_closed;
use crate::session::Session;
use crate::session::flow_table::Sessions;
use crate::shard::Shard;
use crate::table::time::Time;

/// Lines that a sweep looks at together.
pub(crate) const SWEPT_AHEAD: u32 = 16;

impl Shard {
    /// Ends what is due by `now`: idle sessions, rests of ports and port blocks, datagrams in fragments. `budget` bounds the work: each timer looked at
    /// takes one from it. False where the budget ran out first; the rest waits for the next call.
    pub fn advance(&mut self, now: Time, mut budget: u32) -> bool {
        'sessions: loop {
            let (upcoming, due) = self.sessions.upcoming(budget, now);
            self.prefetch_ends(&due);
            for _ in 0..upcoming.max(1) {
                let Some(id) = self.sessions.next_due(now, &mut budget) else { break 'sessions };
                self.end_session(id, None, now);
            }
        }
        'rests: loop {
            let upcoming = self.mappings.upcoming_rests(budget);
            self.prefetch_rests(upcoming.clone());
            for _ in 0..upcoming.count().max(1) {
                let Some(id) = self.mappings.next_rested(now, &mut budget) else { break 'rests };
                let subscriber = self.mappings[id].subscriber;
                self.end_rest(id, now);
                self.subscribers.remove_if_idle(subscriber);
            }
        }
        self.give_blocks_back(now, &mut budget);
        self.fragments.expire(now, &mut budget);
        budget > 0
    }

    /// Asks for what the ends of sessions whose lines are at hand need: buckets and mappings, then subscribers.
    pub(crate) fn prefetch_ends(&self, ends: &Sessions) {
        let (sessions, mappings) = (self.sessions.lines(), self.mappings.lines());
        let ends = || ends.iter().map(|&id| (id, &sessions[id.0 as usize]));
        let mapping = |session: &Session| &mappings[session.mapping.0 as usize];
        for (id, session) in ends() {
            self.sessions.prefetch_buckets(session);
            self.mappings.prefetch(session.mapping);
            if is_closed(session) {
                self.closed.prefetch(id);
            }
            if self.filters_by_address {
                let [internal, _, remote] = session.endpoints();
                self.permissions.prefetch(internal, remote.address);
                self.permissions.prefetch_run(id);
            }
        }
        for (_, session) in ends() {
            self.subscribers.prefetch(mapping(session).subscriber);
            self.mappings.prefetch_chain(session.mapping);
        }
        for (id, session) in ends() {
            if is_closed(session) {
                self.closed.prefetch_neighbours(id);
            }
            let subscriber = &self.subscribers[mapping(session).subscriber];
            if let Some(next) = subscriber.resting(session.protocol()) {
                self.mappings.try_prefetch_chain(next);
            }
        }
    }

    /// Asks for what a look at these lines of the flow table needs.
    pub(crate) fn prefetch_swept(&self, lines: Range<u32>) {
        self.sessions.live_at(lines).for_each(|session| self.mappings.prefetch_line(session.mapping));
    }

    /// Asks for what the ends of rests need, whose lines are at hand: buckets, neighbours in the chain and subscribers.
    fn prefetch_rests(&self, upcoming: impl Iterator<Item = MappingId>) {
        for id in upcoming {
            let mapping = &self.mappings[id];
            self.mappings.prefetch_buckets(mapping);
            self.subscribers.prefetch(mapping.subscriber);
            self.mappings.prefetch_neighbours(id);
            let GrantId { pool, place } = mapping.grant;
            self.pools[pool].prefetch(place, mapping.protocol(), mapping.external().port);
        }
    }
}
