//! Ways that carry less than 1500 octets: hosts find out how much, and everything arrives.

use std::fs;
use std::net::SocketAddrV4;

use nix::sys::socket::{getsockopt, sockopt};

use crate::http::{HttpServer, contents};
use crate::lab::{FORWARD_UDP, Lab, Options, SERVER, in_a_lab};
use crate::namespace::Namespace;
use crate::reflector::{UdpReflector, ask, receive_into};

const NARROW_OUTSIDE: Options = Options { outside: "mtu = 1400", ..Options::DEFAULT };
const CLAMPED: Options = Options { nat: "mss_clamp = \"pmtu\"", ..NARROW_OUTSIDE };
const NARROW_INSIDE: Options = Options { inside: "mtu = 1400", ..Options::DEFAULT };

in_a_lab!(rfc4787_req13_hosts_find_the_gateways_own_narrow_link, NARROW_OUTSIDE);
fn rfc4787_req13_hosts_find_the_gateways_own_narrow_link(lab: &mut Lab) {
    lab.router.ip("link set eth0 mtu 1400");
    assert_finds_1400(&lab.a, "10.64.0.1");
    upload(lab);
    assert!(lab.gateway.settled().sum("icmp_generated_total", &[("type", "fragmentation-needed")]) > 0);
}

in_a_lab!(rfc4787_req13_hosts_find_a_routers_narrow_link);
fn rfc4787_req13_hosts_find_a_routers_narrow_link(lab: &mut Lab) {
    lab.router.ip("link set br-server mtu 1400");
    assert_finds_1400(&lab.a, "203.0.113.1");
    upload(lab);
    let metrics = lab.gateway.settled();
    assert_eq!(metrics.sum("icmp_generated_total", &[("type", "fragmentation-needed")]), 0);
    assert!(metrics.sum("icmp_errors_translated_total", &[]) > 0);
}

in_a_lab!(mss_clamping_spares_connections_the_search, CLAMPED);
fn mss_clamping_spares_connections_the_search(lab: &mut Lab) {
    lab.router.ip("link set eth0 mtu 1400");
    let listener = lab.server.tcp_listener(80);
    let client = lab.a.tcp(SocketAddrV4::new(SERVER, 80)).expect("a connection");
    let (server, _) = listener.accept().expect("a connection");
    for stream in [&client, &server] {
        let mss = getsockopt(stream, sockopt::TcpMaxSeg).expect("an option");
        assert!((1300..=1360).contains(&mss), "segments of {mss}");
    }
    drop(listener);
    upload(lab);
    assert_eq!(lab.gateway.settled().sum("icmp_generated_total", &[("type", "fragmentation-needed")]), 0);
}

/// By ping and by tracepath; `from` is who tells.
fn assert_finds_1400(host: &Namespace, from: &str) {
    let ping = host.try_exec("ping -c 1 -W 2 -M do -s 1472 198.51.100.10");
    let ping = String::from_utf8_lossy(&ping.stdout).into_owned();
    assert!(ping.contains(&format!("From {from} icmp_seq=1 Frag needed and DF set (mtu = 1400)")), "{ping}");
    let ping = host.exec("ping -q -c 3 -i 0.1 -W 2 -M do -s 1372 198.51.100.10");
    assert!(ping.contains(" 3 received"), "{ping}");
    host.ip("route flush cache");
    let trace = host.exec("tracepath -n -m 6 198.51.100.10");
    assert!(trace.contains("Resume: pmtu 1400 hops 3"), "{trace}");
}

fn upload(lab: &Lab) {
    let _server = HttpServer::new(&lab.server, 80);
    let file = lab.work.path().join("upload");
    fs::write(&file, contents()).expect("a file");
    lab.a.ip("route flush cache");
    lab.a.exec(&format!("curl -fsS --max-time 50 -T {} http://198.51.100.10/", file.display()));
}

in_a_lab!(rfc4787_req13_outside_hosts_find_the_gateways_own_narrow_link, NARROW_INSIDE);
fn rfc4787_req13_outside_hosts_find_the_gateways_own_narrow_link(lab: &mut Lab) {
    let _server = HttpServer::new(&lab.b, 80);
    let file = lab.work.path().join("upload");
    fs::write(&file, contents()).expect("a file");
    lab.server.exec(&format!("curl -fsS --max-time 50 -T {} http://203.0.113.13:8080/", file.display()));
    let route = lab.server.exec("ip route get 203.0.113.13");
    assert!(route.contains("mtu 1400"), "{route}");
}

in_a_lab!(rfc4787_req13a_a_datagram_leaves_in_fragments, NARROW_OUTSIDE);
fn rfc4787_req13a_a_datagram_leaves_in_fragments(lab: &mut Lab) {
    lab.router.ip("link set eth0 mtu 1400");
    lab.a.sysctl("net.ipv4.ip_no_pmtu_disc=1");
    let (client, server) = (lab.a.udp(0), lab.server.udp(7));
    arrives(&client, SocketAddrV4::new(SERVER, 7), &server);
    assert_eq!(lab.gateway.settled().sum("fragments_total", &[("event", "created")]), 2);
}

in_a_lab!(rfc4787_req13a_a_datagram_arrives_in_fragments, NARROW_INSIDE);
fn rfc4787_req13a_a_datagram_arrives_in_fragments(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let client = lab.a.udp(0);
    let seen = ask(&client, reflector.address);
    lab.server.sysctl("net.ipv4.ip_no_pmtu_disc=1");
    arrives(&lab.server.udp(0), seen, &client);
    arrives(&lab.server.udp(0), FORWARD_UDP, &lab.b.udp(5300));
    assert_eq!(lab.gateway.settled().sum("fragments_total", &[("event", "created")]), 4);
}

/// A datagram of 1472 octets, so a packet of 1500, arrives whole: the kernel has put it together, and found its checksum
/// right.
fn arrives(from: &std::net::UdpSocket, address: SocketAddrV4, to: &std::net::UdpSocket) {
    let sent = &contents()[..1472];
    from.send_to(sent, address).expect("sent");
    let mut buffer = [0; 2048];
    let (len, _) = receive_into(to, &mut buffer).expect("a datagram");
    assert!(&buffer[..len] == sent, "{len} octets arrived");
}
