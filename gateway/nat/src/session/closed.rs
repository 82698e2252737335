//! Sessions that are over: TCP connections that both sides closed, or that were reset.
//!
//! Such a session still stands for as long as segments of it may be late, and its outside port with it (RFC 5382 REQ-5, RFC
//! 7857 section 2.2). A host that opens many short connections would run into its own limits that way. So what is over
//! serves its own subscriber where that needs it for a new session: the port goes over, as a resting one does
//! (`allocation`), and so does the place in the table and in the subscriber's limits. RFC 6888 REQ-8 is about other
//! subscribers, and REQ-11 about sessions that are live: neither loses anything here.
//!
//! A subscriber's sessions that are over form two chains in the order of their ends, and the oldest one of a chain goes
//! first: connections that were open, and connections that never were. The latter still count as half open, so one of them
//! goes where the half-open limit refuses a connection; otherwise they stay longest. For where the remote still remembers
//! an older connection from the same endpoint, it acknowledges that one, the host resets, and its next SYN follows within
//! milliseconds (RFC 9293 section 3.10.7.3): that SYN succeeds only from the same outside endpoint.

use std::io;

use crate::mapping::Kind;
use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::{DeleteReason, Protocol, SessionFailure};
use crate::session::tcp_state;
use crate::shard::Shard;
use crate::table::free_list::{Chains, NIL};
use crate::table::memory::{Pages, Region, Slab};
use crate::table::time::Time;

/// How many sessions of a chain are looked at for a fitting one.
const STEPS: usize = 16;

/// The chains of a shard.
pub(crate) struct ClosedSessions {
    links: Chains,
    /// By subscriber.
    ends: Slab<[Ends; 2]>,
}

/// The newest and the oldest one of a chain: inverted ids, so that fresh memory has none.
type Ends = [u32; 2];

const NEWEST: usize = 0;
const OLDEST: usize = 1;

/// The two chains of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chain {
    /// Connections that were open.
    Closed = 0,
    /// Connections that never were: they count as half open.
    Refused = 1,
}

/// The order in which a session is looked for where any will do.
const ANY: [Chain; 2] = [Chain::Closed, Chain::Refused];

impl ClosedSessions {
    pub(crate) fn new(sessions: u32, subscribers: u32, pages: Pages) -> io::Result<ClosedSessions> {
        Ok(ClosedSessions {
            links: Chains::new(sessions, pages)?,
            ends: Slab::new(subscribers as usize, pages)?,
        })
    }

    /// What they take, octets.
    pub(crate) fn bytes(sessions: u32, subscribers: u32) -> u64 {
        Chains::bytes(sessions) + Slab::<[Ends; 2]>::bytes(subscribers as usize)
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> [&Region; 2] {
        [self.links.region(), self.ends.region()]
    }

    fn add(&mut self, subscriber: u32, chain: Chain, id: u32) {
        let ends = &mut self.ends[subscriber][chain as usize];
        let mut newest = !ends[NEWEST];
        if newest == NIL {
            ends[OLDEST] = !id;
        }
        self.links.push(&mut newest, id);
        ends[NEWEST] = !newest;
    }

    fn remove(&mut self, subscriber: u32, chain: Chain, id: u32) {
        let ends = &mut self.ends[subscriber][chain as usize];
        if ends[OLDEST] == !id {
            ends[OLDEST] = !self.links.previous(id);
        }
        let mut newest = !ends[NEWEST];
        self.links.remove(&mut newest, id);
        ends[NEWEST] = !newest;
    }

    /// The oldest ones of a chain, as far as they are looked at.
    fn oldest(&self, subscriber: u32, chain: Chain) -> impl Iterator<Item = u32> + '_ {
        let some = |id: u32| (id != NIL).then_some(id);
        let first = some(!self.ends[subscriber][chain as usize][OLDEST]);
        std::iter::successors(first, move |&id| some(self.links.previous(id))).take(STEPS)
    }

    /// The oldest ones of a subscriber, chain by chain.
    fn oldest_of(&self, subscriber: u32, order: [Chain; 2]) -> impl Iterator<Item = u32> + '_ {
        order.into_iter().flat_map(move |chain| self.oldest(subscriber, chain))
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
    pub(crate) fn is_over(&self, id: u32) -> bool {
        let session = &self.sessions[id];
        session.protocol == Protocol::Tcp as u8
            && tcp_state::State::from_index(session.tcp_state).is_over()
            && self.mappings.lines[session.mapping].kind() != Kind::Redirect
    }

    /// A session is over from now on.
    pub(crate) fn add_closed(&mut self, id: u32) {
        self.closed.add(self.subscriber_of_session(id), self.chain(id), id);
    }

    /// A session that was over ends, or is about to be not over any more.
    pub(crate) fn remove_closed(&mut self, id: u32) {
        self.closed.remove(self.subscriber_of_session(id), self.chain(id), id);
    }

