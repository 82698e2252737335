//! The index: from a key's hash to the ids that may carry that key.
//!
//! Flat, sized once, never rehashed. A bucket is one cache line of eight tags and eight ids:
//!
//! ```text
//! | tag 0..7 (16 bit, 0 = free) | id 0..7 (32 bit) | displaced | spare |
//!   0                        15  16             47   48..49      50..63
//! ```
//!
//! An entry lives in its home bucket, or, when that is full, in one of the next [`PROBE`] buckets; the home
//! bucket counts its displaced entries, so a lookup goes on only while the home bucket says that there are any, and a
//! removal leaves no tombstone. At half load 2 % of the buckets overflow.
//!
//! Keys are not here: the caller compares them in its own record. So a lookup has two stages that a burst can
//! prefetch apart: the bucket ([`View::prefetch`]), then the record of [`View::candidate`].

use std::io;

use bytemuck::{Pod, Zeroable};

use crate::table::cpu::{equal, prefetch};
use crate::table::memory::{Pages, Region, Slab};

/// Slots in a bucket.
const SLOTS: usize = 8;
/// How many buckets an entry may stand in, its home included.
const PROBE: usize = 32;

#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Bucket {
    tags: [u16; SLOTS],
    ids: [u32; SLOTS],
    displaced: u16,
    spare: [u16; 7],
}
const _: () = assert!(size_of::<Bucket>() == 64 && align_of::<Bucket>() == 64);

impl Bucket {
    /// Bits `2i` and `2i + 1` are set where slot `i` carries `tag`.
    #[inline(always)]
    fn matches(&self, tag: u16) -> u32 {
        equal(&self.tags, tag)
    }
}

/// The first slot of a mask that [`Bucket::matches`] returned and that is not 0.
#[inline(always)]
fn first_slot(mask: u32) -> usize {
    (mask.trailing_zeros() as usize / 2) & (SLOTS - 1)
}

/// A keyed hash as the index takes it: which bucket is home, and which tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub u64);

impl Hash {
    #[inline(always)]
    fn tag(self) -> u16 {
        self.0 as u16 | 1
    }
}

/// The index could not take another entry: every bucket in reach of its home is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A power of two, so that a hash finds its home by a mask: from two to four places an entry.
fn buckets(entries: usize) -> usize {
    (entries * 2).div_ceil(SLOTS).next_power_of_two().max(PROBE)
}

/// See the module.
pub struct Index {
    buckets: Slab<Bucket>,
    mask: usize,
}

