//! What the gateway tells its links when they come up.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::frame::{Mac, ethernet};
use crate::gateway::Gateway;
use crate::hostile::mac_of;
use crate::lab::{self, Lab, Options};
use crate::packet_socket::PacketSocket;

/// RFC 5227 section 2.3.
#[test]
fn announces_own_and_proxied_addresses_twice_whenever_a_link_comes_up() {
    // Times are taken as a socket is read.
    let _turn = lab::turn_alone();
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

/// As many as there are, paced.
#[test]
fn announces_511_addresses_and_more_twice() {
    let _turn = lab::turn();
    let namespace = lab::namespace("alone");
    let work = tempfile::tempdir().expect("a directory");
    let config = work.path().join("gateway.toml");
    let text = lab::config(Options::DEFAULT, work.path())
        .replace("203.0.113.2/24", "203.0.113.2/22")
        .replace("203.0.113.10-203.0.113.12", "203.0.114.0-203.0.115.254");
    fs::write(&config, text).expect("a file");
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let heard = namespace
        .enter(|| socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll))
        .expect("root may open packet sockets");
    let mut gateway = Gateway::start(&namespace, &config);
    let (first, last) = (Ipv4Addr::new(203, 0, 114, 0).to_bits(), Ipv4Addr::new(203, 0, 115, 254).to_bits());
    let all: Vec<Ipv4Addr> = (first..=last).map(Ipv4Addr::from_bits).collect();
    assert_eq!(all.len(), 511);
    let said = hear(&heard, Duration::from_secs(30), |said| {
        all.iter().all(|address| said.get(address).is_some_and(|times| times.len() >= 2))
    });
    assert_eq!(gateway.end_on(Signal::SIGTERM).code(), Some(0));
    for address in &all {
        let times = said.get(address).map_or(&[][..], Vec::as_slice);
        let &[first, second] = times else { panic!("{address}: {times:?}\n{}", gateway.log()) };
        assert!(second - first >= Duration::from_millis(1500), "{address}: {:?}", second - first);
    }
    let log = gateway.log();
    assert!(log.contains("link up"), "{log}");
}

lab::in_a_lab!(rfc5227_2_4_a_claimed_address_is_announced_again_once_in_ten_seconds);
fn rfc5227_2_4_a_claimed_address_is_announced_again_once_in_ten_seconds(lab: &mut Lab) {
    // The announcements of the start are over.
    thread::sleep(Duration::from_secs(3));
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let heard = lab
        .router
        .enter(|| socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll))
        .expect("root may open packet sockets");
    let socket = PacketSocket::new(&lab.router);
    let claimed = Ipv4Addr::new(203, 0, 113, 10);
    for _ in 0..5 {
        socket.send(&claim(socket.mac(), claimed));
        thread::sleep(Duration::from_millis(100));
    }
    let said = hear(&heard, Duration::from_secs(2), |_| false);
    assert_eq!(said.get(&claimed).map(Vec::len), Some(1), "{said:?}\n{}", lab.gateway.log());
    let conflicts = lab.gateway.metrics().sum("address_conflicts_total", &[("interface", "outside")]);
    assert_eq!(conflicts, 5);
    let log = lab.gateway.log();
    assert_eq!(log.matches("another station claims an address of this gateway").count(), 1, "{log}");
}

lab::in_a_lab!(arp_of_another_station_does_not_move_a_neighbour_that_answers);
fn arp_of_another_station_does_not_move_a_neighbour_that_answers(lab: &mut Lab) {
    let socket = PacketSocket::new(&lab.b);
    let gateway = mac_of(&lab.a, "10.64.0.1");
    lab.a.exec("ping -q -c 1 -W 2 198.51.100.10");
    for to in [[0xff; 6], gateway] {
        let mut frame = claim(socket.mac(), lab::HOST_A);
        frame[..6].copy_from_slice(&to);
        socket.send(&frame);
        // Exits with an error unless every single one is answered.
        lab.a.exec("ping -q -c 8 -i 0.1 -W 1 -w 3 198.51.100.10");
    }
    let refused = lab.gateway.metrics().sum("neighbor_events_total", &[("event", "refused")]);
    assert!(refused >= 1, "{}", lab.gateway.log());
    let rows = lab.gateway.log();
    assert!(rows.contains("claims the address of a neighbour that answers"), "{rows}");
}

/// An ARP reply to everybody, in which a station says that it has this address.
fn claim(station: Mac, address: Ipv4Addr) -> Vec<u8> {
    let header = [0, 1, 8, 0, 6, 4, 0, 2];
    let body = [&header[..], &station, &address.octets(), &[0xff; 6], &address.octets()].concat();
    ethernet([0xff; 6], station, 0x0806, &body)
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
