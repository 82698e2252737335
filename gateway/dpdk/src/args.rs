//! The arguments of `rte_eal_init`, worked out from what the gateway knows.

use super::Error;

/// Where DPDK's memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Memory {
    /// Huge pages if enough are free, else ordinary memory with a warning.
    #[default]
    Auto,
    /// Huge pages, or an error.
    Hugepages,
    /// Ordinary memory: slower, and not for NICs without an IOMMU.
    NoHuge,
}

/// How to set DPDK up.
#[derive(Debug, Clone, Default)]
pub struct EalArgs {
    /// The CPU of the main lcore.
    pub main_cpu: u32,
    /// A worker's CPU each; a number may stand twice or equal `main_cpu`, those lcores share the CPU.
    pub worker_cpus: Vec<u32>,
    /// Where memory comes from.
    pub memory: Memory,
    /// How much memory, in MiB, is reserved at start; twice as much where it is not in huge pages.
    pub memory_mib: u32,
    /// The PCI devices to probe, `0000:3b:00.0`, with or without arguments; the PCI bus is left alone if empty.
    pub pci: Vec<String>,
    /// Tells this process from other DPDK processes of the machine; EAL's own where it is empty.
    pub file_prefix: String,
    /// Further arguments for EAL, last.
    pub extra: Vec<String>,
}

/// True for a PCI address, `0000:3b:00.0` or `3b:00.0`, with or without `,arguments`; false for a vdev.
pub fn is_pci(device: &str) -> bool {
    let address = device.split(',').next().unwrap_or_default();
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = address.split(':').collect();
    let (domain, bus, slot) = match parts[..] {
        [domain, bus, slot] => (Some(domain), bus, slot),
        [bus, slot] => (None, bus, slot),
        _ => return false,
    };
    let slot = slot.split_once('.').is_some_and(|(device, function)| hex(device, 2) && hex(function, 1));
    domain.is_none_or(|domain| hex(domain, 4) || hex(domain, 8)) && hex(bus, 2) && slot
}

impl EalArgs {
    /// The argument vector. `huge_pages` is `memory` after it was decided.
    ///
    /// Lcore 0 is the main one, 1 to N are the workers. vdevs are not among the arguments: EAL reports only that one
    /// of them failed, [`Port::open`](super::Port::open) which and why.
    pub(super) fn to_argv(&self, huge_pages: bool) -> Vec<String> {
        let mut argv: Vec<String> = vec!["nat-gateway".into(), "--lcores".into(), self.lcores()];
        if !self.file_prefix.is_empty() {
            argv.extend(["--file-prefix".into(), self.file_prefix.clone()]);
        }
        argv.push("--no-telemetry".into());
        if self.memory_mib > 0 {
            // An ordinary page holds no part of a second buffer: one of 2.4 KiB takes 4 KiB.
            let mib = if huge_pages { self.memory_mib } else { self.memory_mib.saturating_mul(2) };
            argv.extend(["-m".into(), mib.to_string()]);
        }
        if huge_pages {
            argv.push("--in-memory".into());
        } else {
            // 22.11 refuses --in-memory beside --no-huge; without a shared configuration nothing is written to /run.
            argv.extend(["--no-huge", "--no-shconf", "--iova-mode", "va"].map(String::from));
        }
        let allows = |argument: &String| argument.starts_with("-a") || argument.starts_with("--allow");
        if self.pci.is_empty() && !self.extra.iter().any(allows) {
            argv.push("--no-pci".into());
        }
        for device in &self.pci {
            argv.extend(["-a".into(), device.clone()]);
        }
        argv.extend(self.extra.iter().cloned());
        argv
    }

    fn lcores(&self) -> String {
        let cpus = std::iter::once(self.main_cpu).chain(self.worker_cpus.iter().copied());
        cpus.enumerate().map(|(lcore, cpu)| format!("{lcore}@{cpu}")).collect::<Vec<_>>().join(",")
    }

    /// Refuses what EAL would refuse without saying why. `allowed` is the kernel's list of CPUs: `0-3,8`.
    pub(super) fn check(&self, allowed: &str) -> Result<(), Error> {
        let wanted = 1 + self.worker_cpus.len();
        let limit = dpdk_sys::RTE_MAX_LCORE as usize;
        if wanted > limit {
            return Err(Error::TooManyLcores { wanted, limit });
        }
        let mut cpus = std::iter::once(self.main_cpu).chain(self.worker_cpus.iter().copied());
        match cpus.find(|&cpu| !list_contains(allowed, cpu)) {
            Some(cpu) => Err(Error::Cpu { cpu, allowed: allowed.to_owned() }),
            None => Ok(()),
        }
    }
}

fn list_contains(list: &str, cpu: u32) -> bool {
    list.trim().split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().is_ok_and(|first: u32| first <= cpu) && last.parse().is_ok_and(|last: u32| cpu <= last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lcores_may_share_a_cpu() {
        let args = EalArgs { main_cpu: 3, worker_cpus: vec![1, 1, 3], ..EalArgs::default() };
        assert_eq!(args.lcores(), "0@3,1@1,2@1,3@3");
    }

    #[test]
    fn huge_pages_and_ordinary_memory_exclude_each_other() {
        let args = EalArgs { memory_mib: 64, file_prefix: "gw".into(), ..EalArgs::default() };
        assert_eq!(
            args.to_argv(true).join(" "),
            "nat-gateway --lcores 0@0 --file-prefix gw --no-telemetry -m 64 --in-memory --no-pci"
        );
        assert_eq!(
            args.to_argv(false).join(" "),
            "nat-gateway --lcores 0@0 --file-prefix gw --no-telemetry -m 128 --no-huge --no-shconf --iova-mode va --no-pci"
        );
    }

    #[test]
    fn only_configured_pci_devices_are_probed() {
        let args = EalArgs { pci: vec!["0000:3b:00.0".into()], ..EalArgs::default() };
        let argv = args.to_argv(true).join(" ");
        assert!(argv.ends_with("-a 0000:3b:00.0") && !argv.contains("--no-pci"), "{argv}");
    }

    #[test]
    fn tells_a_pci_address_from_a_vdev() {
        for device in ["0000:3b:00.0", "3b:00.1", "0000:3b:00.0,mprq_en=1"] {
            assert!(is_pci(device), "{device}");
        }
        for device in ["net_tap0,iface=tap-in", "net_ring0", "0000:3b:00", "", "a:b"] {
            assert!(!is_pci(device), "{device}");
        }
    }

    #[test]
    fn refuses_a_cpu_outside_the_cpuset() {
        let args = EalArgs { main_cpu: 0, worker_cpus: vec![2, 5], ..EalArgs::default() };
        assert_eq!(args.check("0-3,5"), Ok(()));
        let error = args.check("0-3,7").unwrap_err();
        assert_eq!(error.to_string(), "CPU 5 is not available: this process may run on CPUs 0-3,7");
    }
}
