//! Mappings: which outside endpoint an inside endpoint has.
//!
//! A mapping is *in use* while it has sessions. A pool mapping whose last session ended *rests*: it keeps its port from
//! other subscribers for the hold time (RFC 6888 REQ-8), and its own inside endpoint takes it up again as it was.

pub(crate) mod filter;
pub(crate) mod port_overlap;
pub(crate) mod redirect;
pub(crate) mod static_mappings;
pub(crate) mod unsolicited;

use std::io;

use bytemuck::{Pod, Zeroable};

use crate::ids::{GrantId, MappingId, SubscriberId};
use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::Protocol;
use crate::table::cpu::prefetch;
use crate::table::free_list::{Chains, Ids};
use crate::table::hash::Secret;
use crate::table::index::{Hash, Index};
use crate::table::memory::{Pages, Region, Slab};
use crate::table::time::Time;
use crate::table::timer_wheel::{Upcoming, Wheel};

/// Where a mapping's outside endpoint comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A pool.
    Pool = 0,
    /// A port forward or a 1:1 mapping.
    Permanent = 1,
    /// No translation: the outside endpoint is the inside one.
    Exempt = 2,
    /// A port forward behind which remotes look like the gateway.
    Redirect = 3,
}

impl Kind {
    /// The label in listings.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Pool => "pool",
            Kind::Permanent => "permanent",
            Kind::Exempt => "exempt",
            Kind::Redirect => "redirect",
        }
    }

    const ALL: [Kind; 4] = [Kind::Pool, Kind::Permanent, Kind::Exempt, Kind::Redirect];
}

/// One mapping; two to a cache line.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Mapping {
    internal_address: u32,
    external_address: u32,
    internal_port: u16,
    external_port: u16,
    pub(crate) subscriber: SubscriberId,
    /// Its sessions; while it rests, when that ends: low 32 bits of the engine's time.
    sessions_or_end: u32,
    /// Low 32 bits of the engine's time.
    pub(crate) created: u32,
    /// What gave its outside endpoint; meaningful for pool mappings.
    pub(crate) grant: GrantId,
    protocol: u8,
    kind: u8,
    flags: u8,
    spare: u8,
}
const _: () = assert!(size_of::<Mapping>() == 32);

/// It is not found by its inside endpoint.
const SINGLE: u8 = 1;
/// It rests.
const RESTING: u8 = 2;
/// A session under it ended without its end being seen.
const UNCLOSED: u8 = 4;
/// It shares its outside endpoint with others and is not found by it either.
const OVERLAPPING: u8 = 8;
/// Its port is of a port block.
const IN_BLOCK: u8 = 16;
/// It is not found by its outside endpoint.
const INSIDE_ONLY: u8 = 32;

impl Mapping {
    pub(crate) fn internal(&self) -> Endpoint {
        Endpoint { address: self.internal_address, port: self.internal_port }
    }

    pub(crate) fn external(&self) -> Endpoint {
        Endpoint { address: self.external_address, port: self.external_port }
    }

    /// Whether this pool gave its outside endpoint.
    pub(crate) fn is_of_pool(&self, pool: u16) -> bool {
        self.kind() == Kind::Pool && self.grant.pool == pool
    }

    pub(crate) fn protocol(&self) -> Protocol {
        Protocol::ALL[usize::from(self.protocol)]
    }

    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it serves one remote endpoint and shares its outside endpoint with others (`port_overlap`).
    pub(crate) fn is_overlapping(&self) -> bool {
        self.is(OVERLAPPING)
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.is(RESTING)
    }

    /// The sessions under it: none while it rests.
    pub(crate) fn sessions(&self) -> u32 {
        if self.is_resting() { 0 } else { self.sessions_or_end }
    }

    pub(crate) fn is_in_use(&self) -> bool {
        self.sessions() > 0
    }

    /// One session more, of a mapping that does not rest.
    pub(crate) fn add_session(&mut self) {
        self.sessions_or_end += 1;
    }

    /// Takes [`Mapping::add_session`] back.
    pub(crate) fn cancel_session(&mut self) {
        self.sessions_or_end -= 1;
    }

    /// One session less; `closed` where its end was seen.
    pub(crate) fn remove_session(&mut self, closed: bool) {
        self.sessions_or_end -= 1;
        self.flags |= if closed { 0 } else { UNCLOSED };
    }

