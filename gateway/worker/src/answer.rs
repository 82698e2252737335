//! What the gateway says itself: replies to pings, ICMP errors to the senders of packets that go no further, and RSTs to
//! inside hosts whose connections it does not know, or that connect to the gateway itself.
//!
//! An error is about the packet as its sender knows it: what was translated is made what it was before. A hairpinned
//! packet was translated twice, the first time perhaps by another worker. So an error about it goes the way of any
//! error from the inside: about what the first translation made, to the outside endpoint, hairpinned itself. So does the
//! answer to a hairpinned packet that is for the gateway itself.

use super::Worker;
use super::batch::Batch;
use super::io::{Io, Packet};
use natgw_counters::ANSWER_KINDS;
use natgw_nat::{Direction, DropReason, IcmpGenerated, Refuse};
use natgw_neighbor::AnswerKind;
use natgw_neighbor::local_responder::{Outcome, Side};
use natgw_wire::icmpv4::{self, message, time_exceeded, unreachable};
use natgw_wire::{ethernet, ipv4, tcp};

/// An ICMP error of the gateway's own.
#[derive(Clone, Copy)]
pub(super) struct Answer {
    ty: u8,
    code: u8,
    /// The four octets that each type reads its own way.
    rest: u32,
    counted: IcmpGenerated,
    /// Whose budget it takes from.
    kind: AnswerKind,
    /// What the packet counts as where no answer may be sent.
    otherwise: DropReason,
}

impl Answer {
    pub(super) const TIME_EXCEEDED: Answer = Answer {
        ty: message::TIME_EXCEEDED,
        code: time_exceeded::TTL,
        rest: 0,
        counted: IcmpGenerated::TimeExceeded,
        kind: AnswerKind::TimeExceeded,
        otherwise: DropReason::TtlExceeded,
    };
    pub(super) const NO_ROUTE: Answer = Answer::unreachable(unreachable::NET, DropReason::NoRoute);
    pub(super) const NO_NEIGHBOR: Answer =
        Answer::unreachable(unreachable::HOST, DropReason::NextHopUnresolved);

    /// The packet must not be cut, and the way out takes `mtu` octets (RFC 1191 section 4).
    pub(super) const fn too_big(mtu: u16) -> Answer {
        let answer = Answer::unreachable(unreachable::FRAG_NEEDED, DropReason::TooBig);
        let kind = AnswerKind::FragmentationNeeded;
        Answer { rest: mtu as u32, counted: IcmpGenerated::FragmentationNeeded, kind, ..answer }
    }

    /// The rules forbid the session (RFC 5508 REQ-8), or something has run out: that is no lasting error, by which a host
    /// would give its connection up (RFC 6888 REQ-11).
    const fn refused(reason: DropReason) -> Answer {
        let (code, counted) = match reason {
            DropReason::NoRule
            | DropReason::RuleReject
            | DropReason::Protocol
            | DropReason::AuthenticationHeader => (unreachable::PROHIBITED, IcmpGenerated::Prohibited),
            _ => (unreachable::HOST, IcmpGenerated::Unreachable),
        };
        Answer { counted, kind: AnswerKind::Refused, ..Answer::unreachable(code, reason) }
    }

    const fn unreachable(code: u8, otherwise: DropReason) -> Answer {
        Answer {
            ty: message::UNREACHABLE,
            code,
            rest: 0,
            counted: IcmpGenerated::Unreachable,
            kind: AnswerKind::Unreachable,
            otherwise,
        }
    }
}

