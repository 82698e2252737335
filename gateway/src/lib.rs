//! A NAT gateway on DPDK poll-mode drivers.

pub mod counters;
pub mod filter;
pub mod management;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod nat;
pub mod neighbor;
pub mod natctl;
pub mod wire;
