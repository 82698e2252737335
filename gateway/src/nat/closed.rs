//! Sessions that are over: TCP connections that both sides closed, or that were reset.
//!
//! Such a session still stands for as long as segments of it may be late, and its outside port with it (RFC 5382 REQ-5, RFC
//! 7857 section 2.2). A host that opens many short connections would run into its own limits that way. So what is over
//! serves its own subscriber where that needs it for a new session: the port goes over, as a resting one does
//! (`allocation`), and so does the place in the table and in the subscriber's limits. RFC 6888 REQ-8 is about other
//! subscribers, and REQ-11 about sessions that are live: neither loses anything here.
//!
//! A subscriber's sessions that are over form a chain in the order of their ends, and the oldest one goes first; before all
//! of them those that never were open.

use std::io;

use super::endpoint::Endpoint;
use super::ids::{Chains, NIL};
use super::mapping::Kind;
use super::memory::{Lines, Pages, Region};
use super::shard::Shard;
use super::tcp;
use super::time::Time;
use super::verdict::{DeleteReason, Protocol, SessionFailure};

/// How many of a subscriber's sessions that are over are looked at for a fitting one.
const STEPS: usize = 16;

/// The chains of a shard.
pub(crate) struct ClosedSessions {
    links: Chains,
    /// The newest and the oldest one, by subscriber: inverted ids, so that fresh memory has none.
    ends: Lines<[u32; 2]>,
}

const NEWEST: usize = 0;
const OLDEST: usize = 1;

impl ClosedSessions {
    pub(crate) fn new(sessions: u32, subscribers: u32, pages: Pages) -> io::Result<ClosedSessions> {
        Ok(ClosedSessions {
            links: Chains::new(sessions, pages)?,
            ends: Lines::new(subscribers as usize, pages)?,
        })
    }

    /// What they take, octets.
    pub(crate) fn bytes(sessions: u32, subscribers: u32) -> u64 {
        Chains::bytes(sessions) + Lines::<[u32; 2]>::bytes(subscribers as usize)
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> [&Region; 2] {
        [self.links.region(), self.ends.region()]
    }

    fn add(&mut self, subscriber: u32, id: u32) {
        let ends = &mut self.ends[subscriber];
        let mut newest = !ends[NEWEST];
        if newest == NIL {
            ends[OLDEST] = !id;
        }
        self.links.push(&mut newest, id);
        ends[NEWEST] = !newest;
    }

    /// As [`ClosedSessions::add`], of one that goes first.
    fn add_first(&mut self, subscriber: u32, id: u32) {
        let ends = &mut self.ends[subscriber];
        let oldest = std::mem::replace(&mut ends[OLDEST], !id);
        if oldest == !NIL {
            ends[NEWEST] = !id;
            self.links.start(id);
        } else {
            self.links.insert_after(!oldest, id);
        }
    }

    fn remove(&mut self, subscriber: u32, id: u32) {
        let ends = &mut self.ends[subscriber];
        if ends[OLDEST] == !id {
            ends[OLDEST] = !self.links.previous(id);
        }
        let mut newest = !ends[NEWEST];
        self.links.remove(&mut newest, id);
        ends[NEWEST] = !newest;
    }

    /// The oldest ones of a subscriber, as far as they are looked at.
    fn oldest(&self, subscriber: u32) -> impl Iterator<Item = u32> + '_ {
        let some = |id: u32| (id != NIL).then_some(id);
        let first = some(!self.ends[subscriber][OLDEST]);
        std::iter::successors(first, move |&id| some(self.links.previous(id))).take(STEPS)
    }

    /// Asks for the links of a session that is over.
    pub(crate) fn prefetch(&self, id: u32) {
        self.links.prefetch(id);
    }

    /// Asks for the links of those before and behind it.
    pub(crate) fn prefetch_neighbours(&self, id: u32) {
        self.links.prefetch_neighbours(id);
    }
}

impl Shard {
    /// Whether a session is in a chain of [`ClosedSessions`]. Redirected ones have no room that is a subscriber's.
    pub(super) fn is_over(&self, id: u32) -> bool {
        let session = &self.sessions[id];
        session.protocol == Protocol::Tcp as u8
            && tcp::State::from_index(session.tcp_state).is_over()
            && self.mappings.lines[session.mapping].kind() != Kind::Redirect
    }

    /// A session is over from now on. One that was refused goes first: all that are counted as half open stand before the
    /// others, so that a few steps find one.
    pub(super) fn add_closed(&mut self, id: u32) {
        let subscriber = self.subscriber_of_session(id);
        if self.sessions[id].half_open == 0 {
            self.closed.add(subscriber, id);
        } else {
            self.closed.add_first(subscriber, id);
        }
    }

