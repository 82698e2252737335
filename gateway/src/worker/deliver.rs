//! What becomes of a packet after its verdict: next hop, answer, or drop.

use super::{Event, Worker};
use crate::dpdk::Mbuf;
use crate::nat::{Direction, DropReason, IcmpGenerated, Refusal, SessionId, Verdict};
use crate::neighbor::local::Outcome;
use crate::neighbor::{Held, InterfaceId, NextHopId};
use crate::wire::ethernet::{self, Mac};
use crate::wire::icmpv4::{self, message, time_exceeded, unreachable};
use crate::wire::ipv4;

/// An ICMP error of the gateway's own.
#[derive(Clone, Copy)]
struct Answer {
    ty: u8,
    code: u8,
    counted: IcmpGenerated,
    /// What the packet counts as where no answer may be sent.
    otherwise: DropReason,
}

const TIME_EXCEEDED: Answer = Answer {
    ty: message::TIME_EXCEEDED,
    code: time_exceeded::TTL,
    counted: IcmpGenerated::TimeExceeded,
    otherwise: DropReason::TtlExceeded,
};
const NO_ROUTE: Answer = Answer {
    ty: message::UNREACHABLE,
    code: unreachable::NET,
    counted: IcmpGenerated::Unreachable,
    otherwise: DropReason::NoRoute,
};

impl Worker {
    /// Does what a verdict says. [`Verdict::Hairpin`] has been dealt with.
    pub(super) fn deliver(&mut self, packet: Mbuf, verdict: Verdict, direction: Direction) {
        match verdict {
            Verdict::Forward(session) => self.forward(packet, session, direction),
            // The shard has counted it.
            Verdict::Drop(_) => drop(packet),
            Verdict::Reply(Refusal::TimeExceeded) => self.answer(packet, TIME_EXCEEDED, direction),
            Verdict::Local => self.local(packet, direction),
            Verdict::Hairpin => self.drop(packet, DropReason::HandoffLoop, direction),
        }
    }

    #[inline(always)]
    fn forward(&mut self, packet: Mbuf, session: Option<SessionId>, direction: Direction) {
        let kept = session.and_then(|id| self.shard.next_hop(id, direction));
        match kept.and_then(|hop| self.hops.link(NextHopId(hop))) {
            Some((interface, mac)) => self.leave(packet, interface, mac, direction),
            None => self.resolve(packet, session, direction),
        }
    }

    /// Finds the next hop of a packet that has none at hand.
    #[cold]
    fn resolve(&mut self, packet: Mbuf, session: Option<SessionId>, direction: Direction) {
        let header_len = self.interfaces[self.arrival(&packet)].header_len();
        let Ok(header) = ipv4::Packet::new_header(&packet.data()[header_len..]) else {
            return self.drop(packet, DropReason::Truncated, direction);
        };
        let Some(route) = self.routes.lookup(header.dst_bits()) else {
            return self.lost(packet, session, direction);
        };
        let Ok(id) = self.hops.resolve(route.interface, route.next_hop, self.now_ms()) else {
            return self.drop(packet, DropReason::NextHopUnresolved, direction);
        };
        if let Some(session) = session {
            self.shard.keep_next_hop(session, direction, id.0);
        }
        if let Some((interface, mac)) = self.hops.link(id) {
            return self.leave(packet, interface, mac, direction);
        }
        match self.hops.hold(id, packet, self.now_ms()) {
            Ok(Held::Ask) => self.tell(Event::Needed(route.interface, route.next_hop)),
            Ok(Held::Wait) => {}
            Err(packet) => {
                if self.hops.ask(id, self.now_ms()) {
                    self.tell(Event::Needed(route.interface, route.next_hop));
                }
                self.drop(packet, DropReason::NextHopUnresolved, direction);
            }
        }
    }

    /// Tells the sender of a translated packet that there is no route: about the packet that it sent.
    ///
    /// What no session translated, or was translated twice (hairpinned), cannot be taken back and is dropped.
    fn lost(&mut self, mut packet: Mbuf, session: Option<SessionId>, direction: Direction) {
        let interface = &self.interfaces[self.arrival(&packet)];
        let session = session.filter(|_| interface.direction == direction);
        let Some(session) = session else { return self.drop(packet, DropReason::NoRoute, direction) };
        let header_len = interface.header_len();
        self.shard.restore(session, direction, &mut packet.data_mut()[header_len..]);
        self.answer(packet, NO_ROUTE, direction);
    }

