//! What the gateway tells its links when they come up.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::gateway::Gateway;
use crate::lab::{self, Options};

/// RFC 5227 section 2.3.
#[test]
fn announces_own_and_proxied_addresses_twice_whenever_a_link_comes_up() {
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
    let inside = addresses(["10.64.0.1"]);
    let outside = addresses(["203.0.113.2", "203.0.113.10", "203.0.113.12", "203.0.113.13", "203.0.113.20"]);
    let all = [&inside[..], &outside].concat();
    let twice = |of: &[Ipv4Addr], said: &Said| {
        of.iter().all(|address| said.get(address).is_some_and(|times| times.len() >= 2))
    };
    let said = hear(&heard, Duration::from_secs(20), |said| twice(&all, said));
    namespace.ip("link set tap-out down");
    assert_eq!(hear(&heard, Duration::from_secs(1), |_| false), Said::new());
    namespace.ip("link set tap-out up");
    let again = hear(&heard, Duration::from_secs(10), |said| twice(&outside, said));
    assert_eq!(gateway.end_on(Signal::SIGTERM).code(), Some(0));
    for (said, of) in [(&said, &all[..]), (&again, &outside)] {
        for address in of {
            let times = said.get(address).map_or(&[][..], Vec::as_slice);
            let &[first, second] = times else { panic!("{address}: {times:?}\n{}", gateway.log()) };
            let apart = second - first;
            assert!((1900..3000).contains(&apart.as_millis()), "{address}: {apart:?}");
        }
    }
    assert!(!again.contains_key(&inside[0]), "the inside link was up all the time");
}

fn addresses<const N: usize>(texts: [&str; N]) -> [Ipv4Addr; N] {
    texts.map(|text| text.parse().expect("an address"))
}

/// When each address was announced.
type Said = HashMap<Ipv4Addr, Vec<Instant>>;

/// Listens until it `is_enough`, or for so long.
fn hear(heard: &impl AsRawFd, patience: Duration, is_enough: impl Fn(&Said) -> bool) -> Said {
    let (mut said, until) = (Said::new(), Instant::now() + patience);
    let mut frame = [0; 2048];
    while !is_enough(&said) && Instant::now() < until {
        match recv(heard.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            Ok(length) => {
                if let Some(address) = announced(&frame[..length]) {
                    said.entry(address).or_default().push(Instant::now());
                }
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
    said
}

/// The address that an ARP request to all asks for and tells at once.
fn announced(frame: &[u8]) -> Option<Ipv4Addr> {
    let octets = |at: usize| frame.get(at..at + 4).map(|octets| [octets[0], octets[1], octets[2], octets[3]]);
    let (sender, target) = (octets(28)?, octets(38)?);
    let is_announcement = frame[..6] == [0xff; 6] && frame[12..14] == [8, 6] && frame[20..22] == [0, 1];
    (is_announcement && sender == target).then_some(sender.into())
}
