//! Inside hosts that reach each other by their outside endpoints (RFC 4787 REQ-9, RFC 5382 REQ-8).

use std::io::{Read, Write};
use std::net::SocketAddrV4;

use crate::lab::{FORWARD_TCP, FORWARD_UDP, HOST_B, Lab, Options, POOL, SERVER, STATIC, in_a_lab};
use crate::reflector::{TcpReflector, UdpReflector, ask, receive, seen};

const EIF: Options = Options { filtering: "endpoint-independent", ..Options::DEFAULT };

in_a_lab!(rfc4787_req9_hairpins_with_external_source, EIF);
fn rfc4787_req9_hairpins_with_external_source(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let [a, b] = [lab.a.udp(0), lab.b.udp(0)];
    let [outside_a, outside_b] = [&a, &b].map(|socket| ask(socket, reflector.address));
    for (from, to, sender, target) in [(&a, &b, outside_a, outside_b), (&b, &a, outside_b, outside_a)] {
        from.send_to(b"hairpin", target).expect("sent");
        let (message, source) = receive(to).expect("the hairpinned datagram");
        assert_eq!((message.as_str(), source), ("hairpin", sender.into()), "sent to {target}");
    }
    assert_eq!(lab.gateway.settled().sum("hairpinned_packets_total", &[]), 2);
}

in_a_lab!(rfc4787_req9_filtering_holds_for_hairpinned_packets_too);
fn rfc4787_req9_filtering_holds_for_hairpinned_packets_too(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let [a, b] = [lab.a.udp(0), lab.b.udp(0)];
    let [outside_a, outside_b] = [&a, &b].map(|socket| ask(socket, reflector.address));
    a.send_to(b"filtered", outside_b).expect("sent");
    assert_eq!(lab.gateway.settled().dropped("filtered"), 1);
    b.send_to(b"the way is open", outside_a).expect("sent");
    assert_eq!(receive(&a).expect("a has contacted b's address").0, "the way is open");
    a.send_to(b"both ways", outside_b).expect("sent");
    let (message, source) = receive(&b).expect("b has contacted a's address");
    assert_eq!((message.as_str(), source), ("both ways", outside_a.into()));
}

in_a_lab!(rfc4787_req9_a_host_reaches_itself);
fn rfc4787_req9_a_host_reaches_itself(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.b, 80);
    let stream = lab.b.tcp(FORWARD_TCP).expect("a connection to the own port forward");
    assert!(POOL.contains(seen(&stream).ip()), "the source is not an outside address");
}

in_a_lab!(rfc5382_req8_port_forward_from_inside);
fn rfc5382_req8_port_forward_from_inside(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.b, 80);
    let mut stream = lab.a.tcp(FORWARD_TCP).expect("a connection");
    let source = seen(&stream);
    assert!(POOL.contains(source.ip()), "host b sees {source}, not an outside address");
    let sent: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
    let mut echo = vec![0; sent.len()];
    std::thread::scope(|scope| {
        let mut writer = stream.try_clone().expect("a descriptor");
        let sent = &sent;
        scope.spawn(move || writer.write_all(sent).expect("sent"));
        stream.read_exact(&mut echo).expect("the echo");
    });
    assert_eq!(echo, sent);
}

in_a_lab!(rfc4787_req9_udp_port_forward_from_inside);
fn rfc4787_req9_udp_port_forward_from_inside(lab: &mut Lab) {
    let _server = UdpReflector::new(&lab.b, HOST_B, 5300);
    let source = ask(&lab.a.udp(0), FORWARD_UDP);
    assert!(POOL.contains(source.ip()), "host b sees {source}, not an outside address");
}

in_a_lab!(rfc4787_req9_static_host_from_inside_and_back, EIF);
fn rfc4787_req9_static_host_from_inside_and_back(lab: &mut Lab) {
    let _static = UdpReflector::new(&lab.c, "10.64.0.20".parse().expect("an address"), 7);
    let source = ask(&lab.a.udp(0), SocketAddrV4::new(STATIC, 7));
    assert!(POOL.contains(source.ip()), "host c sees {source}, not an outside address");
    let _forwarded = UdpReflector::new(&lab.b, HOST_B, 5300);
    let source = ask(&lab.c.udp(6000), FORWARD_UDP);
    assert_eq!(source, SocketAddrV4::new(STATIC, 6000));
}
