//! The Toeplitz hash of RSS over the IPv4 pair, and keys that make it depend on one address only.
//!
//! Bit `i` of the input (source, then destination, the highest bit first) XORs the key's bits `i` to `i + 31` into
//! the hash. A redirection table (RETA) of 2ⁿ entries looks at the low `n` bits of the hash only: they take the
//! key's bits `i + 32 - n` to `i + 31`. So the destination's bits (32 to 63) do not count when the key's bits
//! `64 - n` to `94` are zero, nor the source's (0 to 31) when `32 - n` to `62` are:
//!
//! ```text
//! key bit        0        32-n          62 64-n            94
//! by source      |  random  |   random    |  0 ... ... ... 0 |
//! by destination |  random  | 0 ... ... 0 |      random      |
//! ```
//!
//! By source, address bit `j < n` reaches the index bits `n - 1 - j` and above alone, for the zeros begin behind: the
//! lowest address bits decide the highest index bits, and the RETA must be filled by those.

/// Which address decides the low bits of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source address: for the inside port.
    Source,
    /// The destination address: for the outside port.
    Destination,
}

impl Side {
    /// The first input bit of this address.
    const fn first_bit(self) -> u32 {
        match self {
            Side::Source => 0,
            Side::Destination => 32,
        }
    }

    const fn other(self) -> Side {
        match self {
            Side::Source => Side::Destination,
            Side::Destination => Side::Source,
        }
    }
}

/// A key as a NIC takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The octets that matter to the IPv4 pair: 64 bits of input, each with 32 bits of key.
    pub const LEN_MIN: usize = 12;

    /// A given key; `None` when it is shorter than [`Key::LEN_MIN`].
    pub fn new(octets: &[u8]) -> Option<Key> {
        (octets.len() >= Key::LEN_MIN).then(|| Key(octets.into()))
    }

    /// Draws a key of `len` octets for which the low `index_bits` of the hash depend on `side` alone and spread
    /// neighbouring addresses over all values: see [`Key::spreads`].
    pub(super) fn draw(side: Side, index_bits: u32, len: usize, random: &mut Random) -> Key {
        let unused = side.other().first_bit() + 32 - index_bits..side.other().first_bit() + 63;
        loop {
            let mut octets: Box<[u8]> = (0..len.max(Key::LEN_MIN)).map(|_| random.next() as u8).collect();
            for bit in unused.clone() {
                octets[bit as usize / 8] &= !(0x80 >> (bit % 8));
            }
            let key = Key(octets);
            // About one key in ten does.
            if key.spreads(side, index_bits) {
                return key;
            }
        }
    }

    /// The octets. A NIC with shorter keys may be given their first [`Key::LEN_MIN`] and more: to the IPv4 pair it is
    /// the same key.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Do 2ⁿ addresses in a row reach each of the 2ⁿ index values once, whether they follow one another in steps of
    /// 1, 2 (point-to-point links), 4 or 256 (one host a subnet)?
    pub fn spreads(&self, side: Side, index_bits: u32) -> bool {
        let mask = (1 << index_bits) - 1;
        [0, 1, 2, 8].into_iter().all(|step| {
            let columns =
                (step..step + index_bits).map(|bit| self.window(side.first_bit() + 31 - bit) & mask);
            are_independent(columns)
        })
    }

    /// What input bit `bit` XORs into the hash.
    fn window(&self, bit: u32) -> u32 {
        let mut front = [0; 16];
        front[..Key::LEN_MIN].copy_from_slice(&self.0[..Key::LEN_MIN]);
        (u128::from_be_bytes(front) >> (96 - bit)) as u32
    }
}

/// Are these vectors over the field of two elements linearly independent?
fn are_independent(vectors: impl Iterator<Item = u32>) -> bool {
    let mut basis = [0_u32; 32];
    for mut vector in vectors {
        loop {
            if vector == 0 {
                return false;
            }
            let pivot = &mut basis[vector.ilog2() as usize];
            if *pivot == 0 {
                *pivot = vector;
                break;
            }
            vector ^= *pivot;
        }
    }
    true
}

