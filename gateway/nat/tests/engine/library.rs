//! The engine as a library: the example does what it says.

#[allow(dead_code, reason = "its `main` is for people")]
#[path = "../../examples/nat60.rs"]
mod nat60;

use crate::packet::{Packet, Seen, at_port, ep};

fn line(direction: &str, packet: &Packet) -> String {
    let digits: String = packet.bytes().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{direction} {digits}\n")
}

fn seen(line: &str) -> Seen {
    let digits = line.strip_prefix("forward ").expect("forwarded").as_bytes();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Seen::read(&digits.chunks(2).map(octet).collect::<Vec<u8>>()).expect("every checksum right")
}

fn run(input: &str) -> String {
    let mut output = Vec::new();
    nat60::translate(input.as_bytes(), &mut output).expect("it runs");
    String::from_utf8(output).expect("text")
}

#[test]
fn the_example_translates_what_it_is_given() {
    let (host, remote) = (ep("10.64.0.5:4000"), ep("198.51.100.7:7000"));
    let external = ep("203.0.113.10:4000");
    let output = run(&[
        line("out", &Packet::udp(host, remote)),
        line("in", &Packet::udp(remote, external)),
        line("in", &Packet::udp(remote, at_port(external, 4001))),
        line("out", &Packet::udp(host, remote).ttl(1)),
        line("out", &Packet::udp(ep("10.99.0.1:1"), remote)),
    ]
    .concat());
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!((seen(lines[0]).source, seen(lines[0]).destination), (external, remote));
    assert_eq!((seen(lines[1]).source, seen(lines[1]).destination), (remote, host));
    assert_eq!(lines[2..], ["drop no-mapping", "Reply(TimeExceeded)", "drop spoofed-inside"]);
}

/// The packet that the example's documentation shows.
#[test]
fn the_example_translates_the_packet_of_its_documentation() {
    let text = include_str!("../../examples/nat60.rs");
    let shown = text.split("echo ").nth(1).and_then(|rest| rest.split(" |").next()).expect("a packet");
    let seen = seen(run(shown).trim_end());
    assert_eq!((seen.source, seen.ttl), (ep("203.0.113.10:4000"), 63));
}
