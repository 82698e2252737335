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

use crate::ids::SubscriberId;
use crate::pool::usage::PoolUsage;
use crate::settings::block_config::{BlockGrid, PortBlocks};
use crate::table::bitset::Bits;
use crate::table::free_list::{Chains, NIL};
use crate::table::hash::Random;
use crate::table::memory::Pages;
use crate::table::time::Time;

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
    /// It has no port of some protocol, and is nobody's next.
    withdrawn: bool,
}

const FREE: Block = Block { subscriber: NIL, used: 0, vacated: 0, resting: false, withdrawn: false };

/// See the module. A block's id counts over all addresses, by address.
pub(crate) struct Blocks {
    grid: BlockGrid,
    per_subscriber: usize,
    lines: Box<[Block]>,
    /// By address as many places as it has blocks, and how many of them, from the first on, name a free block.
    free: Box<[u16]>,
    free_on: Box<[u16]>,
    /// Addresses with a free block that may be handed out.
    open: Bits,
    /// Addresses whose blocks may be.
    in_force: Box<[bool]>,
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
            in_force: vec![true; addresses].into(),
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
        more.in_force[..addresses].copy_from_slice(&self.in_force);
        more.in_force[addresses..].fill(false);
        for address in 0..more.free_on.len() {
            more.count_free(address, more.free_on[address]);
        }
        more.usage = self.usage;
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

    /// The ports of the block that a port is in.
    pub(crate) fn ports_around(&self, port: u16) -> Option<RangeInclusive<u16>> {
        self.grid.ports_around(port)
    }

    /// Lets the blocks of an address be handed out, or no more. Those that subscribers have stay with them, who get no further
    /// port of them.
    pub(crate) fn set_in_force(&mut self, place: u16, in_force: bool) {
        let address = usize::from(place);
        if self.in_force[address] == in_force {
            return;
        }
        self.in_force[address] = in_force;
        let there = self.blocks_of(address).filter(|block| !self.lines[*block].withdrawn).count() as u32;
        self.usage.total = self.usage.total.wrapping_add(if in_force { there } else { there.wrapping_neg() });
        self.count_free(address, self.free_on[address]);
    }

    fn blocks_of(&self, address: usize) -> std::ops::Range<usize> {
        let count = usize::from(self.grid.count());
        address * count..(address + 1) * count
    }

    /// How many blocks there are, in force or not.
    pub(crate) fn len(&self) -> u32 {
        self.lines.len() as u32
    }

    /// Whether a subscriber has the block, whose address gives nothing out any more.
    pub(crate) fn is_retired(&self, block: u32) -> bool {
        let line = &self.lines[block as usize];
        line.subscriber != NIL && !self.in_force[block as usize / usize::from(self.grid.count())]
    }

    /// Whether mappings have ports of a block.
    pub(crate) fn is_used(&self, block: u32) -> bool {
        self.lines[block as usize].used > 0
    }

    /// The subscriber of a block that is not free.
    pub(crate) fn subscriber(&self, block: u32) -> SubscriberId {
        SubscriberId(self.lines[block as usize].subscriber)
    }

    /// The place of its address in the pool, and its ports.
    pub(crate) fn place(&self, block: u32) -> (u16, RangeInclusive<u16>) {
        let count = u32::from(self.grid.count());
        ((block / count) as u16, self.grid.ports((block % count) as u16))
    }

    /// The place of the address that a subscriber's blocks are of, and the ports of them all.
    pub(crate) fn held_by(&self, SubscriberId(subscriber): SubscriberId) -> Option<(u16, Ranges)> {
        let first = self.heads[subscriber as usize];
        let (address, _) = (first != NIL).then(|| self.place(first))?;
        if !self.in_force[usize::from(address)] {
            return None;
        }
        let next = |&id: &u32| Some(self.chains.next(id)).filter(|&next| next != NIL);
        let places = std::iter::successors(Some(first), next).map(|id| self.place(id));
        // Those of an address that was taken back are behind it until the sweep has been there.
        Some((address, places.take_while(|(at, _)| *at == address).map(|(_, ports)| ports).collect()))
    }

    /// A block for a subscriber, drawn at random: of its address if it has one, else of one that has a free block. It rests
    /// until a mapping has a port of it.
    pub(crate) fn alloc(
        &mut self,
        SubscriberId(subscriber): SubscriberId,
        now: Time,
        random: &mut Random,
    ) -> Option<u32> {
        let head = self.heads[subscriber as usize];
        let address = match head {
            NIL => self.open.any(random)?,
            head => match (head / u32::from(self.grid.count())) as usize {
                address if self.in_force[address] => address,
                _ => self.open.any(random)?,
            },
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
        let Block { subscriber, withdrawn, .. } = self.lines[block as usize];
        self.chains.remove(&mut self.heads[subscriber as usize], block);
        self.lines[block as usize] = Block { withdrawn, ..FREE };
        if !withdrawn {
            self.set_free(block as usize);
        }
    }

    /// Puts a block among those that are free.
    fn set_free(&mut self, block: usize) {
        let address = block / usize::from(self.grid.count());
        let base = self.blocks_of(address).start;
        let free = self.free_on[address];
        self.free[base + usize::from(free)] = (block - base) as u16;
        self.count_free(address, free + 1);
    }

    /// Takes the blocks of an address out whose ports `is_useless` says so of, and puts the others back in. A subscriber that has
    /// one of them keeps it, and nobody gets it next.
    pub(crate) fn withdraw_where(&mut self, place: u16, is_useless: impl Fn(&RangeInclusive<u16>) -> bool) {
        let address = usize::from(place);
        for block in self.blocks_of(address) {
            let number = (block - self.blocks_of(address).start) as u16;
            let useless = is_useless(&self.grid.ports(number));
            if self.lines[block].withdrawn == useless {
                continue;
            }
            self.lines[block].withdrawn = useless;
            let step = if useless { u32::MAX } else { 1 };
            if self.in_force[address] {
                self.usage.total = self.usage.total.wrapping_add(step);
            }
            match (self.lines[block].subscriber, useless) {
                (NIL, false) => self.set_free(block),
                (NIL, true) => self.unset_free(address, number),
                _ => {}
            }
        }
    }

    /// Takes a free block out.
    fn unset_free(&mut self, address: usize, number: u16) {
        let base = self.blocks_of(address).start;
        let free = usize::from(self.free_on[address]);
        if let Some(place) = self.free[base..][..free].iter().position(|&other| other == number) {
            self.free[base + place] = self.free[base + free - 1];
            self.count_free(address, free as u16 - 1);
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
        self.open.set(address, free > 0 && self.in_force[address]);
    }
}
