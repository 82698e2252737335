//! PCI devices: there, bound to a driver that DPDK can use, behind an IOMMU.

use super::{Machine, Warning};
use natgw_dpdk::WITHOUT_VFIO;

/// A PCI device that the configuration names.
pub(super) struct Port {
    pub(super) address: String,
    is_there: bool,
    driver: Option<String>,
    /// Its NUMA node, where the machine has several.
    pub(super) node: Option<i64>,
}

impl Port {
    pub(super) fn read(machine: &Machine, address: &str) -> Port {
        let device = format!("sys/bus/pci/devices/{address}");
        Port {
            address: address.to_owned(),
            is_there: machine.exists(&device),
            driver: machine.linked(&format!("{device}/driver")),
            node: machine.number(&format!("{device}/numa_node")).filter(|node| *node >= 0),
        }
    }

    fn needs_vfio(&self) -> bool {
        !self.driver.as_deref().is_some_and(|driver| WITHOUT_VFIO.contains(&driver))
    }

    fn obstacle(&self) -> Option<Warning> {
        let address = &self.address;
        if !self.is_there {
            let found = format!("{address}: no such PCI device");
            return Some(Warning { found, remedy: "lspci -D lists them".into() });
        }
        let driver = self.driver.as_deref().unwrap_or("no driver");
        (self.needs_vfio() && driver != "vfio-pci").then(|| Warning {
            found: format!("{address} is bound to {driver}, not to vfio-pci"),
            remedy: format!("scripts/bind-nic.sh {address}"),
        })
    }
}

/// What is wrong with the devices.
pub(super) fn warnings(machine: &Machine, ports: &[Port]) -> Vec<Warning> {
    let no_iommu = ports.iter().any(Port::needs_vfio) && machine.names("sys/class/iommu").is_empty();
    let iommu = no_iommu.then(|| Warning {
        found: "no IOMMU".into(),
        remedy:
            "firmware: switch VT-d or AMD-Vi on; kernel command line: intel_iommu=on iommu=pt (AMD: iommu=pt)"
                .into(),
    });
    ports.iter().filter_map(Port::obstacle).chain(iommu).collect()
}
