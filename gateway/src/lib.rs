//! A NAT gateway on DPDK poll-mode drivers.

pub mod nat;
pub mod wire;
