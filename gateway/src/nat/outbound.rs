//! The slow path of outbound packets: the first packet of a session, and what may not become one.

use super::allocation::Need;
use super::beginning::Begun;
use super::endpoint::{Endpoint, Flow, Tuple};
use super::mapping::{FoundBy, Kind, Mapping, New};
use super::parse::Parsed;
use super::rewrite::Rewrite;
use super::session::{HAIRPIN, Timeout};
use super::settings::{Filtering, Refuse, RuleAction};
use super::shard::{Arrival, Shard};
use super::table::Full;
use super::tcp;
use super::time::Time;
use super::verdict::{DropReason, Protocol, SessionFailure, Verdict};
use crate::wire::icmpv4;

/// Where a new session's outside endpoint shall come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Pool(u16),
    Permanent(Endpoint),
    Exempt,
}

impl Shard {
    /// `(a:p -> r:q)` without a session becomes `(X:P -> r:q)`, and a session.
    pub(super) fn begin(&mut self, packet: &mut [u8], parsed: &Parsed, at: Arrival, now: Time) -> Verdict {
        let tuple = parsed.tuple();
        if let Err(reason) = self.addresses.check_outbound(&tuple) {
            return Verdict::Drop(reason);
        }
        if self.is_for_gateway(&tuple, parsed, packet) {
            return Verdict::Local;
        }
        let origin = match self.origin(&as_rules_see(parsed, packet), parsed.protocol) {
            Ok(origin) => origin,
            Err(reason) => return self.refuse(reason),
        };
        if !self.begins_session(parsed, packet, origin) {
            return self.answer_by_mapping(packet, parsed, origin, at);
        }
        match self.new_session(parsed, origin, now) {
            // The session cannot be over at the moment of its making.
            Ok(id) => {
                self.forward(id, packet, parsed, at, now).unwrap_or(Verdict::Drop(DropReason::TcpNoSession))
            }
            Err(failure) => {
                self.counters.session_failures[failure as usize] += 1;
                self.refuse(failure.into())
            }
        }
    }

    /// A new session that may not be, or that there is no room for.
    pub(super) fn refuse(&self, reason: DropReason) -> Verdict {
        match (reason, self.policy.refuse) {
            (DropReason::RuleReject, _) => Verdict::Reject(reason),
            (DropReason::RuleDrop | DropReason::Protocol, _) | (_, Refuse::Drop) => Verdict::Drop(reason),
            (_, Refuse::Reject) => Verdict::Reject(reason),
        }
    }

    /// An own address that mappings use as well (masquerade) is the gateway's own for pings alone.
    pub(super) fn is_for_gateway(&self, tuple: &Tuple, parsed: &Parsed, packet: &[u8]) -> bool {
        let own = self.addresses.is_own(tuple.destination);
        own && (is_query(parsed, packet) || !self.addresses.is_external(tuple.destination))
    }

    /// Reject, drop and exempt rules bind everybody; else a permanent mapping needs no rule, and everything else needs one.
    #[inline(always)]
    pub(super) fn origin(&self, tuple: &Tuple, protocol: Protocol) -> Result<Origin, DropReason> {
        let permanent = self.permanent.external(protocol, tuple.from()).map(Origin::Permanent);
        match (self.policy.classifier.first_match(tuple, protocol), permanent) {
            (Some(RuleAction::Reject), _) => Err(DropReason::RuleReject),
            (Some(RuleAction::Drop), _) => Err(DropReason::RuleDrop),
            // Whose address stands for another inside cannot be told from that one outside.
            (Some(RuleAction::Exempt), _) if self.remote_outside(tuple.to()) != tuple.to() => {
                Err(DropReason::NoRule)
            }
            (Some(RuleAction::Exempt), _) => Ok(Origin::Exempt),
            (_, Some(permanent)) => Ok(permanent),
            (Some(RuleAction::Pool(pool)), None) if self.is_translated(pool, tuple, protocol) => {
                Ok(Origin::Pool(pool as u16))
            }
            (Some(RuleAction::Pool(_)), None) => Err(DropReason::Protocol),
            (None, None) => Err(DropReason::NoRule),
        }
    }

