//! How the outside addresses and ports are divided among the workers.
//!
//! A pool with at least as many addresses as workers is divided by whole addresses, along the redirection table where
//! that leaves the workers even, so that the NIC steers. A smaller pool is divided by ports: each of its addresses
//! into one range a worker. Where mapping is deterministic, each subscriber's ports belong to the subscriber's worker: the
//! owner of an endpoint is found by the way back from it to the subscriber. In every case each endpoint has one owner. Of
//! addresses that are divided by ports, one worker has all protocols without ports.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{Rss, Steering, SteeringError, WorkerId};
use natgw_nat::Protocol;
use natgw_nat::settings::{Pool, PortForward, Share};
use natgw_nat::{BlockGrid, Deterministic};

/// Who owns one outside address.
#[derive(Clone, Debug)]
pub(super) struct External {
    /// The owner of what no range below names, and of fragments, which name no port.
    pub(super) home: WorkerId,
    /// The ports that are divided among all workers.
    split: Option<Split>,
    /// Or those of subscribers, each its own worker's.
    ranges: Option<OwnedRanges>,
    /// Forwarded ports, by protocol and first port; no two overlap.
    forwards: Vec<Forward>,
}

#[derive(Clone, Debug)]
struct Forward {
    protocol: Protocol,
    ports: RangeInclusive<u16>,
    owner: WorkerId,
}

impl External {
    pub(super) const fn whole(home: WorkerId) -> External {
        External { home, split: None, ranges: None, forwards: Vec::new() }
    }

    /// The owner of a port or query identifier of this address, or of a protocol without ports.
    #[inline]
    pub(super) fn owner(&self, protocol: Protocol, channel: u16) -> WorkerId {
        self.forward_owner(protocol, channel)
            .or_else(|| self.split.as_ref()?.owner(protocol, channel))
            .or_else(|| self.ranges.as_ref()?.owner(channel))
            .unwrap_or(self.home)
    }

    pub(super) fn is_split(&self) -> bool {
        self.split.is_some()
    }

    /// The owner of all its ports, where there is one.
    pub(super) fn only_owner(&self) -> Option<WorkerId> {
        (self.split.is_none() && self.ranges.is_none() && self.forwards.is_empty()).then_some(self.home)
    }

    fn forward_owner(&self, protocol: Protocol, channel: u16) -> Option<WorkerId> {
        let behind =
            self.forwards.partition_point(|at| (at.protocol, *at.ports.start()) <= (protocol, channel));
        let forward = &self.forwards[behind.checked_sub(1)?];
        (forward.protocol == protocol && forward.ports.contains(&channel)).then_some(forward.owner)
    }

    /// Gives the ports of a port forward to the owner of its host.
    ///
    /// # Errors
    /// When one of them is forwarded already.
    pub(super) fn add_forward(
        &mut self,
        forward: &PortForward,
        owner: WorkerId,
    ) -> Result<(), SteeringError> {
        let PortForward { protocol, ref external_ports, .. } = *forward;
        let (first, last) = (*external_ports.start(), *external_ports.end());
        let at = self.forwards.partition_point(|at| (at.protocol, *at.ports.start()) < (protocol, first));
        let overlaps =
            |at: &&Forward| at.protocol == protocol && *at.ports.start() <= last && first <= *at.ports.end();
        let neighbours = &self.forwards[at.saturating_sub(1)..self.forwards.len().min(at + 1)];
        if neighbours.iter().any(|at| overlaps(&at)) {
            return Err(SteeringError::ForwardTwice(forward.external, first));
        }
        self.forwards.insert(at, Forward { protocol, ports: first..=last, owner });
        Ok(())
    }

    pub(super) fn clear_forwards(&mut self) {
        self.forwards.clear();
    }
}

/// A range of ports in as many equal parts as there are workers: of whole blocks, where ports are handed out in blocks, else
/// of single ports.
#[derive(Clone, Debug)]
pub(super) struct Split {
    first: u16,
    /// Ports that stay together.
    unit: u32,
    /// How many times as many.
    count: u32,
    workers: u16,
}

