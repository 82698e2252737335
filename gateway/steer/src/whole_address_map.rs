//! Outside addresses that belong to one worker with all their ports: nearly all of them, found in one cache line.

use super::WorkerId;

/// See the module. Made anew when an address changes hands.
#[derive(Clone, Debug)]
pub(super) struct WholeAddresses {
    /// Open addressing, a quarter full at most, so that a search hardly ever goes on to the next entry.
    entries: Box<[Entry]>,
    shift: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// 0.0.0.0, which no host has, where the entry is free.
    address: u32,
    owner: WorkerId,
}

const FREE: Entry = Entry { address: 0, owner: WorkerId(0) };

/// 2^32 over the golden ratio: spreads neighbouring addresses (Knuth, The Art of Computer Programming, section 6.4).
const SPREAD: u32 = 0x9e37_79b9;

impl WholeAddresses {
    pub(super) fn new(owners: impl Iterator<Item = (u32, WorkerId)>) -> WholeAddresses {
        let owners: Vec<_> = owners.filter(|&(address, _)| address != FREE.address).collect();
        let len = (owners.len() * 4).next_power_of_two().max(2);
        let mut whole =
            WholeAddresses { entries: vec![FREE; len].into(), shift: u32::BITS - len.trailing_zeros() };
        for (address, owner) in owners {
            let mut at = whole.start(address);
            while whole.entries[at].address != FREE.address {
                at = whole.next(at);
            }
            whole.entries[at] = Entry { address, owner };
        }
        whole
    }

    #[inline(always)]
    pub(super) fn owner(&self, address: u32) -> Option<WorkerId> {
        let mut at = self.start(address);
        loop {
            let entry = self.entries[at];
            if entry.address == address {
                return (address != FREE.address).then_some(entry.owner);
            }
            if entry.address == FREE.address {
                return None;
            }
            at = self.next(at);
        }
    }

    #[inline(always)]
    fn start(&self, address: u32) -> usize {
        (address.wrapping_mul(SPREAD) >> self.shift) as usize & self.mask()
    }

    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        (at + 1) & self.mask()
    }

    #[inline(always)]
    fn mask(&self) -> usize {
        self.entries.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_was_put_in_and_nothing_else(
            owners in prop::collection::btree_map(prop_oneof![any::<u32>(), 0xcb00_7100..0xcb00_7200u32], any::<u16>(), 0..300),
            others in prop::collection::vec(any::<u32>(), 100),
        ) {
            let whole = WholeAddresses::new(owners.iter().map(|(&address, &owner)| (address, WorkerId(owner))));
            for address in owners.keys().copied().chain(others).chain([0, u32::MAX]) {
                let expected = owners.get(&address).copied().map(WorkerId).filter(|_| address != 0);
                prop_assert_eq!(whole.owner(address), expected);
            }
        }
    }
}
