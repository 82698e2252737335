//! Configuring and starting a port.

use std::ptr;

use dpdk_sys::{rte_eth_conf, rte_ether_addr};

use super::args::is_pci;
use super::device::{Device, PortInfo};
use super::error::check;
use super::memif::Memif;
use super::port::{Started, Stopped};
use super::{Error, Mempool, Port, RssConfig, RssReport, log, rss};

/// Ethernet header, one VLAN tag: what a frame has beyond its MTU. The frame check sequence stays in the NIC.
const LINK_OVERHEAD: u32 = 14 + 4;

/// How a port is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortConfig {
    /// Receive queues; net_tap wants as many as transmit queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors of a receive queue; rounded to what the device allows.
    pub rx_descriptors: u16,
    /// Descriptors of a transmit queue; rounded to what the device allows.
    pub tx_descriptors: u16,
    /// The largest IP packet, in bytes.
    pub mtu: u16,
    /// Receive frames for other MAC addresses too.
    pub promiscuous: bool,
    /// How frames are to be distributed over the receive queues.
    pub rss: Option<RssConfig>,
    /// Another MAC address than the device's own.
    pub mac: Option<[u8; 6]>,
    /// A memif client is left to a [`Reconnector`](super::Reconnector): until that has found a server, the link is down.
    pub wait_for_peer: bool,
}

impl Default for PortConfig {
    fn default() -> PortConfig {
        PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 1500,
            promiscuous: false,
            rss: None,
            mac: None,
            wait_for_peer: false,
        }
    }
}

impl Port<Stopped> {
    /// Starts the port. Received frames are put into buffers of `pools`: one for each receive queue, or one for all.
    /// On error the port is closed.
    pub fn start(self, config: &PortConfig, pools: &[Mempool]) -> Result<Port<Started>, Error> {
        let _setting_up = log::SettingUp::begin();
        let device = self.device;
        let info = device.info()?;
        check_config(&device, config, &info, pools)?;
        log::forget();
        let objection = configure(&device, config, &info)?;
        let pool = |queue: u16| &pools[usize::from(queue) % pools.len()];
        device.keep(pools);
        set_up_queues(&device, config, pool)?;
        let by_hand = config.mac.map_or(Ok(None), |mac| set_mac(&device, mac, &info.driver))?;
        set_mtu(&device, config.mtu)?;
        let waits = config.wait_for_peer && device.memif().is_some_and(Memif::is_client);
        if !waits {
            device.start()?;
        }
        match by_hand {
            Some(objection) => be_station(&device, &info.driver, objection)?,
            None if config.promiscuous => enable_promiscuous(&device),
            None => {}
        }
        let rss = match &config.rss {
            Some(wanted) if config.rx_queues > 1 => {
                let outcome = objection.map_or_else(|| rss::program(&device, wanted), Err);
                outcome.map_or_else(|reason| RssReport::Software { reason }, |()| RssReport::Hardware)
            }
            _ => RssReport::Unneeded,
        };
        Ok(Port::started(device, config.rx_queues, config.tx_queues, rss))
    }
}

fn check_config(
    device: &Device,
    config: &PortConfig,
    info: &PortInfo,
    pools: &[Mempool],
) -> Result<(), Error> {
    let refuse = |what: String| Err(Error::Unsupported { device: device.name().to_owned(), what });
    let driver = &info.driver;
    if config.rx_queues > info.max_rx_queues || config.tx_queues > info.max_tx_queues {
        return refuse(format!(
            "{} receive and {} transmit queues are too many: {driver} has {} and {}",
            config.rx_queues, config.tx_queues, info.max_rx_queues, info.max_tx_queues
        ));
    }
    if driver == "net_tap" && config.rx_queues != config.tx_queues {
        return refuse(format!(
            "{} receive and {} transmit queues: net_tap wants as many of one as of the other",
            config.rx_queues, config.tx_queues
        ));
    }
    if config.mtu < info.min_mtu || config.mtu > info.max_mtu {
        let (device, driver) = (device.name().to_owned(), driver.clone());
        return Err(Error::Mtu { device, mtu: config.mtu, driver, min: info.min_mtu, max: info.max_mtu });
    }
    if pools.len() != 1 && pools.len() != usize::from(config.rx_queues) {
        return refuse(format!("{} pools for {} receive queues", pools.len(), config.rx_queues));
    }
    let frame = u32::from(config.mtu) + LINK_OVERHEAD;
    let room = pools.iter().map(|pool| pool.data_room().saturating_sub(Mempool::HEADROOM)).min().unwrap_or(0);
    if frame > u32::from(room) {
        return refuse(format!("frames of {frame} bytes do not fit the pool's buffers of {room}"));
    }
    Ok(())
}