impl<I: Io> Worker<I> {
    /// A packet for the gateway itself.
    #[cold]
    pub(super) fn local(&mut self, mut packet: I::Packet, direction: Direction) {
        let interface = &self.interfaces[self.arrival(&packet)];
        let (header_len, side) = (interface.header_len(), interface.side());
        let hairpinned = interface.direction != direction;
        if is_icmp_fragment(&packet.data()[header_len..]) {
            return self.assemble(packet, direction);
        }
        let room = packet.len() - header_len;
        grow::<I>(&mut packet, header_len);
        let now_ms = self.now_ms();
        let resets = (self.shard.refuses() == Refuse::Reject).then_some(&mut self.resets);
        let (responder, routes) = (&mut self.responders[side as usize], &self.routes);
        let bytes = &mut packet.data_mut()[header_len..];
        let outcome = if hairpinned {
            responder.answer_hairpinned(bytes, side, routes, resets, now_ms)
        } else {
            responder.answer(bytes, side, routes, resets, now_ms)
        };
        let (Outcome::EchoReply(len) | Outcome::PortUnreachable(len) | Outcome::Reset(len)) = outcome else {
            let reason = self.unanswered(outcome);
            return self.drop_packet(packet, reason, direction);
        };
        debug_assert!(len <= room.max(icmpv4::ERROR_LEN_MAX));
        if !hairpinned {
            let is_sent = self.send_back(packet, header_len + len);
            self.count_answers(outcome, is_sent.into());
        } else if packet.set_len(header_len + len) {
            self.count_answers(outcome, 1);
            let mut batch = Batch::new();
            self.hairpin(packet, &mut batch);
            self.translate_hairpinned(&mut batch);
        } else {
            self.drop_packet(packet, DropReason::NoBuffer, direction);
        }
    }

    /// Why a packet for the gateway itself gets no answer.
    pub(super) fn unanswered(&mut self, outcome: Outcome) -> DropReason {
        match outcome {
            Outcome::Limited(kind) => {
                self.counters.answers_limited[kind as usize] += 1;
                DropReason::ReplyLimited
            }
            Outcome::ResetLimited => DropReason::ReplyLimited,
            Outcome::NoService | Outcome::EchoReply(_) | Outcome::PortUnreachable(_) | Outcome::Reset(_) => {
                DropReason::LocalNoService
            }
        }
    }

    /// Counts answers to packets for the gateway itself.
    pub(super) fn count_answers(&mut self, outcome: Outcome, count: u64) {
        let counters = self.shard.counters();
        match outcome {
            Outcome::EchoReply(_) => counters.icmp_generated[IcmpGenerated::EchoReply as usize] += count,
            Outcome::PortUnreachable(_) => {
                counters.icmp_generated[IcmpGenerated::Unreachable as usize] += count;
            }
            Outcome::Reset(_) => counters.tcp_resets += count,
            Outcome::NoService | Outcome::Limited(_) | Outcome::ResetLimited => {}
        }
    }

    /// Answers a packet that goes no further, and that is as it arrived.
    #[cold]
    pub(super) fn answer(&mut self, packet: I::Packet, answer: Answer, direction: Direction) {
        if let Some((packet, len)) = self.error(packet, answer, direction) {
            self.reply(packet, len, answer.counted);
        }
    }

    /// Answers a packet that the shard has refused and counted: what leaves in its place is one of the gateway's own.
    #[cold]
    pub(super) fn reject(&mut self, mut packet: I::Packet, reason: DropReason) {
        let answer = Answer::refused(reason);
        if !self.may_answer(&packet, answer.kind) {
            return;
        }
        if let Some(len) = self.quote(&mut packet, answer) {
            self.counters.generated += 1;
            self.reply(packet, len, answer.counted);
        }
    }

    /// Answers a TCP segment from inside that the shard has refused and counted, because it belongs to no connection: with
    /// the RST of the host that it is for. Each inside host has a budget of its own.
    #[cold]
    pub(super) fn reset(&mut self, mut packet: I::Packet) {
        let header_len = self.interfaces[self.arrival(&packet)].header_len();
        let now_ms = self.now_ms();
        let segment = &mut packet.data_mut()[header_len..];
        let Ok(header) = ipv4::Packet::new_header(&*segment) else { return };
        if !self.resets.take(header.src_bits(), now_ms) {
            return;
        }
        if let Some(len) = tcp::reset(segment) {
            self.counters.generated += 1;
            self.shard.counters().tcp_resets += u64::from(self.send_back(packet, header_len + len));
        }
    }

