//! Views over the bytes of Ethernet, 802.1Q, ARP, IPv4, UDP, TCP and ICMP, and the Internet checksum.
//!
//! Every protocol has one file of the same shape: a view `Packet<T>` over a buffer `T`, its getters for
//! `T: AsRef<[u8]>`, its setters for `T: AsMut<[u8]>`, and the places of the fields in a private `field` module. Fields that
//! are whole integers stand in a table, of which the macro `fields!` makes getters and setters. A view copies nothing and
//! allocates nothing, and a buffer may have any number of views.
//!
//! # Panic contract
//! - `new_checked`, `new_verified` and `new_header` never panic and return an [`Error`] for a buffer whose lengths do
//!   not add up. No getter of the returned view panics, and none reads past the checked lengths.
//! - `new_unchecked` accepts any buffer. A getter or setter panics when its field lies beyond the buffer.
//! - A setter that moves a boundary (`set_total_len`, `set_header_len`, `set_len`) may move it beyond the buffer:
//!   until it is back inside, the getters that follow it are as after `new_unchecked`.
//! - Free functions (`ethernet::parse`, `icmpv4::error`, …) never panic.
//!
//! # Example
//! A packet is built, read, and rewritten as a NAT does, its checksums updated by the difference alone (RFC 1624):
//!
//! ```
//! use natgw_wire::checksum::Delta;
//! use natgw_wire::{build, ipv4, udp};
//!
//! let mut packet = build::udp("10.64.0.11:40000".parse()?, "198.51.100.10:53".parse()?, b"query");
//! let (inside, outside) = ([10, 64, 0, 11], [203, 0, 113, 10]);
//! let delta = Delta::new().replace_u32(u32::from_be_bytes(inside), u32::from_be_bytes(outside));
//!
//! let mut view = ipv4::Packet::new_checked(&mut packet[..])?;
//! view.set_src(outside.into());
//! view.apply(delta);
//! udp::Packet::new_checked(view.payload_mut())?.apply(delta);
//!
//! let view = ipv4::Packet::new_verified(&packet[..])?;
//! let datagram = udp::Packet::new_checked(view.payload())?;
//! assert!(datagram.is_checksum_right(view.src(), view.dst()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[macro_use]
mod fields;

pub mod arp;
pub mod build;
pub mod checksum;
pub mod ethernet;
pub mod icmpv4;
pub mod ipv4;
pub mod ports;
pub mod tcp;
pub mod udp;
pub mod vlan;

/// Why bytes are not the packet that they are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Shorter than the header.
    #[error("shorter than its header")]
    Truncated,
    /// More than one VLAN tag.
    #[error("more than one VLAN tag")]
    Vlan,
    /// ARP for other than Ethernet and IPv4, or neither request nor reply.
    #[error("ARP that is not an Ethernet/IPv4 request or reply")]
    Arp,
    /// IP version other than 4.
    #[error("IP version other than 4")]
    IpVersion,
    /// IHL below 5, or a header that runs past the packet.
    #[error("IPv4 header length below 20 or beyond the packet")]
    IpHeaderLength,
    /// Total length below the header's, or beyond the buffer.
    #[error("IPv4 total length below the header's or beyond the packet")]
    IpTotalLength,
    /// IPv4 header checksum wrong.
    #[error("IPv4 header checksum wrong")]
    IpChecksum,
    /// UDP length below 8, or beyond the packet.
    #[error("UDP length below 8 or beyond the packet")]
    UdpLength,
    /// TCP data offset below 5, or a header that runs past the packet.
    #[error("TCP data offset below 5 or beyond the packet")]
    TcpDataOffset,
    /// ICMP checksum wrong.
    #[error("ICMP checksum wrong")]
    IcmpChecksum,
}