/// One address's part of the hash, an octet a step.
#[derive(Clone)]
pub struct Toeplitz(Box<[[u32; 256]; 4]>);

impl Toeplitz {
    /// The part of one address. The hash of a pair is the XOR of both parts.
    pub fn new(key: &Key, side: Side) -> Toeplitz {
        let mut tables = Box::new([[0; 256]; 4]);
        for (octet, table) in (0..).zip(tables.iter_mut()) {
            for (value, entry) in (0_u32..).zip(table.iter_mut()) {
                let set = (0..8).filter(|bit| value & 0x80 >> bit != 0);
                *entry = set.fold(0, |hash, bit| hash ^ key.window(side.first_bit() + octet * 8 + bit));
            }
        }
        Toeplitz(tables)
    }

    /// The source address's part.
    pub fn by_source(key: &Key) -> Toeplitz {
        Toeplitz::new(key, Side::Source)
    }

    /// The destination address's part.
    pub fn by_destination(key: &Key) -> Toeplitz {
        Toeplitz::new(key, Side::Destination)
    }

    /// This part of the hash for `address`.
    #[inline]
    pub fn hash(&self, address: u32) -> u32 {
        let [a, b, c, d] = address.to_be_bytes();
        let [ta, tb, tc, td] = &*self.0;
        ta[usize::from(a)] ^ tb[usize::from(b)] ^ tc[usize::from(c)] ^ td[usize::from(d)]
    }
}

impl std::fmt::Debug for Toeplitz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Toeplitz").finish_non_exhaustive()
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): spreads a secret seed over a key.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The key of Microsoft's "Verifying the RSS Hash Calculation".
    const MICROSOFT: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn hashes_the_published_pairs() {
        let key = Key::new(&MICROSOFT).unwrap();
        for (src, dst, hash) in [
            ([66, 9, 149, 187], [161, 142, 100, 80], 0x323e_8fc2),
            ([199, 92, 111, 2], [65, 69, 140, 83], 0xd718_262a),
            ([24, 19, 198, 95], [12, 22, 207, 184], 0xd2d0_a5de),
            ([38, 27, 205, 30], [209, 142, 163, 6], 0x8298_9176),
            ([153, 39, 163, 191], [202, 188, 127, 2], 0x5d18_09c5),
        ] {
            let by_source = Toeplitz::by_source(&key).hash(u32::from_be_bytes(src));
            let by_destination = Toeplitz::by_destination(&key).hash(u32::from_be_bytes(dst));
            assert_eq!(by_source ^ by_destination, hash);
        }
    }

    #[test]
    fn refuses_a_short_key() {
        assert_eq!(Key::new(&MICROSOFT[..11]), None);
        assert!(Key::new(&MICROSOFT[..12]).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_drawn_key_ignores_the_other_address(seed: u64, index_bits in 4_u32..=11, long: bool, other: u32) {
            let mask = (1 << index_bits) - 1;
            for side in [Side::Source, Side::Destination] {
                let key = Key::draw(side, index_bits, if long { 52 } else { 40 }, &mut Random::new(seed));
                prop_assert_eq!(key.octets().len(), if long { 52 } else { 40 });
                prop_assert_eq!(Toeplitz::new(&key, side.other()).hash(other) & mask, 0);
            }
        }

        #[test]
        fn neighbours_reach_every_entry_once(seed: u64, index_bits in 4_u32..=11, start: u32) {
            for side in [Side::Source, Side::Destination] {
                let toeplitz = Toeplitz::new(&Key::draw(side, index_bits, 40, &mut Random::new(seed)), side);
                for step in [0, 1, 2, 8] {
                    let first = start & !((1 << (index_bits + step)) - 1);
                    let mut seen = vec![false; 1 << index_bits];
                    for neighbour in 0..1_u32 << index_bits {
                        seen[toeplitz.hash(first + (neighbour << step)) as usize & ((1 << index_bits) - 1)] = true;
                    }
                    prop_assert!(seen.iter().all(|&seen| seen), "{side:?}, step {}", 1 << step);
                }
            }
        }
    }
}