    /// Answers a packet that was translated in `direction` and goes no further.
    #[cold]
    pub(super) fn answer_translated(&mut self, mut packet: I::Packet, answer: Answer, direction: Direction) {
        let interface = &self.interfaces[self.arrival(&packet)];
        let (header_len, hairpinned) = (interface.header_len(), interface.direction != direction);
        if !self.shard.restore(direction, &mut packet.data_mut()[header_len..]) {
            return self.drop_packet(packet, answer.otherwise, direction);
        }
        if !hairpinned {
            return self.answer(packet, answer, direction);
        }
        let Some((mut error, len)) = self.error(packet, answer, direction) else { return };
        if !error.set_len(len) {
            return self.drop_packet(error, DropReason::NoBuffer, direction);
        }
        self.shard.counters().icmp_generated[answer.counted as usize] += 1;
        let mut batch = Batch::new();
        self.hairpin(error, &mut batch);
        self.translate_hairpinned(&mut batch);
    }

    /// Makes a packet the error about it, and says how long the frame is then. Where none may be sent the packet is
    /// dropped.
    fn error(
        &mut self,
        mut packet: I::Packet,
        answer: Answer,
        direction: Direction,
    ) -> Option<(I::Packet, usize)> {
        if !self.may_answer(&packet, answer.kind) {
            self.drop_packet(packet, DropReason::ReplyLimited, direction);
            return None;
        }
        match self.quote(&mut packet, answer) {
            Some(len) => Some((packet, len)),
            None => {
                self.drop_packet(packet, answer.otherwise, direction);
                None
            }
        }
    }

    /// Whether the sender of a packet may be sent an answer of this kind now.
    fn may_answer(&mut self, packet: &I::Packet, kind: AnswerKind) -> bool {
        let interface = &self.interfaces[self.arrival(packet)];
        let header = ipv4::Packet::new_header(&packet.data()[interface.header_len()..]);
        let to = header.map_or(0, |header| header.src_bits());
        let side = interface.side();
        self.may_send_answer(side, kind, to)
    }

    /// Whether a host on a side may be sent an answer of this kind now.
    pub(super) fn may_send_answer(&mut self, side: Side, kind: AnswerKind, to: u32) -> bool {
        let may = self.responders[side as usize].may_send(kind, to, self.now_ms());
        self.counters.answers_limited[kind as usize] += u64::from(!may);
        may
    }

    /// Makes a packet the error about it, where one may be sent; how long the frame is then.
    fn quote(&self, packet: &mut I::Packet, answer: Answer) -> Option<usize> {
        let interface = &self.interfaces[self.arrival(packet)];
        let header_len = interface.header_len();
        grow::<I>(packet, header_len);
        let bytes = &mut packet.data_mut()[header_len..];
        let len = icmpv4::error(bytes, answer.ty, answer.code, answer.rest, interface.address)?;
        Some(header_len + len)
    }

    /// Sends an answer, in the place of the packet that it answers, back to the station that sent that.
    fn reply(&mut self, packet: I::Packet, len: usize, counted: IcmpGenerated) {
        if self.send_back(packet, len) {
            self.shard.counters().icmp_generated[counted as usize] += 1;
        }
    }

    /// Sends a frame of `len` octets back to the station that sent what it takes the place of; whether it could.
    fn send_back(&mut self, mut packet: I::Packet, len: usize) -> bool {
        let arrival = self.arrival(&packet);
        let interface = &self.interfaces[arrival];
        let back = ethernet::Frame::new_unchecked(packet.data()).src();
        let fits = packet.set_len(len)
            && ethernet::emit(packet.data_mut(), back, interface.mac, interface.vlan, ethernet::IPV4).is_ok();
        if !fits {
            let direction = interface.direction;
            self.drop_packet(packet, DropReason::NoBuffer, direction);
            return false;
        }
        self.transmit(arrival, packet);
        true
    }
}

const _: () = assert!(AnswerKind::ALL.len() == ANSWER_KINDS);

fn is_icmp_fragment(packet: &[u8]) -> bool {
    ipv4::Packet::new_header(packet)
        .is_ok_and(|packet| packet.is_fragment() && packet.protocol() == ipv4::ICMP)
}

/// Makes room behind a packet for the error that quotes it, as far as the buffer goes.
fn grow<I: Io>(packet: &mut I::Packet, header_len: usize) {
    let wanted = (header_len + icmpv4::ERROR_LEN_MAX).min(packet.len() + packet.tailroom());
    if packet.len() < wanted {
        packet.set_len(wanted);
    }
}
