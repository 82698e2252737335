//! What stands behind the UDP and TCP headers is none of the gateway's business: no octet of it changes, and neither
//! does the absence of a checksum (RFC 3022 section 4.1, RFC 4787 REQ-10).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::frame::{ethernet, udp};
use crate::hostile::mac_of;
use crate::http::contents;
use crate::lab::{HOST_A, Lab, SERVER, in_a_lab};
use crate::namespace::{Namespace, PATIENCE};
use crate::packet_socket::PacketSocket;
use crate::reflector::{UdpReflector, ask, receive_into};

const SIP: u16 = 5060;

in_a_lab!(rfc4787_req10_sip_passes_octet_by_octet_both_ways);
fn rfc4787_req10_sip_passes_octet_by_octet_both_ways(lab: &mut Lab) {
    let (phone, proxy) = (lab.a.udp(SIP), lab.server.udp(SIP));
    let invite = message("INVITE sip:bob@example.net SIP/2.0");
    phone.send_to(&invite, SocketAddrV4::new(SERVER, SIP)).expect("sent");
    let mut buffer = [0; 2048];
    let (length, from) = receive_into(&proxy, &mut buffer).expect("the request");
    assert!(buffer[..length] == invite, "{}", String::from_utf8_lossy(&buffer[..length]));
    assert_ne!(from.ip(), HOST_A, "it has been translated");
    let ok = message("SIP/2.0 200 OK");
    proxy.send_to(&ok, from).expect("sent");
    let (length, _) = receive_into(&phone, &mut buffer).expect("the response");
    assert!(buffer[..length] == ok, "{}", String::from_utf8_lossy(&buffer[..length]));
}

/// A message full of addresses that an ALG would rewrite: the host's, the server's and an outside one.
fn message(start: &str) -> Vec<u8> {
    let body = format!(
        "v=0\r\no=alice 2890844526 2890844526 IN IP4 {HOST_A}\r\ns=-\r\nc=IN IP4 {HOST_A}\r\nt=0 0\r\n\
         m=audio 49170 RTP/AVP 0\r\na=candidate:1 1 UDP 1694498815 203.0.113.10 49170 typ srflx raddr {HOST_A} rport 49170\r\n"
    );
    format!(
        "{start}\r\nVia: SIP/2.0/UDP {HOST_A}:{SIP};branch=z9hG4bKnashds8;rport\r\nMax-Forwards: 70\r\n\
         From: Alice <sip:alice@{HOST_A}>;tag=1928301774\r\nTo: Bob <sip:bob@{SERVER}>\r\n\
         Call-ID: a84b4c76e66710@{HOST_A}\r\nCSeq: 314159 INVITE\r\nContact: <sip:alice@{HOST_A}:{SIP}>\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

in_a_lab!(rfc3022_a_udp_checksum_of_zero_stays_zero_both_ways);
fn rfc3022_a_udp_checksum_of_zero_stays_zero_both_ways(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let socket = lab.a.udp(5000);
    let outside = ask(&socket, reflector.address);
    let (at_server, at_host) = (RawUdp::new(&lab.server), RawUdp::new(&lab.a));
    let inside = (HOST_A, 5000);
    send_without_checksum(&lab.a, "10.64.0.1", inside, (SERVER, 7), b"unsummed out");
    assert_eq!(at_server.checksum_of(b"unsummed out"), 0);
    let back = (*outside.ip(), outside.port());
    send_without_checksum(&lab.server, "198.51.100.1", (SERVER, 7), back, b"unsummed back");
    assert_eq!(at_host.checksum_of(b"unsummed back"), 0);
    // The kernels here do fill in checksums otherwise.
    reflector.socket.send_to(b"summed back", outside).expect("sent");
    assert_ne!(at_host.checksum_of(b"summed back"), 0);
}

fn send_without_checksum(
    host: &Namespace,
    router: &str,
    from: (Ipv4Addr, u16),
    to: (Ipv4Addr, u16),
    payload: &[u8],
) {
    const CHECKSUM: std::ops::Range<usize> = 26..28;
    let mut packet = udp(from, to, &[], payload);
    packet[CHECKSUM].fill(0);
    let socket = PacketSocket::new(host);
    socket.send(&ethernet(mac_of(host, router), socket.mac(), 0x0800, &packet));
}

/// Sees every datagram that a host gets, with its headers.
struct RawUdp(OwnedFd);

impl RawUdp {
    fn new(namespace: &Namespace) -> RawUdp {
        let new = || socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Udp);
        let socket = namespace.enter(new).expect("root may open raw sockets");
        let patience = TimeVal::new(PATIENCE.as_secs() as i64, 0);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience).expect("a timeout");
        RawUdp(socket)
    }

    /// The checksum of the datagram that ends so.
    fn checksum_of(&self, payload: &[u8]) -> u16 {
        let mut buffer = [0; 2048];
        loop {
            let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("the datagram");
            if buffer[..length].ends_with(payload) {
                return u16::from_be_bytes([buffer[26], buffer[27]]);
            }
        }
    }
}

in_a_lab!(tcp_upload_of_2_mb_is_byte_exact_and_answered_after_its_end);
fn tcp_upload_of_2_mb_is_byte_exact_and_answered_after_its_end(lab: &mut Lab) {
    let listener = lab.server.tcp_listener(7000);
    let mut client = lab.a.tcp(SocketAddrV4::new(SERVER, 7000)).expect("a connection");
    let (mut server, _) = listener.accept().expect("a connection");
    let sent = &contents()[..2_000_000];
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut received = Vec::new();
            server.read_to_end(&mut received).expect("all of it");
            let answer = if received == sent { "the same" } else { "another" };
            server.write_all(answer.as_bytes()).expect("sent");
        });
        client.write_all(sent).expect("sent");
        client.shutdown(Shutdown::Write).expect("its end");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("the answer");
        assert_eq!(answer, "the same");
    });
}
