//! DPDK without huge pages, devices or privileges, once in each test program.

#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::sync::OnceLock;

use natgw_dpdk::{Burst, Eal, EalArgs, Memory, Mempool};

pub const BUFFERS: u32 = 255;

/// The first CPU that this process may run on.
pub fn cpu() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().split(['-', ',']).next().unwrap().parse().unwrap()
}

pub fn args(workers: usize) -> EalArgs {
    EalArgs {
        main_cpu: cpu(),
        worker_cpus: vec![cpu(); workers],
        memory: Memory::NoHuge,
        memory_mib: 128,
        file_prefix: format!("gateway-test-{}", std::process::id()),
        ..EalArgs::default()
    }
}

pub fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| Eal::init(&args(3)).unwrap())
}

/// A pool without caches, so that every buffer is seen where it is.
pub fn pool(name: &str) -> Mempool {
    Mempool::new(eal(), name, BUFFERS, 0, Mempool::DATA_ROOM).unwrap()
}

/// `count` frames of 60 bytes, numbered by their tags from `first`.
pub fn frames(pool: &Mempool, first: u32, count: usize) -> Burst {
    let mut burst = Burst::new();
    assert_eq!(pool.alloc_bulk(&mut burst, count), count);
    for (tag, mbuf) in (first..).zip(burst.as_mut_slice()) {
        assert!(mbuf.set_len(60));
        mbuf.set_tag(tag);
    }
    burst
}

pub fn tags(burst: &Burst) -> Vec<u32> {
    burst.as_slice().iter().map(|mbuf| mbuf.tag()).collect()
}
