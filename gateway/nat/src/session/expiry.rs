//! What is due: idle sessions, and rests of ports. A bounded piece of it a call.
//!
//! An end needs as many cold lines as a beginning (`lookahead`), and they depend on one another just so. So the timers that
//! ring next are gone through together first, a step at a time, before each is worked on.

use std::ops::Range;

use crate::packet::verdict::Direction;
use crate::pool::grants::GrantId;
use crate::session::LIVE;
use crate::session::remove::is_closed;
use crate::shard::Shard;
use crate::table::cpu::prefetch;
use crate::table::time::Time;
use crate::table::timer_wheel::Upcoming;

/// Lines that a sweep looks at together.
pub(crate) const SWEPT_AHEAD: u32 = 16;

impl Shard {
    /// Ends what is due by `now`: idle sessions, rests of ports and port blocks, datagrams in fragments. `budget` bounds the work: each timer looked at
    /// takes one from it. False where the budget ran out first; the rest waits for the next call.
    pub fn advance(&mut self, now: Time, mut budget: u32) -> bool {
        'sessions: loop {
            let upcoming = self.idle.upcoming(budget);
            self.look_at_sessions(&upcoming, now);
            for _ in 0..upcoming.len().max(1) {
                let sessions = self.sessions.as_slice();
                let due = self.idle.next_due(now, &mut budget, |id| now.near(sessions[id as usize].expires));
                let Some(id) = due else { break 'sessions };
                self.end_session(id, None, now);
            }
        }
        'rests: loop {
            let upcoming = self.mappings.rest.upcoming(budget);
            self.look_at_rests(&upcoming);
            for _ in 0..upcoming.len().max(1) {
                let lines = self.mappings.lines.as_slice();
                let end = |id: u32| now.near(lines[id as usize].end_of_rest());
                let Some(id) = self.mappings.rest.next_due(now, &mut budget, end) else { break 'rests };
                let subscriber = lines[id as usize].subscriber;
                self.end_rest(id, now);
                self.subscribers.remove_if_idle(subscriber);
            }
        }
        self.give_blocks_back(now, &mut budget);
        self.expire_fragments(now, &mut budget);
        budget > 0
    }

    /// Asks for what the ends of sessions need: their lines, and of those that are due the rest.
    fn look_at_sessions(&self, upcoming: &Upcoming, now: Time) {
        let sessions = self.sessions.as_slice();
        upcoming.iter().for_each(|&id| prefetch(&sessions[id as usize]));
        let is_due = |id: &u32| now.near(sessions[*id as usize].expires) <= now;
        self.look_at_ends(&upcoming.iter().copied().filter(is_due).collect());
    }

    /// Asks for what the ends of sessions whose lines are at hand need: buckets and mappings, then subscribers.
    pub(crate) fn look_at_ends(&self, ends: &Upcoming) {
        let sessions = self.sessions.as_slice();
        let lines = self.mappings.lines.as_slice();
        let ends = || ends.iter().map(|&id| (id, &sessions[id as usize]));
        for (id, session) in ends() {
            let protocol = session.protocol();
            for direction in Direction::ALL {
                let flow = &session.flows[direction];
                self.index.view().prefetch(self.secret.flow(flow, protocol, direction));
            }
            prefetch(&lines[session.mapping as usize]);
            self.mappings.rest.prefetch(session.mapping);
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
            prefetch(&self.subscribers.lines[lines[session.mapping as usize].subscriber]);
            self.mappings.chains.prefetch(session.mapping);
        }
        for (id, session) in ends() {
            if is_closed(session) {
                self.closed.prefetch_neighbours(id);
            }
            let subscriber = &self.subscribers.lines[lines[session.mapping as usize].subscriber];
            if let Some(&next) = subscriber.resting.get(usize::from(session.protocol)) {
                self.mappings.chains.try_prefetch(next);
            }
        }
    }

    /// Asks for what a look at these lines of the session table needs.
    pub(crate) fn look_at_swept(&self, lines: Range<u32>) {
        let sessions = &self.sessions.as_slice()[lines.start as usize..lines.end as usize];
        let mappings = self.mappings.lines.as_slice();
        sessions
            .iter()
            .filter(|line| line.flags & LIVE != 0)
            .for_each(|line| prefetch(&mappings[line.mapping as usize]));
    }

    /// Asks for what the ends of rests need: mappings, then buckets, neighbours in the chain and subscribers.
    fn look_at_rests(&self, upcoming: &Upcoming) {
        let lines = self.mappings.lines.as_slice();
        for &id in upcoming {
            prefetch(&lines[id as usize]);
            self.mappings.chains.prefetch(id);
        }
        for &id in upcoming {
            let line = &lines[id as usize];
            let index = self.mappings.index.view();
            index.prefetch(self.mappings.outside_hash(line.protocol(), line.external()));
            index.prefetch(self.mappings.inside_hash(line.protocol(), line.internal()));
            prefetch(&self.subscribers.lines[line.subscriber]);
            self.mappings.chains.prefetch_neighbours(id);
            let GrantId { pool, place } = line.grant;
            self.pools[usize::from(pool)].prefetch(place, line.protocol(), line.external().port);
        }
    }
}
