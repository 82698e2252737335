//! Port forwards and static 1:1 mappings, from outside.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::{FORWARD_TCP, FORWARD_UDP, HOST_A, HOST_B, Lab, Options, POOL, SERVER, STATIC, in_a_lab};
use crate::management::natctl;
use crate::reflector::{TcpReflector, UdpReflector, ask, seen};
use crate::reload::{natctl_reload, rewrite};

const HOST_C: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 20);

in_a_lab!(tcp_port_forward_from_outside);
fn tcp_port_forward_from_outside(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.b, 80);
    for port in 4000..4020 {
        let mut stream = lab.server.tcp_from(port, FORWARD_TCP).expect("a connection");
        let source = seen(&stream);
        assert_eq!(source.port(), port, "the remote's endpoint is not to be changed");
        stream.write_all(b"through the forward").expect("sent");
        let mut echo = [0; 19];
        stream.read_exact(&mut echo).expect("the echo");
        assert_eq!(&echo, b"through the forward");
    }
}

in_a_lab!(udp_port_forward_from_outside);
fn udp_port_forward_from_outside(lab: &mut Lab) {
    let _server = UdpReflector::new(&lab.b, HOST_B, 5300);
    let client = lab.server.udp_on(SERVER, 4000);
    assert_eq!(ask(&client, FORWARD_UDP), SocketAddrV4::new(SERVER, 4000));
}

in_a_lab!(static_host_keeps_its_ports_outbound);
fn static_host_keeps_its_ports_outbound(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    for port in [500, 5000, 50_000] {
        assert_eq!(ask(&lab.c.udp(port), reflector.address), SocketAddrV4::new(STATIC, port));
    }
    lab.c.exec("ping -q -c 2 -i 0.2 -W 2 198.51.100.10");
}

/// 203.0.113.40 to 43 are 10.64.0.8 to 11, the last of which is host A.
const PREFIX: Options = Options {
    rules: "[[nat.static]]\nexternal = \"203.0.113.40/30\"\ninternal = \"10.64.0.8/30\"",
    ..Options::DEFAULT
};
const OF_HOST_A: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 43);

in_a_lab!(static_prefix_leads_to_its_hosts_and_back, PREFIX);
fn static_prefix_leads_to_its_hosts_and_back(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    assert_eq!(ask(&lab.a.udp(500), reflector.address), SocketAddrV4::new(OF_HOST_A, 500));
    let _server = TcpReflector::new(&lab.a, 80);
    let stream = lab.server.tcp(SocketAddrV4::new(OF_HOST_A, 80)).expect("a connection");
    assert_eq!(*seen(&stream).ip(), SERVER);
}

/// TCP ports 9000 to 9009 lead to host A's from 7000 on.
const RANGE: Options = Options {
    rules: "[[nat.port_forwards]]\nprotocol = \"tcp\"\nexternal = \"203.0.113.13:9000-9009\"\n\
            internal = \"10.64.0.11:7000-7009\"",
    ..Options::DEFAULT
};

in_a_lab!(port_forward_of_a_range_leads_port_by_port, RANGE);
fn port_forward_of_a_range_leads_port_by_port(lab: &mut Lab) {
    let _servers = [7000, 7004, 7009].map(|port| {
        let outside = SocketAddrV4::new(*FORWARD_TCP.ip(), port + 2000);
        let server = TcpReflector::new(&lab.a, port);
        let mut stream = lab.server.tcp(outside).expect("a connection");
        assert_eq!(*seen(&stream).ip(), SERVER);
        stream.write_all(b"by its own port").expect("sent");
        stream.read_exact(&mut [0; 15]).expect("the echo");
        server
    });
    let beyond = SocketAddrV4::new(*FORWARD_TCP.ip(), 9010);
    assert!(lab.server.tcp(beyond).is_err(), "a port beyond the range");
}

/// Host A's echo services, whose host has no route to the outside.
const REDIRECT: Options = Options {
    rules: r#"
[[nat.port_forwards]]
protocol = "tcp"
external = "203.0.113.13:9080"
internal = "10.64.0.11:80"
source = "gateway"

[[nat.port_forwards]]
protocol = "udp"
external = "203.0.113.13:9053"
internal = "10.64.0.11:53"
source = "gateway"
"#,
    ..Options::DEFAULT
};

in_a_lab!(redirect_reaches_a_host_without_a_route_back, REDIRECT);
fn redirect_reaches_a_host_without_a_route_back(lab: &mut Lab) {
    lab.a.ip("route delete default");
    let gateway = Ipv4Addr::new(10, 64, 0, 1);
    let _tcp = TcpReflector::new(&lab.a, 80);
    let outside = *FORWARD_TCP.ip();
    let mut streams: Vec<_> =
        (0..20).map(|_| lab.server.tcp(SocketAddrV4::new(outside, 9080)).expect("a connection")).collect();
    let faces: Vec<_> = streams.iter().map(seen).collect();
    assert!(faces.iter().all(|face| *face.ip() == gateway), "{faces:?}");
    for stream in &mut streams {
        stream.write_all(b"to the redirected host").expect("sent");
        stream.read_exact(&mut [0; 22]).expect("the echo");
    }
    let _udp = UdpReflector::new(&lab.a, HOST_A, 53);
    let client = lab.server.udp_on(SERVER, 4000);
    let face = ask(&client, SocketAddrV4::new(outside, 9053));
    assert_eq!(*face.ip(), gateway);
    assert_eq!(ask(&client, SocketAddrV4::new(outside, 9053)), face);
    // Host B on the same link goes there and back by the same way.
    assert_eq!(*seen(&lab.b.tcp(SocketAddrV4::new(outside, 9080)).expect("a connection")).ip(), gateway);
}