    /// A session that was over ends, or is not over any more.
    pub(super) fn remove_closed(&mut self, id: u32) {
        self.closed.remove(self.subscriber_of_session(id), id);
    }

    fn subscriber_of_session(&self, id: u32) -> u32 {
        self.mappings.lines[self.sessions[id].mapping].subscriber
    }

    /// Whether the subscriber may have another session, `opening` being the state of a TCP connection to be opened, and which
    /// of its sessions that are over it gives up for it.
    pub(super) fn room_within_bounds(
        &self,
        subscriber: u32,
        protocol: Protocol,
        opening: Option<tcp::State>,
    ) -> Result<Option<u32>, SessionFailure> {
        let line = &self.subscribers.lines[subscriber];
        let bounds = &self.policy.bounds;
        match bounds.admit(line, protocol, opening) {
            Ok(()) => Ok(None),
            Err(failure) => {
                let makes_room = |&id: &u32| {
                    let mut without = *line;
                    without.sessions[Protocol::Tcp as usize] -= 1;
                    without.half_open -= self.sessions[id].half_open;
                    bounds.admit(&without, protocol, opening).is_ok()
                };
                self.closed.oldest(subscriber).find(makes_room).map(Some).ok_or(failure)
            }
        }
    }

    /// Whether a session's connection may begin anew, which is over: it is half open again. Which other session that is over
    /// is given up for it.
    pub(super) fn room_to_begin_anew(&self, id: u32) -> Result<Option<u32>, SessionFailure> {
        let subscriber = self.subscriber_of_session(id);
        let half_open = self.subscribers.lines[subscriber].half_open;
        let bounds = &self.policy.bounds;
        if self.sessions[id].half_open != 0 || bounds.admits_half_open(half_open) {
            return Ok(None);
        }
        let makes_room =
            |&other: &u32| other != id && bounds.admits_half_open(half_open - self.sessions[other].half_open);
        self.closed.oldest(subscriber).find(makes_room).map(Some).ok_or(SessionFailure::SubscriberHalfOpen)
    }

    /// The oldest session of an inside address that is over.
    pub(super) fn oldest_closed(&self, inside: u32) -> Option<u32> {
        self.closed.oldest(self.subscribers.find(inside)?).next()
    }

    /// A session that is over and the only one of a mapping whose port fits.
    pub(super) fn closed_with_port(
        &self,
        subscriber: u32,
        pool: u16,
        protocol: Protocol,
        remote: Option<Endpoint>,
    ) -> Option<u32> {
        if protocol != Protocol::Tcp {
            return None;
        }
        self.closed.oldest(subscriber).find(|&id| {
            let mapping = self.sessions[id].mapping;
            let line = &self.mappings.lines[mapping];
            line.is_of_pool(pool)
                && line.sessions() == 1
                && self.is_live(line)
                && remote.is_none_or(|remote| self.overlaps.remote(mapping) == remote)
        })
    }

    /// Ends a session that is over before its time, for its subscriber's sake, who stays. Its port rests: it is for nobody
    /// else yet.
    #[cold]
    pub(super) fn give_up(&mut self, id: u32, now: Time) {
        self.gave_up = true;
        self.idle.stop(id);
        self.remove_session(id, false, DeleteReason::Reused, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_wherever_others_leave() {
        let mut closed = ClosedSessions::new(8, 2, Pages::Ordinary).unwrap();
        let all = |closed: &ClosedSessions, subscriber| closed.oldest(subscriber).collect::<Vec<_>>();
        assert!(all(&closed, 0).is_empty());
        (0..5).for_each(|id| closed.add(0, id));
        closed.add(1, 7);
        assert_eq!((all(&closed, 0), all(&closed, 1)), (vec![0, 1, 2, 3, 4], vec![7]));
        for (id, left) in [(0, vec![1, 2, 3, 4]), (4, vec![1, 2, 3]), (2, vec![1, 3])] {
            closed.remove(0, id);
            assert_eq!(all(&closed, 0), left);
        }
        closed.add(0, 2);
        assert_eq!(all(&closed, 0), [1, 3, 2]);
        closed.add_first(0, 5);
        assert_eq!(all(&closed, 0), [5, 1, 3, 2]);
        closed.remove(0, 5);
        closed.add_first(1, 6);
        assert_eq!(all(&closed, 1), [6, 7]);
        closed.remove(1, 6);
        [1, 2, 3].into_iter().for_each(|id| closed.remove(0, id));
        assert_eq!((all(&closed, 0), all(&closed, 1)), (vec![], vec![7]));
    }
}
