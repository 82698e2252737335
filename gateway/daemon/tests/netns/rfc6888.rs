//! RFC 6888: what carriers ask of a NAT.

use std::collections::HashSet;
use std::time::Duration;

use crate::lab::{HOST_A, Lab, Options, SERVER, SERVER_2, in_a_lab};
use crate::reflector::{UdpReflector, ask, try_ask};

const FEW_PORTS: Options = Options { ports_per_subscriber: 64, ..Options::DEFAULT };
const EXEMPT: Options = Options {
    rules: r#"
[[nat.rules]]
source = "10.64.0.0/24"
destination = "198.51.100.11/32"
action = "exempt"
"#,
    ..Options::DEFAULT
};
const DROP: Options = Options {
    rules: r#"
[[nat.rules]]
source = "10.64.0.0/24"
destination = "198.51.100.11/32"
action = "drop"
"#,
    ..Options::DEFAULT
};

in_a_lab!(rfc6888_req4_a_subscriber_gets_no_more_ports_than_it_may, FEW_PORTS);
fn rfc6888_req4_a_subscriber_gets_no_more_ports_than_it_may(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let sockets: Vec<_> = (0..100).map(|_| lab.a.udp(0)).collect();
    for socket in &sockets {
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    }
    let seen: Vec<_> = sockets.iter().map(|socket| try_ask(socket, reflector.address).ok()).collect();
    let granted: HashSet<_> = seen.iter().flatten().collect();
    assert_eq!(granted.len(), 64);
    assert!(lab.gateway.settled().dropped("subscriber-ports") >= 36);
    // REQ-11: those who came first keep what they have; another subscriber is not concerned.
    for (socket, before) in sockets.iter().zip(&seen).take(64) {
        assert_eq!(try_ask(socket, reflector.address).ok(), *before, "a live mapping was given away");
    }
    ask(&lab.b.udp(0), reflector.address);
}

in_a_lab!(rfc6888_req6_an_exempt_destination_sees_the_inside_address, EXEMPT);
fn rfc6888_req6_an_exempt_destination_sees_the_inside_address(lab: &mut Lab) {
    lab.router.ip("route add 10.64.0.0/24 via 203.0.113.2");
    let [translated, exempt] = [SERVER, SERVER_2].map(|ip| UdpReflector::new(&lab.server, ip, 7));
    let socket = lab.a.udp(5000);
    assert_ne!(*ask(&socket, translated.address).ip(), HOST_A);
    let seen = ask(&socket, exempt.address);
    assert_eq!((*seen.ip(), seen.port()), (HOST_A, 5000));
}

in_a_lab!(a_drop_rule_drops, DROP);
fn a_drop_rule_drops(lab: &mut Lab) {
    let [allowed, forbidden] = [SERVER, SERVER_2].map(|ip| UdpReflector::new(&lab.server, ip, 7));
    let socket = lab.a.udp(0);
    ask(&socket, allowed.address);
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    assert!(try_ask(&socket, forbidden.address).is_err(), "a forbidden destination answers");
    assert_eq!(lab.gateway.settled().dropped("rule-drop"), 1);
}
