//! Virtual NICs and the workers behind them: which worker receives a packet, which owns it, and so what is handed over.
//!
//! The NIC hashes as hardware does, bit by bit, with the key and the redirection table that the gateway would program. The
//! owner of a packet comes from the gateway's own code (`steer`). Packets are not made: a flow is its endpoints and its weight.

use std::net::Ipv4Addr;

use natgw_nat::settings::{Pool, Settings};
use natgw_nat::{Endpoint, Protocol};
use natgw_steer::{Nic, Rss, Steering, WorkerId};

/// Hosts in a row.
pub(crate) const SUBSCRIBERS: u32 = 16_384;
pub(crate) const FLOWS: u32 = 1 << 18;
const FIRST_HOST: u32 = 0x0a40_0000;
const FIRST_EXTERNAL: u32 = 0xcb00_7100;
/// Entries of the virtual NIC's redirection table.
const RETA: usize = 512;

/// How a NIC spreads what it receives over the workers' queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// By the plain addresses, with the gateway's key and table.
    OurKeys,
    /// By addresses and ports, with the key that most drivers come with.
    Ports,
    /// All into one queue.
    OneQueue,
}

/// The result of a simulation. Balances are the busiest worker's part over the mean: 1 is even.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) subscribers: f64,
    pub(crate) flows: f64,
    /// Packets, a flow's weight being 1 / its rank (Zipf): the largest flow is 8 % of all.
    pub(crate) packets: f64,
    /// The part of the packets, both directions, that is received by another worker than its owner.
    pub(crate) handed_over: f64,
}

struct Flow {
    internal: Endpoint,
    remote: Endpoint,
    weight: f64,
}

/// Numbers that look drawn, but are the same every time.
fn mix(number: u32) -> u32 {
    let number = (number ^ number >> 16).wrapping_mul(0x7feb_352d);
    let number = (number ^ number >> 15).wrapping_mul(0x846c_a68b);
    number ^ number >> 16
}

fn flows() -> Vec<Flow> {
    let flow = |rank: u32| {
        let drawn = mix(rank + 1);
        Flow {
            internal: Endpoint {
                address: FIRST_HOST + drawn % SUBSCRIBERS,
                port: (mix(drawn) >> 16) as u16 | 1024,
            },
            remote: Endpoint { address: mix(drawn ^ 0x5555) & 0x3fff_ffff | 0x4000_0000, port: 443 },
            weight: 1.0 / f64::from(rank + 1),
        }
    };
    (0..FLOWS).map(flow).collect()
}

fn settings(addresses: u32) -> Settings {
    Settings {
        inside: vec!["10.64.0.1/16".parse().expect("a prefix")],
        pools: vec![Pool {
            name: "main".into(),
            addresses: (FIRST_EXTERNAL..FIRST_EXTERNAL + addresses).map(Ipv4Addr::from_bits).collect(),
            ..Pool::default()
        }],
        ..Settings::default()
    }
}

/// Lets `workers` workers with a pool of `addresses` share all flows.
pub(crate) fn simulate(workers: u16, addresses: u32, spread: Spread) -> Outcome {
    let nic = Nic { reta_size: RETA, key_len: 40 };
    let steering = Steering::new(&settings(addresses), workers, 7, nic, nic).expect("workers and pools fit");
    let mut subscribers = vec![0.0; usize::from(workers)];
    for host in 0..SUBSCRIBERS {
        subscribers[steering.outbound_owner(FIRST_HOST + host).index()] += 1.0;
    }
    let (mut counts, mut packets) = (vec![0.0; usize::from(workers)], vec![0.0; usize::from(workers)]);
    let mut handed_over = 0.0;
    let keys = [Virtual::new(steering.inside()), Virtual::new(steering.outside())];
    for (nth, flow) in (0..).zip(flows()) {
        let owner = steering.outbound_owner(flow.internal.address);
        let external = external(&steering, owner, nth);
        counts[owner.index()] += 1.0;
        packets[owner.index()] += flow.weight;
        let out = keys[0].queue(spread, flow.internal, flow.remote, workers);
        let back = keys[1].queue(spread, flow.remote, external, workers);
        let owners = [owner, steering.inbound_owner(external.address, Protocol::Udp, external.port)];
        assert_eq!(owners[1], owner, "a flow has one owner");
        let crossing = [out, back].iter().zip(owners).filter(|(queue, owner)| **queue != *owner).count();
        handed_over += flow.weight * crossing as f64 / 2.0;
    }
    let all: f64 = packets.iter().sum();
    Outcome {
        subscribers: balance(&subscribers),
        flows: balance(&counts),
        packets: balance(&packets),
        handed_over: handed_over / all,
    }
}

/// An outside endpoint out of the owner's share.
fn external(steering: &Steering, owner: WorkerId, nth: u32) -> Endpoint {
    let shares = &steering.shares(owner)[0];
    let share = &shares[mix(nth) as usize % shares.len()];
    let ports = u32::from(share.ports.end() - share.ports.start()) + 1;
    Endpoint::new(share.address, share.ports.start() + (mix(nth ^ 0xaaaa) % ports) as u16)
}

fn balance(parts: &[f64]) -> f64 {
    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
    parts.iter().copied().fold(0.0, f64::max) / mean
}

/// A port of a NIC.
struct Virtual {
    key: Vec<u8>,
    reta: Vec<WorkerId>,
}

/// The key of the RSS specification's examples, which drivers start with.
const COMMON_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

impl Virtual {
    fn new(rss: &Rss) -> Virtual {
        Virtual { key: rss.key().octets().to_vec(), reta: rss.reta(RETA).collect() }
    }

    fn queue(&self, spread: Spread, from: Endpoint, to: Endpoint, workers: u16) -> WorkerId {
        let mut input = [from.address.to_be_bytes(), to.address.to_be_bytes()].concat();
        match spread {
            Spread::OurKeys => self.reta[toeplitz(&self.key, &input) as usize % RETA],
            Spread::Ports => {
                input.extend([from.port.to_be_bytes(), to.port.to_be_bytes()].concat());
                WorkerId((toeplitz(&COMMON_KEY, &input) as usize % RETA % usize::from(workers)) as u16)
            }
            Spread::OneQueue => WorkerId(0),
        }
    }
}

/// The hash as the specification has it: a window of the key for each bit of the input.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let mut window = u64::from_be_bytes(key[..8].try_into().expect("eight octets"));
    let mut next = key[8..].iter();
    let mut hash = 0;
    for octet in input {
        for bit in (0..8).rev() {
            if octet >> bit & 1 == 1 {
                hash ^= (window >> 32) as u32;
            }
            window <<= 1;
        }
        window |= next.next().copied().map_or(0, u64::from);
    }
    hash
}

/// The example of the RSS specification: 66.9.149.187:2794 to 161.142.100.80:1766.
#[test]
fn hashes_as_the_specification_says() {
    let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
    assert_eq!(toeplitz(&COMMON_KEY, &input), 0x51cc_c178);
    assert_eq!(toeplitz(&COMMON_KEY, &input[..8]), 0x323e_8fc2);
}
