//! What would become of a packet that nobody sent.
//!
//! The first packet of a flow is made up (a datagram, a SYN, an echo request), and what is planned for it is reported instead
//! of committed ([`crate::lifecycle::plan`]). [`Shard::explain`] has the shard by a shared reference: no port is taken, nothing
//! is counted, no timer starts anew.

use crate::control::listing::{MappingView, SessionView};
use crate::ids::{MappingId, SessionId};
use crate::lifecycle::request::{Origin, Request};
use crate::mapping::Kind as MappingKind;
use crate::mapping::redirect::Redirect;
use crate::packet::arrival::Arrival;
use crate::packet::endpoint::{Endpoint, Ends, Flow, Tuple};
use crate::packet::parse::{Kind, Parsed};
use crate::packet::tcp_flags;
use crate::packet::verdict::{Direction, DropReason, Protocol, SessionFailure, Verdict};
use crate::pipeline::inbound::InboundPlan;
use crate::pipeline::outbound::OutboundPlan;
use crate::policy::rules::RuleKey;
use crate::session::HAIRPIN;
use crate::settings::Filtering;
use crate::shard::Shard;
use crate::table::time::Time;
use natgw_wire::icmpv4::message;

/// The first packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Protocol.
    pub protocol: Protocol,
    /// Its endpoints, as it arrives.
    pub tuple: Tuple,
    /// The side that it arrives on.
    pub direction: Direction,
    /// It is inbound because an inside host sent it to an outside endpoint of this gateway.
    pub hairpinned: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A session translates it.
    Session,
    /// It begins a session.
    NewSession,
    /// A mapping lets it in; the session begins with what the inside host sends.
    Mapping,
    /// It is for the gateway itself.
    Local,
    /// It is dropped.
    Drop(DropReason),
    /// It is dropped, and its sender gets an ICMP error.
    Reject(DropReason),
}

/// An inside address and what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriberView {
    /// The address.
    pub address: u32,
    /// Sessions, by [`Protocol`].
    pub sessions: [u32; Protocol::COUNT],
    /// Outside ports, in use and resting, by [`Protocol`].
    pub ports: [u16; Protocol::WITH_PORTS.len()],
    /// TCP sessions that never were open.
    pub half_open: u16,
    /// The outside address that it is paired with in the pool (RFC 4787 REQ-2).
    pub paired: Option<u32>,
}

/// The answer to a [`Question`], with whatever had a part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What becomes of the packet.
    pub outcome: Outcome,
    /// The place of the first rule that matches, of outbound packets without a session, and of answers to redirected ones.
    pub rule: Option<u32>,
    /// `pool`, `permanent`, `exempt` or `redirect`: where the outside endpoint comes from.
    pub kind: Option<&'static str>,
    /// The pool, where one gives or gave the port.
    pub pool: Option<u16>,
    /// First and last of the ports that the subscriber has to itself, among them the mapping's.
    pub block: Option<[u16; 2]>,
    /// Who may answer the mapping from outside, where it is a pool's.
    pub filtering: Option<Filtering>,
    /// The subscriber, where the shard knows it.
    pub subscriber: Option<SubscriberView>,
    /// The mapping that there is.
    pub mapping: Option<MappingView>,
    /// The session that there is.
    pub session: Option<SessionView>,
    /// The packet's source as it leaves; `None` where its port would be drawn.
    pub source: Option<Endpoint>,
    /// The packet's destination as it leaves.
    pub destination: Option<Endpoint>,
    /// The destination is an outside endpoint of this gateway: what leaves here comes in again.
    pub hairpins: bool,
    /// The remote's address may be an inside one as well: only routes to the outside lead there.
    pub for_outside: bool,
}

impl Explanation {
    fn new(outcome: Outcome) -> Explanation {
        Explanation {
            outcome,
            rule: None,
            kind: None,
            pool: None,
            block: None,
            filtering: None,
            subscriber: None,
            mapping: None,
            session: None,
            source: None,
            destination: None,
            hairpins: false,
            for_outside: false,
        }
    }

    /// It is dropped, and nothing else has a part in that.
    pub fn dropped(reason: DropReason) -> Explanation {
        Explanation::new(Outcome::Drop(reason))
    }

    /// What to ask about the packet as it comes in again, where it hairpins. A source that would be drawn is taken for one
    /// that nobody has sent to.
    pub fn around(&self, question: &Question) -> Option<Question> {
        let goes_on = matches!(self.outcome, Outcome::Session | Outcome::NewSession);
        let destination = self.destination.filter(|_| self.hairpins && goes_on)?;
        let drawn = || {
            let paired = self.subscriber.and_then(|subscriber| subscriber.paired);
            Endpoint { address: paired.unwrap_or(0), port: 0 }
        };
        let tuple = Tuple::new(self.source.unwrap_or_else(drawn), destination);
        Some(Question { tuple, direction: Direction::Inbound, hairpinned: true, ..*question })
    }

