//! What the gateway tells its links at start.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::gateway::Gateway;
use crate::lab::{self, Options};

/// Neighbours that remember another station under these addresses learn better (RFC 5227 section 3).
#[test]
fn announces_own_and_proxied_addresses_at_start() {
    let _turn = lab::turn();
    let namespace = lab::namespace("alone");
    let work = tempfile::tempdir().expect("a directory");
    let config = work.path().join("gateway.toml");
    fs::write(&config, lab::config(Options::DEFAULT, work.path())).expect("a file");
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // On every interface, also those that are still to come: the announcements leave as the taps come up.
    let heard = namespace
        .enter(|| socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll))
        .expect("root may open packet sockets");
    let mut gateway = Gateway::start(&namespace, &config);
    let mut missing: BTreeSet<Ipv4Addr> =
        ["10.64.0.1", "203.0.113.2", "203.0.113.10", "203.0.113.12", "203.0.113.13", "203.0.113.20"]
            .map(|address| address.parse().expect("an address"))
            .into();
    let until = Instant::now() + Duration::from_secs(20);
    let mut frame = [0; 2048];
    while !missing.is_empty() && Instant::now() < until {
        match recv(heard.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => drop(announced(&frame[..length]).map(|address| missing.remove(&address))),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
    assert_eq!(gateway.end_on(Signal::SIGTERM).code(), Some(0));
    assert_eq!(missing, BTreeSet::new(), "not announced\n{}", gateway.log());
}

/// The address that an ARP request to all asks for and tells at once.
fn announced(frame: &[u8]) -> Option<Ipv4Addr> {
    let octets = |at: usize| frame.get(at..at + 4).map(|octets| [octets[0], octets[1], octets[2], octets[3]]);
    let (sender, target) = (octets(28)?, octets(38)?);
    let is_announcement = frame[..6] == [0xff; 6] && frame[12..14] == [8, 6] && frame[20..22] == [0, 1];
    (is_announcement && sender == target).then_some(sender.into())
}
