//! Peers of memif ports that come and go while packets pass, at a gateway in a process of its own. No huge pages, no
//! privileges.
//!
//! `MEMIF_ARRIVALS` says how many come in `peers_come_and_go_under_load`, for a longer run than the suite's.
#![allow(unreachable_pub)]

#[path = "../../../dpdk/tests/dpdk_support/mod.rs"]
mod dpdk_support;
#[path = "../memif_support/mod.rs"]
mod memif_support;
mod peer;
#[path = "../programs/mod.rs"]
mod programs;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use memif_support::{Gateway, assert_sound, generate, generate_as, generator, start_gateway_as};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use peer::Peer;

const ARRIVALS: usize = 60;

/// A run of the generator that is short.
const LOAD: [&str; 11] =
    ["load", "--runs", "1", "--seconds", "0.3", "--rate", "20000", "--warmup-rate", "5000", "--flows", "600"];

/// The worker polls on the same CPU as the peer runs on: so it is as a rule in the middle of a burst when the peer goes.
#[test]
fn peers_come_and_go_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let mut gateway = start_gateway_as("server", "poll", directory.path(), 300);
    let mut here = CpuSet::new();
    here.set(dpdk_support::cpu() as usize).unwrap();
    sched_setaffinity(Pid::from_raw(0), &here).unwrap();
    let socket = directory.path().join("memif");
    let arrivals = std::env::var("MEMIF_ARRIVALS").map_or(ARRIVALS, |count| count.parse().unwrap());
    let (mut taken, mut received) = (0, 0);
    for arrival in 0..arrivals {
        let peers = [inside_frame(), outside_frame()];
        let peers: Vec<Peer> = (0..)
            .zip(&peers)
            .map(|(id, frame)| arrive(&mut gateway, directory.path(), &socket, id, frame))
            .collect();
        let until = Instant::now() + Duration::from_micros(500 * (arrival as u64 % 16));
        loop {
            peers.iter().for_each(|peer| taken += u64::from(peer.load().unwrap() > 0));
            received += u64::from(peers[1].received().unwrap() > 0);
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        if arrival % 8 == 5 {
            drop(peer::connected(&socket).unwrap());
        }
        for peer in peers {
            if arrival % 4 == 3 {
                peer.leave().unwrap();
            }
        }
        assert_alive(&mut gateway, directory.path(), arrival);
    }
    assert!(taken > 0 && received > 0, "{taken} looks saw frames taken, {received} frames sent");
    // What the last ones left behind is no use to the next.
    assert_sound(&generate(directory.path(), &LOAD)["runs"][0]);
    assert_ends_well(gateway, directory.path());
}

/// net_memif leaves a callback behind for a peer that it cannot greet any more.
#[test]
fn a_peer_that_is_gone_before_it_is_greeted_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut gateway = start_gateway_as("server", "backoff", directory.path(), 300);
    let socket = directory.path().join("memif");
    for arrival in 0..200 {
        drop(peer::connected(&socket).unwrap());
        assert_alive(&mut gateway, directory.path(), arrival);
    }
    assert_sound(&generate(directory.path(), &LOAD)["runs"][0]);
    assert_ends_well(gateway, directory.path());
}

/// The gateway is there before its servers, is in use, sees them killed, and is in use again.
#[test]
fn a_client_waits_for_its_server_and_comes_back_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = start_gateway_as("client", "backoff", directory.path(), 300);
    assert!(readiness(directory.path()).contains("the link of inside is down"));
    assert_sound(&generate_as("server", directory.path(), &LOAD)["runs"][0]);

    let endless = ["load", "--runs", "1", "--seconds", "600", "--rate", "20000", "--flows", "600"];
    let mut server = generator("server", directory.path(), &endless).spawn().unwrap();
    wait_for("the servers", || !readiness(directory.path()).contains("is down"));
    server.kill().unwrap();
    server.wait().unwrap();
    wait_for("the links to go down", || readiness(directory.path()).contains("the link of outside is down"));
    // Whoever is killed leaves the socket, which the next one cannot bind.
    std::fs::remove_file(directory.path().join("memif")).unwrap();
    assert_sound(&generate_as("server", directory.path(), &LOAD)["runs"][0]);

    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(log.contains("no memif server: the port connects as soon as there is one"), "{log}");
    assert_ends_well(gateway, directory.path());
}

/// A peer, as soon as the driver has noticed that the one before it is gone.
fn arrive(gateway: &mut Gateway, directory: &Path, socket: &Path, id: u32, frame: &[u8]) -> Peer {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match Peer::connect(socket, id, frame) {
            Ok(peer) => return peer,
            Err(error) => {
                assert_alive(gateway, directory, 0);
                assert!(Instant::now() < deadline, "{error}\n{}", log(directory));
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

fn assert_alive(gateway: &mut Gateway, directory: &Path, arrival: usize) {
    let ended = gateway.0.try_wait().unwrap();
    assert!(ended.is_none(), "arrival {arrival}: {ended:?}\n{}", log(directory));
}

fn assert_ends_well(mut gateway: Gateway, directory: &Path) {
    kill(Pid::from_raw(gateway.0.id() as i32), Signal::SIGTERM).unwrap();
    let ended = gateway.0.wait().unwrap();
    assert!(ended.success(), "{ended}\n{}", log(directory));
}

fn log(directory: &Path) -> String {
    std::fs::read_to_string(directory.join("log")).unwrap()
}

fn readiness(directory: &Path) -> String {
    let mut stream = UnixStream::connect(directory.join("control")).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// From a host behind the inside peer to a remote: the gateway translates it.
fn inside_frame() -> Vec<u8> {
    let mut packet = vec![0; 1400];
    packet[..12].copy_from_slice(&[0x45, 0, 0x05, 0x78, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 5, 198, 18, 0, 1]);
    let sum: u32 = packet[..20].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    // UDP from port 1000 to 2000, without a checksum.
    packet[20..28].copy_from_slice(&[0x03, 0xe8, 0x07, 0xd0, 0x05, 0x64, 0, 0]);
    [&memif_support::MAC_OF[0][..], &[2, 0, 0, 0, 1, 1, 8, 0], &packet].concat()
}

/// The router outside asks for the gateway's address, and is known by that.
fn outside_frame() -> Vec<u8> {
    let router = [2, 0, 0, 0, 1, 2];
    let request =
        [&[0, 1, 8, 0, 6, 4, 0, 1][..], &router, &[172, 16, 1, 2], &[0; 6], &[172, 16, 1, 1]].concat();
    [&[0xff; 6][..], &router, &[8, 6], &request, &[0; 18]].concat()
}