    /// What becomes of the packet as it comes in again to its own sender, whom the session lets in that it begins;
    /// `None` where it is for another.
    pub fn to_itself(&self, question: &Question) -> Option<Explanation> {
        let own = self.source.is_some() && self.source == self.destination;
        (own && self.outcome == Outcome::NewSession && self.hairpins).then(|| Explanation {
            kind: self.kind,
            pool: self.pool,
            mapping: self.mapping,
            subscriber: self.subscriber,
            source: self.source,
            destination: Some(question.tuple.from()),
            ..Explanation::new(Outcome::Session)
        })
    }
}

/// The outcome of a refusal.
fn refused(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Reject(reason) => Outcome::Reject(reason),
        Verdict::Drop(reason) => Outcome::Drop(reason),
        _ => Outcome::Local,
    }
}

/// A packet without payload, as far as the engine reads it.
fn first_packet(question: &Question) -> (Parsed, [u8; 40]) {
    let mut packet = [0; 40];
    packet[0] = 0x45;
    packet[20] = if question.protocol == Protocol::Icmp { message::ECHO } else { 0 };
    let parsed = Parsed {
        flow: Flow::from(&question.tuple),
        protocol: question.protocol,
        header_len: 20,
        ttl: 64,
        flags: if question.protocol == Protocol::Tcp { tcp_flags::SYN } else { tcp_flags::ACK },
        kind: match question.protocol {
            Protocol::Udp | Protocol::Tcp => Kind::Ports,
            Protocol::Icmp => Kind::Query,
            Protocol::Other => Kind::Number,
        },
    };
    (parsed, packet)
}

impl Shard {
    /// What would become of a packet now.
    pub fn explain(&self, question: &Question, now: Time) -> Explanation {
        let (parsed, packet) = first_packet(question);
        let direction = question.direction;
        let found = self.sessions.find_in_time(&parsed.flow, parsed.protocol, direction, now);
        match (found, direction) {
            (Some(id), _) if self.is_refused_message(id, &packet, &parsed, direction) => Explanation {
                rule: self.rule(&parsed, &packet),
                ..Explanation::dropped(DropReason::RuleDrop)
            },
            (Some(id), _) => {
                let session = self.explain_session(id, direction, now);
                let room = self.begins_anew(id, &parsed, direction, now).then(|| self.room_to_begin_anew(id));
                match room {
                    Some(Err(failure)) => Explanation { outcome: self.refused(failure.into()), ..session },
                    _ => session,
                }
            }
            (None, Direction::Outbound) => self.explain_outbound(&packet, &parsed, now),
            (None, Direction::Inbound) => {
                let at = Arrival { direction, routed: !question.hairpinned };
                self.explain_inbound(&parsed, at, now)
            }
        }
    }

    fn rule(&self, parsed: &Parsed, packet: &[u8]) -> Option<u32> {
        self.policy.classifier.first_place(&RuleKey::of(parsed, packet), parsed.protocol)
    }

    fn explain_session(&self, id: SessionId, direction: Direction, now: Time) -> Explanation {
        let session = &self.sessions[id];
        let out = session.flows[direction.flip()].reversed().tuple();
        let hairpins = session.flags & HAIRPIN != 0 && direction == Direction::Outbound;
        let for_outside =
            direction == Direction::Outbound && session.flows[0].destination != session.flows[1].source;
        Explanation {
            session: Some(self.view_session(id, now)),
            source: Some(out.from()),
            destination: Some(out.to()),
            hairpins,
            for_outside,
            ..self.with_mapping(Explanation::new(Outcome::Session), session.mapping, now)
        }
    }

    /// What there is to say of a mapping.
    fn with_mapping(&self, explanation: Explanation, id: MappingId, now: Time) -> Explanation {
        let mapping = &self.mappings[id];
        let pool = (mapping.kind() == MappingKind::Pool).then_some(mapping.grant.pool);
        Explanation {
            block: pool
                .and_then(|pool| self.block(pool, mapping.internal().address, Some(mapping.external()))),
            mapping: Some(self.view_mapping(id, now)),
            kind: Some(mapping.kind().name()),
            filtering: pool.map(|pool| self.pools[pool].filtering(mapping.protocol())),
            pool,
            subscriber: self.view_subscriber(mapping.internal().address, pool),
            ..explanation
        }
    }

    /// First and last of the ports that a subscriber has to itself, as far as they are known by its address or a port.
    fn block(&self, pool: u16, inside: u32, external: Option<Endpoint>) -> Option<[u16; 2]> {
        let from = &self.pools[pool];
        let ports = match from.ranges() {
            Some(ranges) => ranges.outside(inside.into())?.1,
            None => from.blocks()?.ports_around(external?.port)?,
        };
        Some([*ports.start(), *ports.end()])
    }

