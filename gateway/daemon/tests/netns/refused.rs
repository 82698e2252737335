//! The ICMP errors that hosts get for refused sessions and unresolved next hops.

use std::io::ErrorKind;
use std::net::SocketAddrV4;

use nix::sys::socket::{setsockopt, sockopt};

use crate::lab::{Lab, Options, SERVER, SERVER_2, in_a_lab};
use crate::reflector::{TcpReflector, UdpReflector, ask, receive};

const REJECT: Options = Options {
    rules: r#"
[[nat.rules]]
source = "10.64.0.0/24"
destination = "198.51.100.11/32"
action = "reject"
"#,
    ..Options::DEFAULT
};
const ONE_PORT: Options = Options { ports_per_subscriber: 1, ..Options::DEFAULT };

in_a_lab!(rfc5508_req8_a_reject_rule_refuses_the_connection, REJECT);
fn rfc5508_req8_a_reject_rule_refuses_the_connection(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.server, 7);
    lab.a.tcp(SocketAddrV4::new(SERVER, 7)).expect("allowed");
    let error = lab.a.tcp(SocketAddrV4::new(SERVER_2, 7)).expect_err("forbidden");
    assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{error}");
    let ping = lab.a.try_exec("ping -c 1 -W 2 198.51.100.11");
    let text = String::from_utf8_lossy(&ping.stdout);
    assert!(text.contains("From 10.64.0.1 icmp_seq=1 Packet filtered"), "{text}");
    let metrics = lab.gateway.settled();
    assert_eq!((metrics.dropped("rule-reject"), metrics.dropped("rule-drop")), (2, 0));
    assert_eq!(metrics.sum("icmp_generated_total", &[("type", "prohibited")]), 2);
}

in_a_lab!(rfc6888_req11_a_host_without_ports_left_is_answered_by_icmp, ONE_PORT);
fn rfc6888_req11_a_host_without_ports_left_is_answered_by_icmp(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let first = lab.a.udp(0);
    ask(&first, reflector.address);
    let second = lab.a.udp(0);
    // It is no lasting error, of which a socket hears only if it asks to.
    setsockopt(&second, sockopt::Ipv4RecvErr, &true).expect("an option");
    second.send_to(b"is there a port for me?", reflector.address).expect("sent");
    assert_eq!(receive(&second).expect_err("there is none").kind(), ErrorKind::HostUnreachable);
    ask(&first, reflector.address);
}

in_a_lab!(a_next_hop_that_is_not_there_is_host_unreachable);
fn a_next_hop_that_is_not_there_is_host_unreachable(lab: &mut Lab) {
    let ping = lab.a.try_exec("ping -c 1 -W 5 203.0.113.77");
    let text = String::from_utf8_lossy(&ping.stdout);
    assert!(text.contains("From 10.64.0.1 icmp_seq=1 Destination Host Unreachable"), "{text}");
}