/// `rte_eth_dev_configure`, with RSS if that is wanted and possible. Returns why it is not.
fn configure(device: &Device, config: &PortConfig, info: &PortInfo) -> Result<Option<String>, Error> {
    let raw_info = device.raw_info()?;
    let mut conf = rte_eth_conf::default();
    conf.rxmode.mtu = u32::from(config.mtu);
    // By the plain addresses, or else by whatever the device can: a handover is better than one busy queue.
    let types = match info.rss_offloads & dpdk_sys::ETH_RSS_IPV4 {
        0 => info.rss_offloads & dpdk_sys::ETH_RSS_IPV4_ANY,
        plain => plain,
    };
    let spread = config.rx_queues > 1 && types != 0;
    let wanted = config.rss.as_ref();
    let mut objection = wanted.and_then(|wanted| rss::objection(wanted, info));
    // Without a key of ours, the device's own still spreads the load.
    let mut key = wanted.filter(|_| objection.is_none()).map(|wanted| wanted.key.clone());
    if spread {
        conf.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
        conf.rxmode.offloads |= raw_info.rx_offload_capa & dpdk_sys::ETH_RX_OFFLOAD_RSS_HASH;
        conf.rx_adv_conf.rss_conf.rss_hf = types;
        if let Some(key) = &mut key {
            conf.rx_adv_conf.rss_conf.rss_key = key.as_mut_ptr();
            conf.rx_adv_conf.rss_conf.rss_key_len = info.rss_key_size;
        }
    }
    let first = try_configure(device, config, &conf);
    if !spread || first.is_ok() {
        return first.map(|()| objection);
    }
    conf.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_NONE;
    conf.rxmode.offloads = 0;
    conf.rx_adv_conf = Default::default();
    try_configure(device, config, &conf)?;
    if let Err(error) = first {
        objection.get_or_insert(error.to_string());
    }
    Ok(objection)
}

fn try_configure(device: &Device, config: &PortConfig, conf: &rte_eth_conf) -> Result<(), Error> {
    // SAFETY: the port is open and stopped; DPDK copies `conf`, and the driver the key it points to.
    let result =
        unsafe { dpdk_sys::rte_eth_dev_configure(device.id(), config.rx_queues, config.tx_queues, conf) };
    check("rte_eth_dev_configure", result, || device.context()).map(drop)
}

fn set_up_queues<'a>(
    device: &Device,
    config: &PortConfig,
    pool: impl Fn(u16) -> &'a Mempool,
) -> Result<(), Error> {
    let (mut rx, mut tx) = (config.rx_descriptors, config.tx_descriptors);
    // SAFETY: the port is open; DPDK corrects the two numbers.
    let result = unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(device.id(), &mut rx, &mut tx) };
    check("rte_eth_dev_adjust_nb_rx_tx_desc", result, || device.context())?;
    // SAFETY: the port is open. The pool outlives the queue, as the device keeps it. Null: the driver's defaults.
    let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(device.id()) } as u32;
    for queue in 0..config.rx_queues {
        let pool = pool(queue);
        // SAFETY: as above.
        let result = unsafe {
            dpdk_sys::rte_eth_rx_queue_setup(device.id(), queue, rx, socket, ptr::null(), pool.as_ptr())
        };
        check("rte_eth_rx_queue_setup", result, || {
            // Drivers fill the queue with buffers: too few are the usual cause.
            format!("{}; its pool has {} free buffers", queue_context(device, queue, rx), pool.available())
        })?;
    }
    for queue in 0..config.tx_queues {
        // SAFETY: as above.
        let result = unsafe { dpdk_sys::rte_eth_tx_queue_setup(device.id(), queue, tx, socket, ptr::null()) };
        check("rte_eth_tx_queue_setup", result, || queue_context(device, queue, tx))?;
    }
    Ok(())
}

