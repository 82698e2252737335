//! The NAT engine: bursts of IPv4 packets in, one verdict a packet out.

pub mod counters;
pub mod settings;
pub mod verdict;

pub use counters::{Counters, IcmpGenerated};
pub use settings::{
    Filtering, Limits, MappingMode, Pool, PortForward, Rule, RuleAction, Settings, Static, Timeouts,
};
pub use verdict::{DeleteReason, Direction, DropReason, Protocol, SessionFailure, Verdict};

/// A session's place in its shard's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);
