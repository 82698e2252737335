//! Counts what worker lcores allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use natgw_dpdk::current_lcore;

#[global_allocator]
static COUNTING: Counting = Counting;

static ON_WORKERS: AtomicU64 = AtomicU64::new(0);

struct Counting;

/// Allocations on all worker lcores, from the first moment of their work.
pub fn on_workers() -> u64 {
    ON_WORKERS.load(Ordering::Relaxed)
}

fn count() {
    if current_lcore().is_some_and(|lcore| lcore > 0) {
        ON_WORKERS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator does everything; counting touches no memory of its.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(old, layout) }
    }
}
