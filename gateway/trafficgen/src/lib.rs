//! `nat-trafficgen`: sends packets to a NAT gateway on both sides, and checks every packet that returns.
//!
//! One core plays every host. Flows are numbers ([`flow`]); frames come from templates ([`template`]); every returned
//! frame is compared with the one that is expected, checksums included, and what differs is looked at anew and counted
//! by what is wrong with it ([`verify`]).
//!
//! # Use
//! ```text
//! nat-trafficgen load     --inside DEVICE --outside DEVICE --flows 1000000 [--direction out|in|mixed] [--rate PPS]
//!                         [--short-lived 1000000]
//! nat-trafficgen sessions --inside DEVICE --outside DEVICE --flows 1000000 [--rate PPS]
//! nat-trafficgen rfc9693  --inside DEVICE --outside DEVICE --flows 1000000 establishment|capacity|tear-down
//!                         [--reset 'natctl flush']
//! nat-trafficgen io       --a DEVICE --b DEVICE
//! nat-trafficgen pcap     --flows 65536 INSIDE.pcap OUTSIDE.pcap
//! nat-trafficgen cores    --peer CPU
//! ```
//! The gateway needs `172.16.0.1/30` inside, `172.16.1.1/30` outside, the routes `10.0.0.0/8 via 172.16.0.2` and
//! `0.0.0.0/0 via 172.16.1.2`, a pool within `100.64.0.0/16`, and limits that let the flows through. Over memif the
//! gateway is the server and is started first; it may stay while generators come and go:
//!
//! ```text
//! gateway    device = "net_memif0,role=server,socket=/run/bench.sock,socket-abstract=no,id=0", and net_memif1 with id=1
//! generator  --inside  net_memif0,role=client,socket=/run/bench.sock,socket-abstract=no,id=0
//!            --outside net_memif1,role=client,socket=/run/bench.sock,socket-abstract=no,id=1
//! ```
//! `io` with the gateway's two devices takes the gateway's place for `load --expect untouched`.
//!
//! # Example
//! Who talks to whom follows from a flow's number alone:
//!
//! ```
//! use nat_trafficgen::flow::FlowSpace;
//!
//! let space = FlowSpace { flows: 1_000_000, first_host: 0x0a00_0001, host_shift: 6, first_remote: 0xc633_0000 };
//! assert_eq!((space.hosts(), space.inside(65).address, space.inside(65).port), (15_625, 0x0a00_0002, 1025));
//! ```

pub mod args;
pub mod conversation;
pub mod cores;
pub mod count;
pub mod flow;
pub mod io;
pub mod latency;
pub mod pace;
pub mod pcap;
pub mod report;
pub mod rfc9693;
mod run;
pub mod station;
pub mod template;
pub mod traffic;
pub mod verify;

use std::net::Ipv4Addr;

pub use run::run;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Dpdk(#[from] natgw_dpdk::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Argument(String),
    #[error("{0} has no link: nobody is at its other end")]
    Link(String),
    #[error("{0} does not answer ARP")]
    Unresolved(Ipv4Addr),
    #[error("{step}: {unknown} of {flows} flows never left the gateway; at last {reasons}")]
    Untaught { step: &'static str, unknown: usize, flows: u32, reasons: String },
}
