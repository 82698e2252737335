//! Everyday programs and many flows at once.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use crate::http::{HttpServer, contents};
use crate::lab::{self, ALONE, Lab, Options, POOL, SERVER, in_a_lab};
use crate::reflector::{TcpReflector, UdpReflector, receive, seen};

in_a_lab!(ping_of_56_and_of_1472_bytes);
fn ping_of_56_and_of_1472_bytes(lab: &mut Lab) {
    for size in [56, 1472] {
        let answer = lab.a.exec(&format!("ping -q -c 10 -i 0.05 -W 2 -M do -s {size} 198.51.100.10"));
        assert!(answer.contains(" 10 received"), "{answer}");
    }
}

in_a_lab!(http_download_of_20_mb_is_byte_exact);
fn http_download_of_20_mb_is_byte_exact(lab: &mut Lab) {
    let _server = HttpServer::new(&lab.server, 80);
    let file = lab.work.path().join("download");
    lab.a.exec(&format!("curl -fsS --max-time 50 -o {} http://198.51.100.10/", file.display()));
    assert!(fs::read(&file).expect("the file") == contents(), "the file has changed on its way");
}

in_a_lab!(http_upload_of_20_mb_is_byte_exact);
fn http_upload_of_20_mb_is_byte_exact(lab: &mut Lab) {
    let _server = HttpServer::new(&lab.server, 80);
    let file = lab.work.path().join("upload");
    fs::write(&file, contents()).expect("a file");
    lab.a.exec(&format!("curl -fsS --max-time 50 -T {} http://198.51.100.10/", file.display()));
}

in_a_lab!(http_download_through_a_port_forward_is_byte_exact);
fn http_download_through_a_port_forward_is_byte_exact(lab: &mut Lab) {
    let _server = HttpServer::new(&lab.b, 80);
    let file = lab.work.path().join("download");
    for client in [&lab.server, &lab.a] {
        client.exec(&format!("curl -fsS --max-time 50 -o {} http://203.0.113.13:8080/", file.display()));
        assert!(fs::read(&file).expect("the file") == contents(), "the file has changed on its way");
    }
}

in_a_lab!(traceroute_shows_the_gateway_as_first_hop);
fn traceroute_shows_the_gateway_as_first_hop(lab: &mut Lab) {
    for probe in ["-U", "-I", "-T -p 4444"] {
        let trace = lab.a.exec(&format!("traceroute -n -q 1 -w 2 -m 5 {probe} 198.51.100.10"));
        let hops: Vec<_> = trace.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops, ["10.64.0.1", "203.0.113.1", "198.51.100.10"], "{probe}: {trace}");
    }
}

in_a_lab!(traceroute_from_outside_shows_the_gateway_before_a_forward);
fn traceroute_from_outside_shows_the_gateway_before_a_forward(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.b, 80);
    let trace = lab.server.exec("traceroute -n -q 1 -w 2 -m 5 -T -p 8080 203.0.113.13");
    let hops: Vec<_> = trace.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(hops, ["198.51.100.1", "203.0.113.2", "203.0.113.13"], "{trace}");
}

in_a_lab!(udp_2000_flows_at_once, ALONE);
fn udp_2000_flows_at_once(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    // A next hop that is still unknown holds back a few packets only.
    for host in [&lab.a, &lab.b] {
        host.exec("ping -q -c 1 -W 2 198.51.100.10");
    }
    let flows: Vec<UdpSocket> =
        [&lab.a, &lab.b].iter().flat_map(|host| (0..1000).map(|_| host.udp(0))).collect();
    let first = echo_all(&flows, &reflector);
    let outside: HashSet<_> = first.values().collect();
    assert_eq!(outside.len(), flows.len(), "two flows share an outside endpoint");
    assert!(outside.iter().all(|endpoint| POOL.contains(endpoint.ip())));
    assert_eq!(echo_all(&flows, &reflector), first, "a mapping has changed");
    assert_eq!(lab.gateway.settled().sum("sessions", &[("protocol", "udp")]), 2000);
}

#[test]
fn udp_2000_flows_at_once_with_three_and_with_four_workers() {
    for workers in [3, 4] {
        lab::run(Options { workers, ..ALONE }, udp_2000_flows_at_once);
    }
}

/// Sends one datagram in every flow before the first answer is read; the outside endpoint of each flow.
fn echo_all(flows: &[UdpSocket], reflector: &UdpReflector) -> HashMap<usize, SocketAddrV4> {
    let send =
        |id: usize| flows[id].send_to(format!("flow {id}").as_bytes(), reflector.address).expect("sent");
    for id in 0..flows.len() {
        send(id);
        if id % 16 == 0 {
            // Paced, or the queues of the taps overflow.
            thread::sleep(Duration::from_millis(1));
        }
    }
    let answer = |id: usize| {
        let lost = || -> (String, SocketAddr) {
            // A queue on the way that was full for a moment is no fault of the gateway's; a second loss is.
            send(id);
            receive(&flows[id]).unwrap_or_else(|e| panic!("flow {id} has no answer: {e}"))
        };
        let (answer, from) = receive(&flows[id]).unwrap_or_else(|_| lost());
        assert_eq!(from, reflector.address.into());
        let endpoint = answer.strip_suffix(&format!(" flow {id}")).expect("the flow's own datagram");
        (id, endpoint.parse().expect("an endpoint"))
    };
    (0..flows.len()).map(answer).collect()
}

in_a_lab!(tcp_500_connections_at_once);
fn tcp_500_connections_at_once(lab: &mut Lab) {
    let _server = TcpReflector::new(&lab.server, 7);
    let remote = SocketAddrV4::new(SERVER, 7);
    let mut flows: Vec<TcpStream> = [&lab.a, &lab.b]
        .iter()
        .flat_map(|host| (0..250).map(|_| host.tcp(remote).expect("a connection")))
        .collect();
    let outside: HashSet<_> = flows.iter().map(seen).collect();
    assert_eq!(outside.len(), flows.len(), "two connections share an outside endpoint");
    let message = |id: usize| format!("connection {id} ").repeat(200);
    for (id, flow) in flows.iter_mut().enumerate() {
        flow.write_all(message(id).as_bytes()).expect("sent");
    }
    for (id, flow) in flows.iter_mut().enumerate() {
        let mut echo = vec![0; message(id).len()];
        flow.read_exact(&mut echo).expect("the echo");
        assert_eq!(String::from_utf8_lossy(&echo), message(id));
    }
    assert_eq!(lab.gateway.settled().sum("sessions", &[("protocol", "tcp")]), 500);
}
