//! What becomes of a packet after its verdict: next hop, answer, or drop.

use super::answer::Answer;
use super::events::EventQueue;
use super::io::{Io, Packet};
use super::tx::{HandoffKind, MbufTag};
use super::{Event, Worker};
use natgw_counters::EventKind;
use natgw_nat::{Direction, DropReason, IcmpReply, SessionId, Verdict};
use natgw_neighbor::{Binding, Full, Heard, Held, InterfaceId, NextHopId};
use natgw_wire::ethernet::Mac;
use natgw_wire::ipv4;

impl<I: Io> Worker<I> {
    /// Does what a verdict says. [`Verdict::Hairpin`] has been dealt with.
    pub(super) fn deliver(&mut self, packet: I::Packet, verdict: Verdict, direction: Direction) {
        match verdict {
            Verdict::Forward(session) => self.forward(packet, session, direction),
            // The shard has counted it.
            Verdict::Drop(reason) => self.show_dropped(&packet, reason),
            Verdict::Reject(reason) => {
                self.show_dropped(&packet, reason);
                self.reject(packet, reason);
            }
            Verdict::Reset(reason) => {
                self.show_dropped(&packet, reason);
                self.reset(packet);
            }
            Verdict::Reply(IcmpReply::TimeExceeded) => self.answer(packet, Answer::TIME_EXCEEDED, direction),
            Verdict::Local => self.local(packet, direction),
            Verdict::Fragment => self.locate_fragment(packet, direction),
            // A hairpin never gets here. A verdict that this worker does not know is a drop.
            _ => self.drop_packet(packet, DropReason::HandoffLoop, direction),
        }
    }

    /// As [`Worker::deliver`], for a packet that comes from inside and is inbound now. One that is for the gateway itself, or
    /// whose sender is to be told, goes back to the worker that made it what it is.
    pub(super) fn deliver_hairpinned(&mut self, packet: I::Packet, verdict: Verdict) {
        match verdict {
            Verdict::Local => self.take_back(packet, None),
            Verdict::Reject(reason) => {
                self.show_dropped(&packet, reason);
                self.take_back(packet, Some(reason));
            }
            verdict => self.deliver(packet, verdict, Direction::Inbound),
        }
    }

    #[cold]
    fn take_back(&mut self, packet: I::Packet, refused: Option<DropReason>) {
        let header_len = self.interfaces[self.arrival(&packet)].header_len();
        match self.steering.sender_owner_of(&packet.data()[header_len..]) {
            owner if owner == self.id => self.taken_back(packet, refused),
            owner => {
                // Its drop is counted, and yet it goes on.
                self.counters.generated += u64::from(refused.is_some());
                self.hand_over(owner, packet, HandoffKind::TakeBack(refused));
            }
        }
    }

    /// A packet of which another worker says what [`HandoffKind::TakeBack`] says.
    pub(super) fn handed_back(&mut self, packet: I::Packet, refused: Option<DropReason>) {
        self.counters.consumed += u64::from(refused.is_some());
        self.taken_back(packet, refused);
    }

    fn taken_back(&mut self, mut packet: I::Packet, refused: Option<DropReason>) {
        let header_len = self.interfaces[self.arrival(&packet)].header_len();
        let bytes = &mut packet.data_mut()[header_len..];
        let known = match refused {
            // Its session stays: the host that is not there yet may be about to send to it.
            Some(_) => self.shard.restore(Direction::Outbound, bytes),
            None => self.shard.take_back(bytes, self.now),
        };
        match refused {
            Some(reason) if known => self.reject(packet, reason),
            // It is counted as dropped.
            Some(_) => {}
            None if known => self.local(packet, Direction::Outbound),
            None => self.drop_packet(packet, DropReason::LocalNoService, Direction::Inbound),
        }
    }

    #[inline(always)]
    fn forward(&mut self, packet: I::Packet, session: Option<SessionId>, direction: Direction) {
        let kept = session.and_then(|id| self.shard.next_hop(id, direction));
        match kept.and_then(|hop| self.hops.link(NextHopId(hop))) {
            Some((interface, mac)) => self.egress(packet, interface, mac, direction),
            None => self.resolve(packet, session, direction),
        }
    }

    /// Finds the next hop of a packet that has none at hand.
    #[cold]
    pub(super) fn resolve(
        &mut self,
        mut packet: I::Packet,
        session: Option<SessionId>,
        direction: Direction,
    ) {
        let header_len = self.interfaces[self.arrival(&packet)].header_len();
        let Ok(header) = ipv4::Packet::new_header(&packet.data()[header_len..]) else {
            return self.drop_packet(packet, DropReason::Truncated, direction);
        };
        let destination = header.dst_bits();
        let route = if direction == Direction::Outbound && self.shard.is_for_outside(session, destination) {
            let faces_outside =
                |id: InterfaceId| self.interfaces[usize::from(id.0)].direction == Direction::Inbound;
            self.routes.lookup_by(destination, faces_outside)
        } else {
            self.routes.lookup(destination)
        };
        let Some(route) = route else {
            return self.answer_translated(packet, Answer::NO_ROUTE, direction);
        };
        let Ok(id) = self.next_hop(route.interface, route.next_hop) else {
            return self.drop_packet(packet, DropReason::NextHopUnresolved, direction);
        };
        if let Some(session) = session {
            self.shard.keep_next_hop(session, direction, id.0);
        }
        if let Some((interface, mac)) = self.hops.link(id) {
            return self.egress(packet, interface, mac, direction);
        }
        self.note_direction(&mut packet, direction);
        match self.hops.hold(id, packet, self.now_ms()) {
            Ok(Held::Ask) => self.notify(Event::Needed(route.interface, route.next_hop)),
            Ok(Held::Wait) => {}
            Err(packet) => {
                if self.hops.ask(id, self.now_ms()) {
                    self.notify(Event::Needed(route.interface, route.next_hop));
                }
                self.drop_packet(packet, DropReason::NextHopUnresolved, direction);
            }
        }
    }

