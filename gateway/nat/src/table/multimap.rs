//! Runs: records that have a key in common. The first of each is in an index, the others are chained behind it; so whether
//! there is one of a key takes one lookup, however many there are.

use std::io;

use crate::table::free_list::{Chains, NIL};
use crate::table::index::{Full, Hash, Index};
use crate::table::memory::{Pages, Region};

/// See the module. The keys are in the caller's records.
pub(crate) struct Runs {
    index: Index,
    chains: Chains,
}

impl Runs {
    /// Room for `capacity` records, each in a run of its own.
    pub(crate) fn new(capacity: u32, pages: Pages) -> io::Result<Runs> {
        Ok(Runs {
            index: Index::with_pages(capacity as usize, pages)?,
            chains: Chains::new(capacity, pages)?,
        })
    }

    /// Memory of so many, octets.
    pub(crate) fn bytes(capacity: u32) -> u64 {
        Index::bytes(capacity as usize) + Chains::bytes(capacity)
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> [&Region; 2] {
        [self.index.region(), self.chains.region()]
    }

    /// Asks for the bucket of a key.
    pub(crate) fn prefetch(&self, hash: Hash) {
        self.index.view().prefetch(hash);
    }

    /// Asks for a record's place in its run.
    pub(crate) fn prefetch_place(&self, id: u32) {
        self.chains.prefetch(id);
    }

    /// The first record of the run whose key `is_it` knows.
    #[inline]
    pub(crate) fn first(&self, hash: Hash, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.index.find(hash, is_it)
    }

    /// Puts a record into the run that begins with `first`, or lets it begin one.
    ///
    /// # Errors
    /// There is no room, and nothing changed.
    #[inline]
    pub(crate) fn add(&mut self, hash: Hash, first: Option<u32>, id: u32) -> Result<(), Full> {
        match first {
            Some(first) => self.chains.insert_after(first, id),
            None => {
                self.index.insert(hash, id)?;
                self.chains.start(id);
            }
        }
        Ok(())
    }

    /// Takes a record out of its run. The one that is first now in its place, where it was the first and another is left.
    pub(crate) fn remove(&mut self, hash: Hash, id: u32) -> Option<u32> {
        let mut first = if self.chains.is_first(id) { id } else { NIL };
        let was_first = first == id;
        self.chains.remove(&mut first, id);
        if !was_first {
            return None;
        }
        self.index.remove(hash, id);
        if first == NIL {
            return None;
        }
        // The place that has just become free is there for it.
        let entered = self.index.insert(hash, first);
        debug_assert_eq!(entered, Ok(()));
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Keys are ids modulo four, all of them in one bucket.
        #[test]
        fn a_key_has_a_first_record_while_it_has_any(steps in prop::collection::vec((0u32..40, any::<bool>()), 1..200)) {
            let mut runs = Runs::new(40, Pages::Ordinary).unwrap();
            let mut there = std::collections::BTreeSet::new();
            for (id, add) in steps {
                let first = runs.first(Hash(0), |other| other % 4 == id % 4);
                if add && there.insert(id) {
                    runs.add(Hash(0), first, id).unwrap();
                } else if !add && there.remove(&id) {
                    let now = runs.remove(Hash(0), id);
                    prop_assert!(now.is_none_or(|now| now % 4 == id % 4 && there.contains(&now)));
                    let left = there.iter().any(|other| other % 4 == id % 4);
                    prop_assert_eq!(now.is_some(), first == Some(id) && left);
                }
                for key in 0..4 {
                    let first = runs.first(Hash(0), |other| other % 4 == key);
                    prop_assert_eq!(first.is_some(), there.iter().any(|other| other % 4 == key));
                }
            }
        }
    }
}
