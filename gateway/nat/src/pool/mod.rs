//! A shard's part of a pool: outside addresses, each with the free ports of each protocol.

pub(crate) mod block_records;
pub(crate) mod block_table;
pub(crate) mod deterministic;
pub(crate) mod grants;
pub(crate) mod port_bitmap;
pub(crate) mod reservation;
pub(crate) mod usage;

use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use hashbrown::{HashMap, HashSet};

use crate::ids::SubscriberId;
use crate::packet::endpoint::Endpoint;
use crate::packet::ip_protocol::{IpProtocol, OtherProtocols};
use crate::packet::verdict::{Protocol, SessionFailure};
use crate::policy::subscriber::Subscriber;
use crate::pool::block_table::Blocks;
use crate::pool::deterministic::Ranges;
use crate::pool::grants::GrantState;
use crate::pool::port_bitmap::{Allowed, PortRequest, Ports};
use crate::pool::usage::PoolUsage;
use crate::settings::block_config::BlockGrid;
use crate::settings::{Filtering, MappingMode, Pool, Share};
use crate::table::bitset::Bits;
use crate::table::hash::Random;
use crate::table::index::Hash;
use crate::table::memory::Pages;
use crate::table::time::Time;

/// One outside address of a [`ShardPool`].
pub(crate) struct Address {
    address: u32,
    state: GrantState,
    /// Mappings that stand on it.
    mappings: u32,
    /// Ports of each protocol that it has, withheld ones too.
    total: u32,
    /// By protocol: ports that mappings share, each towards other remotes. They stay in `ports` as they are.
    shared: [u32; Protocol::WITH_PORTS.len()],
    ports: Box<[Ports; Protocol::WITH_PORTS.len()]>,
}

impl Address {
    /// A pool's address with these parts of its ports, all free.
    pub(crate) fn new(
        address: Ipv4Addr,
        range: &RangeInclusive<u16>,
        parts: &[RangeInclusive<u16>],
    ) -> Address {
        let ports = std::array::from_fn(|_| Ports::of(range.clone(), parts.iter().cloned()));
        let total = ports[0].free_count();
        let (state, mappings, shared) = (GrantState::InForce, 0, [0; Protocol::WITH_PORTS.len()]);
        Address { address: address.to_bits(), state, mappings, total, shared, ports: Box::new(ports) }
    }

    /// Keeps the ports of what is forwarded to itself.
    pub(crate) fn allow(&mut self, allowed: &mut [Allowed; Protocol::WITH_PORTS.len()]) {
        self.ports.iter_mut().zip(allowed).for_each(|(ports, allowed)| ports.allow(allowed));
    }

    /// It waits for its turn.
    pub(crate) fn hold_back(&mut self) {
        self.state = GrantState::Pending;
    }
}

/// What may be handed out of an address from now on, and what once nobody has what was others'.
pub(crate) struct PortsEdit {
    pub(crate) place: u16,
    /// Ports of each protocol, withheld ones too.
    pub(crate) total: u32,
    pub(crate) now: [Allowed; Protocol::WITH_PORTS.len()],
    pub(crate) then: [Allowed; Protocol::WITH_PORTS.len()],
}

/// What a reload makes of a pool that is there. What is needed no more is in it afterwards.
pub(crate) struct PoolEdit {
    /// How it hands out ports.
    ways: PoolWays,
    /// Room for all addresses, as long as it is empty, and a bit for each.
    room: Vec<Address>,
    open: [Bits; Protocol::WITH_PORTS.len()],
    blocks: Option<Blocks>,
    /// Addresses that come, by place: one that was given up, or the next behind the others.
    pub(crate) added: Vec<(u16, Option<Address>)>,
    /// The places of those that go.
    pub(crate) retired: Vec<u16>,
    pub(crate) ports: Vec<PortsEdit>,
}