    /// The handle of a next hop, which is added if it is new.
    pub(super) fn next_hop(&mut self, interface: InterfaceId, ip: u32) -> Result<NextHopId, Full> {
        if self.routes.is_gateway(interface, ip) {
            self.hops.resolve_router(interface, ip, self.now.0 as u32)
        } else {
            self.hops.resolve(interface, ip, self.now.0 as u32)
        }
    }

    /// A translated packet leaves by `interface` for the station `mac`.
    #[inline(always)]
    pub(super) fn egress(
        &mut self,
        mut packet: I::Packet,
        interface: InterfaceId,
        mac: Mac,
        direction: Direction,
    ) {
        let arrival = self.links[self.arrival(&packet)].header_len;
        let Some(out) = self.links.get(usize::from(interface.0)) else {
            return self.drop_packet(packet, DropReason::NoRoute, direction);
        };
        if packet.len() - usize::from(arrival) > usize::from(out.mtu) {
            return self.too_big(packet, interface, mac, direction);
        }
        if arrival != out.header_len && !relink::<I>(&mut packet, arrival, out.header_len) {
            return self.drop_packet(packet, DropReason::NoBuffer, direction);
        }
        out.write(packet.data_mut(), mac);
        self.transmit(usize::from(interface.0), packet);
    }

    /// Tells management something. When it does not listen fast enough, the occasion will come again. What any station on
    /// a link can cause at will has a limit of that link's own; the next hops of routes are apart from it.
    pub(super) fn notify(&mut self, event: Event) {
        let now_ms = self.now_ms();
        let (interface, ip, kind) = match event {
            Event::Needed(interface, ip) => (interface, ip, EventKind::Needed),
            Event::Learned(Binding { interface, ip, .. }, _) => (interface, ip, EventKind::Learned),
            Event::Conflict(Binding { interface, ip, .. }) => (interface, ip, EventKind::Conflict),
            // They have a way of their own.
            Event::PortBlock(_) => return,
        };
        let is_router = self.routes.is_gateway(interface, ip);
        let heard = match event {
            Event::Learned(binding, _) => self.hops.heard(binding, now_ms),
            _ => Heard::Known,
        };
        let Some(budgets) = self.link_budgets.get_mut(usize::from(interface.0)) else { return };
        let may = match (kind, heard) {
            (_, Heard::Again) => return,
            (EventKind::Conflict, _) => budgets.conflicts.take(now_ms),
            (_, Heard::Known) if is_router => true,
            (EventKind::Needed, _) => budgets.needed.take(now_ms),
            (EventKind::Learned, Heard::Known) => budgets.known.take(now_ms),
            (EventKind::Learned, Heard::Stranger) if is_router => budgets.routers.take(now_ms),
            (EventKind::Learned, Heard::Stranger) => budgets.strangers.take(now_ms),
        };
        let queue = if is_router { EventQueue::Routers } else { EventQueue::Link(interface) };
        if !may || !self.events.send(queue, event) {
            self.counters.events_lost[kind as usize] += 1;
        }
    }

    /// Packets that waited for a neighbour go to it.
    pub(super) fn release(&mut self, packets: &mut Vec<I::Packet>, interface: InterfaceId, mac: Mac) {
        for packet in packets.drain(..) {
            let direction = self.direction(&packet);
            self.egress(packet, interface, mac, direction);
        }
    }

    /// The neighbour that packets waited for does not answer (RFC 1812 section 5.2.7.1).
    pub(super) fn give_up(&mut self, packets: &mut Vec<I::Packet>) {
        for packet in packets.drain(..) {
            let direction = self.direction(&packet);
            self.answer_translated(packet, Answer::NO_NEIGHBOR, direction);
        }
    }

    /// Keeps the direction that a packet was translated in last with it: that of its arrival does not tell where it
    /// was hairpinned.
    fn note_direction(&self, packet: &mut I::Packet, direction: Direction) {
        let arrival = self.arrival(packet);
        let hairpinned = self.interfaces[arrival].direction != direction;
        let kind = if hairpinned { HandoffKind::Hairpin } else { HandoffKind::Arrived };
        packet.set_tag(MbufTag { arrival: arrival as u8, kind }.tag());
    }

    /// What [`Worker::note_direction`] kept.
    pub(super) fn direction(&self, packet: &I::Packet) -> Direction {
        let MbufTag { arrival, kind } = MbufTag::from_tag(packet.tag());
        match kind {
            HandoffKind::Hairpin | HandoffKind::Fragment => Direction::Inbound,
            HandoffKind::Arrived | HandoffKind::Send(_) | HandoffKind::TakeBack(_) => {
                self.interfaces[usize::from(arrival)].direction
            }
        }
    }
}

/// Makes room for a link-layer header of another length; false where the buffer has none.
#[cold]
fn relink<I: Io>(packet: &mut I::Packet, from: u8, to: u8) -> bool {
    packet.trim_front(usize::from(from)) && packet.prepend(usize::from(to)).is_some()
}
