//! What a packet of an established session costs in the engine alone: UDP, both directions mixed, flows in random order,
//! headers warm, no NIC.
//!
//! Each table size is run twice in turns: in bursts of 32, as workers do, and one packet at a time, which leaves nothing
//! to overlap. What lies between the two is what the stages and their prefetches are for. To see the prefetches alone,
//! run it a second time with `RUSTFLAGS="--cfg gateway_no_prefetch"`.
//!
//! `cargo bench --bench engine [-- FLOWS...]`

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use gateway::nat::{
    BURST, Direction, Endpoint, Filtering, Limits, MappingMode, Pool, Rule, RuleAction, Secret, Settings,
    Shard, ShardOptions, Share, Time, Verdict,
};
use gateway::wire::{ipv4, udp};

/// Flows of one subscriber.
const PORTS: u32 = 64;
const REMOTE: Endpoint = Endpoint { address: 0xc633_640a, port: 9 };
/// IPv4, UDP and 18 octets: the shortest frame that Ethernet carries.
const LEN: usize = 46;
const ROUNDS: usize = 5;
const PACKETS: usize = 1 << 20;

fn main() {
    let named: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if named.is_empty() { vec![64, 65_536, 1_000_000] } else { named };
    println!("{:>10} {:>22} {:>22} {:>8}", "flows", "bursts of 32, ns", "one at a time, ns", "ratio");
    for flows in sizes {
        let mut bench = Bench::new(flows);
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            times[0].push(bench.run(BURST));
            times[1].push(bench.run(1));
        }
        let [together, alone] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            (times[0], times[ROUNDS / 2], times[ROUNDS - 1])
        });
        let text = |(low, median, high): (f64, f64, f64)| format!("{median:.1} ({low:.1}-{high:.1})");
        println!("{flows:>10} {:>22} {:>22} {:>8.2}", text(together), text(alone), alone.1 / together.1);
    }
}

struct Bench {
    shard: Shard,
    external: Vec<Endpoint>,
    random: u64,
}

impl Bench {
    fn new(flows: u32) -> Bench {
        let addresses: Vec<Ipv4Addr> = (0..flows.div_ceil(40_000).max(1))
            .map(|index| Ipv4Addr::from_bits(0xcb00_7100 + index))
            .collect();
        let shares = [addresses.iter().map(|&address| Share { address, ports: 1024..=65535 }).collect()];
        let settings = Settings {
            inside: vec!["10.0.0.1/8".parse().expect("a prefix")],
            pools: vec![Pool {
                name: "bench".into(),
                addresses,
                ports: 1024..=65535,
                mapping: MappingMode::EndpointIndependent,
                filtering: Filtering::EndpointIndependent,
            }],
            rules: vec![Rule {
                source: "10.0.0.0/8".parse().expect("a prefix"),
                destination: "0.0.0.0/0".parse().expect("a prefix"),
                protocol: None,
                ports: 0..=65535,
                action: RuleAction::Pool(0),
            }],
            limits: Limits {
                sessions: flows,
                new_sessions_per_subscriber_per_s: u32::MAX,
                ..Limits::default()
            },
            ..Settings::default()
        };
        let options = ShardOptions {
            settings: &settings,
            shares: &shares,
            sessions: flows,
            secret: Secret::new([7, 11, 13, 17]),
            now: Time(0),
        };
        let mut bench =
            Bench { shard: Shard::new(&options).expect("memory"), external: Vec::new(), random: 0x9e37_79b9 };
        for flow in 0..flows {
            let mut burst = [packet(internal(flow), REMOTE)];
            let mut verdicts = [Verdict::Local];
            bench.shard.translate(&mut burst[..], Direction::Outbound, Time(1), &mut verdicts);
            assert!(matches!(verdicts[0], Verdict::Forward(_)), "flow {flow}: {:?}", verdicts[0]);
            let header = ipv4::Packet::new_unchecked(&burst[0]);
            let port = udp::Packet::new_unchecked(header.payload()).src_port();
            bench.external.push(Endpoint { address: header.src_bits(), port });
        }
        bench
    }

    /// Nanoseconds a packet, of translation alone.
    fn run(&mut self, size: usize) -> f64 {
        let mut spent = Duration::ZERO;
        let mut burst = [[0; LEN]; BURST];
        let mut verdicts = [Verdict::Local; BURST];
        for round in 0..PACKETS / BURST {
            let direction = Direction::ALL[round % 2];
            for slot in &mut burst {
                let flow = self.next() % self.external.len() as u32;
                *slot = match direction {
                    Direction::Outbound => packet(internal(flow), REMOTE),
                    Direction::Inbound => packet(REMOTE, self.external[flow as usize]),
                };
            }
            let start = Instant::now();
            for part in burst.chunks_mut(size) {
                self.shard.translate(part, direction, Time(2), &mut verdicts);
            }
            spent += start.elapsed();
            black_box(&burst);
            assert!(matches!(verdicts[0], Verdict::Forward(Some(_))));
        }
        spent.as_nanos() as f64 / (PACKETS / BURST * BURST) as f64
    }

    fn next(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u32
    }
}

fn internal(flow: u32) -> Endpoint {
    Endpoint { address: 0x0a00_0100 + flow / PORTS, port: 10_000 + (flow % PORTS) as u16 }
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
