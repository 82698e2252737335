//! Which blocks of a datagram have been seen.
//!
//! Fragments that overlap are how filters are deceived and reassembly is crashed (RFC 1858, RFC 3128); an honest sender
//! makes none, a network may only repeat one.

use std::ops::Range;

/// Octets in a block: offsets of fragments count in these.
pub const BLOCK: usize = 8;

/// Blocks of the largest datagram.
pub const BLOCKS: usize = 1 << 13;

/// See the module.
#[derive(Clone, Debug)]
pub struct Coverage {
    seen: [u64; BLOCKS / 64],
    /// How many blocks that is.
    count: u16,
    /// Behind the last block seen.
    reach: u16,
    /// Behind the datagram's last block; `None` before its last fragment was seen.
    end: Option<u16>,
}

/// How a fragment goes with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// All of it is new.
    New,
    /// Nothing of it is.
    Duplicate,
    /// A part of it is, or it contradicts what is known of the datagram's end.
    Overlap,
}

impl Coverage {
    /// Nothing seen.
    pub const NOTHING: Coverage = Coverage { seen: [0; BLOCKS / 64], count: 0, reach: 0, end: None };

    /// Takes note of a fragment with these blocks, where it is new. Of the last fragment the last block may be half full.
    ///
    /// # Panics
    /// When the blocks reach beyond [`BLOCKS`].
    pub fn take(&mut self, blocks: &Range<u16>, is_last: bool) -> Fit {
        let beyond = self.end.is_some_and(|end| blocks.end > end || is_last && blocks.end != end);
        if beyond || is_last && self.reach > blocks.end {
            return Fit::Overlap;
        }
        let seen: u32 = words(blocks).map(|(at, mask)| (self.seen[at] & mask).count_ones()).sum();
        if seen > 0 {
            return if seen == u32::from(blocks.end - blocks.start) { Fit::Duplicate } else { Fit::Overlap };
        }
        words(blocks).for_each(|(at, mask)| self.seen[at] |= mask);
        self.count += blocks.end - blocks.start;
        self.reach = self.reach.max(blocks.end);
        if is_last {
            self.end = Some(blocks.end);
        }
        Fit::New
    }

    /// Whether every block up to the end was seen.
    pub fn is_complete(&self) -> bool {
        self.end == Some(self.count)
    }
}

/// The words of the bitmap that hold these blocks, each with their bits.
fn words(blocks: &Range<u16>) -> impl Iterator<Item = (usize, u64)> + use<> {
    let (start, end) = (u32::from(blocks.start), u32::from(blocks.end));
    (start / 64..end.div_ceil(64)).map(move |at| {
        let from = start.saturating_sub(at * 64);
        let behind = ((at + 1) * 64).saturating_sub(end);
        (at as usize, u64::MAX << from & u64::MAX >> behind)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a list of blocks.
        #[test]
        fn says_what_a_list_of_blocks_says(
            pieces in prop::collection::vec((0u16..300, 1u16..150, prop::bool::weighted(0.2)), 1..12),
        ) {
            let (mut coverage, mut list, mut end) = (Coverage::NOTHING, Vec::new(), None);
            for (start, len, is_last) in pieces {
                let blocks = start..start + len;
                let known = blocks.clone().filter(|block| list.contains(block)).count();
                let contradicts = end.is_some_and(|end| blocks.end > end || is_last && blocks.end != end)
                    || is_last && list.iter().any(|&block| block >= blocks.end);
                let expected = match known {
                    _ if contradicts => Fit::Overlap,
                    0 => Fit::New,
                    _ if known == blocks.len() => Fit::Duplicate,
                    _ => Fit::Overlap,
                };
                prop_assert_eq!(coverage.take(&blocks, is_last), expected);
                if expected == Fit::New {
                    list.extend(blocks.clone());
                    end = end.or(is_last.then_some(blocks.end));
                }
                let complete = end.is_some_and(|end| (0..end).all(|block| list.contains(&block)));
                prop_assert_eq!(coverage.is_complete(), complete);
            }
        }
    }

    #[test]
    fn holds_the_largest_datagram() {
        let mut coverage = Coverage::NOTHING;
        let last = BLOCKS as u16 - 1;
        assert_eq!(coverage.take(&(1..last), false), Fit::New);
        assert_eq!(coverage.take(&(last..last + 1), true), Fit::New);
        assert!(!coverage.is_complete());
        assert_eq!(coverage.take(&(0..1), false), Fit::New);
        assert!(coverage.is_complete());
    }
}