    /// UDP sessions and those of protocols without ports begin with anything, ICMP sessions with a question, TCP sessions with a SYN. The answer to a SYN that
    /// a mapping let in begins none: anybody could make it come. The handshake's end shows that the remote is there, and
    /// what the inside host sends then begins the session.
    fn begins_session(&self, parsed: &Parsed, packet: &[u8], origin: Origin) -> bool {
        match parsed.protocol {
            Protocol::Udp | Protocol::Other => true,
            Protocol::Icmp => is_query(parsed, packet),
            Protocol::Tcp => match (tcp::opening(parsed.flags), origin) {
                (None, _) => false,
                (Some(tcp::State::SynSent), _) | (Some(_), Origin::Permanent(_) | Origin::Exempt) => true,
                (Some(_), Origin::Pool(pool)) => {
                    let in_use = |mapping: &Mapping| mapping.is_in_use() && mapping.is_of_pool(pool);
                    self.mappings.by_internal(parsed.protocol, parsed.tuple().from(), in_use).is_some()
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
        let external = match origin {
            Origin::Permanent(external) => Some(external),
            Origin::Exempt => Some(parsed.tuple().from()),
            Origin::Pool(pool) => self
                .mappings
                .by_internal(parsed.protocol, parsed.tuple().from(), |mapping| {
                    mapping.is_in_use() && mapping.is_of_pool(pool)
                })
                .map(|id| self.mappings.lines[id].external()),
        };
        let Some(external) = external else { return Verdict::Drop(refused) };
        let to = Tuple::new(external, self.remote_outside(parsed.tuple().to()));
        let rewrite = Rewrite::new(parsed.protocol, &parsed.tuple(), &to);
        let hairpin = self.addresses.is_external(to.destination);
        self.forward_without_session(packet, parsed, &rewrite, at, hairpin)
    }

    /// A remote endpoint that an inside host names, as it is outside.
    pub(super) fn remote_outside(&self, remote: Endpoint) -> Endpoint {
        Endpoint { address: self.addresses.remote_outside(remote.address), ..remote }
    }

    /// Applies a rewrite that no session keeps.
    pub(super) fn forward_without_session(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        rewrite: &Rewrite,
        at: Arrival,
        hairpin: bool,
    ) -> Verdict {
        self.counters.translated[at.direction as usize][parsed.protocol as usize] += 1;
        rewrite.apply(packet, usize::from(parsed.header_len), parsed.protocol, at.hop());
        self.policy.clamp_mss(packet, parsed);
        if hairpin {
            self.counters.hairpinned += 1;
            return Verdict::Hairpin;
        }
        Verdict::Forward(None)
    }

    fn new_session(&mut self, parsed: &Parsed, origin: Origin, now: Time) -> Result<u32, SessionFailure> {
        self.may_begin()?;
        let inside = parsed.tuple().source;
        let subscriber = self.subscribers.find_or_add(inside).ok_or(SessionFailure::SubscribersFull)?;
        let made = self.session_of(subscriber, parsed, origin, now);
        if made.is_err() {
            self.subscribers.remove_if_idle(subscriber);
        }
        made
    }

    /// Whether any session may.
    pub(super) fn may_begin(&self) -> Result<(), SessionFailure> {
        if self.draining {
            return Err(SessionFailure::Draining);
        }
        if self.session_ids.is_exhausted() { Err(SessionFailure::SessionsFull) } else { Ok(()) }
    }

    fn session_of(
        &mut self,
        subscriber: u32,
        parsed: &Parsed,
        origin: Origin,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        let state = tcp::opening(parsed.flags).filter(|_| parsed.protocol == Protocol::Tcp);
        let line = &self.subscribers.lines[subscriber];
        self.policy.bounds.admit(line, parsed.protocol, state == Some(tcp::State::SynSent))?;
        if !self.subscribers.begin(subscriber, parsed.protocol, &self.policy.rates, now) {
            return Err(SessionFailure::SubscriberRate);
        }
        let mapping = self.mapping_for(subscriber, parsed, origin, now)?;
        let made = self.add_session(mapping, parsed, state, now);
        if made.is_err() {
            self.release_if_unused(mapping, now);
        }
        made
    }

    /// By what a mapping of this origin is found again.
    #[inline(always)]
    pub(super) fn found_by(&self, protocol: Protocol, origin: Origin) -> FoundBy {
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
    pub(super) fn mapping_found(
        &self,
        protocol: Protocol,
        internal: Endpoint,
        origin: Origin,
        found_by: FoundBy,
    ) -> Option<u32> {
        let fits = |mapping: &Mapping| match origin {
            Origin::Pool(pool) => mapping.is_of_pool(pool),
            Origin::Permanent(external) => mapping.external() == external,
            Origin::Exempt => false,
        };
        match found_by {
            FoundBy::Both | FoundBy::Inside => self.mappings.by_internal(protocol, internal, fits),
            FoundBy::Outside | FoundBy::Neither => None,
        }
    }

    /// The mapping that the session goes under: the inside endpoint's own, in use or resting, or a new one.
    fn mapping_for(
        &mut self,
        subscriber: u32,
        parsed: &Parsed,
        origin: Origin,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        let protocol = parsed.protocol;
        let internal = parsed.tuple().from();
        let found_by = self.found_by(protocol, origin);
        if let Some(id) = self.mapping_found(protocol, internal, origin, found_by) {
            let external = self.mappings.lines[id].external();
            let remote = parsed.tuple().to();
            if found_by == FoundBy::Inside && self.is_taken(external, self.remote_outside(remote), now) {
                return Err(SessionFailure::AddressTaken);
            }
            self.wake(id);
            return Ok(id);
        }
        let remote =
            if found_by == FoundBy::Neither { Some(self.remote_outside(parsed.tuple().to())) } else { None };
        let need = |pool| Need { subscriber, pool, protocol, inside: internal.port, remote, now };
        let (external, kind, pool, address_index) = match origin {
            Origin::Pool(pool) => {
                let (external, index) = match found_by {
                    FoundBy::Inside => {
                        let remote = self.remote_outside(parsed.tuple().to());
                        self.take_address(subscriber, pool, internal, remote, now)?
                    }
                    _ => self.take_port(need(pool))?,
                };
                (external, Kind::Pool, pool, index)
            }
            Origin::Permanent(external) => (external, Kind::Permanent, 0, 0),
            Origin::Exempt => {
                // Several remotes share the untranslated endpoint.
                if let Some(id) = self.mappings.by_external(protocol, internal) {
                    return Ok(id);
                }
                (internal, Kind::Exempt, 0, 0)
            }
        };
        let has_port = kind == Kind::Pool && protocol.has_ports();
        let in_block = has_port && self.pools[usize::from(pool)].is_in_blocks();
        let new = New {
            protocol,
            internal,
            external,
            kind,
            found_by,
            in_block,
            subscriber,
            pool,
            address_index,
            now,
        };
        let entered = self.enter_mapping(&new, remote);
        if entered.is_err() && has_port {
            self.give_port(need(pool), (external, address_index));
        }
        entered
    }

    /// Enters a mapping, and among those that share its outside endpoint where it serves one remote.
    pub(super) fn add_mapping(&mut self, new: &New, remote: Option<Endpoint>) -> Option<u32> {
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
                self.pools[usize::from(new.pool)].account(new.protocol, before, after);
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
        state: Option<tcp::State>,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        let protocol = parsed.protocol;
        let inside = parsed.tuple();
        let line = &self.mappings.lines[mapping];
        let outside = Tuple::new(self.remote_outside(inside.to()), line.external());
        let hairpins = self.addresses.is_external(outside.source) && line.kind() != Kind::Exempt;
        let subscriber = line.subscriber;
        let begun = Begun {
            flows: [parsed.flow, Flow::from(&outside)],
            protocol,
            state: state.unwrap_or(tcp::State::None),
            timeout: state.map_or(Timeout::initial(protocol, inside.destination_port), tcp::State::timeout),
            flags: if hairpins { HAIRPIN } else { 0 },
        };
        let id = self.enter_session(mapping, &begun, now)?;
        let half_open = state == Some(tcp::State::SynSent);
        self.sessions[id].half_open = self.subscribers.lines[subscriber].begin(protocol, half_open);
        Ok(id)
    }

    /// Whether the mapping keeps a list of the remote addresses that may answer it.
    pub(super) fn is_filtered_by_address(&self, mapping: &Mapping) -> bool {
        mapping.kind() == Kind::Pool
            && self.pools[usize::from(mapping.pool)].filtering(mapping.protocol())
                == Filtering::AddressDependent
    }
}

/// The packet's tuple as rules are asked about it: an ICMP message's type stands in the place of the destination port.
pub(super) fn as_rules_see(parsed: &Parsed, packet: &[u8]) -> Tuple {
    let mut tuple = parsed.tuple();
    if parsed.protocol == Protocol::Icmp {
        tuple.destination_port =
            packet.get(usize::from(parsed.header_len)).copied().unwrap_or_default().into();
    }
    tuple
}

/// Whether it is an ICMP question. The tuple does not tell: an identifier may be 0.
pub(super) fn is_query(parsed: &Parsed, packet: &[u8]) -> bool {
    let l4 = packet.get(usize::from(parsed.header_len));
    parsed.protocol == Protocol::Icmp && l4.is_some_and(|&kind| icmpv4::is_request(kind))
}

impl From<SessionFailure> for DropReason {
    fn from(failure: SessionFailure) -> DropReason {
        match failure {
            SessionFailure::SessionsFull => DropReason::SessionsFull,
            SessionFailure::MappingsFull => DropReason::MappingsFull,
            SessionFailure::SubscribersFull => DropReason::SubscribersFull,
            SessionFailure::PortsExhausted => DropReason::PortsExhausted,
            SessionFailure::PortBlocksExhausted => DropReason::PortBlocksExhausted,
            SessionFailure::SubscriberPortBlocks => DropReason::SubscriberPortBlocks,
            SessionFailure::NoPortRange => DropReason::NoPortRange,
            SessionFailure::AddressTaken => DropReason::AddressTaken,
            SessionFailure::SubscriberPorts => DropReason::SubscriberPorts,
            SessionFailure::SubscriberSessions => DropReason::SubscriberSessions,
            SessionFailure::SubscriberHalfOpen => DropReason::SubscriberHalfOpen,
            SessionFailure::SubscriberRate => DropReason::SubscriberRate,
            SessionFailure::RedirectsFull => DropReason::RedirectsFull,
            SessionFailure::Draining => DropReason::Draining,
        }
    }
}
