//! Interfaces and links.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One interface, as configured and as found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Name of the configuration.
    pub name: String,
    /// PCI address, or virtual device with its arguments.
    pub device: String,
    /// DPDK driver, such as `net_tap`.
    pub driver: String,
    /// `inside` or `outside`.
    pub role: String,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// Ethernet address, `xx:xx:xx:xx:xx:xx`.
    pub mac: String,
    /// Largest IPv4 packet, bytes.
    pub mtu: u16,
    /// VLAN identifier, where frames are tagged.
    pub vlan: Option<u16>,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// How packets find their worker: "RSS by source address in hardware", or why in software.
    pub steering: String,
}

/// State of a link.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// Carrier.
    pub up: bool,
    /// Megabits a second; none where the driver doesn't know.
    pub speed_mbps: Option<u32>,
    /// Both directions at once.
    pub full_duplex: bool,
}

/// What the port counted itself (`rte_eth_stats`).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct NicStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets transmitted.
    pub tx_packets: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Packets lost because the receive queues were full.
    pub rx_missed: u64,
    /// Broken packets received.
    pub rx_errors: u64,
    /// Packets that could not be transmitted.
    pub tx_errors: u64,
    /// Receive buffers that could not be had.
    pub rx_no_buffer: u64,
}

/// An interface with its link and counters.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InterfaceStatus {
    /// The interface.
    #[serde(flatten)]
    pub interface: Interface,
    /// Its link.
    pub link: Link,
    /// What the port counted.
    pub nic: NicStats,
    /// Packets that the workers received.
    pub rx_packets: u64,
    /// Bytes that the workers received.
    pub rx_bytes: u64,
    /// Packets that the workers transmitted.
    pub tx_packets: u64,
    /// Bytes that the workers transmitted.
    pub tx_bytes: u64,
}
