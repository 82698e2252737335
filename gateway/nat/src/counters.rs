//! The engine's counters: plain numbers in one struct, read by the shard's owner.
//!
//! The struct is all `u64`, so that a worker can publish it word by word without naming a field twice.

use crate::packet::verdict::{
    DeleteReason, DropReason, FragmentEvent, Protocol, SessionFailure, UnsolicitedSyn,
};

/// Everything that one shard counts. Gauges are marked; the rest only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Counters {
    /// Packets translated, by [`Direction`](crate::Direction) and [`Protocol`].
    pub translated: [[u64; Protocol::COUNT]; 2],
    /// Packets dropped, by [`DropReason`] and [`Direction`](crate::Direction).
    pub dropped: [[u64; 2]; DropReason::COUNT],
    /// Gauge: live sessions by [`Protocol`].
    pub sessions: [u64; Protocol::COUNT],
    /// Sessions made, by [`Protocol`].
    pub sessions_created: [u64; Protocol::COUNT],
    /// Sessions ended, by [`DeleteReason`].
    pub sessions_deleted: [u64; DeleteReason::COUNT],
    /// Sessions that could not be made, by [`SessionFailure`].
    pub session_failures: [u64; SessionFailure::COUNT],
    /// Gauge: mappings with at least one session, and permanent ones.
    pub mappings: u64,
    /// Gauge: subscribers with at least one mapping.
    pub subscribers: u64,
    /// Gauge: live sessions that remotes began (`redirect`).
    pub redirected_sessions: u64,
    /// Port blocks that changed hands without a record.
    pub block_records_lost: u64,
    /// Packets translated out and in again (RFC 4787 REQ-9).
    pub hairpinned: u64,
    /// ICMP messages made by the gateway, by [`IcmpGenerated`].
    pub icmp_generated: [u64; IcmpGenerated::COUNT],
    /// RSTs made by the gateway.
    pub tcp_resets: u64,
    /// ICMP errors translated, by [`Direction`](crate::Direction).
    pub icmp_errors_translated: [u64; 2],
    /// SYNs from outside that were not let in, by [`UnsolicitedSyn`].
    pub unsolicited_syns: [u64; UnsolicitedSyn::COUNT],
    /// What happened to fragments, by [`FragmentEvent`].
    pub fragments: [u64; FragmentEvent::COUNT],
    /// Gauge: datagrams in fragments that are remembered: those whose first fragment has not come, those that are
    /// translated, those that are dropped or handed over.
    pub fragmented_datagrams: [u64; 3],
}

impl Default for Counters {
    fn default() -> Counters {
        bytemuck::Zeroable::zeroed()
    }
}

/// ICMP messages that the gateway makes itself: `natgw_icmp_generated_total{type}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum IcmpGenerated {
    /// Type 0, to a ping of an own address.
    EchoReply = 0,
    /// Type 11 code 0.
    TimeExceeded = 1,
    /// Type 3 code 0 or 1: no route, or the next hop does not answer.
    Unreachable = 2,
    /// Type 3 code 4.
    FragmentationNeeded = 3,
    /// Type 3 code 13 (RFC 5508 REQ-8).
    Prohibited = 4,
}

impl IcmpGenerated {
    /// How many kinds there are.
    pub const COUNT: usize = 5;
    /// Every kind, in counter order.
    pub const ALL: [IcmpGenerated; Self::COUNT] = [
        IcmpGenerated::EchoReply,
        IcmpGenerated::TimeExceeded,
        IcmpGenerated::Unreachable,
        IcmpGenerated::FragmentationNeeded,
        IcmpGenerated::Prohibited,
    ];

    /// The label used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            IcmpGenerated::EchoReply => "echo-reply",
            IcmpGenerated::TimeExceeded => "time-exceeded",
            IcmpGenerated::Unreachable => "unreachable",
            IcmpGenerated::FragmentationNeeded => "fragmentation-needed",
            IcmpGenerated::Prohibited => "prohibited",
        }
    }
}
