//! Memory for tables: zeroed, sized once, in huge pages where the kernel gives them.

use std::io;
use std::marker::PhantomData;

use bytemuck::Pod;
use memmap2::{Advice, MmapMut};

/// A fixed array of plain records on pages of its own.
///
/// Pages are aligned beyond any record, and records are [`Pod`], so the view is a checked cast and never a copy.
pub(crate) struct Lines<T> {
    map: MmapMut,
    bytes: usize,
    record: PhantomData<T>,
}

impl<T: Pod> Lines<T> {
    /// `len` zeroed records.
    pub(crate) fn new(len: usize) -> io::Result<Lines<T>> {
        let bytes = len * size_of::<T>();
        let map = MmapMut::map_anon(bytes.max(1))?;
        // A kernel without transparent huge pages refuses; ordinary pages serve as well, only slower.
        let _ = map.advise(Advice::HugePage);
        Ok(Lines { map, bytes, record: PhantomData })
    }

    /// The records. Hot loops take this once a burst.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        bytemuck::cast_slice(&self.map[..self.bytes])
    }

    /// The records. Hot loops take this once a burst.
    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.map[..self.bytes])
    }
}

impl<T: Pod> std::ops::Index<u32> for Lines<T> {
    type Output = T;
    #[inline]
    fn index(&self, id: u32) -> &T {
        &self.as_slice()[id as usize]
    }
}

impl<T: Pod> std::ops::IndexMut<u32> for Lines<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.as_mut_slice()[id as usize]
    }
}

/// Hands out the ids `0..capacity`, the last freed first (its line is still warm).
pub(crate) struct Ids {
    freed: Vec<u32>,
    fresh: u32,
    capacity: u32,
}

impl Ids {
    /// All of `0..capacity` free.
    pub(crate) fn new(capacity: u32) -> Ids {
        Ids { freed: Vec::with_capacity(capacity as usize), fresh: 0, capacity }
    }

    /// A free id, or `None` when all are taken.
    pub(crate) fn take(&mut self) -> Option<u32> {
        self.freed.pop().or_else(|| {
            (self.fresh < self.capacity).then(|| {
                self.fresh += 1;
                self.fresh - 1
            })
        })
    }

    /// Gives `id`, which [`Ids::take`] handed out, back.
    pub(crate) fn give(&mut self, id: u32) {
        debug_assert!(id < self.fresh && self.freed.len() < self.capacity as usize);
        self.freed.push(id);
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> u32 {
        self.fresh - self.freed.len() as u32
    }

    /// Whether none is free.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.freed.is_empty() && self.fresh == self.capacity
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
    links: Lines<[u32; 2]>,
}

const NEXT: usize = 0;
const PREV: usize = 1;

impl Chains {
    /// Links for the ids `0..capacity`.
    pub(crate) fn new(capacity: u32) -> io::Result<Chains> {
        Ok(Chains { links: Lines::new(capacity as usize)? })
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
        let mut ids = Ids::new(3);
        let all: Vec<_> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!(all, [0, 1, 2]);
        assert!(ids.is_exhausted());
        ids.give(1);
        assert_eq!((ids.taken(), ids.take(), ids.take()), (2, Some(1), None));
    }

    #[test]
    fn chains_keep_their_order_when_the_middle_leaves() {
        let mut chains = Chains::new(4).unwrap();
        let mut head = NIL;
        for id in 0..4 {
            chains.push(&mut head, id);
        }
        chains.remove(&mut head, 2);
        chains.remove(&mut head, 3);
        let mut seen = Vec::new();
        let mut at = head;
        while at != NIL {
            seen.push(at);
            at = chains.next(at);
        }
        assert_eq!(seen, [1, 0]);
    }
}
