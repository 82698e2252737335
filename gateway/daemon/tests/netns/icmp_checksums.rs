//! Every checksum of a translated ICMP error, outer and embedded, is right on the wire: scapy says so (RFC 5508 section 4).
//!
//! The errors are about packets of each protocol, whole, with IP options, cut to what RFC 792 asks for, and with an
//! extension (RFC 4884). Whoever sent the packet gets it back in the error as it was, but for the TTL.

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::frame::{ethernet, icmp, ipv4, tcp, udp};
use crate::hostile::mac_of;
use crate::lab::{HOST_A, Lab, SERVER, STATIC, in_a_lab};
use crate::namespace::{Namespace, PATIENCE};
use crate::packet_socket::PacketSocket;

type Endpoint = (Ipv4Addr, u16);

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Nothing else in the lab sends any.
const TIME_EXCEEDED: u8 = 11;

/// The octets at the end of a payload that no other packet of the lab has.
const MARK: usize = 10;

/// How much of a packet an error holds, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    Whole,
    Options,
    Truncated,
    Extended,
}

const SHAPES: [Shape; 4] = [Shape::Whole, Shape::Options, Shape::Truncated, Shape::Extended];

/// Who sends packets, who gets them, and who answers with errors: a namespace, and the router that its frames go to.
struct Way<'a> {
    sender: (&'a Namespace, &'a str),
    receiver: &'a Namespace,
    teller: (&'a Namespace, &'a str),
    /// Where the errors are said to be from.
    tellers_address: Ipv4Addr,
}

in_a_lab!(rfc5508_req4_every_checksum_of_an_error_from_outside_is_right);
fn rfc5508_req4_every_checksum_of_an_error_from_outside_is_right(lab: &mut Lab) {
    let errors = outward(lab).errors(|_, port| ((HOST_A, port), (SERVER, 7)));
    assert_right(&errors);
}

in_a_lab!(rfc5508_req5_every_checksum_of_an_error_from_inside_is_right);
fn rfc5508_req5_every_checksum_of_an_error_from_inside_is_right(lab: &mut Lab) {
    let inward = Way {
        sender: (&lab.server, "198.51.100.1"),
        receiver: &lab.a,
        teller: (&lab.a, "10.64.0.1"),
        tellers_address: Ipv4Addr::new(10, 64, 0, 254),
    };
    let errors = inward.errors(|protocol, port| {
        let first = packet(protocol, (HOST_A, port), (SERVER, 7), &marked("opening ", port));
        let seen = outward(lab).pass(protocol, &first);
        ((SERVER, 7), source(&seen))
    });
    assert_right(&errors);
}

in_a_lab!(rfc5508_req7_every_checksum_of_a_hairpinned_error_is_right);
fn rfc5508_req7_every_checksum_of_a_hairpinned_error_is_right(lab: &mut Lab) {
    let hairpinned = Way {
        sender: (&lab.a, "10.64.0.1"),
        receiver: &lab.c,
        teller: (&lab.c, "10.64.0.1"),
        tellers_address: Ipv4Addr::new(10, 64, 0, 20),
    };
    assert_right(&hairpinned.errors(|_, port| ((HOST_A, port), (STATIC, 7))));
}

/// From host a to the server; the router in between has something to say.
fn outward(lab: &Lab) -> Way<'_> {
    Way {
        sender: (&lab.a, "10.64.0.1"),
        receiver: &lab.server,
        teller: (&lab.router, "203.0.113.2"),
        tellers_address: Ipv4Addr::new(203, 0, 113, 1),
    }
}

/// What came of one packet: its protocol, what the error was to hold, and the error as its sender got it.
type Told = (u8, Shape, Vec<u8>);

impl Way<'_> {
    /// Sends a packet of each protocol for each shape, and answers it; `flow` tells its endpoints, given the port of
    /// the asking side.
    fn errors(&self, flow: impl Fn(u8, u16) -> (Endpoint, Endpoint)) -> Vec<Told> {
        let got = raw(self.sender.0, SockProtocol::Icmp);
        let cases = [UDP, TCP, ICMP].into_iter().flat_map(|protocol| SHAPES.map(|shape| (protocol, shape)));
        let told = (5000..).zip(cases).map(|(port, (protocol, shape))| {
            let (from, to) = flow(protocol, port);
            let plain = packet(protocol, from, to, &marked("the payload of ", port));
            let options: &[u8] = if shape == Shape::Options { &[1; 4] } else { &[] };
            let sent = ipv4(from.0, to.0, protocol, options, &plain[20..]);
            let seen = self.pass(protocol, &sent);
            let message = error(shape, &seen);
            let packet = icmp(self.tellers_address, source(&seen).0, TIME_EXCEEDED, 0, &message);
            transmit(self.teller, &packet);
            let told = next(&got, |packet| packet[20] == TIME_EXCEEDED);
            let embedded = &told[28..told.len().min(28 + sent.len())];
            assert_eq!(as_sent(embedded), as_sent(&sent[..embedded.len()]), "{protocol} {shape:?}");
            (protocol, shape, told)
        });
        told.collect()
    }

    /// A packet goes its way; as it arrives.
    fn pass(&self, protocol: u8, packet: &[u8]) -> Vec<u8> {
        let kind = match protocol {
            UDP => SockProtocol::Udp,
            TCP => SockProtocol::Tcp,
            _ => SockProtocol::Icmp,
        };
        let socket = raw(self.receiver, kind);
        transmit(self.sender, packet);
        next(&socket, |arrived| arrived.ends_with(&packet[packet.len() - MARK..]))
    }
}

