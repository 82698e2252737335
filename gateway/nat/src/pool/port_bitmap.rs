//! The free ports of one outside address and protocol.
//!
//! A bitmap with a summary above it, so that the next free port from any start is found in a bounded number of
//! steps, up to the last one. Even ports stand in the first half and odd ones in the second, so that parity
//! (RFC 4787 REQ-4) is a range like any other.

use std::ops::{Range, RangeInclusive};

use crate::table::cpu::prefetch;
use crate::table::hash::Random;

const HALF: u32 = 1 << 15;
const WORDS: usize = 1024;
const PART_WORDS: usize = 4;

/// 256 bits, one a place: a 256th part of all places, or one bit for each such part.
pub(crate) type Part = [u64; PART_WORDS];
/// Places in a [`Part`].
pub(crate) const PART: u32 = 256;

/// See the module.
pub(crate) struct Ports {
    words: Box<[u64; WORDS]>,
    /// Bit `w % 64` of word `w / 64` is set where `words[w]` has a free port.
    summary: [u64; WORDS / 64],
    range: RangeInclusive<u16>,
    /// Which ports of the range may be handed out at all; all of them where it is not there.
    allowed: Option<Box<[u64; WORDS]>>,
    free: u32,
}

/// Where a port stands in the bitmap.
pub(crate) const fn place(port: u16) -> u32 {
    (port as u32 >> 1) | (port as u32 & 1) << 15
}

const fn port_at(place: u32) -> u16 {
    ((place & (HALF - 1)) << 1 | place >> 15) as u16
}

/// The privileged range, which is not mixed with the rest (RFC 4787 REQ-3a).
pub(crate) const WELL_KNOWN: RangeInclusive<u16> = 0..=1023;

impl Ports {
    /// All of `range` free.
    #[cfg(test)]
    pub(crate) fn new(range: RangeInclusive<u16>) -> Ports {
        Ports::of(range.clone(), std::iter::once(range))
    }

    /// Of `range` these parts free, none of which overlap (0 excepted: no port and, for ICMP, no identifier worth risking).
    pub(crate) fn of(range: RangeInclusive<u16>, parts: impl Iterator<Item = RangeInclusive<u16>>) -> Ports {
        let words = bitmap(parts);
        let mut summary = [0; WORDS / 64];
        for (word, bits) in words.iter().enumerate() {
            summary[word / 64] |= u64::from(*bits != 0) << (word % 64);
        }
        let free = words.iter().map(|bits| bits.count_ones()).sum();
        Ports { words, summary, range, allowed: None, free }
    }

    /// How many are free.
    pub(crate) fn free_count(&self) -> u32 {
        self.free
    }

    /// Asks for the line where `port` stands.
    pub(crate) fn prefetch(&self, port: u16) {
        prefetch(&self.words[place(port) as usize / 64]);
    }

    /// Takes `port`; false where it is not free.
    pub(crate) fn alloc(&mut self, port: u16) -> bool {
        let is_free = self.is_free(port);
        if is_free {
            self.remove(port);
        }
        is_free
    }

    /// Keeps `port` from being handed out from now on; whether it was free.
    pub(crate) fn withhold(&mut self, port: u16) -> bool {
        if self.range.contains(&port) {
            let place = place(port);
            self.keep_within()[place as usize / 64] &= !(1 << (place % 64));
        }
        self.alloc(port)
    }

    /// Notes which ports may be handed out, so that no other one that is given back will be.
    fn keep_within(&mut self) -> &mut [u64; WORDS] {
        let range = &self.range;
        self.allowed.get_or_insert_with(|| Box::new(std::array::from_fn(|word| in_range(range, word))))
    }

    /// Whether `port` may be handed out at all.
    pub(crate) fn allows(&self, port: u16) -> bool {
        let place = place(port);
        self.allowed(place as usize / 64) >> (place % 64) & 1 != 0
    }

    fn allowed(&self, word: usize) -> u64 {
        self.allowed.as_ref().map_or_else(|| in_range(&self.range, word), |allowed| allowed[word])
    }

    /// Lets `allowed` be handed out from now on. What is in use stays so; what is not allowed any more will not be free when it
    /// is given back. Leaves in `allowed` what was before.
    pub(crate) fn allow(&mut self, allowed: &mut Allowed) {
        self.free = 0;
        self.summary = [0; WORDS / 64];
        for word in 0..WORDS {
            let in_use = self.allowed(word) & !self.words[word];
            let free = allowed.word(word) & !in_use;
            self.words[word] = free;
            self.free += free.count_ones();
            self.summary[word / 64] |= u64::from(free != 0) << (word % 64);
        }
        std::mem::swap(&mut self.range, &mut allowed.range);
        std::mem::swap(&mut self.allowed, &mut allowed.ports);
    }

