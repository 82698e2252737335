//! Rings that hand packets from one thread to another: one producer, one consumer, no lock.

use std::cell::Cell;
use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys::rte_ring;

use super::{Burst, Eal, Error};

/// The end of a ring that packets go into. Two threads cannot share it:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<natgw_dpdk::Producer>();
/// ```
#[derive(Debug)]
pub struct Producer(End);

/// The end of a ring that packets come out of.
#[derive(Debug)]
pub struct Consumer(End);

#[derive(Debug)]
struct End {
    ring: Arc<Ring>,
    /// Not `Sync`: one thread an end.
    _one_thread: PhantomData<Cell<()>>,
}

#[derive(Debug)]
struct Ring {
    ring: NonNull<rte_ring>,
    capacity: usize,
    _eal: Eal,
}

// SAFETY: the two ends touch disjoint halves of the ring and synchronise through its indexes; each end is one value.
unsafe impl Send for Ring {}
// SAFETY: as above; `Ring` itself is shared by the two ends only.
unsafe impl Sync for Ring {}

/// Makes a ring for exactly `capacity` packets. What is left in it when the last end goes is freed.
pub fn ring(eal: &Eal, name: &str, capacity: u32) -> Result<(Producer, Consumer), Error> {
    let c_name = CString::new(name).map_err(|_| Error::Nul(name.to_owned()))?;
    let flags = dpdk_sys::RING_F_SP_ENQ | dpdk_sys::RING_F_SC_DEQ | dpdk_sys::RING_F_EXACT_SZ;
    // SAFETY: DPDK is initialised as `eal` proves; the name is copied. -1: memory of any NUMA node.
    let ring = unsafe { dpdk_sys::rte_ring_create(c_name.as_ptr(), capacity, -1, flags) };
    let ring = NonNull::new(ring)
        .ok_or_else(|| Error::last("rte_ring_create", format!("ring {name} for {capacity} packets")))?;
    let ring = Arc::new(Ring { ring, capacity: capacity as usize, _eal: eal.clone() });
    let end = |ring| End { ring, _one_thread: PhantomData };
    Ok((Producer(end(ring.clone())), Consumer(end(ring))))
}

impl Producer {
    /// Puts in from the front of `burst` and returns how many found room; the rest stays in it, in order.
    #[inline]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        let count = burst.len() as u32;
        // SAFETY: the ring is valid while an end is; this is its only producer, borrowed mutably. The ring owns the
        // packets that it counts, from the first on, until the consumer takes them.
        unsafe {
            let sent = dpdk_sys::shim_ring_enqueue(self.0.as_ptr(), burst.as_raw(), count);
            burst.given_away(sent as usize)
        }
    }

    /// Packets in the ring, at most: the consumer may just be taking some.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if the consumer has taken everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Packets that the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.0.ring.capacity
    }

    pub(super) fn as_ptr(&self) -> *mut rte_ring {
        self.0.as_ptr()
    }
}

impl Consumer {
    /// Appends what is in the ring, as far as `burst` has room, and returns how many.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        let (spare, room) = burst.spare();
        // SAFETY: the ring is valid while an end is; this is its only consumer, borrowed mutably. The ring holds
        // nothing but packets given away by its producer, each handed out once, at most `room` of them.
        unsafe {
            let count = dpdk_sys::shim_ring_dequeue(self.0.as_ptr(), spare, u32::from(room));
            burst.appended(count as u16)
        }
    }

    /// Packets in the ring, at least: the producer may just be adding some.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Packets that the ring holds at most.
    pub fn capacity(&self) -> usize {
        self.0.ring.capacity
    }

    pub(super) fn as_ptr(&self) -> *mut rte_ring {
        self.0.as_ptr()
    }
}

impl End {
    fn as_ptr(&self) -> *mut rte_ring {
        self.ring.ring.as_ptr()
    }

    fn len(&self) -> usize {
        // SAFETY: the ring is valid while an end is; reads its indexes.
        unsafe { dpdk_sys::shim_ring_count(self.as_ptr()) as usize }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let mut burst = Burst::new();
        loop {
            let (spare, room) = burst.spare();
            // SAFETY: both ends are gone, so nobody else is in the ring; what it holds passes to `burst`. The ring is
            // freed after the last packet has left it.
            unsafe {
                let count = dpdk_sys::shim_ring_dequeue(self.ring.as_ptr(), spare, u32::from(room));
                if burst.appended(count as u16) == 0 {
                    dpdk_sys::rte_ring_free(self.ring.as_ptr());
                    return;
                }
            }
            burst.free();
        }
    }
}
