//! Flows by number alone: who talks to whom, in which order, and where each leaves the gateway.
//!
//! A flow's inside endpoint and its remote are computed from its number, so that sixteen million flows cost four octets
//! each: the outside endpoint, which only the gateway knows and a first pass learns.

use memmap2::{Advice, MmapMut};

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// IPv4 address.
    pub address: u32,
    /// UDP or TCP port.
    pub port: u16,
}

/// The numbering of flows.
#[derive(Clone, Debug)]
pub struct FlowSpace {
    /// Flows are `0..flows`.
    pub flows: u32,
    /// The address of the host that has flow 0.
    pub first_host: u32,
    /// Flows of one host: 2 to the power of this.
    pub host_shift: u32,
    /// The first of 65,536 remote addresses.
    pub first_remote: u32,
}

impl FlowSpace {
    /// The inside host's endpoint: `10.0.0.1:1024` for flow 0.
    #[inline(always)]
    pub fn inside(&self, flow: u32) -> Endpoint {
        let port = flow & ((1 << self.host_shift) - 1);
        Endpoint { address: self.first_host + (flow >> self.host_shift), port: INSIDE_PORT + port as u16 }
    }

    /// The endpoint that the host talks to; pseudorandom ports, as RFC 4814 section 4 asks.
    #[inline(always)]
    pub fn remote(&self, flow: u32) -> Endpoint {
        let mixed = flow.wrapping_mul(0x9e37_79b1);
        Endpoint { address: self.first_remote + (mixed >> 16), port: REMOTE_PORT + (mixed & 0x3fff) as u16 }
    }

    /// Hosts that have flows.
    pub fn hosts(&self) -> u32 {
        self.flows.div_ceil(1 << self.host_shift)
    }
}

const INSIDE_PORT: u16 = 1024;
const REMOTE_PORT: u16 = 0x4000;

/// The outside endpoint of every flow, four octets each: address in the pool, port.
#[derive(Debug)]
pub struct Externals {
    map: MmapMut,
    pool: u32,
}

impl Externals {
    /// None learnt yet. `pool` is the first of 65,536 addresses that the gateway may use.
    pub fn new(flows: u32, pool: u32) -> std::io::Result<Externals> {
        let map = MmapMut::map_anon(flows.max(1) as usize * 4)?;
        // Without transparent huge pages it is slower, no more.
        let _ = map.advise(Advice::HugePage);
        Ok(Externals { map, pool })
    }

    /// Where the flow leaves the gateway.
    #[inline(always)]
    pub fn get(&self, flow: u32) -> Option<Endpoint> {
        let entries: &[u32] = bytemuck::cast_slice(&self.map);
        let entry = *entries.get(flow as usize)?;
        (entry != 0).then_some(Endpoint { address: self.pool + (entry >> 16), port: entry as u16 })
    }

    /// Notes where the flow leaves; false if that is not in the pool.
    pub fn learn(&mut self, flow: u32, external: Endpoint) -> bool {
        let entries: &mut [u32] = bytemuck::cast_slice_mut(&mut self.map);
        let index = external.address.wrapping_sub(self.pool);
        match entries.get_mut(flow as usize) {
            Some(entry) if index <= 0xffff && external.port != 0 => {
                *entry = index << 16 | u32::from(external.port);
                true
            }
            _ => false,
        }
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.map.fill(0);
    }
}

/// Which flow comes next.
#[derive(Clone, Debug)]
pub enum Order {
    /// Any, again and again.
    Random(u64),
    /// One after the other, again and again.
    Sequential(u32),
    /// Each once, shuffled.
    Once(Permutation),
    /// These.
    Listed(std::vec::IntoIter<u32>),
}

impl Order {
    /// Fills `flows` with the next ones below `count`; how many there are.
    #[inline]
    pub fn next(&mut self, count: u32, flows: &mut [u32]) -> usize {
        match self {
            Order::Random(state) => {
                for flow in flows.iter_mut() {
                    // Knuth's generator; its upper half is good enough to pick flows with.
                    *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    *flow = (((*state >> 32) * u64::from(count)) >> 32) as u32;
                }
            }
            Order::Sequential(next) => {
                for flow in flows.iter_mut() {
                    *flow = *next;
                    *next += 1;
                    if *next >= count {
                        *next = 0;
                    }
                }
            }
            Order::Once(permutation) => return fill(flows, permutation),
            Order::Listed(list) => return fill(flows, list),
        }
        flows.len()
    }
}

