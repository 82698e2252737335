//! A packet that is translated goes on: out, or round as an inbound one.

use crate::ids::SessionId;
use crate::packet::arrival::Arrival;
use crate::packet::parse::Parsed;
use crate::packet::rewrite::Rewrite;
use crate::packet::verdict::Verdict;
use crate::shard::Shard;

impl Shard {
    /// Translates a packet by a rewrite, which is that of a session where there is one.
    #[inline(always)]
    pub(crate) fn send_on(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        rewrite: &Rewrite,
        at: Arrival,
        hairpins: bool,
        session: Option<SessionId>,
    ) -> Verdict {
        rewrite.apply(packet, usize::from(parsed.header_len), parsed.protocol, at.hop());
        self.policy.clamp_mss(packet, parsed);
        self.counters.translated[at.direction][parsed.protocol] += 1;
        self.onward(hairpins, session)
    }

    /// Where a translated packet goes; counts those that hairpin.
    #[inline(always)]
    pub(crate) fn onward(&mut self, hairpins: bool, session: Option<SessionId>) -> Verdict {
        if hairpins {
            self.counters.hairpinned += 1;
            Verdict::Hairpin
        } else {
            Verdict::Forward(session)
        }
    }
}
