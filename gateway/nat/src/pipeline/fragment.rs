//! What becomes of a fragment.

use crate::fragment::datagrams::{Account, Alike, Class, DatagramId, Party, State};
use crate::fragment::piece::{Key, Piece};
use crate::fragment::{FragmentAction, FragmentPath, FragmentVerdict, Hold, WAIT_MS};
use crate::packet::arrival::Arrival;
use crate::packet::endpoint::Tuple;
use crate::packet::parse::{Parsed, parse_layer4};
use crate::packet::rewrite::Rewrite;
use crate::packet::verdict::{Direction, DropReason, FragmentEvent, Protocol, Verdict};
use crate::session::HALF_OPEN;
use crate::shard::Shard;
use crate::table::time::Time;
use natgw_wire::checksum::Delta;
use natgw_wire::ipv4::{self, Fit};

impl Shard {
    /// Decides about a packet that [`Shard::translate`] called [`Verdict::Fragment`], and translates it in place where it
    /// goes on.
    ///
    /// All fragments to an outside address come to one shard. `elsewhere` names the shard that owns the endpoint that a
    /// first fragment from outside names, where that is another one: it gets the whole datagram, the first fragment first.
    pub fn translate_fragment(
        &mut self,
        packet: &mut [u8],
        way: FragmentPath,
        elsewhere: Option<u16>,
        now: Time,
    ) -> FragmentVerdict {
        let at = way.arrival();
        let verdict = match self.read_piece(packet, at) {
            Ok(piece) => self.decide(packet, &piece, at, elsewhere, now),
            Err(reason) => self.refuse_unread(packet, reason, at).into(),
        };
        let event = match verdict.fate {
            FragmentAction::Decided(Verdict::Forward(_) | Verdict::Hairpin) => FragmentEvent::Translated,
            FragmentAction::Decided(
                Verdict::Drop(reason) | Verdict::Reject(reason) | Verdict::Reset(reason),
            ) => {
                self.count_drop(reason, at.direction);
                return verdict;
            }
            FragmentAction::Decided(_) => return verdict,
            FragmentAction::Held(_) => FragmentEvent::Held,
            FragmentAction::Elsewhere(_) => FragmentEvent::HandedOver,
        };
        self.counters.fragments[event] += 1;
        verdict
    }

    fn read_piece(&self, packet: &[u8], at: Arrival) -> Result<Piece, DropReason> {
        let ip = ipv4::Packet::new_verified(packet)?;
        self.check_source_route(&ip)?;
        let piece = Piece::read(&ip, at.direction)?;
        // Those of hairpinned datagrams are remembered by the same addresses.
        if at.direction == Direction::Inbound && at.routed && !piece.is_first() {
            let Key { source, destination, .. } = piece.key;
            self.addresses.check_inbound(&Tuple { source, destination, ..Tuple::default() })?;
        }
        Ok(piece)
    }

    /// Of a datagram under an authentication header, the first fragment is refused as the whole is.
    fn refuse_unread(&self, packet: &[u8], reason: DropReason, at: Arrival) -> Verdict {
        let ip = ipv4::Packet::new_unchecked(packet);
        let is_refused = reason == DropReason::AuthenticationHeader && at.direction == Direction::Outbound;
        if is_refused && ip.frag_offset() == 0 {
            self.refuse_authentication_header(&ip)
        } else {
            Verdict::Drop(reason)
        }
    }

    /// Whether it is a part of an ICMP message to the gateway, as its destination alone tells: such a one need not wait for
    /// its datagram's first, nor be remembered here.
    fn is_for_gateway_alone(&self, piece: &Piece, at: Arrival) -> Result<bool, DropReason> {
        let Key { source, destination, .. } = piece.key;
        if piece.protocol != Protocol::Icmp || !at.routed || !self.addresses.is_only_own(destination) {
            return Ok(false);
        }
        let tuple = Tuple { source, destination, ..Tuple::default() };
        match at.direction {
            Direction::Outbound => self.addresses.check_outbound(&tuple)?,
            Direction::Inbound => self.addresses.check_inbound(&tuple)?,
        }
        Ok(true)
    }

