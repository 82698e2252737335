//! The engine's index beside hashbrown.
//!
//! Keys, hashes and records are the same: a record is one cache line that holds its key, and a table maps the key's hash
//! to the record's number. hashbrown offers no prefetch, so all that it can overlap is what the CPU finds out by itself;
//! it gets its hashes 32 at a time like the index.

use std::hint::black_box;

use hashbrown::HashTable;
use natgw_nat::{BURST, Hash, Index, Pages, prefetch};

use crate::Options;
use crate::cycles::{self, Random};
use crate::report::{Report, Samples};

const LOOKUPS: usize = 1 << 20;
/// Lookups whose keys are drawn and then measured together.
const CHUNK: usize = 8 * BURST;

type Key = [u32; 3];
/// Looks all keys up; the sum of what they lead to.
type Lookup = fn(&Tables, &[Key]) -> u64;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Record(Key);

struct Tables {
    records: Vec<Record>,
    index: Index,
    map: HashTable<u32>,
}

pub(crate) fn run(flows: u32, options: &Options, report: &mut Report) {
    let tables = Tables::new(flows, options.pages());
    let mut random = Random::new();
    let cases: [(&str, Lookup); 3] = [
        ("index, two stages of 32", Tables::in_stages),
        ("index, one at a time", Tables::one_by_one),
        ("hashbrown, 32 hashes ahead", Tables::hashbrown),
    ];
    let mut samples = cases.map(|_| Samples::new());
    for _ in 0..options.rounds {
        for ((_, case), samples) in cases.iter().zip(&mut samples) {
            let mut spent = 0;
            for _ in 0..LOOKUPS / CHUNK {
                let drawn: [u32; CHUNK] = std::array::from_fn(|_| random.below(flows));
                let keys = drawn.map(key);
                let expected: u64 = drawn.iter().copied().map(u64::from).sum();
                let start = cycles::now();
                let found = case(&tables, black_box(&keys));
                spent += cycles::now() - start;
                assert_eq!(found, expected);
            }
            samples.add(spent, LOOKUPS);
        }
    }
    for ((name, _), samples) in cases.iter().zip(samples) {
        report.add(name, flows, samples);
    }
}

impl Tables {
    fn new(flows: u32, pages: Pages) -> Tables {
        let records: Vec<Record> = (0..flows).map(|id| Record(key(id))).collect();
        let mut index = Index::with_pages(flows as usize, pages).expect("memory");
        let mut map = HashTable::with_capacity(flows as usize);
        for id in 0..flows {
            let hash = hash(&key(id));
            assert!(index.insert(hash, id).is_ok());
            map.insert_unique(hash.0, id, |_| unreachable!("it was made large enough"));
        }
        Tables { records, index, map }
    }

    fn in_stages(&self, keys: &[Key]) -> u64 {
        let mut sum = 0;
        for keys in keys.chunks(BURST) {
            let index = self.index.view();
            let mut hashes = [Hash(0); BURST];
            let mut candidates = [None; BURST];
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = self::hash(key);
                index.prefetch(*hash);
            }
            for (candidate, &hash) in candidates.iter_mut().zip(&hashes) {
                *candidate = index.candidate(hash);
                if let Some(id) = *candidate {
                    prefetch(&self.records[id as usize]);
                }
            }
            for ((candidate, key), hash) in candidates.iter().zip(keys).zip(hashes) {
                let first = candidate.filter(|&id| self.is(id, key));
                sum += first.or_else(|| self.index.find(hash, |id| self.is(id, key))).map_or(0, u64::from);
            }
        }
        sum
    }

    fn one_by_one(&self, keys: &[Key]) -> u64 {
        let find = |key| self.index.find(hash(key), |id| self.is(id, key));
        keys.iter().map(|key| find(key).map_or(0, u64::from)).sum()
    }

    fn hashbrown(&self, keys: &[Key]) -> u64 {
        let mut sum = 0;
        for keys in keys.chunks(BURST) {
            let mut hashes = [0; BURST];
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = self::hash(key).0;
            }
            for (key, hash) in keys.iter().zip(hashes) {
                sum += self.map.find(hash, |&id| self.is(id, key)).map_or(0, |&id| u64::from(id));
            }
        }
        sum
    }

    #[inline(always)]
    fn is(&self, id: u32, key: &Key) -> bool {
        self.records[id as usize].0 == *key
    }
}

fn key(id: u32) -> Key {
    [id.wrapping_mul(0x9e37_79b1), id, !id]
}

#[inline(always)]
fn hash(key: &Key) -> Hash {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let addresses = u64::from(key[0]) << 32 | u64::from(key[1]);
    Hash(fold(
        fold(addresses ^ 0x243f_6a88_85a3_08d3, u64::from(key[2]) ^ 0x1319_8a2e_0370_7344),
        0xa409_3822_299f_31d0,
    ))
}