    /// Takes `port`, which is free.
    fn remove(&mut self, port: u16) {
        let place = place(port);
        let word = place as usize / 64;
        self.words[word] &= !(1 << (place % 64));
        if self.words[word] == 0 {
            self.summary[word / 64] &= !(1 << (word % 64));
        }
        self.free -= 1;
    }

    /// Makes `port`, which is not free, free again, where it may be handed out still.
    pub(crate) fn free(&mut self, port: u16) {
        debug_assert!(!self.is_free(port));
        let place = place(port);
        let word = place as usize / 64;
        let is_allowed = match &self.allowed {
            Some(allowed) => allowed[word] >> (place % 64) & 1 != 0,
            None => self.range.contains(&port),
        };
        if !is_allowed {
            return;
        }
        self.words[word] |= 1 << (place % 64);
        self.summary[word / 64] |= 1 << (word % 64);
        self.free += 1;
    }

    /// The range that they are of.
    pub(crate) fn range(&self) -> &RangeInclusive<u16> {
        &self.range
    }

    /// The places of a [`Part`] that are free.
    pub(crate) fn part(&self, part: u32) -> Part {
        let words = &self.words[part as usize * PART_WORDS..][..PART_WORDS];
        std::array::from_fn(|word| words[word])
    }

    /// Takes a port as wished.
    pub(crate) fn take_for(&mut self, wish: PortRequest, random: &mut Random) -> Option<u16> {
        if self.free == 0 {
            return None;
        }
        let port = wish.choose(self, &self.range, random)?;
        self.remove(port);
        Some(port)
    }

    /// Takes a port of one of several ranges as wished.
    pub(crate) fn take_within(
        &mut self,
        ranges: &[RangeInclusive<u16>],
        wish: PortRequest,
        random: &mut Random,
    ) -> Option<u16> {
        let port = wish.choose_within(self, ranges, random)?;
        self.remove(port);
        Some(port)
    }

    /// Whether a port of a range may be handed out.
    pub(crate) fn allows_any_of(&self, range: &RangeInclusive<u16>) -> bool {
        range.clone().any(|port| self.allows(port))
    }

    /// Whether a port of a range is free.
    pub(crate) fn has_free_in(&self, range: &RangeInclusive<u16>) -> bool {
        let ports = u32::from(*range.start())..u32::from(*range.end()) + 1;
        [0, 1].into_iter().any(|odd| self.first_in(half(&ports, odd)).is_some())
    }

    /// The first word from `from` on that has a free port.
    fn next_word(&self, from: usize) -> Option<usize> {
        let mut group = from / 64;
        let mut bits = self.summary.get(group)? & !0 << (from % 64);
        while bits == 0 {
            group += 1;
            bits = *self.summary.get(group)?;
        }
        Some(group * 64 + bits.trailing_zeros() as usize)
    }
}

impl Free for Ports {
    fn is_free(&self, port: u16) -> bool {
        let place = place(port);
        self.words[place as usize / 64] & 1 << (place % 64) != 0
    }

    fn first_in(&self, places: Range<u32>) -> Option<u32> {
        if places.is_empty() {
            return None;
        }
        let first = places.start as usize / 64;
        let here = self.words[first] & !0 << (places.start % 64);
        let found = if here != 0 {
            Some((first, here))
        } else {
            self.next_word(first + 1).map(|word| (word, self.words[word]))
        };
        found.map(|(word, bits)| word as u32 * 64 + bits.trailing_zeros()).filter(|&place| place < places.end)
    }
}

/// Which ports of an address may be handed out.
pub(crate) struct Allowed {
    range: RangeInclusive<u16>,
    /// Some of the range; all of it where they are not there.
    ports: Option<Box<[u64; WORDS]>>,
}

impl Allowed {
    /// Of `parts` of a range all but what is `withheld`.
    pub(crate) fn new(
        range: RangeInclusive<u16>,
        parts: &[RangeInclusive<u16>],
        withheld: impl Iterator<Item = RangeInclusive<u16>>,
    ) -> Allowed {
        let mut withheld = withheld.peekable();
        if withheld.peek().is_none() && *parts == [range.clone()] {
            return Allowed { range, ports: None };
        }
        let mut ports = bitmap(parts.iter().cloned());
        for (word, withheld) in ports.iter_mut().zip(bitmap(withheld).iter()) {
            *word &= !withheld;
        }
        Allowed { range, ports: Some(ports) }
    }

    fn word(&self, word: usize) -> u64 {
        self.ports.as_ref().map_or_else(|| in_range(&self.range, word), |ports| ports[word])
    }
}

/// What an outside port should be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortRequest {
    /// The inside port that it is for.
    pub(crate) inside: u16,
    /// That very port, where it is free.
    pub(crate) preserved: bool,
    /// As even or odd as the inside port (RFC 4787 REQ-4).
    pub(crate) parity: bool,
}

