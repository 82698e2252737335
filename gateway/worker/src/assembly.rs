//! Pings in fragments for the gateway itself: put together, and answered in fragments of the link that they came by.
//!
//! A fragment's octets are copied, and its buffer is free at once. It counts as held until its datagram is whole, and as
//! consumed then; or as dropped, where nothing comes of that.

use super::Worker;
use super::io::{Io, Packet};
use super::tx::{HandoffKind, MbufTag};
use natgw_nat::{Direction, DropReason, FragmentEvent};
use natgw_neighbor::assembly::{Outcome, Taken, Whole};
use natgw_neighbor::local_responder::{self, Side};
use natgw_wire::ethernet;
use natgw_wire::ipv4::Fragments;

impl<I: Io> Worker<I> {
    /// Takes a fragment of an ICMP message to the gateway itself.
    pub(super) fn assemble(&mut self, packet: I::Packet, direction: Direction) {
        let interface = &self.interfaces[self.arrival(&packet)];
        let (header_len, side) = (interface.header_len(), interface.side());
        let now_ms = self.now_ms();
        let fragment = &packet.data()[header_len..];
        let Taken { outcome, displaced } = self.assemblies[side as usize].take(fragment, now_ms);
        self.count_drops(DropReason::FragmentIncomplete, direction, displaced);
        // This packet counts with those that came before it.
        let (reason, others) = match outcome {
            Outcome::Held => return,
            Outcome::Whole(whole) => return self.answer_assembled(&packet, whole, side, direction),
            Outcome::Duplicate => (DropReason::FragmentDuplicate, 0),
            Outcome::Overlap(fragments) => (DropReason::FragmentOverlap, fragments - 1),
            Outcome::Unwanted(fragments) => (DropReason::LocalNoService, fragments - 1),
        };
        self.count_drops(reason, direction, others);
        self.drop_packet(packet, reason, direction);
    }

    /// Answers a ping that is put together, to the station that sent the fragment that was missing.
    fn answer_assembled(&mut self, last: &I::Packet, whole: Whole, side: Side, direction: Direction) {
        let fragments = whole.fragments;
        self.shard.counters().fragments[FragmentEvent::Assembled as usize] += u64::from(fragments);
        let now_ms = self.now_ms();
        let datagram = self.assemblies[side as usize].datagram(&whole);
        let outcome = self.responders[side as usize].answer(datagram, side, &self.routes, None, now_ms);
        let refused = match outcome {
            local_responder::Outcome::EchoReply(_) if self.send_assembled(last, &whole, side) => None,
            local_responder::Outcome::EchoReply(_) => Some(DropReason::NoBuffer),
            _ => Some(self.unanswered(outcome)),
        };
        match refused {
            None => {
                self.count_answers(outcome, 1);
                self.counters.consumed += u64::from(fragments);
            }
            Some(reason) => {
                self.count_drops(reason, direction, fragments);
                self.show_dropped(last, reason);
            }
        }
        self.assemblies[side as usize].release(whole);
    }

    /// Sends what was put together, cut for the link that it came by; false where buffers run out.
    fn send_assembled(&mut self, last: &I::Packet, whole: &Whole, side: Side) -> bool {
        let arrival = self.arrival(last);
        let link = self.links[arrival];
        let station = ethernet::Frame::new_unchecked(last.data()).src();
        let datagram = self.assemblies[side as usize].datagram(whole);
        let Some(fragments) = Fragments::new(datagram, link.mtu) else { return false };
        for fragment in fragments {
            let octets = &self.assemblies[side as usize].datagram(whole)[fragment.octets];
            let Some(mut piece) = link.frame::<I>(&self.buffers, station, &fragment.header, octets) else {
                return false;
            };
            piece.set_tag(MbufTag { arrival: arrival as u8, kind: HandoffKind::Arrived }.tag());
            self.counters.generated += 1;
            self.transmit(arrival, piece);
        }
        true
    }

    /// Gives up what has waited too long for the rest.
    pub(super) fn expire_assemblies(&mut self) {
        let now_ms = self.now_ms();
        for (side, direction) in SIDES {
            let fragments = self.assemblies[side as usize].expire(now_ms);
            self.count_drops(DropReason::FragmentIncomplete, direction, fragments);
        }
    }

    /// At the end: gives up what still waits.
    pub(super) fn drop_assemblies(&mut self) {
        for (side, direction) in SIDES {
            let fragments = self.assemblies[side as usize].clear();
            self.count_drops(DropReason::FragmentIncomplete, direction, fragments);
        }
    }

    /// Fragments that wait for the rest.
    pub(super) fn held_in_assemblies(&self) -> u32 {
        self.assemblies.iter().map(|assembly| assembly.held()).sum()
    }

    fn count_drops(&mut self, reason: DropReason, direction: Direction, fragments: u32) {
        (0..fragments).for_each(|_| self.shard.count_drop(reason, direction));
    }
}

/// The sides, and which way packets go that come in there.
const SIDES: [(Side, Direction); 2] =
    [(Side::Inside, Direction::Outbound), (Side::Outside, Direction::Inbound)];
