//! Ports that several mappings share, each towards another remote endpoint: pools with address-and-port-dependent mapping
//! (RFC 4787 section 4.1; RFC 7857 section 3 calls it port overlapping).
//!
//! In such a pool a mapping is for one inside endpoint and one remote, `(a:p, r:q)`, and its outside endpoint `X:P` is
//! nobody else's towards `r:q`. Its one session finds it; no index knows it, because `X:P` alone leads nowhere.
//!
//! Which ports of `X` are free depends on the remote. A bitmap a remote would take 8 KiB; trying ports at random ends in
//! thousands of tries where one remote has nearly all. So the bitmap of what is not taken towards a remote is there in
//! parts, and only those of which something is taken. A port is free towards a remote where it is not taken towards it and
//! the address may hand it out, which a reload can change at any time:
//!
//! ```text
//! (X, protocol, r:q) ──► root: 256 bits, which parts are not all taken
//!                          └─► parts 0..255: 256 bits each, which ports are not taken
//! ```
//!
//! Root and part are nodes of one kind, a cache line each, found by hash. A node is there while a mapping has a port below
//! it, so two nodes for each mapping are enough, and none is missing when it is needed. A port is found up to the last
//! one by looking at the root and at two parts at most for each range of places that it may be from ([`PortRequest`]).
//!
//! The mappings of one outside endpoint form a run ([`Runs`]), whose first knows how many of them are in use. So a pool
//! knows how many of its ports are used, held and free.
//!
//! Memory: 335 octets a session, taken at start and only where a pool shares its ports.

use std::io;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::ids::MappingId;
use crate::mapping::{Mapping, Mappings};
use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::Protocol;
use crate::pool::PortState;
use crate::pool::port_bitmap::{Free, PART, Part, PortRequest, Ports, place};
use crate::table::free_list::Ids;
use crate::table::hash::{Random, Secret};
use crate::table::index::{Full, Hash, Index};
use crate::table::memory::{Pages, Region, Slab};
use crate::table::multimap::Runs;

/// An outside address as one remote endpoint sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Towards {
    pub(crate) outside: u32,
    pub(crate) protocol: Protocol,
    pub(crate) remote: Endpoint,
}

/// A root or a part.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Node {
    /// Not taken: by part, or by place within the part.
    free: Part,
    outside: u32,
    remote: u32,
    remote_port: u16,
    /// Which part, or [`ROOT`].
    part: u16,
    protocol: u32,
    /// Ports below it that are taken.
    taken: u32,
    spare: [u32; 3],
}
const _: () = assert!(size_of::<Node>() == 64);

/// The root stands where a part of this number would.
const ROOT: u16 = PART as u16;
/// Nodes that a mapping may need.
const NODES: u32 = 2;

/// What a mapping that shares its port has besides its line.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Sharer {
    remote: u32,
    remote_port: u16,
    spare: u16,
    /// Mappings in use that have this outside endpoint; meaningful for the first of their run.
    in_use: u32,
}

/// See the module.
pub(crate) struct Overlaps {
    nodes: Slab<Node>,
    ids: Ids,
    index: Index,
    /// By mapping.
    sharers: Slab<Sharer>,
    runs: Runs,
    secret: Secret,
}

impl Overlaps {
    /// Room for so many mappings; none where no pool shares its ports.
    pub(crate) fn new(mappings: u32, secret: Secret, pages: Pages) -> io::Result<Overlaps> {
        let nodes = mappings.saturating_mul(NODES);
        Ok(Overlaps {
            nodes: Slab::new(nodes as usize, pages)?,
            ids: Ids::new(nodes, pages)?,
            index: Index::with_pages(nodes as usize, pages)?,
            sharers: Slab::new(mappings as usize, pages)?,
            runs: Runs::new(mappings, pages)?,
            secret,
        })
    }

