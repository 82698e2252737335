//! The addresses that must be told apart before a session is made: whose they are, and which no host has.
//!
//! Packets of sessions are not asked: what made the session was (RFC 2827, RFC 3704; RFC 1812 sections 4.2.2.11 and 5.3.7).

use std::net::Ipv4Addr;

use hashbrown::HashMap;
use ipnet::Ipv4Net;

use crate::packet::endpoint::Tuple;
use crate::packet::verdict::DropReason;
use crate::policy::twice::Remotes;
use crate::settings::Settings;

/// See the module.
pub(crate) struct Addresses {
    /// What is known of single addresses: [`OWN`], [`EXTERNAL`], [`POOLED`], [`DIRECTED_BROADCAST`], [`ANSWERS_PING`].
    known: HashMap<u32, u8>,
    inside: Box<[Prefix]>,
    remotes: Remotes,
    /// Whether hosts inside may have addresses in 240.0.0.0/4.
    class_e: bool,
}

/// A prefix, as a packet's address is compared with it.
struct Prefix {
    network: u32,
    mask: u32,
}

impl Prefix {
    fn of(net: &Ipv4Net) -> Prefix {
        Prefix { network: net.network().to_bits(), mask: net.netmask().to_bits() }
    }
}

/// An address of one of the gateway's interfaces.
const OWN: u8 = 1;
/// An address that mappings use on the outside.
const EXTERNAL: u8 = 2;
/// An address of a pool.
const POOLED: u8 = 8;
/// The network or broadcast address of a connected prefix.
const DIRECTED_BROADCAST: u8 = 4;
/// An address of a pool that answers pings.
const ANSWERS_PING: u8 = 16;

impl Addresses {
    pub(crate) fn new(settings: &Settings) -> Addresses {
        Addresses::with_externals(settings, settings.externals())
    }

    /// As [`Addresses::new`], and what mappings use on the outside under other settings is still not a stranger's.
    pub(crate) fn with_externals_of(settings: &Settings, other: &Settings) -> Addresses {
        Addresses::with_externals(settings, settings.externals().into_iter().chain(other.externals()))
    }

    fn with_externals(settings: &Settings, external: impl IntoIterator<Item = u32>) -> Addresses {
        let connected = || settings.inside.iter().chain(&settings.outside);
        let pooled = settings.pools.iter().flat_map(|pool| pool.addresses.iter());
        let nobodys =
            connected().filter(|net| net.prefix_len() < 31).flat_map(|net| [net.network(), net.broadcast()]);
        let pinged = settings.pools.iter().filter(|pool| pool.ping).flat_map(|pool| &pool.addresses);
        let mut known = HashMap::new();
        let all = connected()
            .map(|net| (net.addr().to_bits(), OWN))
            .chain(external.into_iter().map(|address| (address, EXTERNAL)))
            .chain(pooled.map(|address| (address.to_bits(), POOLED)))
            .chain(nobodys.map(|address| (address.to_bits(), DIRECTED_BROADCAST)))
            .chain(pinged.map(|address| (address.to_bits(), ANSWERS_PING)));
        for (address, what) in all {
            *known.entry(address).or_insert(0) |= what;
        }
        Addresses {
            known,
            inside: settings.inside.iter().chain(&settings.inside_routed).map(Prefix::of).collect(),
            remotes: Remotes::new(&settings.twice),
            class_e: settings.class_e,
        }
    }

    fn known(&self, address: u32) -> u8 {
        self.known.get(&address).copied().unwrap_or(0)
    }

    /// An address of one of the gateway's interfaces.
    pub(crate) fn is_own(&self, address: u32) -> bool {
        self.known(address) & OWN != 0
    }

    /// An address that mappings use on the outside.
    pub(crate) fn is_external(&self, address: u32) -> bool {
        self.known(address) & EXTERNAL != 0
    }

    /// An address of a pool.
    pub(crate) fn is_pooled(&self, address: u32) -> bool {
        self.known(address) & POOLED != 0
    }

    /// An address of a pool that answers pings.
    pub(crate) fn answers_ping(&self, address: u32) -> bool {
        self.known(address) & ANSWERS_PING != 0
    }

    /// An address of one of the gateway's interfaces that mappings do not use: whatever is sent there is for the gateway.
    pub(crate) fn is_only_own(&self, address: u32) -> bool {
        self.known(address) & (OWN | EXTERNAL) == OWN
    }

    /// An address that is reached through an inside interface.
    pub(crate) fn is_inside(&self, address: u32) -> bool {
        self.inside.iter().any(|prefix| address & prefix.mask == prefix.network)
    }