/// Host A goes out by the gateway's own address, host B by the pool.
const MASQUERADE: Options = Options {
    rules: r#"
[[nat.pools]]
name = "own"
interface = "outside"

[[nat.rules]]
source = "10.64.0.11"
pool = "own"
"#,
    ..Options::DEFAULT
};

in_a_lab!(masquerade_shows_the_gateways_own_address, MASQUERADE);
fn masquerade_shows_the_gateways_own_address(lab: &mut Lab) {
    let own = Ipv4Addr::new(203, 0, 113, 2);
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    assert_eq!(*ask(&lab.a.udp(4000), reflector.address).ip(), own);
    assert!(POOL.contains(ask(&lab.b.udp(4000), reflector.address).ip()), "another host, another pool");
    let _tcp = TcpReflector::new(&lab.server, 80);
    let mut stream = lab.a.tcp(SocketAddrV4::new(SERVER, 80)).expect("a connection");
    assert_eq!(*seen(&stream).ip(), own);
    stream.write_all(b"behind the gateway").expect("sent");
    stream.read_exact(&mut [0; 18]).expect("the echo");
    lab.a.exec("ping -q -c 2 -i 0.2 -W 2 198.51.100.10");
    // The address still is the gateway's, too.
    lab.server.exec("ping -q -c 2 -i 0.2 -W 2 203.0.113.2");
}

in_a_lab!(static_host_is_reached_on_every_port);
fn static_host_is_reached_on_every_port(lab: &mut Lab) {
    let client = lab.server.udp_on(SERVER, 4000);
    for port in [53, 5300] {
        let _server = UdpReflector::new(&lab.c, HOST_C, port);
        assert_eq!(ask(&client, SocketAddrV4::new(STATIC, port)), SocketAddrV4::new(SERVER, 4000));
    }
    let _server = TcpReflector::new(&lab.c, 80);
    let stream = lab.server.tcp(SocketAddrV4::new(STATIC, 80)).expect("a connection");
    assert_eq!(*seen(&stream).ip(), SERVER);
    lab.server.exec("ping -q -c 2 -i 0.2 -W 2 203.0.113.20");
}

/// A forward of the file's from the same endpoint as [`ADDED`].
const COLLIDING: &str = "[[nat.port_forwards]]\nprotocol = \"tcp\"\nexternal = \"203.0.113.13:9090\"\n\
                         internal = \"10.64.0.11:90\"\n";
const ADDED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 13), 9090);

in_a_lab!(a_forward_added_by_natctl_serves_until_it_is_deleted);
fn a_forward_added_by_natctl_serves_until_it_is_deleted(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.b, 90);
    let _other = TcpReflector::new(&lab.server, 7);
    let mut going_on = lab.a.tcp(SocketAddrV4::new(SERVER, 7)).expect("a connection");
    seen(&going_on);
    assert!(lab.server.tcp(ADDED).is_err(), "nothing is forwarded yet");

    natctl(lab, &["forwards", "add", "tcp", "203.0.113.13:9090", "10.64.0.12:90"]);
    let mut stream = lab.server.tcp(ADDED).expect("a connection");
    assert_eq!(*seen(&stream).ip(), SERVER);
    stream.write_all(b"by the new forward").expect("sent");
    stream.read_exact(&mut [0; 18]).expect("the echo");
    assert!(natctl(lab, &["forwards"]).contains("tcp-203.0.113.13-9090"));

    // It is no reload, and one that collides with it is refused.
    let metrics = lab.gateway.metrics();
    assert_eq!(metrics.sum("forward_changes_total", &[("result", "applied")]), 1);
    assert_eq!(metrics.sum("config_reloads_total", &[]), 0);
    assert_eq!(metrics.sum("config_generation", &[]), 1);
    let log = lab.gateway.log();
    assert!(log.contains("port forward added") && !log.contains("configuration reloaded"), "{log}");
    rewrite(lab, |text| format!("{text}\n{COLLIDING}"));
    let refused = natctl_reload(lab);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("forward tcp-203.0.113.13-9090: "), "{said}");

    natctl(lab, &["forwards", "delete", "tcp-203.0.113.13-9090"]);
    assert!(lab.server.tcp(ADDED).is_err(), "nothing is forwarded any more");
    going_on.write_all(b"all the while").expect("sent");
    going_on.read_exact(&mut [0; 13]).expect("the echo");
}
