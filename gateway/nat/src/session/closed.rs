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

use crate::ids::{SessionId, SubscriberId};
use crate::table::enum_index::enum_index;
use crate::table::free_list::{Chains, NIL};
use crate::table::memory::{Pages, Region, Slab};

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
pub(crate) enum Chain {
    /// Connections that were open.
    Closed = 0,
    /// Connections that never were: they count as half open.
    Refused = 1,
}

enum_index!(Chain);

/// The order in which a session is looked for where any will do.
pub(crate) const ANY: [Chain; 2] = [Chain::Closed, Chain::Refused];

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

    pub(crate) fn add(&mut self, subscriber: SubscriberId, chain: Chain, SessionId(id): SessionId) {
        let ends = &mut self.ends[subscriber.0][chain];
        let mut newest = !ends[NEWEST];
        if newest == NIL {
            ends[OLDEST] = !id;
        }
        self.links.push(&mut newest, id);
        ends[NEWEST] = !newest;
    }

    pub(crate) fn remove(&mut self, subscriber: SubscriberId, chain: Chain, SessionId(id): SessionId) {
        let ends = &mut self.ends[subscriber.0][chain];
        if ends[OLDEST] == !id {
            ends[OLDEST] = !self.links.previous(id);
        }
        let mut newest = !ends[NEWEST];
        self.links.remove(&mut newest, id);
        ends[NEWEST] = !newest;
    }

    /// The oldest ones of a chain, as far as they are looked at.
    pub(crate) fn oldest(
        &self,
        subscriber: SubscriberId,
        chain: Chain,
    ) -> impl Iterator<Item = SessionId> + '_ {
        let some = |id: u32| (id != NIL).then_some(id);
        let first = some(!self.ends[subscriber.0][chain][OLDEST]);
        std::iter::successors(first, move |&id| some(self.links.previous(id))).take(STEPS).map(SessionId)
    }

    /// The oldest ones of a subscriber, chain by chain.
    pub(crate) fn oldest_of(
        &self,
        subscriber: SubscriberId,
        order: [Chain; 2],
    ) -> impl Iterator<Item = SessionId> + '_ {
        order.into_iter().flat_map(move |chain| self.oldest(subscriber, chain))
    }

    /// Asks for the links of a session that is over.
    pub(crate) fn prefetch(&self, SessionId(id): SessionId) {
        self.links.prefetch(id);
    }

    /// Asks for the links of those before and behind it.
    pub(crate) fn prefetch_neighbours(&self, SessionId(id): SessionId) {
        self.links.prefetch_neighbours(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_wherever_others_leave() {
        let mut closed = ClosedSessions::new(8, 2, Pages::Ordinary).unwrap();
        let all = |closed: &ClosedSessions, subscriber, chain| {
            closed.oldest(SubscriberId(subscriber), chain).map(|id| id.0).collect::<Vec<_>>()
        };
        for chain in ANY {
            assert!(all(&closed, 0, chain).is_empty());
            (0..5).for_each(|id| closed.add(SubscriberId(0), chain, SessionId(id)));
            closed.add(SubscriberId(1), chain, SessionId(7));
            assert_eq!((all(&closed, 0, chain), all(&closed, 1, chain)), (vec![0, 1, 2, 3, 4], vec![7]));
            for (id, left) in [(0, vec![1, 2, 3, 4]), (4, vec![1, 2, 3]), (2, vec![1, 3])] {
                closed.remove(SubscriberId(0), chain, SessionId(id));
                assert_eq!(all(&closed, 0, chain), left);
            }
            closed.add(SubscriberId(0), chain, SessionId(2));
            assert_eq!(all(&closed, 0, chain), [1, 3, 2]);
            [1, 2, 3].into_iter().for_each(|id| closed.remove(SubscriberId(0), chain, SessionId(id)));
            assert_eq!((all(&closed, 0, chain), all(&closed, 1, chain)), (vec![], vec![7]));
            closed.remove(SubscriberId(1), chain, SessionId(7));
        }
    }

    #[test]
    fn connections_that_were_open_and_others_are_chains_apart() {
        let mut closed = ClosedSessions::new(8, 1, Pages::Ordinary).unwrap();
        for (chain, id) in [(Chain::Refused, 3), (Chain::Closed, 1), (Chain::Refused, 2), (Chain::Closed, 0)]
        {
            closed.add(SubscriberId(0), chain, SessionId(id));
        }
        let oldest = |order| closed.oldest_of(SubscriberId(0), order).map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(oldest(ANY), [1, 0, 3, 2]);
        assert_eq!(oldest([Chain::Refused, Chain::Closed]), [3, 2, 1, 0]);
    }
}
