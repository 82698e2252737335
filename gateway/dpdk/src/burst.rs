//! Up to [`BURST`] packets that are handled together.

use std::mem::ManuallyDrop;
use std::ptr;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;

use super::Mbuf;

/// Packets a burst: what DPDK's drivers are tuned for.
pub const BURST: usize = 32;

/// Up to [`BURST`] packets, owned and in order. What is left in it on drop goes back to the pools.
#[derive(Debug, Default)]
pub struct Burst(ArrayVec<Mbuf, BURST>);

impl Burst {
    /// An empty burst.
    #[inline]
    pub fn new() -> Burst {
        Burst(ArrayVec::new())
    }

    /// Packets in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without a packet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True with [`BURST`] packets.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Appends a packet; a full burst gives it back.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        self.0.try_push(mbuf).map_err(|full| full.element())
    }

    /// Takes the last packet.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.0.pop()
    }

    /// The packets.
    #[inline]
    pub fn as_slice(&self) -> &[Mbuf] {
        &self.0
    }

    /// The packets, to be changed in place.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Mbuf] {
        &mut self.0
    }

    /// Takes all packets out, first to last; those the iterator does not yield are freed.
    #[inline]
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = Mbuf> + DoubleEndedIterator + '_ {
        self.0.drain(..)
    }

    /// Returns all packets to their pools, in bulk.
    #[inline]
    pub fn free(&mut self) {
        let count = self.0.len();
        if count > 0 {
            // SAFETY: the first `count` entries are buffers that we own, an `Mbuf` being just the pointer; the length
            // is cleared first, so that they are given up exactly once.
            unsafe {
                self.0.set_len(0);
                dpdk_sys::rte_pktmbuf_free_bulk(self.as_raw(), count as u32);
            }
        }
    }

    /// Fetches every packet's own header, which another lcore wrote last: without it nothing of the frame can be read.
    #[inline]
    pub fn prefetch_headers(&self) {
        self.0.iter().for_each(Mbuf::prefetch_header);
    }

    /// Fetches the first cache line of every frame.
    #[inline]
    pub fn prefetch(&self) {
        self.0.iter().for_each(Mbuf::prefetch);
    }

    /// The entries as DPDK wants them.
    #[inline]
    pub(super) fn as_raw(&mut self) -> *mut *mut rte_mbuf {
        self.0.as_mut_ptr().cast()
    }

    /// The free entries behind the packets, and their number.
    #[inline]
    pub(super) fn spare(&mut self) -> (*mut *mut rte_mbuf, u16) {
        let room = self.0.remaining_capacity() as u16;
        (self.as_raw().wrapping_add(self.0.len()), room)
    }

    /// Takes ownership of the first `count` entries of [`spare`](Burst::spare).
    ///
    /// # Safety
    /// Each was filled with a frame that the caller owns, and `count` is no more than `spare` said.
    #[inline]
    pub(super) unsafe fn appended(&mut self, count: u16) -> usize {
        let count = usize::from(count);
        debug_assert!(count <= self.0.remaining_capacity());
        // SAFETY: the caller's promise.
        unsafe { self.0.set_len(self.0.len() + count) };
        count
    }

    /// Gives up the first `count` packets and closes the gap.
    ///
    /// # Safety
    /// Somebody else owns them now, and `count` is at most the length.
    #[inline]
    pub(super) unsafe fn given_away(&mut self, count: usize) -> usize {
        let rest = self.0.len() - count;
        // SAFETY: `rest` entries from `count` on are initialised and moved, not copied: the length covers only their
        // new place. The entries overwritten or cut off are no longer ours, by the caller's promise.
        unsafe {
            self.0.set_len(rest);
            if rest > 0 && count > 0 {
                let start = self.0.as_mut_ptr();
                ptr::copy(start.add(count), start, rest);
            }
        }
        count
    }
}

impl Drop for Burst {
    #[inline]
    fn drop(&mut self) {
        self.free();
    }
}

impl IntoIterator for Burst {
    type Item = Mbuf;
    type IntoIter = arrayvec::IntoIter<Mbuf, BURST>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        let mut this = ManuallyDrop::new(self);
        std::mem::take(&mut this.0).into_iter()
    }
}
