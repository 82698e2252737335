//! RFC 4787: NAT behaviour for UDP.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use crate::lab::{FORWARD_UDP, HOST_A, HOST_B, Lab, Options, POOL, SERVER, SERVER_2, in_a_lab};
use crate::namespace::Namespace;
use crate::reflector::{TcpReflector, UdpReflector, ask, receive, seen};

const EIF: Options = Options { filtering: "endpoint-independent", ..Options::DEFAULT };
const APDF: Options = Options { filtering: "address-and-port-dependent", ..Options::DEFAULT };

in_a_lab!(rfc4787_req1_mapping_is_endpoint_independent);
fn rfc4787_req1_mapping_is_endpoint_independent(lab: &mut Lab) {
    let reflectors =
        [(SERVER, 7), (SERVER, 8), (SERVER_2, 7)].map(|(ip, port)| UdpReflector::new(&lab.server, ip, port));
    let socket = lab.a.udp(0);
    let seen: HashSet<_> = reflectors.iter().map(|reflector| ask(&socket, reflector.address)).collect();
    assert_eq!(seen.len(), 1, "one inside endpoint has several outside endpoints: {seen:?}");
    assert!(seen.iter().all(|endpoint| POOL.contains(endpoint.ip())), "{seen:?} is not in the pool");
}

in_a_lab!(rfc4787_req2_one_host_keeps_one_outside_address);
fn rfc4787_req2_one_host_keeps_one_outside_address(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    for host in [&lab.a, &lab.b] {
        let seen: HashSet<_> = (0..50).map(|_| *ask(&host.udp(0), reflector.address).ip()).collect();
        assert_eq!(seen.len(), 1, "one host has several outside addresses: {seen:?}");
    }
}

in_a_lab!(rfc4787_req3_two_hosts_with_the_same_source_port);
fn rfc4787_req3_two_hosts_with_the_same_source_port(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let sockets = [lab.a.udp(5000), lab.b.udp(5000)];
    let first = sockets.each_ref().map(|socket| ask(socket, reflector.address));
    assert_ne!(first[0], first[1], "two inside endpoints share an outside endpoint");
    assert_eq!(sockets.each_ref().map(|socket| ask(socket, reflector.address)), first);
}

in_a_lab!(rfc4787_req3a_port_range_is_kept);
fn rfc4787_req3a_port_range_is_kept(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    for _ in 0..50 {
        assert!(ask(&lab.a.udp(0), reflector.address).port() >= 1024);
    }
}

in_a_lab!(rfc4787_req4_port_parity_is_kept);
fn rfc4787_req4_port_parity_is_kept(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    for port in 6000..6040 {
        let seen = ask(&lab.a.udp(port), reflector.address);
        assert_eq!(seen.port() % 2, port % 2, "{port} became {seen}");
    }
}

in_a_lab!(rfc4787_req8_filters_by_address);
fn rfc4787_req8_filters_by_address(lab: &mut Lab) {
    let filtered = Filtering::observe(lab);
    assert!(filtered.other_port, "the contacted address must reach the mapping from any port");
    assert!(!filtered.other_address, "another address must not reach the mapping");
    assert!(lab.gateway.settled().dropped("filtered") > 0, "the refusal is not counted");
}

in_a_lab!(rfc4787_req8_endpoint_independent_filtering_lets_all_in, EIF);
fn rfc4787_req8_endpoint_independent_filtering_lets_all_in(lab: &mut Lab) {
    let filtered = Filtering::observe(lab);
    assert!(filtered.other_port && filtered.other_address);
}

in_a_lab!(rfc4787_req8_filters_by_address_and_port, APDF);
fn rfc4787_req8_filters_by_address_and_port(lab: &mut Lab) {
    let filtered = Filtering::observe(lab);
    assert!(!filtered.other_port, "another port of the contacted address must not reach the mapping");
    assert!(!filtered.other_address, "another address must not reach the mapping");
}

const SHORT: Options = Options { timeouts: "udp = 3", ..Options::DEFAULT };

in_a_lab!(rfc4787_req5_an_idle_mapping_ends_in_its_time, SHORT);
/// A hundredth of the 300 s, on a real clock. Inbound packets meanwhile do not prolong it (REQ-6).
fn rfc4787_req5_an_idle_mapping_ends_in_its_time(lab: &mut Lab) {
    let contacted = UdpReflector::new(&lab.server, SERVER, 7);
    let socket = lab.a.udp(0);
    let outside = ask(&socket, contacted.address);
    let asked = Instant::now();
    let mut reached = Duration::ZERO;
    loop {
        contacted.socket.send_to(b"still there", outside).expect("sent");
        if !arrives(&socket, "still there") {
            break;
        }
        reached = asked.elapsed();
        std::thread::sleep(Duration::from_millis(50));
    }
    let seconds = reached.as_secs_f64();
    assert!((2.0..=3.5).contains(&seconds), "reached until {seconds} s after its last packet");
}

/// Who reaches a mapping whose host has contacted one endpoint.
struct Filtering {
    other_port: bool,
    other_address: bool,
}

impl Filtering {
    fn observe(lab: &Lab) -> Filtering {
        let contacted = UdpReflector::new(&lab.server, SERVER, 7);
        let socket = lab.a.udp(0);
        let outside = ask(&socket, contacted.address);
        contacted.socket.send_to(b"same endpoint", outside).expect("sent");
        assert_eq!(receive(&socket).expect("the contacted endpoint").0, "same endpoint");
        let from = |sender: UdpSocket| {
            sender.send_to(b"unasked", outside).expect("sent");
            arrives(&socket, "unasked")
        };
        Filtering {
            other_port: from(lab.server.udp_on(SERVER, 9000)),
            other_address: from(lab.server.udp_on(SERVER_2, 7)),
        }
    }
}

