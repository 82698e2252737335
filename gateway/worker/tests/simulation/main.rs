//! Several workers over queues in memory: the loop that runs on DPDK, without it.
//!
//! Every test ends as [`lab::Lab::finish`] says: the counters of every worker balance, and every packet buffer is back.
#![allow(unreachable_pub)]

mod lab;
#[allow(dead_code, reason = "shared with the tests of the data plane, which use all of it")]
mod packet;

mod exhaustion;
mod random_ops;
mod sessions;
