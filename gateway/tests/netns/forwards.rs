//! Port forwards and static 1:1 mappings, from outside.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::lab::{FORWARD_TCP, FORWARD_UDP, HOST_B, Lab, SERVER, STATIC, in_a_lab};
use crate::reflector::{TcpReflector, UdpReflector, ask, seen};

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
