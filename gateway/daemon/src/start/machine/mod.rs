//! What of this machine keeps the gateway from starting, or from its speed: `nat-gateway check` warns of it.
//!
//! All of it is read from `/proc` and `/sys` below a root directory; nothing is changed, no device is touched. What cannot
//! be read is not warned of. A configuration without PCI devices gets no warning: virtual devices need none of this.
//! `scripts/bind-nic.sh` says the same in the same words where it looks at the same things.

mod cpu;
mod cpus;
mod device;
mod memory;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use super::plan;
use cpus::Cpus;
use device::Port;
use natgw_config::{Config, Device, Idle, Memory};

/// Something that is not as the gateway wants it, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What was found.
    pub found: String,
    /// The command, or the setting, that mends it.
    pub remedy: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.found, self.remedy)
    }
}

/// What this configuration lacks on the machine whose files are below `root`, usually `/`.
pub fn warnings(config: &Config, root: &Path) -> Vec<Warning> {
    let machine = Machine { root: root.to_owned() };
    let ports = config.interfaces.iter().filter_map(|interface| match &interface.device {
        Device::Pci(address) => Some(Port::read(&machine, address)),
        Device::Vdev(_) => None,
    });
    let ports: Vec<Port> = ports.collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let workers: Cpus = config.dpdk.worker_lcores.iter().copied().collect();
    let mut found = device::warnings(&machine, &ports);
    if config.dpdk.memory != Memory::NoHuge && !machine.listens(&config.management.socket.path) {
        found.extend(memory::warnings(&machine, &ports, plan::eal_args(config).memory_mib));
    }
    let (workers, absent) = cpu::present(&machine, workers);
    found.extend(absent);
    found.extend(cpu::place_warnings(&machine, &ports, &workers));
    if config.dpdk.idle == Idle::Poll {
        found.extend(cpu::noise_warnings(&machine, &workers, config.dpdk.main_lcore));
    }
    found
}

/// The files that tell of a machine.
struct Machine {
    root: PathBuf,
}

impl Machine {
    /// A file's text without blanks around it.
    fn read(&self, path: &str) -> Option<String> {
        Some(fs::read_to_string(self.root.join(path)).ok()?.trim().to_owned())
    }

    fn number(&self, path: &str) -> Option<i64> {
        self.read(path)?.parse().ok()
    }

    fn cpus(&self, path: &str) -> Option<Cpus> {
        self.read(path)?.parse().ok()
    }

    fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Whether a process listens on a unix socket: a gateway that runs has the huge pages that it needs.
    fn listens(&self, socket: &Path) -> bool {
        let socket = format!(" {}", socket.display());
        self.read("proc/net/unix").is_some_and(|sockets| sockets.lines().any(|line| line.ends_with(&socket)))
    }

    /// The names in a directory, in order.
    fn names(&self, path: &str) -> BTreeSet<String> {
        let entries = fs::read_dir(self.root.join(path)).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// The name of what a symbolic link points to.
    fn linked(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.root.join(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }
}
