//! The burst engine: what happens to packets of established sessions, and the way out of it for all others.
//!
//! A session lookup is two dependent cache misses, so a burst goes through in stages, each of which works on all packets
//! and asks for what the next one needs:
//!
//! 1. *parse*: check the headers, read and hash the flow, prefetch its index bucket;
//! 2. *probe*: compare the bucket's tags, prefetch the line of the session that one of them stands for;
//! 3. *translate*: compare the flow, refresh the session, rewrite the packet.
//!
//! The third stage goes on while packets just pass. One that does not ([`passes`](crate::session::Session::passes)) leaves it for
//! [`Shard::not_fast`] at its turn, so that order within a flow is kept, and the stage is taken up again behind it.

use arrayvec::ArrayVec;

use crate::ids::SessionId;
use crate::packet::arrival::Arrival;
use crate::packet::parse::{Kind, Parsed, parse, parse_plain};
use crate::packet::verdict::{Direction, DropReason, FragmentEvent, Protocol, Verdict};
use crate::packet::{BURST, tcp_flags};
use crate::pipeline::stage_timer::{Stage, Stopwatch, Unwatched};
use crate::shard::Shard;
use crate::table::cpu::prefetch;
use crate::table::free_list::NIL;
use crate::table::index::Hash;
use crate::table::time::Time;
use natgw_wire::ipv4;

/// What the stages of a burst know of a packet.
struct Slot {
    hash: Hash,
    parsed: Parsed,
    /// The session whose tag fits, for packets that may just pass; else [`NIL`], or [`DROPPED`].
    candidate: u32,
}
const _: () = assert!(size_of::<Slot>() == 32);

impl Slot {
    /// A packet from inside for which there seems to be no session.
    #[inline(always)]
    fn is_new(&self, direction: Direction) -> bool {
        direction == Direction::Outbound && self.candidate == NIL && self.parsed.kind == Kind::Plain
    }
}

type Slots = ArrayVec<Slot, BURST>;

/// The verdict was there after the first stage.
const DROPPED: u32 = NIL - 1;

/// Packets that just passed, by protocol: a byte each, which a burst cannot overflow.
#[derive(Default)]
struct Tally(u32);
const _: () = assert!(BURST <= u8::MAX as usize && Protocol::COUNT <= 4);

impl Tally {
    #[inline(always)]
    fn count(&mut self, protocol: Protocol) {
        self.0 = self.0.wrapping_add(1 << (8 * protocol as u32));
    }
}

impl Shard {
    pub(crate) fn run<B: AsMut<[u8]>>(
        &mut self,
        packets: &mut [B],
        at: Arrival,
        now: Time,
        verdicts: &mut [Verdict],
        watch: &mut impl Stopwatch,
    ) {
        let verdicts = &mut verdicts[..packets.len()];
        for (packets, verdicts) in packets.chunks_mut(BURST).zip(verdicts.chunks_mut(BURST)) {
            match at.direction {
                Direction::Outbound => self.burst::<false, _>(packets, at, now, verdicts, watch),
                Direction::Inbound => self.burst::<true, _>(packets, at, now, verdicts, watch),
            }
            if std::mem::take(&mut self.gave_up) {
                self.forget_given_up(packets, at.direction, verdicts);
            }
        }
    }

    /// Each direction has its own program, in which it is a constant.
    #[inline(never)]
    fn burst<const INBOUND: bool, B: AsMut<[u8]>>(
        &mut self,
        packets: &mut [B],
        at: Arrival,
        now: Time,
        verdicts: &mut [Verdict],
        watch: &mut impl Stopwatch,
    ) {
        let at = Arrival { direction: if INBOUND { Direction::Inbound } else { Direction::Outbound }, ..at };
        let mut slots = ArrayVec::new();
        watch.begin(packets.len());
        self.parse(packets, at, verdicts, &mut slots);
        watch.lap(Stage::Parse);
        let all_known = self.probe(&mut slots);
        watch.lap(Stage::Probe);
        if !all_known && at.direction == Direction::Outbound {
            self.prefetch_new(slots.iter().filter(|slot| slot.is_new(at.direction)).map(|slot| {
                let Parsed { flow, protocol, flags, .. } = slot.parsed;
                (flow, protocol, flags)
            }));
            watch.lap(Stage::Slow);
        }
        self.fast_path(packets, &slots, at, now, verdicts, watch);
        watch.lap(Stage::Translate);
    }

