//! How many packet buffers the gateway takes, and of what size.

use super::{Config, Interface};
use natgw_nat::HELD_FRAGMENTS;

/// The packet buffers of one gateway; all its ports share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketBuffers {
    /// How many.
    pub count: u32,
    /// Octets of each that hold a frame and the room before it.
    pub data_room: u16,
}

impl PacketBuffers {
    /// Packets that a handover ring between two workers holds.
    pub const RING: u32 = 1024;
    /// Room before a frame (`RTE_PKTMBUF_HEADROOM`).
    pub const HEADROOM: u16 = 128;

    /// Memory for all of them in huge pages, octets.
    pub fn bytes(self) -> u64 {
        u64::from(self.count) * self.each()
    }

    /// Memory for all of them in pages of the ordinary size, octets: DPDK puts none across a page's end that fits into one.
    pub fn bytes_in_ordinary_pages(self) -> u64 {
        match PAGE / self.each() {
            0 => u64::from(self.count) * self.each().next_multiple_of(PAGE),
            in_a_page => u64::from(self.count).div_ceil(in_a_page) * PAGE,
        }
    }

    fn each(self) -> u64 {
        u64::from(self.data_room) + MBUF
    }
}

impl Config {
    /// Enough for full queues, full rings and what workers have in hand; and large enough for the largest frame.
    pub fn packet_buffers(&self) -> PacketBuffers {
        let workers = self.dpdk.worker_lcores.len() as u32;
        let descriptors = |interface: &Interface| {
            u32::from(interface.rx_queue_size).max(DESCRIPTORS_MIN)
                + u32::from(interface.tx_queue_size).max(DESCRIPTORS_MIN)
        };
        let queued: u32 = self.interfaces.iter().map(descriptors).sum();
        let rings = workers.saturating_sub(1) * PacketBuffers::RING;
        let mtu = self.interfaces.iter().map(|interface| interface.mtu).max().unwrap_or(0);
        PacketBuffers {
            count: workers * (queued + rings + IN_HAND),
            data_room: (mtu + LINK_OVERHEAD).max(FRAME_ROOM) + PacketBuffers::HEADROOM,
        }
    }
}

/// Buffers of a worker beyond those that queues and rings can hold: caches, bursts in flight, hold queues, fragments that
/// wait.
const IN_HAND: u32 = 2048 + HELD_FRAGMENTS;
/// Some drivers take at least that many, whatever was asked for.
const DESCRIPTORS_MIN: u32 = 512;
/// DPDK's usual room for a frame.
const FRAME_ROOM: u16 = 2048;
/// Ethernet header, VLAN tag and frame check sequence, rounded up.
const LINK_OVERHEAD: u16 = 32;
/// An ordinary page, octets.
const PAGE: u64 = 4096;
/// `rte_mbuf` and the mempool's own header, octets.
const MBUF: u64 = 256;
