//! Clients of the management server that take all they can get, over TCP: neither traffic nor the operator at the unix
//! socket notices. With two workers only: a listing asks them all, the server has no other part in how many there are.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt};

use crate::lab::{ALONE, Lab, SERVER, in_a_lab};
use crate::reflector::{UdpReflector, ask};

const MANAGEMENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464);
/// More than are served at once, and no more than the kernel lets wait for that (64 and 128): a further one would ask for its
/// connection again and again until one of the others has had its time.
const CROWD: usize = 150;
const FLOWS: u16 = 1000;
/// Well below how long a crowd may hold its connections.
const LASTING: Duration = Duration::from_secs(5);
/// How long the operator waits for a page or for a long listing, at most.
const SOON: Duration = Duration::from_secs(2);

in_a_lab!(slow_heads_disturb_neither_traffic_nor_the_operator, ALONE, two_workers);
fn slow_heads_disturb_neither_traffic_nor_the_operator(lab: &mut Lab) {
    undisturbed(lab, |lab| {
        let head = b"GET /metrics HTTP/1.1\r\nHost: slow\r\nX-Never: ends";
        (0..CROWD).map(|_| client(lab, head)).collect()
    });
}

in_a_lab!(stalled_readers_disturb_neither_traffic_nor_the_operator, ALONE, two_workers);
fn stalled_readers_disturb_neither_traffic_nor_the_operator(lab: &mut Lab) {
    undisturbed(lab, |lab| {
        let asked = ["/api/v1/sessions?limit=1000", "/metrics"].map(|path| {
            // More answers than any buffer takes.
            format!("GET {path} HTTP/1.1\r\nHost: stalled\r\n\r\n").repeat(100)
        });
        (0..CROWD).map(|nth| client(lab, asked[nth % asked.len()].as_bytes())).collect()
    });
}

/// A client that sends this and reads nothing, into the smallest buffer that there is.
fn client(lab: &Lab, request: &[u8]) -> TcpStream {
    let new = || socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let socket = lab.middle.enter(new).expect("a socket");
    setsockopt(&socket, sockopt::RcvBuf, &1).expect("a small buffer");
    connect(socket.as_raw_fd(), &SockaddrIn::from(MANAGEMENT)).expect("a connection");
    let mut stream = TcpStream::from(socket);
    stream.write_all(request).expect("it is sent");
    stream
}

/// While the crowd is there, every flow is answered each time that it asks, and so are pings and the operator.
fn undisturbed(lab: &Lab, crowd: impl FnOnce(&Lab) -> Vec<TcpStream>) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let flows: Vec<UdpSocket> = (0..FLOWS).map(|nth| lab.a.udp(10_000 + nth)).collect();
    let outside: Vec<_> = flows.iter().map(|flow| ask(flow, reflector.address)).collect();
    let _crowd = crowd(lab);
    let until = Instant::now() + LASTING;
    thread::scope(|scope| {
        scope.spawn(|| {
            let pings = lab.b.exec("ping -q -c 250 -i 0.02 -W 2 198.51.100.10");
            assert!(pings.contains(" 250 received"), "{pings}");
        });
        scope.spawn(|| {
            while Instant::now() < until {
                for (flow, outside) in flows.iter().zip(&outside) {
                    assert_eq!(ask(flow, reflector.address), *outside);
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let refused = lab.middle.try_exec("curl -fsS --max-time 1 http://127.0.0.1:9464/healthz");
        assert!(!refused.status.success(), "the crowd holds all that TCP may have");
        while Instant::now() < until {
            for path in ["/readyz", "/metrics", "/api/v1/sessions?limit=1000"] {
                let asked = Instant::now();
                lab.gateway.get(path);
                assert!(asked.elapsed() < SOON, "{path} took {:?}", asked.elapsed());
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
}
