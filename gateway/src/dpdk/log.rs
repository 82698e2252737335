//! DPDK's log lines go to `tracing`, target `dpdk`, one level lower than DPDK ranks them: what stops the gateway is
//! told by an [`Error`](super::Error), to which the first warnings are attached.

use core::ffi::c_char;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Warnings that are kept: the first ones name the cause, what follows is the failure passing through the callers.
const KEPT: usize = 3;

/// Sends the log of DPDK here. To be called before and after `rte_eal_init`, which may open a stream of its own.
pub(super) fn redirect() {
    // SAFETY: `line` is a function for the life of the process and may be called from any thread.
    // Failing to open the stream leaves the log on stderr.
    unsafe { dpdk_sys::shim_log_to(Some(line)) };
}

/// The first warnings and errors since the last call of this function, in one line.
pub(super) fn take_warnings() -> Option<String> {
    let warnings = std::mem::take(&mut *WARNINGS.lock().unwrap_or_else(PoisonError::into_inner));
    (!warnings.is_empty()).then(|| warnings.join("; "))
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
                let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
                if warnings.len() < KEPT {
                    warnings.push(text.to_owned());
                }
            }
            dpdk_sys::RTE_LOG_NOTICE | dpdk_sys::RTE_LOG_INFO => tracing::debug!(target: "dpdk", "{text}"),
            _ => tracing::trace!(target: "dpdk", "{text}"),
        }
    }
}
