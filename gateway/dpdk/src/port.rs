//! Ports: a NIC or a virtual device, before and after it is started.

use std::sync::{Arc, Mutex, PoisonError};

use super::attach::{self, Attached};
use super::device::{Device, PortInfo};
use super::log;
use super::memif::Memif;
use super::stats::{self, Link, PortStats};
use super::{Consumer, Eal, Error, Producer, RssReport, RxQueue, TxQueue};

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
    /// DPDK's number of the port, as [`Mbuf::port`](super::Mbuf::port) returns it.
    pub fn id(&self) -> u16 {
        self.device.id()
    }

    /// The device's name without arguments.
    pub fn name(&self) -> &str {
        self.device.name()
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

    /// Whether the NIC or software spreads frames over the receive queues, and why.
    pub fn rss_report(&self) -> &RssReport {
        &self.state.rss
    }
}

fn take(free: &Mutex<Vec<bool>>, index: u16) -> bool {
    let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
    free.get_mut(usize::from(index)).is_some_and(std::mem::take)
}
