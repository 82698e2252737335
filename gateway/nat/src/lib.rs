//! The NAT engine: bursts of IPv4 packets in, one verdict a packet out.
//!
//! Pure: no DPDK, no clock, no thread, no log. Time is an argument, every outcome is a [`Verdict`], and after
//! [`Shard::new`] nothing is allocated. One [`Shard`] belongs to one worker and knows nothing of the others; who owns
//! which packet is decided outside (`steer`).
//!
//! What each stage costs and what each cache line holds is in `LAYOUT.md` beside this file.
//!
//! RFC 4787 (UDP), RFC 5382 (TCP), RFC 5508 (ICMP), RFC 6888 (carriers), RFC 7857 (updates).
//!
//! ```text
//! packet ──► parse ──► index ──► session ──────────► rewrite          established: two cold cache lines
//!                        │ miss
//!                        ├─ outbound ► rule ► subscriber ► mapping ► session
//!                        ├─ inbound  ► mapping ► filter               no state is made
//!                        ├─ error    ► embedded packet's session or mapping
//!                        └─ fragment ► its first fragment's way
//! ```
//!
//! # A NAT in memory
//! An inside host asks, the engine translates, and the answer finds the way back:
//!
//! ```
//! use std::net::{Ipv4Addr, SocketAddrV4};
//!
//! use natgw_nat::{Direction, Limits, Pool, Rule, RuleAction, Secret, Settings, Shard, Time, Verdict};
//! use natgw_wire::{build, ipv4, udp};
//!
//! let settings = Settings {
//!     inside: vec!["10.64.0.1/24".parse()?],
//!     outside: vec!["203.0.113.2/24".parse()?],
//!     pools: vec![Pool { name: "main".into(), addresses: vec!["203.0.113.10".parse()?], ..Pool::default() }],
//!     rules: vec![Rule { source: "10.64.0.0/24".parse()?, action: RuleAction::Pool(0), ..Rule::default() }],
//!     limits: Limits { sessions: 1024, ..Limits::default() },
//!     ..Settings::default()
//! };
//! let secret = Secret::new([1, 2, 3, 4]); // at random, where it matters
//! let mut shard = Shard::single(&settings, secret, Time(0))?;
//!
//! let mut burst = [build::udp("10.64.0.11:40000".parse()?, "198.51.100.10:53".parse()?, b"query")];
//! let mut verdicts = [Verdict::Local];
//! shard.translate(&mut burst[..], Direction::Outbound, Time(1), &mut verdicts);
//! assert!(matches!(verdicts[0], Verdict::Forward(Some(_))));
//! let left = ipv4::Packet::new_verified(&burst[0][..])?;
//! assert_eq!(left.src(), Ipv4Addr::new(203, 0, 113, 10));
//!
//! // The answer, to the port that the query left by.
//! let port = udp::Packet::new_checked(left.payload())?.src_port();
//! burst = [build::udp("198.51.100.10:53".parse()?, SocketAddrV4::new(left.src(), port), b"answer")];
//! shard.translate(&mut burst[..], Direction::Inbound, Time(2), &mut verdicts);
//! assert!(matches!(verdicts[0], Verdict::Forward(Some(_))));
//! assert_eq!(ipv4::Packet::new_verified(&burst[0][..])?.dst(), Ipv4Addr::new(10, 64, 0, 11));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod addresses;
mod ahead;
mod allocation;
mod beginning;
mod bits;
mod block_allocation;
mod blocks;
mod burst;
mod changes;
mod classifier;
mod closed;
pub mod counters;
mod cpu;
mod deletion;
mod deterministic;
mod endpoint;
mod expiry;
mod explain;
mod filter;
mod fragment;
mod grant;
mod hash;
mod icmp;
mod ids;
mod inbound;
mod ip_protocol;
mod lifecycle;
mod listing;
mod mapping;
mod memory;
mod other;
mod outbound;
mod overlap;
mod parse;
mod policy;
mod pool;
mod port_block;
mod ports;
mod rate;
mod redirect;
mod rewrite;
mod rule;
mod runs;
mod session;
pub mod settings;
mod setup;
mod shard;
mod sight;
mod stages;
mod subscriber;
mod table;
mod tcp;
mod time;
mod timer;
mod twice;
mod unsolicited;
pub mod verdict;

pub use burst::BURST;
pub use changes::{Changes, Parts, Sweep};
pub use counters::{Counters, IcmpGenerated};
pub use cpu::prefetch;
pub use deletion::Deleted;
pub use deterministic::{Deterministic, Ranges};
pub use endpoint::{Endpoint, Tuple};
pub use explain::{Explanation, Outcome, Question, SubscriberView};
pub use fragment::{Fate, FragmentVerdict, HELD_FRAGMENTS, Hold, Way};
pub use hash::Secret;
pub use ip_protocol::{IpProtocol, OtherProtocols, UnknownProtocol};
pub use listing::{Filter, MappingView, SessionView};
pub use memory::{Backing, Pages, Region};
pub use policy::Policy;
pub use pool::PoolUsage;
pub use port_block::{BlockEvent, BlockGrid, BlockRecord, PortBlocks};
pub use settings::{
    EmbeddedChecksum, Filtering, ForwardSource, Limits, MappingMode, Pool, PortForward, Refuse, Rule,
    RuleAction, Settings, Share, SourceRoute, Static, Timeouts, Twice,
};
pub use setup::{Footprint, Part, ShardOptions};
pub use shard::Shard;
pub use sight::Sight;
pub use stages::{Stage, StageCounters, Stopwatch};
pub use table::{Full, Hash, Index, View};
pub use time::Time;
pub use unsolicited::UnansweredSyn;
pub use verdict::{
    DeleteReason, Direction, DropReason, FragmentEvent, Protocol, Refusal, SessionFailure, UnsolicitedSyn,
    Verdict,
};

/// A session's place in its shard's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);
