//! How packets are refused: silently, with an ICMP error, or with a RST.

use crate::packet::endpoint::Tuple;
use crate::packet::parse::Parsed;
use crate::packet::tcp_flags;
use crate::packet::verdict::{DropReason, Verdict};
use crate::settings::Refuse;
use crate::shard::Shard;
use natgw_wire::ipv4;

impl Shard {
    /// A new session that may not be, or that there is no room for.
    pub(crate) fn refuse(&self, reason: DropReason) -> Verdict {
        match (reason, self.policy.refuse) {
            (DropReason::RuleReject, _) => Verdict::Reject(reason),
            (DropReason::RuleDrop, _) | (_, Refuse::Drop) => Verdict::Drop(reason),
            (_, Refuse::Reject) => Verdict::Reject(reason),
        }
    }

    /// A packet that belongs to nothing. A TCP segment is answered with a RST, as its connection is lost: its session has
    /// ended while it had nothing to say, or was deleted.
    pub(crate) fn refuse_stray(&self, parsed: &Parsed, reason: DropReason) -> Verdict {
        let is_answered = reason == DropReason::TcpNoSession && parsed.flags & tcp_flags::RST == 0;
        if is_answered && self.policy.refuse == Refuse::Reject {
            Verdict::Reset(reason)
        } else {
            Verdict::Drop(reason)
        }
    }

    /// What no translation gets through is refused like a protocol that none is configured for.
    #[cold]
    pub(crate) fn refuse_authentication_header(&self, ip: &ipv4::Packet<&[u8]>) -> Verdict {
        let tuple = Tuple { source: ip.src_bits(), destination: ip.dst_bits(), ..Tuple::default() };
        match self.addresses.check_outbound(&tuple) {
            Ok(()) => self.refuse(DropReason::AuthenticationHeader),
            Err(_) => Verdict::Drop(DropReason::AuthenticationHeader),
        }
    }
}
