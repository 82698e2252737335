//! A shard's part of a pool: outside addresses, each with the free ports of each protocol.

use std::net::Ipv4Addr;

use super::hash::Random;
use super::ports::{Ports, Wish};
use super::settings::{Filtering, MappingMode, Pool, Share};
use super::table::Hash;
use super::verdict::{Protocol, SessionFailure};

/// One outside address of a [`ShardPool`].
struct Address {
    address: u32,
    ports: [Ports; Protocol::COUNT],
}

/// See the module.
pub(crate) struct ShardPool {
    mapping: MappingMode,
    /// By protocol.
    filtering: [Filtering; Protocol::COUNT],
    port_parity: bool,
    port_preservation: bool,
    addresses: Vec<Address>,
    /// By protocol: bit `i % 64` of word `i / 64` is set where address `i` has a free port.
    open: [Vec<u64>; Protocol::COUNT],
    /// Ports of each protocol that can be handed out at all, and those of them that are free.
    total: u32,
    free: [u32; Protocol::COUNT],
    /// By protocol: ports that rest after their use (RFC 6888 REQ-8).
    pub(crate) held: [u32; Protocol::COUNT],
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
    pub(crate) fn new(pool: &Pool, shares: &[Share]) -> ShardPool {
        let addresses: Vec<Address> = shares
            .iter()
            .map(|share| Address {
                address: share.address.to_bits(),
                ports: std::array::from_fn(|_| Ports::new(share.ports.clone())),
            })
            .collect();
        let total = addresses.iter().map(|address| address.ports[0].free()).sum();
        let mut pool = ShardPool {
            mapping: pool.mapping,
            filtering: Protocol::ALL.map(|protocol| pool.filtering_of(protocol)),
            port_parity: pool.port_parity,
            port_preservation: pool.port_preservation,
            open: std::array::from_fn(|_| vec![0; addresses.len().div_ceil(64)]),
            total,
            free: [total; Protocol::COUNT],
            held: [0; Protocol::COUNT],
            failures: [0; SessionFailure::COUNT],
            addresses,
        };
        for protocol in Protocol::ALL {
            (0..pool.addresses.len()).for_each(|index| pool.mark(protocol, index));
        }
        pool
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
        let word = &mut self.open[protocol as usize][index / 64];
        if self.addresses[index].ports[protocol as usize].free() == 0 {
            *word &= !(1 << (index % 64));
        } else {
            *word |= 1 << (index % 64);
        }
    }

    /// An address for a new subscriber: the first with a free port from a random start on, around the end.
    pub(crate) fn choose(&self, protocol: Protocol, random: &mut Random) -> Option<u16> {
        let open = &self.open[protocol as usize];
        let count = self.addresses.len();
        let start = random.below(count as u32) as usize;
        let at = |word: usize| open[word].trailing_zeros() as usize + word * 64;
        let masked = open.get(start / 64)? & !0 << (start % 64);
        if masked != 0 {
            return Some((start / 64 * 64 + masked.trailing_zeros() as usize) as u16);
        }
        let words = open.len();
        (1..=words)
            .map(|step| (start / 64 + step) % words)
            .find(|&word| open[word] != 0)
            .map(|word| at(word) as u16)
    }

    /// The index that a hash names: always the same one.
    pub(crate) fn index_of(&self, hash: Hash) -> u16 {
        (hash.0 % self.addresses.len() as u64) as u16
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

    /// Asks for the line where a port stands.
    pub(crate) fn prefetch(&self, index: u16, protocol: Protocol, port: u16) {
        self.addresses[usize::from(index)].ports[protocol as usize].prefetch(port);
    }

    /// Gives a port back.
    pub(crate) fn give(&mut self, index: u16, protocol: Protocol, port: u16) {
        self.addresses[usize::from(index)].ports[protocol as usize].give(port);
        self.free[protocol as usize] += 1;
        self.mark(protocol, usize::from(index));
    }

    /// Takes `port` of `address` out of the pool for good, where it is in it.
    pub(crate) fn reserve(&mut self, address: Ipv4Addr, protocol: Protocol, port: u16) {
        let wanted = address.to_bits();
        let Some(index) = self.addresses.iter().position(|address| address.address == wanted) else { return };
        if self.addresses[index].ports[protocol as usize].take(port) {
            self.free[protocol as usize] -= 1;
            self.mark(protocol, index);
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

    /// The ports of the address at `index`.
    pub(crate) fn ports(&self, index: u16, protocol: Protocol) -> &Ports {
        &self.addresses[usize::from(index)].ports[protocol as usize]
    }

    /// Every place of an address, from one on and around the end.
    pub(crate) fn places_from(&self, start: u16) -> impl Iterator<Item = u16> + use<> {
        let count = self.addresses.len() as u16;
        (start..count).chain(0..start)
    }

    /// The outside address at `index`.
    pub(crate) fn address(&self, index: u16) -> u32 {
        self.addresses[usize::from(index)].address
    }

    /// How full it is.
    pub(crate) fn usage(&self, protocol: Protocol) -> PoolUsage {
        let (free, held) = (self.free[protocol as usize], self.held[protocol as usize]);
        PoolUsage { used: self.total - free - held, held, total: self.total }
    }
}