impl Split {
    pub(super) fn new(pool: &Pool, workers: u16) -> Split {
        let (unit, count) = match (&pool.port_blocks, pool.block_grid()) {
            (Some(blocks), Some(grid)) => (blocks.size.into(), grid.count().into()),
            _ => (1, pool.ports.len() as u32),
        };
        Split { first: *pool.ports.start(), unit, count, workers }
    }

    /// Worker `w` of `W` has the units from `⌊w·count/W⌋` on: those `n` for which `w` is `⌈(n + 1)·W/count⌉ - 1`. Where
    /// there are no ports, one worker has it all.
    fn owner(&self, protocol: Protocol, channel: u16) -> Option<WorkerId> {
        if !protocol.has_ports() {
            return Some(Steering::WITHOUT_PORTS);
        }
        let mut nth = u32::from(channel.checked_sub(self.first)?);
        if self.unit > 1 {
            nth /= self.unit;
        }
        let owner = ((nth + 1) * u32::from(self.workers) - 1) / self.count;
        (nth < self.count).then_some(WorkerId(owner as u16))
    }

    fn ports(&self, worker: WorkerId) -> RangeInclusive<u16> {
        let unit = |worker: u32| worker * self.count / u32::from(self.workers);
        let start = |worker: u32| u32::from(self.first) + unit(worker) * self.unit;
        let worker = u32::from(worker.0);
        start(worker) as u16..=(start(worker + 1) - 1) as u16
    }
}

/// Ranges of subscribers (RFC 7422): each belongs to the owner of its subscriber.
#[derive(Clone, Debug)]
struct OwnedRanges {
    grid: BlockGrid,
    /// As many as the address has subscribers.
    owners: Arc<[WorkerId]>,
}

impl OwnedRanges {
    fn owner(&self, channel: u16) -> Option<WorkerId> {
        self.owners.get(usize::from(self.grid.block_of(channel)?)).copied()
    }
}

/// The outside addresses that the workers divide, while they are being divided.
pub(super) struct Division<'a> {
    pub(super) rss: &'a mut Rss,
    pub(super) workers: u16,
    /// Which entries of the redirection table an address has claimed.
    pub(super) claimed: Vec<bool>,
    pub(super) externals: HashMap<u32, External>,
    /// By worker, by pool.
    pub(super) shares: Vec<Vec<Vec<Share>>>,
    /// Whole addresses that the redirection table sends elsewhere, and addresses that are split.
    pub(super) unsteered: usize,
}

