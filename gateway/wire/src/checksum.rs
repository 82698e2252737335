//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A *sum* here is the 16-bit one's complement sum of big-endian words; a *checksum* is the complement of a sum, as
//! it stands in a header. One's complement has two zeros: the sum of words that are not all zero is never `0x0000`,
//! so a checksum is `0xffff` only for a message of nothing but zeros.

use std::net::Ipv4Addr;

/// The sum of `bytes`; an odd last byte counts as the high half of a word.
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    // Summed in the machine's byte order four bytes at a time: RFC 1071 section 2 (B) shows that the swap may wait.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total += u64::from(u32::from_ne_bytes(last));
    fold(total).to_be()
}

/// The one's complement sum of two sums.
#[inline]
pub const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16
}

/// The sum of the pseudo header that TCP and UDP checksums cover (RFC 9293 section 3.1, RFC 768).
#[inline]
pub fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: u16) -> u16 {
    let (src, dst) = (u32::from(src), u32::from(dst));
    fold(u64::from(src) + u64::from(dst) + u64::from(protocol) + u64::from(length))
}

/// What changes in a checksum when words that it covers are replaced.
///
/// Computed once, it may be applied to every packet in which the same words are replaced by the same new ones:
/// a session's rewrite is such a delta.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Delta(u16);

impl Delta {
    /// Nothing replaced.
    #[inline]
    pub const fn new() -> Delta {
        Delta(0)
    }

    /// One word replaced.
    #[inline]
    pub const fn replace_u16(self, old: u16, new: u16) -> Delta {
        Delta(add(self.0, add(!old, new)))
    }

    /// Two words, such as an address, replaced.
    #[inline]
    pub const fn replace_u32(self, old: u32, new: u32) -> Delta {
        self.replace_u16((old >> 16) as u16, (new >> 16) as u16).replace_u16(old as u16, new as u16)
    }

    /// This delta and another, of other words.
    #[inline]
    pub const fn and(self, other: Delta) -> Delta {
        Delta(add(self.0, other.0))
    }

    /// The delta that puts the old words back.
    #[inline]
    pub const fn inverse(self) -> Delta {
        Delta(!self.0)
    }

    /// The delta as it is stored in a session.
    #[inline]
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// A stored delta.
    #[inline]
    pub const fn from_bits(bits: u16) -> Delta {
        Delta(bits)
    }

    /// The new checksum: `HC' = ~(~HC + ~m + m')` (RFC 1624 section 3, equation 3).
    ///
    /// Equal to the checksum computed anew, unless every word is now zero, which no IPv4 header and no pseudo
    /// header allows; `icmpv4::Packet::apply` looks after the ICMP message of zeros.
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !add(!checksum, self.0)
    }

    /// The new UDP checksum: 0 says "not computed" and stays so, and a computed one is never 0 (RFC 768).
    #[inline]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// Adds the carries back in until 16 bits are left.
#[inline]
const fn fold(total: u64) -> u16 {
    let total = (total >> 32) + (total & 0xffff_ffff);
    let total = (total >> 16) + (total & 0xffff);
    let total = (total >> 16) + (total & 0xffff);
    add((total >> 16) as u16, total as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 4.1, word by word.
    fn model(bytes: &[u8]) -> u16 {
        let word = |pair: &[u8]| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        bytes.chunks(2).map(word).fold(0, add)
    }

    #[test]
    fn sums_the_example_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[0xab]), 0xab00);
    }

    #[test]
    fn updates_the_example_of_rfc_1624() {
        // Section 4: HC 0xdd2f, m 0x5555, m' 0x3285; equation 2 gives 0xffff here, equation 3 gives 0.
        assert_eq!(Delta::new().replace_u16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn udp_keeps_no_checksum_and_never_makes_one_up() {
        let delta = Delta::new().replace_u16(0x5555, 0x3285);
        assert_eq!(delta.apply_udp(0), 0);
        assert_eq!(delta.apply_udp(0xdd2f), 0xffff);
        assert_eq!(delta.inverse().apply_udp(0xffff), 0xdd2f);
    }

    proptest! {
        #[test]
        fn sum_is_the_sum_of_words(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(sum(&bytes), model(&bytes));
        }

        #[test]
        fn pseudo_header_is_the_sum_of_its_bytes(src: u32, dst: u32, protocol: u8, length: u16) {
            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&src.to_be_bytes());
            bytes[4..8].copy_from_slice(&dst.to_be_bytes());
            bytes[9] = protocol;
            bytes[10..].copy_from_slice(&length.to_be_bytes());
            prop_assert_eq!(pseudo_header(src.into(), dst.into(), protocol, length), model(&bytes));
        }

        #[test]
        fn delta_equals_computing_anew(
            mut words in prop::collection::vec(prop_oneof![any::<u16>(), Just(0), Just(0xffff)], 1..12),
            changes in prop::collection::vec((any::<prop::sample::Index>(),
                prop_oneof![any::<u16>(), Just(0), Just(0xffff)]), 0..6),
        ) {
            let fresh = |words: &[u16]| !words.iter().copied().fold(0, add);
            let before = fresh(&words);
            prop_assume!(words.iter().any(|&w| w != 0));
            let mut delta = Delta::new();
            for (at, new) in changes {
                let at = at.index(words.len());
                let old = &mut words[at];
                delta = delta.replace_u16(*old, new);
                *old = new;
            }
            prop_assume!(words.iter().any(|&w| w != 0));
            prop_assert_eq!(delta.apply(before), fresh(&words));
            prop_assert_eq!(delta.inverse().apply(delta.apply(before)), before);
            prop_assert_eq!(Delta::from_bits(delta.to_bits()).apply(before), fresh(&words));
        }

        #[test]
        fn a_u32_is_two_words(checksum: u16, old: u32, new: u32) {
            let words = Delta::new()
                .replace_u16((old >> 16) as u16, (new >> 16) as u16)
                .replace_u16(old as u16, new as u16);
            prop_assert_eq!(Delta::new().replace_u32(old, new).apply(checksum), words.apply(checksum));
        }
    }
}
