//! Ports: a NIC or a virtual device, before and after it is started.

use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dpdk_sys::{rte_eth_dev_info, rte_ether_addr};

use super::attach::{self, Attached};
use super::error::check;
use super::gate::Gate;
use super::log;
use super::memif::Memif;
use super::stats::{self, Link, PortStats};
use super::{Consumer, Eal, Error, Mempool, Producer, RssReport, RxQueue, TxQueue};

/// A port that is open and can be configured.
#[derive(Debug)]
pub struct Stopped;

/// A port that receives and sends.
#[derive(Debug)]
pub struct Started {
    rx: Mutex<Vec<bool>>,
    tx: Mutex<Vec<bool>>,
    rss: RssReport,
}

/// A port of DPDK. It is stopped, closed and detached when this and all its queues are dropped.
#[derive(Debug)]
pub struct Port<S> {
    pub(super) device: Arc<Device>,
    pub(super) state: S,
}

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
    /// The largest MTU, as far as the device tells.
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

impl Port<Stopped> {
    /// Opens a device: a PCI address, `0000:3b:00.0`, or a vdev, `net_tap0,iface=tap-in`; either with arguments.
    ///
    /// For a net_tap the process takes SIGIO and the real-time signals, which the driver would use badly, and ignores
    /// them from then on.
    pub fn open(eal: &Eal, device: &str) -> Result<Port<Stopped>, Error> {
        let _setting_up = log::SettingUp::begin();
        // Before the driver is there, for it begins to listen at once.
        let memif = Memif::of(device)?;
        let attached = attach::attach(eal, device)?;
        Ok(Port { device: Device::new(eal, attached, None, memif), state: Stopped })
    }

    /// Makes a port that receives from the queues in `rx` and sends into those in `tx`, for tests.
    pub fn from_rings(
        eal: &Eal,
        name: &str,
        rx: Vec<Consumer>,
        tx: Vec<Producer>,
    ) -> Result<Port<Stopped>, Error> {
        let c_name = std::ffi::CString::new(name).map_err(|_| Error::Nul(name.to_owned()))?;
        let rx_rings: Vec<_> = rx.iter().map(Consumer::as_ptr).collect();
        let tx_rings: Vec<_> = tx.iter().map(Producer::as_ptr).collect();
        let mut ports = eal.ports();
        // SAFETY: the rings are valid and kept by the device until it is closed; as their only consumers and producers
        // they are used by the port's queues alone, which are handed out once. The arrays and the name are copied.
        let port = unsafe {
            dpdk_sys::rte_eth_from_rings(
                c_name.as_ptr(),
                rx_rings.as_ptr(),
                rx_rings.len() as u32,
                tx_rings.as_ptr(),
                tx_rings.len() as u32,
                0,
            )
        };
        let Ok(port) = u16::try_from(port) else {
            return Err(Error::last("rte_eth_from_rings", name));
        };
        ports.insert(port);
        drop(ports);
        let attached = Attached { port, bus: "vdev", name: format!("net_ring_{name}") };
        Ok(Port { device: Device::new(eal, attached, Some((rx, tx)), None), state: Stopped })
    }
}

impl<S> Port<S> {
    /// DPDK's number of the port, as [`Mbuf::port`](super::Mbuf::port) tells it.
    pub fn id(&self) -> u16 {
        self.device.id()
    }

    /// The device's name without arguments.
    pub fn name(&self) -> &str {
        &self.device.attached.name
    }

    /// What the device is and can do.
    pub fn info(&self) -> Result<PortInfo, Error> {
        self.device.info()
    }

    /// The MAC address in use.
    pub fn mac(&self) -> Result<[u8; 6], Error> {
        self.device.mac()
    }
}

impl Port<Started> {
    pub(super) fn started(device: Arc<Device>, rx: u16, tx: u16, rss: RssReport) -> Port<Started> {
        let free = |count: u16| Mutex::new(vec![true; usize::from(count)]);
        Port { device, state: Started { rx: free(rx), tx: free(tx), rss } }
    }

    /// Receive queue `index`, once.
    pub fn take_rx_queue(&self, index: u16) -> Option<RxQueue> {
        take(&self.state.rx, index).then(|| RxQueue::new(self.device.clone(), index))
    }

    /// Transmit queue `index`, once.
    pub fn take_tx_queue(&self, index: u16) -> Option<TxQueue> {
        take(&self.state.tx, index).then(|| TxQueue::new(self.device.clone(), index))
    }

    /// The state of the link now.
    pub fn link(&self) -> Result<Link, Error> {
        self.device.exclusively(stats::read_link)
    }

    /// The counters that every driver has.
    pub fn stats(&self) -> Result<PortStats, Error> {
        self.device.exclusively(stats::read_stats)
    }

    /// The driver's own counters, by name.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, Error> {
        self.device.exclusively(stats::read_xstats)
    }

    /// Who distributes frames over the receive queues, and why.
    pub fn rss_report(&self) -> &RssReport {
        &self.state.rss
    }
}

fn take(free: &Mutex<Vec<bool>>, index: u16) -> bool {
    let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
    free.get_mut(usize::from(index)).is_some_and(std::mem::take)
}

/// An open port of DPDK and everything it needs, shared by the port and its queues.
#[derive(Debug)]
pub(super) struct Device {
    attached: Attached,
    started: AtomicBool,
    /// The station that it is in place of its own, which it cannot be given.
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
    fn new(
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

    pub(super) fn set_started(&self, started: bool) {
        self.started.store(started, Ordering::Release);
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

    fn exclusively<T>(&self, operation: impl FnOnce(&Device) -> T) -> T {
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

/// The largest MTU with which `rte_eth_dev_configure` takes the device: some drivers tell of the frame's length alone.
fn max_mtu(info: &rte_eth_dev_info) -> u16 {
    let told = info.max_mtu != u16::MAX && info.max_rx_pktlen > u32::from(info.max_mtu);
    let overhead = if told { info.max_rx_pktlen - u32::from(info.max_mtu) } else { ETHER_HDR_AND_CRC };
    let fits = info.max_rx_pktlen.saturating_sub(overhead);
    info.max_mtu.min(u16::try_from(fits).unwrap_or(u16::MAX))
}

/// `RTE_ETHER_HDR_LEN` and `RTE_ETHER_CRC_LEN`, which DPDK reckons a frame has beyond its MTU.
const ETHER_HDR_AND_CRC: u32 = 14 + 4;

/// net_tap offers 16 queues, but when it starts it puts a file descriptor of each, of both kinds, into a message for
/// secondary processes without looking how many that holds: five queues break its stack where the message holds 8.
const TAP_QUEUES_MAX: u16 = dpdk_sys::RTE_MP_MAX_FD_NUM as u16 / 2;

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
