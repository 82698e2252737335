//! Ids of records: who is free, and who belongs together.

use std::io;

use crate::table::cpu::prefetch;
use crate::table::memory::{Pages, Region, Slab};

/// Hands out the ids `0..capacity`, the last freed first (its line is still warm).
pub(crate) struct Ids {
    /// A stack: the first `depth` of them.
    freed: Slab<u32>,
    depth: u32,
    fresh: u32,
    capacity: u32,
}

impl Ids {
    /// All of `0..capacity` free.
    pub(crate) fn new(capacity: u32, pages: Pages) -> io::Result<Ids> {
        Ok(Ids { freed: Slab::new(capacity as usize, pages)?, depth: 0, fresh: 0, capacity })
    }

    /// Memory of so many, octets.
    pub(crate) const fn bytes(capacity: u32) -> u64 {
        Slab::<u32>::bytes(capacity as usize)
    }

    /// A free id, or `None` when all are taken.
    pub(crate) fn alloc(&mut self) -> Option<u32> {
        let id = self.peek(0)?;
        if self.depth > 0 {
            self.depth -= 1;
        } else {
            self.fresh += 1;
        }
        Some(id)
    }

    /// The id that [`Ids::alloc`] will hand out after `ahead` others.
    pub(crate) fn peek(&self, ahead: u32) -> Option<u32> {
        match self.depth.checked_sub(ahead + 1) {
            Some(top) => Some(self.freed[top]),
            None => Some(self.fresh + (ahead - self.depth)).filter(|&id| id < self.capacity),
        }
    }

    /// Gives `id`, which [`Ids::alloc`] handed out, back.
    pub(crate) fn free(&mut self, id: u32) {
        debug_assert!(id < self.fresh && self.depth < self.fresh);
        self.freed[self.depth] = id;
        self.depth += 1;
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> u32 {
        self.fresh - self.depth
    }

    /// Whether none is free.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.depth == 0 && self.fresh == self.capacity
    }

    /// The memory of the stack.
    pub(crate) fn region(&self) -> &Region {
        self.freed.region()
    }

    /// The ids that were ever handed out: `0..high_water`.
    pub(crate) fn high_water(&self) -> u32 {
        self.fresh
    }
}

/// No id.
pub(crate) const NIL: u32 = u32::MAX;

/// Doubly linked lists threaded through ids; each id is in at most one list of one `Chains`.
pub(crate) struct Chains {
    links: Slab<[u32; 2]>,
}

const NEXT: usize = 0;
const PREV: usize = 1;

impl Chains {
    /// Links for the ids `0..capacity`.
    pub(crate) fn new(capacity: u32, pages: Pages) -> io::Result<Chains> {
        Ok(Chains { links: Slab::new(capacity as usize, pages)? })
    }

    /// Memory of so many, octets.
    pub(crate) const fn bytes(capacity: u32) -> u64 {
        Slab::<[u32; 2]>::bytes(capacity as usize)
    }

    /// Takes over what `fewer` say of the ids that they have.
    pub(crate) fn take_over(&mut self, fewer: &Chains) {
        let known = fewer.links.as_slice();
        self.links.as_mut_slice()[..known.len()].copy_from_slice(known);
    }

    /// Their memory.
    pub(crate) fn region(&self) -> &Region {
        self.links.region()
    }

    /// Asks for the links of `id`.
    pub(crate) fn prefetch(&self, id: u32) {
        prefetch(&self.links[id]);
    }

    /// Asks for the links of `id`, where it is one.
    pub(crate) fn try_prefetch(&self, id: u32) {
        if let Some(links) = self.links.as_slice().get(id as usize) {
            prefetch(links);
        }
    }

    /// Asks for the links of those before and behind `id`.
    pub(crate) fn prefetch_neighbours(&self, id: u32) {
        self.links[id].into_iter().for_each(|id| self.try_prefetch(id));
    }

    /// Starts a list of `id` alone.
    pub(crate) fn start(&mut self, id: u32) {
        self.links[id] = [NIL; 2];
    }

    /// Puts `id` first in the list that starts at `head`.
    pub(crate) fn push(&mut self, head: &mut u32, id: u32) {
        let links = self.links.as_mut_slice();
        links[id as usize] = [*head, NIL];
        if *head != NIL {
            links[*head as usize][PREV] = id;
        }
        *head = id;
    }

    /// Puts `id` behind `before`, which is in a list.
    pub(crate) fn insert_after(&mut self, before: u32, id: u32) {
        let links = self.links.as_mut_slice();
        let next = links[before as usize][NEXT];
        links[id as usize] = [next, before];
        links[before as usize][NEXT] = id;
        if next != NIL {
            links[next as usize][PREV] = id;
        }
    }

    /// Whether `id`, which is in a list, is its first.
    pub(crate) fn is_first(&self, id: u32) -> bool {
        self.links[id][PREV] == NIL
    }

    /// Takes `id` out of the list that starts at `head`.
    pub(crate) fn remove(&mut self, head: &mut u32, id: u32) {
        let links = self.links.as_mut_slice();
        let [next, prev] = links[id as usize];
        if prev == NIL {
            debug_assert_eq!(*head, id);
            *head = next;
        } else {
            links[prev as usize][NEXT] = next;
        }
        if next != NIL {
            links[next as usize][PREV] = prev;
        }
    }

    /// The one before `id`, or [`NIL`].
    pub(crate) fn previous(&self, id: u32) -> u32 {
        self.links[id][PREV]
    }

    /// The one after `id`, or [`NIL`].
    pub(crate) fn next(&self, id: u32) -> u32 {
        self.links[id][NEXT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_handed_out_once() {
        let mut ids = Ids::new(3, Pages::Ordinary).unwrap();
        let all: Vec<_> = std::iter::from_fn(|| ids.alloc()).collect();
        assert_eq!(all, [0, 1, 2]);
        assert!(ids.is_exhausted());
        ids.free(1);
        assert_eq!((ids.taken(), ids.alloc(), ids.alloc()), (2, Some(1), None));
    }

    #[test]
    fn chains_keep_their_order_when_the_middle_leaves() {
        let mut chains = Chains::new(4, Pages::Ordinary).unwrap();
        let mut head = NIL;
        for id in 0..4 {
            chains.push(&mut head, id);
        }
        chains.remove(&mut head, 2);
        chains.remove(&mut head, 3);
        chains.insert_after(1, 3);
        chains.insert_after(0, 2);
        let some = |id| (id != NIL).then_some(id);
        let seen: Vec<u32> = std::iter::successors(some(head), |&id| some(chains.next(id))).collect();
        assert_eq!(seen, [1, 3, 0, 2]);
        assert_eq!([0, 1, 2, 3].map(|id| chains.is_first(id)), [false, true, false, false]);
    }
}
