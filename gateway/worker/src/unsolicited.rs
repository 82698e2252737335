//! Port unreachables to those whose SYN was not let in (RFC 5382 REQ-4), after a while and a few at a time.

use super::Worker;
use super::batch::Batch;
use super::io::{Io, Packet, Pool};
use super::tx::{HandoffKind, MbufTag};
use natgw_nat::{Direction, IcmpGenerated, UnansweredSyn};
use natgw_neighbor::AnswerKind;
use natgw_neighbor::local_responder::Side;
use natgw_wire::icmpv4::{self, message, unreachable};
use natgw_wire::ipv4;

/// SYNs looked at in a millisecond.
const SYNS_PER_LOOK: u32 = 8;

impl<I: Io> Worker<I> {
    pub(super) fn answer_unsolicited(&mut self) {
        let mut budget = SYNS_PER_LOOK;
        while let Some(syn) = self.shard.unanswered_syn(self.now, &mut budget) {
            let side = if syn.hairpinned { Side::Inside } else { Side::Outside };
            let Ok(header) = ipv4::Packet::new_header(&syn.quote[..]) else { continue };
            if self.may_send_answer(side, AnswerKind::PortUnreachable, header.src_bits()) {
                self.refuse_port(&syn);
            }
        }
    }

    /// Answers as the host would whose address the SYN was for.
    fn refuse_port(&mut self, syn: &UnansweredSyn) {
        let Ok(header) = ipv4::Packet::new_header(&syn.quote[..]) else { return };
        let (sender, address) = (header.src_bits(), header.dst());
        // A hairpinned error gets its way out behind its translation.
        let way_out = self.routes.lookup(sender).map_or(0, |route| route.interface.0);
        let header_len = self.interfaces[usize::from(way_out)].header_len();
        let Some(mut packet) = self.buffers.alloc() else { return };
        if !packet.set_len(header_len + icmpv4::ERROR_LEN_MAX) {
            return;
        }
        let bytes = &mut packet.data_mut()[header_len..];
        let (ty, code) = (message::UNREACHABLE, unreachable::PORT);
        let Some(len) = icmpv4::error_about(&syn.quote, bytes, ty, code, 0, address) else { return };
        packet.set_len(header_len + len);
        packet.set_tag(MbufTag { arrival: way_out, kind: HandoffKind::Arrived }.tag());
        self.counters.generated += 1;
        self.shard.counters().icmp_generated[IcmpGenerated::Unreachable as usize] += 1;
        if syn.hairpinned {
            let mut batch = Batch::new();
            self.hairpin(packet, &mut batch);
            self.translate_hairpinned(&mut batch);
        } else {
            self.resolve(packet, None, Direction::Outbound);
        }
    }
}