impl PoolEdit {
    /// Of a pool with so many places.
    pub(crate) fn new(pool: &Pool, places: usize) -> PoolEdit {
        PoolEdit {
            ways: PoolWays::new(pool),
            room: Vec::with_capacity(places),
            open: std::array::from_fn(|_| Bits::new(places)),
            blocks: None,
            added: Vec::new(),
            retired: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// Has the blocks of all these addresses, of which there were fewer.
    pub(crate) fn with_blocks(mut self, blocks: Blocks) -> PoolEdit {
        blocks.populate();
        self.blocks = Some(blocks);
        self
    }
}

/// How a pool hands out its ports, and which remotes they admit.
#[derive(Clone, Copy)]
pub(crate) struct PoolWays {
    /// By protocol.
    filtering: [Filtering; Protocol::COUNT],
    port_parity: bool,
    port_preservation: bool,
    /// What is translated by addresses alone.
    other_protocols: OtherProtocols,
}

impl PoolWays {
    fn new(pool: &Pool) -> PoolWays {
        PoolWays {
            filtering: Protocol::ALL.map(|protocol| pool.filtering_of(protocol)),
            port_parity: pool.port_parity,
            port_preservation: pool.port_preservation,
            other_protocols: pool.other_protocols,
        }
    }
}

/// See the module.
pub(crate) struct ShardPool {
    mapping: MappingMode,
    ways: PoolWays,
    addresses: Vec<Address>,
    /// By protocol: addresses with a free port.
    open: [Bits; Protocol::WITH_PORTS.len()],
    /// Who has which ports, where they are handed out in blocks.
    pub(crate) blocks: Option<Blocks>,
    /// Which ports are whose, where mapping is deterministic.
    ranges: Option<Ranges>,
    /// Whether the next port of a subscriber is known before its turn (`lookahead`).
    is_foreseeable: bool,
    /// Ports of each protocol that can be handed out at all, and those of them that are free.
    total: u32,
    free: [u32; Protocol::WITH_PORTS.len()],
    /// By protocol: ports that rest after their use (RFC 6888 REQ-8).
    held: [u32; Protocol::WITH_PORTS.len()],
    /// Ports asked for and not given, by [`SessionFailure`].
    failures: [u64; SessionFailure::COUNT],
}

/// Where a port comes from in a pool whose subscribers have ports to themselves.
pub(crate) enum OwnPort {
    /// These of the address at a place, by the configuration.
    Range(u16, RangeInclusive<u16>),
    /// The subscriber's blocks.
    Held,
    /// A further block.
    NewBlock,
}

/// The state of an outside endpoint, whichever mappings share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortState {
    /// No mapping has it.
    Free,
    /// Its mappings all rest.
    Held,
    /// A mapping in use has it.
    Used,
}

/// The ports that a shard's subscribers have of each address of a deterministic pool.
pub(crate) fn parts_by_address(
    pool: &Pool,
    shares: &[Share],
) -> impl Iterator<Item = Vec<RangeInclusive<u16>>> {
    let mut parts: HashMap<Ipv4Addr, Vec<RangeInclusive<u16>>> = HashMap::new();
    for share in shares {
        parts.entry(share.address).or_default().push(share.ports.clone());
    }
    pool.addresses.iter().map(move |address| parts.remove(address).unwrap_or_default())
}

/// The blocks of these shares, where the pool hands out ports so.
pub(crate) fn blocks(
    pool: &Pool,
    shares: &[Share],
    subscribers: u32,
    pages: Pages,
) -> io::Result<Option<Blocks>> {
    let open = shares.iter().find(|share| !share.is_closed());
    let (Some(blocks), Some(first)) = (&pool.port_blocks, open) else { return Ok(None) };
    let grid = BlockGrid::new(&first.ports, blocks.size);
    Blocks::new(grid, blocks.per_subscriber, shares.len(), subscribers, pages).map(Some)
}

impl ShardPool {
    /// These shares of a pool, each port on its own.
    pub(crate) fn new(pool: &Pool, shares: &[Share]) -> ShardPool {
        let address = |share: &Share| {
            let made = Address::new(share.address, &share.ports, std::slice::from_ref(&share.ports));
            let state = if share.is_closed() { GrantState::Vacant } else { GrantState::InForce };
            Address { state, ..made }
        };
        ShardPool::of(pool, shares.iter().map(address).collect())
    }

