//! Hosts that open many connections, within the default limits.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::lab::{ALONE, Lab, Options, SERVER, in_a_lab};
use crate::management::natctl;
use crate::namespace::PATIENCE;
use crate::tcp_server::TcpServer;

const DEFAULT_LIMITS: Options = Options { default_limits: true, ..ALONE };

const CONNECTIONS: usize = 50_000;
const AT_ONCE: usize = 100;

// One host has one owner, so that limits count alike; with two workers its packets change hands besides.
in_a_lab!(a_host_opens_50_000_short_connections_by_default, DEFAULT_LIMITS, two_workers);
/// As `ab -n 50000 -c 100` does: a connection for each request, which the server closes.
fn a_host_opens_50_000_short_connections_by_default(lab: &mut Lab) {
    let _server = TcpServer::new(&lab.server, 80, |mut stream, _| {
        let mut request = [0; 18];
        stream.read_exact(&mut request)?;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello")
    });
    let (host, begun) = (&lab.a, AtomicUsize::new(0));
    let failed: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                let fetch_all = || {
                    let mut failed = Vec::new();
                    while begun.fetch_add(1, Ordering::Relaxed) < CONNECTIONS {
                        failed.extend(fetch().err().map(|error| error.to_string()));
                    }
                    failed
                };
                scope.spawn(move || host.enter(fetch_all))
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    assert!(failed.is_empty(), "{} failed, the first: {}", failed.len(), failed[0]);
    let metrics = lab.gateway.settled();
    assert_eq!(metrics.sum("session_failures_total", &[]), 0);
}

/// In the host's namespace.
fn fetch() -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddrV4::new(SERVER, 80).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.ends_with(b"hello") { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

fn echo(lab: &Lab) -> TcpServer {
    TcpServer::new(&lab.server, 80, |mut stream, _| {
        io::copy(&mut stream.try_clone()?, &mut stream).map(|_| ())
    })
}

in_a_lab!(a_connection_whose_session_is_gone_is_reset_at_once);
fn a_connection_whose_session_is_gone_is_reset_at_once(lab: &mut Lab) {
    let _server = echo(lab);
    let mut stream = lab.a.tcp(SocketAddrV4::new(SERVER, 80)).expect("a connection");
    let mut heard = [0; 5];
    stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut heard)).expect("an echo");
    lab.gateway.settled();
    assert_eq!(natctl(lab, &["flush"]), "1 sessions ended\n");
    // The host may have acknowledged the echo in between, and so know already.
    let error = stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut heard));
    let kind = error.expect_err("the connection is lost").kind();
    assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&kind), "{kind}");
    let metrics = lab.gateway.settled();
    assert_eq!((metrics.sum("tcp_resets_total", &[]), metrics.dropped("tcp-no-session")), (1, 1));
}

const PICKUP: Options = Options { nat: "tcp_pickup = true", ..Options::DEFAULT };

in_a_lab!(a_connection_whose_session_is_gone_goes_on_where_streams_are_taken_up, PICKUP);
fn a_connection_whose_session_is_gone_goes_on_where_streams_are_taken_up(lab: &mut Lab) {
    let _server = echo(lab);
    let mut stream = lab.a.tcp(SocketAddrV4::new(SERVER, 80)).expect("a connection");
    let mut heard = [0; 5];
    for _ in 0..3 {
        stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut heard)).expect("an echo");
        lab.gateway.settled();
        assert_eq!(natctl(lab, &["flush"]), "1 sessions ended\n");
    }
    stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut heard)).expect("an echo");
}
