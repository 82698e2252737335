//! One side's steering by address: a key, the hash and the redirection table that NIC and software share.

use std::fmt;
use std::ops::RangeInclusive;

use super::WorkerId;
use super::toeplitz::{Key, Random, Side, Toeplitz};

/// What the NICs of one side have in common: the smallest redirection table and the length of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nic {
    /// Entries of the redirection table: a power of two, 16 to 2048.
    pub reta_size: usize,
    /// Octets of a key.
    pub key_len: usize,
}

impl Nic {
    /// Sizes of redirection tables that keys can be drawn for.
    pub const RETA_SIZES: RangeInclusive<usize> = 16..=2048;

    pub(super) fn is_usable(&self) -> bool {
        self.reta_size.is_power_of_two() && Nic::RETA_SIZES.contains(&self.reta_size)
    }

    fn index_bits(&self) -> u32 {
        self.reta_size.ilog2()
    }
}

impl Default for Nic {
    /// For NICs that do not steer: software may choose.
    fn default() -> Nic {
        Nic { reta_size: 512, key_len: 40 }
    }
}

/// A key and a redirection table that name the owner of every address of one side.
#[derive(Clone)]
pub struct Rss {
    key: Key,
    toeplitz: Toeplitz,
    reta: Box<[WorkerId]>,
}

impl Rss {
    /// Steering by source address: neighbouring addresses spread over the workers evenly, because what they differ
    /// in reaches the highest bits of the index, and the table is filled by those.
    pub(super) fn by_source(nic: Nic, workers: u16, random: &mut Random) -> Rss {
        let size = nic.reta_size;
        let reta = (0..size).map(|index| WorkerId((index * usize::from(workers) / size) as u16)).collect();
        let key = Key::draw(Side::Source, nic.index_bits(), nic.key_len, random);
        Rss { toeplitz: Toeplitz::by_source(&key), key, reta }
    }

    /// Steering by destination address, with a table yet to be filled for the addresses that are in use.
    pub(super) fn by_destination(nic: Nic, workers: u16, random: &mut Random) -> Rss {
        let reta = (0..nic.reta_size).map(|index| WorkerId((index % usize::from(workers)) as u16)).collect();
        let key = Key::draw(Side::Destination, nic.index_bits(), nic.key_len, random);
        Rss { toeplitz: Toeplitz::by_destination(&key), key, reta }
    }

    /// Fills entry `index` anew.
    pub(super) fn set(&mut self, index: usize, owner: WorkerId) {
        self.reta[index] = owner;
    }

    /// How many entries the table has.
    pub(super) fn entries(&self) -> usize {
        self.reta.len()
    }

    /// The entry that `address` hashes to.
    #[inline]
    pub fn index(&self, address: u32) -> usize {
        self.toeplitz.hash(address) as usize & (self.reta.len() - 1)
    }

    /// The worker that `address` hashes to.
    #[inline]
    pub fn owner(&self, address: u32) -> WorkerId {
        self.reta[self.index(address)]
    }

    /// The key to program into the NIC, with the IPv4 hash type alone.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The table to program into a NIC with `size` entries, a multiple of [`Nic::reta_size`]: repeated, because only
    /// the low bits of the hash may count.
    pub fn reta(&self, size: usize) -> impl ExactSizeIterator<Item = WorkerId> {
        (0..size).map(|index| self.reta[index & (self.reta.len() - 1)])
    }
}

impl fmt::Debug for Rss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rss").field("entries", &self.reta.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses a worker, fewest and most.
    fn extremes(rss: &Rss, workers: u16, addresses: impl Iterator<Item = u32>) -> (u32, u32) {
        let mut counts = vec![0; usize::from(workers)];
        addresses.for_each(|address| counts[rss.owner(address).index()] += 1);
        (*counts.iter().min().unwrap(), *counts.iter().max().unwrap())
    }

    #[test]
    fn neighbouring_subscribers_spread_evenly() {
        for reta_size in [128, 256, 512, 1024, 2048] {
            for workers in 1..=16 {
                let nic = Nic { reta_size, key_len: 40 };
                let rss = Rss::by_source(nic, workers, &mut Random::new(u64::from(workers)));
                let even = f64::from(4096 / u32::from(workers));
                for step in [1, 2, 4] {
                    let addresses = (0..4096).map(|host| 0x0a40_0000 + host * step);
                    let (fewest, most) = extremes(&rss, workers, addresses);
                    assert!(
                        f64::from(fewest) > even * 0.87 && f64::from(most) < even * 1.13,
                        "{fewest} to {most}"
                    );
                }
                // A few only: as even as whole hosts allow.
                let (fewest, most) = extremes(&rss, workers, (0..16).map(|host| 0x0a40_0010 + host));
                assert!(most - fewest <= 1, "{fewest} to {most} of 16 on {workers}");
            }
        }
    }

    #[test]
    fn a_larger_table_repeats_the_smaller() {
        let rss = Rss::by_source(Nic { reta_size: 128, key_len: 52 }, 3, &mut Random::new(1));
        let large: Vec<WorkerId> = rss.reta(512).collect();
        for address in (0..1 << 20).step_by(97) {
            assert_eq!(large[rss.toeplitz.hash(address) as usize & 511], rss.owner(address));
        }
    }
}
