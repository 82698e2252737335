//! Where packets leave a worker: by a port, or by a ring to another worker.

use super::Worker;
use super::backpressure::is_low;
use super::interface::TxPort;
use super::io::{Burst, Io, Packet, Producer, TxQueue};
use natgw_nat::DropReason;
use natgw_steer::WorkerId;

/// What a worker notes in a packet's tag, for itself and for the worker at the other end of a ring.
///
/// The interface stands here because not every driver writes its port into what it receives: net_ring does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MbufTag {
    /// The interface that the packet came in by.
    pub(super) arrival: u8,
    pub(super) kind: HandoffKind,
}

/// What a worker is to do with a packet from its rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandoffKind {
    /// Translate it as it arrived.
    Arrived,
    /// It was translated outbound and comes back inbound.
    Hairpin,
    /// Translate it inbound: a fragment of a datagram for an endpoint of this worker's.
    Fragment,
    /// Send it, as it is, by this interface.
    Send(u8),
    /// Take it back: the worker translated it outbound, and as an inbound packet it was found to be for the gateway itself, or
    /// dropped for this reason, of which its sender is to be told.
    TakeBack(Option<DropReason>),
}

impl MbufTag {
    #[inline]
    pub(super) fn tag(self) -> u32 {
        let kind = match self.kind {
            HandoffKind::Arrived => 0,
            HandoffKind::Hairpin => 1,
            HandoffKind::Fragment => 2,
            HandoffKind::Send(interface) => SEND + u32::from(interface),
            HandoffKind::TakeBack(None) => TAKE_BACK,
            HandoffKind::TakeBack(Some(reason)) => TAKE_BACK + 1 + reason as u32,
        };
        u32::from(self.arrival) << ARRIVAL_SHIFT | kind
    }

    #[inline]
    pub(super) fn from_tag(tag: u32) -> MbufTag {
        let kind = match tag & ((1 << ARRIVAL_SHIFT) - 1) {
            0 => HandoffKind::Arrived,
            1 => HandoffKind::Hairpin,
            2 => HandoffKind::Fragment,
            other => match other.checked_sub(TAKE_BACK) {
                None => HandoffKind::Send((other - SEND) as u8),
                Some(reason) => {
                    let nth = (reason as usize).checked_sub(1);
                    HandoffKind::TakeBack(nth.and_then(|nth| DropReason::ALL.get(nth).copied()))
                }
            },
        };
        MbufTag { arrival: (tag >> ARRIVAL_SHIFT) as u8, kind }
    }
}

const ARRIVAL_SHIFT: u32 = 16;
/// The kinds with an operand begin here.
const SEND: u32 = 3;
const TAKE_BACK: u32 = SEND + 256;
const _: () = assert!(TAKE_BACK as usize + DropReason::COUNT < 1 << ARRIVAL_SHIFT);

/// Packets for one interface, until the round's end or the burst is full.
pub(super) struct TxBuffer<I: Io> {
    port: TxPort<I>,
    waiting: I::Burst,
    /// Octets of what waits.
    octets: u64,
}

impl<I: Io> TxBuffer<I> {
    pub(super) fn new(port: TxPort<I>) -> TxBuffer<I> {
        TxBuffer { port, waiting: I::Burst::default(), octets: 0 }
    }
}

/// Packets for one other worker, until the round's end or the burst is full.
pub(super) struct HandoffBuffer<I: Io> {
    ring: I::Producer,
    waiting: I::Burst,
}

impl<I: Io> HandoffBuffer<I> {
    pub(super) fn new(ring: I::Producer) -> HandoffBuffer<I> {
        HandoffBuffer { ring, waiting: I::Burst::default() }
    }

    /// Whether the ring is not filling up.
    pub(super) fn is_low(&self) -> bool {
        is_low(self.ring.len(), self.ring.capacity())
    }
}

/// How often a full port is tried again with what it left.
const RETRIES: usize = 3;

