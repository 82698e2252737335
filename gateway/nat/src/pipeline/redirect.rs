//! Packets to a redirected outside endpoint ([`crate::mapping::redirect`]).

use crate::ids::{GrantId, MappingId, SessionId, SubscriberId};
use crate::lifecycle::insert::NewSession;
use crate::mapping::redirect::Redirect;
use crate::mapping::{FoundBy, Kind, Mapping, New};
use crate::packet::arrival::Arrival;
use crate::packet::endpoint::{Endpoint, Flow, Tuple};
use crate::packet::parse::Parsed;
use crate::packet::verdict::{Direction, DropReason, Protocol, SessionFailure, Verdict};
use crate::policy::rules::RuleKey;
use crate::session::{HAIRPIN, HALF_OPEN, Timeout, tcp_state};
use crate::settings::RuleAction;
use crate::shard::Shard;
use crate::table::time::Time;

/// What a redirected session goes under, as far as it is there.
pub(crate) struct RedirectPlan {
    subscriber: Option<SubscriberId>,
    mapping: Option<MappingId>,
}

impl Shard {
    /// `(r:q -> X:P)` without a session becomes `(g:k -> a:p)`, and a session.
    pub(crate) fn redirect(
        &mut self,
        packet: &mut [u8],
        parsed: &Parsed,
        redirect: Redirect,
        at: Arrival,
        now: Time,
    ) -> Verdict {
        if let Err(reason) = self.may_redirect(parsed, redirect) {
            return Verdict::Drop(reason);
        }
        let begun = self
            .redirect_plan(parsed, redirect)
            .and_then(|plan| self.begin_redirect(parsed, redirect, plan, now));
        match begun {
            // The session cannot be over at the moment of its making.
            Ok(id) => {
                self.forward(id, packet, parsed, at, now).unwrap_or(Verdict::Drop(DropReason::NoMapping))
            }
            Err(failure) => {
                self.counters.session_failures[failure] += 1;
                Verdict::Drop(failure.into())
            }
        }
    }

    /// Whether a packet without a session may begin a redirected one: a SYN, of TCP, that the rules let the host answer.
    pub(crate) fn may_redirect(&self, parsed: &Parsed, redirect: Redirect) -> Result<(), DropReason> {
        if parsed.protocol == Protocol::Tcp
            && tcp_state::opening(parsed.flags) != Some(tcp_state::State::SynSent)
        {
            return Err(DropReason::TcpNoSession);
        }
        let answer = Tuple::new(redirect.internal, parsed.tuple().from());
        match self.policy.classifier.first_match(&RuleKey::flow(&answer), parsed.protocol) {
            Some(RuleAction::Drop | RuleAction::Reject) => Err(DropReason::RuleDrop),
            _ => Ok(()),
        }
    }

    /// Which subscriber and mapping a redirected session goes under.
    pub(crate) fn redirect_plan(
        &self,
        parsed: &Parsed,
        redirect: Redirect,
    ) -> Result<RedirectPlan, SessionFailure> {
        let protocol = parsed.protocol;
        self.may_begin()?;
        let has_no_port = redirect.gateway.is_some() && self.redirects.is_exhausted(protocol);
        if self.is_redirect_budget_spent() || has_no_port {
            return Err(SessionFailure::RedirectsFull);
        }
        if redirect.gateway.is_none() && self.is_remote_taken(protocol, self.seen_by_host(parsed, redirect)) {
            return Err(SessionFailure::RemoteTaken);
        }
        let subscriber = self.subscribers.find(redirect.internal.address);
        if subscriber.is_none() && self.subscribers.is_full() {
            return Err(SessionFailure::SubscribersFull);
        }
        let mapping = self.redirect_mapping(protocol, parsed.tuple().to());
        if mapping.is_none() && self.mappings.is_full() {
            return Err(SessionFailure::MappingsFull);
        }
        Ok(RedirectPlan { subscriber, mapping })
    }

    /// The mapping that the sessions of a redirect go under.
    fn redirect_mapping(&self, protocol: Protocol, external: Endpoint) -> Option<MappingId> {
        let is_redirect = |mapping: &Mapping| mapping.kind() == Kind::Redirect && self.is_live(mapping);
        self.mappings.by_external(protocol, external, is_redirect)
    }

    /// What the host sends to the remote, which it sees itself.
    fn seen_by_host(&self, parsed: &Parsed, redirect: Redirect) -> Tuple {
        let remote = parsed.tuple().from();
        let address = self.addresses.remote_inside(remote.address);
        Tuple::new(redirect.internal, Endpoint { address, ..remote })
    }

    /// Whether the host has a session with the remote already, through another outside endpoint.
    pub(crate) fn is_remote_taken(&self, protocol: Protocol, sent: Tuple) -> bool {
        self.sessions.find(&Flow::from(&sent), protocol, Direction::Outbound).is_some()
    }

    fn is_redirect_budget_spent(&self) -> bool {
        self.redirects.live() >= self.policy.redirects.of(self.sessions.capacity())
    }

    /// Commits a [`RedirectPlan`].
    fn begin_redirect(
        &mut self,
        parsed: &Parsed,
        redirect: Redirect,
        plan: RedirectPlan,
        now: Time,
    ) -> Result<SessionId, SessionFailure> {
        let internal = redirect.internal;
        let subscriber = match plan.subscriber {
            Some(id) => id,
            None => self.subscribers.add(internal.address).ok_or(SessionFailure::SubscribersFull)?,
        };
        let new = New {
            protocol: parsed.protocol,
            internal,
            external: parsed.tuple().to(),
            kind: Kind::Redirect,
            found_by: FoundBy::Outside,
            in_block: false,
            subscriber,
            grant: GrantId::NONE,
            now,
        };
        let mapping = plan.mapping.map_or_else(|| self.enter_mapping(&new, None), Ok);
        let made = mapping.and_then(|mapping| {
            let made = self.enter_redirected(mapping, parsed, redirect, now);
            if made.is_err() {
                self.release_if_unused(mapping, now);
            }
            made
        });
        match made {
            Ok(_) => self.redirects.begin(),
            Err(_) => self.subscribers.remove_if_idle(subscriber),
        }
        made
    }

    /// Enters a session whose host sends to the remote, or to a port of the gateway's that stands for it.
    fn enter_redirected(
        &mut self,
        mapping: MappingId,
        parsed: &Parsed,
        redirect: Redirect,
        now: Time,
    ) -> Result<SessionId, SessionFailure> {
        let protocol = parsed.protocol;
        let stand_in = match redirect.gateway {
            Some(address) => {
                let port = self.redirects.alloc(protocol, &mut self.random);
                Some(Endpoint { address, port: port.ok_or(SessionFailure::RedirectsFull)? })
            }
            None => None,
        };
        let hairpin = if self.addresses.is_external(parsed.tuple().source) { HAIRPIN } else { 0 };
        let sent = self.seen_by_host(parsed, redirect);
        let new = NewSession {
            flows: [
                Flow::from(&stand_in.map_or(sent, |stand_in| Tuple::new(sent.from(), stand_in))),
                parsed.flow,
            ],
            protocol,
            state: tcp_state::State::None,
            timeout: Timeout::HalfOpen,
            flags: HALF_OPEN | hairpin,
            stand_in: stand_in.is_some().into(),
        };
        let made = self.enter_session(mapping, &new, now);
        if let (Err(_), Some(stand_in)) = (made, stand_in) {
            self.redirects.free(protocol, stand_in.port);
        }
        made
    }
}
