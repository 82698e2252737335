//! Servers that tell a client how they see it, and then echo: what an inside host needs to learn its outside endpoint.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::namespace::Namespace;
use crate::tcp_server::TcpServer;

/// Octets: thousands of datagrams may come while the reflector waits for a CPU.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Answers every datagram with the sender's endpoint, a blank and the datagram.
pub(crate) struct UdpReflector {
    pub(crate) address: SocketAddrV4,
    pub(crate) socket: UdpSocket,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpReflector {
    pub(crate) fn new(namespace: &Namespace, address: Ipv4Addr, port: u16) -> UdpReflector {
        let socket = namespace.udp_on(address, port);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).expect("root may");
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (socket, ended) = (socket.try_clone().expect("a descriptor"), Arc::clone(&ended));
            move || reflect_datagrams(&socket, &ended)
        });
        UdpReflector { address: SocketAddrV4::new(address, port), socket, ended, thread: Some(thread) }
    }
}

impl Drop for UdpReflector {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn reflect_datagrams(socket: &UdpSocket, ended: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !ended.load(Ordering::Relaxed) {
        // An ICMP error about an earlier answer is an error of the next call; a reflector has no use for it.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let mut answer = format!("{from} ").into_bytes();
        answer.extend_from_slice(&buffer[..length]);
        let _ = socket.send_to(&answer, from);
    }
}

/// Sends one datagram to a reflector and returns the endpoint that it was seen from.
pub(crate) fn ask(socket: &UdpSocket, reflector: SocketAddrV4) -> SocketAddrV4 {
    try_ask(socket, reflector).unwrap_or_else(|e| panic!("no answer from {reflector}: {e}"))
}

/// [`ask`], for those who may get no answer.
pub(crate) fn try_ask(socket: &UdpSocket, reflector: SocketAddrV4) -> io::Result<SocketAddrV4> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let question = format!("question {}", NEXT.fetch_add(1, Ordering::Relaxed));
    socket.send_to(question.as_bytes(), reflector)?;
    loop {
        let (answer, from) = receive(socket)?;
        let Some(seen) = answer.strip_suffix(&question) else { continue };
        assert_eq!(from, SocketAddr::from(reflector), "the answer comes from another endpoint");
        return Ok(seen.trim_end().parse().expect("an endpoint"));
    }
}

/// The next datagram as text, and its sender.
pub(crate) fn receive(socket: &UdpSocket) -> io::Result<(String, SocketAddr)> {
    let mut buffer = [0; 2048];
    let (length, from) = receive_into(socket, &mut buffer)?;
    Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), from))
}

/// The next datagram: how long it is, and its sender. A process that is stopped and goes on, or frozen and thawed, is
/// interrupted where it waits for a bounded time (signal(7)); it waits anew.
pub(crate) fn receive_into(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

/// Tells every connection its remote endpoint in a line, then echoes until the client has finished.
pub(crate) struct TcpReflector {
    _server: TcpServer,
}

impl TcpReflector {
    pub(crate) fn new(namespace: &Namespace, port: u16) -> TcpReflector {
        TcpReflector { _server: TcpServer::new(namespace, port, reflect_connection) }
    }
}

fn reflect_connection(mut stream: TcpStream, from: SocketAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    writeln!(stream, "{from}")?;
    io::copy(&mut stream.try_clone()?, &mut stream)?;
    Ok(())
}

/// The endpoint that a TCP reflector has seen this connection from; the first thing to read from it.
pub(crate) fn seen(stream: &TcpStream) -> SocketAddrV4 {
    let mut line = String::new();
    // One byte at a time: what follows the line belongs to the test.
    BufReader::with_capacity(1, stream).read_line(&mut line).expect("the reflector's line");
    line.trim_end().parse().expect("an endpoint")
}
