//! An open port of DPDK: what its handle, its queues and its driver's special cases share.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dpdk_sys::{rte_eth_dev_info, rte_ether_addr};

use super::attach::{self, Attached};
use super::error::check;
use super::gate::Gate;
use super::memif::Memif;
use super::{Consumer, Eal, Error, Mempool, Producer};

/// What a device is and can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    /// DPDK's name of the driver: `net_ixgbe`.
    pub driver: String,
    /// The largest number of receive queues.
    pub max_rx_queues: u16,
    /// The largest number of transmit queues.
    pub max_tx_queues: u16,
    /// Entries of the RSS redirection table; 0 if there is none.
    pub reta_size: u16,
    /// Bytes of the RSS key; 0 if there is none.
    pub rss_key_size: u8,
    /// What RSS can hash, `RTE_ETH_RSS_*`.
    pub rss_offloads: u64,
    /// The smallest MTU.
    pub min_mtu: u16,
    /// The largest MTU, as far as the device reports it.
    pub max_mtu: u16,
    /// The largest frame, link-layer header included.
    pub max_frame: u32,
    /// The MAC address.
    pub mac: [u8; 6],
    /// The NUMA node, where the device has one.
    pub socket: Option<u32>,
}

impl PortInfo {
    /// True if RSS can hash source and destination address of any IPv4 packet, without ports.
    pub fn rss_by_addresses(&self) -> bool {
        self.rss_offloads & dpdk_sys::ETH_RSS_IPV4 != 0
    }
}

/// An open port of DPDK and everything it needs, shared by the port and its queues.
#[derive(Debug)]
pub(super) struct Device {
    attached: Attached,
    started: AtomicBool,
    /// The MAC address in place of the device's own, where the device cannot be given it.
    station: OnceLock<[u8; 6]>,
    memif: Option<Memif>,
    /// One control operation at a time: DPDK's are not made for several threads.
    control: Mutex<Kept>,
    eal: Eal,
}

/// What must outlive the open port.
#[derive(Debug, Default)]
struct Kept {
    pools: Vec<Mempool>,
    _rings: Option<(Vec<Consumer>, Vec<Producer>)>,
}

impl Device {
    pub(super) fn new(
        eal: &Eal,
        attached: Attached,
        rings: Option<(Vec<Consumer>, Vec<Producer>)>,
        memif: Option<Memif>,
    ) -> Arc<Device> {
        let kept = Kept { pools: Vec::new(), _rings: rings };
        let started = AtomicBool::new(false);
        Arc::new(Device {
            attached,
            started,
            station: OnceLock::new(),
            memif,
            control: Mutex::new(kept),
            eal: eal.clone(),
        })
    }

    pub(super) fn id(&self) -> u16 {
        self.attached.port
    }

    /// For errors: "port 1, net_tap1".
    pub(super) fn context(&self) -> String {
        format!("port {}, {}", self.attached.port, self.attached.name)
    }

    pub(super) fn name(&self) -> &str {
        &self.attached.name
    }

    pub(super) fn keep(&self, pools: &[Mempool]) {
        self.control.lock().unwrap_or_else(PoisonError::into_inner).pools.extend_from_slice(pools);
    }

    /// Starts the port, once it is configured. A memif client's start fails while its server is not there.
    pub(super) fn start(&self) -> Result<(), Error> {
        let memif = self.memif();
        let before = memif.and_then(Memif::connections);
        // SAFETY: the port is configured and its queues are set up; no thread is in them, as it is stopped and its gate, if it
        // has one, is closed.
        let result = unsafe { dpdk_sys::rte_eth_dev_start(self.id()) };
        check("rte_eth_dev_start", result, || self.context())?;
        self.started.store(true, Ordering::Release);
        if let Some(memif) = memif {
            memif.started(before);
        }
        Ok(())
    }

    /// Stops a memif port between bursts.
    pub(super) fn stop(&self, memif: &Memif) {
        // Here the driver disconnects, which the interrupt thread must not do at the same time.
        let _held = memif.hold();
        memif.gate().close();
        // SAFETY: the port is started, and no thread is in its queues, as the gate is closed.
        let result = unsafe { dpdk_sys::rte_eth_dev_stop(self.id()) };
        if let Err(error) = check("rte_eth_dev_stop", result, || self.context()) {
            tracing::warn!(%error, "a memif port does not stop");
        }
        self.started.store(false, Ordering::Release);
    }