    fn of(pool: &Pool, addresses: Vec<Address>) -> ShardPool {
        let total = addresses.iter().map(|address| address.total).sum();
        let mut pool = ShardPool {
            mapping: pool.mapping,
            ways: PoolWays::new(pool),
            open: std::array::from_fn(|_| Bits::new(addresses.len())),
            blocks: None,
            ranges: None,
            is_foreseeable: pool.mapping == MappingMode::EndpointIndependent,
            total,
            free: [total; Protocol::WITH_PORTS.len()],
            held: [0; Protocol::WITH_PORTS.len()],
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
            let addresses = pool.addresses.iter().zip(parts_by_address(pool, shares));
            let addresses = addresses.map(|(&address, parts)| Address::new(address, &pool.ports, &parts));
            let made = ShardPool::of(pool, addresses.collect());
            return Ok(ShardPool { ranges: Some(ranges), is_foreseeable: false, ..made });
        }
        let Some(mut blocks) = blocks(pool, shares, subscribers, pages)? else {
            return Ok(ShardPool::new(pool, shares));
        };
        let whole = |share: &Share| Share { ports: pool.whole_blocks_of(&share.ports), ..share.clone() };
        let shares: Vec<Share> = shares.iter().map(whole).collect();
        let mut made = ShardPool::new(pool, &shares);
        for (share, place) in shares.iter().zip(0..=u16::MAX) {
            blocks.set_in_force(place, !share.is_closed());
        }
        (made.blocks, made.is_foreseeable) = (Some(blocks), false);
        Ok(made)
    }

    /// Who may answer.
    pub(crate) fn filtering(&self, protocol: Protocol) -> Filtering {
        self.ways.filtering[protocol]
    }

    /// What an outside port for an inside port should be like. RFC 4787 REQ-4 asks parity of UDP alone.
    pub(crate) fn wish(&self, protocol: Protocol, inside: u16) -> PortRequest {
        let parity = self.ways.port_parity && protocol == Protocol::Udp;
        PortRequest { inside, preserved: self.ways.port_preservation, parity }
    }

    fn mark(&mut self, protocol: Protocol, index: usize) {
        let address = &self.addresses[index];
        let is_open = address.ports[protocol].free_count() > 0 && address.state == GrantState::InForce;
        self.open[protocol].set(index, is_open);
    }

    /// An address for a new subscriber: the first with a free port from a random start on, around the end.
    pub(crate) fn choose(&self, protocol: Protocol, random: &mut Random) -> Option<u16> {
        self.open[protocol].any(random).map(|index| index as u16)
    }

    /// Any address.
    pub(crate) fn any(&self, random: &mut Random) -> u16 {
        random.below(self.addresses.len() as u32) as u16
    }

    /// The index that a hash names: always the same one, as long as its address is in the pool. `None` where no address is in
    /// force.
    pub(crate) fn index_of(&self, hash: Hash) -> Option<u16> {
        let named = hash.0.checked_rem(self.addresses.len() as u64)? as u16;
        self.open_places_from(named).next()
    }

    /// Whether the pool gives out what the address at `index` has.
    pub(crate) fn is_in_force(&self, index: u16) -> bool {
        self.addresses[usize::from(index)].state == GrantState::InForce
    }

    /// Whether the pool may hand out a port of the address at `index`.
    pub(crate) fn allows(&self, index: u16, protocol: Protocol, port: u16) -> bool {
        self.is_in_force(index) && self.addresses[usize::from(index)].ports[protocol].allows(port)
    }

    /// The address that a subscriber is paired with, where it is in the pool still.
    pub(crate) fn pair_of(&self, line: &Subscriber, pool: u16) -> Option<u16> {
        line.paired(pool).filter(|&index| self.is_in_force(index))
    }

    /// A mapping stands on the address at `index`.
    #[inline(always)]
    pub(crate) fn add_mapping(&mut self, index: u16) {
        self.addresses[usize::from(index)].mappings += 1;
    }

    /// A mapping is gone.
    pub(crate) fn remove_mapping(&mut self, index: u16) {
        self.addresses[usize::from(index)].mappings -= 1;
    }

    /// Hands out ports as `edit` says, and has room for the addresses that come with it.
    pub(crate) fn prepare(&mut self, edit: &mut PoolEdit) {
        self.ways = edit.ways;
        if self.addresses.capacity() < edit.room.capacity() && self.addresses.len() < edit.room.capacity() {
            edit.room.append(&mut self.addresses);
            std::mem::swap(&mut self.addresses, &mut edit.room);
        }
        for (open, room) in self.open.iter_mut().zip(&mut edit.open) {
            if open.len() < room.len() {
                room.take_over(open);
                std::mem::swap(open, room);
            }
        }
        if let (Some(blocks), Some(new)) = (&mut self.blocks, &mut edit.blocks)
            && blocks.has_fewer(new)
        {
            blocks.grow(new);
        }
    }

