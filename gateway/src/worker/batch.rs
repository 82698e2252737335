//! Packets on their way through the shard together.

use crate::dpdk::{BURST, Burst, Mbuf};
use crate::nat::Packets;

/// A burst of IPv4 frames, each with the length of its link-layer header.
pub(super) struct Batch {
    burst: Burst,
    header_len: [u8; BURST],
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch { burst: Burst::new(), header_len: [0; BURST] }
    }

    /// Adds a packet; a batch is never filled beyond the burst that it is made from.
    pub(super) fn push(&mut self, packet: Mbuf, header_len: usize) {
        let index = self.burst.len();
        if self.burst.push(packet).is_ok() {
            self.header_len[index] = header_len as u8;
        } else {
            debug_assert!(false, "a batch is no longer than a burst");
        }
    }

    pub(super) fn drain(&mut self) -> impl ExactSizeIterator<Item = Mbuf> + '_ {
        self.burst.drain()
    }
}

impl Packets for Batch {
    fn len(&self) -> usize {
        self.burst.len()
    }

    #[inline(always)]
    fn packet(&mut self, index: usize) -> &mut [u8] {
        let header_len = usize::from(self.header_len[index]);
        &mut self.burst.as_mut_slice()[index].data_mut()[header_len..]
    }
}
