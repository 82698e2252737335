//! A worker's replica of the neighbours: MAC addresses by handle, and the packets that wait for one.
//!
//! A next hop is *resolved* (its MAC address is known) or *unresolved*: then up to [`Sizes::held_each`] packets wait
//! for [`NextHops::learn`], [`NextHops::forget`] or, [`HOLD_MS`] after the first, [`NextHops::expire`].
//!
//! A [`NextHopId`] may be kept without a limit. It stops naming a next hop when that one is forgotten or when
//! the routes change ([`NextHops::invalidate`]); [`NextHops::mac`] then answers `None`, as for an unresolved one, and
//! the caller comes back through [`NextHops::resolve`]. (A handle unused while its slot is reused 65,536 times could
//! name another next hop.)
//!
//! ```text
//! NextHopId   31 .......... 16 15 ........... 0
//!             slot's version   slot
//!               + epoch
//! ```
//!
//! Places for next hops and for packets are shared so that no link takes those of another, or of the routers that routes
//! lead through ([`NextHops::resolve_router`]).
//!
//! Nothing is allocated after [`NextHops::new`]. Time is a wrapping count of milliseconds.

use hashbrown::HashMap;

use super::hold_queue::{Queue, Slab};
use super::share::{Shares, Subject};
use super::{Binding, InterfaceId, Learn};
use natgw_wire::ethernet::Mac;

/// How many next hops a table can have at most.
pub const NEXT_HOPS_MAX: u16 = u16::MAX;

/// How long an unresolved next hop keeps packets: as long as management asks for it.
pub const HOLD_MS: u32 = 3000;

/// How long after a request for a resolution it is repeated.
const ASK_AGAIN_MS: u32 = 1000;

/// How long after a message of a neighbour's was new another one is.
const HEARD_AGAIN_MS: u32 = 100;

/// How many next hops one [`NextHops::expire`] gives up at most.
const EXPIRE_MAX: usize = 16;

/// A next hop of one worker's table. Any value may be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHopId(pub u32);

impl NextHopId {
    /// Names no next hop, ever.
    pub const NONE: NextHopId = NextHopId(u32::MAX);

    fn slot(self) -> u16 {
        self.0 as u16
    }

    fn version(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// How much a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Next hops.
    pub next_hops: u16,
    /// Packets that wait, over all next hops.
    pub held: u32,
    /// Packets that wait for one next hop.
    pub held_each: u32,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { next_hops: NEXT_HOPS_MAX, held: 1024, held_each: 16 }
    }
}

/// The table has no room for another next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A packet was taken into a hold queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Management is to be asked for the MAC address: this packet is the first, or the last asking is a second ago.
    Ask,
    /// It was asked already.
    Wait,
}

/// What a message of a neighbour's is to this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// From a neighbour that it does not have.
    Stranger,
    /// From one that it has; another that said the same is less than 100 ms ago.
    Again,
    /// From one that it has.
    Known,
}

/// Next hops by handle, and the packets that wait for them.
#[derive(Debug)]
pub struct NextHops<P> {
    links: Box<[Link]>,
    slots: Box<[Slot]>,
    index: HashMap<(InterfaceId, u32), u16>,
    free: u16,
    /// Unresolved next hops, in order of their making.
    oldest: u16,
    youngest: u16,
    epoch: u16,
    slab: Slab<P>,
    held_each: u32,
    /// How the slots, and the places of the slab, are shared.
    shares: Shares,
    held_shares: Shares,
}

/// What every packet reads.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
struct Link {
    mac: Option<Mac>,
    interface: InterfaceId,
    version: u16,
}

const _: () = assert!(size_of::<Link>() == 16);

#[derive(Clone, Copy, Debug)]
struct Slot {
    interface: InterfaceId,
    ip: u32,
    /// Neighbours in the list of unresolved next hops; `next` threads the free list too.
    next: u16,
    previous: u16,
    since_ms: u32,
    asked_ms: Option<u32>,
    /// When a message was new that told the MAC address that is known, and one that told another.
    heard_ms: [Option<u32>; 2],
    subject: Subject,
    queue: Queue,
}

impl<P> NextHops<P> {
    /// An empty table with all the memory that it will ever use.
    pub fn new(sizes: Sizes) -> NextHops<P> {
        let next = |slot| if slot + 1 < sizes.next_hops { slot + 1 } else { END };
        NextHops {
            links: vec![Link { mac: None, interface: InterfaceId(0), version: 0 }; sizes.next_hops.into()]
                .into(),
            slots: (0..sizes.next_hops).map(|slot| Slot { next: next(slot), ..Slot::FREE }).collect(),
            // Twice the need: hashbrown clears the traces of removals in place as long as half of it is free.
            index: HashMap::with_capacity(2 * usize::from(sizes.next_hops)),
            free: if sizes.next_hops == 0 { END } else { 0 },
            oldest: END,
            youngest: END,
            epoch: 0,
            slab: Slab::new(sizes.held),
            held_each: sizes.held_each,
            shares: Shares::new(sizes.next_hops.into()),
            held_shares: Shares::new(sizes.held),
        }
    }