    /// Memory of one for so many mappings, octets.
    pub(crate) fn bytes(mappings: u32) -> u64 {
        let nodes = mappings.saturating_mul(NODES);
        Slab::<Node>::bytes(nodes as usize)
            + Ids::bytes(nodes)
            + Index::bytes(nodes as usize)
            + Slab::<Sharer>::bytes(mappings as usize)
            + Runs::bytes(mappings)
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> impl Iterator<Item = &Region> {
        let own = [self.nodes.region(), self.ids.region(), self.index.region(), self.sharers.region()];
        own.into_iter().chain(self.runs.regions())
    }

    /// Takes a port of those that the address has, free towards the remote.
    ///
    /// # Errors
    /// There is no room for the note of it, and nothing changed.
    pub(crate) fn alloc(
        &mut self,
        towards: Towards,
        all: &Ports,
        wish: PortRequest,
        random: &mut Random,
    ) -> Result<Option<u16>, Full> {
        let Some(port) = wish.choose(&self.view(towards, all), all.range(), random) else { return Ok(None) };
        let (part, bit) = (place(port) / PART, place(port) % PART);
        let root = self.node_or_new(towards, ROOT)?;
        let leaf = match self.node_or_new(towards, part as u16) {
            Ok(leaf) => leaf,
            Err(full) => {
                self.remove_if_unused(towards, root);
                return Err(full);
            }
        };
        let leaf = &mut self.nodes[leaf];
        clear(&mut leaf.free, bit);
        leaf.taken += 1;
        let is_full = leaf.free == [0; 4];
        let root = &mut self.nodes[root];
        root.taken += 1;
        if is_full {
            clear(&mut root.free, part);
        }
        Ok(Some(port))
    }

    /// Whether one of the ports that the address has is free towards the remote.
    pub(crate) fn has_port(&self, towards: Towards, all: &Ports) -> bool {
        self.view(towards, all).first_in(0..PART * PART).is_some()
    }

    /// Gives a port back that [`Overlaps::alloc`] gave towards this remote.
    pub(crate) fn free(&mut self, towards: Towards, port: u16) {
        let (part, bit) = (place(port) / PART, place(port) % PART);
        for (number, bit) in [(part as u16, bit), (ROOT, part)] {
            let Some(id) = self.node(towards, number) else {
                debug_assert!(false, "gave back a port that is not taken");
                return;
            };
            let node = &mut self.nodes[id];
            set(&mut node.free, bit);
            node.taken -= 1;
            self.remove_if_unused(towards, id);
        }
    }

    /// Lets a new mapping share its outside endpoint. How that stood and stands.
    ///
    /// # Errors
    /// There is no room, and nothing changed.
    pub(crate) fn enter(
        &mut self,
        id: MappingId,
        remote: Endpoint,
        mappings: &Mappings,
    ) -> Result<[PortState; 2], Full> {
        let first = self.first(&mappings[id], mappings);
        let before = self.standing(first);
        self.runs.add(self.port_hash(&mappings[id]), first, id.0)?;
        self.sharers[id.0] = Sharer { remote: remote.address, remote_port: remote.port, spare: 0, in_use: 0 };
        self.sharers[first.unwrap_or(id.0)].in_use += 1;
        Ok([before, PortState::Used])
    }

    /// A mapping that was in use rests from now on. How its outside endpoint stood and stands.
    pub(crate) fn rest(&mut self, id: MappingId, mappings: &Mappings) -> [PortState; 2] {
        let first = self.first(&mappings[id], mappings);
        if let Some(first) = first {
            self.sharers[first].in_use -= 1;
        }
        [PortState::Used, self.standing(first)]
    }

    /// A mapping does not share its outside endpoint any longer. How that stood and stands.
    pub(crate) fn leave(&mut self, id: MappingId, mappings: &Mappings) -> [PortState; 2] {
        let line = &mappings[id];
        let first = self.first(line, mappings);
        let before = self.standing(first);
        if let Some(first) = first.filter(|_| !line.is_resting()) {
            self.sharers[first].in_use -= 1;
        }
        let next = self.runs.remove(self.port_hash(line), id.0);
        if let Some(next) = next {
            self.sharers[next].in_use = self.sharers[id.0].in_use;
        }
        [before, self.standing(next.or(first.filter(|&first| first != id.0)))]
    }

    /// Whether mappings share an outside endpoint.
    pub(crate) fn is_shared(&self, protocol: Protocol, external: Endpoint, mappings: &Mappings) -> bool {
        self.first_at(self.shared_hash(external, protocol), (external, protocol), mappings).is_some()
    }

    /// Whether a mapping in use shares this outside endpoint.
    pub(crate) fn is_in_use(&self, protocol: Protocol, external: Endpoint, mappings: &Mappings) -> bool {
        let first = self.first_at(self.shared_hash(external, protocol), (external, protocol), mappings);
        self.standing(first) == PortState::Used
    }

    fn standing(&self, first: Option<u32>) -> PortState {
        match first.map(|first| self.sharers[first].in_use) {
            None => PortState::Free,
            Some(0) => PortState::Held,
            Some(_) => PortState::Used,
        }
    }

    /// The remote endpoint that a mapping is for.
    pub(crate) fn remote(&self, id: MappingId) -> Endpoint {
        let sharer = self.sharers[id.0];
        Endpoint { address: sharer.remote, port: sharer.remote_port }
    }

    /// The first of those that share an outside endpoint.
    fn first(&self, line: &Mapping, mappings: &Mappings) -> Option<u32> {
        self.first_at(self.port_hash(line), (line.external(), line.protocol()), mappings)
    }

    fn first_at(&self, hash: Hash, key: (Endpoint, Protocol), mappings: &Mappings) -> Option<u32> {
        self.runs.first(hash, |id| {
            let other = &mappings[MappingId(id)];
            (other.external(), other.protocol()) == key
        })
    }

    fn shared_hash(&self, external: Endpoint, protocol: Protocol) -> Hash {
        let endpoint = u64::from(external.address) << 16 | u64::from(external.port);
        self.secret.hash(endpoint, 7 << 32 | protocol as u64)
    }

    fn port_hash(&self, line: &Mapping) -> Hash {
        self.shared_hash(line.external(), line.protocol())
    }

    fn view<'a>(&'a self, towards: Towards, all: &'a Ports) -> View<'a> {
        let root = self.node(towards, ROOT).map(|id| &self.nodes[id]);
        View { overlaps: self, towards, all, root }
    }

    fn hash(&self, towards: Towards, part: u16) -> Hash {
        let Towards { outside, protocol, remote } = towards;
        let addresses = u64::from(outside) << 32 | u64::from(remote.address);
        let rest = u64::from(remote.port) << 16 | (protocol as u64) << 12 | u64::from(part);
        self.secret.hash(addresses, 6 << 32 | rest)
    }

    fn node(&self, towards: Towards, part: u16) -> Option<u32> {
        let Towards { outside, protocol, remote } = towards;
        let nodes = self.nodes.as_slice();
        self.index.find(self.hash(towards, part), |id| {
            let node = &nodes[id as usize];
            (node.outside, node.remote, node.remote_port, node.part, node.protocol)
                == (outside, remote.address, remote.port, part, protocol as u32)
        })
    }

    fn node_or_new(&mut self, towards: Towards, part: u16) -> Result<u32, Full> {
        if let Some(id) = self.node(towards, part) {
            return Ok(id);
        }
        let id = self.ids.alloc().ok_or(Full)?;
        if let Err(full) = self.index.insert(self.hash(towards, part), id) {
            self.ids.free(id);
            return Err(full);
        }
        self.nodes[id] = Node {
            free: [!0; 4],
            outside: towards.outside,
            remote: towards.remote.address,
            remote_port: towards.remote.port,
            part,
            protocol: towards.protocol as u32,
            taken: 0,
            spare: [0; 3],
        };
        Ok(id)
    }

    fn remove_if_unused(&mut self, towards: Towards, id: u32) {
        let Node { taken, part, .. } = self.nodes[id];
        if taken == 0 {
            self.index.remove(self.hash(towards, part), id);
            self.ids.free(id);
        }
    }
}

/// The ports of one address that are free towards one remote.
struct View<'a> {
    overlaps: &'a Overlaps,
    towards: Towards,
    /// All that the address has.
    all: &'a Ports,
    /// Nothing is taken where there is none.
    root: Option<&'a Node>,
}

