//! One packet buffer and the frame in it.

use std::mem;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys::rte_mbuf;

use super::Mempool;

/// A packet buffer, owned: it goes back to its pool on drop. A frame may have several segments, of which only the
/// first is seen here; [`is_segmented`](Mbuf::is_segmented) tells.
#[derive(Debug)]
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: whoever owns the buffer may use it, in any thread: DPDK moves buffers between lcores itself.
unsafe impl Send for Mbuf {}
// SAFETY: through a shared reference the buffer is only read.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes ownership.
    ///
    /// # Safety
    /// `mbuf` is the first segment of a valid frame that the caller owns and gives up.
    #[inline]
    pub(super) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf(mbuf)
    }

    #[inline]
    fn header(&self) -> &rte_mbuf {
        // SAFETY: a valid mbuf by the contract of `from_raw`; its owner is borrowed, so nobody writes.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: a valid mbuf by the contract of `from_raw`; its only owner is borrowed mutably.
        unsafe { self.0.as_mut() }
    }

    /// The frame, from its first byte on the wire; of a segmented one the first segment.
    #[inline]
    pub fn data(&self) -> &[u8] {
        let header = self.header();
        // SAFETY: DPDK keeps data_off + data_len <= buf_len, and so do the methods here. The pool's memory came
        // zeroed from the kernel, so every byte of it is initialised.
        unsafe {
            let start = header.buf_addr.cast::<u8>().add(usize::from(header.data_off));
            slice::from_raw_parts(start, usize::from(header.data_len))
        }
    }

    /// The frame, to be changed in place.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let header = self.header_mut();
        // SAFETY: as in `data`; the buffer has no other owner, as the gateway never attaches one mbuf to another's.
        unsafe {
            let start = header.buf_addr.cast::<u8>().add(usize::from(header.data_off));
            slice::from_raw_parts_mut(start, usize::from(header.data_len))
        }
    }

    /// Bytes of the first segment.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.header().data_len)
    }

    /// True for a frame without a byte, as a fresh buffer is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.header().data_len == 0
    }

    /// Bytes of the whole frame.
    #[inline]
    pub fn frame_len(&self) -> usize {
        self.header().pkt_len as usize
    }

    /// DPDK's number of the port that the frame came in by.
    #[inline]
    pub fn port(&self) -> u16 {
        self.header().port
    }

    /// What [`set_tag`](Mbuf::set_tag) set; undefined before.
    #[inline]
    pub fn tag(&self) -> u32 {
        self.header().tag
    }

    /// A number that travels with the buffer through rings.
    #[inline]
    pub fn set_tag(&mut self, tag: u32) {
        self.header_mut().tag = tag;
    }

    /// True if the frame goes on in further segments.
    #[inline]
    pub fn is_segmented(&self) -> bool {
        self.header().nb_segs > 1
    }

    /// The NIC's hash of the frame, where it gives one.
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        let header = self.header();
        (header.ol_flags & dpdk_sys::MBUF_F_RX_RSS_HASH != 0).then_some(header.rss)
    }

    /// Makes room for `count` bytes in front of the frame and returns them; what they hold is undefined. `None` if the
    /// headroom is too small.
    #[inline]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        let header = self.header_mut();
        let count = u16::try_from(count).ok()?;
        header.data_off = header.data_off.checked_sub(count)?;
        header.data_len += count;
        header.pkt_len += u32::from(count);
        Some(&mut self.data_mut()[..usize::from(count)])
    }

    /// Takes `count` bytes off the front; false, and nothing is changed, if the first segment has fewer.
    #[inline]
    pub fn trim_front(&mut self, count: usize) -> bool {
        let header = self.header_mut();
        match u16::try_from(count) {
            Ok(count) if count <= header.data_len => {
                header.data_off += count;
                header.data_len -= count;
                header.pkt_len -= u32::from(count);
                true
            }
            _ => false,
        }
    }

    /// Cuts the frame's tail or extends it with zeros; false, and nothing is changed, if the buffer is too small or
    /// the frame is segmented.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> bool {
        let header = self.header_mut();
        let old = usize::from(header.data_len);
        match u16::try_from(len) {
            Ok(new) if new <= header.buf_len - header.data_off && header.nb_segs == 1 => {
                header.data_len = new;
                header.pkt_len = u32::from(new);
            }
            _ => return false,
        }
        if len > old {
            // What an earlier frame left here is not ours to send.
            self.data_mut()[old..].fill(0);
        }
        true
    }

    /// Bytes by which the frame can grow at its end.
    #[inline]
    pub fn tailroom(&self) -> usize {
        let header = self.header();
        usize::from(header.buf_len - header.data_off - header.data_len)
    }

    /// A copy of the whole frame in a buffer of `pool`, in several segments if it does not fit one. `None` if the pool
    /// is empty.
    pub fn copy(&self, pool: &Mempool) -> Option<Mbuf> {
        // SAFETY: reads the frame that we own, allocates from a valid pool. The copy belongs to us alone.
        unsafe {
            let copy = dpdk_sys::rte_pktmbuf_copy(self.0.as_ptr(), pool.as_ptr(), 0, u32::MAX);
            NonNull::new(copy).map(|copy| Mbuf::from_raw(copy))
        }
    }

    /// Forgets what the receiving NIC noted: on transmit the same field asks for offloads.
    #[inline]
    pub(super) fn clear_offloads(&mut self) {
        // These two say where the buffer lives and stay.
        self.header_mut().ol_flags &= dpdk_sys::MBUF_F_INDIRECT | dpdk_sys::MBUF_F_EXTERNAL;
    }

    /// Fetches what [`prefetch`](Mbuf::prefetch) reads to find the frame.
    #[inline]
    pub fn prefetch_header(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch never faults; SSE is part of x86-64.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.0.as_ptr().cast());
        }
    }

    /// Fetches the first cache line of the frame, for a packet that is handled soon.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch never faults; SSE is part of x86-64.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let header = self.header();
            let start = header.buf_addr.cast::<i8>().wrapping_add(usize::from(header.data_off));
            _mm_prefetch::<_MM_HINT_T0>(start);
        }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we own the frame; DPDK returns all its segments to their pools.
        unsafe { dpdk_sys::rte_pktmbuf_free_bulk(&mut self.0.as_ptr(), 1) }
    }
}

const _: () = assert!(mem::size_of::<Mbuf>() == mem::size_of::<*mut rte_mbuf>());
