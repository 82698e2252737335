//! The owner of a packet: the worker that holds the state of the hosts and endpoints that it names.
//!
//! A subscriber (inside address) belongs to one worker, and so does every outside endpoint. Nothing that a packet
//! touches is shared, so there is nothing to lock.
//!
//! - Inside, the owner is `reta[toeplitz(source address)]`; outside, `reta[toeplitz(destination address)]`. A NIC that
//!   hashes the plain IPv4 pair with a key of ours does the same ([`toeplitz`]), so that most packets are received
//!   where they belong. Ports do not enter: fragments, ICMP errors and ICMP queries find the owner too.
//! - Exceptions are software's ([`Steering`]): port ranges of an address that several workers share, port forwards
//!   and 1:1 mappings (which belong to the owner of the inside host), untranslated traffic back to an inside address,
//!   and ICMP errors, which belong to the owner of what they embed.
//!
//! Invariant: whatever a NIC does, [`Steering`] decides. A worker that receives another's packet hands it over; the
//! NIC's steering saves that work and is never relied on.
//!
//! # Example
//! Packets to an outside endpoint belong to the worker that gave it out:
//!
//! ```
//! use natgw_nat::{Pool, Protocol, Settings};
//! use natgw_steer::{Nic, Steering};
//!
//! let addresses = vec!["203.0.113.10".parse()?, "203.0.113.11".parse()?];
//! let settings = Settings { pools: vec![Pool { addresses, ..Pool::default() }], ..Settings::default() };
//! let nic = Nic { reta_size: 128, key_len: 40 };
//! let steering = Steering::new(&settings, 4, 7, nic, nic)?;
//!
//! let owner = steering.outbound_owner(u32::from_be_bytes([10, 64, 0, 11]));
//! for share in &steering.shares(owner)[0] {
//!     assert_eq!(steering.inbound_owner(share.address.into(), Protocol::Udp, *share.ports.start()), owner);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod owner;
mod pool_partition;
mod reload;
mod rss;
#[cfg(test)]
mod tests;
pub mod toeplitz;
mod whole_address_map;

pub use owner::{Steering, SteeringError};
pub use rss::{Nic, Rss};

/// A worker: its place among the workers, which is also the number of its receive queue on every port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// The place as an index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
