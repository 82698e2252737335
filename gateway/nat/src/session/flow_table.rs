//! The flow table: sessions, found by the flows of their packets, with the idle timer of each.
//!
//! Invariants: a line is live from [`FlowTable::insert`] to [`FlowTable::remove`], and its two flows lead to it as long. Its
//! timer runs, except between [`FlowTable::next_due`] or [`FlowTable::stop_timer`] and the removal.

use std::io;
use std::ops::{Index, IndexMut, Range};

use crate::ids::SessionId;
use crate::packet::endpoint::Flow;
use crate::packet::verdict::{Direction, Protocol};
use crate::session::{LIVE, Session};
use crate::table::cpu::prefetch;
use crate::table::free_list::Ids;
use crate::table::hash::Secret;
use crate::table::index::{self, Full, Hash, View};
use crate::table::memory::{Pages, Region, Slab};
use crate::table::time::{Time, is_past};
use crate::table::timer_wheel::{UPCOMING_MAX, Upcoming, Wheel};

/// See the module.
pub(crate) struct FlowTable {
    lines: Slab<Session>,
    index: index::Index,
    ids: Ids,
    idle: Wheel,
    secret: Secret,
}

impl FlowTable {
    /// Room for `capacity` sessions.
    pub(crate) fn new(capacity: u32, secret: Secret, now: Time, pages: Pages) -> io::Result<FlowTable> {
        Ok(FlowTable {
            lines: Slab::new(capacity as usize, pages)?,
            index: index::Index::with_pages(capacity as usize * 2, pages)?,
            ids: Ids::new(capacity, pages)?,
            idle: Wheel::new(capacity, now, pages)?,
            secret,
        })
    }

    /// Memory of one for so many sessions, octets.
    pub(crate) fn bytes(capacity: u32) -> u64 {
        Slab::<Session>::bytes(capacity as usize)
            + index::Index::bytes(capacity as usize * 2)
            + Ids::bytes(capacity)
            + Wheel::bytes(capacity)
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> [&Region; 4] {
        [self.lines.region(), self.index.region(), self.ids.region(), self.idle.region()]
    }

    /// Sessions that there is room for.
    pub(crate) fn capacity(&self) -> u32 {
        self.lines.as_slice().len() as u32
    }

    /// Whether there is no room for another.
    pub(crate) fn is_full(&self) -> bool {
        self.ids.is_exhausted()
    }

    /// The lines that were ever in use: `0..high_water`.
    pub(crate) fn high_water(&self) -> u32 {
        self.ids.high_water()
    }

    /// The session at a line that was ever in use, where there is one.
    pub(crate) fn at(&self, line: u32) -> Option<SessionId> {
        (self.lines[line].flags & LIVE != 0).then_some(SessionId(line))
    }

    /// All lines. Stages of a burst take this once.
    #[inline(always)]
    pub(crate) fn lines(&self) -> &[Session] {
        self.lines.as_slice()
    }

    /// All lines, to be refreshed. Stages of a burst take this once.
    #[inline(always)]
    pub(crate) fn lines_mut(&mut self) -> &mut [Session] {
        self.lines.as_mut_slice()
    }

    /// The index as stages of a burst ask it.
    #[inline(always)]
    pub(crate) fn view(&self) -> View<'_> {
        self.index.view()
    }

    /// The hash by which the index knows a flow, as its packets of one direction carry it.
    #[inline(always)]
    pub(crate) fn hash(&self, flow: &Flow, protocol: Protocol, direction: Direction) -> Hash {
        let ports = u64::from(flow.ports) << 32;
        self.secret.hash(flow.addresses(), ports | (protocol as u64) << 1 | direction as u64)
    }

    /// The session of a flow, whether or not its time is over.
    pub(crate) fn find(&self, flow: &Flow, protocol: Protocol, direction: Direction) -> Option<SessionId> {
        self.find_hashed(self.hash(flow, protocol, direction), flow, protocol, direction)
    }

    /// As [`FlowTable::find`], of a flow whose hash is known.
    #[inline(always)]
    pub(crate) fn find_hashed(
        &self,
        hash: Hash,
        flow: &Flow,
        protocol: Protocol,
        direction: Direction,
    ) -> Option<SessionId> {
        let lines = self.lines.as_slice();
        self.index.find(hash, |id| lines[id as usize].matches(flow, protocol, direction)).map(SessionId)
    }

    /// The session of a flow, unless its time is over.
    pub(crate) fn find_in_time(
        &self,
        flow: &Flow,
        protocol: Protocol,
        direction: Direction,
        now: Time,
    ) -> Option<SessionId> {
        self.find(flow, protocol, direction).filter(|&id| !is_past(self[id].expires, now))
    }