    /// The next hop's MAC address; `None` when it is unresolved or the handle is out of date.
    #[inline]
    pub fn mac(&self, id: NextHopId) -> Option<Mac> {
        let link = self.links.get(usize::from(id.slot()))?;
        if link.version.wrapping_add(self.epoch) == id.version() { link.mac } else { None }
    }

    /// The interface and the MAC address to send to; `None` as for [`NextHops::mac`].
    #[inline]
    pub fn link(&self, id: NextHopId) -> Option<(InterfaceId, Mac)> {
        let link = self.links.get(usize::from(id.slot()))?;
        let current = link.version.wrapping_add(self.epoch) == id.version();
        if current { link.mac.map(|mac| (link.interface, mac)) } else { None }
    }

    /// The handle of this next hop, which is added, unresolved, if it is new.
    ///
    /// # Errors
    /// [`Full`] when it is new and there is no room.
    pub fn resolve(&mut self, interface: InterfaceId, ip: u32, now_ms: u32) -> Result<NextHopId, Full> {
        self.resolve_as(Subject::Link(interface), interface, ip, now_ms)
    }

    /// As [`NextHops::resolve`], for a router that routes lead through: it has places that no host of a link takes.
    ///
    /// # Errors
    /// As [`NextHops::resolve`].
    pub fn resolve_router(
        &mut self,
        interface: InterfaceId,
        ip: u32,
        now_ms: u32,
    ) -> Result<NextHopId, Full> {
        self.resolve_as(Subject::Routers, interface, ip, now_ms)
    }

    fn resolve_as(
        &mut self,
        subject: Subject,
        interface: InterfaceId,
        ip: u32,
        now_ms: u32,
    ) -> Result<NextHopId, Full> {
        if let Some(&slot) = self.index.get(&(interface, ip)) {
            return Ok(self.id(slot));
        }
        let slot = self.add(subject, interface, ip)?;
        self.wait(slot, now_ms);
        Ok(self.id(slot))
    }

    /// Keeps a packet until its next hop is resolved.
    ///
    /// # Errors
    /// The packet itself, when too many wait already, or the next hop is not unresolved (any more).
    pub fn hold(&mut self, id: NextHopId, packet: P, now_ms: u32) -> Result<Held, P> {
        if !self.is_unresolved(id) {
            return Err(packet);
        }
        let slot = &mut self.slots[usize::from(id.slot())];
        if slot.queue.len() >= self.held_each || !self.held_shares.take(slot.subject) {
            return Err(packet);
        }
        if let Err(packet) = self.slab.push(&mut slot.queue, packet) {
            self.held_shares.give(slot.subject, 1);
            return Err(packet);
        }
        Ok(if self.ask(id, now_ms) { Held::Ask } else { Held::Wait })
    }

    /// Whether management is to be asked now for this next hop, also when no packet finds room to wait for it: not where
    /// it was asked within the last second.
    pub fn ask(&mut self, id: NextHopId, now_ms: u32) -> bool {
        if !self.is_unresolved(id) {
            return false;
        }
        let slot = &mut self.slots[usize::from(id.slot())];
        let due = slot.asked_ms.is_none_or(|asked_ms| now_ms.wrapping_sub(asked_ms) >= ASK_AGAIN_MS);
        if due {
            slot.asked_ms = Some(now_ms);
        }
        due
    }

    fn is_unresolved(&self, id: NextHopId) -> bool {
        let slot = id.slot();
        slot < self.capacity() && self.id(slot) == id && self.links[usize::from(slot)].mac.is_none()
    }

    /// Takes a neighbour's MAC address, and hands out the packets that waited for it, oldest first. A new neighbour is
    /// added under [`Learn::Add`], if there is room.
    pub fn learn(&mut self, binding: Binding, learn: Learn, sink: impl FnMut(P)) {
        let Binding { interface, ip, mac } = binding;
        let slot = match (self.index.get(&(interface, ip)), learn) {
            (Some(&slot), _) => slot,
            (None, Learn::Merge) => return,
            (None, Learn::Add) => match self.add(Subject::Link(interface), interface, ip) {
                Ok(slot) => slot,
                Err(Full) => return,
            },
        };
        if self.links[usize::from(slot)].mac.replace(mac).is_none() {
            self.unwait(slot);
            let slot = &mut self.slots[usize::from(slot)];
            self.held_shares.give(slot.subject, slot.queue.len());
            self.slab.drain(&mut slot.queue, sink);
        }
    }

