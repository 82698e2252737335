//! Packets on their way through the shard together.

use arrayvec::ArrayVec;

use super::io::{Burst, Io, Packet};
use natgw_nat::BURST;

/// A burst of IPv4 frames, each with the length of its link-layer header.
pub(super) struct Batch<I: Io> {
    burst: I::Burst,
    header_len: [u8; BURST],
}

impl<I: Io> Batch<I> {
    pub(super) fn new() -> Batch<I> {
        Batch { burst: I::Burst::default(), header_len: [0; BURST] }
    }

    /// Adds a packet; a batch is never filled beyond the burst that it is made from.
    pub(super) fn push(&mut self, packet: I::Packet, header_len: usize) {
        let index = self.burst.len();
        if self.burst.push(packet).is_ok() {
            self.header_len[index] = header_len as u8;
        } else {
            debug_assert!(false, "a batch is no longer than a burst");
        }
    }

    pub(super) fn drain(&mut self) -> impl ExactSizeIterator<Item = I::Packet> {
        self.burst.drain()
    }

    /// The packets as frames.
    pub(super) fn frames(&self) -> &[I::Packet] {
        self.burst.as_slice()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.burst.is_empty()
    }

    /// The packets, each from its IPv4 header on.
    #[inline(always)]
    pub(super) fn packets(&mut self) -> ArrayVec<&mut [u8], BURST> {
        let mut packets = ArrayVec::new();
        for (frame, &header_len) in self.burst.as_mut_slice().iter_mut().zip(&self.header_len) {
            packets.push(&mut frame.data_mut()[usize::from(header_len)..]);
        }
        packets
    }
}
