//! `struct rte_mbuf`, written by hand.
//!
//! bindgen names the anonymous unions around these fields by their position, which differs between DPDK releases;
//! the offsets do not. `shim.c` asserts every offset and size given here against the headers of the build.

use core::ffi::c_void;
use core::mem::{align_of, offset_of, size_of};

/// The fields of the first cache line that the gateway reads or writes; the rest is DPDK's.
#[repr(C, align(64))]
pub struct rte_mbuf {
    /// Start of the buffer, headroom included.
    pub buf_addr: *mut c_void,
    /// I/O address of the buffer, or the next segment: whichever DPDK was built for.
    iova_or_next: u64,
    /// Where the frame starts, from `buf_addr`.
    pub data_off: u16,
    refcnt: u16,
    /// Segments of the frame, on the first one.
    pub nb_segs: u16,
    /// The port it was received on.
    pub port: u16,
    /// Receive and transmit offload flags.
    pub ol_flags: u64,
    packet_type: u32,
    /// Bytes of the frame over all segments.
    pub pkt_len: u32,
    /// Bytes of the frame in this segment.
    pub data_len: u16,
    vlan_tci: u16,
    /// `hash.rss`: the NIC's hash, valid with `RTE_MBUF_F_RX_RSS_HASH`.
    pub rss: u32,
    /// `hash.fdir.hi`: a flow director's match, which the gateway never asks for. Its own tag lives here.
    pub tag: u32,
    vlan_tci_outer: u16,
    /// Bytes of the buffer, headroom included.
    pub buf_len: u16,
    pool: *mut c_void,
    second_line: [u8; 64],
}

const _: () = assert!(size_of::<rte_mbuf>() == 128 && align_of::<rte_mbuf>() == 64);
const _: () = assert!(offset_of!(rte_mbuf, data_off) == 16 && offset_of!(rte_mbuf, nb_segs) == 20);
const _: () = assert!(offset_of!(rte_mbuf, port) == 22 && offset_of!(rte_mbuf, ol_flags) == 24);
const _: () = assert!(offset_of!(rte_mbuf, pkt_len) == 36 && offset_of!(rte_mbuf, data_len) == 40);
const _: () = assert!(offset_of!(rte_mbuf, rss) == 44 && offset_of!(rte_mbuf, tag) == 48);
const _: () = assert!(offset_of!(rte_mbuf, buf_len) == 54 && offset_of!(rte_mbuf, pool) == 56);
