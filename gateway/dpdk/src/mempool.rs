//! Pools of packet buffers.

use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys::{rte_mbuf, rte_mempool};

use super::{Burst, Eal, Error, Mbuf};

/// A pool of packet buffers of one size. A clone is another handle to the same pool.
#[derive(Debug, Clone)]
pub struct Mempool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: NonNull<rte_mempool>,
    data_room: u16,
    eal: Eal,
}

// SAFETY: DPDK's pools are made for use from any number of threads (ring_mp_mc); an lcore's cache belongs to its thread,
// and threads that are not lcores use no cache.
unsafe impl Send for Inner {}
// SAFETY: as above; counting and allocating need no exclusive access.
unsafe impl Sync for Inner {}

impl Mempool {
    /// Room for a frame of 1522 bytes after DPDK's headroom, in whole cache lines: the usual size.
    pub const DATA_ROOM: u16 = 2048 + dpdk_sys::RTE_PKTMBUF_HEADROOM as u16;
    /// The largest `cache`.
    pub const CACHE_MAX: u32 = dpdk_sys::RTE_MEMPOOL_CACHE_MAX_SIZE;
    /// What DPDK keeps free in front of a received frame.
    pub const HEADROOM: u16 = dpdk_sys::RTE_PKTMBUF_HEADROOM as u16;

    /// Makes a pool of `buffers`, each with `data_room` bytes, headroom included. An lcore keeps up to 1.5 times
    /// `cache` free buffers to itself.
    pub fn new(eal: &Eal, name: &str, buffers: u32, cache: u32, data_room: u16) -> Result<Mempool, Error> {
        let c_name = CString::new(name).map_err(|_| Error::Nul(name.to_owned()))?;
        // SAFETY: DPDK is initialised as `eal` proves; the name is copied. -1: memory of any NUMA node.
        let pool =
            unsafe { dpdk_sys::rte_pktmbuf_pool_create(c_name.as_ptr(), buffers, cache, 0, data_room, -1) };
        let pool = NonNull::new(pool).ok_or_else(|| {
            let mib = (u64::from(buffers) * (u64::from(data_room) + 256)).div_ceil(1 << 20);
            let context = format!(
                "mempool {name}: {buffers} buffers of {data_room} bytes, about {mib} MiB, cache {cache}"
            );
            Error::last("rte_pktmbuf_pool_create", context)
        })?;
        Ok(Mempool(Arc::new(Inner { pool, data_room, eal: eal.clone() })))
    }

    /// Free buffers, those in the lcores' caches included. Not for the packet path: it asks every cache.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is valid while this handle is.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.as_ptr()) }
    }

    /// Buffers that somebody holds: a driver, a ring, a worker. Not for the packet path.
    pub fn in_use(&self) -> u32 {
        // SAFETY: the pool is valid while this handle is.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.as_ptr()) }
    }

    /// Bytes of a buffer, headroom included.
    pub fn data_room(&self) -> u16 {
        self.0.data_room
    }

    /// An empty buffer, or `None` if all are in use.
    pub fn alloc(&self) -> Option<Mbuf> {
        let mut mbuf: *mut rte_mbuf = ptr::null_mut();
        // SAFETY: the pool is valid, there is room for one pointer.
        let result = unsafe { dpdk_sys::shim_pktmbuf_alloc_bulk(self.as_ptr(), &mut mbuf, 1) };
        if result != 0 {
            return None;
        }
        // SAFETY: on success DPDK gave us the buffer, reset, and nobody else has it.
        NonNull::new(mbuf).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Appends `count` empty buffers to `burst`, as many as fit at most: all of them or none. Returns how many.
    pub fn alloc_bulk(&self, burst: &mut Burst, count: usize) -> usize {
        let (spare, room) = burst.spare();
        let count = room.min(u16::try_from(count).unwrap_or(u16::MAX));
        // SAFETY: `spare` has room for `count` pointers; on success DPDK filled them with buffers that are ours.
        unsafe {
            match dpdk_sys::shim_pktmbuf_alloc_bulk(self.as_ptr(), spare, u32::from(count)) {
                0 => burst.appended(count),
                _ => 0,
            }
        }
    }

    pub(super) fn as_ptr(&self) -> *mut rte_mempool {
        self.0.pool.as_ptr()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.eal.retire(self.pool);
    }
}