    /// Puts an address at an empty place, or behind the others. The address that stood there is in `address` then.
    pub(crate) fn add_address(&mut self, place: u16, address: &mut Option<Address>) {
        let Some(mut new) = address.take() else { return };
        let state = std::mem::replace(&mut new.state, GrantState::Vacant);
        match self.addresses.get_mut(usize::from(place)) {
            Some(old) => *address = Some(std::mem::replace(old, new)),
            None => self.addresses.push(new),
        }
        // As what stood there had left them, or as if all ports were there.
        self.withdraw_blocks(place);
        self.set_state(place, state);
    }

    /// The address at a place stands otherwise from now on.
    pub(crate) fn set_state(&mut self, place: u16, state: GrantState) {
        self.change(place, |address| address.state = state);
        if let Some(blocks) = &mut self.blocks {
            blocks.set_in_force(place, state == GrantState::InForce);
        }
    }

    /// Lets these ports of an address be handed out.
    pub(crate) fn allow(
        &mut self,
        place: u16,
        total: u32,
        allowed: &mut [Allowed; Protocol::WITH_PORTS.len()],
    ) {
        self.change(place, |address| {
            address.total = total;
            address.allow(allowed);
        });
        self.withdraw_blocks(place);
    }

    /// Changes an address, and counts its ports as they are afterwards.
    fn change(&mut self, place: u16, change: impl FnOnce(&mut Address)) {
        let index = usize::from(place);
        self.count(index, u32::MAX);
        change(&mut self.addresses[index]);
        self.count(index, 1);
        Protocol::WITH_PORTS.into_iter().for_each(|protocol| self.mark(protocol, index));
    }

    /// Adds so many times what an address that is in force has.
    fn count(&mut self, index: usize, times: u32) {
        let address = &self.addresses[index];
        if address.state == GrantState::InForce {
            self.total = self.total.wrapping_add(address.total.wrapping_mul(times));
            for ((free, ports), shared) in self.free.iter_mut().zip(address.ports.iter()).zip(address.shared)
            {
                *free = free.wrapping_add(ports.free_count().wrapping_sub(shared).wrapping_mul(times));
            }
        }
    }

    /// A block of an address that has no port of a protocol left is no good to anybody.
    fn withdraw_blocks(&mut self, place: u16) {
        if let Some(blocks) = &mut self.blocks {
            let ports = &self.addresses[usize::from(place)].ports;
            blocks.withdraw_where(place, |range| ports.iter().any(|ports| !ports.allows_any_of(range)));
        }
    }

    /// Nobody names what was retired any more, and what was pending is the pool's: whether that is so of this place.
    pub(crate) fn settle(&mut self, place: u16) -> bool {
        let address = &self.addresses[usize::from(place)];
        match address.state {
            GrantState::Retired if address.mappings > 0 => return false,
            GrantState::Retired => self.set_state(place, GrantState::Vacant),
            GrantState::Pending => self.set_state(place, GrantState::InForce),
            GrantState::Vacant | GrantState::InForce => {}
        }
        true
    }

    /// Whether mappings stand on what was retired.
    pub(crate) fn has_retired_mappings(&self) -> bool {
        self.addresses.iter().any(|address| address.state == GrantState::Retired && address.mappings > 0)
    }

    /// Takes a port of address `index` as wished.
    pub(crate) fn alloc(
        &mut self,
        index: u16,
        protocol: Protocol,
        wish: PortRequest,
        random: &mut Random,
    ) -> Option<u16> {
        let ports = &mut self.addresses[usize::from(index)].ports[protocol];
        let port = ports.take_for(wish, random)?;
        self.free[protocol] -= 1;
        self.mark(protocol, usize::from(index));
        Some(port)
    }