/// Fills `flows` as far as there are more; how many there were.
#[inline]
fn fill(flows: &mut [u32], from: &mut impl Iterator<Item = u32>) -> usize {
    let mut filled = 0;
    for (flow, next) in flows.iter_mut().zip(from) {
        *flow = next;
        filled += 1;
    }
    filled
}

/// Every number below a bound once, shuffled, without a table: bijections on the next power of two, and those that
/// land beyond the bound left out.
#[derive(Clone, Debug)]
pub struct Permutation {
    count: u32,
    mask: u32,
    half: u32,
    next: u64,
}

impl Permutation {
    /// The numbers `0..count`, `count` being at least one.
    pub fn new(count: u32) -> Permutation {
        let bits = (32 - (count - 1).leading_zeros()).max(1);
        let mask = if bits == 32 { u32::MAX } else { (1 << bits) - 1 };
        Permutation { count, mask, half: bits.div_ceil(2), next: 0 }
    }

    fn shuffled(&self, mut x: u32) -> u32 {
        // An odd factor permutes the residues of a power of two, and so does folding the upper half into the lower.
        for factor in [0x9e37_79b1u32, 0x85eb_ca6b, 0xc2b2_ae35] {
            x = x.wrapping_mul(factor).wrapping_add(0x27d4_eb2f) & self.mask;
            x ^= x >> self.half;
        }
        x
    }
}

impl Iterator for Permutation {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        while self.next <= u64::from(self.mask) {
            let flow = self.shuffled(self.next as u32);
            self.next += 1;
            if flow < self.count {
                return Some(flow);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: FlowSpace =
        FlowSpace { flows: 1 << 20, first_host: 0x0a00_0001, host_shift: 6, first_remote: 0xc612_0000 };

    #[test]
    fn no_two_flows_have_one_inside_endpoint() {
        let mut seen = std::collections::HashSet::new();
        for flow in 0..100_000 {
            let Endpoint { address, port } = SPACE.inside(flow);
            assert!(seen.insert((address, port)), "flow {flow}");
        }
        assert_eq!(SPACE.inside(64), Endpoint { address: 0x0a00_0002, port: 1024 });
        assert_eq!(SPACE.hosts(), 1 << 14);
    }

    #[test]
    fn remotes_stay_in_their_block() {
        for flow in 0..1_000_000 {
            let Endpoint { address, port } = SPACE.remote(flow);
            assert!((0xc612_0000..=0xc612_ffff).contains(&address) && (0x4000..0x8000).contains(&port));
        }
    }

    #[test]
    fn a_permutation_has_every_number_once() {
        for count in [1, 2, 3, 64, 100, 1000, 65_536, 65_537] {
            let mut numbers: Vec<u32> = Permutation::new(count).collect();
            let in_order = numbers.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count();
            assert!(count < 64 || in_order < count as usize / 20, "{count}: {in_order} neighbours in order");
            numbers.sort_unstable();
            assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn orders_stay_below_the_count() {
        let mut flows = [0; 32];
        for mut order in [Order::Random(7), Order::Sequential(0)] {
            let mut seen = [false; 100];
            for _ in 0..100 {
                assert_eq!(order.next(100, &mut flows), 32);
                flows.iter().for_each(|&flow| seen[flow as usize] = true);
            }
            assert!(seen.iter().all(|&seen| seen), "{order:?}");
        }
        let mut once = Order::Once(Permutation::new(40));
        assert_eq!(
            [once.next(40, &mut flows), once.next(40, &mut flows), once.next(40, &mut flows)],
            [32, 8, 0]
        );
        let mut listed = Order::Listed(vec![5, 3, 8].into_iter());
        assert_eq!((listed.next(40, &mut flows), &flows[..3]), (3, &[5, 3, 8][..]));
        assert_eq!(listed.next(40, &mut flows), 0);
    }

    #[test]
    fn externals_are_learnt_once_and_within_the_pool() {
        let mut externals = Externals::new(10, 0x6440_0000).unwrap();
        let external = Endpoint { address: 0x6440_0102, port: 40_000 };
        assert_eq!(externals.get(3), None);
        assert!(externals.learn(3, external));
        assert_eq!(externals.get(3), Some(external));
        assert!(!externals.learn(4, Endpoint { address: 0x6441_0000, port: 1 }));
        assert!(!externals.learn(4, Endpoint { address: 0x643f_ffff, port: 1 }));
        assert!(!externals.learn(1 << 20, external));
        externals.clear();
        assert_eq!(externals.get(3), None);
    }
}
