//! Ports that were taken out of their pools ahead of the turn of the packets that will get them.

use arrayvec::ArrayVec;

use crate::packet::BURST;
use crate::packet::endpoint::Flow;
use crate::packet::verdict::Protocol;
use crate::table::hash::Mark;

/// A port taken out of its pool for a packet whose turn has not come.
#[derive(Clone, Copy)]
pub(crate) struct PortReservation {
    pub(crate) pool: u16,
    /// The address in the pool, and whether the subscriber was paired with it before.
    pub(crate) index: u16,
    pub(crate) paired: bool,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    /// The packet's.
    pub(crate) flow: Flow,
    /// Where the generator stood before.
    pub(crate) mark: Mark,
}

impl PortReservation {
    /// Whether it was drawn for a packet of this flow.
    #[inline(always)]
    pub(crate) fn is_for(&self, protocol: Protocol, flow: &Flow) -> bool {
        self.flow == *flow && self.protocol == protocol
    }
}

/// Packets without a session that a burst has at most.
const MISSES_MAX: usize = BURST;

/// What was drawn for the packets of the burst at hand: one place for each that has no session, in their order.
#[derive(Default)]
pub(crate) struct Reservations {
    draws: ArrayVec<Option<PortReservation>, MISSES_MAX>,
    /// Whose turn it is.
    turn: usize,
}

impl Reservations {
    /// Forgets the burst before.
    pub(crate) fn clear(&mut self) {
        self.draws.clear();
        self.turn = 0;
    }

    /// Notes what was drawn for the next packet.
    pub(crate) fn push(&mut self, draw: Option<PortReservation>) {
        self.draws.push(draw);
    }

    /// What was drawn for the packet whose turn it is.
    pub(crate) fn current(&self) -> Option<&PortReservation> {
        self.draws.get(self.turn)?.as_ref()
    }

    /// Takes what was drawn for the packet whose turn it is, which uses the port.
    pub(crate) fn take(&mut self) -> Option<PortReservation> {
        self.draws.get_mut(self.turn)?.take()
    }

    /// Takes what was drawn for the packet whose turn it is and for those behind it.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = PortReservation> {
        self.draws.iter_mut().skip(self.turn).filter_map(Option::take)
    }

    /// The turn of the packet is over.
    pub(crate) fn end_turn(&mut self) {
        self.turn += 1;
    }
}