    /// Where a subscriber's ports of a protocol can be found now that it has to itself.
    pub(crate) fn own_port_plan(
        &self,
        subscriber: Option<SubscriberId>,
        inside: Ipv4Addr,
        protocol: Protocol,
    ) -> Result<OwnPort, SessionFailure> {
        if let Some(ranges) = &self.ranges {
            let (place, ports) = ranges.outside(inside).ok_or(SessionFailure::NoPortRange)?;
            // A pool may have fewer addresses than its subscribers would fill.
            let address = self.addresses.get(place);
            return if address.is_some_and(|address| address.ports[protocol].has_free_in(&ports)) {
                Ok(OwnPort::Range(place as u16, ports))
            } else {
                Err(SessionFailure::SubscriberPortBlocks)
            };
        }
        let blocks = self.blocks.as_ref().ok_or(SessionFailure::PortsExhausted)?;
        let (address, count) = match subscriber.and_then(|subscriber| blocks.held_by(subscriber)) {
            Some((index, ranges)) => {
                let ports = self.ports(index, protocol);
                if ranges.iter().any(|range| ports.has_free_in(range)) {
                    return Ok(OwnPort::Held);
                }
                (Some(index), ranges.len())
            }
            None => (None, 0),
        };
        if !blocks.admits(count) {
            return Err(SessionFailure::SubscriberPortBlocks);
        }
        if blocks.has_free(address) {
            Ok(OwnPort::NewBlock)
        } else {
            Err(SessionFailure::PortBlocksExhausted)
        }
    }

    /// Takes a port of the subscriber's blocks as wished, and the place of their address.
    pub(crate) fn take_in_blocks(
        &mut self,
        subscriber: SubscriberId,
        protocol: Protocol,
        wish: PortRequest,
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
        wish: PortRequest,
        random: &mut Random,
    ) -> Option<u16> {
        let ports = &mut self.addresses.get_mut(usize::from(index))?.ports[protocol];
        let port = ports.take_within(ranges, wish, random)?;
        self.free[protocol] -= 1;
        self.mark(protocol, usize::from(index));
        Some(port)
    }

    /// Whether subscribers have ports to themselves, which then need not rest.
    pub(crate) fn is_in_blocks(&self) -> bool {
        self.blocks.is_some() || self.ranges.is_some()
    }

    /// Gives back a port that a mapping had.
    pub(crate) fn give_mapped(&mut self, index: u16, protocol: Protocol, port: u16, now: Time) {
        self.free(index, protocol, port);
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
        self.addresses[usize::from(index)].ports[protocol].prefetch(port);
    }

    /// Gives a port back.
    pub(crate) fn free(&mut self, index: u16, protocol: Protocol, port: u16) {
        let address = &mut self.addresses[usize::from(index)];
        let ports = &mut address.ports[protocol];
        let before = ports.free_count();
        ports.free(port);
        if address.state == GrantState::InForce {
            self.free[protocol] += ports.free_count() - before;
        }
        self.mark(protocol, usize::from(index));
    }

    /// Keeps what is forwarded from being handed out, where it is in the pool.
    pub(crate) fn reserve(&mut self, forwarded: impl Iterator<Item = (Protocol, Endpoint)>) {
        let mut places: Option<HashMap<u32, u16>> = None;
        let mut touched = HashSet::new();
        for (protocol, external) in forwarded {
            let places = places.get_or_insert_with(|| {
                let addresses = self.addresses.iter().zip(0..=u16::MAX);
                addresses.map(|(address, place)| (address.address, place)).collect()
            });
            let Some(&place) = places.get(&external.address) else { continue };
            if self.addresses[usize::from(place)].ports[protocol].withhold(external.port) {
                self.free[protocol] -= 1;
                self.mark(protocol, usize::from(place));
            }
            touched.insert(place);
        }
        touched.into_iter().for_each(|place| self.withdraw_blocks(place));
    }

    /// Whether the pool translates a protocol without ports.
    pub(crate) fn translates(&self, number: IpProtocol) -> bool {
        self.ways.other_protocols.contains(number)
    }

    /// Whether a port serves a single remote endpoint and may be another mapping's towards another one.
    pub(crate) fn shares_ports(&self) -> bool {
        self.mapping == MappingMode::AddressAndPortDependent
    }

    /// Notes that a port which several mappings may share stands differently.
    pub(crate) fn account(&mut self, place: u16, protocol: Protocol, before: PortState, after: PortState) {
        let address = &mut self.addresses[usize::from(place)];
        let [free, held] = [&mut self.free, &mut self.held].map(|counts| &mut counts[protocol]);
        for (standing, step) in [(before, u32::MAX), (after, 1)] {
            match standing {
                PortState::Free => {
                    let shared = &mut address.shared[protocol];
                    *shared = shared.wrapping_sub(step);
                    if address.state == GrantState::InForce {
                        *free = free.wrapping_add(step);
                    }
                }
                PortState::Held => *held = held.wrapping_add(step),
                PortState::Used => {}
            }
        }
    }

