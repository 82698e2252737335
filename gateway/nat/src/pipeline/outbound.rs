//! The slow path of outbound packets: the first packet of a session, and what may not become one.

use crate::mapping::{FoundBy, Kind, Mapping, New};
use crate::packet::endpoint::{End, Endpoint, Ends, Flow, Tuple};
use crate::packet::parse::Parsed;
use crate::packet::rewrite::Rewrite;
use crate::packet::verdict::{DropReason, Protocol, SessionFailure, Verdict};
use crate::policy::rules::RuleKey;
use crate::pool::allocation::AllocRequest;
use crate::pool::grants::GrantId;
use crate::session::insert::NewSession;
use crate::session::tcp_state;
use crate::session::{HAIRPIN, Timeout};
use crate::settings::{Filtering, Refuse, RuleAction};
use crate::shard::{Arrival, Shard};
use crate::table::index::Full;
use crate::table::time::Time;
use natgw_wire::ipv4;

/// Where a new session's outside endpoint shall come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Pool(u16),
    Permanent(End),
    Exempt,
}

impl Shard {
    /// `(a:p -> r:q)` without a session becomes `(X:P -> r:q)`, and a session.
    pub(crate) fn outbound_miss(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        at: Arrival,
        now: Time,
    ) -> Verdict {
        let tuple = parsed.tuple();
        if let Err(reason) = self.addresses.check_outbound(&tuple) {
            return Verdict::Drop(reason);
        }
        if self.is_for_gateway(parsed) {
            return Verdict::Local;
        }
        let origin = match self.origin(&rule_key(parsed, packet), parsed) {
            Ok(origin) => origin,
            Err(reason) => return self.refuse(reason),
        };
        let internal = parsed.sender().endpoint().filter(|&from| self.begins_session(parsed, from, origin));
        let Some(internal) = internal else { return self.answer_by_mapping(packet, parsed, origin, at) };
        match self.new_session(internal, parsed, origin, now) {
            // The session cannot be over at the moment of its making.
            Ok(id) => {
                self.forward(id, packet, parsed, at, now).unwrap_or(Verdict::Drop(DropReason::TcpNoSession))
            }
            Err(failure) => {
                if failure == SessionFailure::SubscriberHalfOpen
                    && parsed.flags & tcp_state::SYN == 0
                    && self.external_by_mapping(parsed, origin).is_some()
                {
                    // What the remote began, a mapping carries without a session.
                    return self.answer_by_mapping(packet, parsed, origin, at);
                }
                self.counters.session_failures[failure] += 1;
                self.refuse(failure.into())
            }
        }
    }