    /// What a message is in which a station says that it is this neighbour.
    pub fn heard(&mut self, binding: Binding, now_ms: u32) -> Heard {
        let Binding { interface, ip, mac } = binding;
        let Some(&slot) = self.index.get(&(interface, ip)) else { return Heard::Stranger };
        let is_known = self.links[usize::from(slot)].mac == Some(mac);
        let heard_ms = &mut self.slots[usize::from(slot)].heard_ms[usize::from(!is_known)];
        if heard_ms.is_some_and(|heard_ms| now_ms.wrapping_sub(heard_ms) < HEARD_AGAIN_MS) {
            return Heard::Again;
        }
        *heard_ms = Some(now_ms);
        Heard::Known
    }

    /// Removes a next hop, and hands out the packets that waited for it.
    pub fn forget(&mut self, interface: InterfaceId, ip: u32, sink: impl FnMut(P)) {
        if let Some(&slot) = self.index.get(&(interface, ip)) {
            self.remove(slot, sink);
        }
    }

    /// Removes next hops that stayed unresolved for [`HOLD_MS`], 16 at most, and hands out the packets that waited for
    /// them.
    pub fn expire(&mut self, now_ms: u32, mut sink: impl FnMut(P)) {
        for _ in 0..EXPIRE_MAX {
            let slot = self.oldest;
            if slot == END || now_ms.wrapping_sub(self.slots[usize::from(slot)].since_ms) < HOLD_MS {
                return;
            }
            self.remove(slot, &mut sink);
        }
    }

    /// Makes every handle given out so far name nothing: the routes have changed. What is known of the neighbours, and
    /// the packets that wait, stay.
    pub fn invalidate(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// How many next hops the table has.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// How many packets wait.
    pub fn held(&self) -> u32 {
        self.slab.held()
    }

    fn capacity(&self) -> u16 {
        self.links.len() as u16
    }

    fn id(&self, slot: u16) -> NextHopId {
        let version = self.links[usize::from(slot)].version.wrapping_add(self.epoch);
        NextHopId(u32::from(version) << 16 | u32::from(slot))
    }

    fn add(&mut self, subject: Subject, interface: InterfaceId, ip: u32) -> Result<u16, Full> {
        let slot = self.free;
        if slot == END || !self.shares.take(subject) {
            return Err(Full);
        }
        self.free = self.slots[usize::from(slot)].next;
        self.slots[usize::from(slot)] = Slot { interface, ip, subject, ..Slot::FREE };
        self.links[usize::from(slot)].interface = interface;
        self.index.insert((interface, ip), slot);
        Ok(slot)
    }

    fn remove(&mut self, slot: u16, sink: impl FnMut(P)) {
        let link = &mut self.links[usize::from(slot)];
        link.version = link.version.wrapping_add(1);
        if link.mac.take().is_none() {
            self.unwait(slot);
        }
        let Slot { interface, ip, mut queue, subject, .. } = self.slots[usize::from(slot)];
        self.shares.give(subject, 1);
        self.held_shares.give(subject, queue.len());
        self.index.remove(&(interface, ip));
        self.slots[usize::from(slot)] = Slot { next: self.free, ..Slot::FREE };
        self.free = slot;
        self.slab.drain(&mut queue, sink);
    }

    /// Puts a new next hop at the end of the list of unresolved ones.
    fn wait(&mut self, slot: u16, now_ms: u32) {
        let entry = &mut self.slots[usize::from(slot)];
        (entry.next, entry.previous, entry.since_ms) = (END, self.youngest, now_ms);
        match self.youngest {
            END => self.oldest = slot,
            youngest => self.slots[usize::from(youngest)].next = slot,
        }
        self.youngest = slot;
    }

    /// Takes a next hop out of the list of unresolved ones. One that [`NextHops::learn`] added is in none.
    fn unwait(&mut self, slot: u16) {
        let Slot { next, previous, .. } = self.slots[usize::from(slot)];
        match previous {
            END if self.oldest == slot => self.oldest = next,
            END => return,
            previous => self.slots[usize::from(previous)].next = next,
        }
        match next {
            END => self.youngest = previous,
            next => self.slots[usize::from(next)].previous = previous,
        }
    }
}

impl Slot {
    const FREE: Slot = Slot {
        interface: InterfaceId(0),
        ip: 0,
        next: END,
        previous: END,
        since_ms: 0,
        asked_ms: None,
        heard_ms: [None; 2],
        subject: Subject::Routers,
        queue: Queue::EMPTY,
    };
}

const END: u16 = u16::MAX;

#[cfg(test)]
mod tests;
