//! How packets come to a shard.

use crate::packet::rewrite::Hop;
use crate::packet::verdict::Direction;

/// How a burst came to this shard.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) direction: Direction,
    /// It came over a link, and so passes a router here; hairpinned packets did that before.
    pub(crate) routed: bool,
}

impl Arrival {
    /// What it does to a header besides the rewrite.
    #[inline(always)]
    pub(crate) fn hop(self) -> Hop {
        if self.routed { Hop::ROUTER } else { Hop::NONE }
    }
}
