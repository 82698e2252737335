//! One neighbour.

use super::State;
use natgw_wire::ethernet::Mac;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    /// `Some` in Reachable, Stale, Probe and Static.
    pub(super) mac: Option<Mac>,
    /// In Probe: the station that claims to be the neighbour.
    pub(super) claim: Option<Mac>,
    pub(super) pinned: bool,
    pub(super) place: Place,
    /// Asked for ten times in the first second.
    pub(super) hurried: bool,
    /// Requests sent in this state.
    pub(super) requests: u8,
    pub(super) due_ms: u64,
    pub(super) heard_ms: u64,
    /// When a claim was refused last.
    pub(super) refused_ms: Option<u64>,
}

/// Where an entry counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Among those that were heard of only.
    Heard,
    /// Among those that workers use.
    Used,
    /// Among those of the configuration, which limits them.
    Configured,
}

impl Entry {
    pub(super) fn new(now_ms: u64) -> Entry {
        Entry {
            state: State::Incomplete,
            mac: None,
            claim: None,
            pinned: false,
            place: Place::Used,
            hurried: false,
            requests: 0,
            due_ms: now_ms,
            heard_ms: now_ms,
            refused_ms: None,
        }
    }

    /// Whether this is one of the ten requests of the first second.
    fn is_hurried(&self) -> bool {
        self.pinned && self.hurried && self.state == State::Incomplete
    }

    pub(super) fn requests_max(&self) -> u8 {
        if self.is_hurried() { HURRIED_REQUESTS + REQUESTS_MAX - 1 } else { REQUESTS_MAX }
    }

    pub(super) fn retry_ms(&self) -> u64 {
        let is_soon = self.claim.is_some() || self.is_hurried() && self.requests <= HURRIED_REQUESTS;
        if is_soon { SOON_MS } else { RETRY_MS }
    }
}

const RETRY_MS: u64 = 1_000;
const REQUESTS_MAX: u8 = 3;
/// Requests of the first second for a gateway, and how far they are apart, as are those to a station whose address is
/// claimed.
const HURRIED_REQUESTS: u8 = 10;
const SOON_MS: u64 = 100;
