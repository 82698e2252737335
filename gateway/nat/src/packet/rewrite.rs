//! The rewrite: computed once, when a session is made, and applied by one function to packets of both directions
//! and to the packets inside ICMP errors.

use std::hint::select_unpredictable;

use crate::packet::endpoint::{Flow, Tuple};
use crate::packet::ip_protocol::IpProtocol;
use crate::packet::parse::PLAIN_LEN;
use crate::packet::verdict::Protocol;
use natgw_wire::checksum::Delta;

/// What a packet becomes: `(a:p -> r:q) becomes to`.
///
/// The deltas are of words as they lie in memory: RFC 1071 section 2 (B) shows that sums do not mind the order of octets, as
/// long as it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) to: Flow,
    /// Change of the IPv4 header's checksum (RFC 1624).
    pub(crate) ip_delta: Delta,
    /// Change of layer 4's checksum, pseudo header included where there is one.
    pub(crate) l4_delta: Delta,
}

/// What passing a router does to a header besides the rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// What the TTL, above 1, loses.
    ttl: u8,
    /// Change of the header's checksum for that.
    delta: Delta,
}

impl Hop {
    /// No router is passed, or was passed before.
    pub(crate) const NONE: Hop = Hop { ttl: 0, delta: Delta::new() };
    /// The gateway is a router.
    pub(crate) const ROUTER: Hop =
        Hop { ttl: 1, delta: Delta::new().replace_u16(u16::from_ne_bytes([1, 0]), 0) };
    /// What takes [`Hop::ROUTER`] back.
    pub(crate) const BACK: Hop = Hop { ttl: 0xff, delta: Hop::ROUTER.delta.inverse() };
}

impl Rewrite {
    /// The rewrite of a packet with the flow `from` into one with the flow `to`.
    pub(crate) fn new(protocol: Protocol, from: &Tuple, to: &Tuple) -> Rewrite {
        Rewrite::between(protocol, &Flow::from(from), Flow::from(to))
    }

    /// As [`Rewrite::new`].
    pub(crate) fn between(protocol: Protocol, from: &Flow, to: Flow) -> Rewrite {
        let ip_delta =
            Delta::new().replace_u32(from.source, to.source).replace_u32(from.destination, to.destination);
        let pseudo = match protocol {
            Protocol::Udp | Protocol::Tcp | Protocol::Other => ip_delta,
            Protocol::Icmp => Delta::new(),
        };
        Rewrite { to, ip_delta, l4_delta: pseudo.replace_u32(from.ports, to.ports) }
    }

    /// Rewrites the head of a plain packet, UDP or TCP behind a header without options. A straight line: which of the two it
    /// is, and whether a UDP packet carries a checksum, differs from packet to packet.
    #[inline(always)]
    pub(crate) fn apply_plain(&self, head: &mut [u8; PLAIN_LEN], protocol: Protocol, hop: Hop) {
        let is_udp = protocol == Protocol::Udp;
        head[8] = head[8].wrapping_sub(hop.ttl);
        let checksum = u16::from_ne_bytes([head[10], head[11]]);
        head[10..12].copy_from_slice(&self.ip_delta.and(hop.delta).apply(checksum).to_ne_bytes());
        head[12..24].copy_from_slice(bytemuck::bytes_of(&self.to));
        let at = CHECKSUM_AT[protocol];
        let checksum = u16::from_ne_bytes([head[at], head[at + 1]]);
        // RFC 768: 0 says that there is none, so a computed one is never 0.
        let changed = self.l4_delta.apply(checksum);
        let changed = select_unpredictable(is_udp & (changed == 0), 0xffff, changed);
        let changed = select_unpredictable(is_udp & (checksum == 0), 0, changed);
        head[at..at + 2].copy_from_slice(&changed.to_ne_bytes());
    }

    /// Rewrites a packet whose layer 4 begins at `header_len`. The caller has checked its lengths.
    pub(crate) fn apply(&self, packet: &mut [u8], header_len: usize, protocol: Protocol, hop: Hop) {
        let Some((header, l4)) = packet.split_at_mut_checked(header_len) else { return };
        self.apply_header(header, hop);
        self.apply_l4(header, l4, protocol);
    }

