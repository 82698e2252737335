//! Interfaces, and the queues by which a worker receives and sends.

use std::net::Ipv4Addr;

use super::io::Io;
use natgw_nat::Direction;
use natgw_neighbor::OwnAddresses;
use natgw_neighbor::local_responder::Side;
use natgw_steer::WorkerId;
use natgw_wire::ethernet::{self, Mac};

/// An interface, as a worker knows it.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Which way its packets go.
    pub direction: Direction,
    /// Its MAC address.
    pub mac: Mac,
    /// The VLAN of its frames.
    pub vlan: Option<u16>,
    /// Largest IPv4 packet, octets.
    pub mtu: u16,
    /// The address that ICMP errors of its own come from.
    pub address: Ipv4Addr,
    /// What it answers ARP for.
    pub own: OwnAddresses,
}

impl Interface {
    /// Octets of the link-layer header.
    #[inline]
    pub(super) fn header_len(&self) -> usize {
        ethernet::header_len(self.vlan)
    }

    pub(super) fn side(&self) -> Side {
        match self.direction {
            Direction::Outbound => Side::Inside,
            Direction::Inbound => Side::Outside,
        }
    }
}

/// A receive queue of an interface.
pub struct RxPort<I: Io> {
    /// The interface, by its place.
    pub interface: u8,
    /// The queue.
    pub queue: I::RxQueue,
}

/// How a worker sends by an interface.
pub enum TxPort<I: Io> {
    /// By a queue of its own.
    Queue(I::TxQueue),
    /// Through the worker that has one: the port has fewer transmit queues than there are workers.
    Through(WorkerId),
}
