//! net_memif: what its ports have beyond others.
//!
//! The driver maps and unmaps the shared rings in DPDK's interrupt thread, without regard to bursts. So every burst passes the
//! port's [`Gate`] ([`interrupts`](super::interrupts)).

use std::fs;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::{SockType, UnixAddr, getpeername, getsockname, getsockopt, sockopt};

use super::Error;
use super::gate::Gate;
use super::interrupts::{Held, Interrupts};

const DRIVER: &str = "net_memif";

/// What a port of net_memif has beyond others.
#[derive(Debug)]
pub(super) struct Memif {
    interrupts: &'static Interrupts,
    /// Closed while the port is stopped, and while drivers run in the interrupt thread.
    gate: Arc<Gate>,
    is_client: bool,
    /// A client's connection.
    connection: Mutex<Option<Connection>>,
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
        Ok(Some(Memif { interrupts, gate, is_client, connection: Mutex::default() }))
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub(super) fn is_client(&self) -> bool {
        self.is_client
    }

    /// Of a client, the connections to named sockets that the process has: its own is not among them before it is started.
    pub(super) fn connections(&self) -> Option<Vec<Connection>> {
        self.is_client.then(Connection::all)
    }

    /// The port is started; `before` are a client's [`connections`](Memif::connections) before that.
    pub(super) fn started(&self, before: Option<Vec<Connection>>) {
        if let Some(before) = before {
            let new = Connection::all().into_iter().find(|connection| !before.contains(connection));
            *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = new;
        }
        self.gate.open();
    }

    /// Whether a client's connection to its server stands.
    pub(super) fn is_connected(&self) -> bool {
        let connection = *self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.is_some_and(Connection::stands)
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

/// A client's end of its connection to a server. The driver keeps the descriptor to itself and does not report that it has
/// closed it. A connection that stands is never given up: the server may be slow, and a DPDK server ends with a connection
/// that is gone before it was greeted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection {
    fd: RawFd,
    inode: u64,
}

impl Connection {
    /// All of the process.
    fn all() -> Vec<Connection> {
        let Ok(files) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
        files.flatten().filter_map(|file| Connection::at(file.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// A socket without a name of its own that is connected to one with a name.
    fn at(fd: RawFd) -> Option<Connection> {
        let file = fs::read_link(Path::new("/proc/self/fd").join(fd.to_string())).ok()?;
        let inode = file.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        let named = |address: &UnixAddr| address.path().is_some() || address.as_abstract().is_some();
        // SAFETY: the descriptor is only asked for its type. If it is closed meanwhile, the call returns an error.
        let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        let is_client = getsockopt(&socket, sockopt::SockType) == Ok(SockType::SeqPacket)
            && getsockname::<UnixAddr>(fd).is_ok_and(|own| !named(&own))
            && getpeername::<UnixAddr>(fd).is_ok_and(|peer| named(&peer));
        is_client.then_some(Connection { fd, inode })
    }

    fn stands(self) -> bool {
        Connection::at(self.fd) == Some(self)
    }
}

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
