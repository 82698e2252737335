//! Datagrams larger than an Ethernet frame: the hosts' kernels cut them up and put them together.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::frame::{Mac, ethernet, fragments, udp};
use crate::hostile::mac_of;
use crate::lab::{FORWARD_UDP, HOST_A, Lab, Options, SERVER, STATIC, in_a_lab};
use crate::namespace::Namespace;
use crate::packet_socket::PacketSocket;
use crate::reflector::{UdpReflector, ask, receive_into};

/// One octet more than a frame holds, a few fragments, many, and all but the largest datagram.
const SIZES: [usize; 4] = [1473, 4000, 9000, 65_467];
const EIF: Options = Options { filtering: "endpoint-independent", ..Options::DEFAULT };
const IPV4: u16 = 0x0800;

/// Different in every octet from its neighbours.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Sends each size from `client` to `remote`, which `server` serves and sends back.
fn echo_all(client: &UdpSocket, server: &UdpSocket, remote: SocketAddrV4) {
    let ended = AtomicBool::new(false);
    for socket in [client, server] {
        setsockopt(socket, sockopt::RcvBufForce, &(8 << 20)).expect("root may");
    }
    server.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0; 1 << 16];
            while !ended.load(Ordering::Relaxed) {
                let Ok((len, from)) = server.recv_from(&mut buffer) else { continue };
                server.send_to(&buffer[..len], from).expect("sent back");
            }
        });
        let echoed: io::Result<Vec<bool>> = SIZES
            .into_iter()
            .map(|len| {
                let (sent, mut received) = (payload(len), vec![0; 1 << 16]);
                client.send_to(&sent, remote)?;
                let (len, from) = receive_into(client, &mut received)?;
                Ok(received[..len] == sent && from == remote.into())
            })
            .collect();
        ended.store(true, Ordering::Relaxed);
        assert_eq!(echoed.expect("an answer to each"), [true; SIZES.len()]);
    });
}

in_a_lab!(rfc4787_req14_large_datagrams_are_echoed);
fn rfc4787_req14_large_datagrams_are_echoed(lab: &mut Lab) {
    let server = lab.server.udp_on(SERVER, 7);
    echo_all(&lab.a.udp(0), &server, SocketAddrV4::new(SERVER, 7));
    echo_all(&lab.b.udp(0), &server, SocketAddrV4::new(SERVER, 7));
    let metrics = lab.gateway.settled();
    let events = |event| metrics.sum("fragments_total", &[("event", event)]);
    assert!(events("received") > 200 && events("translated") == events("received"));
    assert_eq!(metrics.sum("fragmented_datagrams", &[]), 0);
}

in_a_lab!(rfc4787_req14_large_datagrams_reach_forwards_static_hosts_and_hairpin);
fn rfc4787_req14_large_datagrams_reach_forwards_static_hosts_and_hairpin(lab: &mut Lab) {
    let forwarded = lab.b.udp(5300);
    let permanent = lab.c.udp(9);
    for client in [lab.server.udp_on(SERVER, 0), lab.a.udp(0)] {
        echo_all(&client, &forwarded, FORWARD_UDP);
        echo_all(&client, &permanent, SocketAddrV4::new(STATIC, 9));
    }
}

in_a_lab!(rfc4787_req14_large_pings_are_answered);
fn rfc4787_req14_large_pings_are_answered(lab: &mut Lab) {
    let answer = lab.a.exec("ping -q -c 5 -i 0.05 -W 2 -s 4000 198.51.100.10");
    assert!(answer.contains(" 5 received"), "{answer}");
    let answer = lab.server.exec(&format!("ping -q -c 5 -i 0.05 -W 2 -s 4000 {STATIC}"));
    assert!(answer.contains(" 5 received"), "{answer}");
}

/// Sends a datagram last fragment first, past the kernel's own stack.
fn send_reversed(
    host: &Namespace,
    gateway: Mac,
    from: SocketAddrV4,
    to: SocketAddrV4,
    ident: u16,
    payload: &[u8],
) {
    let socket = PacketSocket::new(host);
    let whole = udp((*from.ip(), from.port()), (*to.ip(), to.port()), &[], payload);
    for fragment in fragments(&whole, 1480, ident).iter().rev() {
        socket.send(&ethernet(gateway, socket.mac(), IPV4, fragment));
    }
}

in_a_lab!(rfc4787_req14_fragments_arrive_last_first, EIF);
fn rfc4787_req14_fragments_arrive_last_first(lab: &mut Lab) {
    let (inside, outside) = (mac_of(&lab.a, "10.64.0.1"), mac_of(&lab.router, "203.0.113.2"));
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let host = lab.a.udp(5000);
    let external = ask(&host, reflector.address);
    let server = lab.server.udp_on(SERVER, 9000);
    let mut received = vec![0; 1 << 16];
    for (ident, len) in (1..).zip([1473, 4000, 9000, 65_000]) {
        let remote = SocketAddrV4::new(SERVER, 9000);
        send_reversed(&lab.a, inside, SocketAddrV4::new(HOST_A, 5000), remote, ident, &payload(len));
        let (seen, from) = receive_into(&server, &mut received).expect("the datagram outside");
        assert!(received[..seen] == payload(len) && from == external.into(), "{len} octets out");
        let remote = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 77), 9);
        send_reversed(&lab.router, outside, remote, external, ident, &payload(len));
        let (seen, from) = receive_into(&host, &mut received).expect("the datagram inside");
        assert!(received[..seen] == payload(len) && from == remote.into(), "{len} octets in");
    }
    assert!(lab.gateway.settled().sum("fragments_total", &[("event", "held")]) > 90);
}

in_a_lab!(rfc4787_req14a_orphaned_fragments_cost_other_hosts_nothing);
fn rfc4787_req14a_orphaned_fragments_cost_other_hosts_nothing(lab: &mut Lab) {
    let gateway = mac_of(&lab.router, "203.0.113.2");
    let server = lab.server.udp_on(SERVER, 7);
    let client = lab.a.udp(0);
    let target = (Ipv4Addr::new(203, 0, 113, 10), 9);
    let socket = PacketSocket::new(&lab.router);
    for ident in 0..2000 {
        let whole = udp((Ipv4Addr::new(192, 0, 2, (ident % 256) as u8), 9), target, &[], &payload(3000));
        let orphan = &fragments(&whole, 1480, ident)[1];
        socket.send(&ethernet(gateway, socket.mac(), IPV4, orphan));
        if ident % 500 == 499 {
            echo_all(&client, &server, SocketAddrV4::new(SERVER, 7));
        }
    }
    let metrics = lab.gateway.settled();
    assert!(metrics.dropped("fragments-full") + metrics.dropped("fragment-orphan") > 500);
    assert!(metrics.sum("held_packets", &[]) <= 1024);
}
