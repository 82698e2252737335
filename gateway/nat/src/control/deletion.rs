//! Sessions that an operator ends: all of them, or those that a filter names.
//!
//! It is the session alone that ends. Its mapping rests and ends as after any other session, and its inside endpoint
//! takes it up again with the next packet.

use crate::control::listing::Filter;
use crate::packet::verdict::DeleteReason;
use crate::session::flow_table::Sessions;
use crate::shard::Shard;
use crate::table::time::Time;
use crate::table::timer_wheel::UPCOMING_MAX;

/// What a piece of a deletion came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Sessions ended.
    pub sessions: u32,
    /// Where to go on; `None` at the end of the table.
    pub next: Option<u32>,
}

impl Shard {
    /// Ends the sessions that `filter` accepts among `lines` lines of the session table from `from` on.
    pub fn delete_sessions(&mut self, from: u32, lines: u32, filter: &Filter, now: Time) -> Deleted {
        let end = self.sessions.high_water();
        let stop = end.min(from.saturating_add(lines));
        let mut deleted = Deleted { sessions: 0, next: (stop < end).then_some(stop) };
        for first in (from..stop).step_by(UPCOMING_MAX) {
            let last = stop.min(first + UPCOMING_MAX as u32);
            let live = (first..last).filter_map(|line| self.sessions.at(line));
            let accepted: Sessions = live.filter(|&id| filter.accepts_session(&self.sessions[id])).collect();
            self.prefetch_ends(&accepted);
            deleted.sessions += accepted.len() as u32;
            for id in accepted {
                self.end_now(id, DeleteReason::Deleted, now);
            }
        }
        deleted
    }
}