fn queue_context(device: &Device, queue: u16, descriptors: u16) -> String {
    format!("{}, queue {queue} of {descriptors} descriptors", device.context())
}

/// A device whose driver has no call for its MAC address, and the address that it is to have.
struct NoCall {
    mac: [u8; 6],
    reason: String,
}

/// Gives the device its MAC address, unless it has it already: by an argument, or from the kernel. What its driver has no call
/// for is to be done once it is started.
fn set_mac(device: &Device, mac: [u8; 6], driver: &str) -> Result<Option<NoCall>, Error> {
    if device.mac()? == mac {
        return Ok(None);
    }
    let mut address = rte_ether_addr { addr_bytes: mac };
    // SAFETY: the port is open; DPDK copies the address.
    let result = unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(device.id(), &mut address) };
    match check("rte_eth_dev_default_mac_addr_set", result, || device.context()) {
        Ok(_) => Ok(None),
        Err(error) if result == -ENOTSUP => Ok(Some(NoCall { mac, reason: error.to_string() })),
        Err(error) => {
            let remedy = if is_pci(device.name()) {
                "a virtual function may get it of its physical one: ip link set dev PF vf NUMBER mac MAC"
            } else {
                "give the network device that address before: ip link set dev NAME address MAC"
            };
            Err(mac_error(device, mac, driver, error.to_string(), remedy))
        }
    }
}

/// Lets the gateway be the station in the device's place, which hands over every frame: the worker looks at the address.
fn be_station(device: &Device, driver: &str, no_call: NoCall) -> Result<(), Error> {
    let NoCall { mac, reason } = no_call;
    if !HAND_OVER_ALL.contains(&driver) {
        // SAFETY: the port is open.
        let result = unsafe { dpdk_sys::rte_eth_promiscuous_enable(device.id()) };
        if result < 0 {
            log::forget();
            let remedy =
                "give the network device that address (ip link set dev NAME address MAC), or leave mac out";
            return Err(mac_error(device, mac, driver, reason, remedy));
        }
    }
    device.be_station(mac);
    tracing::debug!(device = device.name(), mac = %mac_text(mac), "every frame is taken, and the MAC address looked at here");
    Ok(())
}

fn mac_error(device: &Device, mac: [u8; 6], driver: &str, reason: String, remedy: &'static str) -> Error {
    Error::Mac {
        device: device.name().to_owned(),
        mac: mac_text(mac),
        driver: driver.to_owned(),
        reason,
        remedy,
    }
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// Drivers that look at no address of a frame (net_pcap opens its network device promiscuously).
const HAND_OVER_ALL: [&str; 4] = ["net_memif", "net_null", "net_pcap", "net_ring"];

/// Many virtual devices have no MTU to set; they take any frame that `check_config` lets through.
fn set_mtu(device: &Device, mtu: u16) -> Result<(), Error> {
    // SAFETY: the port is open and configured.
    let result = unsafe { dpdk_sys::rte_eth_dev_set_mtu(device.id(), mtu) };
    if result == -ENOTSUP {
        return Ok(());
    }
    check("rte_eth_dev_set_mtu", result, || format!("{}, MTU {mtu}", device.context())).map(drop)
}

/// Not fatal: a device that cannot filter receives every frame anyway.
fn enable_promiscuous(device: &Device) {
    // SAFETY: the port is open.
    let result = unsafe { dpdk_sys::rte_eth_promiscuous_enable(device.id()) };
    if result != -ENOTSUP
        && let Err(error) = check("rte_eth_promiscuous_enable", result, || device.context())
    {
        tracing::warn!(%error, "frames for other addresses may be missed");
    }
}

const ENOTSUP: i32 = 95;