impl View<'_> {
    fn part(&self, part: u32) -> Part {
        let all = self.all.part(part);
        match self.overlaps.node(self.towards, part as u16) {
            Some(id) => {
                let not_taken = &self.overlaps.nodes[id].free;
                std::array::from_fn(|word| all[word] & not_taken[word])
            }
            None => all,
        }
    }
}

impl Free for View<'_> {
    fn is_free(&self, port: u16) -> bool {
        match self.root {
            None => self.all.is_free(port),
            Some(_) => next(&self.part(place(port) / PART), place(port) % PART) == Some(place(port) % PART),
        }
    }

    fn first_in(&self, places: Range<u32>) -> Option<u32> {
        let Some(root) = self.root else { return self.all.first_in(places) };
        if places.is_empty() {
            return None;
        }
        let (mut part, mut from) = (places.start / PART, places.start % PART);
        // All ports of a part that is not all taken may be withheld, or beyond the address's range.
        while part * PART < places.end {
            if let Some(bit) = next(&self.part(part), from) {
                return Some(part * PART + bit).filter(|place| places.contains(place));
            }
            (part, from) = (next(&root.free, part + 1)?, 0);
        }
        None
    }
}

/// The first bit from `from` on that is set.
fn next(part: &Part, from: u32) -> Option<u32> {
    let mut word = from as usize / 64;
    let mut bits = part.get(word)? & !0 << (from % 64);
    while bits == 0 {
        word += 1;
        bits = *part.get(word)?;
    }
    Some(word as u32 * 64 + bits.trailing_zeros())
}

