//! The link layer as the packets of established sessions see it: everything about an interface that they need, on one
//! cache line, and its header as it is compared and written, in words rather than field by field.

use super::interface::Interface;
use super::io::{Io, Packet, Pool};
use natgw_wire::ethernet::{self, Mac};

/// The part of an [`Interface`] that every packet touches.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Link {
    /// The header of frames that leave; the destination is zero.
    leaving: [u8; TAGGED],
    /// Destination of the frames that are for us, in the low six octets as they lie in memory.
    destination: u64,
    /// What follows the addresses: type, or tag and type, and which bits of that matter.
    tail: u64,
    tail_mask: u64,
    pub(super) header_len: u8,
    pub(super) mtu: u16,
}
const _: () = assert!(size_of::<Link>() == 64);

/// Octets of a header with a tag.
const TAGGED: usize = 18;
/// Octets of both addresses.
const ADDRESSES: usize = 12;
const DESTINATION: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);

impl Link {
    pub(super) fn of(interface: &Interface) -> Link {
        let mut leaving = [0; TAGGED];
        let written =
            ethernet::emit(&mut leaving, Mac::default(), interface.mac, interface.vlan, ethernet::IPV4);
        debug_assert_eq!(written, Ok(()));
        let mut destination = [0; 8];
        destination[..6].copy_from_slice(&interface.mac.0);
        let (mut tail, mut mask) = ([0; 8], [0; 8]);
        let tail_len = interface.header_len() - ADDRESSES;
        tail[..tail_len].copy_from_slice(&leaving[ADDRESSES..][..tail_len]);
        mask[..tail_len].fill(0xff);
        if interface.vlan.is_some() {
            // Priority and drop eligibility, which share an octet with the identifier.
            mask[2] = 0x0f;
        }
        Link {
            leaving,
            destination: u64::from_ne_bytes(destination),
            tail: u64::from_ne_bytes(tail),
            tail_mask: u64::from_ne_bytes(mask),
            header_len: interface.header_len() as u8,
            mtu: interface.mtu,
        }
    }

    /// Whether a frame is an IPv4 packet for us, and its header as long as the interface's own. For what is not, or is
    /// too short to hold a packet, somebody else has to find out what it is.
    #[inline(always)]
    pub(super) fn brings_packet(&self, frame: &[u8]) -> bool {
        let Some((destination, rest)) = frame.split_first_chunk() else { return false };
        let Some((_, tail)) = rest.split_first_chunk::<{ ADDRESSES - 8 }>() else { return false };
        let Some(tail) = tail.first_chunk() else { return false };
        let (destination, tail) = (u64::from_ne_bytes(*destination), u64::from_ne_bytes(*tail));
        let wrong = (destination ^ self.destination) & DESTINATION | (tail ^ self.tail) & self.tail_mask;
        wrong == 0
    }

    /// Writes the header of a frame to `station`. The frame has room for it.
    #[inline(always)]
    pub(super) fn write(&self, frame: &mut [u8], station: Mac) {
        let Some((head, rest)) = frame.split_first_chunk_mut::<{ ADDRESSES + 2 }>() else { return };
        let (plain, tag) = self.leaving.split_at(ADDRESSES + 2);
        head.copy_from_slice(plain);
        head[..6].copy_from_slice(&station.0);
        if usize::from(self.header_len) == TAGGED
            && let Some(rest) = rest.first_chunk_mut::<4>()
        {
            rest.copy_from_slice(tag);
        }
    }

    /// A frame to `station` with the packet of this header and payload; `None` where there is no buffer for it.
    pub(super) fn frame<I: Io>(
        &self,
        buffers: &I::Pool,
        station: Mac,
        header: &[u8],
        payload: &[u8],
    ) -> Option<I::Packet> {
        let (header_at, payload_at) = (self.header_len.into(), usize::from(self.header_len) + header.len());
        let mut packet = buffers.alloc()?;
        if !packet.set_len(payload_at + payload.len()) {
            return None;
        }
        let frame = packet.data_mut();
        self.write(frame, station);
        frame[header_at..payload_at].copy_from_slice(header);
        frame[payload_at..].copy_from_slice(payload);
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use natgw_nat::Direction;
    use natgw_neighbor::{InterfaceId, OwnAddresses};

    const OURS: Mac = Mac([2, 0x70, 0x63, 0x61, 0x70, 1]);
    const STATION: Mac = Mac([2, 0, 0, 0, 2, 1]);

    fn interface(vlan: Option<u16>) -> Interface {
        Interface {
            direction: Direction::Outbound,
            mac: OURS,
            vlan,
            mtu: 1500,
            address: [10, 64, 0, 1].into(),
            own: OwnAddresses::new(InterfaceId(0), &[], std::iter::empty()),
        }
    }

    /// A frame whose fields are right or nearly so.
    fn frames() -> impl Strategy<Value = Vec<u8>> {
        let near = |right: u8| prop_oneof![6 => Just(right), 1 => any::<u8>()];
        let destination: Vec<_> = OURS.0.into_iter().map(near).collect();
        let tail: Vec<_> = [0x81, 0x00, 0x20, 42, 0x08, 0x00].into_iter().map(near).collect();
        let plain: Vec<_> = [0x08, 0x00].into_iter().map(near).collect();
        let tail = prop_oneof![tail, plain];
        (destination, any::<[u8; 6]>(), tail, 0..40_usize).prop_map(|(destination, source, tail, rest)| {
            [destination, source.to_vec(), tail, vec![0x45; rest]].concat()
        })
    }

    proptest! {
        /// What it accepts, field by field is such a frame; what is one and holds a packet, it accepts.
        #[test]
        fn brings_what_the_fields_say(frame in frames(), vlan in prop_oneof![Just(None), Just(Some(42))]) {
            let interface = interface(vlan);
            let fields = ethernet::parse(&frame).is_ok_and(|layer2| {
                layer2.dst == OURS
                    && layer2.vlan == vlan
                    && layer2.ethertype == ethernet::IPV4
                    && layer2.header_len == interface.header_len()
            });
            let long = frame.len() >= interface.header_len() + 20;
            let brings = Link::of(&interface).brings_packet(&frame);
            prop_assert!(!brings || fields, "{frame:02x?}");
            prop_assert!(brings || !(fields && long), "{frame:02x?}");
        }

        #[test]
        fn writes_what_the_fields_say(mut frame in prop::collection::vec(any::<u8>(), 18..80), tagged: bool) {
            let interface = interface(tagged.then_some(42));
            let mut expected = frame.clone();
            ethernet::emit(&mut expected, STATION, OURS, interface.vlan, ethernet::IPV4).unwrap();
            Link::of(&interface).write(&mut frame, STATION);
            prop_assert_eq!(frame, expected);
        }
    }
}
