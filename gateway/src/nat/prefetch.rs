//! The one place outside `dpdk` with `unsafe`: asking the CPU for a cache line ahead of its use.
//!
//! A session lookup is two dependent cache misses, and without these hints a burst pays for every one of them. That is
//! why the exception stands: with a million flows in random order the engine's bench (`benches/engine`, bursts of 32,
//! EPYC at 2.6 GHz, both cores busy with other work) took 34 ns a packet with them and 219 ns without, with 65,536 flows
//! 31 and 87, and with 64 flows, which stay in the cache, 32 and 35.
#![allow(unsafe_code)]

/// Asks for the cache line that holds the start of `line`, to be read soon.
#[inline(always)]
pub fn prefetch<T>(line: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri), not(gateway_no_prefetch)))]
    // SAFETY: a prefetch reads nothing into the program and cannot fault; the reference proves that the address
    // is valid besides. SSE, which the instruction needs, belongs to every x86-64.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(line).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri), not(gateway_no_prefetch))))]
    let _ = line;
}