fn set(part: &mut Part, bit: u32) {
    part[bit as usize / 64] |= 1 << (bit % 64);
}

fn clear(part: &mut Part, bit: u32) {
    part[bit as usize / 64] &= !(1 << (bit % 64));
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const OUTSIDE: u32 = 0xcb00_710a;

    fn towards(remote: u8) -> Towards {
        let remote = Endpoint { address: 0xc633_6400 + u32::from(remote), port: 443 };
        Towards { outside: OUTSIDE, protocol: Protocol::Udp, remote }
    }

    fn secret() -> Secret {
        Secret::new([1, 2, 3, 4])
    }

    proptest! {
        /// Against sets: each remote gets every port of the address once, whatever the others have.
        #[test]
        fn hands_out_each_port_once_towards_each_remote(
            (start, len) in (1u16..65_000, 1u16..600),
            reserved in any::<u16>(),
            steps in prop::collection::vec((0u8..3, any::<u16>(), any::<bool>(), 0u8..5), 1..1500),
        ) {
            let range = start..=start.saturating_add(len);
            let mut all = Ports::new(range.clone());
            all.alloc(reserved);
            let mut random = Random::new(secret());
            let mut overlaps = Overlaps::new(2000, secret(), Pages::Ordinary).unwrap();
            let mut taken: BTreeMap<u8, BTreeSet<u16>> = BTreeMap::new();
            for (remote, inside, parity, give) in steps {
                let mine = taken.entry(remote).or_default();
                if give == 0 && let Some(port) = mine.pop_first() {
                    overlaps.free(towards(remote), port);
                    continue;
                }
                let wish = PortRequest { inside, preserved: true, parity };
                let is_free = range.contains(&inside) && all.is_free(inside) && !mine.contains(&inside);
                match overlaps.alloc(towards(remote), &all, wish, &mut random).unwrap() {
                    Some(port) => {
                        prop_assert!(range.contains(&port) && all.is_free(port) && mine.insert(port));
                        prop_assert!(!is_free || port == inside);
                    }
                    None => prop_assert_eq!(mine.len() as u32, all.free_count()),
                }
            }
            for (remote, ports) in taken {
                ports.into_iter().for_each(|port| overlaps.free(towards(remote), port));
            }
            prop_assert_eq!(overlaps.ids.taken(), 0);
        }
    }

    #[test]
    fn the_last_port_is_found_as_the_first_was() {
        let mut overlaps = Overlaps::new(1 << 16, secret(), Pages::Ordinary).unwrap();
        let all = Ports::new(1..=65535);
        let mut random = Random::new(secret());
        let wish = PortRequest { inside: 5000, preserved: false, parity: true };
        let mut take = |overlaps: &mut Overlaps, remote| {
            overlaps.alloc(towards(remote), &all, wish, &mut random).unwrap()
        };
        let drawn: BTreeSet<u16> = std::iter::from_fn(|| take(&mut overlaps, 0)).collect();
        assert_eq!(drawn.len(), 65535);
        assert!(take(&mut overlaps, 1).is_some());
        for port in (1..65535).step_by(1001) {
            overlaps.free(towards(0), port);
            assert_eq!([take(&mut overlaps, 0), take(&mut overlaps, 0)], [Some(port), None]);
        }
    }

    #[test]
    fn is_hard_to_guess() {
        let mut overlaps = Overlaps::new(1 << 10, secret(), Pages::Ordinary).unwrap();
        let all = Ports::new(1024..=65535);
        let mut random = Random::new(secret());
        let wish = PortRequest { inside: 80, preserved: false, parity: false };
        let mut take = || overlaps.alloc(towards(0), &all, wish, &mut random).unwrap().unwrap();
        let drawn: Vec<u16> = (0..200).map(|_| take()).collect();
        let steps = drawn.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 2).count();
        assert!(steps < 5, "{steps} of 199 ports follow their predecessor");
    }
}