    /// Enters a live session that expires at `end`, and starts its timer.
    ///
    /// # Errors
    /// There is no room, and nothing changed.
    #[inline(always)]
    pub(crate) fn insert(&mut self, session: &Session, end: Time) -> Result<SessionId, Full> {
        debug_assert!(session.flags & LIVE != 0 && session.expires == end.low());
        let id = self.ids.alloc().ok_or(Full)?;
        let [outbound, inbound] = self.hashes(session);
        let mut entered = self.index.insert(outbound, id);
        if entered.is_ok() {
            entered = self.index.insert(inbound, id);
            if entered.is_err() {
                self.index.remove(outbound, id);
            }
        }
        if let Err(full) = entered {
            self.ids.free(id);
            return Err(full);
        }
        self.lines[id] = *session;
        self.idle.start(id, end);
        Ok(SessionId(id))
    }

    /// Takes a session away whose timer does not run.
    #[inline(always)]
    pub(crate) fn remove(&mut self, SessionId(id): SessionId) {
        let session = &mut self.lines[id];
        session.flags &= !LIVE;
        let hashes = self.hashes(&self.lines[id]);
        for hash in hashes {
            self.index.remove(hash, id);
        }
        self.ids.free(id);
    }

    #[inline(always)]
    fn hashes(&self, session: &Session) -> [Hash; 2] {
        let protocol = session.protocol();
        Direction::ALL.map(|direction| self.hash(&session.flows[direction], protocol, direction))
    }

    /// A session expires at another moment from now on, which may be sooner: its timer starts anew.
    pub(crate) fn expire_at(&mut self, SessionId(id): SessionId, end: Time) {
        self.lines[id].expires = end.low();
        self.idle.stop(id);
        self.idle.start(id, end);
    }

    /// Stops the timer of a session that is about to be removed.
    pub(crate) fn stop_timer(&mut self, SessionId(id): SessionId) {
        self.idle.stop(id);
    }

    /// The next session whose time is over by `now`; its timer does not run any more. Each timer looked at takes one from
    /// `budget`; `None` where that is used up, or nothing is due.
    pub(crate) fn next_due(&mut self, now: Time, budget: &mut u32) -> Option<SessionId> {
        let lines = self.lines.as_slice();
        self.idle.next_due(now, budget, |id| now.near(lines[id as usize].expires)).map(SessionId)
    }

    /// The sessions that [`FlowTable::next_due`] will look at first, `most` of them at most: how many they are, and those of
    /// them that are due. Asks for the lines of all before it looks.
    pub(crate) fn upcoming(&self, most: u32, now: Time) -> (usize, Sessions) {
        let upcoming: Upcoming = self.idle.upcoming(most);
        let lines = self.lines.as_slice();
        upcoming.iter().for_each(|&id| prefetch(&lines[id as usize]));
        let due = upcoming.iter().filter(|&&id| now.near(lines[id as usize].expires) <= now);
        (upcoming.len(), due.copied().map(SessionId).collect())
    }

    /// Asks for the buckets of both flows of a session.
    #[inline(always)]
    pub(crate) fn prefetch_buckets(&self, session: &Session) {
        self.hashes(session).into_iter().for_each(|hash| self.index.view().prefetch(hash));
    }

    /// Asks for the bucket of a flow.
    pub(crate) fn prefetch_bucket(&self, flow: &Flow, protocol: Protocol, direction: Direction) {
        self.index.view().prefetch(self.hash(flow, protocol, direction));
    }

    /// The line that the next but `ahead` new session will take; asks for it and for its timer.
    #[inline(always)]
    pub(crate) fn prefetch_next(&self, ahead: u32) -> Option<SessionId> {
        let id = self.ids.peek(ahead)?;
        prefetch(&self.lines[id]);
        self.idle.prefetch(id);
        Some(SessionId(id))
    }

    /// The live sessions at these lines.
    pub(crate) fn live_at(&self, lines: Range<u32>) -> impl Iterator<Item = &Session> {
        let lines = &self.lines.as_slice()[lines.start as usize..lines.end as usize];
        lines.iter().filter(|line| line.flags & LIVE != 0)
    }
}

/// Sessions that are worked on together.
pub(crate) type Sessions = arrayvec::ArrayVec<SessionId, UPCOMING_MAX>;

impl Index<SessionId> for FlowTable {
    type Output = Session;
    #[inline(always)]
    fn index(&self, id: SessionId) -> &Session {
        &self.lines[id.0]
    }
}

impl IndexMut<SessionId> for FlowTable {
    #[inline(always)]
    fn index_mut(&mut self, id: SessionId) -> &mut Session {
        &mut self.lines[id.0]
    }
}
