//! A shard's part of a pool: outside addresses, each with the free ports of each protocol.

use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use hashbrown::HashMap;

use super::bits::Bits;
use super::blocks::Blocks;
use super::deterministic::Ranges;
use super::hash::Random;
use super::ip_protocol::OtherProtocols;
use super::memory::Pages;
use super::port_block::BlockGrid;
use super::ports::{Ports, Wish};
use super::settings::{Filtering, MappingMode, Pool, Share};
use super::subscriber::Subscriber;
use super::table::Hash;
use super::time::Time;
use super::verdict::{Protocol, SessionFailure};

/// One outside address of a [`ShardPool`].
struct Address {
    address: u32,
    ports: [Ports; Protocol::WITH_PORTS.len()],
}

/// See the module.
pub(crate) struct ShardPool {
    mapping: MappingMode,
    /// By protocol.
    filtering: [Filtering; Protocol::COUNT],
    port_parity: bool,
    port_preservation: bool,
    addresses: Vec<Address>,
    /// By protocol: addresses with a free port.
    open: [Bits; Protocol::WITH_PORTS.len()],
    /// Who has which ports, where they are handed out in blocks.
    pub(crate) blocks: Option<Blocks>,
    /// Which ports are whose, where mapping is deterministic.
    pub(crate) ranges: Option<Ranges>,
    /// Whether the next port of a subscriber is known before its turn (`ahead`).
    pub(crate) is_foreseeable: bool,
    /// Ports of each protocol that can be handed out at all, and those of them that are free.
    total: u32,
    free: [u32; Protocol::WITH_PORTS.len()],
    /// By protocol: ports that rest after their use (RFC 6888 REQ-8).
    pub(crate) held: [u32; Protocol::WITH_PORTS.len()],
    /// What is translated by addresses alone.
    pub(crate) other_protocols: OtherProtocols,
    /// Ports asked for and not given, by [`SessionFailure`].
    pub(crate) failures: [u64; SessionFailure::COUNT],
}

/// How an outside endpoint stands, whoever shares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No mapping has it.
    Free,
    /// Its mappings all rest.
    Held,
    /// A mapping in use has it.
    Used,
}

/// How full a shard's part of a pool is, for one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Ports that mappings use.
    pub used: u32,
    /// Ports that rest after their use.
    pub held: u32,
    /// Ports in all.
    pub total: u32,
}

impl ShardPool {
    /// These shares of a pool, each port on its own.
    pub(crate) fn new(pool: &Pool, shares: &[Share]) -> ShardPool {
        let address = |share: &Share| Address {
            address: share.address.to_bits(),
            ports: std::array::from_fn(|_| Ports::new(share.ports.clone())),
        };
        ShardPool::of(pool, shares.iter().map(address).collect())
    }

    fn of(pool: &Pool, addresses: Vec<Address>) -> ShardPool {
        let total = addresses.iter().map(|address| address.ports[0].free()).sum();
        let mut pool = ShardPool {
            mapping: pool.mapping,
            filtering: Protocol::ALL.map(|protocol| pool.filtering_of(protocol)),
            port_parity: pool.port_parity,
            port_preservation: pool.port_preservation,
            open: std::array::from_fn(|_| Bits::new(addresses.len())),
            blocks: None,
            ranges: None,
            is_foreseeable: pool.mapping == MappingMode::EndpointIndependent,
            total,
            free: [total; Protocol::WITH_PORTS.len()],
            held: [0; Protocol::WITH_PORTS.len()],
            other_protocols: pool.other_protocols,
            failures: [0; SessionFailure::COUNT],
            addresses,
        };
        for protocol in Protocol::WITH_PORTS {
            (0..pool.addresses.len()).for_each(|index| pool.mark(protocol, index));
        }
        pool
    }

