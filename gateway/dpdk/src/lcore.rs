//! Threads of DPDK's, each bound to its CPU.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Eal, Error};

/// A worker lcore of the [`Eal`] that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(u32);

impl LcoreId {
    pub(super) fn new(id: u32) -> LcoreId {
        LcoreId(id)
    }

    /// DPDK's number of it: 1 is the first worker.
    pub fn index(self) -> u32 {
        self.0
    }
}

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The lcore that this thread is; `None` in threads that are not DPDK's. The main lcore is 0.
pub fn current_lcore() -> Option<u32> {
    // SAFETY: reads a thread-local; no preconditions.
    let id = unsafe { dpdk_sys::shim_lcore_id() };
    (id != dpdk_sys::LCORE_ID_ANY).then_some(id)
}

/// The NUMA node of the CPU that this thread is bound to; 0 in threads that are bound to none.
pub fn current_node() -> u32 {
    // SAFETY: reads a thread-local; no preconditions.
    let node = unsafe { dpdk_sys::rte_socket_id() };
    // SOCKET_ID_ANY is -1.
    if node == u32::MAX { 0 } else { node }
}

type Outcome<T> = Arc<Mutex<Option<Result<T, String>>>>;

/// A function running on an lcore. Dropping it waits for the function to return.
#[derive(Debug)]
pub struct Worker<T> {
    lcore: LcoreId,
    outcome: Outcome<T>,
    joined: bool,
    eal: Eal,
}

struct Job<F, T> {
    function: F,
    outcome: Outcome<T>,
}

/// Runs `function` on `lcore`. It ends only by itself: whoever joins must have told it to.
pub fn launch<F, T>(eal: &Eal, lcore: LcoreId, function: F) -> Result<Worker<T>, Error>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if lcore.0 == 0 || lcore.0 as usize > eal.workers().len() {
        return Err(Error::Lcore { lcore: lcore.0, reason: "is not a worker of this process" });
    }
    if !eal.occupy(lcore.0) {
        return Err(Error::Lcore { lcore: lcore.0, reason: "runs something already" });
    }
    let outcome = Outcome::default();
    let job = Box::into_raw(Box::new(Job { function, outcome: outcome.clone() }));
    // SAFETY: `run` gets the job it is made for, once; the lcore exists and waits, as `occupy` says. `function` and `T`
    // are Send and 'static, so they may go to the other thread and stay there.
    let result = unsafe { dpdk_sys::rte_eal_remote_launch(Some(run::<F, T>), job.cast(), lcore.0) };
    if result < 0 {
        eal.vacate(lcore.0);
        // SAFETY: the launch failed, so nobody else got the job.
        drop(unsafe { Box::from_raw(job) });
        return Err(Error::call("rte_eal_remote_launch", result, format!("lcore {lcore}")));
    }
    Ok(Worker { lcore, outcome, joined: false, eal: eal.clone() })
}

extern "C" fn run<F, T>(job: *mut c_void) -> c_int
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: `launch` made the pointer of a boxed job of this very type and gave it up.
    let job = unsafe { Box::from_raw(job.cast::<Job<F, T>>()) };
    let Job { function, outcome } = *job;
    // A panic must not unwind into DPDK's C frames. What the function owned is dropped by the unwinding, on this lcore;
    // nothing else sees it in a broken state.
    let result = panic::catch_unwind(AssertUnwindSafe(function)).map_err(message);
    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    0
}

/// The text of a panic. A payload that is no text is forgotten, for its drop might panic again.
fn message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(payload) => {
                std::mem::forget(payload);
                "no message".to_owned()
            }
        },
    }
}

impl<T> Worker<T> {
    /// The lcore it runs on.
    pub fn lcore(&self) -> LcoreId {
        self.lcore
    }

    /// True once the function has returned or panicked: [`join`](Worker::join) will not wait long.
    pub fn is_finished(&self) -> bool {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Waits for the function and returns its value, or [`Error::Panicked`].
    pub fn join(mut self) -> Result<T, Error> {
        self.wait();
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        let lcore = self.lcore.0;
        match outcome {
            Some(result) => result.map_err(|message| Error::Panicked { lcore, message }),
            None => Err(Error::Lcore { lcore, reason: "ended without a result" }),
        }
    }

    fn wait(&mut self) {
        if !self.joined {
            self.joined = true;
            // SAFETY: the lcore was launched by this worker and is not launched again before it is vacated.
            unsafe { dpdk_sys::rte_eal_wait_lcore(self.lcore.0) };
            self.eal.vacate(self.lcore.0);
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        self.wait();
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(message)) = outcome {
            tracing::error!(lcore = self.lcore.0, message, "a worker panicked");
        }
    }
}
