//! The CPU's time-stamp counter.

/// Cycles of the time-stamp counter, which all CPUs share.
#[derive(Debug, Clone, Copy)]
pub struct Clock;

impl Clock {
    /// The counter now.
    #[inline]
    pub fn tsc() -> u64 {
        // SAFETY: reads a register; no preconditions.
        unsafe { dpdk_sys::shim_rdtsc() }
    }

    /// Cycles a second, as [`Eal::init`](super::Eal::init) measured; 0 before.
    pub fn hz() -> u64 {
        // SAFETY: reads a variable that is written once, by EAL's initialisation.
        unsafe { dpdk_sys::rte_get_tsc_hz() }
    }
}

/// Tells the CPU that this is a loop that waits.
#[inline]
pub fn pause() {
    std::hint::spin_loop();
}