    /// Rewrites addresses, TTL and header checksum.
    pub(crate) fn apply_header(&self, header: &mut [u8], hop: Hop) {
        let Some(header) = header.first_chunk_mut::<20>() else { return };
        header[8] = header[8].wrapping_sub(hop.ttl);
        update(&mut header[10..12], |checksum| self.ip_delta.and(hop.delta).apply(checksum));
        header[12..20].copy_from_slice(&bytemuck::bytes_of(&self.to)[..8]);
    }

    /// Rewrites ports or identifier where there are any, and the checksum where it is there (an ICMP error may quote only 8 octets).
    fn apply_l4(&self, header: &[u8], l4: &mut [u8], protocol: Protocol) {
        let Some(head) = l4.first_chunk_mut::<8>() else { return };
        let ports = self.to.octets_of_ports();
        match protocol {
            Protocol::Tcp => {
                head[..4].copy_from_slice(&ports);
                if let Some(field) = l4.get_mut(16..18) {
                    update(field, |checksum| self.l4_delta.apply(checksum));
                }
            }
            Protocol::Udp => {
                head[..4].copy_from_slice(&ports);
                update(&mut head[6..8], |checksum| self.l4_delta.apply_udp(checksum));
            }
            Protocol::Icmp => {
                // One of the two is 0: the identifier stands in for the asking host's port.
                head[4..6].copy_from_slice(&[ports[0] | ports[2], ports[1] | ports[3]]);
                update(&mut head[2..4], |checksum| self.l4_delta.apply(checksum));
                if head[2..4] == [0, 0] {
                    mend_zeros(header, l4);
                }
            }
            // Both cover the pseudo header, however little of the payload (RFC 3828 section 3.1, RFC 4340 section 9.1). SCTP,
            // GRE and ESP cover no address.
            Protocol::Other => match IpProtocol(header[9]) {
                IpProtocol::UDP_LITE => update(&mut head[6..8], |checksum| self.l4_delta.apply_udp(checksum)),
                IpProtocol::DCCP => update(&mut head[6..8], |checksum| self.l4_delta.apply(checksum)),
                _ => {}
            },
        }
    }
}

/// Where layer 4's checksum stands behind a header without options, by protocol. A table, because of a choice between two the
/// compiler makes a branch.
const CHECKSUM_AT: [usize; Protocol::COUNT] = [26, 36, 22, 26];

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
    let checksum = change(u16::from_ne_bytes([field[0], field[1]]));
    field.copy_from_slice(&checksum.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tuple() -> impl Strategy<Value = Tuple> {
        any::<(u32, u32, u16, u16)>().prop_map(|(source, destination, source_port, destination_port)| Tuple {
            source,
            destination,
            source_port,
            destination_port,
        })
    }

    proptest! {
        /// The straight line does what the general way does: also where a datagram has no checksum, and where its new one
        /// comes to 0 (`HC' = 0` is `HC = m' - m`).
        #[test]
        fn plain_packets_are_rewritten_alike(
            octets in any::<[u8; 32]>(),
            (from, to) in (tuple(), tuple()),
            (is_udp, is_routed) in any::<(bool, bool)>(),
            choice in 0..3,
        ) {
            let protocol = if is_udp { Protocol::Udp } else { Protocol::Tcp };
            let hop = if is_routed { Hop::ROUTER } else { Hop::NONE };
            let rewrite = Rewrite::new(protocol, &from, &to);
            let mut head = [7; PLAIN_LEN];
            head[..32].copy_from_slice(&octets);
            let at = CHECKSUM_AT[protocol];
            match choice {
                0 => head[at..at + 2].fill(0),
                1 => head[at..at + 2].copy_from_slice(&rewrite.l4_delta.to_bits().to_ne_bytes()),
                _ => {}
            }
            let mut expected = head;
            rewrite.apply(&mut expected, 20, protocol, hop);
            rewrite.apply_plain(&mut head, protocol, hop);
            prop_assert_eq!(head, expected);
        }
    }
}