impl<I: Io> Worker<I> {
    /// A finished frame leaves by `interface`.
    pub(super) fn transmit(&mut self, interface: usize, packet: I::Packet) {
        if let TxPort::Through(peer) = self.tx_buffers[interface].port {
            self.hand_over(peer, packet, HandoffKind::Send(interface as u8));
            return;
        }
        let buffer = &mut self.tx_buffers[interface];
        let octets = packet.len() as u64;
        let rest = buffer.waiting.push(packet).err();
        buffer.octets += if rest.is_none() { octets } else { 0 };
        if buffer.waiting.is_full() {
            self.flush_tx(interface);
        }
        if let Some(packet) = rest {
            debug_assert!(false, "a full burst is sent at once");
            self.drop_packet(packet, DropReason::TransmitFull, self.interfaces[interface].direction.flip());
        }
    }

    /// A packet goes to another worker.
    pub(super) fn hand_over(&mut self, peer: WorkerId, mut packet: I::Packet, kind: HandoffKind) {
        let arrival = self.arrival(&packet);
        packet.set_tag(MbufTag { arrival: arrival as u8, kind }.tag());
        let direction = self.interfaces[arrival].direction;
        let Some(Some(handoff)) = self.handoff_buffers.get_mut(peer.index()) else {
            self.drop_packet(packet, DropReason::HandoffLoop, direction);
            return;
        };
        let rest = handoff.waiting.push(packet).err();
        if handoff.waiting.is_full() {
            self.flush_handoff(peer.index());
        }
        if let Some(packet) = rest {
            debug_assert!(false, "a full burst is handed over at once");
            self.drop_packet(packet, DropReason::HandoffFull, direction);
        }
    }

    /// Sends everything that waits.
    pub(super) fn send(&mut self) {
        (0..self.tx_buffers.len()).for_each(|interface| self.flush_tx(interface));
        (0..self.handoff_buffers.len()).for_each(|peer| self.flush_handoff(peer));
    }

    fn flush_tx(&mut self, interface: usize) {
        let TxBuffer { port: TxPort::Queue(queue), waiting, octets } = &mut self.tx_buffers[interface] else {
            return;
        };
        if waiting.is_empty() {
            return;
        }
        let direction = self.interfaces[interface].direction;
        if self.captures.see(direction) {
            self.captures.show_sent(&self.shard, &self.interfaces, interface, waiting.as_slice(), self.now);
        }
        let packets = waiting.len();
        send_all::<I>(queue, waiting);
        let left: u64 = waiting.as_slice().iter().map(|packet| packet.len() as u64).sum();
        let counters = &mut self.counters.interfaces[interface];
        counters.tx_packets += (packets - waiting.len()) as u64;
        counters.tx_bytes += std::mem::take(octets) - left;
        for packet in waiting.as_slice() {
            self.shard.count_drop(DropReason::TransmitFull, direction.flip());
            self.captures.show_refused(&self.shard, &self.interfaces, interface, packet, self.now);
        }
        waiting.free();
    }

    fn flush_handoff(&mut self, peer: usize) {
        let Some(handoff) = &mut self.handoff_buffers[peer] else { return };
        if handoff.waiting.is_empty() {
            return;
        }
        let packets = handoff.waiting.len();
        self.counters.handoff.sent += handoff.ring.enqueue_burst(&mut handoff.waiting) as u64;
        self.counters.handoff.full += handoff.waiting.len() as u64;
        self.backpressure.handed_over(packets, handoff.is_low());
        let mut left = std::mem::take(&mut handoff.waiting);
        for packet in left.drain() {
            let direction = self.interfaces[self.arrival(&packet)].direction;
            self.drop_packet(packet, DropReason::HandoffFull, direction);
        }
    }
}

fn send_all<I: Io>(queue: &mut I::TxQueue, waiting: &mut I::Burst) {
    for _ in 0..=RETRIES {
        queue.tx_burst(waiting);
        if waiting.is_empty() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_as_a_number() {
        let reasons = DropReason::ALL.iter().map(|&reason| HandoffKind::TakeBack(Some(reason)));
        let others = [
            HandoffKind::Arrived,
            HandoffKind::Hairpin,
            HandoffKind::Fragment,
            HandoffKind::Send(0),
            HandoffKind::Send(255),
        ];
        for kind in reasons.chain(others).chain([HandoffKind::TakeBack(None)]) {
            for arrival in [0, 1, 255] {
                let tag = MbufTag { arrival, kind };
                assert_eq!(MbufTag::from_tag(tag.tag()), tag);
            }
        }
    }
}
