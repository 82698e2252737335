//! Next hops and the gateway's own addresses: routes, ARP (RFC 826), and answers to packets for the gateway itself.
//!
//! Two sides share the work. Management owns the state of every neighbour ([`Neighbors`]): it asks, ages and probes.
//! Each worker has its routes ([`RouteTable`]) and a replica of the MAC addresses with a hold queue for packets whose
//! next hop is unresolved ([`NextHops`]); it answers ARP requests ([`arp::respond`]) and pings ([`local_responder::Responder`],
//! [`assembly::Assembly`]) itself and reports what it learns.
//!
//! Nothing here reads a clock or sends anything: time is an argument, and what is to be sent is returned. IPv4
//! addresses are `u32` in host order.
//!
//! # Example
//! ```
//! use natgw_neighbor::{Connected, InterfaceId, RouteTable, StaticRoute};
//!
//! let (inside, outside) = (InterfaceId(0), InterfaceId(1));
//! let connected = [
//!     Connected { interface: inside, address: "10.64.0.1/24".parse()? },
//!     Connected { interface: outside, address: "203.0.113.2/24".parse()? },
//! ];
//! let default = StaticRoute { prefix: "0.0.0.0/0".parse()?, via: "203.0.113.1".parse()? };
//! let routes = RouteTable::new(&connected, &[default])?;
//!
//! let route = routes.lookup(u32::from_be_bytes([198, 51, 100, 10])).expect("a default route");
//! assert_eq!((route.interface, route.next_hop), (outside, u32::from_be_bytes([203, 0, 113, 1])));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod arp;
mod arp_cache;
pub mod assembly;
mod budget;
mod hold_queue;
mod local_addresses;
pub mod local_responder;
mod next_hops;
mod rate;
mod route;
mod share;

pub use arp_cache::{Action, Listed, NEIGHBORS_MAX, NeighborCounts, Neighbors, State};
pub use budget::{AnswerBudgets, AnswerKind};
pub use hold_queue::{Queue, Slab};
pub use local_addresses::OwnAddresses;
pub use next_hops::{Full, HOLD_MS, Heard, Held, NEXT_HOPS_MAX, NextHopId, NextHops, Sizes};
pub use rate::{HostBuckets, TokenBucket};
pub use route::{Connected, ROUTES_MAX, Route, RouteEntry, RouteError, RouteTable, StaticRoute};

use natgw_wire::ethernet::Mac;

/// An interface, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u8);

/// A neighbour's address on both layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The interface that the neighbour is reached by.
    pub interface: InterfaceId,
    /// Its IPv4 address.
    pub ip: u32,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// How much a learnt [`Binding`] may change: the merge flag of RFC 826.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// Updates a neighbour that is known or asked for, adds none: the message was not a request to this gateway.
    Merge,
    /// Adds the neighbour if it is new: it wants to talk to this gateway.
    Add,
}
