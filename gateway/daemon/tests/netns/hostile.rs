//! 20,000 spoilt frames on each side: the gateway lives, counts them, and serves everybody else.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use crate::frame::{Mac, Random, arp_request, ethernet, icmp, ipv4, mutate, tcp, udp};
use crate::lab::{ALONE, FORWARD_TCP, FORWARD_UDP, HOST_A, Lab, SERVER, STATIC, in_a_lab};
use crate::namespace::Namespace;
use crate::packet_socket::PacketSocket;
use crate::reflector::{UdpReflector, ask};

const FRAMES: u64 = 20_000;
/// The longest frame that an interface of MTU 1500 takes.
const LONGEST: usize = 1514;
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;

in_a_lab!(mutated_frames_from_inside, ALONE);
fn mutated_frames_from_inside(lab: &mut Lab) {
    let gateway = mac_of(&lab.a, "10.64.0.1");
    let socket = PacketSocket::new(&lab.a);
    let frames =
        seeds(socket.mac(), gateway, HOST_A, &[(SERVER, 7), (*FORWARD_UDP.ip(), 5353), (STATIC, 80)]);
    bombard(lab, "inside", &socket, &frames, 1);
}

in_a_lab!(mutated_frames_from_outside, ALONE);
fn mutated_frames_from_outside(lab: &mut Lab) {
    let gateway = mac_of(&lab.router, "203.0.113.2");
    let socket = PacketSocket::new(&lab.router);
    // A mapping and the forwards are there to be hit.
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let mapped = ask(&lab.a.udp(5000), reflector.address);
    drop(reflector);
    let targets = [mapped, FORWARD_UDP, FORWARD_TCP, SocketAddrV4::new(STATIC, 80)];
    let frames = seeds(socket.mac(), gateway, SERVER, &targets.map(|target| (*target.ip(), target.port())));
    bombard(lab, "outside", &socket, &frames, 2);
}

/// The MAC address that `host` finds a neighbour at.
pub(crate) fn mac_of(host: &Namespace, neighbor: &str) -> Mac {
    host.exec(&format!("ping -q -c 1 -W 2 {neighbor}"));
    let entry = host.exec(&format!("ip neighbor show {neighbor}"));
    let text = entry.split_whitespace().skip_while(|&word| word != "lladdr").nth(1).expect("a MAC address");
    let mut bytes = text.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"));
    std::array::from_fn(|_| bytes.next().expect("six bytes"))
}

/// Valid frames of every kind, from `host` to each of the targets.
fn seeds(from: Mac, to: Mac, host: Ipv4Addr, targets: &[(Ipv4Addr, u16)]) -> Vec<Vec<u8>> {
    let source = (host, 5000);
    let record_route = [7, 7, 4, 0, 0, 0, 0, 0];
    let mut frames = Vec::new();
    for &target in targets {
        let echo = [0x12, 0x34, 0, 1, b'p', b'i', b'n', b'g'];
        let about = udp(target, source, &[], b"the packet that the error is about");
        let error = [&[0; 4], &about[..]].concat();
        let packets = [
            udp(source, target, &[], b"a datagram"),
            udp(source, target, &record_route, b"with options"),
            udp(source, target, &[], &[0xa5; 1400]),
            tcp(source, target, 0x02, b""),
            tcp(source, target, 0x18, b"data of a connection that nobody knows"),
            icmp(host, target.0, 8, 0, &echo),
            icmp(host, target.0, 0, 0, &echo),
            icmp(host, target.0, 3, 3, &error),
            icmp(host, target.0, 11, 0, &error),
            ipv4(host, target.0, 47, &[], b"a protocol without ports"),
        ];
        frames.extend(packets.iter().map(|packet| ethernet(to, from, IPV4, packet)));
        let tagged = [&[0, 5, 8, 0], &packets[0][..]].concat();
        frames.push(ethernet(to, from, 0x8100, &tagged));
        // A sender of its own: spoilt, it must not take a real neighbour's place.
        let sender = Ipv4Addr::from(u32::from(host) ^ 0x40);
        frames.push(ethernet(to, from, ARP, &arp_request(from, sender, target.0)));
    }
    frames
}

fn bombard(lab: &Lab, interface: &str, socket: &PacketSocket, frames: &[Vec<u8>], seed: u64) {
    let received = |lab: &Lab| {
        let labels = [("interface", interface), ("direction", "rx")];
        lab.gateway.metrics().sum("packets_total", &labels)
    };
    let before = received(lab);
    let mut random = Random(seed);
    for number in 0..FRAMES {
        let mut frame = frames[random.below(frames.len())].clone();
        mutate(&mut frame, &mut random);
        frame.truncate(LONGEST);
        socket.send(&frame);
        if number % 32 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    let metrics = lab.gateway.settled();
    let arrived = received(lab) - before;
    assert!(arrived > FRAMES * 9 / 10, "{arrived} of {FRAMES} frames have come through the tap");
    let drops = metrics.drops();
    for reason in
        ["ip-checksum", "ip-total-length", "ip-header-length", "ip-version", "ethertype", "truncated"]
    {
        assert!(drops.contains_key(reason), "no drop for {reason}: {drops:?}");
    }
    lab.forget_neighbors();
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    for host in [&lab.a, &lab.b] {
        host.exec("ping -q -c 3 -i 0.2 -W 2 198.51.100.10");
        ask(&host.udp(0), reflector.address);
    }
}