    /// A new session that may not be, or that there is no room for.
    pub(crate) fn refuse(&self, reason: DropReason) -> Verdict {
        match (reason, self.policy.refuse) {
            (DropReason::RuleReject, _) => Verdict::Reject(reason),
            (DropReason::RuleDrop, _) | (_, Refuse::Drop) => Verdict::Drop(reason),
            (_, Refuse::Reject) => Verdict::Reject(reason),
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

    /// A packet from inside to an own address that no mapping leads further, as far as this shard can tell: of an own address
    /// that is a pool's too (masquerade), others may own a part of the ports. What they find no mapping for comes back
    /// ([`Shard::take_back`]).
    pub(crate) fn is_for_gateway(&self, parsed: &Parsed) -> bool {
        let destination = parsed.tuple().destination;
        self.addresses.is_own(destination)
            && (parsed.is_query()
                || !self.addresses.is_external(destination)
                || !self.may_be_mapped(parsed.protocol, parsed.receiver()))
            || self.is_pool_ping(parsed)
    }

    /// Whether there may be a mapping of an outside end, here or with another shard.
    #[cold]
    fn may_be_mapped(&self, protocol: Protocol, external: End) -> bool {
        if self.permanent.internal_end(protocol, external).is_some() {
            return true;
        }
        let is_pooled = self.addresses.is_pooled(external.address);
        match external.endpoint() {
            Some(endpoint) if self.permanent.redirect(protocol, endpoint).is_some() => true,
            // Without ports, a host is known by its remote alone, which here is the gateway itself.
            _ if !protocol.has_ports() => false,
            Some(endpoint) if self.is_alone => is_pooled && self.is_mapped(protocol, endpoint),
            _ => is_pooled,
        }
    }

    /// Whether a mapping in use has this outside endpoint, alone or towards some remote.
    pub(crate) fn is_mapped(&self, protocol: Protocol, external: Endpoint) -> bool {
        let found = self.mapping_by_external(protocol, external);
        found.is_some_and(|id| self.mappings.lines[id].is_in_use())
            || self.overlaps.is_in_use(protocol, external, self.mappings.lines.as_slice())
    }

    /// Whether it is a ping of a pool's address that the gateway answers. A 1:1 mapping takes its address's pings; others
    /// take none, as a query names no endpoint of its destination.
    pub(crate) fn is_pool_ping(&self, parsed: &Parsed) -> bool {
        parsed.is_query()
            && self.addresses.answers_ping(parsed.tuple().destination)
            && self.permanent.internal_end(parsed.protocol, parsed.receiver()).is_none()
    }

    /// Reject, drop and exempt rules bind everybody; else a permanent mapping needs no rule, and everything else needs one.
    #[inline(always)]
    pub(crate) fn origin(&self, key: &RuleKey, parsed: &Parsed) -> Result<Origin, DropReason> {
        let (protocol, sender) = (parsed.protocol, parsed.sender());
        let permanent = self.permanent.external_end(protocol, sender).map(Origin::Permanent);
        match (self.policy.classifier.first_match(key, protocol), permanent) {
            (Some(RuleAction::Reject), _) => Err(DropReason::RuleReject),
            (Some(RuleAction::Drop), _) => Err(DropReason::RuleDrop),
            // Whose address stands for another inside cannot be told from that one outside.
            (Some(RuleAction::Exempt), _) if self.is_known_by_another(parsed.tuple().destination) => {
                Err(DropReason::NoRule)
            }
            (Some(RuleAction::Exempt), _) => Ok(Origin::Exempt),
            (_, Some(permanent)) => Ok(permanent),
            (Some(RuleAction::Pool(pool)), None) if self.is_translated(pool, sender, protocol) => {
                Ok(Origin::Pool(pool as u16))
            }
            (Some(RuleAction::Pool(_)), None) => Err(DropReason::Protocol),
            (None, None) => Err(DropReason::NoRule),
        }
    }

    /// UDP sessions and those of protocols without ports begin with anything, ICMP sessions with a question, TCP sessions
    /// with a SYN. The answer to a SYN that a mapping let in begins none: anybody could make it come. The handshake's end
    /// shows that the remote is there, and what the inside host sends then begins the session. So does any segment with ACK
    /// alone where streams are taken up in the middle.
    fn begins_session(&self, parsed: &Parsed, internal: Endpoint, origin: Origin) -> bool {
        match parsed.protocol {
            Protocol::Udp | Protocol::Other => true,
            Protocol::Icmp => parsed.is_query(),
            Protocol::Tcp => match (tcp_state::opening(parsed.flags), origin) {
                (None, _) => false,
                (Some(tcp_state::State::SynSent), _) | (Some(_), Origin::Permanent(_) | Origin::Exempt) => {
                    true
                }
                (Some(_), Origin::Pool(_)) if self.policy.tcp_pickup => true,
                (Some(_), Origin::Pool(pool)) => {
                    let in_use = |mapping: &Mapping| mapping.is_in_use() && mapping.is_of_pool(pool);
                    self.mapping_by_internal(parsed.protocol, internal, in_use).is_some()
                }
            },
        }
    }

    /// A packet that begins no session may still answer what a mapping let in: a RST, or the reply to a ping of a 1:1
    /// address. `(a:p -> r:q) becomes (X:P -> r:q)`.
    fn answer_by_mapping(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        origin: Origin,
        at: Arrival,
    ) -> Verdict {
        let refused = match parsed.protocol {
            Protocol::Tcp => DropReason::TcpNoSession,
            Protocol::Udp | Protocol::Icmp | Protocol::Other => DropReason::NoMapping,
        };
        let Some(external) = self.external_by_mapping(parsed, origin) else {
            // Of an own address that is a pool's too, another shard may have mappings; this packet has none to go to it by.
            let own = self.addresses.is_own(parsed.tuple().destination);
            return if own { Verdict::Local } else { self.refuse_stray(parsed, refused) };
        };
        let to = Ends { from: external, to: self.remote_outside(parsed.receiver()) }.tuple();
        let rewrite = Rewrite::new(parsed.protocol, &parsed.tuple(), &to);
        let hairpin = self.addresses.is_external(to.destination);
        self.forward_without_session(packet, parsed, &rewrite, at, hairpin)
    }

    /// The outside end of a sender that has a mapping.
    fn external_by_mapping(&self, parsed: &Parsed, origin: Origin) -> Option<End> {
        match origin {
            Origin::Permanent(external) => Some(external),
            Origin::Exempt => Some(parsed.sender()),
            Origin::Pool(pool) => {
                let in_use = |mapping: &Mapping| mapping.is_in_use() && mapping.is_of_pool(pool);
                let internal = parsed.sender().endpoint()?;
                let found = self.mapping_by_internal(parsed.protocol, internal, in_use)?;
                Some(self.mappings.lines[found].external().into())
            }
        }
    }

    /// A packet that belongs to nothing. The sender of a TCP segment is told, as its connection is lost: its session has
    /// ended while it had nothing to say, or was deleted.
    fn refuse_stray(&self, parsed: &Parsed, reason: DropReason) -> Verdict {
        let is_answered = reason == DropReason::TcpNoSession && parsed.flags & tcp_state::RST == 0;
        if is_answered && self.policy.refuse == Refuse::Reject {
            Verdict::Reset(reason)
        } else {
            Verdict::Drop(reason)
        }
    }

    /// A remote's end that an inside host names, as it is outside.
    pub(crate) fn remote_outside(&self, remote: End) -> End {
        remote.at(self.addresses.remote_outside(remote.address))
    }

    /// The endpoint outside that a packet's session is with: of an ICMP query it has no identifier of its own, and 0 stands
    /// for that.
    pub(crate) fn session_remote(&self, parsed: &Parsed) -> Endpoint {
        let to = parsed.tuple().to();
        Endpoint { address: self.addresses.remote_outside(to.address), ..to }
    }

    /// Whether inside hosts know the remote by another address than it has.
    fn is_known_by_another(&self, remote: u32) -> bool {
        self.addresses.remote_outside(remote) != remote
    }

    /// Applies a rewrite that no session keeps.
    pub(crate) fn forward_without_session(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        rewrite: &Rewrite,
        at: Arrival,
        hairpin: bool,
    ) -> Verdict {
        self.counters.translated[at.direction][parsed.protocol] += 1;
        rewrite.apply(packet, usize::from(parsed.header_len), parsed.protocol, at.hop());
        self.policy.clamp_mss(packet, parsed);
        if hairpin {
            self.counters.hairpinned += 1;
            return Verdict::Hairpin;
        }
        Verdict::Forward(None)
    }

    fn new_session(
        &mut self,
        internal: Endpoint,
        parsed: &Parsed,
        origin: Origin,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        if self.session_ids.is_exhausted()
            && !self.draining
            && let Some(closed) = self.oldest_closed(internal.address)
        {
            self.give_up(closed, now);
        }
        self.may_begin()?;
        let subscriber =
            self.subscribers.find_or_add(internal.address).ok_or(SessionFailure::SubscribersFull)?;
        let made = self.session_of(subscriber, internal, parsed, origin, now);
        if made.is_err() {
            self.subscribers.remove_if_idle(subscriber);
        }
        made
    }

    /// Whether any session may.
    pub(crate) fn may_begin(&self) -> Result<(), SessionFailure> {
        if self.draining {
            return Err(SessionFailure::Draining);
        }
        if self.session_ids.is_exhausted() { Err(SessionFailure::SessionsFull) } else { Ok(()) }
    }

    fn session_of(
        &mut self,
        subscriber: u32,
        internal: Endpoint,
        parsed: &Parsed,
        origin: Origin,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        let state = tcp_state::opening(parsed.flags).filter(|_| parsed.protocol == Protocol::Tcp);
        let given_up = self.room_within_bounds(subscriber, parsed.protocol, state)?;
        if !self.subscribers.begin(subscriber, parsed.protocol, &self.policy.rates, now) {
            return Err(SessionFailure::SubscriberRate);
        }
        if let Some(id) = given_up {
            self.give_up(id, now);
        }
        let mapping = self.mapping_for(subscriber, internal, parsed, origin, now)?;
        let made = self.add_session(mapping, parsed, state, now);
        if made.is_err() {
            self.release_if_unused(mapping, now);
        }
        made
    }

    /// By what a mapping of this origin is found again.
    #[inline(always)]
    pub(crate) fn found_by(&self, protocol: Protocol, origin: Origin) -> FoundBy {
        match origin {
            Origin::Pool(_) if !protocol.has_ports() => FoundBy::Inside,
            Origin::Pool(pool) if self.pools[usize::from(pool)].shares_ports() => FoundBy::Neither,
            // One inside endpoint can have an exempt and a translated mapping at once: the exempt one is apart.
            Origin::Exempt => FoundBy::Outside,
            Origin::Pool(_) | Origin::Permanent(_) => FoundBy::Both,
        }
    }

    /// The inside endpoint's own mapping, in use or resting.
    #[inline(always)]
    pub(crate) fn mapping_found(
        &self,
        protocol: Protocol,
        internal: Endpoint,
        origin: Origin,
        found_by: FoundBy,
    ) -> Option<u32> {
        let fits = |mapping: &Mapping| match origin {
            Origin::Pool(pool) => mapping.is_of_pool(pool),
            Origin::Permanent(external) => external.endpoint() == Some(mapping.external()),
            Origin::Exempt => false,
        };
        match found_by {
            FoundBy::Both | FoundBy::Inside => self.mapping_by_internal(protocol, internal, fits),
            FoundBy::Outside | FoundBy::Neither => None,
        }
    }

    /// The mapping that the session goes under: the inside endpoint's own, in use or resting, or a new one.
    fn mapping_for(
        &mut self,
        subscriber: u32,
        internal: Endpoint,
        parsed: &Parsed,
        origin: Origin,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        let protocol = parsed.protocol;
        let found_by = self.found_by(protocol, origin);
        if let Some(id) = self.mapping_found(protocol, internal, origin, found_by) {
            let external = self.mappings.lines[id].external();
            if found_by == FoundBy::Inside && self.is_taken(external, self.session_remote(parsed), now) {
                return Err(SessionFailure::AddressTaken);
            }
            self.reactivate(id);
            return Ok(id);
        }
        let remote = (found_by == FoundBy::Neither).then(|| self.session_remote(parsed));
        let need = |pool| AllocRequest { subscriber, pool, protocol, inside: internal.port, remote, now };
        let (external, kind, grant) = match origin {
            Origin::Pool(pool) => {
                let (external, grant) = match found_by {
                    FoundBy::Inside => {
                        let remote = self.session_remote(parsed);
                        self.take_address(subscriber, pool, internal, remote, now)?
                    }
                    _ => self.take_port(need(pool))?,
                };
                (external, Kind::Pool, grant)
            }
            // Whatever begins a session names its sender's end, and the same end has the mapping.
            Origin::Permanent(external) => {
                let external =
                    Endpoint { address: external.address, port: external.port.unwrap_or(internal.port) };
                (external, Kind::Permanent, GrantId::NONE)
            }
            Origin::Exempt => {
                // Several remotes share the untranslated endpoint.
                if let Some(id) = self.exempt_mapping(protocol, internal) {
                    return Ok(id);
                }
                (internal, Kind::Exempt, GrantId::NONE)
            }
        };
        let has_port = kind == Kind::Pool && protocol.has_ports();
        let in_block = has_port && self.pools[usize::from(grant.pool)].is_in_blocks();
        let new = New { protocol, internal, external, kind, found_by, in_block, subscriber, grant, now };
        let entered = self.enter_mapping(&new, remote);
        if entered.is_err() && has_port {
            self.give_port(need(grant.pool), (external, grant));
        }
        entered
    }

    /// The mapping of an endpoint that is not translated.
    pub(crate) fn exempt_mapping(&self, protocol: Protocol, internal: Endpoint) -> Option<u32> {
        self.mappings.by_external(protocol, internal, |mapping| mapping.kind() == Kind::Exempt)
    }

    /// Enters a mapping, and among those that share its outside endpoint where it serves one remote.
    pub(crate) fn add_mapping(&mut self, new: &New, remote: Option<Endpoint>) -> Option<u32> {
        let id = self.mappings.add(new)?;
        match remote {
            None => Some(id),
            Some(remote) => self.share_port(id, new, remote),
        }
    }

    /// Lets a new mapping share its port with those that serve other remotes.
    #[inline(never)]
    fn share_port(&mut self, id: u32, new: &New, remote: Endpoint) -> Option<u32> {
        match self.overlaps.enter(id, remote, self.mappings.lines.as_slice()) {
            Ok([before, after]) => {
                let GrantId { pool, place } = new.grant;
                self.pools[usize::from(pool)].account(place, new.protocol, before, after);
                Some(id)
            }
            Err(Full) => {
                self.mappings.remove(id);
                None
            }
        }
    }

    /// Makes the session of an outbound packet. The mapping is in use or new.
    fn add_session(
        &mut self,
        mapping: u32,
        parsed: &Parsed,
        state: Option<tcp_state::State>,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        let protocol = parsed.protocol;
        let inside = parsed.tuple();
        let line = &self.mappings.lines[mapping];
        let outside = Tuple::new(self.session_remote(parsed), line.external());
        let hairpins = self.addresses.is_external(outside.source) && line.kind() != Kind::Exempt;
        let subscriber = line.subscriber;
        let begun = NewSession {
            flows: [parsed.flow, Flow::from(&outside)],
            protocol,
            state: state.unwrap_or(tcp_state::State::None),
            timeout: state
                .map_or(Timeout::initial(protocol, inside.destination_port), tcp_state::State::timeout),
            flags: if hairpins { HAIRPIN } else { 0 },
        };
        let id = self.enter_session(mapping, &begun, now)?;
        self.sessions[id].half_open = self.subscribers.lines[subscriber].begin(protocol, state.is_some());
        Ok(id)
    }

    /// Whether the mapping keeps a list of the remote addresses that may answer it.
    pub(crate) fn is_filtered_by_address(&self, mapping: &Mapping) -> bool {
        mapping.kind() == Kind::Pool
            && self.pools[usize::from(mapping.grant.pool)].filtering(mapping.protocol())
                == Filtering::AddressDependent
    }
}

/// What rules are asked about a packet.
pub(crate) fn rule_key(parsed: &Parsed, packet: &[u8]) -> RuleKey {
    if parsed.protocol != Protocol::Icmp {
        return RuleKey::flow(&parsed.tuple());
    }
    RuleKey::message(&parsed.tuple(), packet.get(usize::from(parsed.header_len)).copied().unwrap_or_default())
}
