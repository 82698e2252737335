//! net_memif: a peer that comes and goes.
//!
//! The driver maps and unmaps the shared rings in DPDK's interrupt thread, without regard to bursts: each has to pass the
//! port's [`Gate`] ([`interrupts`](super::interrupts)).
//!
//! A server's driver takes one peer after another by itself. A client's connects when the port is started and at no other
//! time: a [`Reconnector`] starts the port, again and again while no server is there.

use std::fs;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{SockType, UnixAddr, getpeername, getsockname, getsockopt, sockopt};

use super::error::check;
use super::gate::Gate;
use super::interrupts::{Held, Interrupts};
use super::port::{Device, Started};
use super::{Error, Port, log};

const DRIVER: &str = "net_memif";

/// What a port of net_memif has beyond others.
#[derive(Debug)]
pub(super) struct Memif {
    interrupts: &'static Interrupts,
    /// Closed while the port is stopped, and while drivers run in the interrupt thread.
    gate: Arc<Gate>,
    is_client: bool,
    /// A client's connection.
    channel: Mutex<Option<Channel>>,
}

impl Memif {
    /// For a device that is to be attached; `None` if another driver's.
    pub(super) fn of(device: &str) -> Result<Option<Memif>, Error> {
        let (name, arguments) = device.split_once(',').unwrap_or((device, ""));
        if !name.starts_with(DRIVER) {
            return Ok(None);
        }
        let interrupts = Interrupts::start()?;
        let gate = Arc::<Gate>::default();
        gate.close();
        interrupts.guard(&gate);
        let is_client = is_client(arguments);
        Ok(Some(Memif { interrupts, gate, is_client, channel: Mutex::default() }))
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(super) fn is_client(&self) -> bool {
        self.is_client
    }

    /// Keeps the driver from doing anything in the interrupt thread.
    pub(super) fn hold(&self) -> Held {
        self.interrupts.hold()
    }
}

impl Drop for Memif {
    fn drop(&mut self) {
        self.interrupts.forget(&self.gate);
    }
}

/// `role=`, as the driver reads it. A device without any argument may be one of EAL's arguments: its role is not known.
fn is_client(arguments: &str) -> bool {
    let role = arguments.split(',').find_map(|argument| argument.trim().strip_prefix("role="));
    !arguments.is_empty() && role.is_none_or(|role| !role.contains("server") && !role.contains("master"))
}

/// Starts a configured port. A client's start fails while its server is not there.
pub(super) fn start(device: &Device) -> Result<(), Error> {
    let memif = device.memif();
    let before = memif.filter(|memif| memif.is_client).map(|_| Channel::all());
    // SAFETY: the port is configured and its queues are set up; nobody is in them, as it is stopped and a gate, if it has
    // one, closed.
    let result = unsafe { dpdk_sys::rte_eth_dev_start(device.id()) };
    check("rte_eth_dev_start", result, || device.context())?;
    device.set_started(true);
    if let Some(memif) = memif {
        if let Some(before) = before {
            let new = Channel::all().into_iter().find(|channel| !before.contains(channel));
            *memif.channel.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
        memif.gate.open();
    }
    Ok(())
}

fn stop(device: &Device, memif: &Memif) {
    // Here the driver disconnects, which the interrupt thread must not do at the same time.
    let _held = memif.hold();
    memif.gate.close();
    // SAFETY: the port is started, and nobody is in its queues.
    let result = unsafe { dpdk_sys::rte_eth_dev_stop(device.id()) };
    if let Err(error) = check("rte_eth_dev_stop", result, || device.context()) {
        tracing::warn!(%error, "a memif port does not stop");
    }
    device.set_started(false);
}

/// A client's end of its connection to a server. The driver keeps the descriptor to itself and tells nobody when it has
/// closed it. A connection that stands is never given up: the server may be slow, and a DPDK server ends with a connection
/// that is gone before it was greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Channel {
    fd: RawFd,
    inode: u64,
}

impl Channel {
    /// All of the process.
    fn all() -> Vec<Channel> {
        let Ok(files) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
        files.flatten().filter_map(|file| Channel::at(file.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// A socket without a name of its own that is connected to one with a name.
    fn at(fd: RawFd) -> Option<Channel> {
        let file = fs::read_link(Path::new("/proc/self/fd").join(fd.to_string())).ok()?;
        let inode = file.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        let named = |address: &UnixAddr| address.path().is_some() || address.as_abstract().is_some();
        // SAFETY: the descriptor is only asked for its type; whoever closes it meanwhile gets an error back here.
        let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let is_client = getsockopt(&socket, sockopt::SockType) == Ok(SockType::SeqPacket)
            && getsockname::<UnixAddr>(fd).is_ok_and(|own| !named(&own))
            && getpeername::<UnixAddr>(fd).is_ok_and(|peer| named(&peer));
        is_client.then_some(Channel { fd, inode })
    }

    fn stands(self) -> bool {
        Channel::at(self.fd) == Some(self)
    }
}

/// Connects memif clients whose port is not started or whose server has left, until dropped.
///
/// In a thread of its own: a server that listens and does not accept keeps the driver in connect(2).
#[derive(Debug)]
pub struct Reconnector {
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Reconnector {
    /// For those of `ports` that are clients; `None` without one.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start<'a>(ports: impl Iterator<Item = &'a Port<Started>>) -> std::io::Result<Option<Reconnector>> {
        let client = |port: &Port<Started>| {
            port.device.memif()?.is_client.then(|| Client::new(Arc::clone(&port.device)))
        };
        let mut clients: Vec<Client> = ports.filter_map(client).collect();
        if clients.is_empty() {
            return Ok(None);
        }
        let (stop, stopped) = channel();
        let (end, ended) = channel::<()>();
        let thread = thread::Builder::new().name("memif".into()).spawn(move || {
            let _end = end;
            loop {
                clients.iter_mut().for_each(Client::look);
                if stopped.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Some(Reconnector { stop: Some(stop), ended, thread: Some(thread) }))
    }
}

impl Drop for Reconnector {
    /// A thread that is stuck in connect(2) is left: the process is about to end.
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// A port of the [`Reconnector`].
struct Client {
    device: Arc<Device>,
    due: Instant,
    pause: Duration,
    told: bool,
}

impl Client {
    fn new(device: Arc<Device>) -> Client {
        Client { device, due: Instant::now(), pause: PAUSE_MIN, told: false }
    }

    fn look(&mut self) {
        let Some(memif) = self.device.memif() else { return };
        let channel = *memif.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if channel.is_some_and(Channel::stands) {
            if super::stats::read_link(&self.device).is_ok_and(|link| link.up) {
                (self.pause, self.told) = (PAUSE_MIN, false);
            }
            return;
        }
        if Instant::now() < self.due {
            return;
        }
        // The driver complains each time.
        let _setting_up = log::SettingUp::begin();
        if self.device.is_started() {
            stop(&self.device, memif);
        }
        log::forget();
        if let Err(error) = start(&self.device)
            && !std::mem::replace(&mut self.told, true)
        {
            let device = self.device.name();
            tracing::debug!(device, %error, "a memif client does not connect");
            tracing::info!(device, "no memif server: the port connects as soon as there is one");
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.due = Instant::now() + self.pause;
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two attempts; doubled each time that there was none.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// For the thread to end.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_read_as_the_driver_reads_it() {
        for (arguments, expected) in [
            ("role=client,id=1", true),
            ("id=1,role=slave", true),
            ("id=1", true),
            ("role=server", false),
            ("id=0, role=master", false),
            ("", false),
        ] {
            assert_eq!(is_client(arguments), expected, "{arguments}");
        }
    }
}
