//! The way of a burst: established packets first, then what misses, in each direction, and ICMP errors.

pub(crate) mod established;
pub(crate) mod fast_path;
pub(crate) mod fragment;
pub(crate) mod icmp_error;
pub(crate) mod inbound;
pub(crate) mod lookahead;
pub(crate) mod onward;
pub(crate) mod outbound;
pub(crate) mod redirect;
pub(crate) mod refuse;
pub(crate) mod slow_path;
pub(crate) mod stage_timer;
pub(crate) mod unsolicited;
