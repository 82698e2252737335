//! The program `nat-gateway`: from a configuration to a running gateway, and back to nothing.
//!
//! It brings up what the other crates of this workspace are, and keeps it in agreement with the configuration:
//!
//! ```text
//! nat-gateway ─► natgw-management ─► natgw-api, natgw-config
//!      │
//!      ├───────► natgw-worker ─────► natgw-nat, natgw-steer, natgw-neighbor ─► natgw-wire
//!      └───────► natgw-dpdk ───────► dpdk-sys
//! ```
//!
//! A configuration is checked without a NIC:
//!
//! ```
//! use natgw_config::Config;
//!
//! let mistakes = Config::parse("[log]\nformat = \"xml\"", "gateway.toml").unwrap_err();
//! let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
//! assert!(lines.iter().any(|line| line.starts_with("gateway.toml:2: log.format")));
//! ```

pub mod cli;
mod control;
pub mod log;
mod run;
mod service;
mod signals;
pub mod start;

pub use run::run;