    /// Whether its port has to rest: not where the end of every session that it had was seen, nor in a block, where only the
    /// same subscriber can get it.
    pub(crate) fn is_to_rest(&self) -> bool {
        self.flags & (UNCLOSED | IN_BLOCK) == UNCLOSED
    }

    /// Lets it rest, having no sessions, until a moment whose low 32 bits these are.
    fn rest_until(&mut self, end: u32) {
        self.flags |= RESTING;
        self.sessions_or_end = end;
    }

    /// When its rest ends, low 32 bits of the engine's time.
    pub(crate) fn end_of_rest(&self) -> u32 {
        debug_assert!(self.is_resting());
        self.sessions_or_end
    }

    /// It rests no more, and has no sessions.
    fn end_rest(&mut self) {
        self.flags &= !RESTING;
        self.sessions_or_end = 0;
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::ALL[usize::from(self.kind)]
    }
}

/// By what a mapping is found, besides its sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundBy {
    /// Its inside and its outside endpoint.
    Both,
    /// Its outside endpoint.
    Outside,
    /// Its inside endpoint: others may have its outside endpoint towards other remotes (`portless`).
    Inside,
    /// Nothing: others share its outside endpoint (`port_overlap`).
    Neither,
}

/// What a new mapping is made of.
pub(crate) struct New {
    pub(crate) protocol: Protocol,
    pub(crate) internal: Endpoint,
    pub(crate) external: Endpoint,
    pub(crate) kind: Kind,
    pub(crate) found_by: FoundBy,
    pub(crate) in_block: bool,
    pub(crate) subscriber: SubscriberId,
    pub(crate) grant: GrantId,
    pub(crate) now: Time,
}

/// Entries that the index has room for at half load, by mapping. A mapping has two: the index is at half load when two
/// mappings in three are there, and at three quarters when all are.
const LOAD: (usize, usize) = (4, 3);

fn indexed(capacity: u32) -> usize {
    capacity as usize / LOAD.1 * LOAD.0
}

const INSIDE: u64 = 0;
const OUTSIDE: u64 = 1;

/// The mappings of a shard, by inside and by outside endpoint.
pub(crate) struct Mappings {
    lines: Slab<Mapping>,
    ids: Ids,
    index: Index,
    /// Rings when a rest is over.
    rest: Wheel,
    /// A subscriber's resting mappings.
    chains: Chains,
    secret: Secret,
}

impl Mappings {
    pub(crate) fn new(capacity: u32, secret: Secret, now: Time, pages: Pages) -> io::Result<Mappings> {
        Ok(Mappings {
            lines: Slab::new(capacity as usize, pages)?,
            ids: Ids::new(capacity, pages)?,
            index: Index::with_pages(indexed(capacity), pages)?,
            rest: Wheel::new(capacity, now, pages)?,
            chains: Chains::new(capacity, pages)?,
            secret,
        })
    }

