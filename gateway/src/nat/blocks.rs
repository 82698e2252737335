//! The port blocks of a shard's part of a pool: who has which.
//!
//! ```text
//! free ──► in use ──► resting ──┬──► in use, for the same subscriber
//!  ▲                            │
//!  └────── port hold over ◄─────┘
//! ```
//!
//! A block is in use while mappings have ports of it. Without any it rests with its subscriber, who takes it up again without
//! a record; nobody else gets it before the hold time is over (RFC 6888 REQ-8). The ports of a block need no rest of their
//! own: only one subscriber can have them.
//!
//! Invariant: all blocks of a subscriber are of one address (RFC 4787 REQ-2). Every operation takes a bounded number of
//! steps, whatever is free.

use std::io;
use std::ops::RangeInclusive;

use arrayvec::ArrayVec;

use super::bits::Bits;
use super::hash::Random;
use super::ids::{Chains, NIL};
use super::memory::Pages;
use super::pool::PoolUsage;
use super::port_block::{BlockGrid, PortBlocks};
use super::time::Time;

/// The ports of a subscriber's blocks.
pub(crate) type Ranges = ArrayVec<RangeInclusive<u16>, { PortBlocks::PER_SUBSCRIBER_MAX as usize }>;

#[derive(Clone, Copy)]
struct Block {
    /// [`NIL`] while it is free.
    subscriber: u32,
    /// Ports of it that mappings have, over all protocols.
    used: u32,
    /// When the last of them came back, or when it was taken: low 32 bits of the engine's time.
    vacated: u32,
    resting: bool,
}

const FREE: Block = Block { subscriber: NIL, used: 0, vacated: 0, resting: false };

/// See the module. A block's id counts over all addresses, by address.
pub(crate) struct Blocks {
    grid: BlockGrid,
    per_subscriber: usize,
    lines: Box<[Block]>,
    /// By address as many places as it has blocks, and how many of them, from the first on, name a free block.
    free: Box<[u16]>,
    free_on: Box<[u16]>,
    /// Addresses with a free block.
    open: Bits,
    /// By subscriber: the first of its blocks.
    heads: Box<[u32]>,
    chains: Chains,
    /// Resting blocks, the one whose rest began last first.
    rest: Chains,
    newest: u32,
    oldest: u32,
    usage: PoolUsage,
}

impl Blocks {
    /// Every block of `addresses` addresses free, for as many subscribers.
    pub(crate) fn new(
        grid: BlockGrid,
        per_subscriber: u8,
        addresses: usize,
        subscribers: u32,
        pages: Pages,
    ) -> io::Result<Blocks> {
        let total = addresses as u32 * u32::from(grid.count());
        let mut open = Bits::new(addresses);
        (0..addresses).for_each(|address| open.set(address, grid.count() > 0));
        Ok(Blocks {
            grid,
            per_subscriber: per_subscriber.into(),
            lines: vec![FREE; total as usize].into(),
            free: (0..addresses).flat_map(|_| 0..grid.count()).collect(),
            free_on: vec![grid.count(); addresses].into(),
            open,
            heads: vec![NIL; subscribers as usize].into(),
            chains: Chains::new(total, pages)?,
            rest: Chains::new(total, pages)?,
            newest: NIL,
            oldest: NIL,
            usage: PoolUsage { used: 0, held: 0, total },
        })
    }

    /// Becomes `more`, which is new and has blocks of further addresses behind the same ones. What is noted of each block is
    /// copied, some 40 octets; what is needed no more is in `more` then.
    pub(crate) fn grow(&mut self, more: &mut Blocks) {
        let (blocks, addresses) = (self.lines.len(), self.free_on.len());
        more.lines[..blocks].copy_from_slice(&self.lines);
        more.free[..blocks].copy_from_slice(&self.free);
        more.free_on[..addresses].copy_from_slice(&self.free_on);
        more.chains.take_over(&self.chains);
        more.rest.take_over(&self.rest);
        for (address, &free) in self.free_on.iter().enumerate() {
            more.open.set(address, free > 0);
        }
        let added: u32 = more.free_on[addresses..].iter().map(|&free| u32::from(free)).sum();
        more.usage = PoolUsage { total: self.usage.total + added, ..self.usage };
        (more.newest, more.oldest) = (self.newest, self.oldest);
        std::mem::swap(&mut more.heads, &mut self.heads);
        std::mem::swap(self, more);
    }

    /// Whether it has blocks of fewer addresses than another.
    pub(crate) fn has_fewer(&self, than: &Blocks) -> bool {
        self.free_on.len() < than.free_on.len()
    }

    /// Touches its memory, so that nobody waits for it later.
    pub(crate) fn populate(&self) {
        for region in [self.chains.region(), self.rest.region()] {
            // Without, its pages come one by one.
            let _ = region.populate(0..region.bytes());
        }
    }

    /// How many are in use, resting and there at all.
    pub(crate) fn usage(&self) -> PoolUsage {
        self.usage
    }

    /// The subscriber of a block that is not free.
    pub(crate) fn subscriber(&self, block: u32) -> u32 {
        self.lines[block as usize].subscriber
    }

    /// The place of its address in the pool, and its ports.
    pub(crate) fn place(&self, block: u32) -> (u16, RangeInclusive<u16>) {
        let count = u32::from(self.grid.count());
        ((block / count) as u16, self.grid.ports((block % count) as u16))
    }

