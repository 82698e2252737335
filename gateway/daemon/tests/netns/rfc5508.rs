//! RFC 5508: NAT behaviour for ICMP.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;

use crate::lab::{FORWARD_UDP, Lab, SERVER, in_a_lab};
use crate::namespace::Namespace;
use crate::reflector::{UdpReflector, ask, receive};

in_a_lab!(rfc5508_req1_two_hosts_with_the_same_icmp_id);
fn rfc5508_req1_two_hosts_with_the_same_icmp_id(lab: &mut Lab) {
    let ping = |host: &Namespace| host.exec("ping -q -c 5 -i 0.2 -W 2 -e 4660 198.51.100.10");
    let answers = thread::scope(|scope| {
        [&lab.a, &lab.b].map(|host| scope.spawn(move || ping(host))).map(|ping| ping.join().expect("ping"))
    });
    for answer in answers {
        assert!(answer.contains(" 5 received"), "{answer}");
        assert!(!answer.contains("duplicates"), "{answer}");
    }
    assert_eq!(lab.gateway.settled().sum("sessions", &[("protocol", "icmp")]), 2);
}

in_a_lab!(rfc5508_req1_the_query_mapping_is_independent_of_the_remote);
fn rfc5508_req1_the_query_mapping_is_independent_of_the_remote(lab: &mut Lab) {
    for remote in ["198.51.100.10", "198.51.100.11", "198.51.100.1"] {
        lab.a.exec(&format!("ping -q -c 1 -W 2 -e 4660 {remote}"));
    }
    let used = lab.gateway.settled().sum("pool_ports_used", &[("protocol", "icmp")]);
    assert_eq!(used, 1, "one identifier serves every remote");
}

in_a_lab!(rfc5508_req4_refused_port_outside_gives_econnrefused);
fn rfc5508_req4_refused_port_outside_gives_econnrefused(lab: &mut Lab) {
    assert_eq!(refusal(&lab.a, SocketAddrV4::new(SERVER, 4444)), ErrorKind::ConnectionRefused);
    assert!(lab.gateway.settled().sum("icmp_errors_translated_total", &[]) > 0);
}

in_a_lab!(rfc5508_req4_an_error_from_a_router_in_between_arrives);
fn rfc5508_req4_an_error_from_a_router_in_between_arrives(lab: &mut Lab) {
    lab.router.ip("route add prohibit 198.51.100.99/32");
    let remote = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 99), 7);
    assert_eq!(refusal(&lab.a, remote), ErrorKind::HostUnreachable);
}

in_a_lab!(rfc5508_req5_refused_port_inside_gives_econnrefused);
fn rfc5508_req5_refused_port_inside_gives_econnrefused(lab: &mut Lab) {
    assert_eq!(refusal(&lab.server, FORWARD_UDP), ErrorKind::ConnectionRefused);
}

in_a_lab!(rfc5508_req6_an_error_does_not_end_the_mapping);
fn rfc5508_req6_an_error_does_not_end_the_mapping(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let socket = lab.a.udp(7000);
    let before = ask(&socket, reflector.address);
    drop(socket);
    // Now the port is closed: packets to it are answered with an error.
    reflector.socket.send_to(b"too late", before).expect("sent");
    assert_eq!(ask(&lab.a.udp(7000), reflector.address), before);
}

in_a_lab!(rfc5508_req7_hairpinned_error_gives_econnrefused);
fn rfc5508_req7_hairpinned_error_gives_econnrefused(lab: &mut Lab) {
    assert_eq!(refusal(&lab.a, FORWARD_UDP), ErrorKind::ConnectionRefused);
}

/// The error that a connected UDP socket of `host` gets from `remote`.
fn refusal(host: &Namespace, remote: SocketAddrV4) -> ErrorKind {
    let socket = host.udp(0);
    host.enter(|| socket.connect(remote)).expect("a route");
    socket.send(b"is anyone there?").expect("sent");
    receive(&socket).expect_err("nobody answers there").kind()
}

in_a_lab!(the_gateway_answers_ping_on_its_own_addresses);
fn the_gateway_answers_ping_on_its_own_addresses(lab: &mut Lab) {
    for host in [&lab.a, &lab.b] {
        host.exec("ping -q -c 2 -i 0.2 -W 2 10.64.0.1");
    }
    lab.router.exec("ping -q -c 2 -i 0.2 -W 2 203.0.113.2");
    lab.server.exec("ping -q -c 2 -i 0.2 -W 2 203.0.113.2");
}

in_a_lab!(no_route_is_answered_with_net_unreachable);
fn no_route_is_answered_with_net_unreachable(lab: &mut Lab) {
    let ping = lab.a.try_exec("ping -c 1 -W 2 192.0.2.1");
    let text = String::from_utf8_lossy(&ping.stdout);
    assert!(text.contains("From 10.64.0.1 icmp_seq=1 Destination Net Unreachable"), "{text}");
    assert_eq!(lab.gateway.settled().sum("icmp_generated_total", &[("type", "unreachable")]), 1);
}