    /// Memory of one for so many, octets.
    pub(crate) fn bytes(capacity: u32) -> u64 {
        Slab::<Mapping>::bytes(capacity as usize)
            + Ids::bytes(capacity)
            + Index::bytes(indexed(capacity))
            + Wheel::bytes(capacity)
            + Chains::bytes(capacity)
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> [&Region; 5] {
        [
            self.lines.region(),
            self.ids.region(),
            self.index.region(),
            self.rest.region(),
            self.chains.region(),
        ]
    }

    /// The hash by which the index knows an inside endpoint.
    pub(crate) fn inside_hash(&self, protocol: Protocol, internal: Endpoint) -> Hash {
        self.hash(internal, protocol, INSIDE)
    }

    /// The hash by which the index knows an outside endpoint.
    pub(crate) fn outside_hash(&self, protocol: Protocol, external: Endpoint) -> Hash {
        self.hash(external, protocol, OUTSIDE)
    }

    fn hash(&self, endpoint: Endpoint, protocol: Protocol, side: u64) -> Hash {
        self.secret.hash(
            u64::from(endpoint.address) << 16 | u64::from(endpoint.port),
            1 << 32 | (protocol as u64) << 8 | side,
        )
    }

    /// A mapping of an inside endpoint, in use or resting, that `accept` takes: an inside endpoint has one in each pool
    /// that the rules send it to. `accept` asks whether its grant is live ([`crate::Shard::is_live`]).
    #[inline(always)]
    pub(crate) fn by_internal(
        &self,
        protocol: Protocol,
        internal: Endpoint,
        accept: impl Fn(&Mapping) -> bool,
    ) -> Option<MappingId> {
        let lines = self.lines.as_slice();
        let found = self.index.find(self.inside_hash(protocol, internal), |id| {
            let line = &lines[id as usize];
            line.internal() == internal && line.protocol() == protocol && !line.is(SINGLE) && accept(line)
        });
        found.map(MappingId)
    }

    /// The mapping of an outside endpoint, in use or resting, that `accept` takes: it asks whether its grant is live.
    pub(crate) fn by_external(
        &self,
        protocol: Protocol,
        external: Endpoint,
        accept: impl Fn(&Mapping) -> bool,
    ) -> Option<MappingId> {
        let lines = self.lines.as_slice();
        let found = self.index.find(self.outside_hash(protocol, external), |id| {
            let line = &lines[id as usize];
            line.external() == external && line.protocol() == protocol && accept(line)
        });
        found.map(MappingId)
    }

    /// Whether there is no room for another.
    pub(crate) fn is_full(&self) -> bool {
        self.ids.is_exhausted()
    }

    /// The lines that were ever in use: `0..high_water`.
    pub(crate) fn high_water(&self) -> u32 {
        self.ids.high_water()
    }

    /// All lines. What looks at many takes this once.
    pub(crate) fn lines(&self) -> &[Mapping] {
        self.lines.as_slice()
    }

    /// The mapping at a line that was ever in use, in use or resting, where there is one.
    pub(crate) fn at(&self, line: u32) -> Option<MappingId> {
        let mapping = &self.lines[line];
        (mapping.is_in_use() || mapping.is_resting()).then_some(MappingId(line))
    }

    /// Enters a mapping without sessions; `None`, and nothing changed, where there is no room.
    pub(crate) fn add(&mut self, new: &New) -> Option<MappingId> {
        let id = self.ids.alloc()?;
        let outside = self.outside_hash(new.protocol, new.external);
        let inside = self.inside_hash(new.protocol, new.internal);
        let by_outside = matches!(new.found_by, FoundBy::Both | FoundBy::Outside);
        let by_inside = matches!(new.found_by, FoundBy::Both | FoundBy::Inside);
        if by_outside && self.index.insert(outside, id).is_err() {
            self.ids.free(id);
            return None;
        }
        if by_inside && self.index.insert(inside, id).is_err() {
            if by_outside {
                self.index.remove(outside, id);
            }
            self.ids.free(id);
            return None;
        }
        self.lines[id] = Mapping {
            internal_address: new.internal.address,
            external_address: new.external.address,
            internal_port: new.internal.port,
            external_port: new.external.port,
            subscriber: new.subscriber,
            sessions_or_end: 0,
            created: new.now.low(),
            grant: new.grant,
            protocol: new.protocol as u8,
            kind: new.kind as u8,
            flags: match new.found_by {
                FoundBy::Both => 0,
                FoundBy::Outside => SINGLE,
                FoundBy::Inside => INSIDE_ONLY,
                FoundBy::Neither => SINGLE | OVERLAPPING,
            } | if new.in_block { IN_BLOCK } else { 0 },
            spare: 0,
        };
        Some(MappingId(id))
    }

    /// Takes a mapping out of the indexes. It is in no chain, and its rest is not timed.
    pub(crate) fn remove(&mut self, MappingId(id): MappingId) {
        let line = self.lines[id];
        if !line.is(OVERLAPPING | INSIDE_ONLY) {
            self.index.remove(self.outside_hash(line.protocol(), line.external()), id);
        }
        if !line.is(SINGLE) {
            self.index.remove(self.inside_hash(line.protocol(), line.internal()), id);
        }
        // A listing walks all ids: one without sessions that does not rest is not there.
        self.lines[id].end_rest();
        self.ids.free(id);
    }

    /// Lets a mapping without sessions rest, in the chain that starts at `head`.
    pub(crate) fn rest(&mut self, MappingId(id): MappingId, head: &mut MappingId, end: Time) {
        self.chains.push(&mut head.0, id);
        self.lines[id].rest_until(end.low());
        self.rest.start(id, end);
    }

    /// Takes a mapping whose rest is not timed any more out of its chain.
    pub(crate) fn unchain(&mut self, MappingId(id): MappingId, head: &mut MappingId) {
        self.chains.remove(&mut head.0, id);
    }

    /// Takes a resting mapping up again, without sessions yet.
    pub(crate) fn reactivate(&mut self, id: MappingId, head: &mut MappingId) {
        self.stop_rest(id);
        self.unchain(id, head);
        self.lines[id.0].end_rest();
    }

    /// Stops the timer of a rest.
    pub(crate) fn stop_rest(&mut self, MappingId(id): MappingId) {
        self.rest.stop(id);
    }

    /// The mapping behind a resting one in its chain.
    pub(crate) fn next_resting(&self, MappingId(id): MappingId) -> MappingId {
        MappingId(self.chains.next(id))
    }

    /// The next mapping whose rest is over by `now`; its timer does not run any more. Each timer looked at takes one from
    /// `budget`; `None` where that is used up, or nothing is due.
    pub(crate) fn next_rested(&mut self, now: Time, budget: &mut u32) -> Option<MappingId> {
        let lines = self.lines.as_slice();
        self.rest.next_due(now, budget, |id| now.near(lines[id as usize].end_of_rest())).map(MappingId)
    }

    /// The mappings that [`Mappings::next_rested`] will look at first, `most` of them at most. Asks for their lines and links.
    pub(crate) fn upcoming_rests(&self, most: u32) -> impl Iterator<Item = MappingId> + Clone + use<> {
        let upcoming: Upcoming = self.rest.upcoming(most);
        for &id in &upcoming {
            prefetch(&self.lines[id]);
            self.chains.prefetch(id);
        }
        upcoming.into_iter().map(MappingId)
    }

    /// Asks for a mapping's line and for what times its rest.
    pub(crate) fn prefetch(&self, MappingId(id): MappingId) {
        prefetch(&self.lines[id]);
        self.rest.prefetch(id);
    }

    /// Asks for a mapping's line.
    pub(crate) fn prefetch_line(&self, MappingId(id): MappingId) {
        prefetch(&self.lines[id]);
    }

    /// Asks for a mapping's links in its chain.
    pub(crate) fn prefetch_chain(&self, MappingId(id): MappingId) {
        self.chains.prefetch(id);
    }

    /// As [`Mappings::prefetch_chain`], where it is one.
    pub(crate) fn try_prefetch_chain(&self, MappingId(id): MappingId) {
        self.chains.try_prefetch(id);
    }

    /// Asks for the links of a resting mapping's neighbours.
    pub(crate) fn prefetch_neighbours(&self, MappingId(id): MappingId) {
        self.chains.prefetch_neighbours(id);
    }

    /// Asks for the line that the next but `ahead` new mapping will take.
    pub(crate) fn prefetch_next(&self, ahead: u32) {
        if let Some(id) = self.ids.peek(ahead) {
            prefetch(&self.lines[id]);
        }
    }

    /// Asks for the buckets of a mapping's endpoints.
    pub(crate) fn prefetch_buckets(&self, mapping: &Mapping) {
        self.prefetch_bucket(self.outside_hash(mapping.protocol(), mapping.external()));
        self.prefetch_bucket(self.inside_hash(mapping.protocol(), mapping.internal()));
    }

    /// Asks for a bucket of the index.
    pub(crate) fn prefetch_bucket(&self, hash: Hash) {
        self.index.view().prefetch(hash);
    }

    /// The mapping that may have this hash; asks for its line.
    pub(crate) fn prefetch_candidate(&self, hash: Hash) -> Option<MappingId> {
        let id = self.index.view().candidate(hash)?;
        prefetch(&self.lines[id]);
        Some(MappingId(id))
    }
}

impl std::ops::Index<MappingId> for Mappings {
    type Output = Mapping;
    #[inline(always)]
    fn index(&self, id: MappingId) -> &Mapping {
        &self.lines[id.0]
    }
}

impl std::ops::IndexMut<MappingId> for Mappings {
    #[inline(always)]
    fn index_mut(&mut self, id: MappingId) -> &mut Mapping {
        &mut self.lines[id.0]
    }
}
