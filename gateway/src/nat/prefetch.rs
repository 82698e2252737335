//! The one place outside `dpdk` with `unsafe`: asking the CPU for a cache line ahead of its use.
//!
//! A session lookup is two dependent cache misses. Without these hints a burst pays them one after the other; the
//! engine's benchmark holds both against each other, and that difference is why the exception stands.
#![allow(unsafe_code)]

/// Asks for the cache line that holds the start of `line`, to be read soon.
#[inline(always)]
pub(crate) fn prefetch<T>(line: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch reads nothing into the program and cannot fault; the reference proves that the address
    // is valid besides. SSE, which the instruction needs, belongs to every x86-64.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(core::ptr::from_ref(line).cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = line;
}