    pub(super) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(super) fn memif(&self) -> Option<&Memif> {
        self.memif.as_ref()
    }

    /// What each burst has to pass, where the driver needs that.
    pub(super) fn gate(&self) -> Option<&Arc<Gate>> {
        self.memif().map(Memif::gate)
    }

    pub(super) fn exclusively<T>(&self, operation: impl FnOnce(&Device) -> T) -> T {
        let _guard = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        operation(self)
    }

    /// From now on frames are sent from this address and taken for it, whatever the device's own is.
    pub(super) fn be_station(&self, mac: [u8; 6]) {
        self.station.get_or_init(|| mac);
    }

    pub(super) fn mac(&self) -> Result<[u8; 6], Error> {
        if let Some(station) = self.station.get() {
            return Ok(*station);
        }
        let mut mac = rte_ether_addr::default();
        // SAFETY: the port is open while `self` lives; DPDK fills the structure.
        let result = unsafe { dpdk_sys::rte_eth_macaddr_get(self.id(), &mut mac) };
        check("rte_eth_macaddr_get", result, || self.context())?;
        Ok(mac.addr_bytes)
    }

    pub(super) fn raw_info(&self) -> Result<rte_eth_dev_info, Error> {
        let mut info = rte_eth_dev_info::default();
        // SAFETY: as in `mac`.
        let result = unsafe { dpdk_sys::rte_eth_dev_info_get(self.id(), &mut info) };
        check("rte_eth_dev_info_get", result, || self.context())?;
        Ok(info)
    }

    pub(super) fn info(&self) -> Result<PortInfo, Error> {
        let info = self.raw_info()?;
        // SAFETY: DPDK sets the name to a string of the driver, which stays loaded.
        let driver = unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned();
        // SAFETY: the port is open.
        let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(self.id()) };
        let queues_max = if driver == "net_tap" { TAP_QUEUES_MAX } else { u16::MAX };
        Ok(PortInfo {
            driver,
            max_rx_queues: info.max_rx_queues.min(queues_max),
            max_tx_queues: info.max_tx_queues.min(queues_max),
            reta_size: info.reta_size,
            rss_key_size: info.hash_key_size,
            rss_offloads: info.flow_type_rss_offloads,
            min_mtu: info.min_mtu,
            max_mtu: max_mtu(&info),
            max_frame: info.max_rx_pktlen,
            mac: self.mac()?,
            socket: u32::try_from(socket).ok(),
        })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _held = self.memif.as_ref().map(Memif::hold);
        let mut ports = self.eal.ports();
        // SAFETY: the port is open and this is the last handle: no queue is in use. Stop, then close, then detach; what
        // the driver holds of the pools goes back to them before they are dropped with `control`.
        unsafe {
            if *self.started.get_mut() {
                let result = dpdk_sys::rte_eth_dev_stop(self.id());
                warn(check("rte_eth_dev_stop", result, || self.context()));
            }
            let result = dpdk_sys::rte_eth_dev_close(self.id());
            warn(check("rte_eth_dev_close", result, || self.context()));
        }
        attach::detach(&self.attached);
        ports.remove(&self.id());
    }
}

fn warn(result: Result<i32, Error>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a port is not closed cleanly");
    }
}

/// The largest MTU with which `rte_eth_dev_configure` takes the device: some drivers report the frame's length alone.
fn max_mtu(info: &rte_eth_dev_info) -> u16 {
    let told = info.max_mtu != u16::MAX && info.max_rx_pktlen > u32::from(info.max_mtu);
    let overhead = if told { info.max_rx_pktlen - u32::from(info.max_mtu) } else { ETHER_HDR_AND_CRC };
    let fits = info.max_rx_pktlen.saturating_sub(overhead);
    info.max_mtu.min(u16::try_from(fits).unwrap_or(u16::MAX))
}

/// `RTE_ETHER_HDR_LEN` and `RTE_ETHER_CRC_LEN`, which DPDK reckons a frame has beyond its MTU.
const ETHER_HDR_AND_CRC: u32 = 14 + 4;

/// net_tap offers 16 queues, but when it starts it puts a file descriptor of each, of both kinds, into a message for
/// secondary processes without checking how many that holds: five queues break its stack where the message holds 8.
const TAP_QUEUES_MAX: u16 = dpdk_sys::RTE_MP_MAX_FD_NUM as u16 / 2;
