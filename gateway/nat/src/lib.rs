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

mod control;
pub mod counters;
mod fragment;
mod ids;
mod lifecycle;
mod mapping;
mod packet;
mod pipeline;
mod policy;
mod pool;
mod session;
pub mod settings;
mod setup;
mod shard;
mod table;

pub use control::deletion::Deleted;
pub use control::explain::{Explanation, Outcome, Question, SubscriberView};
pub use control::listing::{Filter, MappingView, SessionView};
pub use control::packet_view::Sight;
pub use control::reload::{Changes, Parts, Sweep};
pub use counters::{Counters, IcmpGenerated};
pub use fragment::{FragmentAction, FragmentPath, FragmentVerdict, HELD_FRAGMENTS, Hold};
pub use ids::SessionId;
pub use mapping::unsolicited::UnansweredSyn;
pub use packet::BURST;
pub use packet::endpoint::{Endpoint, Tuple};
pub use packet::ip_protocol::{IpProtocol, OtherProtocols, UnknownProtocol};
pub use packet::verdict::{
    DeleteReason, Direction, DropReason, FragmentEvent, IcmpReply, Protocol, SessionFailure, UnsolicitedSyn,
    Verdict,
};
pub use pipeline::stage_timer::{Stage, StageCounters, Stopwatch};
pub use policy::Policy;
pub use pool::block_records::{BlockEvent, BlockRecord};
pub use pool::deterministic::Ranges;
pub use pool::usage::PoolUsage;
pub use settings::block_config::{BlockGrid, PortBlocks};
pub use settings::deterministic::Deterministic;
pub use settings::{
    EmbeddedChecksum, Filtering, ForwardSource, Limits, MappingMode, Part, Pool, PortForward, Refuse, Rule,
    RuleAction, Settings, Share, SourceRoute, Static, Timeouts, Twice,
};
pub use setup::{Footprint, ShardOptions};
pub use shard::Shard;
pub use table::cpu::prefetch;
pub use table::hash::Secret;
pub use table::index::{Full, Hash, Index, View};
pub use table::memory::{Backing, Pages, Region};
pub use table::time::Time;

/// The programs of the page about the library run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/library.md")]
struct Library;
