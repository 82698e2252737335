//! A gateway drained for maintenance, as hosts see it.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

use crate::clients::wait_until;
use crate::lab::{Lab, Options, SERVER, in_a_lab};
use crate::management::natctl;
use crate::reflector::{TcpReflector, UdpReflector, ask, seen, try_ask};

in_a_lab!(drain_lets_sessions_go_on_and_begins_none);
fn drain_lets_sessions_go_on_and_begins_none(lab: &mut Lab) {
    let udp = UdpReflector::new(&lab.server, SERVER, 7);
    let _tcp = TcpReflector::new(&lab.server, 7);
    let server = SocketAddrV4::new(SERVER, 7);
    let socket = lab.a.udp(6000);
    let outside = ask(&socket, udp.address);
    let mut stream = lab.b.tcp(server).expect("a connection");
    seen(&stream);

    let said = natctl(lab, &["drain"]);
    let sessions = lab.gateway.metrics().sum("sessions", &[]);
    assert_eq!(said, format!("draining: the gateway ends with the last of {sessions} sessions\n"));
    assert!(!lab.gateway.is_ready(), "routers shall send traffic elsewhere");
    let status = natctl(lab, &["status"]);
    assert!(status.contains("not ready: draining: the gateway ends with the last of"), "{status}");

    assert_eq!(ask(&socket, udp.address), outside);
    stream.write_all(b"still here").expect("the connection goes on");
    let mut heard = [0; 10];
    stream.read_exact(&mut heard).expect("an echo");
    // Hosts get an ICMP error at once, and try another path.
    let refused = lab.b.tcp(server).expect_err("no connection begins");
    assert_eq!(refused.kind(), ErrorKind::HostUnreachable);
    let new = lab.a.udp(6001);
    new.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    assert!(try_ask(&new, udp.address).is_err(), "no session begins");
    let explained = natctl(lab, &["explain", "udp", "10.64.0.11:6001", "198.51.100.10:7"]);
    assert!(explained.contains("draining"), "{explained}");
    let metrics = lab.gateway.settled();
    assert_eq!(metrics.sum("draining", &[]), 1);
    assert!(metrics.sum("dropped_packets_total", &[("reason", "draining")]) >= 2, "{:?}", metrics.drops());
    assert!(metrics.sum("session_failures_total", &[("reason", "draining")]) >= 2);

    assert_eq!(natctl(lab, &["drain", "--stop"]), "sessions begin again\n");
    assert!(lab.gateway.is_ready());
    ask(&new, udp.address);
    seen(&lab.b.tcp(server).expect("a connection"));
}

const SHORT: Options = Options { timeouts: "udp = 2", ..Options::DEFAULT };

fn ends_with_its_last_session(workers: usize) {
    let mut lab = Lab::new(Options { workers, ..SHORT });
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let sockets = [lab.a.udp(6000), lab.b.udp(6000)];
    for socket in &sockets {
        ask(socket, reflector.address);
    }
    natctl(&lab, &["drain"]);
    // One goes on for longer than the other lives.
    for _ in 0..30 {
        thread::sleep(Duration::from_millis(100));
        ask(&sockets[0], reflector.address);
    }
    assert_eq!(lab.gateway.metrics().sum("sessions", &[]), 1);
    assert_eq!(lab.gateway.end_by_itself().code(), Some(0));
    assert!(lab.gateway.log().contains("drained: no session is left"), "{}", lab.gateway.log());
}

#[test]
fn drain_ends_the_gateway_with_its_last_session() {
    [1, 2].into_iter().for_each(ends_with_its_last_session);
}

#[test]
fn drain_ends_the_gateway_when_the_time_is_over() {
    let mut lab = Lab::new(Options { workers: 2, ..Options::DEFAULT });
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    ask(&lab.a.udp(6000), reflector.address);
    let said = natctl(&lab, &["drain", "--timeout", "60"]);
    assert!(said.ends_with(", or in 60 s\n"), "{said}");
    let begun = Instant::now();
    natctl(&lab, &["drain", "--timeout", "1"]);
    assert_eq!(lab.gateway.end_by_itself().code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let log = lab.gateway.log();
    assert!(log.contains("the time to drain is over") && log.contains("sessions=1"), "{log}");
}

#[test]
fn drain_of_an_idle_gateway_ends_it_at_once() {
    let mut lab = Lab::new(Options::DEFAULT);
    wait_until("no session is left", || lab.gateway.metrics().sum("sessions", &[]) == 0);
    natctl(&lab, &["drain"]);
    assert_eq!(lab.gateway.end_by_itself().code(), Some(0));
}