/// Free ports, by place.
pub(crate) trait Free {
    /// Whether `port` is free.
    fn is_free(&self, port: u16) -> bool;

    /// The first free place of a range.
    fn first_in(&self, places: Range<u32>) -> Option<u32>;
}

impl PortRequest {
    /// This very port.
    pub(crate) fn exactly(port: u16) -> PortRequest {
        PortRequest { inside: port, preserved: true, parity: false }
    }

    /// A free port of a range: the one wished for, or else one at random that is on the same side of 1024 and, with parity,
    /// as even or odd as the inside port; where those are out, parity goes first and the side second (RFC 4787 REQ-3a and
    /// 4 recommend, they do not demand).
    pub(crate) fn choose(
        self,
        free: &impl Free,
        range: &RangeInclusive<u16>,
        random: &mut Random,
    ) -> Option<u16> {
        if self.preserved && self.inside != 0 && free.is_free(self.inside) {
            return Some(self.inside);
        }
        let [side, other] = sides(range, self.inside);
        let odd = if self.parity { self.inside & 1 } else { random.below(2) as u16 };
        [(&side, odd), (&side, odd ^ 1), (&other, odd), (&other, odd ^ 1)]
            .into_iter()
            .find_map(|(side, odd)| find(free, half(side, odd), random))
    }
}

impl PortRequest {
    /// As [`PortRequest::choose`], of several ranges: each is as likely to be the one that is looked at first.
    pub(crate) fn choose_within(
        self,
        free: &impl Free,
        ranges: &[RangeInclusive<u16>],
        random: &mut Random,
    ) -> Option<u16> {
        let is_there = ranges.iter().any(|range| range.contains(&self.inside));
        if self.preserved && is_there && free.is_free(self.inside) {
            return Some(self.inside);
        }
        let (before, from) = ranges.split_at(random.below(ranges.len() as u32) as usize);
        let odd = if self.parity { self.inside & 1 } else { random.below(2) as u16 };
        [(0, odd), (0, odd ^ 1), (1, odd), (1, odd ^ 1)].into_iter().find_map(|(side, odd)| {
            let mut ranges = from.iter().chain(before);
            ranges.find_map(|range| find(free, half(&sides(range, self.inside)[side], odd), random))
        })
    }
}

/// The part of a range on the side of 1024 where `inside` is, and the other.
fn sides(range: &RangeInclusive<u16>, inside: u16) -> [Range<u32>; 2] {
    let (start, end) = (u32::from(*range.start()), u32::from(*range.end()) + 1);
    let edge = u32::from(*WELL_KNOWN.end()) + 1;
    let (low, high) = (start..end.min(edge), start.max(edge)..end);
    if WELL_KNOWN.contains(&inside) { [low, high] } else { [high, low] }
}

/// A free port in a range of places, the first from a random start on, around the end.
fn find(free: &impl Free, places: Range<u32>, random: &mut Random) -> Option<u16> {
    if places.is_empty() {
        return None;
    }
    let start = places.start + random.below(places.end - places.start);
    free.first_in(start..places.end).or_else(|| free.first_in(places.start..start)).map(port_at)
}

/// The places of a word of the bitmap that are in a range.
fn in_range(range: &RangeInclusive<u16>, word: usize) -> u64 {
    let ports = u32::from(*range.start())..u32::from(*range.end()) + 1;
    let places = half(&ports, (word / (WORDS / 2)) as u16);
    let bit = |place: u32| place.saturating_sub(word as u32 * 64).min(64);
    let below = |bit: u32| 1u64.checked_shl(bit).map_or(!0, |bit| bit - 1);
    let own = below(bit(places.end)) & !below(bit(places.start));
    // Port 0 is none.
    if word == 0 { own & !1 } else { own }
}

/// The ports of all these ranges, but for 0.
fn bitmap(ranges: impl Iterator<Item = RangeInclusive<u16>>) -> Box<[u64; WORDS]> {
    let mut words = Box::new([0u64; WORDS]);
    for range in ranges {
        let ports = u32::from(*range.start())..u32::from(*range.end()) + 1;
        for places in [0, 1].map(|odd| half(&ports, odd)).into_iter().filter(|places| !places.is_empty()) {
            let (first, last) = (places.start as usize / 64, (places.end as usize - 1) / 64);
            let (from, to) = (!0 << (places.start % 64), !0 >> (63 - (places.end - 1) % 64));
            if first == last {
                words[first] |= from & to;
            } else {
                words[first] |= from;
                words[first + 1..last].fill(!0);
                words[last] |= to;
            }
        }
    }
    words[0] &= !1;
    words
}