impl Index {
    /// An index for `entries` entries at no more than half load.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn new(entries: usize) -> io::Result<Index> {
        Index::with_pages(entries, Pages::default())
    }

    /// As [`Index::new`], in these pages.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn with_pages(entries: usize, pages: Pages) -> io::Result<Index> {
        let buckets = buckets(entries);
        Ok(Index { buckets: Slab::new(buckets, pages)?, mask: buckets - 1 })
    }

    /// Memory of one for so many entries, octets.
    pub(crate) fn bytes(entries: usize) -> u64 {
        Slab::<Bucket>::bytes(buckets(entries))
    }

    /// Its memory.
    pub(crate) fn region(&self) -> &Region {
        self.buckets.region()
    }

    #[inline(always)]
    fn home(&self, hash: Hash) -> usize {
        (hash.0 >> 16) as usize & self.mask
    }

    /// What the stages of a burst look at; taken once a stage.
    #[inline(always)]
    pub fn view(&self) -> View<'_> {
        View { buckets: self.buckets.as_slice(), index: self }
    }

    /// The id that `is_it` accepts, among those that may carry the key.
    #[inline(always)]
    pub fn find(&self, hash: Hash, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let buckets = self.buckets.as_slice();
        let home = self.home(hash);
        let reach = if buckets[home].displaced == 0 { 1 } else { PROBE };
        for step in 0..reach {
            let bucket = &buckets[(home + step) & self.mask];
            let mut mask = bucket.matches(hash.tag());
            while mask != 0 {
                let slot = first_slot(mask);
                if is_it(bucket.ids[slot]) {
                    return Some(bucket.ids[slot]);
                }
                mask &= !(3 << (2 * slot));
            }
        }
        None
    }

    /// Enters `id` under `hash`. The caller knows that the key is not there yet.
    ///
    /// # Errors
    /// [`Full`].
    pub fn insert(&mut self, hash: Hash, id: u32) -> Result<(), Full> {
        let home = self.home(hash);
        let mask = self.mask;
        let buckets = self.buckets.as_mut_slice();
        for step in 0..PROBE {
            let bucket = &mut buckets[(home + step) & mask];
            let free = bucket.matches(0);
            if free != 0 {
                let slot = first_slot(free);
                bucket.tags[slot] = hash.tag();
                bucket.ids[slot] = id;
                if step != 0 {
                    buckets[home].displaced += 1;
                }
                return Ok(());
            }
        }
        Err(Full)
    }

    /// Takes out the entry that [`Index::insert`] made for `hash` and `id`.
    pub fn remove(&mut self, hash: Hash, id: u32) {
        let home = self.home(hash);
        let mask = self.mask;
        let buckets = self.buckets.as_mut_slice();
        for step in 0..PROBE {
            let bucket = &mut buckets[(home + step) & mask];
            for slot in 0..SLOTS {
                if bucket.tags[slot] == hash.tag() && bucket.ids[slot] == id {
                    bucket.tags[slot] = 0;
                    if step != 0 {
                        buckets[home].displaced = buckets[home].displaced.saturating_sub(1);
                    }
                    return;
                }
            }
        }
        debug_assert!(false, "removed an entry that is not in the index");
    }
}

/// An [`Index`] whose buckets are at hand.
#[derive(Clone, Copy)]
pub struct View<'a> {
    buckets: &'a [Bucket],
    index: &'a Index,
}

impl View<'_> {
    /// First stage: asks for the home bucket's line.
    #[inline(always)]
    pub fn prefetch(&self, hash: Hash) {
        prefetch(&self.buckets[self.index.home(hash)]);
    }

    /// Second stage: the first id in the home bucket whose tag fits, nearly always the right one, where there is one.
    #[inline(always)]
    pub fn candidate(&self, hash: Hash) -> Option<u32> {
        let bucket = &self.buckets[self.index.home(hash)];
        let mask = bucket.matches(hash.tag());
        (mask != 0).then(|| bucket.ids[first_slot(mask)])
    }

    /// As [`View::candidate`], for entries that stand beyond their home bucket.
    #[cold]
    pub fn displaced_candidate(&self, hash: Hash) -> Option<u32> {
        self.index.find(hash, |_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Against a map: hashes from a small set, so that tags and homes collide and buckets overflow.
        #[test]
        fn behaves_as_a_map(steps in proptest::collection::vec((0u64..64, any::<bool>()), 1..600)) {
            let mut index = Index::new(128).unwrap();
            let mut model: HashMap<u32, u64> = HashMap::new();
            let hash = |key: u64| Hash((key % 3) << 16 | (key % 5) << 1);
            for (key, add) in steps {
                let id = key as u32;
                if add && !model.contains_key(&id) {
                    prop_assert!(index.insert(hash(key), id).is_ok());
                    model.insert(id, key);
                } else if !add && model.remove(&id).is_some() {
                    index.remove(hash(key), id);
                }
                for key in 0..64u64 {
                    let found = index.find(hash(key), |id| id == key as u32);
                    prop_assert_eq!(found, model.get(&(key as u32)).map(|_| key as u32));
                }
            }
        }
    }

    #[test]
    fn says_when_it_is_full() {
        let mut index = Index::new(16).unwrap();
        let slots = (PROBE * SLOTS) as u32;
        assert!((0..slots).all(|id| index.insert(Hash(0), id).is_ok()));
        assert_eq!(index.insert(Hash(0), slots), Err(Full));
        index.remove(Hash(0), slots / 2);
        assert_eq!(index.insert(Hash(0), slots), Ok(()));
    }
}
