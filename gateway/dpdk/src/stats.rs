//! What a port counts, and the state of its link.

use std::ffi::CStr;

use dpdk_sys::{rte_eth_stats, rte_eth_xstat, rte_eth_xstat_name, shim_link};

use super::Error;
use super::device::Device;
use super::error::check;

/// The counters that every driver has, since the port was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames dropped by the NIC because a receive queue was full.
    pub rx_missed: u64,
    /// Frames received with an error.
    pub rx_errors: u64,
    /// Receptions that failed because the pool was empty.
    pub rx_no_buffer: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
}

/// The state of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// True if frames can pass.
    pub up: bool,
    /// The speed in Mbit/s, where the driver knows it.
    pub speed_mbps: Option<u32>,
    /// False on half duplex.
    pub full_duplex: bool,
}

pub(super) fn read_stats(device: &Device) -> Result<PortStats, Error> {
    let mut stats = rte_eth_stats::default();
    // SAFETY: the port is open while `device` lives; DPDK fills the structure.
    let result = unsafe { dpdk_sys::rte_eth_stats_get(device.id(), &mut stats) };
    check("rte_eth_stats_get", result, || device.context())?;
    Ok(PortStats {
        rx_packets: stats.ipackets,
        rx_bytes: stats.ibytes,
        rx_missed: stats.imissed,
        rx_errors: stats.ierrors,
        rx_no_buffer: stats.rx_nombuf,
        tx_packets: stats.opackets,
        tx_bytes: stats.obytes,
        tx_errors: stats.oerrors,
    })
}

/// The driver's own counters, by name, in its order.
pub(super) fn read_xstats(device: &Device) -> Result<Vec<(String, u64)>, Error> {
    // SAFETY: the port is open; without room DPDK writes nothing and returns the number of counters.
    let count = unsafe { dpdk_sys::rte_eth_xstats_get(device.id(), std::ptr::null_mut(), 0) };
    let count = check("rte_eth_xstats_get", count, || device.context())? as u32;
    let mut names = vec![rte_eth_xstat_name { name: [0; 64] }; count as usize];
    let mut values = vec![rte_eth_xstat { id: 0, value: 0 }; count as usize];
    // SAFETY: both have room for `count` entries, the length that DPDK is given.
    let named = unsafe { dpdk_sys::rte_eth_xstats_get_names(device.id(), names.as_mut_ptr(), count) };
    check("rte_eth_xstats_get_names", named, || device.context())?;
    // SAFETY: as above.
    let read = unsafe { dpdk_sys::rte_eth_xstats_get(device.id(), values.as_mut_ptr(), count) };
    let read = check("rte_eth_xstats_get", read, || device.context())? as usize;
    let name = |id: u64| {
        let bytes = names.get(usize::try_from(id).ok()?)?.name.map(|byte| byte as u8);
        Some(CStr::from_bytes_until_nul(&bytes).ok()?.to_string_lossy().into_owned())
    };
    Ok(values.iter().take(read).filter_map(|counter| Some((name(counter.id)?, counter.value))).collect())
}

pub(super) fn read_link(device: &Device) -> Result<Link, Error> {
    let mut link = shim_link::default();
    // SAFETY: the port is open; the shim fills the structure.
    let result = unsafe { dpdk_sys::shim_eth_link(device.id(), &mut link) };
    check("rte_eth_link_get_nowait", result, || device.context())?;
    let known = |speed: &u32| *speed != 0 && *speed != dpdk_sys::ETH_SPEED_UNKNOWN;
    Ok(Link {
        up: link.up != 0,
        speed_mbps: Some(link.speed_mbps).filter(known),
        full_duplex: link.full_duplex != 0,
    })
}
