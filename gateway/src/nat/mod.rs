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
//! ```
//! use gateway::nat::{Direction, Part, Secret, Settings, Shard, ShardOptions, Time, Verdict};
//!
//! let settings = Settings::default();
//! let options = ShardOptions {
//!     settings: &settings,
//!     shares: &[],
//!     sessions: 1024,
//!     part: Part::WHOLE,
//!     secret: Secret::new([1, 2, 3, 4]),
//!     now: Time(0),
//! };
//! let mut shard = Shard::new(&options)?;
//! let mut burst = [vec![0x45; 20]];
//! let mut verdicts = [Verdict::Local];
//! shard.translate(&mut burst[..], Direction::Outbound, Time(1), &mut verdicts);
//! assert!(matches!(verdicts[0], Verdict::Drop(_)));
//! # Ok::<(), std::io::Error>(())
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
