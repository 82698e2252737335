//! DPDK's log lines go to `tracing`, target `dpdk`, one level lower than DPDK ranks them: what stops the gateway is
//! told by an [`Error`](super::Error), which quotes those that were logged during the call that failed and say why.

use core::ffi::c_char;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static KEPT: Mutex<Kept> = Mutex::new(Kept { errors: Vec::new(), warnings: Vec::new() });

/// What DPDK logged since the last call that did not fail.
struct Kept {
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Lines that are kept of each rank: the first ones name the cause, what follows is the failure passing through the callers.
const KEPT_MAX: usize = 3;

/// Parts of lines that never say why a call failed: of what a driver does without, and of callers through which a failure
/// passes.
const NO_REASON: [&str; 8] = [
    "rte flow",
    "Driver cannot attach the device",
    "Failed to attach device on primary process",
    "Failed to init internals",
    "Unable to create TAP interface",
    "TAP Unable to initialize",
    "hugepages reported",
    "Requested device",
];

impl Kept {
    fn add(&mut self, level: u32, text: &str) {
        let lines = if level <= dpdk_sys::RTE_LOG_ERR { &mut self.errors } else { &mut self.warnings };
        if lines.len() < KEPT_MAX && !NO_REASON.iter().any(|part| text.contains(part)) {
            lines.push(text.to_owned());
        }
    }

    /// The errors; without one the warnings.
    fn take(&mut self) -> Option<String> {
        let (errors, warnings) = (std::mem::take(&mut self.errors), std::mem::take(&mut self.warnings));
        let lines = if errors.is_empty() { warnings } else { errors };
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends the log of DPDK here. To be called before and after `rte_eal_init`, which may open a stream of its own.
pub(super) fn redirect() {
    // SAFETY: `line` is a function for the life of the process and may be called from any thread.
    // Failing to open the stream leaves the log on stderr.
    unsafe { dpdk_sys::shim_log_to(Some(line)) };
}

/// Why the last call failed, as far as DPDK logged it, in one line.
pub(super) fn take_reason() -> Option<String> {
    kept().take()
}

/// A call did not fail: what was logged until now is the reason of nothing.
pub(super) fn forget() {
    let mut kept = kept();
    kept.errors.clear();
    kept.warnings.clear();
}

/// While this lives, DPDK's warnings are kept for an error to quote and else told to those who debug: drivers complain
/// about what a device or kernel does not offer even where they do without (net_tap about rte_flow, for one).
pub(super) struct SettingUp(());

static SETTING_UP: AtomicBool = AtomicBool::new(false);

impl SettingUp {
    pub(super) fn begin() -> SettingUp {
        SETTING_UP.store(true, Ordering::Relaxed);
        SettingUp(())
    }
}

impl Drop for SettingUp {
    fn drop(&mut self) {
        SETTING_UP.store(false, Ordering::Relaxed);
    }
}

extern "C" fn line(level: u32, text: *const c_char, length: usize) {
    // SAFETY: stdio hands over `length` readable bytes for the duration of this call.
    let bytes = unsafe { slice::from_raw_parts(text.cast::<u8>(), length) };
    for text in String::from_utf8_lossy(bytes).lines().map(str::trim).filter(|text| !text.is_empty()) {
        match level {
            ..=dpdk_sys::RTE_LOG_WARNING => {
                if SETTING_UP.load(Ordering::Relaxed) {
                    tracing::debug!(target: "dpdk", "{text}");
                } else {
                    tracing::warn!(target: "dpdk", "{text}");
                }
                kept().add(level, text);
            }
            dpdk_sys::RTE_LOG_NOTICE | dpdk_sys::RTE_LOG_INFO => tracing::debug!(target: "dpdk", "{text}"),
            _ => tracing::trace!(target: "dpdk", "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_say_why_are_quoted_alone() {
        let said = |lines: &[(u32, &str)]| {
            let mut kept = Kept { errors: Vec::new(), warnings: Vec::new() };
            lines.iter().for_each(|(level, text)| kept.add(*level, text));
            kept.take()
        };
        use dpdk_sys::{RTE_LOG_ERR as ERR, RTE_LOG_WARNING as WARNING};
        let cause = "rte_pmd_init_internals(): net_af_packet0: ioctl failed (SIOCGIFINDEX):No such device";
        let lines = [
            (WARNING, "EAL: No free 1048576 kB hugepages reported on node 0"),
            (WARNING, "a word of caution"),
            (ERR, "eth_dev_tap_create():  Disabling rte flow support: No such file or directory(2)"),
            (ERR, cause),
            (ERR, "EAL: Driver cannot attach the device (net_af_packet0)"),
            (ERR, "EAL: Failed to attach device on primary process"),
        ];
        assert_eq!(said(&lines).as_deref(), Some(cause));
        assert_eq!(said(&lines[..3]).as_deref(), Some("a word of caution"));
        assert_eq!(said(&lines[..1]), None);
        let many = [(ERR, "first"), (ERR, "second"), (ERR, "third"), (ERR, "fourth")];
        assert_eq!(said(&many).as_deref(), Some("first; second; third"));
    }
}
