//! New identifications for datagrams that leave in fragments under another address.
//!
//! Hosts draw theirs without knowing of each other. Behind one address two of them would mix in the remote's reassembly
//! (RFC 7857, RFC 6864 section 5.3), so every such datagram gets one that no other towards the same remote has
//! had for as long as possible: a counter for each pair of addresses, as far as there are counters.
//!
//! Where shards share an outside address, each counts through a residue class of its own.

use hashbrown::HashSet;

use crate::settings::{Part, Settings, Share};
use crate::table::hash::Secret;

/// Counters. Pairs of addresses that meet in one share its numbers.
const COUNTERS: usize = 1 << 11;
/// Keeps their hashes apart from other pairs'.
const DOMAIN: u32 = 2;

/// See the module.
pub(crate) struct Identifications {
    next: Box<[u32]>,
    /// Outside addresses that other shards send from as well.
    shared: HashSet<u32>,
    part: Part,
    secret: Secret,
}

impl Identifications {
    pub(crate) fn new(
        settings: &Settings,
        shares: &[Vec<Share>],
        part: Part,
        secret: Secret,
    ) -> Identifications {
        Identifications {
            // From anywhere: a restart must not begin where the last one did.
            next: (0..COUNTERS as u32).map(|at| secret.pair(at, DOMAIN).0 as u32).collect(),
            shared: shared_addresses(settings, shares),
            part,
            secret,
        }
    }

    /// Other addresses are shared from now on. Which were is in `shared` then.
    pub(crate) fn adopt(&mut self, shared: &mut HashSet<u32>) {
        std::mem::swap(&mut self.shared, shared);
    }

    /// One for a datagram with these addresses.
    pub(crate) fn draw(&mut self, source: u32, destination: u32) -> u16 {
        let pair = self.secret.pair(source, destination).0 as usize % COUNTERS;
        let nth = self.next[pair];
        self.next[pair] = nth.wrapping_add(1);
        if !self.shared.contains(&source) {
            return nth as u16;
        }
        let Part { index, of } = self.part;
        (nth % (0x1_0000 / u32::from(of)) * u32::from(of)) as u16 + index
    }
}

/// Outside addresses that shards beside the one with these shares send from as well.
pub(crate) fn shared_addresses(settings: &Settings, shares: &[Vec<Share>]) -> HashSet<u32> {
    let shares = settings.pools.iter().zip(shares);
    let split = shares.flat_map(|(pool, shares)| shares.iter().filter(|share| share.ports != pool.ports));
    let forwards = settings.port_forwards.iter().map(|forward| forward.external);
    split.map(|share| share.address).chain(forwards).map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: u32 = 0xc633_6407;
    const ADDRESS: u32 = 0xcb00_710a;

    fn shard(index: u16, of: u16) -> Identifications {
        let secret = Secret::new([u64::from(index), 2, 3, 4]);
        let mut made = Identifications::new(&Settings::default(), &[], Part { index, of }, secret);
        made.shared.insert(ADDRESS);
        made
    }

    #[test]
    fn shards_that_share_an_address_never_draw_alike() {
        for of in [1, 3, 64] {
            for index in 0..of {
                let mut shard = shard(index, of);
                assert!((0..70_000).all(|_| shard.draw(ADDRESS, REMOTE) % of == index));
            }
        }
    }

    #[test]
    fn a_number_comes_again_only_when_all_were_drawn() {
        let mut shard = shard(2, 3);
        for (source, all) in [(ADDRESS + 1, 65_536), (ADDRESS, 65_536 / 3)] {
            let drawn: HashSet<u16> = (0..all).map(|_| shard.draw(source, REMOTE)).collect();
            assert_eq!(drawn.len(), all);
        }
    }
}