    /// As [`ShardPool::new`], in blocks where the pool is to be; `subscribers` is how many the shard has room for.
    pub(crate) fn in_blocks(
        pool: &Pool,
        shares: &[Share],
        subscribers: u32,
        pages: Pages,
    ) -> io::Result<ShardPool> {
        if let Some(ranges) = Ranges::of(pool) {
            return Ok(ShardPool::in_ranges(pool, shares, ranges));
        }
        let (Some(blocks), Some(first)) = (&pool.port_blocks, shares.first()) else {
            return Ok(ShardPool::new(pool, shares));
        };
        let grid = BlockGrid::new(&first.ports, blocks.size);
        let whole = |share: &Share| Share { ports: grid.run(0, grid.count()), ..share.clone() };
        let shares: Vec<Share> = shares.iter().map(whole).collect();
        let mut made = ShardPool::new(pool, &shares);
        made.blocks = Some(Blocks::new(grid, blocks.per_subscriber, shares.len(), subscribers, pages)?);
        made.is_foreseeable = false;
        Ok(made)
    }

    /// With every address of the pool, and of each the ports of this shard's subscribers.
    fn in_ranges(pool: &Pool, shares: &[Share], ranges: Ranges) -> ShardPool {
        let mut of_address: HashMap<Ipv4Addr, Vec<RangeInclusive<u16>>> = HashMap::new();
        for share in shares {
            of_address.entry(share.address).or_default().push(share.ports.clone());
        }
        let address = |address: &Ipv4Addr| Address {
            address: address.to_bits(),
            ports: std::array::from_fn(|_| {
                let parts = of_address.get(address).into_iter().flatten();
                Ports::of(pool.ports.clone(), parts.cloned())
            }),
        };
        let made = ShardPool::of(pool, pool.addresses.iter().map(address).collect());
        ShardPool { ranges: Some(ranges), is_foreseeable: false, ..made }
    }

    /// Who may answer.
    pub(crate) fn filtering(&self, protocol: Protocol) -> Filtering {
        self.filtering[protocol as usize]
    }

    /// What an outside port for an inside port should be like. RFC 4787 REQ-4 asks parity of UDP alone.
    pub(crate) fn wish(&self, protocol: Protocol, inside: u16) -> Wish {
        let parity = self.port_parity && protocol == Protocol::Udp;
        Wish { inside, preserved: self.port_preservation, parity }
    }

    fn mark(&mut self, protocol: Protocol, index: usize) {
        let is_open = self.addresses[index].ports[protocol as usize].free() > 0;
        self.open[protocol as usize].set(index, is_open);
    }

    /// An address for a new subscriber: the first with a free port from a random start on, around the end.
    pub(crate) fn choose(&self, protocol: Protocol, random: &mut Random) -> Option<u16> {
        self.open[protocol as usize].any(random).map(|index| index as u16)
    }

    /// Any address.
    pub(crate) fn any(&self, random: &mut Random) -> u16 {
        random.below(self.addresses.len() as u32) as u16
    }

    /// The index that a hash names: always the same one, as long as its address is in the pool.
    pub(crate) fn index_of(&self, hash: Hash) -> u16 {
        let named = (hash.0 % self.addresses.len() as u64) as u16;
        self.open_places_from(named).next().unwrap_or(named)
    }

    /// Whether the address at `index` is in the pool no more.
    pub(crate) fn is_closed(&self, index: u16) -> bool {
        self.addresses[usize::from(index)].ports[0].range().is_empty()
    }

    /// Whether the pool may hand out a port of the address at `index`.
    pub(crate) fn allows(&self, index: u16, protocol: Protocol, port: u16) -> bool {
        self.addresses[usize::from(index)].ports[protocol as usize].allows(port)
    }

    /// The address that a subscriber is paired with, where it is in the pool still.
    pub(crate) fn pair_of(&self, line: &Subscriber, pool: u16) -> Option<u16> {
        line.paired(pool).filter(|&index| !self.is_closed(index))
    }

    /// For a pool that is to come into the place of another ([`ShardPool::adopt`]).
    pub(crate) fn keep_within(&mut self) {
        self.blocks.iter().for_each(Blocks::populate);
        for ports in self.addresses.iter_mut().flat_map(|address| &mut address.ports) {
            ports.keep_within();
        }
    }

