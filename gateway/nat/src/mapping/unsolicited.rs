//! SYNs from outside to an endpoint that has a mapping, whose filtering does not let them in (RFC 5382 REQ-4).
//!
//! Such a SYN is dropped at once; what is kept is its start, as an ICMP error quotes it. Where the inside host sends a SYN
//! for the same connection meanwhile, both open it at once, and no answer is sent. Else the sender is due a port
//! unreachable. A SYN that comes again while it is kept changes nothing.
//!
//! Invariant: places are filled and emptied in the order of arrival, so that the oldest is always the next to be due.

use std::io;

use arrayvec::ArrayVec;

use crate::packet::endpoint::Flow;
use crate::packet::verdict::UnsolicitedSyn;
use crate::table::index::{Hash, Index};
use crate::table::time::Time;

/// How many are kept at most.
const PLACES: usize = 1024;

/// The most that is kept of one: the longest headers of IPv4 and TCP.
const QUOTE_MAX: usize = 120;

/// A SYN whose sender is due an answer.
#[derive(Clone, Debug)]
pub struct UnansweredSyn {
    /// The start of the packet, as it came.
    pub quote: ArrayVec<u8, QUOTE_MAX>,
    /// Whether an inside host sent it, by way of its outside endpoint.
    pub hairpinned: bool,
}

/// What is kept.
pub(crate) struct UnsolicitedSyns {
    places: Box<[Place]>,
    index: Index,
    oldest: usize,
    count: usize,
}

#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) flow: Flow,
    hash: Hash,
    /// Low 32 bits of the engine's time.
    since: u32,
    pub(crate) quote: ArrayVec<u8, QUOTE_MAX>,
}

impl UnsolicitedSyns {
    pub(crate) fn new() -> io::Result<UnsolicitedSyns> {
        let nothing = Flow { source: 0, destination: 0, ports: 0 };
        let empty = Place { flow: nothing, hash: Hash(0), since: 0, quote: ArrayVec::new() };
        let places = vec![empty; PLACES].into();
        Ok(UnsolicitedSyns { places, index: Index::new(PLACES)?, oldest: 0, count: 0 })
    }

    /// Keeps the start of a packet; what became of it, `None` where it is kept already.
    pub(crate) fn keep(
        &mut self,
        flow: Flow,
        hash: Hash,
        packet: &[u8],
        now: Time,
    ) -> Option<UnsolicitedSyn> {
        let places = &self.places;
        if self.index.find(hash, |place| places[place as usize].flow == flow).is_some() {
            return None;
        }
        let place = (self.oldest + self.count) % PLACES;
        if self.count == PLACES || self.index.insert(hash, place as u32).is_err() {
            return Some(UnsolicitedSyn::Full);
        }
        let quote = packet.iter().copied().take(QUOTE_MAX).collect();
        self.places[place] = Place { flow, hash, since: now.low(), quote };
        self.count += 1;
        Some(UnsolicitedSyn::Held)
    }

    /// The oldest, if it has been kept for so long.
    pub(crate) fn take(&mut self, now: Time, wait_ms: u32) -> Option<&Place> {
        let place = &self.places[self.oldest];
        if self.count == 0 || now.low().wrapping_sub(place.since) < wait_ms {
            return None;
        }
        self.index.remove(place.hash, self.oldest as u32);
        self.oldest = (self.oldest + 1) % PLACES;
        self.count -= 1;
        Some(place)
    }
}
