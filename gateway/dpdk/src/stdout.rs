//! The standard output while EAL starts: it prints its whole usage there, a hundred lines, when it does not know an argument.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Does `work` with nothing of what it prints to standard output being seen. Nobody else prints while EAL starts.
pub(super) fn silenced<T>(work: impl FnOnce() -> T) -> T {
    let kept = hide();
    let result = work();
    if let Ok(kept) = kept {
        show(&kept);
    }
    result
}

/// Standard output as it was.
fn hide() -> io::Result<OwnedFd> {
    io::stdout().flush()?;
    let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
    // SAFETY: duplicates a descriptor; no memory is involved.
    let kept = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_DUPFD_CLOEXEC, 3) };
    if kept < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let kept = unsafe { OwnedFd::from_raw_fd(kept) };
    replace(&nowhere)?;
    Ok(kept)
}

fn show(kept: &OwnedFd) {
    // SAFETY: null flushes the streams of C, so that what was printed goes where it was to go then.
    unsafe { libc::fflush(std::ptr::null_mut()) };
    if let Err(error) = replace(kept) {
        tracing::warn!(%error, "standard output stays closed");
    }
}

fn replace(with: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: both descriptors are open; no memory is involved.
    let result = unsafe { libc::dup2(with.as_raw_fd(), libc::STDOUT_FILENO) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
