//! Fragments of one datagram, in any order, repeated and overlapping, against a list of the octets that were seen.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use natgw_nat::{Direction, DropReason};
use proptest::prelude::*;

use crate::fragment_sim::{Left, Pieces, ident, offset, piece};
use crate::packet::{Packet, ep};
use crate::sim::Gateway;

/// Some blocks of a datagram; those that end it.
#[derive(Clone, Debug)]
struct Part {
    blocks: Range<u16>,
    is_last: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    Passed,
    Held,
    Duplicate,
    Refused,
}

/// What should become of one datagram.
#[derive(Debug, Default)]
struct Model {
    seen: BTreeSet<u16>,
    end: Option<u16>,
    waiting: Vec<Part>,
    is_known: bool,
    is_refused: bool,
}

impl Model {
    fn arrive(&mut self, part: &Part) -> Vec<Became> {
        if self.is_known || self.is_refused || part.blocks.start > 0 {
            let became = self.take(part);
            let waited = if self.is_refused { self.waiting.drain(..).count() } else { 0 };
            return [vec![became], vec![Became::Refused; waited]].concat();
        }
        let waiting = std::mem::take(self).waiting;
        self.is_known = true;
        std::iter::once(part).chain(&waiting).map(|part| self.take(part)).collect()
    }

    fn take(&mut self, part: &Part) -> Became {
        if self.is_refused {
            return Became::Refused;
        }
        let Part { blocks, is_last } = part;
        let beyond = self.end.is_some_and(|end| blocks.end > end || *is_last && blocks.end != end);
        let cut = *is_last && self.seen.last().is_some_and(|&last| last >= blocks.end);
        let seen = blocks.clone().filter(|block| self.seen.contains(block)).count();
        if beyond || cut || (1..blocks.len()).contains(&seen) {
            self.is_refused = true;
            return Became::Refused;
        }
        if seen > 0 {
            return Became::Duplicate;
        }
        self.seen.extend(blocks.clone());
        self.end = self.end.or(is_last.then_some(blocks.end));
        if !self.is_known {
            self.waiting.push(part.clone());
            return Became::Held;
        }
        if self.end == Some(self.seen.len() as u16) {
            *self = Model::default();
        }
        Became::Passed
    }
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let honest = (2u16..8, any::<prop::sample::Index>()).prop_flat_map(|(count, turn)| {
        let cut: Vec<Part> =
            (0..count).map(|nth| Part { blocks: nth * 4..nth * 4 + 4, is_last: nth + 1 == count }).collect();
        let twice = [cut.clone(), vec![cut[turn.index(cut.len())].clone()]].concat();
        prop_oneof![Just(cut).prop_shuffle(), Just(twice).prop_shuffle()]
    });
    let wild = (0u16..24, 1u16..9, prop::bool::weighted(0.15)).prop_map(|(start, len, is_last)| Part {
        blocks: start..start + len,
        // A first fragment that is the last as well would be none.
        is_last: is_last && start > 0,
    });
    prop::collection::vec(prop_oneof![3 => honest, 1 => prop::collection::vec(wild, 1..4)], 1..4)
        .prop_map(|runs| runs.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Every fragment becomes what the list says, and what leaves under one identification never overlaps.
    #[test]
    fn fragments_of_one_datagram_become_what_the_model_says(parts in parts()) {
        let whole = Packet::udp(ep("10.64.0.5:4000"), ep("198.51.100.7:7000")).bytes();
        let payload = [&whole[20..28], &[7; 400]].concat();
        let (mut pieces, mut model) = (Pieces::new(Gateway::changed(|_| {})), Model::default());
        let mut left_blocks: BTreeMap<u16, BTreeSet<usize>> = BTreeMap::new();
        for part in &parts {
            let (from, to) = (usize::from(part.blocks.start) * 8, usize::from(part.blocks.end) * 8);
            let bytes = piece(&whole[..20], &payload[from..to], from, !part.is_last, 7);
            let left = pieces.arrive(&bytes, Direction::Outbound);
            let became: Vec<Became> = left.iter().map(|left| match left {
                Left::Out(_) => Became::Passed,
                Left::Held => Became::Held,
                Left::Drop(DropReason::FragmentDuplicate) => Became::Duplicate,
                Left::Drop(DropReason::FragmentOverlap) => Became::Refused,
                other => panic!("{other:?}"),
            }).collect();
            prop_assert_eq!(became, model.arrive(part), "{:?} of {:?}", part, parts);
            for bytes in left.iter().filter_map(Left::bytes) {
                let blocks = offset(bytes) / 8..(offset(bytes) + bytes.len() - 20) / 8;
                let seen = left_blocks.entry(ident(bytes)).or_default();
                prop_assert!(blocks.into_iter().all(|block| seen.insert(block)), "an overlap left");
            }
        }
    }
}
