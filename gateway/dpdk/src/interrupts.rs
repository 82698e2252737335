//! Keeps DPDK's interrupt thread out of what workers are in.
//!
//! Some drivers do in that thread what a worker's burst does not survive. net_memif is one: when its peer leaves, it unmaps
//! the shared rings and frees what describes them; when a peer comes, it sets them up. Neither is announced: the driver
//! raises no link event (`RTE_ETH_EVENT_INTR_LSC`) and takes no lock that a burst could hold.
//!
//! ```text
//!   EAL's loop:  epoll_wait ─► callbacks of drivers ─► epoll_wait ─► ...      gates closed
//!                     ▲                 │
//!                     └─── our own ◄────┘   waits until EAL has something to do:  gates open
//! ```
//!
//! EAL runs all callbacks in one thread, one after another, and ours is one of them: an eventfd that is always readable when
//! the callback returns, so that it is called in each round. In it the thread waits, in EAL's place, on EAL's own epoll
//! instance. Gates are open only while the thread is there: so no driver's callback runs while a worker is in a burst
//! behind a gate, whatever the driver does in it. Other ports have no gate and pay nothing.

use std::ffi::c_void;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::Error;
use super::error::check;
use super::gate::Gate;

/// See the module. One a process, as the thread is.
#[derive(Debug)]
pub(super) struct Interrupts {
    /// Readable when our callback is to be called.
    wake: OwnedFd,
    /// EAL's epoll instance, as last found.
    epoll: AtomicI32,
    /// The highest descriptor that was ever seen.
    highest: AtomicI32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The thread waits in our callback; else it runs callbacks, and all gates are closed once more.
    waiting: bool,
    /// How many want it to stay there.
    holders: u32,
    gates: Vec<Arc<Gate>>,
}