/// A datagram, a segment that opens, or a query; the server answers.
fn packet(protocol: u8, from: Endpoint, to: Endpoint, payload: &[u8]) -> Vec<u8> {
    match protocol {
        UDP => udp(from, to, &[], payload),
        TCP => tcp(from, to, if from.0 == SERVER { 0x12 } else { 0x02 }, payload),
        _ => {
            let (kind, identifier) = if from.0 == SERVER { (0, to.1) } else { (8, from.1) };
            icmp(from.0, to.0, kind, 0, &[&identifier.to_be_bytes(), &[0, 1][..], payload].concat())
        }
    }
}

fn marked(text: &str, port: u16) -> Vec<u8> {
    [text.as_bytes(), &port.to_be_bytes()].concat()
}

/// What follows the checksum of an error about `packet`.
fn error(shape: Shape, packet: &[u8]) -> Vec<u8> {
    match shape {
        Shape::Whole | Shape::Options => [&[0; 4], packet].concat(),
        Shape::Truncated => [&[0; 4], &packet[..28]].concat(),
        Shape::Extended => {
            let padding = vec![0; 128 - packet.len()];
            // A label stack (RFC 4950), in the checksum of its own.
            let extension = [0x20, 0, 0xde, 0xcc, 0, 8, 1, 1, 0, 0, 0, 0x2a];
            [&[0, 128 / 4, 0, 0], packet, &padding, &extension].concat()
        }
    }
}

fn assert_right(errors: &[Told]) {
    let told = scapy(errors.iter().map(|(.., packet)| packet));
    assert_eq!(told.len(), errors.len(), "{told:?}");
    for ((protocol, shape, packet), told) in errors.iter().zip(told) {
        let transport = match *protocol {
            UDP => "udp",
            TCP => "tcp",
            _ => "icmp",
        };
        let expected = match shape {
            Shape::Whole | Shape::Options => format!("ip, icmp, embedded ip, embedded {transport}"),
            Shape::Truncated => "ip, icmp, embedded ip".to_owned(),
            Shape::Extended => format!("ip, icmp, extension, embedded ip, embedded {transport}"),
        };
        assert_eq!(told, expected, "{shape:?}: {packet:02x?}");
    }
}

/// What scapy thinks of the checksums of each packet.
fn scapy<'a>(packets: impl Iterator<Item = &'a Vec<u8>>) -> Vec<String> {
    let hexadecimal =
        |packet: &Vec<u8>| packet.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let lines = packets.map(hexadecimal).collect::<Vec<_>>().join("\n");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/icmp_checksums.py");
    // The distribution's own, for which its scapy is.
    let mut python = Command::new("/usr/bin/python3");
    let python = python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().expect("python3");
    python.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
    let output = python.wait_with_output().expect("its output");
    assert!(output.status.success(), "scapy: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// A packet without what changes on its way.
fn as_sent(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[8] = 0;
    packet[10..12].fill(0);
    packet
}

/// The source address, and the source port or identifier.
fn source(packet: &[u8]) -> Endpoint {
    let address = Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]);
    let transport = &packet[usize::from(packet[0] & 15) * 4..];
    let at = if packet[9] == ICMP { 4 } else { 0 };
    (address, u16::from_be_bytes([transport[at], transport[at + 1]]))
}

fn transmit((namespace, router): (&Namespace, &str), packet: &[u8]) {
    let socket = PacketSocket::new(namespace);
    socket.send(&ethernet(mac_of(namespace, router), socket.mac(), 0x0800, packet));
}

/// A socket that gets every packet of a protocol with its header.
fn raw(namespace: &Namespace, protocol: SockProtocol) -> OwnedFd {
    let new = || socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol);
    let socket = namespace.enter(new).expect("root may open raw sockets");
    let patience = TimeVal::new(PATIENCE.as_secs() as i64, 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience).expect("a timeout");
    socket
}

/// The next packet that is meant.
fn next(socket: &OwnedFd, is_meant: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut buffer = [0; 2048];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("the packet");
        if is_meant(&buffer[..length]) {
            return buffer[..length].to_vec();
        }
    }
}
