//! Fragments: each goes to the worker that owns its datagram's endpoint, waits where the first one has not come, and goes
//! on behind it.
//!
//! Only a first fragment names a port. So all that come to an outside address go to one worker, its home
//! ([`Steering::inbound_home`](natgw_steer::Steering::inbound_home)), which learns from the first one whose the datagram is
//! and hands all of it over, the first fragment first. The owner asks no more.

use super::Worker;
use super::io::{Io, Packet};
use super::tx::HandoffKind;
use natgw_nat::{Direction, DropReason, FragmentAction, FragmentPath, HELD_FRAGMENTS, Hold, Verdict};
use natgw_neighbor::{Queue, Slab};
use natgw_steer::WorkerId;

/// Fragments that wait, by the names that the shard gives.
pub(super) struct Waiting<P> {
    slab: Slab<P>,
    queues: Box<[Queue]>,
}

impl<P> Waiting<P> {
    pub(super) fn new() -> Waiting<P> {
        Waiting {
            slab: Slab::new(HELD_FRAGMENTS),
            queues: vec![Queue::EMPTY; HELD_FRAGMENTS as usize].into(),
        }
    }

    /// How many wait.
    pub(super) fn held(&self) -> u32 {
        self.slab.held()
    }

    fn push(&mut self, hold: Hold, packet: P) -> Result<(), P> {
        self.slab.push(&mut self.queues[hold.index()], packet)
    }

    fn take(&mut self, hold: Hold) -> Queue {
        std::mem::replace(&mut self.queues[hold.index()], Queue::EMPTY)
    }
}

impl<I: Io> Worker<I> {
    /// A fragment that the shard has not decided about.
    #[cold]
    pub(super) fn locate_fragment(&mut self, packet: I::Packet, direction: Direction) {
        let header_len = self.interfaces[self.arrival(&packet)].header_len();
        let owner = match direction {
            Direction::Inbound => self.steering.endpoint_owner_of(&packet.data()[header_len..]),
            Direction::Outbound => self.id,
        };
        self.translate_fragment(packet, direction, (owner != self.id).then_some(owner.0));
    }

    /// A fragment from the home of an outside address of which this worker owns the endpoint that the datagram is for.
    #[cold]
    pub(super) fn own_fragment(&mut self, packet: I::Packet) {
        self.translate_fragment(packet, Direction::Inbound, None);
    }

    fn translate_fragment(&mut self, mut packet: I::Packet, direction: Direction, elsewhere: Option<u16>) {
        let interface = &self.interfaces[self.arrival(&packet)];
        let way = match (direction, interface.direction) {
            (Direction::Outbound, _) => FragmentPath::Outbound,
            (Direction::Inbound, Direction::Inbound) => FragmentPath::Inbound,
            (Direction::Inbound, Direction::Outbound) => FragmentPath::Hairpinned,
        };
        let bytes = &mut packet.data_mut()[interface.header_len()..];
        let verdict = self.shard.translate_fragment(bytes, way, elsewhere, self.now);
        match verdict.fate {
            FragmentAction::Decided(Verdict::Hairpin) => self.turn_fragment_round(packet),
            FragmentAction::Decided(verdict) if way == FragmentPath::Hairpinned => {
                self.deliver_hairpinned(packet, verdict)
            }
            FragmentAction::Decided(verdict) => self.deliver(packet, verdict, direction),
            FragmentAction::Held(hold) => {
                if let Err(packet) = self.fragments.push(hold, packet) {
                    debug_assert!(false, "a shard lets no more wait than there are places");
                    self.drop_packet(packet, DropReason::FragmentsFull, direction);
                }
            }
            FragmentAction::Elsewhere(owner) => {
                self.hand_over(WorkerId(owner), packet, HandoffKind::Fragment)
            }
            // An action that this worker does not know.
            _ => self.drop_packet(packet, DropReason::FragmentOrphan, direction),
        }
        if let Some(hold) = verdict.released {
            let mut queue = self.fragments.take(hold);
            while let Some(packet) = self.fragments.slab.pop(&mut queue) {
                self.translate_fragment(packet, direction, None);
            }
        }
    }

    fn turn_fragment_round(&mut self, packet: I::Packet) {
        let header_len = self.interfaces[self.arrival(&packet)].header_len();
        match self.owner(&packet, header_len, Direction::Inbound) {
            owner if owner == self.id => self.locate_fragment(packet, Direction::Inbound),
            owner => self.hand_over(owner, packet, HandoffKind::Hairpin),
        }
    }

    /// Drops what has waited too long.
    pub(super) fn expire_fragments(&mut self) {
        while let Some(hold) = self.shard.give_up_fragments(self.now) {
            self.drop_fragments(hold.index());
        }
    }

    /// At the end: drops what still waits.
    pub(super) fn drop_all_fragments(&mut self) {
        (0..self.fragments.queues.len()).for_each(|hold| self.drop_fragments(hold));
    }

    fn drop_fragments(&mut self, hold: usize) {
        while let Some(packet) = self.fragments.slab.pop(&mut self.fragments.queues[hold]) {
            let direction = self.interfaces[self.arrival(&packet)].direction;
            self.drop_packet(packet, DropReason::FragmentOrphan, direction);
        }
    }
}
