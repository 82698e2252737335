//! A NAT gateway on DPDK poll-mode drivers.

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
pub mod wire;
#[cfg(feature = "dpdk")]
pub mod worker;