    /// A resting mapping that alone has its port is in use again, or ends.
    pub(crate) fn unhold(&mut self, protocol: Protocol) {
        self.held[protocol] -= 1;
    }

    /// Counts a port that was asked for and not given.
    pub(crate) fn count_failure(&mut self, failure: SessionFailure) {
        self.failures[failure] += 1;
    }

    /// Ports that were asked for and not given, for this reason.
    pub(crate) fn failures(&self, reason: SessionFailure) -> u64 {
        self.failures[reason]
    }

    /// Its port blocks, where it hands out ports so.
    pub(crate) fn blocks(&self) -> Option<&Blocks> {
        self.blocks.as_ref()
    }

    /// As [`ShardPool::blocks`], to be changed.
    pub(crate) fn blocks_mut(&mut self) -> Option<&mut Blocks> {
        self.blocks.as_mut()
    }

    /// The ranges that its subscribers have, where the configuration gives them.
    pub(crate) fn ranges(&self) -> Option<&Ranges> {
        self.ranges.as_ref()
    }

    /// Whether the next port of a subscriber is known before its turn.
    pub(crate) fn is_foreseeable(&self) -> bool {
        self.is_foreseeable
    }

    /// A mapping that alone has its port rests from now on.
    pub(crate) fn hold(&mut self, protocol: Protocol) {
        self.held[protocol] += 1;
    }

    /// How many ports are free. One that is shared and withheld counts against them until its last mapping ends.
    fn free_count(&self, protocol: Protocol) -> u32 {
        (self.free[protocol] as i32).max(0) as u32
    }

    /// Whether a port of a protocol is free on any address.
    pub(crate) fn has_free(&self, protocol: Protocol) -> bool {
        self.free_count(protocol) > 0
    }

    /// The ports of the address at `index`.
    pub(crate) fn ports(&self, index: u16, protocol: Protocol) -> &Ports {
        &self.addresses[usize::from(index)].ports[protocol]
    }

    /// The places of addresses that are in force, from one on and around the end.
    pub(crate) fn open_places_from(&self, start: u16) -> impl Iterator<Item = u16> {
        let (count, start) = (self.addresses.len() as u32, u32::from(start));
        (start..count).chain(0..start).map(|place| place as u16).filter(|&place| self.is_in_force(place))
    }

    /// The outside address at `index`.
    pub(crate) fn address(&self, index: u16) -> u32 {
        self.addresses[usize::from(index)].address
    }

    /// How full it is.
    pub(crate) fn usage(&self, protocol: Protocol) -> PoolUsage {
        let (free, held) = (self.free_count(protocol), self.held[protocol]);
        PoolUsage { used: self.total.saturating_sub(free + held), held, total: self.total }
    }
}

/// The pools of a shard, in the order of the settings.
pub(crate) struct Pools(Vec<ShardPool>);

impl Pools {
    pub(crate) fn new(pools: Vec<ShardPool>) -> Pools {
        Pools(pools)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The pool at a place, where there is one.
    pub(crate) fn get(&self, pool: usize) -> Option<&ShardPool> {
        self.0.get(pool)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ShardPool> {
        self.0.iter()
    }

    /// Moves to `room`, which is empty and has room for more. What was too small is in `room` then.
    pub(crate) fn grow(&mut self, room: &mut Vec<ShardPool>) {
        room.append(&mut self.0);
        std::mem::swap(&mut self.0, room);
    }

    /// Puts a pool at a place or behind the others; what was there.
    pub(crate) fn put(&mut self, pool: usize, made: ShardPool) -> Option<ShardPool> {
        match self.0.get_mut(pool) {
            Some(old) => Some(std::mem::replace(old, made)),
            None => {
                self.0.push(made);
                None
            }
        }
    }
}

impl<I: Into<usize>> std::ops::Index<I> for Pools {
    type Output = ShardPool;
    #[inline(always)]
    fn index(&self, pool: I) -> &ShardPool {
        &self.0[pool.into()]
    }
}

impl<I: Into<usize>> std::ops::IndexMut<I> for Pools {
    #[inline(always)]
    fn index_mut(&mut self, pool: I) -> &mut ShardPool {
        &mut self.0[pool.into()]
    }
}
