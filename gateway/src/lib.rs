//! A NAT gateway on DPDK poll-mode drivers, and the library that it is made of.
//!
//! Workers, one an lcore, each own queues, a shard of the NAT table and everything else that their packets touch.
//! A subscriber belongs to one worker, and so does every outside endpoint; a packet that is received elsewhere is
//! handed over. There is no lock, no atomic read-modify-write and no allocation on the packet path.
//!
//! # Modules
//! Arrows point down only; a test holds them to it.
//!
//! ```text
//! main, natctl → start → management, worker → nat, steer, neighbor → wire
//!                        start, worker      → dpdk → dpdk-sys
//! nat-trafficgen → trafficgen → dpdk, wire
//! ```
//!
//! | module | what it owns |
//! |---|---|
//! | [`wire`] | views over Ethernet, ARP, IPv4, UDP, TCP and ICMP; checksums and their deltas |
//! | [`nat`] | the engine: bursts of IPv4 packets in, one [`Verdict`](nat::Verdict) a packet out |
//! | [`steer`] | who owns a packet: RSS keys and tables, and the same in software |
//! | [`neighbor`] | routes, next hops, ARP, and answers for the gateway's own addresses |
//! | `dpdk` | EAL, pools, ports, queues, rings and lcores, safely: the place of the `unsafe` code |
//! | `worker` | the loop that takes packets from queues and rings through the engine and on |
//! | [`management`] | metrics, HTTP API and status page |
//! | `start` | from a configuration to a running gateway, and back to nothing |
//! | [`config`] | the TOML file: every mistake at once, each with its line |
//! | [`counters`] | counters that one thread writes and others read |
//! | `trafficgen` | the traffic generator: what a gateway is measured with |
//! | [`natctl`], [`cli`], [`log`] | the two programs' command lines, and the log |
//!
//! # Without DPDK
//! `dpdk`, `worker`, `start` and `trafficgen` need the feature `dpdk`, which is on by default. The rest builds without it and
//! without DPDK on the machine:
//!
//! ```toml
//! gateway = { path = "gateway", default-features = false }
//! ```
//!
//! # A NAT in memory
//! An inside host asks, the engine translates, and the answer finds the way back:
//!
//! ```
//! use gateway::nat::{
//!     Direction, Part, Pool, Rule, RuleAction, Secret, Settings, Shard, ShardOptions, Share, Time, Verdict,
//! };
//!
//! let settings = Settings {
//!     inside: vec!["10.64.0.1/24".parse()?],
//!     outside: vec!["203.0.113.2/24".parse()?],
//!     pools: vec![Pool {
//!         name: "main".into(),
//!         addresses: vec!["203.0.113.10".parse()?],
//!         ..Pool::default()
//!     }],
//!     rules: vec![Rule {
//!         source: "10.64.0.0/24".parse()?,
//!         action: RuleAction::Pool(0),
//!         ..Rule::default()
//!     }],
//!     ..Settings::default()
//! };
//! // One shard hands out all of the pool.
//! let shares = [vec![Share { address: "203.0.113.10".parse()?, ports: 1024..=65535 }]];
//! let secret = Secret::new([1, 2, 3, 4]); // at random, where it matters
//! let options = ShardOptions {
//!     settings: &settings,
//!     shares: &shares,
//!     sessions: 1024,
//!     part: Part::WHOLE,
//!     secret,
//!     now: Time(0),
//! };
//! let mut shard = Shard::new(&options)?;
//!
//! // 10.64.0.11:40000 -> 198.51.100.10:53
//! let mut burst = [query()];
//! let mut verdicts = [Verdict::Local];
//! shard.translate(&mut burst[..], Direction::Outbound, Time(1), &mut verdicts);
//! assert!(matches!(verdicts[0], Verdict::Forward(Some(_))));
//! assert_eq!(burst[0][12..16], [203, 0, 113, 10]);
//! # let external = [burst[0][20], burst[0][21]];
//! #
//! # // 198.51.100.10:53 -> 203.0.113.10, the port that the query left by.
//! # let mut burst = [packet([198, 51, 100, 10], [203, 0, 113, 10], [0, 53, external[0], external[1]])];
//!
//! // The answer, from 198.51.100.10:53.
//! shard.translate(&mut burst[..], Direction::Inbound, Time(2), &mut verdicts);
//! assert!(matches!(verdicts[0], Verdict::Forward(Some(_))));
//! assert_eq!(burst[0][16..20], [10, 64, 0, 11]);
//! #
//! # fn query() -> Vec<u8> {
//! #     packet([10, 64, 0, 11], [198, 51, 100, 10], [0x9c, 0x40, 0, 53])
//! # }
//! # fn packet(from: [u8; 4], to: [u8; 4], ports: [u8; 4]) -> Vec<u8> {
//! #     let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
//! #     packet.extend(from.iter().chain(&to).chain(&ports).chain(&[0, 8, 0, 0]));
//! #     let sum = !gateway::wire::checksum::sum(&packet[..20]);
//! #     packet[10..12].copy_from_slice(&sum.to_be_bytes());
//! #     packet
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod cli;
pub mod config;
pub mod counters;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod log;
pub mod management;
pub mod nat;
pub mod natctl;
pub mod neighbor;
#[cfg(feature = "dpdk")]
pub mod start;
pub mod steer;
#[cfg(feature = "dpdk")]
pub mod trafficgen;
pub mod wire;
#[cfg(feature = "dpdk")]
pub mod worker;
