//! Huge pages: enough, and on the NUMA node of the devices.

use std::collections::BTreeSet;

use super::device::Port;
use super::{Machine, Warning};

/// Where a machine, or one of its nodes, tells of its huge pages.
struct Pages<'a> {
    machine: &'a Machine,
    directory: String,
}

impl Pages<'_> {
    fn free_mib(&self) -> i64 {
        let sizes = self.machine.names(&self.directory);
        let free = sizes.iter().filter_map(|size| {
            let kib: i64 = size.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            Some(kib * self.machine.number(&format!("{}/{size}/free_hugepages", self.directory))?)
        });
        free.sum::<i64>() >> 10
    }

    /// How many pages of 2 MiB there have to be in all for so many to be free.
    fn needed(&self, mib: i64) -> i64 {
        let there = self.machine.number(&format!("{}/{SMALLEST}/nr_hugepages", self.directory));
        there.unwrap_or_default() + (mib - self.free_mib() + 1) / 2
    }
}

/// What is wrong with them where `mib` are to be taken.
pub(super) fn warnings(machine: &Machine, ports: &[Port], mib: u32) -> Vec<Warning> {
    let mib = i64::from(mib);
    let all = Pages { machine, directory: "sys/kernel/mm/hugepages".into() };
    let free = all.free_mib();
    if free < mib {
        let found = format!("{free} MiB of huge pages are free, {mib} are needed");
        return vec![Warning { found, remedy: format!("sysctl vm.nr_hugepages={}", all.needed(mib)) }];
    }
    let nodes: BTreeSet<i64> = ports.iter().filter_map(|port| port.node).collect();
    let lacking = nodes.into_iter().filter_map(|node| {
        let directory = format!("sys/devices/system/node/node{node}/hugepages");
        let pages = Pages { machine, directory };
        let free = pages.free_mib();
        (machine.exists(&pages.directory) && free < mib).then(|| Warning {
            found: format!(
                "{free} MiB of huge pages are free on the devices' NUMA node {node}, {mib} are needed"
            ),
            remedy: format!("echo {} >/{}/{SMALLEST}/nr_hugepages", pages.needed(mib), pages.directory),
        })
    });
    lacking.collect()
}

/// These can be reserved while the machine runs.
const SMALLEST: &str = "hugepages-2048kB";