impl<'a> Division<'a> {
    pub(super) fn new(rss: &'a mut Rss, entries: usize, workers: u16) -> Division<'a> {
        Division {
            rss,
            workers,
            claimed: vec![false; entries],
            externals: HashMap::new(),
            shares: vec![Vec::new(); usize::from(workers)],
            unsteered: 0,
        }
    }

    /// Gives every worker its part of a pool.
    ///
    /// # Errors
    /// When there are fewer ports (or blocks of them) than workers, or an address has an owner already.
    pub(super) fn add_pool(&mut self, pool: &Pool, inside: &Rss) -> Result<(), SteeringError> {
        if let Some(deterministic) = &pool.deterministic {
            return self.divide_by_subscriber(pool, deterministic, inside);
        }
        let workers = usize::from(self.workers);
        let by_address = pool.addresses.len() >= workers;
        let split = Split::new(pool, self.workers);
        let parts = split.count as usize;
        if pool.addresses.is_empty() || parts < if by_address { 1 } else { workers } {
            let (name, blocks) = (pool.name.clone(), pool.port_blocks.is_some());
            return Err(SteeringError::PoolTooSmall { name, parts, blocks, workers: self.workers });
        }
        self.shares.iter_mut().for_each(|shares| shares.push(Vec::new()));
        if by_address { self.divide_by_address(pool) } else { self.divide_by_ports(pool, &split) }
    }

    /// Lets `address` belong to `owner`, and the redirection table say so where it may.
    ///
    /// # Errors
    /// When it has an owner already.
    pub(super) fn add_whole(&mut self, address: Ipv4Addr, owner: WorkerId) -> Result<(), SteeringError> {
        self.unsteered += usize::from(self.claim(address, owner) != owner);
        self.add(address, External::whole(owner))
    }

    pub(super) fn add(&mut self, address: Ipv4Addr, external: External) -> Result<(), SteeringError> {
        match self.externals.insert(address.into(), external) {
            None => Ok(()),
            Some(_) => Err(SteeringError::AddressTwice(address)),
        }
    }

    pub(super) fn divide_by_address(&mut self, pool: &Pool) -> Result<(), SteeringError> {
        let mut quota = Quota::new(pool.addresses.len(), self.workers);
        // Addresses whose table entry is claimed choose first: the others can go anywhere.
        let (claimed, free): (Vec<Ipv4Addr>, _) =
            pool.addresses.iter().partition(|&&address| self.claimed[self.rss.index(address.into())]);
        for address in claimed.into_iter().chain(free) {
            let steered = self.claimant(address).filter(|&worker| quota.allows(worker));
            let owner = steered.unwrap_or_else(|| quota.neediest());
            quota.take(owner);
            self.add_whole(address, owner)?;
            self.share(owner, Share { address, ports: pool.ports.clone() });
        }
        Ok(())
    }

    pub(super) fn divide_by_ports(&mut self, pool: &Pool, split: &Split) -> Result<(), SteeringError> {
        for (address, wanted) in pool.addresses.iter().copied().zip(0..) {
            let home = self.claim(address, WorkerId(wanted));
            self.unsteered += usize::from(self.workers > 1);
            self.add(address, External { split: Some(split.clone()), ..External::whole(home) })?;
            for worker in (0..self.workers).map(WorkerId) {
                self.share(worker, Share { address, ports: split.ports(worker) });
            }
        }
        Ok(())
    }

    fn divide_by_subscriber(
        &mut self,
        pool: &Pool,
        deterministic: &Deterministic,
        inside: &Rss,
    ) -> Result<(), SteeringError> {
        self.shares.iter_mut().for_each(|shares| shares.push(Vec::new()));
        let grid = BlockGrid::new(&pool.ports, deterministic.size);
        let mut hosts = deterministic.hosts();
        for (address, wanted) in pool.addresses.iter().copied().zip((0..self.workers).cycle()) {
            let home = self.claim(address, WorkerId(wanted));
            let hosts = hosts.by_ref().take(grid.count().into());
            let owners: Arc<[WorkerId]> = hosts.map(|host| inside.owner(host.into())).collect();
            for (block, &owner) in (0..).zip(owners.iter()) {
                self.share(owner, Share { address, ports: grid.ports(block) });
            }
            let ranges = (self.workers > 1).then_some(OwnedRanges { grid, owners });
            self.unsteered += usize::from(self.workers > 1);
            self.add(address, External { ranges, ..External::whole(home) })?;
        }
        Ok(())
    }

    pub(super) fn share(&mut self, worker: WorkerId, share: Share) {
        self.shares[worker.index()].last_mut().expect("add_pool pushed one").push(share);
    }

    /// Whom the table sends `address` to, where that is decided.
    fn claimant(&self, address: Ipv4Addr) -> Option<WorkerId> {
        self.claimed[self.rss.index(address.into())].then(|| self.rss.owner(address.into()))
    }

    /// Makes the table send `address` to `wanted` unless another address has decided; returns whom it sends it to.
    pub(super) fn claim(&mut self, address: Ipv4Addr, wanted: WorkerId) -> WorkerId {
        let index = self.rss.index(address.into());
        if !self.claimed[index] {
            self.claimed[index] = true;
            self.rss.set(index, wanted);
        }
        self.rss.owner(address.into())
    }
}

/// How many addresses of a pool each worker may and must take: an equal part, give or take an eighth of it.
struct Quota {
    taken: Vec<usize>,
    fewest: usize,
    most: usize,
    left: usize,
    /// Addresses that workers with less than `fewest` still need.
    needed: usize,
}

impl Quota {
    fn new(addresses: usize, workers: u16) -> Quota {
        let workers = usize::from(workers);
        let part = addresses / workers;
        let fewest = part - part / 8;
        let most = addresses.div_ceil(workers) + part / 8;
        Quota { taken: vec![0; workers], fewest, most, left: addresses, needed: fewest * workers }
    }

