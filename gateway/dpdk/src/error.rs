//! What can go wrong with DPDK, in words that name the call, the device and where possible the remedy.

use std::ffi::CStr;

use super::log;

/// A failure of DPDK, or of the environment that it needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call failed and nothing more precise is known: the call, the errno, what it was about, what DPDK logged.
    #[error("{call}: {} ({context}){}", errno_text(*.errno), said_text(.said))]
    Call {
        /// DPDK's name of the function.
        call: &'static str,
        /// The positive errno, DPDK's own ones included; 0 if the call told none.
        errno: i32,
        /// The object of the call: "port 1, net_tap1".
        context: String,
        /// What DPDK logged of it during the call.
        said: Option<String>,
    },
    /// [`Eal::init`](super::Eal::init) works once in a process.
    #[error("rte_eal_init: DPDK was initialised before in this process")]
    AlreadyInitialised,
    /// Fewer huge pages are free than the gateway needs.
    #[error(
        "needs {needed} huge pages of {}, {free} are free: echo {total} > {file}",
        page_size_text(*.page_kib)
    )]
    HugePages {
        /// Pages needed.
        needed: u64,
        /// Pages free now.
        free: u64,
        /// The number of pages to reserve so that enough are free.
        total: u64,
        /// Size of a page.
        page_kib: u64,
        /// The file that takes that number.
        file: String,
    },
    /// The kernel offers no huge pages at all.
    #[error("the kernel offers no huge pages: set memory = \"no-huge\", or enable hugetlbfs in the kernel")]
    NoHugePages,
    /// An lcore's CPU is outside the set that this process may run on.
    #[error("CPU {cpu} is not available: this process may run on CPUs {allowed}")]
    Cpu {
        /// The CPU asked for.
        cpu: u32,
        /// The allowed ones, as the kernel lists them.
        allowed: String,
    },
    /// More lcores than DPDK was built for.
    #[error("{wanted} lcores are too many: this DPDK is built for {limit}")]
    TooManyLcores {
        /// The main lcore and the workers.
        wanted: usize,
        /// `RTE_MAX_LCORE`.
        limit: usize,
    },
    /// No such device, or no driver for it.
    #[error("{device}: {reason}")]
    NoDevice {
        /// The device as it was given.
        device: String,
        /// What is missing and what provides it.
        reason: String,
    },
    /// The device exists but this process may not use it.
    #[error("{device}: {reason}")]
    Permission {
        /// The device as it was given.
        device: String,
        /// What is missing and what grants it.
        reason: String,
    },
    /// The device is already open in this process.
    #[error("{device}: is already open in this process (port {port})")]
    InUse {
        /// The device as it was given.
        device: String,
        /// DPDK's port number.
        port: u16,
    },
    /// The device cannot do what the configuration asks.
    #[error("{device}: {what}")]
    Unsupported {
        /// The device as it was given.
        device: String,
        /// What was asked, what is allowed.
        what: String,
    },
    /// An MTU that the device does not take.
    #[error("{device}: an MTU of {mtu}: {driver} allows {min} to {max}")]
    Mtu {
        /// The device as it was given.
        device: String,
        /// What was asked for.
        mtu: u16,
        /// DPDK's name of the driver.
        driver: String,
        /// The smallest that it takes.
        min: u16,
        /// The largest that it takes.
        max: u16,
    },
    /// A MAC address that the device does not take.
    #[error("{device}: {driver} cannot be given the MAC address {mac}: {reason}; {remedy}")]
    Mac {
        /// The device as it was given.
        device: String,
        /// What was asked for.
        mac: String,
        /// DPDK's name of the driver.
        driver: String,
        /// The words of the call that failed.
        reason: String,
        /// What gives the device that address.
        remedy: &'static str,
    },
    /// The function run by an lcore panicked.
    #[error("worker on lcore {lcore} panicked: {message}")]
    Panicked {
        /// The lcore.
        lcore: u32,
        /// The panic's message.
        message: String,
    },
    /// An lcore that does not exist, or runs something already.
    #[error("lcore {lcore}: {reason}")]
    Lcore {
        /// The lcore.
        lcore: u32,
        /// Why it cannot run anything.
        reason: &'static str,
    },
    /// A string with a NUL byte cannot be given to DPDK.
    #[error("{0:?} contains a NUL byte")]
    Nul(String),
}

impl Error {
    /// `errno` as DPDK returns it, of either sign.
    pub(super) fn call(call: &'static str, errno: i32, context: impl Into<String>) -> Error {
        Error::Call { call, errno: errno.saturating_abs(), context: context.into(), said: log::take_reason() }
    }

    /// With this thread's `rte_errno`, for calls that return only that they failed.
    pub(super) fn last(call: &'static str, context: impl Into<String>) -> Error {
        // SAFETY: reads a thread-local of DPDK; no preconditions.
        let errno = unsafe { dpdk_sys::shim_errno() };
        Error::call(call, errno, context)
    }
}

/// `Ok` with the value of a call that returns a count or zero, `Err` for a negative errno.
pub(super) fn check(call: &'static str, result: i32, context: impl FnOnce() -> String) -> Result<i32, Error> {
    if result < 0 {
        return Err(Error::call(call, result, context()));
    }
    log::forget();
    Ok(result)
}

fn errno_text(errno: i32) -> String {
    if errno == 0 {
        return "failed".to_owned();
    }
    // SAFETY: returns a string for any number; it is static or thread-local and copied before another call.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno)) };
    text.to_string_lossy().into_owned()
}

fn said_text(said: &Option<String>) -> String {
    said.as_ref().map(|line| format!("; DPDK says: {line}")).unwrap_or_default()
}

fn page_size_text(kib: u64) -> String {
    match kib {
        kib if kib >= 1 << 20 => format!("{} GiB", kib >> 20),
        kib if kib >= 1 << 10 => format!("{} MiB", kib >> 10),
        kib => format!("{kib} KiB"),
    }
}