    fn decide(
        &mut self,
        packet: &mut [u8],
        piece: &Piece,
        at: Arrival,
        elsewhere: Option<u16>,
        now: Time,
    ) -> FragmentVerdict {
        match self.is_for_gateway_alone(piece, at) {
            Ok(true) => return Verdict::Local.into(),
            Ok(false) => {}
            Err(reason) => return reason.into(),
        }
        let known = self.fragments.find(&piece.key);
        let state = known.map(|id| (id, self.fragments.state(id)));
        // What is for the gateway itself needs no further hop. RFC 1812 section 4.3.2.7: no error is sent about a fragment
        // other than the first.
        let is_local = matches!(state, Some((_, State::Local)));
        if piece.ttl <= 1 && at.routed && !piece.is_first() && !is_local {
            return DropReason::TtlExceeded.into();
        }
        match (state, elsewhere) {
            (None | Some((_, State::Waiting(_))), Some(owner)) if piece.is_first() => {
                let released = self.forget(known);
                self.remember(piece, State::Elsewhere(owner), None, now);
                FragmentVerdict { fate: FragmentAction::Elsewhere(owner), released }
            }
            (None | Some((_, State::Waiting(_))), _) if piece.is_first() => {
                self.first(packet, piece, known, at, now)
            }
            (None, _) => self.early(piece, at, now),
            (Some((_, State::Refused(reason))), _) => reason.into(),
            (Some((id, state)), _) => self.further(packet, piece, id, state, at, now),
        }
    }

    /// The fragment that tells what becomes of its datagram. Others may wait for it.
    fn first(
        &mut self,
        packet: &mut [u8],
        piece: &Piece,
        waiting: Option<DatagramId>,
        at: Arrival,
        now: Time,
    ) -> FragmentVerdict {
        let parsed = match parse_layer4(&ipv4::Packet::new_unchecked(&*packet)) {
            Ok(parsed) => parsed,
            Err(reason) => return self.refuse_all(piece, waiting, reason, now),
        };
        let ended = (piece.ttl <= 1 && at.routed).then(|| self.ttl_expired(&parsed, at.direction));
        if let Some(verdict) = ended.filter(|&verdict| verdict != Verdict::Local) {
            return verdict.into();
        }
        let released = self.forget(waiting);
        let account = self.account_of(&parsed, at.direction);
        let verdict = match self.check_room(account) {
            Ok(()) if ended.is_some() => Verdict::Local,
            Ok(()) => {
                let hash = self.sessions.hash(&parsed.flow, parsed.protocol, at.direction);
                self.slow(packet, &parsed, hash, at, now)
            }
            Err(reason) => Verdict::Drop(reason),
        };
        let state = match verdict {
            Verdict::Forward(_) | Verdict::Hairpin => {
                State::Known(self.alike(packet, &piece.key, &parsed, verdict == Verdict::Hairpin))
            }
            Verdict::Drop(reason) | Verdict::Reject(reason) | Verdict::Reset(reason) => {
                State::Refused(reason)
            }
            Verdict::Local if parsed.is_query() => State::Local,
            Verdict::Local | Verdict::Reply(_) | Verdict::Fragment => {
                State::Refused(DropReason::LocalNoService)
            }
        };
        self.remember(piece, state, account, now);
        FragmentVerdict { fate: FragmentAction::Decided(verdict), released }
    }

    /// A fragment of a datagram that is known by another.
    fn further(
        &mut self,
        packet: &mut [u8],
        piece: &Piece,
        id: DatagramId,
        state: State,
        at: Arrival,
        now: Time,
    ) -> FragmentVerdict {
        match self.fragments.take_piece(id, piece) {
            Fit::New => {}
            Fit::Duplicate => return DropReason::FragmentDuplicate.into(),
            Fit::Overlap => return self.refuse_all(piece, Some(id), DropReason::FragmentOverlap, now),
        }
        match state {
            State::Waiting(_) => match self.fragments.hold(id) {
                Some(hold) => FragmentAction::Held(hold).into(),
                None => DropReason::FragmentsFull.into(),
            },
            State::Known(alike) => self.pass_alike(packet, piece, &alike, at).into(),
            State::Elsewhere(owner) => FragmentAction::Elsewhere(owner).into(),
            State::Local => Verdict::Local.into(),
            State::Refused(reason) => reason.into(),
        }
    }

    /// A fragment of a datagram that nothing is known of waits for the first one.
    fn early(&mut self, piece: &Piece, at: Arrival, now: Time) -> FragmentVerdict {
        let Key { source, destination, .. } = piece.key;
        let tuple = Tuple { source, destination, ..Tuple::default() };
        let checked = match at.direction {
            Direction::Outbound => self.addresses.check_outbound(&tuple),
            Direction::Inbound => Ok(()),
        };
        if let Err(reason) = checked {
            return reason.into();
        }
        let due = now.plus_ms(WAIT_MS.min(self.policy.fragment_ms));
        match self.fragments.hold_first(piece, due) {
            Some(hold) => FragmentAction::Held(hold).into(),
            None => DropReason::FragmentsFull.into(),
        }
    }

    /// `(a -> r, i) becomes (X -> r, j)`.
    fn pass_alike(&mut self, packet: &mut [u8], piece: &Piece, alike: &Alike, at: Arrival) -> Verdict {
        let header = &mut packet[..piece.header_len];
        ipv4::Packet::new_unchecked(&mut *header).set_ident(alike.ident);
        alike.rewrite.apply_header(header, at.hop());
        self.counters.translated[at.direction][piece.protocol] += 1;
        self.onward(alike.hairpins, None)
    }