    /// Becomes what `new` is, but for the ports of the addresses that are here already, which [`ShardPool::replace`] changes
    /// one by one. Addresses stand where they stood, new ones behind them. What is needed no more is in `new` then.
    pub(crate) fn adopt(&mut self, new: &mut ShardPool) {
        let here = self.addresses.len();
        std::mem::swap(&mut self.addresses, &mut new.addresses);
        self.addresses[..here].swap_with_slice(&mut new.addresses);
        std::mem::swap(&mut self.open, &mut new.open);
        self.filtering = new.filtering;
        self.port_parity = new.port_parity;
        self.port_preservation = new.port_preservation;
        self.other_protocols = new.other_protocols;
        self.total = new.total;
        if let (Some(blocks), Some(new)) = (&mut self.blocks, &mut new.blocks)
            && blocks.has_fewer(new)
        {
            blocks.grow(new);
        }
        for protocol in Protocol::WITH_PORTS {
            let added: u32 = self.addresses[here..].iter().map(|at| at.ports[protocol as usize].free()).sum();
            self.free[protocol as usize] += added;
            (0..self.addresses.len()).for_each(|index| self.mark(protocol, index));
        }
    }

    /// The address at `index` becomes what it is in `new`; ports in use stay so until they are given back. False where `new`
    /// has no such address.
    pub(crate) fn replace(&mut self, index: usize, new: &mut ShardPool) -> bool {
        let Some(address) = new.addresses.get_mut(index) else { return false };
        for protocol in Protocol::WITH_PORTS {
            let old = &self.addresses[index].ports[protocol as usize];
            self.free[protocol as usize] -= old.free();
            address.ports[protocol as usize].succeed(old);
            self.free[protocol as usize] += address.ports[protocol as usize].free();
        }
        std::mem::swap(&mut self.addresses[index], address);
        Protocol::WITH_PORTS.into_iter().for_each(|protocol| self.mark(protocol, index));
        true
    }

    /// Takes a port of address `index` as wished.
    pub(crate) fn take(
        &mut self,
        index: u16,
        protocol: Protocol,
        wish: Wish,
        random: &mut Random,
    ) -> Option<u16> {
        let ports = &mut self.addresses[usize::from(index)].ports[protocol as usize];
        let port = ports.take_for(wish, random)?;
        self.free[protocol as usize] -= 1;
        self.mark(protocol, usize::from(index));
        Some(port)
    }

    /// Takes a port of the subscriber's blocks as wished, and the place of their address.
    pub(crate) fn take_in_blocks(
        &mut self,
        subscriber: u32,
        protocol: Protocol,
        wish: Wish,
        random: &mut Random,
    ) -> Option<(u16, u16)> {
        let (index, ranges) = self.blocks.as_ref()?.held_by(subscriber)?;
        let port = self.take_within(index, protocol, &ranges, wish, random)?;
        if let Some(blocks) = &mut self.blocks {
            blocks.use_port(index, port);
        }
        Some((index, port))
    }

    /// Takes a port of these ranges of address `index` as wished.
    pub(crate) fn take_within(
        &mut self,
        index: u16,
        protocol: Protocol,
        ranges: &[RangeInclusive<u16>],
        wish: Wish,
        random: &mut Random,
    ) -> Option<u16> {
        let ports = &mut self.addresses.get_mut(usize::from(index))?.ports[protocol as usize];
        let port = ports.take_within(ranges, wish, random)?;
        self.free[protocol as usize] -= 1;
        self.mark(protocol, usize::from(index));
        Some(port)
    }

    /// Whether subscribers have ports to themselves, which then need not rest.
    pub(crate) fn is_in_blocks(&self) -> bool {
        self.blocks.is_some() || self.ranges.is_some()
    }