    /// Takes the names of sessions that were given up in a burst from its verdicts: others may bear them by now.
    #[cold]
    #[inline(never)]
    fn forget_given_up<B: AsMut<[u8]>>(
        &self,
        packets: &mut [B],
        direction: Direction,
        verdicts: &mut [Verdict],
    ) {
        for (packet, verdict) in packets.iter_mut().zip(verdicts) {
            let Verdict::Forward(Some(id)) = *verdict else { continue };
            // What it is now, is answered by what the session takes from the other side.
            let is_its = parse(packet.as_mut()).is_ok_and(|parsed| {
                self.sessions[id].matches(&parsed.flow.reversed(), parsed.protocol, direction.flip())
            });
            if !is_its {
                *verdict = Verdict::Forward(None);
            }
        }
    }

    /// First stage: everything that can be known from the packets alone.
    #[inline(always)]
    fn parse<B: AsMut<[u8]>>(
        &self,
        packets: &mut [B],
        at: Arrival,
        verdicts: &mut [Verdict],
        slots: &mut Slots,
    ) {
        let index = self.sessions.view();
        for (packet, verdict) in packets.iter_mut().zip(verdicts) {
            let packet = packet.as_mut();
            match parse_plain(packet) {
                Some(parsed) if parsed.ttl > 1 || !at.routed => {
                    let hash = self.sessions.hash(&parsed.flow, parsed.protocol, at.direction);
                    index.prefetch(hash);
                    slots.push(Slot { hash, parsed, candidate: NIL });
                }
                _ => self.look_closely(packet, at, verdict, slots),
            }
        }
    }

    /// The first stage for packets that are not plain, or that shall not just pass.
    #[cold]
    fn look_closely(&self, packet: &[u8], at: Arrival, verdict: &mut Verdict, slots: &mut Slots) {
        slots.push(match self.parse_closely(packet, at) {
            Ok(parsed) => {
                let hash = self.sessions.hash(&parsed.flow, parsed.protocol, at.direction);
                self.sessions.view().prefetch(hash);
                Slot { hash, parsed, candidate: NIL }
            }
            Err(decided) => {
                *verdict = decided;
                Slot { hash: Hash(0), parsed: Parsed::NOTHING, candidate: DROPPED }
            }
        });
    }

    #[cold]
    fn parse_closely(&self, packet: &[u8], at: Arrival) -> Result<Parsed, Verdict> {
        let parsed = parse(packet);
        match parsed {
            Ok(Parsed { header_len, .. }) if usize::from(header_len) > ipv4::HEADER_LEN => {
                self.check_source_route(&ipv4::Packet::new_unchecked(packet)).map_err(Verdict::Drop)?;
            }
            Err(Verdict::Drop(DropReason::AuthenticationHeader)) if at.direction == Direction::Outbound => {
                return Err(self.refuse_authentication_header(&ipv4::Packet::new_unchecked(packet)));
            }
            _ => {}
        }
        parsed
    }

    /// Second stage: which session it may be. Whether there is one for every packet.
    #[inline(always)]
    fn probe(&self, slots: &mut [Slot]) -> bool {
        let mut all_known = true;
        let index = self.sessions.view();
        let sessions = self.sessions.lines();
        for slot in slots {
            let mut candidate = index.candidate(slot.hash);
            if candidate.is_none() {
                candidate = index.displaced_candidate(slot.hash);
            }
            let Some(id) = candidate else {
                all_known = false;
                continue;
            };
            if let Some(session) = sessions.get(id as usize) {
                prefetch(session);
            }
            if slot.parsed.kind == Kind::Plain {
                slot.candidate = id;
            }
        }
        all_known
    }

