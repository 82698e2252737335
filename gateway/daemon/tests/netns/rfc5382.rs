//! RFC 5382: NAT behaviour for TCP.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, sockopt};

use crate::lab::{Lab, Options, POOL, SERVER, SERVER_2, in_a_lab};
use crate::namespace::{Namespace, PATIENCE};
use crate::reflector::{TcpReflector, seen};

/// Lets no stranger in, and says so after a second.
const PICKY: Options = Options {
    filtering: "address-and-port-dependent",
    timeouts: "tcp_unsolicited_syn = 1",
    ..Options::DEFAULT
};

in_a_lab!(rfc5382_req1_mapping_is_endpoint_independent);
fn rfc5382_req1_mapping_is_endpoint_independent(lab: &mut Lab) {
    let _servers = [7, 8].map(|port| TcpReflector::new(&lab.server, port));
    let remotes = [(SERVER, 7), (SERVER_2, 7), (SERVER_2, 8)].map(|(ip, port)| SocketAddrV4::new(ip, port));
    let mut outside = HashSet::new();
    for remote in remotes {
        let stream = lab.a.tcp_from(5000, remote).expect("a connection");
        outside.insert(seen(&stream));
        // A reset frees the port for the next connection at once.
        setsockopt(&stream, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })
            .expect("an option");
    }
    assert_eq!(outside.len(), 1, "one inside endpoint has several outside endpoints: {outside:?}");
    assert!(outside.iter().all(|endpoint| POOL.contains(endpoint.ip())), "{outside:?} is not in the pool");
}

in_a_lab!(rfc5382_req2_a_half_closed_connection_still_carries_the_answer);
fn rfc5382_req2_a_half_closed_connection_still_carries_the_answer(lab: &mut Lab) {
    let listener = lab.server.tcp_listener(80);
    let mut client = lab.a.tcp(SocketAddrV4::new(SERVER, 80)).expect("a connection");
    let (mut server, _) = listener.accept().expect("a connection");
    client.write_all(b"all I have to say").expect("sent");
    client.shutdown(Shutdown::Write).expect("half closed");
    let mut question = String::new();
    server.read_to_string(&mut question).expect("the question and its end");
    assert_eq!(question, "all I have to say");
    for part in [&b"first "[..], b"second"] {
        std::thread::sleep(Duration::from_millis(100));
        server.write_all(part).expect("sent");
    }
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the answer and its end");
    assert_eq!(answer, "first second");
}

in_a_lab!(rfc5382_req2_a_reset_passes_either_way);
fn rfc5382_req2_a_reset_passes_either_way(lab: &mut Lab) {
    let listener = lab.server.tcp_listener(80);
    for resets in ["server", "client"] {
        let client = lab.a.tcp(SocketAddrV4::new(SERVER, 80)).expect("a connection");
        let (server, _) = listener.accept().expect("a connection");
        server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (reset, mut other) = if resets == "server" { (server, client) } else { (client, server) };
        setsockopt(&reset, sockopt::Linger, &nix::libc::linger { l_onoff: 1, l_linger: 0 })
            .expect("an option");
        drop(reset);
        let end = other.read(&mut [0; 1]).expect_err("a reset").kind();
        assert_eq!(end, ErrorKind::ConnectionReset, "reset by the {resets}");
    }
}

in_a_lab!(rfc5382_req7_two_hosts_with_the_same_source_port);
fn rfc5382_req7_two_hosts_with_the_same_source_port(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.server, 7);
    let remote = SocketAddrV4::new(SERVER, 7);
    let mut streams = [&lab.a, &lab.b].map(|host| host.tcp_from(5000, remote).expect("a connection"));
    let outside = streams.each_ref().map(seen);
    assert_ne!(outside[0], outside[1], "two inside endpoints share an outside endpoint");
    for (stream, message) in streams.iter_mut().zip([b"from host a", b"from host b"]) {
        stream.write_all(message).expect("sent");
    }
    for (stream, message) in streams.iter_mut().zip([b"from host a", b"from host b"]) {
        let mut echo = [0; 11];
        stream.read_exact(&mut echo).expect("the echo");
        assert_eq!(&echo, message);
    }
}

