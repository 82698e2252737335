//! Keyed hashing of flows and endpoints.
//!
//! The secret is drawn at start, so that nobody outside can choose packets that share a bucket. Two folded
//! 64 x 64 bit multiplications a key.

use crate::table::index::Hash;

/// The secret that keys every hash of a shard.
#[derive(Clone, Copy)]
pub struct Secret([u64; 4]);

/// Binary digits of pi: they keep the multiplications strong even where a caller's numbers are small.
const SPREAD: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

impl Secret {
    /// A secret from 256 random bits.
    pub fn new(bits: [u64; 4]) -> Secret {
        Secret(std::array::from_fn(|i| bits[i] ^ SPREAD[i]))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Secret {
    /// Two numbers. What is hashed for one purpose differs from what is for another in the upper half of `b`:
    ///
    /// ```text
    /// flow 0..2^32 << 32 (ports) | mapping 1 | pair 2 | random 3 | filter 4 | datagram 5 | overlap 6 | shared port 7
    /// ```
    #[inline(always)]
    pub(crate) fn hash(&self, a: u64, b: u64) -> Hash {
        let [k0, k1, k2, k3] = self.0;
        Hash(fold(fold(a ^ k0, b ^ k1) ^ k2, k3))
    }

    /// Two numbers: a subscriber's address and what is asked of it.
    pub(crate) fn pair(&self, a: u32, b: u32) -> Hash {
        self.hash(u64::from(a) << 32 | u64::from(b), 2 << 32)
    }
}

/// A small generator for choices that must be hard to guess from outside (RFC 6056), keyed like the hashes.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    secret: Secret,
    step: u64,
}

/// A point in a [`Random`]'s sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Random {
    pub(crate) fn new(secret: Secret) -> Random {
        Random { secret, step: 0 }
    }

    /// Where it stands.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.step)
    }

    /// Takes it back to where it stood: nothing that it gave since was used.
    pub(crate) fn rewind(&mut self, mark: Mark) {
        self.step = mark.0;
    }

    /// The next number in `0..bound`; 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        self.step = self.step.wrapping_add(1);
        let bits = self.secret.hash(self.step, 3 << 32).0 >> 32;
        ((bits * u64::from(bound)) >> 32) as u32
    }
}