    /// Refuses what no host inside may send.
    pub(crate) fn check_outbound(&self, tuple: &Tuple) -> Result<(), DropReason> {
        let known = self.known(tuple.source);
        if known & OWN != 0 {
            return Err(DropReason::SpoofedGateway);
        }
        self.check(tuple.source, known, SOURCE)?;
        if !self.is_inside(tuple.source) {
            return Err(DropReason::SpoofedInside);
        }
        // Inside, a remote has one name.
        if self.is_twice_translated(tuple.destination) && !self.is_inside(tuple.destination) {
            return Err(DropReason::NoRoute);
        }
        self.check_destination(tuple.destination)
    }

    /// Refuses what no neighbour outside may send.
    pub(crate) fn check_inbound(&self, tuple: &Tuple) -> Result<(), DropReason> {
        self.inbound_is_own(tuple).map(drop)
    }

    /// As [`Addresses::check_inbound`]; whether the destination is an address of one of the gateway's interfaces.
    pub(crate) fn inbound_is_own(&self, tuple: &Tuple) -> Result<bool, DropReason> {
        let known = self.known(tuple.source);
        // Our outside endpoints speak through hairpinning alone.
        if known & (OWN | EXTERNAL) != 0 {
            return Err(DropReason::SpoofedGateway);
        }
        self.check(tuple.source, known, SOURCE)?;
        if self.is_spoofed_outside(tuple.source) {
            return Err(DropReason::SpoofedOutside);
        }
        // Outside nobody learns the gateway's inside addresses.
        let known = self.known(tuple.destination);
        if known & OWN != 0 && self.is_inside(tuple.destination) {
            return Err(DropReason::InsideFromOutside);
        }
        self.check(tuple.destination, known, DESTINATION)?;
        Ok(known & OWN != 0)
    }

    /// An inside address that is no outside one as well, or by which a remote is known inside.
    pub(crate) fn is_spoofed_outside(&self, source: u32) -> bool {
        let known_inside = self.remotes.outside(source).is_some();
        known_inside || self.is_inside(source) && self.remotes.inside(source).is_none()
    }

    /// The address outside of a remote that inside hosts know by this one.
    pub(crate) fn remote_outside(&self, internal: u32) -> u32 {
        self.remotes.outside(internal).unwrap_or(internal)
    }

    /// The address by which inside hosts know a remote.
    pub(crate) fn remote_inside(&self, external: u32) -> u32 {
        self.remotes.inside(external).unwrap_or(external)
    }

    /// Whether a remote with this address has another one inside.
    pub(crate) fn is_twice_translated(&self, external: u32) -> bool {
        self.remotes.inside(external).is_some()
    }

    /// Refuses sources that no host has.
    pub(crate) fn check_source(&self, address: u32) -> Result<(), DropReason> {
        self.check(address, self.known(address), SOURCE)
    }

    /// Refuses destinations that no host has.
    pub(crate) fn check_destination(&self, address: u32) -> Result<(), DropReason> {
        self.check(address, self.known(address), DESTINATION)
    }

    /// Refuses an address that no host has, with the reason for that end of a packet.
    #[inline(always)]
    fn check(&self, address: u32, known: u8, end: usize) -> Result<(), DropReason> {
        if !MAY_BE_BLOCK[(address >> 24) as usize] && known & DIRECTED_BROADCAST == 0 {
            return Ok(());
        }
        self.check_block(address, known, end)
    }

    /// As [`Addresses::check`]. Class E is such, but inside, where the settings say so.
    #[cold]
    fn check_block(&self, address: u32, known: u8, end: usize) -> Result<(), DropReason> {
        match Block::of(address, known) {
            None => Ok(()),
            Some(Block::Reserved) if self.class_e && self.is_inside(address) => Ok(()),
            Some(block) => Err(block.reasons()[end]),
        }
    }
}

/// Which of [`Block::reasons`] is a source's.
const SOURCE: usize = 0;
/// Which of [`Block::reasons`] is a destination's.
const DESTINATION: usize = 1;

/// By first octet: whether addresses may be of a [`Block`] by what they are.
const MAY_BE_BLOCK: [bool; 256] = {
    let mut may = [false; 256];
    let mut octet = 0;
    while octet < 256 {
        may[octet] = matches!(octet, 0 | 127 | 169 | 224..);
        octet += 1;
    }
    may
};

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
    fn of(address: u32, known: u8) -> Option<Block> {
        let ip = Ipv4Addr::from_bits(address);
        match ip.octets()[0] {
            0 => Some(Block::Zero),
            127 => Some(Block::Loopback),
            _ if ip.is_link_local() => Some(Block::LinkLocal),
            _ if ip.is_multicast() => Some(Block::Multicast),
            _ if ip.is_broadcast() => Some(Block::Broadcast),
            _ if known & DIRECTED_BROADCAST != 0 => Some(Block::DirectedBroadcast),
            240.. => Some(Block::Reserved),
            _ => None,
        }
    }

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
