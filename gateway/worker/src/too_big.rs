//! Packets that are larger than the link that they shall leave by (RFC 4787 REQ-13): fragments, or an answer.

use super::Worker;
use super::answer::Answer;
use super::io::{Io, Packet};
use super::tx::{HandoffKind, MbufTag};
use natgw_nat::{Direction, DropReason, FragmentEvent};
use natgw_neighbor::InterfaceId;
use natgw_wire::ethernet::Mac;
use natgw_wire::ipv4::{self, Fragments};

impl<I: Io> Worker<I> {
    /// A frame that brings more than fits the link of `interface`, on its way to the station `mac`.
    #[cold]
    pub(super) fn too_big(
        &mut self,
        mut packet: I::Packet,
        interface: InterfaceId,
        mac: Mac,
        direction: Direction,
    ) {
        let header_len = usize::from(self.links[self.arrival(&packet)].header_len);
        let mtu = self.links[usize::from(interface.0)].mtu;
        let Ok(header) = ipv4::Packet::new_checked(&packet.data()[header_len..]) else {
            return self.drop_packet(packet, DropReason::TooBig, direction);
        };
        let (total_len, dont_frag) = (header.total_len(), header.dont_frag());
        if total_len <= mtu {
            // Only its padding is too large.
            packet.set_len(header_len + usize::from(total_len));
            self.egress(packet, interface, mac, direction);
        } else if dont_frag {
            self.answer_translated(packet, Answer::too_big(mtu), direction);
        } else {
            self.fragment(packet, interface, mac, direction);
        }
    }

    /// Sends a packet in fragments. It ends here itself.
    fn fragment(&mut self, mut packet: I::Packet, interface: InterfaceId, mac: Mac, direction: Direction) {
        let arrival = self.arrival(&packet);
        let header_len = usize::from(self.links[arrival].header_len);
        self.shard.identify(&mut packet.data_mut()[header_len..]);
        let link = self.links[usize::from(interface.0)];
        let whole = &packet.data()[header_len..];
        let Some(fragments) = Fragments::new(whole, link.mtu) else {
            return self.drop_packet(packet, DropReason::TooBig, direction);
        };
        for fragment in fragments {
            let payload = &packet.data()[header_len..][fragment.octets];
            let Some(mut piece) = link.frame::<I>(&self.buffers, mac, &fragment.header, payload) else {
                return self.drop_packet(packet, DropReason::NoBuffer, direction);
            };
            piece.set_tag(MbufTag { arrival: arrival as u8, kind: HandoffKind::Arrived }.tag());
            self.counters.generated += 1;
            self.shard.counters().fragments[FragmentEvent::Created as usize] += 1;
            self.transmit(usize::from(interface.0), piece);
        }
        self.counters.consumed += 1;
    }
}
