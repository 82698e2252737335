//! How much memory the gateway takes, before it is started.

use super::Config;
use super::explain::blocks_of;
use natgw_nat::{Footprint, Pool, Shard};

/// Memory that the gateway takes at start, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Sessions with all that belongs to them: what the workers' tables are, exactly.
    pub sessions: u64,
    /// Ports of all pools.
    pub ports: u64,
    /// Datagrams in fragments.
    pub fragments: u64,
    /// Packet buffers.
    pub buffers: u64,
    /// What DPDK takes beyond that, and the program.
    pub program: u64,
}

impl MemoryEstimate {
    /// All of it.
    pub fn total(self) -> u64 {
        self.sessions + self.ports + self.fragments + self.buffers + self.program
    }
}

impl Config {
    /// What the gateway takes at start, with its packet buffers in huge pages or not.
    pub fn memory_estimate(&self, huge_pages: bool) -> MemoryEstimate {
        let workers = self.dpdk.worker_lcores.len() as u64;
        let shares = |pool: &Pool| match pool.addresses.len() as u64 {
            addresses if addresses < workers || pool.deterministic.is_some() => addresses * workers,
            addresses => addresses,
        };
        let shares: u64 = self.settings.pools.iter().map(shares).sum();
        let blocks: u64 = self.settings.pools.iter().map(blocks_of).sum();
        let Footprint { sessions, fragments } = self.footprint();
        let buffers = self.packet_buffers();
        let (buffers, dpdk) = match huge_pages {
            true => (buffers.bytes(), u64::from(Config::DPDK_SPARE_MIB) << 20),
            false => (buffers.bytes_in_ordinary_pages(), 0),
        };
        MemoryEstimate {
            sessions: sessions * workers,
            ports: shares * BYTES_PER_SHARE + blocks * BYTES_PER_BLOCK,
            fragments: fragments * workers,
            buffers,
            program: PROGRAM + workers * PROGRAM_PER_WORKER + dpdk,
        }
    }

    /// What a session takes with all that belongs to it, bytes: what `check`, the log and `natctl status` say.
    pub fn bytes_per_session(&self) -> u64 {
        let workers = self.dpdk.worker_lcores.len() as u16;
        self.footprint().bytes_per_session(self.settings.limits.sessions_each(workers))
    }

    fn footprint(&self) -> Footprint {
        let workers = self.dpdk.worker_lcores.len() as u16;
        Shard::footprint(&self.settings, self.settings.limits.sessions_each(workers), workers)
    }

    /// Memory in huge pages for everything in DPDK that is not a packet buffer, MiB; it is reserved at start.
    pub const DPDK_SPARE_MIB: u32 = 64;
}

/// Bitmaps of the ports of one address, by protocol; a worker that shares an address has its own.
const BYTES_PER_SHARE: u64 = 3 * 8400;
/// Whose it is, and its places in lists.
const BYTES_PER_BLOCK: u64 = 34;
/// Code and constants, DPDK's drivers among them, and what EAL takes of ordinary memory; measured.
const PROGRAM: u64 = 32 << 20;
/// A worker's thread, rings, caches and queues; measured.
const PROGRAM_PER_WORKER: u64 = 4 << 20;