in_a_lab!(rfc5382_req3_unsolicited_connections_are_not_let_in);
fn rfc5382_req3_unsolicited_connections_are_not_let_in(lab: &mut Lab) {
    let _inside = TcpReflector::new(&lab.a, 5000);
    let unasked = SocketAddrV4::new(*POOL.start(), 5000);
    assert!(lab.server.tcp_timeout(unasked, Duration::from_millis(500)).is_err(), "a stranger got in");
    assert!(lab.gateway.settled().dropped("no-mapping") > 0, "{:?}", lab.gateway.settled().drops());
}

in_a_lab!(rfc5382_req9_a_closed_port_refuses_the_connection);
fn rfc5382_req9_a_closed_port_refuses_the_connection(lab: &mut Lab) {
    let refused = lab.a.tcp(SocketAddrV4::new(SERVER, 4444)).expect_err("nobody listens there");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

in_a_lab!(rfc5382_req9_an_icmp_error_about_a_connection_attempt_arrives);
fn rfc5382_req9_an_icmp_error_about_a_connection_attempt_arrives(lab: &mut Lab) {
    lab.router.ip("route add unreachable 198.51.100.99/32");
    let remote = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 99), 80);
    let error = lab.a.tcp(remote).expect_err("the router has no way there");
    assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{error}");
}

in_a_lab!(rfc5382_req4_an_unsolicited_connection_is_refused_after_a_while, PICKY);
fn rfc5382_req4_an_unsolicited_connection_is_refused_after_a_while(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.server, 7);
    let stream = lab.a.tcp(SocketAddrV4::new(SERVER, 7)).expect("a connection");
    let start = Instant::now();
    let error = lab.server.tcp(seen(&stream)).expect_err("a stranger got in");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

in_a_lab!(rfc5382_req4_two_hosts_open_at_once_to_one_outside_host, PICKY);
fn rfc5382_req4_two_hosts_open_at_once_to_one_outside_host(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.server, 7);
    // So each has a mapping, and the other side knows of it.
    let known =
        [&lab.a, &lab.b].map(|host| shared(host, 5000, SocketAddrV4::new(SERVER, 7)).expect("a connection"));
    let externals = known.each_ref().map(seen);
    assert_ne!(externals[0], externals[1]);
    std::thread::scope(|scope| {
        let calls = externals.map(|external| {
            let server = &lab.server;
            scope.spawn(move || shared(server, 6000, external))
        });
        // Its SYNs are there first.
        std::thread::sleep(Duration::from_millis(300));
        let inside = [&lab.a, &lab.b].map(|host| {
            scope.spawn(|| shared(host, 5000, SocketAddrV4::new(SERVER, 6000)).expect("opened at once"))
        });
        let mut inside = inside.map(|host| host.join().expect("no panic"));
        let mut outside = calls.map(|call| call.join().expect("no panic").expect("opened at once"));
        // Longer than an answer to a SYN would have taken.
        std::thread::sleep(Duration::from_millis(1500));
        for (at, hello) in [b"hello of a", b"hello of b"].into_iter().enumerate() {
            let mut buffer = [0; 10];
            inside[at].write_all(hello).expect("sent");
            outside[at].read_exact(&mut buffer).expect("received");
            assert_eq!(&buffer, hello);
            outside[at].write_all(hello).expect("sent");
            inside[at].read_exact(&mut buffer).expect("received");
            assert_eq!(&buffer, hello);
        }
    });
    let metrics = lab.gateway.settled();
    assert_eq!(metrics.sum("unsolicited_syns_total", &[("event", "crossed")]), 2);
    assert_eq!(metrics.sum("unsolicited_syns_total", &[("event", "expired")]), 0);
}

/// A connection from a port that others of the same host use as well.
fn shared(host: &Namespace, port: u16, remote: SocketAddrV4) -> std::io::Result<TcpStream> {
    let new =
        || nix::sys::socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    let socket = host.enter(new)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(remote))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}