    /// A translated packet leaves by `interface` for the station `mac`.
    #[inline(always)]
    pub(super) fn leave(&mut self, mut packet: Mbuf, interface: InterfaceId, mac: Mac, direction: Direction) {
        let arrival = self.links[self.arrival(&packet)].header_len;
        let Some(out) = self.links.get(usize::from(interface.0)) else {
            return self.drop(packet, DropReason::NoRoute, direction);
        };
        if packet.len() - usize::from(arrival) > usize::from(out.mtu) {
            return self.drop(packet, DropReason::TooBig, direction);
        }
        if arrival != out.header_len && !relink(&mut packet, arrival, out.header_len) {
            return self.drop(packet, DropReason::NoBuffer, direction);
        }
        out.write(packet.data_mut(), mac);
        self.transmit(usize::from(interface.0), packet);
    }

    /// A packet for the gateway itself.
    #[cold]
    fn local(&mut self, mut packet: Mbuf, direction: Direction) {
        let interface = &self.interfaces[self.arrival(&packet)];
        let (header_len, side) = (interface.header_len(), interface.side());
        let room = packet.len() - header_len;
        grow(&mut packet, header_len);
        let bytes = &mut packet.data_mut()[header_len..];
        let (len, counted) =
            match self.responders[side as usize].answer(bytes, side, &self.routes, self.now.0 as u32) {
                Outcome::EchoReply(len) => (len, IcmpGenerated::EchoReply),
                Outcome::PortUnreachable(len) => (len, IcmpGenerated::Unreachable),
                Outcome::NoService => return self.drop(packet, DropReason::LocalNoService, direction),
                Outcome::Limited => return self.drop(packet, DropReason::ReplyLimited, direction),
            };
        debug_assert!(len <= room.max(icmpv4::ERROR_LEN_MAX));
        self.reply(packet, header_len + len, counted);
    }

    /// Answers a packet that goes no further, unless no answer may be sent.
    #[cold]
    fn answer(&mut self, mut packet: Mbuf, answer: Answer, direction: Direction) {
        let interface = &self.interfaces[self.arrival(&packet)];
        if !self.responders[interface.side() as usize].may_send_error(self.now.0 as u32) {
            return self.drop(packet, DropReason::ReplyLimited, direction);
        }
        let (header_len, source) = (interface.header_len(), interface.address);
        grow(&mut packet, header_len);
        match icmpv4::error(&mut packet.data_mut()[header_len..], answer.ty, answer.code, 0, source) {
            Some(len) => self.reply(packet, header_len + len, answer.counted),
            None => self.drop(packet, answer.otherwise, direction),
        }
    }

    /// Sends an answer, in the place of the packet that it answers, back to the station that sent that.
    fn reply(&mut self, mut packet: Mbuf, len: usize, counted: IcmpGenerated) {
        let arrival = self.arrival(&packet);
        let interface = &self.interfaces[arrival];
        let back = ethernet::Frame::new_unchecked(packet.data()).src();
        let fits = packet.set_len(len)
            && ethernet::emit(packet.data_mut(), back, interface.mac, interface.vlan, ethernet::IPV4).is_ok();
        if !fits {
            let direction = interface.direction;
            return self.drop(packet, DropReason::NoBuffer, direction);
        }
        self.shard.counters().icmp_generated[counted as usize] += 1;
        self.transmit(arrival, packet);
    }

    /// Tells management something. When it does not listen fast enough, the occasion will come again. What any station on
    /// a link can cause at will has a limit, so that it cannot crowd out the questions for next hops.
    pub(super) fn tell(&mut self, event: Event) {
        let told = match event {
            Event::Needed(..) => true,
            Event::Learned(..) => self.learned.take(self.now.0 as u32),
            Event::Conflict(_) => self.conflicts.take(self.now.0 as u32),
        };
        if told {
            let _ = self.events.try_send(event);
        }
    }

    /// Packets that waited for a neighbour go to it.
    pub(super) fn release(&mut self, packets: &mut Vec<Mbuf>, interface: InterfaceId, mac: Mac) {
        for packet in packets.drain(..) {
            let direction = self.interfaces[self.arrival(&packet)].direction;
            self.leave(packet, interface, mac, direction);
        }
    }

    pub(super) fn give_up(&mut self, packets: &mut Vec<Mbuf>) {
        for packet in packets.drain(..) {
            let direction = self.interfaces[self.arrival(&packet)].direction;
            self.drop(packet, DropReason::NextHopUnresolved, direction);
        }
    }
}

/// Makes room for a link-layer header of another length; false where the buffer has none.
#[cold]
fn relink(packet: &mut Mbuf, from: u8, to: u8) -> bool {
    packet.trim_front(usize::from(from)) && packet.prepend(usize::from(to)).is_some()
}

/// Makes room behind a packet for the error that quotes it, as far as the buffer goes.
fn grow(packet: &mut Mbuf, header_len: usize) {
    let wanted = (header_len + icmpv4::ERROR_LEN_MAX).min(packet.len() + packet.tailroom());
    if packet.len() < wanted {
        packet.set_len(wanted);
    }
}
