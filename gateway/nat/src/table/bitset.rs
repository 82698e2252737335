//! A set of small numbers, of which any can be drawn.

use crate::table::hash::Random;

/// See the module.
pub(crate) struct Bits {
    /// Number `i` is bit `i % 64` of word `i / 64`.
    words: Box<[u64]>,
    len: usize,
}

impl Bits {
    /// None of `0..len`.
    pub(crate) fn new(len: usize) -> Bits {
        Bits { words: vec![0; len.div_ceil(64)].into(), len }
    }

    /// The numbers that it may have are those below.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Has what `fewer` has, whose numbers are fewer.
    pub(crate) fn take_over(&mut self, fewer: &Bits) {
        self.words[..fewer.words.len()].copy_from_slice(&fewer.words);
    }

    /// Puts `at` in, or takes it out.
    #[inline]
    pub(crate) fn set(&mut self, at: usize, is_in: bool) {
        let word = &mut self.words[at / 64];
        if is_in {
            *word |= 1 << (at % 64);
        } else {
            *word &= !(1 << (at % 64));
        }
    }

    /// Whether it has `at`, or any where that is `None`.
    pub(crate) fn has(&self, at: Option<usize>) -> bool {
        match at {
            Some(at) => self.words[at / 64] >> (at % 64) & 1 != 0,
            None => self.words.iter().any(|&word| word != 0),
        }
    }

    /// One of them: the first from a random start on, around the end.
    #[inline]
    pub(crate) fn any(&self, random: &mut Random) -> Option<usize> {
        let start = random.below(self.len as u32) as usize;
        let masked = self.words.get(start / 64)? & !0 << (start % 64);
        if masked != 0 {
            return Some(start / 64 * 64 + masked.trailing_zeros() as usize);
        }
        let words = self.words.len();
        (1..=words)
            .map(|step| (start / 64 + step) % words)
            .find(|&word| self.words[word] != 0)
            .map(|word| word * 64 + self.words[word].trailing_zeros() as usize)
    }
}
