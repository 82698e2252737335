//! SYNs that a mapping does not let in, on their way into and out of [`crate::mapping::unsolicited`].

use crate::mapping::unsolicited::UnansweredSyn;
use crate::packet::parse::Parsed;
use crate::packet::tcp_flags;
use crate::packet::verdict::{Direction, Protocol, UnsolicitedSyn};
use crate::settings::Refuse;
use crate::shard::Shard;
use crate::table::time::Time;
use natgw_wire::ipv4;

impl Shard {
    /// A packet that a mapping's filtering does not let in.
    #[cold]
    pub(crate) fn keep_unsolicited(&mut self, packet: &[u8], parsed: &Parsed, now: Time) {
        let is_syn = parsed.flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::FIN | tcp_flags::RST)
            == tcp_flags::SYN;
        if parsed.protocol != Protocol::Tcp || !is_syn || self.policy.unsolicited_syn == Refuse::Drop {
            return;
        }
        let hash = self.sessions.hash(&parsed.flow, Protocol::Tcp, Direction::Inbound);
        let total_len = ipv4::Packet::new_unchecked(packet).total_len();
        let packet = &packet[..packet.len().min(total_len.into())];
        if let Some(event) = self.unsolicited.keep(parsed.flow, hash, packet, now) {
            self.counters.unsolicited_syns[event] += 1;
        }
    }

    /// The next SYN from outside whose sender is due a port unreachable by `now`; `budget` loses one for each SYN that is
    /// looked at.
    pub fn unanswered_syn(&mut self, now: Time, budget: &mut u32) -> Option<UnansweredSyn> {
        while *budget > 0 {
            let place = self.unsolicited.take(now, self.policy.unsolicited_syn_ms)?;
            *budget -= 1;
            if self.sessions.find(&place.flow, Protocol::Tcp, Direction::Inbound).is_some() {
                self.counters.unsolicited_syns[UnsolicitedSyn::Crossed] += 1;
                continue;
            }
            self.counters.unsolicited_syns[UnsolicitedSyn::Expired] += 1;
            if self.policy.unsolicited_syn == Refuse::Reject {
                let hairpinned = self.addresses.is_external(place.flow.tuple().source);
                return Some(UnansweredSyn { quote: place.quote.clone(), hairpinned });
            }
        }
        None
    }
}