    /// Gives a first fragment, which has just been translated, its new identification; how all others are translated.
    fn alike(&mut self, packet: &mut [u8], key: &Key, parsed: &Parsed, hairpins: bool) -> Alike {
        let ip = ipv4::Packet::new_unchecked(&*packet);
        let from = Tuple { source: key.source, destination: key.destination, ..Tuple::default() };
        let to = Tuple { source: ip.src_bits(), destination: ip.dst_bits(), ..Tuple::default() };
        let is_changed = from != to;
        let ident = if is_changed { self.fragments.draw_ident(to.source, to.destination) } else { key.ident };
        set_ident(packet, ident);
        let mut rewrite = Rewrite::new(parsed.protocol, &from, &to);
        rewrite.ip_delta = rewrite.ip_delta.replace_u16(key.ident.to_be(), ident.to_be());
        Alike { rewrite, ident, hairpins }
    }

    /// Gives a translated packet that is about to leave in fragments its new identification.
    pub fn identify(&mut self, packet: &mut [u8]) {
        let Ok(ip) = ipv4::Packet::new_header(&*packet) else { return };
        if !ip.is_fragment() && self.addresses.is_external(ip.src_bits()) {
            let ident = self.fragments.draw_ident(ip.src_bits(), ip.dst_bits());
            set_ident(packet, ident);
        }
    }

    /// Drops a datagram from here on.
    fn refuse_all(
        &mut self,
        piece: &Piece,
        known: Option<DatagramId>,
        reason: DropReason,
        now: Time,
    ) -> FragmentVerdict {
        let released = self.forget(known);
        self.remember(piece, State::Refused(reason), None, now);
        FragmentVerdict { fate: FragmentAction::Decided(Verdict::Drop(reason)), released }
    }

    fn forget(&mut self, known: Option<DatagramId>) -> Option<Hold> {
        known.and_then(|id| self.fragments.remove(id))
    }

    fn remember(&mut self, piece: &Piece, state: State, account: Option<Account>, now: Time) {
        let due = now.plus_ms(self.policy.fragment_ms);
        match state.class() {
            Class::Elsewhere | Class::Refused => self.fragments.settle(piece, state, due),
            // Room was there before the first fragment was translated.
            Class::Known | Class::Waiting => self.fragments.add(piece, state, due, account),
        };
    }

    /// The budget of a first fragment: whose host it is, and who brings it upon that.
    fn account_of(&self, parsed: &Parsed, direction: Direction) -> Option<Account> {
        match direction {
            Direction::Outbound => Some(Account { party: Party::Host, address: parsed.tuple().source }),
            Direction::Inbound => {
                let (ends, protocol) = (parsed.ends(), parsed.protocol);
                let session = self.session_between(ends, protocol, direction).map(|id| &self.sessions[id]);
                // What a remote alone began may be forged.
                let is_peer = session.is_some_and(|session| session.flags & HALF_OPEN == 0);
                let party = if is_peer { Party::Peer } else { Party::Stranger };
                let redirected = || self.permanent.redirect(protocol, ends.to.endpoint()?);
                let rewrite = match session {
                    Some(session) => Some(session.rewrite(direction)),
                    None => self.mapping_rewrite(ends, protocol, direction),
                };
                let host = rewrite.map(|rewrite| rewrite.to.tuple().destination);
                let address = host.or_else(|| redirected().map(|redirect| redirect.internal.address))?;
                Some(Account { party, address })
            }
        }
    }

    fn check_room(&self, account: Option<Account>) -> Result<(), DropReason> {
        let limit = self.policy.fragments_per_subscriber;
        if account.is_some_and(|account| !self.fragments.is_within_budget(account, limit)) {
            return Err(DropReason::SubscriberFragments);
        }
        let party = account.map_or(Party::Stranger, |account| account.party);
        if self.fragments.has_room(party) { Ok(()) } else { Err(DropReason::FragmentsFull) }
    }
}

fn set_ident(packet: &mut [u8], ident: u16) {
    let mut ip = ipv4::Packet::new_unchecked(packet);
    let delta = Delta::new().replace_u16(ip.ident(), ident);
    ip.set_ident(ident);
    ip.apply(delta);
}

impl Shard {
    /// Gives up a datagram whose first fragment has not come in time: what waits under this name is to be dropped. `None`
    /// when nothing has waited too long.
    pub fn give_up_fragments(&mut self, now: Time) -> Option<Hold> {
        let id = self.fragments.next_due(Class::Waiting, now)?;
        self.fragments.remove(id)
    }
}