    fn view_subscriber(&self, address: u32, pool: Option<u16>) -> Option<SubscriberView> {
        let line = &self.subscribers[self.subscribers.find(address)?];
        let paired = pool.and_then(|pool| Some(self.pools[pool].address(line.paired(pool)?)));
        let (sessions, ports, half_open) = (line.sessions(), line.ports(), line.half_open());
        Some(SubscriberView { address, sessions, ports, half_open, paired })
    }

    fn refused(&self, reason: DropReason) -> Outcome {
        refused(self.refuse(reason))
    }

    fn explain_outbound(&self, packet: &[u8], parsed: &Parsed, now: Time) -> Explanation {
        let rule = self.rule(parsed, packet);
        let request = match self.outbound_plan(packet, parsed, now) {
            OutboundPlan::Drop(reason) => return Explanation::dropped(reason),
            OutboundPlan::Local => return Explanation::new(Outcome::Local),
            OutboundPlan::Refuse(reason) => {
                let subscriber = self.view_subscriber(parsed.tuple().source, None);
                return Explanation { rule, subscriber, ..Explanation::new(self.refused(reason)) };
            }
            // The first packet of a flow begins its session.
            OutboundPlan::Answer(_) => return Explanation::dropped(DropReason::NoMapping),
            OutboundPlan::Begin(request) => request,
        };
        let Request { protocol, internal, remote, origin, .. } = request;
        let known = self.own_mapping(&request);
        let outcome = match self.explain_session_plan(&request) {
            Ok(()) => Outcome::NewSession,
            Err(failure) => self.refused(failure.into()),
        };
        let (kind, pool, external) = match origin {
            Origin::Pool(pool) => (MappingKind::Pool, Some(pool), None),
            Origin::Permanent(external) => (MappingKind::Permanent, None, external.endpoint()),
            Origin::Exempt => (MappingKind::Exempt, None, Some(internal)),
        };
        let explanation = Explanation {
            rule,
            kind: Some(kind.name()),
            pool,
            block: pool.and_then(|pool| self.block(pool, internal.address, None)),
            filtering: pool.map(|pool| self.pools[pool].filtering(protocol)),
            subscriber: self.view_subscriber(internal.address, pool),
            source: external,
            destination: Some(remote),
            hairpins: kind != MappingKind::Exempt && self.addresses.is_external(remote.address),
            for_outside: remote != parsed.tuple().to(),
            ..Explanation::new(outcome)
        };
        match known.filter(|_| origin != Origin::Exempt) {
            Some(id) => {
                let source = Some(self.mappings[id].external());
                self.with_mapping(Explanation { source, ..explanation }, id, now)
            }
            None => explanation,
        }
    }

    /// Whether the plans of a new session come through: the packet path commits each in its turn.
    fn explain_session_plan(&self, request: &Request) -> Result<(), SessionFailure> {
        let admission = self.admission(request)?;
        if self.known_mapping(request)?.is_none() {
            // The same numbers as the packet's will be drawn.
            self.mapping_plan(admission.subscriber, request, &mut self.random.clone())?;
        }
        Ok(())
    }

    fn explain_inbound(&self, parsed: &Parsed, at: Arrival, now: Time) -> Explanation {
        let found = parsed.receiver().endpoint().and_then(|to| self.mapping_by_external(parsed.protocol, to));
        let about = |explanation| match found.filter(|&id| self.mappings[id].is_in_use()) {
            Some(id) => self.with_mapping(explanation, id, now),
            None => explanation,
        };
        match self.inbound_plan(parsed, at) {
            InboundPlan::Drop(reason) => Explanation::dropped(reason),
            InboundPlan::Local => Explanation::new(Outcome::Local),
            InboundPlan::Redirect(redirect) => self.explain_redirect(parsed, redirect),
            InboundPlan::Mapping(internal) => {
                let to = Ends { from: self.remote_inside(parsed.sender()), to: internal }.tuple();
                about(Explanation {
                    kind: Some(MappingKind::Permanent.name()),
                    subscriber: self.view_subscriber(internal.address, None),
                    source: Some(to.from()),
                    destination: Some(to.to()),
                    ..Explanation::new(Outcome::Mapping)
                })
            }
            InboundPlan::Refuse(reason) => {
                about(Explanation::new(refused(self.refuse_inbound(parsed, reason, at))))
            }
        }
    }

    fn explain_redirect(&self, parsed: &Parsed, redirect: Redirect) -> Explanation {
        let answer = Tuple::new(redirect.internal, parsed.tuple().from());
        let planned = self
            .may_redirect(parsed, redirect)
            .and_then(|()| self.redirect_plan(parsed, redirect).map_err(DropReason::from));
        let outcome = match planned {
            Ok(_) => Outcome::NewSession,
            Err(reason) => Outcome::Drop(reason),
        };
        Explanation {
            rule: self.policy.classifier.first_place(&RuleKey::flow(&answer), parsed.protocol),
            kind: Some(MappingKind::Redirect.name()),
            subscriber: self.view_subscriber(redirect.internal.address, None),
            destination: Some(redirect.internal),
            ..Explanation::new(outcome)
        }
    }
}