fn arrives(socket: &UdpSocket, message: &str) -> bool {
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    receive(socket).is_ok_and(|(received, _)| received == message)
}

in_a_lab!(rfc4787_req8_unsolicited_packets_are_dropped);
fn rfc4787_req8_unsolicited_packets_are_dropped(lab: &mut Lab) {
    let stranger = lab.server.udp_on(SERVER, 9000);
    let send = |port| {
        let sent = stranger.send_to(b"unasked", SocketAddrV4::new(*POOL.start(), port));
        assert!(sent.is_ok(), "{sent:?}");
    };
    // The first one makes the router ask for the address; what it holds meanwhile is little.
    send(1999);
    assert_eq!(lab.gateway.settled().dropped("no-mapping"), 1);
    (2000..2100).for_each(send);
    let metrics = lab.gateway.settled();
    assert_eq!(metrics.dropped("no-mapping"), 101, "{:?}", metrics.drops());
    assert_eq!(metrics.sum("sessions_created_total", &[]), 0);
}

in_a_lab!(rfc4787_req11_the_same_mapping_behaviour_for_every_flow);
fn rfc4787_req11_the_same_mapping_behaviour_for_every_flow(lab: &mut Lab) {
    let reflectors = [SERVER, SERVER_2].map(|ip| UdpReflector::new(&lab.server, ip, 7));
    let hold: Vec<_> = (0..300).map(|_| lab.a.udp(0)).collect();
    let mut outside = HashSet::new();
    for socket in &hold {
        let [first, second] = reflectors.each_ref().map(|reflector| ask(socket, reflector.address));
        assert_eq!(first, second, "the mapping depends on the destination");
        assert!(outside.insert(first), "{first} serves two inside endpoints");
    }
}

in_a_lab!(rfc4787_req12_an_icmp_error_does_not_end_the_mapping);
fn rfc4787_req12_an_icmp_error_does_not_end_the_mapping(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let socket = lab.a.udp(0);
    let before = ask(&socket, reflector.address);
    assert_eq!(provoke_refusal(&lab.a, &socket), ErrorKind::ConnectionRefused);
    assert_eq!(ask(&socket, reflector.address), before, "the mapping has changed");
}

/// Sends to a closed port of the server from the port of `socket`; the error that comes back.
fn provoke_refusal(host: &Namespace, socket: &UdpSocket) -> ErrorKind {
    let closed = SocketAddrV4::new(SERVER, 4444);
    host.enter(|| socket.connect(closed)).expect("a route");
    socket.send(b"to a closed port").expect("sent");
    let refusal = receive(socket).expect_err("nobody answers there").kind();
    // Connecting to the reflector releases the closed port.
    host.enter(|| socket.connect(SocketAddrV4::new(SERVER, 7))).expect("a route");
    refusal
}

in_a_lab!(rfc4787_req13_path_mtu_is_learnt_through_the_gateway);
fn rfc4787_req13_path_mtu_is_learnt_through_the_gateway(lab: &mut Lab) {
    lab.router.ip("route change 198.51.100.0/24 dev br-server mtu lock 1400");
    let ping = lab.a.try_exec("ping -c 2 -W 2 -M do -s 1472 198.51.100.10");
    let text = String::from_utf8_lossy(&ping.stdout).into_owned() + &String::from_utf8_lossy(&ping.stderr);
    assert!(text.contains("mtu = 1400") || text.contains("mtu=1400"), "{text}");
    lab.a.exec("ping -c 2 -W 2 -M do -s 1372 198.51.100.10");
}

/// Beyond the outside router there is a 10.64.0.0/24 too, in which the server has host A's address.
const OVERLAP: Options = Options {
    rules: r#"
[[nat.twice]]
external = "10.64.0.0/24"
internal = "10.99.0.0/24"

[[routes]]
prefix = "10.64.0.0/16"
via = "203.0.113.1"
"#,
    ..Options::DEFAULT
};

in_a_lab!(rfc4787_req7_an_outside_network_has_the_inside_prefix, OVERLAP);
fn rfc4787_req7_an_outside_network_has_the_inside_prefix(lab: &mut Lab) {
    let known_as = Ipv4Addr::new(10, 99, 0, 11);
    lab.server.ip("address add 10.64.0.11/32 dev lo");
    lab.router.ip("route add 10.64.0.0/24 via 198.51.100.10");
    let _udp = UdpReflector::new(&lab.server, HOST_A, 7);
    let _tcp = TcpReflector::new(&lab.server, 80);
    for host in [&lab.a, &lab.b] {
        let outside = ask(&host.udp(4000), SocketAddrV4::new(known_as, 7));
        assert!(POOL.contains(outside.ip()), "{outside}");
        let stream = host.tcp(SocketAddrV4::new(known_as, 80)).expect("a connection");
        assert!(POOL.contains(seen(&stream).ip()));
        host.exec("ping -q -c 2 -i 0.2 -W 2 10.99.0.11");
    }
    // The remote begins, and host B sees it by the name that answers reach it by.
    let _service = UdpReflector::new(&lab.b, HOST_B, 5300);
    let remote = lab.server.udp_on(HOST_A, 4001);
    assert_eq!(ask(&remote, FORWARD_UDP), SocketAddrV4::new(known_as, 4001));
    // Hosts of the inside network go on as before.
    lab.a.exec("ping -q -c 1 -W 2 10.64.0.12");
}
