//! Clients that take more than is theirs.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use natgw_management::Limits;

use crate::client::{get, get_unix};
use crate::start_within;

const SHORT: Limits = Limits {
    connections: 4,
    head_timeout: Duration::from_millis(400),
    connection_time: Duration::from_millis(1200),
    ..Limits::DEFAULT
};

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n";

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Whether the server has ended the connection; waits for it.
fn ends(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn answers(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    stream.write_all(REQUEST).is_ok()
        && stream.read(&mut buffer).is_ok_and(|read| buffer[..read].starts_with(b"HTTP/1.1 200 OK"))
}

#[test]
fn a_client_that_sends_a_byte_at_a_time_is_cut_off() {
    let server = start_within(SHORT, None);
    let mut stream = connect(server.address);
    let begun = Instant::now();
    // A head of 40 bytes would take 4 s.
    let sent = REQUEST.iter().take_while(|&&byte| {
        thread::sleep(Duration::from_millis(100));
        stream.write_all(&[byte]).is_ok()
    });
    let sent = sent.count();
    assert!(sent < REQUEST.len() && ends(&mut stream), "{sent} bytes");
    assert!(begun.elapsed() >= SHORT.head_timeout);
}

#[test]
fn an_idle_connection_is_ended() {
    let server = start_within(SHORT, None);
    for requests in [0, 2] {
        let mut stream = connect(server.address);
        assert!((0..requests).all(|_| answers(&mut stream)));
        let idle = Instant::now();
        assert!(ends(&mut stream), "after {requests} requests");
        let idle = idle.elapsed();
        assert!(
            idle + Duration::from_millis(50) >= SHORT.head_timeout && idle < SHORT.head_timeout * 2,
            "{idle:?}"
        );
    }
}

#[test]
fn a_connection_does_not_last_for_ever_however_busy() {
    let server = start_within(SHORT, None);
    let mut stream = connect(server.address);
    let begun = Instant::now();
    while answers(&mut stream) {
        assert!(begun.elapsed() < SHORT.connection_time * 2, "it still answers");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(begun.elapsed() >= SHORT.connection_time);
}

#[test]
fn more_connections_than_allowed_wait_for_their_turn() {
    let server = start_within(Limits { head_timeout: Duration::from_secs(2), ..SHORT }, None);
    let mut crowd: Vec<_> = (0..SHORT.connections).map(|_| connect(server.address)).collect();
    assert!(crowd.iter_mut().all(answers));
    let mut late = connect(server.address);
    late.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(!answers(&mut late), "one more than allowed");
    assert_eq!(get_unix(&server.socket, "/healthz").status, 200);
    drop(crowd.pop());
    late.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut buffer = [0; 1024];
    assert!(late.read(&mut buffer).is_ok_and(|read| buffer[..read].starts_with(b"HTTP/1.1 200 OK")));
}

#[test]
fn an_unexpected_body_is_not_waited_for() {
    let server = start_within(SHORT, None);
    let mut stream = connect(server.address);
    let begun = Instant::now();
    let head = "POST /api/v1/flush HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 403"));
    // It takes none of it.
    let sent = (0..10_000).take_while(|_| stream.write_all(&[0; 65536]).is_ok()).count();
    assert!(sent < 10_000 && begun.elapsed() < SHORT.connection_time + SHORT.close_timeout, "{sent} pieces");
    assert_eq!(get(server.address, "/healthz").status, 200);
}
