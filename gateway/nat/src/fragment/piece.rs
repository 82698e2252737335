//! One fragment: which datagram it is of, and which part.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use crate::packet::ip_protocol::IpProtocol;
use crate::packet::verdict::{Direction, DropReason, Protocol};
use natgw_wire::ipv4::{self, BLOCK};

/// What all fragments of one datagram have in common (RFC 791 section 3.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct Key {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) ident: u16,
    pub(crate) protocol: u8,
    pub(crate) direction: u8,
}

/// A fragment, as far as its header tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) key: Key,
    pub(crate) protocol: Protocol,
    pub(crate) header_len: usize,
    pub(crate) ttl: u8,
    /// Its place in the datagram, in units of eight octets; the last one's may be half full.
    pub(crate) blocks: Range<u16>,
    pub(crate) is_last: bool,
}

impl Piece {
    /// Reads a fragment whose lengths and header checksum are right.
    ///
    /// # Errors
    /// [`DropReason::AuthenticationHeader`]; [`DropReason::FragmentMalformed`] where it is empty, would end behind the largest
    /// datagram, or leaves a gap that no other fragment can fill.
    pub(crate) fn read(ip: &ipv4::Packet<&[u8]>, direction: Direction) -> Result<Piece, DropReason> {
        let protocol = IpProtocol(ip.protocol()).translated_as()?;
        let (start, len) = (usize::from(ip.frag_offset()), ip.payload().len());
        let is_last = !ip.more_frags();
        let fits = ip.header_len() + start + len <= usize::from(u16::MAX);
        if len == 0 || !fits || !is_last && !len.is_multiple_of(BLOCK) {
            return Err(DropReason::FragmentMalformed);
        }
        Ok(Piece {
            key: Key {
                source: ip.src_bits(),
                destination: ip.dst_bits(),
                ident: ip.ident(),
                protocol: ip.protocol(),
                direction: direction as u8,
            },
            protocol,
            header_len: ip.header_len(),
            ttl: ip.ttl(),
            blocks: (start / BLOCK) as u16..(start + len).div_ceil(BLOCK) as u16,
            is_last,
        })
    }

    /// Whether it carries layer 4's header.
    pub(crate) fn is_first(&self) -> bool {
        self.blocks.start == 0
    }
}