    /// Third stage: `(a:p -> r:q) becomes (X:P -> r:q)`, `(r:q -> X:P) becomes (r:q -> a:p)`.
    #[inline(always)]
    fn fast_path<B: AsMut<[u8]>>(
        &mut self,
        packets: &mut [B],
        slots: &[Slot],
        at: Arrival,
        now: Time,
        verdicts: &mut [Verdict],
        watch: &mut impl Stopwatch,
    ) {
        let due = self.policy.timeouts.from(now);
        let hop = at.hop();
        let mut tally = Tally::default();
        let mut burst = packets.iter_mut().zip(slots).zip(verdicts);
        'burst: loop {
            let sessions = self.sessions.lines_mut();
            let (packet, slot, verdict) = loop {
                let Some(((packet, slot), verdict)) = burst.next() else { break 'burst };
                let packet = packet.as_mut();
                let Some(session) = sessions.get_mut(slot.candidate as usize) else {
                    break (packet, slot, verdict);
                };
                if !session.passes(&slot.parsed, at.direction, now) {
                    break (packet, slot, verdict);
                }
                let Some(head) = packet.first_chunk_mut() else { break (packet, slot, verdict) };
                session.touch(at.direction, &due);
                session.rewrite(at.direction).apply_plain(head, slot.parsed.protocol, hop);
                tally.count(slot.parsed.protocol);
                *verdict = Verdict::Forward(Some(SessionId(slot.candidate)));
            };
            watch.lap(Stage::Translate);
            if slot.candidate != DROPPED {
                *verdict = self.not_fast(packet, &slot.parsed, slot.hash, at, now);
            }
            if slot.is_new(at.direction) {
                self.end_turn();
            }
            match *verdict {
                Verdict::Drop(reason) | Verdict::Reject(reason) | Verdict::Reset(reason) => {
                    self.count_drop(reason, at.direction);
                }
                Verdict::Fragment if at.routed => {
                    self.counters.fragments[FragmentEvent::Received] += 1;
                }
                _ => {}
            }
            watch.lap(Stage::Slow);
        }
        let translated = &mut self.counters.translated[at.direction];
        // No others just pass.
        for (total, count) in
            translated.iter_mut().zip(tally.0.to_le_bytes()).take(Protocol::WITH_PORTS.len())
        {
            *total += u64::from(count);
        }
    }

    /// A packet that does not just pass.
    #[inline(never)]
    fn not_fast(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        hash: Hash,
        at: Arrival,
        now: Time,
    ) -> Verdict {
        if parsed.ttl <= 1 && at.routed {
            return self.ttl_expired(parsed, at.direction);
        }
        if parsed.kind == Kind::Error {
            return self.error_message(packet, parsed, at);
        }
        self.slow(packet, parsed, hash, at, now)
    }
}

impl Parsed {
    /// Of a packet that is not looked up.
    const NOTHING: Parsed = Parsed {
        flow: crate::packet::endpoint::Flow { source: 0, destination: 0, ports: 0 },
        protocol: Protocol::Udp,
        header_len: 0,
        ttl: 0,
        flags: tcp_flags::ACK,
        kind: Kind::Ports,
    };
}

impl Shard {
    /// Decides about a burst that arrived in one direction, and translates in place what goes on. `verdicts` takes one
    /// verdict a packet and is as long as the burst.
    ///
    /// The packets are routed on the way: the TTL of each goes down by one. Fragments are left to
    /// [`Shard::translate_fragment`].
    ///
    /// # Panics
    /// When `verdicts` is shorter than the burst.
    pub fn translate<B: AsMut<[u8]>>(
        &mut self,
        packets: &mut [B],
        direction: Direction,
        now: Time,
        verdicts: &mut [Verdict],
    ) {
        self.run(packets, Arrival { direction, routed: true }, now, verdicts, &mut Unwatched);
    }

    /// As [`Shard::translate`], with a stopwatch that times every stage.
    ///
    /// # Panics
    /// When `verdicts` is shorter than the burst.
    #[cfg(feature = "stage-cycles")]
    pub fn translate_watched<B: AsMut<[u8]>>(
        &mut self,
        packets: &mut [B],
        direction: Direction,
        now: Time,
        verdicts: &mut [Verdict],
        watch: &mut impl super::Stopwatch,
    ) {
        self.run(packets, Arrival { direction, routed: true }, now, verdicts, watch);
    }

    /// As [`Shard::translate`], for packets that some shard's verdict called [`Verdict::Hairpin`]: they are inbound
    /// now, and were routed once already.
    ///
    /// # Panics
    /// When `verdicts` is shorter than the burst.
    pub fn translate_hairpinned<B: AsMut<[u8]>>(
        &mut self,
        packets: &mut [B],
        now: Time,
        verdicts: &mut [Verdict],
    ) {
        let at = Arrival { direction: Direction::Inbound, routed: false };
        self.run(packets, at, now, verdicts, &mut Unwatched);
    }
}