    /// Gives back a port that a mapping had.
    pub(crate) fn give_mapped(&mut self, index: u16, protocol: Protocol, port: u16, now: Time) {
        self.give(index, protocol, port);
        if self.blocks.is_some() {
            self.leave_block(index, port, now);
        }
    }

    #[inline(never)]
    fn leave_block(&mut self, index: u16, port: u16, now: Time) {
        if let Some(blocks) = &mut self.blocks {
            blocks.give_port(index, port, now);
        }
    }

    /// Asks for the line where a port stands.
    pub(crate) fn prefetch(&self, index: u16, protocol: Protocol, port: u16) {
        self.addresses[usize::from(index)].ports[protocol as usize].prefetch(port);
    }

    /// Gives a port back.
    pub(crate) fn give(&mut self, index: u16, protocol: Protocol, port: u16) {
        let ports = &mut self.addresses[usize::from(index)].ports[protocol as usize];
        let before = ports.free();
        ports.give(port);
        self.free[protocol as usize] += ports.free() - before;
        self.mark(protocol, usize::from(index));
    }

    /// Keeps `port` of `address` from being handed out, where it is in the pool.
    pub(crate) fn reserve(&mut self, address: Ipv4Addr, protocol: Protocol, port: u16) {
        let wanted = address.to_bits();
        let Some(index) = self.addresses.iter().position(|address| address.address == wanted) else { return };
        if self.addresses[index].ports[protocol as usize].withhold(port) {
            self.free[protocol as usize] -= 1;
            self.mark(protocol, index);
            self.withdraw_without_ports(index, protocol, port);
        }
    }

    /// A block that has no port of a protocol left is no good to anybody.
    fn withdraw_without_ports(&mut self, index: usize, protocol: Protocol, port: u16) {
        let Some(blocks) = &mut self.blocks else { return };
        let Some(range) = blocks.ports_around(port) else { return };
        if !self.addresses[index].ports[protocol as usize].has_free_in(&range) {
            blocks.withdraw(index as u16, port);
        }
    }

    /// Whether a port serves a single remote endpoint and may be another mapping's towards another one.
    pub(crate) fn shares_ports(&self) -> bool {
        self.mapping == MappingMode::AddressAndPortDependent
    }

    /// Notes that a port which several mappings may share stands differently.
    pub(crate) fn account(&mut self, protocol: Protocol, before: Standing, after: Standing) {
        let [free, held] = [&mut self.free, &mut self.held].map(|counts| &mut counts[protocol as usize]);
        for (standing, step) in [(before, u32::MAX), (after, 1)] {
            match standing {
                Standing::Free => *free = free.wrapping_add(step),
                Standing::Held => *held = held.wrapping_add(step),
                Standing::Used => {}
            }
        }
    }

    /// Whether a port of a protocol is free on any address.
    pub(crate) fn has_free(&self, protocol: Protocol) -> bool {
        self.free[protocol as usize] > 0
    }

    /// The ports of the address at `index`.
    pub(crate) fn ports(&self, index: u16, protocol: Protocol) -> &Ports {
        &self.addresses[usize::from(index)].ports[protocol as usize]
    }

    /// Every place of an address, from one on and around the end.
    pub(crate) fn places_from(&self, start: u16) -> impl Iterator<Item = u16> + use<> {
        let count = self.addresses.len() as u16;
        (start..count).chain(0..start)
    }

    /// As [`ShardPool::places_from`], of the addresses that are in the pool still.
    pub(crate) fn open_places_from(&self, start: u16) -> impl Iterator<Item = u16> {
        self.places_from(start).filter(|&index| !self.is_closed(index))
    }

    /// The outside address at `index`.
    pub(crate) fn address(&self, index: u16) -> u32 {
        self.addresses[usize::from(index)].address
    }

    /// How full it is.
    pub(crate) fn usage(&self, protocol: Protocol) -> PoolUsage {
        let (free, held) = (self.free[protocol as usize], self.held[protocol as usize]);
        PoolUsage { used: self.total.saturating_sub(free + held), held, total: self.total }
    }
}