    /// The place of the address that a subscriber's blocks are of, and the ports of them all.
    pub(crate) fn held_by(&self, subscriber: u32) -> Option<(u16, Ranges)> {
        let first = self.heads[subscriber as usize];
        let (address, _) = (first != NIL).then(|| self.place(first))?;
        let next = |&id: &u32| Some(self.chains.next(id)).filter(|&next| next != NIL);
        let blocks = std::iter::successors(Some(first), next);
        Some((address, blocks.map(|id| self.place(id).1).collect()))
    }

    /// A block for a subscriber, drawn at random: of its address if it has one, else of one that has a free block. It rests
    /// until a mapping has a port of it.
    pub(crate) fn take(&mut self, subscriber: u32, now: Time, random: &mut Random) -> Option<u32> {
        let head = self.heads[subscriber as usize];
        let address = match head {
            NIL => self.open.any(random)?,
            head => (head / u32::from(self.grid.count())) as usize,
        };
        let free = self.free_on[address];
        if free == 0 {
            return None;
        }
        let base = address * usize::from(self.grid.count());
        let (drawn, last) = (base + random.below(u32::from(free)) as usize, base + usize::from(free) - 1);
        let block = base as u32 + u32::from(self.free[drawn]);
        self.free[drawn] = self.free[last];
        self.count_free(address, free - 1);
        self.lines[block as usize] = Block { subscriber, ..FREE };
        self.chains.push(&mut self.heads[subscriber as usize], block);
        self.begin_rest(block, now);
        Some(block)
    }

    /// Whether a subscriber with so many blocks may have another.
    pub(crate) fn admits(&self, blocks: usize) -> bool {
        blocks < self.per_subscriber
    }

    /// Whether an address has a free block, or any where that is `None`.
    pub(crate) fn has_free(&self, address: Option<u16>) -> bool {
        self.open.has(address.map(usize::from))
    }

    /// A mapping has a port of it.
    pub(crate) fn use_port(&mut self, address: u16, port: u16) {
        let Some(block) = self.block_at(address, port) else { return };
        let line = &mut self.lines[block as usize];
        line.used += 1;
        if line.resting {
            self.end_rest(block);
            self.usage.used += 1;
        }
    }

    /// A mapping has it no more.
    pub(crate) fn give_port(&mut self, address: u16, port: u16, now: Time) {
        let Some(block) = self.block_at(address, port) else { return };
        let line = &mut self.lines[block as usize];
        line.used -= 1;
        if line.used == 0 {
            self.usage.used -= 1;
            self.begin_rest(block, now);
        }
    }

    /// The block that has rested longest, where that was for as long as it must.
    pub(crate) fn rested(&self, now: Time, hold_ms: u32) -> Option<u32> {
        let line = self.lines.get(self.oldest as usize)?;
        (now >= now.near(line.vacated).plus_ms(hold_ms.into())).then_some(self.oldest)
    }

    /// Makes a resting block free for everybody.
    pub(crate) fn give_back(&mut self, block: u32) {
        self.end_rest(block);
        let subscriber = self.lines[block as usize].subscriber;
        self.chains.remove(&mut self.heads[subscriber as usize], block);
        self.lines[block as usize] = FREE;
        let address = (block / u32::from(self.grid.count())) as usize;
        let base = address * usize::from(self.grid.count());
        let free = self.free_on[address];
        self.free[base + usize::from(free)] = (block as usize - base) as u16;
        self.count_free(address, free + 1);
    }

    /// The ports of the block that a port is in.
    pub(crate) fn ports_around(&self, port: u16) -> Option<RangeInclusive<u16>> {
        self.grid.ports_around(port)
    }

    /// Takes the block of a port out for good, where it is free.
    pub(crate) fn withdraw(&mut self, address: u16, port: u16) {
        let Some(block) = self.grid.block_of(port) else { return };
        let (address, base) = (usize::from(address), usize::from(address) * usize::from(self.grid.count()));
        let free = self.free_on[address];
        let place = self.free[base..].iter().take(free.into()).position(|&other| other == block);
        if let Some(place) = place {
            self.free[base + place] = self.free[base + usize::from(free) - 1];
            self.count_free(address, free - 1);
            self.usage.total -= 1;
        }
    }

    fn block_at(&self, address: u16, port: u16) -> Option<u32> {
        Some(u32::from(address) * u32::from(self.grid.count()) + u32::from(self.grid.block_of(port)?))
    }

    fn begin_rest(&mut self, block: u32, now: Time) {
        let line = &mut self.lines[block as usize];
        (line.vacated, line.resting) = (now.low(), true);
        if self.newest == NIL {
            self.oldest = block;
        }
        self.rest.push(&mut self.newest, block);
        self.usage.held += 1;
    }

    fn end_rest(&mut self, block: u32) {
        self.lines[block as usize].resting = false;
        if block == self.oldest {
            self.oldest = self.rest.previous(block);
        }
        self.rest.remove(&mut self.newest, block);
        self.usage.held -= 1;
    }

    fn count_free(&mut self, address: usize, free: u16) {
        self.free_on[address] = free;
        self.open.set(address, free > 0);
    }
}
