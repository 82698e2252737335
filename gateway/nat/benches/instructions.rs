//! A fixed trace through the engine, for counting instructions: `scripts/instructions.sh` runs it under callgrind and holds
//! the counts against `instructions.txt`. Cycles differ from run to run, instructions do not: secret, flows and their order
//! are constants.
//!
//! One case a run; only what [`counted`] and [`ended`] do is counted. A miss is a packet that begins a session, a drop one from
//! outside that nothing maps. UDP packets are of 46 octets, TCP segments of 60; headers have no options.
//!
//! With a case as its argument it prints how many packets (or, for `end`, sessions) the count is of, else the cases.

mod fixture;

use std::hint::black_box;

use natgw_nat::{BURST, Direction, Filtering, Pages, Shard, Time, Verdict};
use natgw_wire::{ipv4, tcp, udp};

const FLOWS: usize = 2048;
const NOW: Time = Time::from_s(10);
const REMOTE: u32 = 0xc633_640a;
const EXTERNAL: u32 = 0xcb00_7101;
const SYN: tcp::Flags = tcp::Flags::SYN;

type Packet = Vec<u8>;

/// Runs in a shard of its own; what was counted is how many packets.
type Case = fn(&mut Shard) -> usize;

const CASES: [(&str, Case); 8] = [
    ("hit-udp-outbound", |shard| hit(shard, ipv4::UDP, Direction::Outbound)),
    ("hit-udp-inbound", |shard| hit(shard, ipv4::UDP, Direction::Inbound)),
    ("hit-tcp-outbound", |shard| hit(shard, ipv4::TCP, Direction::Outbound)),
    ("hit-tcp-inbound", |shard| hit(shard, ipv4::TCP, Direction::Inbound)),
    ("miss-udp", |shard| counted(shard, &mut trace(ipv4::UDP, SYN), Direction::Outbound)),
    ("miss-tcp", |shard| counted(shard, &mut trace(ipv4::TCP, SYN), Direction::Outbound)),
    ("drop-udp", dropped),
    ("end-udp", |shard| {
        establish(shard, ipv4::UDP);
        ended(shard)
    }),
];

fn main() {
    let named = std::env::args().nth(1).unwrap_or_default();
    match CASES.iter().find(|(name, _)| *name == named) {
        Some((_, run)) => println!("{}", run(&mut shard())),
        // Without an argument, or with what `cargo bench` gives.
        None => CASES.iter().for_each(|(name, _)| println!("{name}")),
    }
}

/// Translates a trace and is counted; how many packets.
#[inline(never)]
fn counted(shard: &mut Shard, trace: &mut [Packet], direction: Direction) -> usize {
    translate(shard, trace, direction);
    trace.len()
}

/// Ends every session, as a worker does, 64 timers a call, and is counted; how many.
#[inline(never)]
fn ended(shard: &mut Shard) -> usize {
    while !shard.advance(NOW.plus_ms(400_000), 64) {}
    FLOWS
}

fn translate(shard: &mut Shard, trace: &mut [Packet], direction: Direction) {
    let mut verdicts = [Verdict::Local; BURST];
    for burst in trace.chunks_mut(BURST) {
        shard.translate(burst, direction, NOW, &mut verdicts[..burst.len()]);
        black_box(&verdicts);
    }
}

fn hit(shard: &mut Shard, protocol: u8, direction: Direction) -> usize {
    let mut answers = establish(shard, protocol);
    let packets = match direction {
        Direction::Outbound => counted(shard, &mut trace(protocol, tcp::Flags::ACK), direction),
        Direction::Inbound => counted(shard, &mut answers, direction),
    };
    let translated: u64 = shard.counters().translated[direction].iter().sum();
    assert!(translated >= 2 * FLOWS as u64, "every packet passed");
    packets
}

/// Packets from outside that nothing maps.
fn dropped(shard: &mut Shard) -> usize {
    let stray = |flow| packet(ipv4::UDP, [REMOTE, EXTERNAL], [9, 1024 + flow as u16], SYN);
    let packets = counted(shard, &mut (0..FLOWS).map(stray).collect::<Vec<_>>(), Direction::Inbound);
    assert_eq!(shard.counters().translated, [[0; 4]; 2]);
    packets
}

/// Makes the sessions of a trace, TCP connections up to the end of their handshake. One more answer to each.
fn establish(shard: &mut Shard, protocol: u8) -> Vec<Packet> {
    let mut first = trace(protocol, SYN);
    translate(shard, &mut first, Direction::Outbound);
    let answers = |flags| first.iter().map(|sent| answer(sent, flags)).collect::<Vec<_>>();
    translate(shard, &mut answers(tcp::Flags(SYN.0 | tcp::Flags::ACK.0)), Direction::Inbound);
    translate(shard, &mut trace(protocol, tcp::Flags::ACK), Direction::Outbound);
    assert_eq!(shard.counters().sessions.iter().sum::<u64>(), FLOWS as u64);
    answers(tcp::Flags::ACK)
}

fn shard() -> Shard {
    fixture::shard(2 * FLOWS as u32, EXTERNAL, 1, Filtering::AddressDependent, Pages::default())
}

fn trace(protocol: u8, flags: tcp::Flags) -> Vec<Packet> {
    (0..FLOWS).map(|flow| outbound(protocol, flow, flags)).collect()
}

/// Subscribers with 16 flows each, in an order that jumps about.
fn outbound(protocol: u8, flow: usize, flags: tcp::Flags) -> Packet {
    let flow = (flow * 1237 % FLOWS) as u32;
    let source = 0x0a00_0100 + flow / 16;
    packet(protocol, [source, REMOTE + flow % 64], [40_000 + (flow % 16) as u16 * 7, 443], flags)
}

fn answer(sent: &Packet, flags: tcp::Flags) -> Packet {
    let header = ipv4::Packet::new_unchecked(&sent[..]);
    let port = |at: usize| u16::from_be_bytes([sent[at], sent[at + 1]]);
    packet(header.protocol(), [header.dst_bits(), header.src_bits()], [port(22), port(20)], flags)
}

/// The engine does not look at layer 4's checksum, it only changes it: any will do.
fn packet(protocol: u8, addresses: [u32; 2], ports: [u16; 2], flags: tcp::Flags) -> Packet {
    let len: u16 = if protocol == ipv4::TCP { 60 } else { 46 };
    let mut bytes = vec![0; usize::from(len)];
    let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
    packet.set_header_len(ipv4::HEADER_LEN);
    packet.set_total_len(len);
    packet.set_ttl(64);
    packet.set_protocol(protocol);
    packet.set_src_bits(addresses[0]);
    packet.set_dst_bits(addresses[1]);
    packet.fill_checksum();
    let l4 = packet.payload_mut();
    l4[..2].copy_from_slice(&ports[0].to_be_bytes());
    l4[2..4].copy_from_slice(&ports[1].to_be_bytes());
    if protocol == ipv4::TCP {
        let mut segment = tcp::Packet::new_unchecked(l4);
        segment.set_header_len(20);
        segment.set_flags(flags);
    } else {
        udp::Packet::new_unchecked(l4).set_len(len - ipv4::HEADER_LEN as u16);
    }
    bytes
}