/// While this lives, the interrupt thread runs nothing.
pub(super) struct Held(&'static Interrupts);

static INTERRUPTS: OnceLock<Interrupts> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

impl Interrupts {
    /// Puts our callback into the interrupt thread, once, and waits until it is there.
    pub(super) fn start() -> Result<&'static Interrupts, Error> {
        let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        if INTERRUPTS.get().is_none() {
            let wake = eventfd(1)?;
            let fd = wake.as_raw_fd();
            let _ = INTERRUPTS.set(Interrupts {
                wake,
                epoll: AtomicI32::new(-1),
                highest: AtomicI32::new(0),
                state: Mutex::default(),
                changed: Condvar::new(),
            });
            register(fd)?;
        }
        let this = INTERRUPTS.get().ok_or_else(|| failed("no callback"))?;
        let state = this.lock();
        let wait = this.changed.wait_timeout_while(state, PATIENCE, |state| !state.waiting);
        if wait.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            return Err(failed("DPDK's interrupt thread does not call back"));
        }
        Ok(this)
    }

    /// From now on callbacks of drivers run only while `gate` is closed.
    pub(super) fn guard(&self, gate: &Arc<Gate>) {
        let mut state = self.lock();
        if !state.waiting {
            gate.close();
        }
        state.gates.push(Arc::clone(gate));
    }

    /// Takes back [`guard`](Interrupts::guard).
    pub(super) fn forget(&self, gate: &Arc<Gate>) {
        self.lock().gates.retain(|other| !Arc::ptr_eq(other, gate));
    }

    /// Waits until no driver's callback runs and keeps it so. A callback that does not end is not waited for.
    pub(super) fn hold(&'static self) -> Held {
        let mut state = self.lock();
        state.holders += 1;
        let wait = self.changed.wait_timeout_while(state, PATIENCE, |state| !state.waiting);
        if wait.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            tracing::warn!("a driver is busy in DPDK's interrupt thread");
        }
        Held(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call of the callback: the thread waits in here.
    fn wait(&self) {
        let mut count = [0; 8];
        let _ = nix::unistd::read(&self.wake, &mut count);
        let mut state = self.lock();
        state.waiting = true;
        state.gates.iter().for_each(|gate| gate.open());
        drop(state);
        self.changed.notify_all();
        let files = files();
        self.adopt_orphans(&files);
        match self.find_epoll(&files) {
            Some(epoll) => wait_for_work(epoll, &listeners(&files)),
            // Without a file descriptor left, for one: EAL looks every now and then.
            None => std::thread::sleep(LOOK_AGAIN),
        }
        let mut state = self.lock();
        while state.holders > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting = false;
        state.gates.iter().for_each(|gate| gate.close());
        drop(state);
        let _ = nix::unistd::write(&self.wake, &1u64.to_ne_bytes());
    }

    /// EAL keeps its epoll instance to itself and makes a new one whenever a callback comes or goes; it is the one that has
    /// our eventfd in it.
    fn find_epoll(&self, files: &[RawFd]) -> Option<RawFd> {
        let wake = self.wake.as_raw_fd();
        let known = self.epoll.load(Ordering::Relaxed);
        let found = if watches(known, wake) {
            known
        } else {
            *files.iter().find(|&&fd| is_epoll(fd) && watches(fd, wake))?
        };
        self.epoll.store(found, Ordering::Relaxed);
        Some(found)
    }

    /// A peer that connects and is gone before net_memif greets it leaves a callback behind whose file descriptor the driver
    /// has closed (`memif_listener_handler`, after a failed `sendmsg`), and when EAL gathers its descriptors the next time,
    /// that ends the process. Such a number is given something to refer to that is never ready; it stays in use, for nobody
    /// but the driver can take its callback back. Ours runs before EAL gathers ([`wait_for_work`]).
    fn adopt_orphans(&self, files: &[RawFd]) {
        let highest = files.iter().copied().max().unwrap_or(0);
        let highest = self.highest.fetch_max(highest, Ordering::Relaxed).max(highest);
        let Ok(handle) = Handle::new() else { return };
        for fd in (0..highest + NEW_FILES_MAX).filter(|&fd| !is_open(fd) && handle.is_source(fd)) {
            let Ok(silent) = eventfd(0) else { return };
            let adopted = if silent.as_raw_fd() == fd {
                silent
            } else {
                // SAFETY: no memory is involved. Should the number be in use again, it is another one, and closed at once.
                let adopted = unsafe { libc::fcntl(silent.as_raw_fd(), libc::F_DUPFD_CLOEXEC, fd) };
                if adopted < 0 {
                    return;
                }
                // SAFETY: just made, and nobody else's.
                unsafe { OwnedFd::from_raw_fd(adopted) }
            };
            if adopted.as_raw_fd() == fd {
                // For the life of the process, as the callback is.
                std::mem::forget(adopted);
                tracing::debug!("a memif peer left before it was greeted");
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().holders -= 1;
        self.0.changed.notify_all();
    }
}

extern "C" fn callback(_: *mut c_void) {
    if let Some(this) = INTERRUPTS.get() {
        this.wait();
    }
}

/// DPDK's description of an interrupt source.
struct Handle(*mut dpdk_sys::rte_intr_handle);

impl Handle {
    fn new() -> Result<Handle, Error> {
        // SAFETY: no preconditions after `rte_eal_init`. Not in shared memory: flag 0.
        let handle = unsafe { dpdk_sys::rte_intr_instance_alloc(0) };
        if handle.is_null() { Err(Error::last("rte_intr_instance_alloc", "")) } else { Ok(Handle(handle)) }
    }

    /// Whether EAL has a callback for this file descriptor.
    fn is_source(&self, fd: RawFd) -> bool {
        // SAFETY: a valid handle. Nothing is unregistered: the callback is not that descriptor's. The answer tells "no
        // such source" from "not while its callbacks do not run", as only one of them runs at a time: ours.
        unsafe {
            dpdk_sys::rte_intr_fd_set(self.0, fd);
            dpdk_sys::rte_intr_callback_unregister_pending(self.0, Some(callback), ptr::null_mut(), None)
                == -libc::EAGAIN
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: made in `new` and freed once; EAL made copies of what it keeps.
        unsafe { dpdk_sys::rte_intr_instance_free(self.0) };
    }
}

fn register(fd: RawFd) -> Result<(), Error> {
    let handle = Handle::new()?;
    // SAFETY: a valid handle; the descriptor and the callback are there for the life of the process.
    let result = unsafe {
        dpdk_sys::rte_intr_fd_set(handle.0, fd);
        dpdk_sys::rte_intr_type_set(handle.0, dpdk_sys::RTE_INTR_HANDLE_EXT);
        dpdk_sys::rte_intr_callback_register(handle.0, Some(callback), ptr::null_mut())
    };
    check("rte_intr_callback_register", result, String::new).map(drop)
}

fn eventfd(value: u32) -> Result<OwnedFd, Error> {
    // SAFETY: no preconditions.
    let fd = unsafe { libc::eventfd(value, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(Error::call("eventfd", std::io::Error::last_os_error().raw_os_error().unwrap_or(0), ""));
    }
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn failed(what: &str) -> Error {
    Error::call("rte_intr_callback_register", 0, what)
}

/// Waits until EAL has something to do, or a signal comes: then EAL looks in vain.
///
/// Peers that want to connect come one by one, and when there is nothing else to do: the sockets that they connect to are
/// kept out of EAL's epoll instance until one is ready and nothing else is, and taken out again right after the driver's
/// callback, before another one has opened a file or EAL has gathered its descriptors anew.
fn wait_for_work(epoll: RawFd, listeners: &[RawFd]) {
    let mut may_be_next = false;
    for &listener in listeners {
        // SAFETY: two descriptors; there is no event to read when one is taken out. One that is not in is no matter.
        may_be_next |= unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, listener, ptr::null_mut()) } == 0;
    }
    // EAL may have read already that it is ready.
    if may_be_next {
        return;
    }
    let readable = |&fd: &RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut files: Vec<libc::pollfd> = std::iter::once(&epoll).chain(listeners).map(readable).collect();
    // SAFETY: as many valid structures as are told. EAL closes its descriptor only in this thread.
    unsafe { libc::poll(files.as_mut_ptr(), files.len() as libc::nfds_t, -1) };
    if files[0].revents != 0 {
        return;
    }
    if let Some(file) = files[1..].iter().find(|file| file.revents != 0) {
        // As EAL puts it there.
        let events = libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLRDHUP | libc::EPOLLHUP;
        let mut event = libc::epoll_event { events: events as u32, u64: file.fd as u64 };
        // SAFETY: two descriptors and one valid structure.
        unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, file.fd, &mut event) };
    }
}

/// The sockets that EAL listens to.
fn listeners(files: &[RawFd]) -> Vec<RawFd> {
    let Ok(handle) = Handle::new() else { return Vec::new() };
    files.iter().copied().filter(|&fd| is_listener(fd) && handle.is_source(fd)).collect()
}

/// Whether peers of memif connect to it: a listening unix socket of whole messages.
fn is_listener(fd: RawFd) -> bool {
    let option = |name| {
        let (mut value, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: room for one number, whose length is told. What is no socket is an error.
        let result =
            unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &mut len) };
        (result == 0).then_some(value)
    };
    option(libc::SO_DOMAIN) == Some(libc::AF_UNIX)
        && option(libc::SO_TYPE) == Some(libc::SOCK_SEQPACKET)
        && option(libc::SO_ACCEPTCONN) == Some(1)
}

/// The process's open file descriptors, and the one that they were read with.
fn files() -> Vec<RawFd> {
    let Ok(files) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    files.flatten().filter_map(|file| file.file_name().to_str()?.parse().ok()).collect()
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: no memory is involved.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

fn is_epoll(fd: RawFd) -> bool {
    fs::read_link(format!("/proc/self/fd/{fd}"))
        .is_ok_and(|file| file.as_os_str() == "anon_inode:[eventpoll]")
}

/// Whether `epoll` is an epoll instance with `fd` in it: proc(5), `/proc/PID/fdinfo`.
fn watches(epoll: RawFd, fd: RawFd) -> bool {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).unwrap_or_default();
    let watched = |line: &str| line.strip_prefix("tfd:")?.split_whitespace().next()?.parse().ok();
    info.lines().filter_map(watched).any(|watched: RawFd| watched == fd)
}

/// For callbacks of drivers to end.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Descriptors that callbacks open between two calls of ours, at most.
const NEW_FILES_MAX: RawFd = 64;
