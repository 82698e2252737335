//! Finding a device, and saying why there is none.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;

use super::args::is_pci;
use super::{Eal, Error, log, tap};

const TUN: &str = "/dev/net/tun";
const CAP_NET_ADMIN: u32 = 12;

/// Kernel drivers that a PCI device keeps under DPDK, or may be bound to in vfio-pci's place.
pub const WITHOUT_VFIO: [&str; 5] = ["mlx4_core", "mlx5_core", "mana", "uio_pci_generic", "igb_uio"];

/// What DPDK returns when no driver claims the name of a vdev.
const EFAULT: i32 = 14;

/// A device attached to DPDK: its port, and what detaches it.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) port: u16,
    pub(super) bus: &'static str,
    pub(super) name: String,
}

/// Attaches `device`, a PCI address or a vdev with its arguments, unless EAL has done so already.
pub(super) fn attach(eal: &Eal, device: &str) -> Result<Attached, Error> {
    let (name, arguments) = device.split_once(',').unwrap_or((device, ""));
    let bus = if is_pci(device) { "pci" } else { "vdev" };
    let name =
        if bus == "pci" && name.matches(':').count() == 1 { format!("0000:{name}") } else { name.into() };
    let c_name = c_string(&name)?;
    let c_arguments = c_string(arguments)?;
    let mut ports = eal.ports();
    log::forget();
    if port_by_name(&c_name).is_none() {
        if name.starts_with("net_tap") {
            tap::take_trigger_signals().unwrap_or_else(
                |error| tracing::warn!(%error, "net_tap may leave a frame unread for a while"),
            );
        }
        let c_bus = if bus == "pci" { c"pci" } else { c"vdev" };
        // SAFETY: three C strings, which DPDK copies; the lock on the ports keeps other attachments out.
        let result =
            unsafe { dpdk_sys::rte_eal_hotplug_add(c_bus.as_ptr(), c_name.as_ptr(), c_arguments.as_ptr()) };
        if result < 0 {
            return Err(diagnose(device, &name, bus, result));
        }
        log::forget();
    }
    let Some(port) = port_by_name(&c_name) else {
        let reason = "is attached, but no driver made an Ethernet port of it".to_owned();
        return Err(Error::NoDevice { device: device.to_owned(), reason });
    };
    if !ports.insert(port) {
        return Err(Error::InUse { device: device.to_owned(), port });
    }
    Ok(Attached { port, bus, name })
}

/// Detaches a device whose port is closed.
pub(super) fn detach(attached: &Attached) {
    let (Ok(bus), Ok(name)) = (c_string(attached.bus), c_string(&attached.name)) else { return };
    // SAFETY: two C strings; the caller holds the lock on the ports and has closed this one.
    let result = unsafe { dpdk_sys::rte_eal_hotplug_remove(bus.as_ptr(), name.as_ptr()) };
    if result < 0 {
        let error = Error::call("rte_eal_hotplug_remove", result, attached.name.clone());
        tracing::warn!(%error, "a device stays attached");
    }
}

fn c_string(text: &str) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::Nul(text.to_owned()))
}

fn port_by_name(name: &CString) -> Option<u16> {
    let mut port = 0;
    // SAFETY: a C string, and room for the port number.
    let result = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut port) };
    (result == 0).then_some(port)
}

fn diagnose(device: &str, name: &str, bus: &str, result: i32) -> Error {
    let device = device.to_owned();
    let reason = if bus == "pci" { missing_pci(name) } else { missing_vdev(name, result) };
    match reason {
        Some(Obstacle::Missing(reason)) => Error::NoDevice { device, reason },
        Some(Obstacle::Forbidden(reason)) => Error::Permission { device, reason },
        // Drivers return -1 for "something", which is no errno.
        None => Error::call("rte_eal_hotplug_add", if result == -1 { 0 } else { result }, device),
    }
}

enum Obstacle {
    Missing(String),
    Forbidden(String),
}

fn missing_vdev(name: &str, result: i32) -> Option<Obstacle> {
    let driver = name.trim_end_matches(|character: char| character.is_ascii_digit());
    if driver == "net_tap" {
        return missing_tun();
    }
    let package = driver.replace('_', "-");
    (result == -EFAULT).then(|| {
        Obstacle::Missing(format!(
            "DPDK has no driver {driver}: check the name, or install the driver (Debian: librte-{package}*)"
        ))
    })
}

fn missing_tun() -> Option<Obstacle> {
    let forbidden =
        |what| Some(Obstacle::Forbidden(format!("{what}: run as root or with the capability NET_ADMIN")));
    match OpenOptions::new().read(true).write(true).open(TUN) {
        Err(error) if error.kind() == ErrorKind::NotFound => Some(Obstacle::Missing(format!(
            "{TUN} does not exist: modprobe tun, in a container --device {TUN}"
        ))),
        Err(error) => forbidden(format!("{TUN} cannot be opened ({error})")),
        Ok(_) if !has_capability(CAP_NET_ADMIN) => forbidden("a tap device cannot be made".to_owned()),
        Ok(_) => None,
    }
}

fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_none_or(|mask| mask >> number & 1 == 1)
}

fn missing_pci(address: &str) -> Option<Obstacle> {
    let directory = Path::new("/sys/bus/pci/devices").join(address);
    if !directory.exists() {
        return Some(Obstacle::Missing("no such PCI device: see lspci -D".into()));
    }
    let driver = fs::read_link(directory.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    match driver {
        Some("vfio-pci") => {
            let group = fs::read_link(directory.join("iommu_group")).ok()?;
            let file = Path::new("/dev/vfio").join(group.file_name()?);
            let error = File::open(&file).err().filter(|error| error.kind() != ErrorKind::ResourceBusy)?;
            Some(Obstacle::Forbidden(format!("{} cannot be opened ({error})", file.display())))
        }
        Some(driver) if WITHOUT_VFIO.contains(&driver) => None,
        other => Some(Obstacle::Missing(format!(
            "is bound to {}, not to vfio-pci: scripts/bind-nic.sh {address}",
            other.unwrap_or("no driver")
        ))),
    }
}
