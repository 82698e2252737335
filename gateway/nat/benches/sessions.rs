//! What the life of a session costs in the engine alone: its first packet, its end, and the end of its port's rest.
//!
//! UDP, one session a packet in random order, bursts of 32, packets warm; subscribers with 64 inside endpoints each,
//! source ports in the ephemeral range, pools at half their ports, one remote a session, address-dependent filtering.
//! Sessions are made twice: in a fresh table, and in one whose records were freed in another order than they were
//! taken in. Their end is driven as a worker drives it: a budget of [`TIMERS`] a call; how long a call takes is shown, for
//! packets wait that long. (The longest of all tell of the machine's interruptions.)
//!
//! `cargo bench --bench sessions [-- SESSIONS...]`

mod fixture;

use std::hint::black_box;

use natgw_nat::{BURST, Direction, Endpoint, Filtering, Pages, Shard, Time, Verdict};
use natgw_wire::{ipv4, udp};

/// Inside endpoints of one subscriber.
const PORTS: u32 = 64;
/// IPv4, UDP and 18 octets: the shortest frame that Ethernet carries.
const LEN: usize = 46;
const ROUNDS: usize = 5;
/// As many timers as a worker looks at between two bursts.
const TIMERS: u32 = 64;

fn main() {
    let named: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if named.is_empty() { vec![64_000, 1_000_000] } else { named };
    println!("cycles of the time-stamp counter; median (lowest-highest) of {ROUNDS} tables");
    for sessions in sizes {
        let rounds: Vec<Life> = (0..ROUNDS).map(|_| Life::new(sessions)).collect();
        println!("\n{sessions} sessions");
        let row = |name: &str, value: fn(&Life) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            println!("{name:<44} {:>8.0} ({:.0}-{:.0})", values[ROUNDS / 2], values[0], values[ROUNDS - 1]);
        };
        row("new session, fresh table", |life| life.fresh);
        row("new session, used table", |life| life.used);
        row("end of a session", |life| life.end.mean);
        row("  999 calls in 1,000 within", |life| life.end.long);
        row("end of a port's rest", |life| life.rest.mean);
        row("  999 calls in 1,000 within", |life| life.rest.long);
    }
}

/// The cost of each part, in cycles.
struct Life {
    fresh: f64,
    used: f64,
    end: Calls,
    rest: Calls,
}

struct Calls {
    /// For each session that there was.
    mean: f64,
    /// One call in a thousand takes longer.
    long: f64,
}

impl Life {
    fn new(sessions: u32) -> Life {
        let mut shard = shard(sessions);
        let mut order: Vec<u32> = (0..sessions).collect();
        let mut random = 0x9e37_79b9_7f4a_7c15;
        shuffle(&mut order, &mut random);
        let mut now = Time::from_s(1);
        let fresh = create(&mut shard, &order, now);
        // Sessions last spoke in another order than they were made in.
        shuffle(&mut order, &mut random);
        let parts = order.chunks(order.len().div_ceil(100));
        for part in parts {
            now = now.plus_ms(20);
            create(&mut shard, part, now);
        }
        now = now.plus_ms(301_000);
        let end = advance(&mut shard, sessions, now);
        now = now.plus_ms(121_000);
        let rest = advance(&mut shard, sessions, now);
        assert_eq!(shard.counters().sessions, [0; 4]);
        assert_eq!(shard.counters().subscribers, 0, "nothing rests any more");
        shuffle(&mut order, &mut random);
        let used = create(&mut shard, &order, now);
        Life { fresh, used, end, rest }
    }
}

/// Cycles a packet, of translation alone.
fn create(shard: &mut Shard, order: &[u32], now: Time) -> f64 {
    let mut spent = 0;
    let mut verdicts = [Verdict::Local; BURST];
    for flows in order.chunks(BURST) {
        let mut burst = [[0; LEN]; BURST];
        let burst = &mut burst[..flows.len()];
        for (slot, &flow) in burst.iter_mut().zip(flows) {
            *slot = packet(internal(flow), remote(flow));
        }
        let start = cycles();
        shard.translate(burst, Direction::Outbound, now, &mut verdicts);
        spent += cycles() - start;
        black_box(&burst);
        let forwarded = |verdict: &Verdict| matches!(verdict, Verdict::Forward(_));
        assert!(verdicts[..flows.len()].iter().all(forwarded), "{verdicts:?}");
    }
    spent as f64 / order.len() as f64
}

/// Ends all that is due.
fn advance(shard: &mut Shard, sessions: u32, now: Time) -> Calls {
    let mut calls = Vec::new();
    loop {
        let start = cycles();
        let done = shard.advance(now, TIMERS);
        let took = cycles() - start;
        calls.push(took);
        if done {
            break;
        }
    }
    let spent: u64 = calls.iter().sum();
    calls.sort_unstable();
    let long = calls[calls.len() - 1 - calls.len() / 1000];
    Calls { mean: spent as f64 / f64::from(sessions), long: long as f64 }
}

fn shard(sessions: u32) -> Shard {
    let addresses = sessions.div_ceil(32_000);
    fixture::shard(sessions, 0xcb00_7100, addresses, Filtering::AddressDependent, Pages::default())
}

fn shuffle(order: &mut [u32], state: &mut u64) {
    for last in (1..order.len()).rev() {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        order.swap(last, (*state % (last as u64 + 1)) as usize);
    }
}

/// Numbers that look drawn, but are the same every time.
fn mix(number: u32) -> u32 {
    let number = (number ^ number >> 16).wrapping_mul(0x7feb_352d);
    let number = (number ^ number >> 15).wrapping_mul(0x846c_a68b);
    number ^ number >> 16
}

fn internal(flow: u32) -> Endpoint {
    let (subscriber, nth) = (flow / PORTS, flow % PORTS);
    // A step that has no divisor in common with the range: no port comes twice.
    let port = 32_768 + (mix(subscriber) % 28_232 + nth * 441) % 28_232;
    Endpoint { address: 0x0a00_0100 + subscriber, port: port as u16 }
}

fn remote(flow: u32) -> Endpoint {
    Endpoint { address: 0x0b00_0000 + mix(flow) % (1 << 22), port: 443 }
}

fn packet(from: Endpoint, to: Endpoint) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
    packet.set_header_len(ipv4::HEADER_LEN);
    packet.set_total_len(LEN as u16);
    packet.set_ttl(64);
    packet.set_protocol(ipv4::UDP);
    packet.set_src_bits(from.address);
    packet.set_dst_bits(to.address);
    packet.fill_checksum();
    let mut datagram = udp::Packet::new_unchecked(packet.payload_mut());
    datagram.set_src_port(from.port);
    datagram.set_dst_port(to.port);
    datagram.set_len((LEN - ipv4::HEADER_LEN) as u16);
    bytes
}

/// The time-stamp counter; nanoseconds where there is none.
fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it reads a counter that every x86-64 has, and nothing else.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
    }
}
