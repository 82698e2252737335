//! The rewrite: computed once, when a session is made, and applied by one function to packets of both directions
//! and to the packets inside ICMP errors.

use super::endpoint::Tuple;
use super::verdict::Protocol;
use crate::wire::checksum::Delta;

/// What a packet becomes: `(a:p -> r:q) becomes to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) to: Tuple,
    /// Change of the IPv4 header's checksum (RFC 1624).
    pub(crate) ip_delta: Delta,
    /// Change of layer 4's checksum, pseudo header included where there is one.
    pub(crate) l4_delta: Delta,
}

/// The change of one number in a packet's checksum when its TTL goes down by one.
const TTL_STEP: Delta = Delta::new().replace_u16(0x0100, 0x0000);

impl Rewrite {
    /// The rewrite of a packet with the flow `from` into one with the flow `to`.
    pub(crate) fn new(protocol: Protocol, from: &Tuple, to: &Tuple) -> Rewrite {
        let ip_delta =
            Delta::new().replace_u32(from.source, to.source).replace_u32(from.destination, to.destination);
        let pseudo = match protocol {
            Protocol::Udp | Protocol::Tcp => ip_delta,
            Protocol::Icmp => Delta::new(),
        };
        let l4_delta = pseudo
            .replace_u16(from.source_port, to.source_port)
            .replace_u16(from.destination_port, to.destination_port);
        Rewrite { to: *to, ip_delta, l4_delta }
    }

    /// Rewrites a packet whose layer 4 begins at `header_len`. The caller has checked its lengths.
    #[inline(always)]
    pub(crate) fn apply(&self, packet: &mut [u8], header_len: usize, protocol: Protocol) {
        let Some((header, l4)) = packet.split_at_mut_checked(header_len) else { return };
        self.apply_header(header);
        self.apply_l4(header, l4, protocol);
    }

    /// As [`Rewrite::apply`], for a packet that passes the gateway as a router: its TTL, above 1, goes down by one.
    #[inline(always)]
    pub(crate) fn route(&self, packet: &mut [u8], header_len: usize, protocol: Protocol) {
        let Some((header, l4)) = packet.split_at_mut_checked(header_len) else { return };
        self.route_header(header);
        self.apply_l4(header, l4, protocol);
    }

    /// As [`Rewrite::apply_header`], with the TTL going down by one.
    #[inline(always)]
    pub(crate) fn route_header(&self, header: &mut [u8]) {
        if let Some(ttl) = header.get_mut(8) {
            *ttl = ttl.wrapping_sub(1);
        }
        Rewrite { ip_delta: self.ip_delta.and(TTL_STEP), ..*self }.apply_header(header);
    }

    /// Undoes [`Rewrite::route`], when given the inverse rewrite.
    pub(crate) fn unroute(&self, packet: &mut [u8], header_len: usize, protocol: Protocol) {
        if let Some(ttl) = packet.get_mut(8) {
            *ttl = ttl.wrapping_add(1);
        }
        Rewrite { ip_delta: self.ip_delta.and(TTL_STEP.inverse()), ..*self }
            .apply(packet, header_len, protocol);
    }

    /// Rewrites addresses and header checksum.
    #[inline(always)]
    pub(crate) fn apply_header(&self, header: &mut [u8]) {
        let Some(header) = header.first_chunk_mut::<20>() else { return };
        let checksum = u16::from_be_bytes([header[10], header[11]]);
        header[10..12].copy_from_slice(&self.ip_delta.apply(checksum).to_be_bytes());
        header[12..16].copy_from_slice(&self.to.source.to_be_bytes());
        header[16..20].copy_from_slice(&self.to.destination.to_be_bytes());
    }

    /// Rewrites ports or identifier, and the checksum where it is there (an ICMP error may quote only 8 octets).
    #[inline(always)]
    fn apply_l4(&self, header: &[u8], l4: &mut [u8], protocol: Protocol) {
        match protocol {
            Protocol::Tcp => {
                self.write_ports(l4);
                if let Some(field) = l4.get_mut(16..18) {
                    update(field, |checksum| self.l4_delta.apply(checksum));
                }
            }
            Protocol::Udp => {
                self.write_ports(l4);
                if let Some(field) = l4.get_mut(6..8) {
                    update(field, |checksum| self.l4_delta.apply_udp(checksum));
                }
            }
            Protocol::Icmp => {
                let Some(head) = l4.first_chunk_mut::<8>() else { return };
                // One of the two is 0: the identifier stands in for the asking host's port.
                let identifier = self.to.source_port | self.to.destination_port;
                head[4..6].copy_from_slice(&identifier.to_be_bytes());
                update(&mut head[2..4], |checksum| self.l4_delta.apply(checksum));
                if head[2..4] == [0, 0] {
                    mend_zeros(header, l4);
                }
            }
        }
    }

    #[inline(always)]
    fn write_ports(&self, l4: &mut [u8]) {
        let Some(ports) = l4.first_chunk_mut::<4>() else { return };
        ports[..2].copy_from_slice(&self.to.source_port.to_be_bytes());
        ports[2..].copy_from_slice(&self.to.destination_port.to_be_bytes());
    }
}

/// An echo reply may have become all zeros. Its checksum is 0xffff then, which no sum of changes arrives at, as
/// RFC 1624 section 3 warns; no pseudo header and no padding is part of it.
#[cold]
fn mend_zeros(header: &[u8], l4: &mut [u8]) {
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let Some(message) = l4.get_mut(..total_len.saturating_sub(header.len())) else { return };
    if message.len() >= 4 && message.iter().all(|&octet| octet == 0) {
        message[2..4].fill(0xff);
    }
}

#[inline(always)]
fn update(field: &mut [u8], change: impl FnOnce(u16) -> u16) {
    let checksum = change(u16::from_be_bytes([field[0], field[1]]));
    field.copy_from_slice(&checksum.to_be_bytes());
}
