//! What is known of a packet: its endpoints, where its layer 4 begins, what becomes of it, and how it is rewritten.

pub(crate) mod arrival;
pub(crate) mod embedded;
pub(crate) mod endpoint;
pub(crate) mod ip_protocol;
pub(crate) mod parse;
pub(crate) mod rewrite;
pub(crate) mod tcp_flags;
pub(crate) mod verdict;

/// Packets that are worked on together.
pub const BURST: usize = 32;