/// The places of a range's even or odd ports.
fn half(ports: &Range<u32>, odd: u16) -> Range<u32> {
    if ports.is_empty() {
        return 0..0;
    }
    let odd = u32::from(odd);
    let base = odd * HALF;
    // The first port of this parity at or after `port`, halved.
    let halved = |port: u32| (port + 1 - odd) / 2;
    base + halved(ports.start)..base + halved(ports.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::hash::Secret;
    use proptest::prelude::*;

    fn wish() -> impl Strategy<Value = PortRequest> {
        (any::<u16>(), any::<bool>(), any::<bool>()).prop_map(|(inside, preserved, parity)| PortRequest {
            inside,
            preserved,
            parity,
        })
    }

    fn even_or_odd(inside: u16) -> PortRequest {
        PortRequest { inside, preserved: true, parity: true }
    }

    proptest! {
        /// Every port of a range comes out exactly once, whatever is asked for, and comes out again when given back.
        #[test]
        fn hands_out_each_port_once(start in 1u16..2000, len in 1u16..500, wish in wish()) {
            let range = start..=start + len - 1;
            let mut random = Random::new(Secret::new([1, 2, 3, 4]));
            let mut ports = Ports::new(range.clone());
            let mut seen = std::collections::BTreeSet::new();
            while let Some(port) = ports.take_for(wish, &mut random) {
                prop_assert!(range.contains(&port) && seen.insert(port));
            }
            prop_assert_eq!((seen.len(), ports.free_count()), (usize::from(len), 0));
            ports.free(start);
            prop_assert_eq!(ports.take_for(wish, &mut random), Some(start));
        }

        #[test]
        fn keeps_side_and_parity_where_it_can(wanted in 1u16.., others in 0usize..200) {
            let mut random = Random::new(Secret::new([5, 6, 7, 8]));
            let mut ports = Ports::new(1..=65535);
            ports.alloc(wanted);
            for _ in 0..others {
                let port = ports.take_for(even_or_odd(wanted), &mut random).unwrap();
                prop_assert_eq!((port < 1024, port & 1), (wanted < 1024, wanted & 1));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Whatever is in use when other ports come to be allowed: what is free is what is allowed and not in use, and a port
        /// that is not allowed any more is not free when it is given back.
        #[test]
        fn other_ports_may_be_handed_out_and_those_in_use_are_not_free(
            (start, end) in (0u16.., 0u16..).prop_map(|(a, b)| (a.min(b), a.max(b))),
            (new_start, new_end) in (0u16.., 0u16..).prop_map(|(a, b)| (a.min(b), a.max(b))),
            withheld in prop::collection::vec(0u16.., 0..10),
            taken in 0usize..200,
        ) {
            let mut random = Random::new(Secret::new([1, 2, 3, 4]));
            let mut ports = Ports::new(start..=end);
            let any = PortRequest { inside: 5000, preserved: false, parity: false };
            let taken: Vec<u16> = (0..taken).map_while(|_| ports.take_for(any, &mut random)).collect();
            let new_range = new_start..=new_end;
            let withheld_ports = withheld.iter().map(|&port| port..=port);
            let mut allowed = Allowed::new(new_range.clone(), &[new_range], withheld_ports);
            ports.allow(&mut allowed);
            let mut new = ports;
            let may = |port: u16| port != 0 && (new_start..=new_end).contains(&port) && !withheld.contains(&port);
            for port in 0..=u16::MAX {
                prop_assert_eq!(new.allows(port), may(port), "{}", port);
                prop_assert_eq!(new.is_free(port), may(port) && !taken.contains(&port), "{}", port);
            }
            taken.iter().for_each(|&port| new.free(port));
            prop_assert_eq!(new.free_count(), (0..=u16::MAX).filter(|&port| may(port)).count() as u32);
            let found = (0..new.free_count()).filter(|_| new.take_for(any, &mut random).is_some()).count();
            prop_assert!(found > 0 || new.free_count() == 0);
        }
    }

    #[test]
    fn preserves_a_free_port() {
        let mut ports = Ports::new(1024..=65535);
        let mut random = Random::new(Secret::new([1, 1, 1, 1]));
        assert_eq!(ports.take_for(even_or_odd(5000), &mut random), Some(5000));
        assert_ne!(ports.take_for(even_or_odd(5000), &mut random), Some(5000));
    }

    #[test]
    fn is_hard_to_guess() {
        let mut ports = Ports::new(1024..=65535);
        let mut random = Random::new(Secret::new([9, 8, 7, 6]));
        let wish = PortRequest { inside: 80, preserved: false, parity: false };
        let drawn: Vec<u16> = (0..200).map(|_| ports.take_for(wish, &mut random).unwrap()).collect();
        let steps = drawn.windows(2).filter(|w| w[0].abs_diff(w[1]) <= 2).count();
        assert!(steps < 5, "{steps} of 199 ports follow their predecessor");
    }
}
