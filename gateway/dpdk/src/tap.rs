//! net_tap without its receive trigger.
//!
//! To save system calls the driver has the kernel send a signal for every frame (SIGIO in 22.11, a real-time signal that
//! nobody uses in later versions), counts these in a handler, and reads a queue only after the count has changed. The
//! handler may run in several threads at once. Two that count from the same number count one frame where there were
//! two; when the queue was read in between, the second frame stays unread until another one comes. A driver that finds
//! the signals taken does without the trigger and asks the kernel at every poll, which loses nothing.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::SIGIO;

/// Takes the signals that the driver might use, for the life of the process. To be called before a net_tap is attached.
pub(super) fn take_trigger_signals() -> io::Result<()> {
    static TAKEN: Mutex<bool> = Mutex::new(false);
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if *taken {
        return Ok(());
    }
    let never_read = Arc::new(AtomicBool::new(false));
    for signal in std::iter::once(SIGIO).chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
        signal_hook::flag::register(signal, Arc::clone(&never_read))?;
    }
    *taken = true;
    Ok(())
}