    fn allows(&self, worker: WorkerId) -> bool {
        let taken = self.taken[worker.index()];
        taken < self.fewest || taken < self.most && self.needed < self.left
    }

    fn neediest(&self) -> WorkerId {
        let workers = (0..).map(WorkerId).zip(&self.taken);
        workers.min_by_key(|&(_, taken)| taken).map_or(WorkerId(0), |(worker, _)| worker)
    }

    fn take(&mut self, worker: WorkerId) {
        let taken = &mut self.taken[worker.index()];
        self.needed -= usize::from(*taken < self.fewest);
        *taken += 1;
        self.left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use natgw_nat::ForwardSource;

    #[test]
    fn split_ports_have_the_owner_whose_range_holds_them() {
        let cases = [
            (1024..=65535, 1, 7),
            (0..=65535, 1, 128),
            (40_000..=40_015, 1, 16),
            (5..=5, 1, 1),
            (1024..=65535, 512, 5),
            (7..=100, 31, 3),
        ];
        for (ports, unit, workers) in cases {
            let count = ports.len() as u32 / unit;
            let (first, last): (u16, u16) =
                (*ports.start(), (*ports.start() as u32 + count * unit - 1) as u16);
            let split = Split { first, unit, count, workers };
            let mut next = u32::from(first);
            for worker in (0..workers).map(WorkerId) {
                let range = split.ports(worker);
                assert_eq!(u32::from(*range.start()), next);
                next = u32::from(*range.end()) + 1;
                let is_owner = |port| split.owner(Protocol::Udp, port) == Some(worker);
                assert!(range.clone().all(is_owner), "{range:?}");
                let fair = count / u32::from(workers) * unit;
                assert!((range.len() as u32).abs_diff(fair) <= unit, "{range:?}");
            }
            assert_eq!(next, u32::from(last) + 1);
            assert_eq!(first.checked_sub(1).and_then(|port| split.owner(Protocol::Tcp, port)), None);
            assert_eq!(last.checked_add(1).and_then(|port| split.owner(Protocol::Tcp, port)), None);
        }
    }

    #[test]
    fn a_forward_owns_its_ports_of_its_protocol() {
        let mut external = External::whole(WorkerId(0));
        let forward = |protocol, external_ports| PortForward {
            protocol,
            external: Ipv4Addr::new(203, 0, 113, 13),
            external_ports,
            internal: Ipv4Addr::new(10, 64, 0, 12),
            internal_port: 80,
            source: ForwardSource::Remote,
        };
        external.add_forward(&forward(Protocol::Tcp, 9000..=9009), WorkerId(1)).unwrap();
        external.add_forward(&forward(Protocol::Udp, 9005..=9005), WorkerId(2)).unwrap();
        external.add_forward(&forward(Protocol::Tcp, 80..=80), WorkerId(3)).unwrap();
        for wrong in [9009..=9100, 8000..=9000, 9003..=9004, 1..=65535] {
            assert!(external.add_forward(&forward(Protocol::Tcp, wrong), WorkerId(1)).is_err());
        }
        for (protocol, port, owner) in [
            (Protocol::Tcp, 8999, 0),
            (Protocol::Tcp, 9000, 1),
            (Protocol::Tcp, 9009, 1),
            (Protocol::Tcp, 9010, 0),
            (Protocol::Udp, 9000, 0),
            (Protocol::Udp, 9005, 2),
            (Protocol::Tcp, 80, 3),
            (Protocol::Icmp, 80, 0),
            (Protocol::Other, 80, 0),
        ] {
            assert_eq!(external.owner(protocol, port), WorkerId(owner), "{protocol:?} {port}");
        }
    }
}
