//! Interfaces, links and packet buffers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use natgw_neighbor::NeighborCounts;

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

/// Link and hardware counters of one interface.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Nic {
    /// The link.
    pub link: Link,
    /// `rte_eth_stats`.
    pub stats: NicStats,
    /// The driver's own counters, by the driver's names.
    pub xstats: BTreeMap<String, u64>,
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

/// How often a link came up and went down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkChanges {
    /// Came up.
    pub ups: u64,
    /// Went down.
    pub downs: u64,
}

/// What management has counted itself. Not part of the API: `/api/v1/counters` shows it.
#[derive(Clone, Debug, Default)]
pub struct ControlCounts {
    /// By interface.
    pub links: Vec<LinkChanges>,
    /// What happened to neighbours.
    pub neighbors: NeighborCounts,
    /// News of neighbours for workers, and questions for neighbours, that found no room among a worker's commands.
    pub delayed: u64,
}

/// A pool of packet buffers. Not part of the API: `/api/v1/counters` shows it.
#[derive(Clone, Debug, Default)]
pub struct Mempool {
    /// Its name.
    pub name: String,
    /// Buffers that can be had.
    pub available: u64,
    /// Buffers in use.
    pub in_use: u64,
}
