//! The addresses that must be told apart before a session is made: whose they are, and which no host has.
//!
//! Packets of sessions are not asked: what made the session was (RFC 2827, RFC 3704; RFC 1812 sections 4.2.2.11 and 5.3.7).

use std::net::Ipv4Addr;

use hashbrown::HashSet;
use ipnet::Ipv4Net;

use super::endpoint::Tuple;
use super::settings::{Settings, Static};
use super::verdict::DropReason;

/// See the module.
pub(crate) struct Addresses {
    own: HashSet<u32>,
    external: HashSet<u32>,
    directed_broadcast: HashSet<u32>,
    inside: Vec<Ipv4Net>,
}

impl Addresses {
    pub(crate) fn new(settings: &Settings) -> Addresses {
        let connected = || settings.inside.iter().chain(&settings.outside);
        let external = settings
            .pools
            .iter()
            .flat_map(|pool| pool.addresses.iter().copied())
            .chain(settings.port_forwards.iter().map(|forward| forward.external))
            .chain(settings.statics.iter().flat_map(Static::pairs).map(|(external, _)| external));
        Addresses {
            own: connected().map(|net| net.addr().to_bits()).collect(),
            external: external.map(|address| address.to_bits()).collect(),
            directed_broadcast: connected()
                .filter(|net| net.prefix_len() < 31)
                .flat_map(|net| [net.network().to_bits(), net.broadcast().to_bits()])
                .collect(),
            inside: settings.inside.iter().chain(&settings.inside_routed).map(Ipv4Net::trunc).collect(),
        }
    }

    /// An address of one of the gateway's interfaces.
    pub(crate) fn is_own(&self, address: u32) -> bool {
        self.own.contains(&address)
    }

    /// An address that mappings use on the outside.
    pub(crate) fn is_external(&self, address: u32) -> bool {
        self.external.contains(&address)
    }

    /// An address that is reached through an inside interface.
    pub(crate) fn is_inside(&self, address: u32) -> bool {
        let address = Ipv4Addr::from_bits(address);
        self.inside.iter().any(|net| net.contains(&address))
    }

    /// Refuses what no host inside may send.
    pub(crate) fn check_outbound(&self, tuple: &Tuple) -> Result<(), DropReason> {
        if self.is_own(tuple.source) {
            return Err(DropReason::SpoofedGateway);
        }
        self.check_source(tuple.source)?;
        if !self.is_inside(tuple.source) {
            return Err(DropReason::SpoofedInside);
        }
        self.check_destination(tuple.destination)
    }

    /// Refuses what no neighbour outside may send.
    pub(crate) fn check_inbound(&self, tuple: &Tuple) -> Result<(), DropReason> {
        // Our outside endpoints speak through hairpinning alone.
        if self.is_own(tuple.source) || self.is_external(tuple.source) {
            return Err(DropReason::SpoofedGateway);
        }
        self.check_source(tuple.source)?;
        if self.is_inside(tuple.source) {
            return Err(DropReason::SpoofedOutside);
        }
        // Outside nobody learns the gateway's inside addresses.
        if self.is_own(tuple.destination) && self.is_inside(tuple.destination) {
            return Err(DropReason::InsideFromOutside);
        }
        self.check_destination(tuple.destination)
    }

    /// Refuses sources that no host has.
    pub(crate) fn check_source(&self, address: u32) -> Result<(), DropReason> {
        self.block(address).map_or(Ok(()), |block| Err(block.reasons()[0]))
    }

    /// Refuses destinations that no host has.
    pub(crate) fn check_destination(&self, address: u32) -> Result<(), DropReason> {
        self.block(address).map_or(Ok(()), |block| Err(block.reasons()[1]))
    }

    fn block(&self, address: u32) -> Option<Block> {
        let ip = Ipv4Addr::from_bits(address);
        match ip.octets()[0] {
            0 => Some(Block::Zero),
            127 => Some(Block::Loopback),
            _ if ip.is_link_local() => Some(Block::LinkLocal),
            _ if ip.is_multicast() => Some(Block::Multicast),
            _ if ip.is_broadcast() => Some(Block::Broadcast),
            240.. => Some(Block::Reserved),
            _ => self.directed_broadcast.contains(&address).then_some(Block::DirectedBroadcast),
        }
    }
}

/// Addresses that no single host on a routed network has.
#[derive(Clone, Copy)]
enum Block {
    Zero,
    Loopback,
    LinkLocal,
    Multicast,
    Broadcast,
    DirectedBroadcast,
    Reserved,
}

impl Block {
    /// Of packets with such a source, and with such a destination.
    const fn reasons(self) -> [DropReason; 2] {
        use DropReason::*;
        match self {
            Block::Zero => [SourceZero, DestinationZero],
            Block::Loopback => [SourceLoopback, DestinationLoopback],
            Block::LinkLocal => [SourceLinkLocal, DestinationLinkLocal],
            Block::Multicast => [SourceMulticast, DestinationMulticast],
            Block::Broadcast => [SourceBroadcast, DestinationBroadcast],
            Block::DirectedBroadcast => [SourceDirectedBroadcast, DestinationDirectedBroadcast],
            Block::Reserved => [SourceAddress, DestinationAddress],
        }
    }
}