    /// The chain of a session that is over: what it counts as does not change until it leaves the chain.
    fn chain(&self, id: u32) -> Chain {
        if self.sessions[id].half_open == 0 { Chain::Closed } else { Chain::Refused }
    }

    fn subscriber_of_session(&self, id: u32) -> u32 {
        self.mappings.lines[self.sessions[id].mapping].subscriber
    }

    /// Whether the subscriber may have another session, `opening` being the state of a TCP connection to be opened, and which
    /// of its sessions that are over it gives up for it.
    pub(crate) fn room_within_bounds(
        &self,
        subscriber: u32,
        protocol: Protocol,
        opening: Option<tcp_state::State>,
    ) -> Result<Option<u32>, SessionFailure> {
        let line = &self.subscribers.lines[subscriber];
        let bounds = &self.policy.bounds;
        match bounds.admit(line, protocol, opening) {
            Ok(()) => Ok(None),
            Err(failure) => {
                let makes_room = |&id: &u32| {
                    let mut without = *line;
                    without.sessions[Protocol::Tcp] -= 1;
                    without.half_open -= self.sessions[id].half_open;
                    bounds.admit(&without, protocol, opening).is_ok()
                };
                let order = match failure {
                    SessionFailure::SubscriberHalfOpen => [Chain::Refused, Chain::Closed],
                    _ => ANY,
                };
                self.closed.oldest_of(subscriber, order).find(makes_room).map(Some).ok_or(failure)
            }
        }
    }

    /// Whether a session's connection may begin anew, which is over: it is half open again. Which other session that is over
    /// is given up for it.
    pub(crate) fn room_to_begin_anew(&self, id: u32) -> Result<Option<u32>, SessionFailure> {
        let subscriber = self.subscriber_of_session(id);
        let half_open = self.subscribers.lines[subscriber].half_open;
        let bounds = &self.policy.bounds;
        if self.sessions[id].half_open != 0 || bounds.admits_half_open(half_open) {
            return Ok(None);
        }
        let makes_room = |&other: &u32| bounds.admits_half_open(half_open - self.sessions[other].half_open);
        let refused = self.closed.oldest(subscriber, Chain::Refused).find(makes_room);
        refused.map(Some).ok_or(SessionFailure::SubscriberHalfOpen)
    }

    /// The oldest session of an inside address that is over.
    pub(crate) fn oldest_closed(&self, inside: u32) -> Option<u32> {
        self.closed.oldest_of(self.subscribers.find(inside)?, ANY).next()
    }

    /// A session that is over and the only one of a mapping whose port fits.
    pub(crate) fn closed_with_port(
        &self,
        subscriber: u32,
        pool: u16,
        protocol: Protocol,
        remote: Option<Endpoint>,
    ) -> Option<u32> {
        if protocol != Protocol::Tcp {
            return None;
        }
        self.closed.oldest_of(subscriber, ANY).find(|&id| {
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
    pub(crate) fn give_up(&mut self, id: u32, now: Time) {
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
        let all =
            |closed: &ClosedSessions, subscriber, chain| closed.oldest(subscriber, chain).collect::<Vec<_>>();
        for chain in ANY {
            assert!(all(&closed, 0, chain).is_empty());
            (0..5).for_each(|id| closed.add(0, chain, id));
            closed.add(1, chain, 7);
            assert_eq!((all(&closed, 0, chain), all(&closed, 1, chain)), (vec![0, 1, 2, 3, 4], vec![7]));
            for (id, left) in [(0, vec![1, 2, 3, 4]), (4, vec![1, 2, 3]), (2, vec![1, 3])] {
                closed.remove(0, chain, id);
                assert_eq!(all(&closed, 0, chain), left);
            }
            closed.add(0, chain, 2);
            assert_eq!(all(&closed, 0, chain), [1, 3, 2]);
            [1, 2, 3].into_iter().for_each(|id| closed.remove(0, chain, id));
            assert_eq!((all(&closed, 0, chain), all(&closed, 1, chain)), (vec![], vec![7]));
            closed.remove(1, chain, 7);
        }
    }

    #[test]
    fn connections_that_were_open_and_others_are_chains_apart() {
        let mut closed = ClosedSessions::new(8, 1, Pages::Ordinary).unwrap();
        for (chain, id) in [(Chain::Refused, 3), (Chain::Closed, 1), (Chain::Refused, 2), (Chain::Closed, 0)]
        {
            closed.add(0, chain, id);
        }
        assert_eq!(closed.oldest_of(0, ANY).collect::<Vec<_>>(), [1, 0, 3, 2]);
        assert_eq!(closed.oldest_of(0, [Chain::Refused, Chain::Closed]).collect::<Vec<_>>(), [3, 2, 1, 0]);
    }
}
