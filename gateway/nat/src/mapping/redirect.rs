//! Redirects: port forwards whose answers cannot be told by the inside endpoint alone.
//!
//! Either the inside host sees the gateway in the place of the remote, and the answers come back through the gateway
//! wherever else the inside host's routes lead:
//!
//! ```text
//! inbound:  (r:q -> X:P) becomes (g:k -> a:p)
//! outbound: (a:p -> g:k) becomes (X:P -> r:q)
//! ```
//!
//! Or `a:p` has another outside endpoint for what it sends by itself, of an earlier forward or a 1:1 mapping (RFC 4787
//! REQ-1), and this one is a further one:
//!
//! ```text
//! inbound:  (r:q -> X:P) becomes (r:q -> a:p)
//! outbound: (a:p -> r:q) becomes (X:P -> r:q)
//! ```
//!
//! Whom `g:k` stands for, and by which outside endpoint `r:q` came, has to be kept from the first inbound packet on: a
//! redirect is the one session that a packet from outside makes, and the one memory that forged sources can take. Therefore
//!
//! - it has a budget of its own ([`Limits::redirected_sessions`], half a shard's table at most), and what is beyond is
//!   refused and counted: the sessions from inside never have less room for it;
//! - it is *half open*, refreshed by nothing and over after [`Timeouts::redirect_half_open_s`](crate::Timeouts), until the
//!   inside host has answered; of TCP, until the remote has acknowledged that answer, which forged sources do not see.

use std::net::Ipv4Addr;

use crate::mapping::{FoundBy, Kind, Mapping, New};
use crate::packet::endpoint::{Endpoint, Flow, Tuple};
use crate::packet::parse::Parsed;
use crate::packet::verdict::{Direction, DropReason, Protocol, SessionFailure, Verdict};
use crate::policy::rules::RuleKey;
use crate::pool::ShardPool;
use crate::pool::grants::GrantId;
use crate::pool::port_bitmap::PortRequest;
use crate::session::insert::NewSession;
use crate::session::tcp_state;
use crate::session::{HAIRPIN, HALF_OPEN, Timeout};
use crate::settings::{ForwardSource, Limits, Pool, RuleAction, Settings, Share};
use crate::shard::{Arrival, Shard};
use crate::table::hash::Random;
use crate::table::time::Time;

/// Where a redirected outside endpoint leads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Redirect {
    /// `a:p`.
    pub(crate) internal: Endpoint,
    /// `g`, or `None` where the host sees the remote itself.
    pub(crate) gateway: Option<u32>,
}

/// The ports `k` that stand for remotes, where anything is redirected. They are of no address by themselves: a shard's
/// redirects each have their own.
pub(crate) struct Redirects {
    ports: Option<ShardPool>,
    live: u32,
}

impl Redirects {
    pub(crate) fn new(settings: &Settings) -> Redirects {
        let all = Share { address: Ipv4Addr::UNSPECIFIED, ports: 1024..=u16::MAX };
        let is_needed = settings.port_forwards.iter().any(|forward| forward.source == ForwardSource::Gateway);
        Redirects { ports: is_needed.then(|| ShardPool::new(&Pool::default(), &[all])), live: 0 }
    }

    /// Has what it needs for `new`; what redirected sessions have already, it keeps.
    pub(crate) fn adopt(&mut self, new: &mut Redirects) {
        if self.ports.is_none() {
            std::mem::swap(&mut self.ports, &mut new.ports);
        }
    }

    fn alloc(&mut self, protocol: Protocol, random: &mut Random) -> Option<u16> {
        let any = PortRequest { inside: u16::MAX, preserved: false, parity: false };
        self.ports.as_mut()?.alloc(0, protocol, any, random)
    }

    /// A session is over, and the port that stood for its remote is free, if one did.
    pub(crate) fn end(&mut self, protocol: Protocol, port: Option<u16>) {
        self.live -= 1;
        if let Some(port) = port {
            self.free(protocol, port);
        }
    }

    fn free(&mut self, protocol: Protocol, port: u16) {
        if let Some(ports) = &mut self.ports {
            ports.free(0, protocol, port);
        }
    }

    /// Whether no port is left.
    fn is_exhausted(&self, protocol: Protocol) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.ports(0, protocol).free_count() == 0)
    }

    /// Redirected sessions.
    pub(crate) fn live(&self) -> u32 {
        self.live
    }
}

/// How many of the sessions may be redirected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    redirected: u32,
    sessions: u32,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Budget {
        Budget { redirected: limits.redirected_sessions, sessions: limits.sessions.max(1) }
    }

    /// The part of a shard with room for `sessions`.
    fn of(self, sessions: u32) -> u32 {
        let part = u64::from(self.redirected) * u64::from(sessions);
        part.div_ceil(u64::from(self.sessions)).min(u64::from(sessions / 2)) as u32
    }
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
        match self.begin_redirect(parsed, redirect, now) {
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

    /// Whether there is room for a redirected session.
    pub(crate) fn room_for_redirect(&self, parsed: &Parsed, redirect: Redirect) -> Result<(), DropReason> {
        let is_new = |found: Option<u32>| found.is_none();
        self.may_begin()?;
        let has_no_port = redirect.gateway.is_some() && self.redirects.is_exhausted(parsed.protocol);
        if self.is_redirect_budget_spent() || has_no_port {
            return Err(DropReason::RedirectsFull);
        }
        if redirect.gateway.is_none()
            && self.is_remote_taken(parsed.protocol, self.seen_by_host(parsed, redirect))
        {
            return Err(DropReason::RemoteTaken);
        }
        if self.subscribers.is_full() && is_new(self.subscribers.find(redirect.internal.address)) {
            return Err(DropReason::SubscribersFull);
        }
        if self.mappings.ids.is_exhausted()
            && is_new(self.redirect_mapping(parsed.protocol, parsed.tuple().to()))
        {
            return Err(DropReason::MappingsFull);
        }
        Ok(())
    }

    /// The mapping that the sessions of a redirect go under.
    fn redirect_mapping(&self, protocol: Protocol, external: Endpoint) -> Option<u32> {
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
        self.find_session(&Flow::from(&sent), protocol, Direction::Outbound).is_some()
    }

    fn is_redirect_budget_spent(&self) -> bool {
        let capacity = self.sessions.as_slice().len() as u32;
        self.redirects.live() >= self.policy.redirects.of(capacity)
    }

    fn begin_redirect(
        &mut self,
        parsed: &Parsed,
        redirect: Redirect,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        self.may_begin()?;
        if self.is_redirect_budget_spent() {
            return Err(SessionFailure::RedirectsFull);
        }
        let subscriber =
            self.subscribers.find_or_add(redirect.internal.address).ok_or(SessionFailure::SubscribersFull)?;
        let made = self.redirect_of(subscriber, parsed, redirect, now);
        if made.is_err() {
            self.subscribers.remove_if_idle(subscriber);
        }
        made
    }

    fn redirect_of(
        &mut self,
        subscriber: u32,
        parsed: &Parsed,
        redirect: Redirect,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        let (protocol, Redirect { internal, gateway }) = (parsed.protocol, redirect);
        let sent = self.seen_by_host(parsed, redirect);
        if gateway.is_none() && self.is_remote_taken(protocol, sent) {
            return Err(SessionFailure::RemoteTaken);
        }
        let external = parsed.tuple().to();
        let new = New {
            protocol,
            internal,
            external,
            kind: Kind::Redirect,
            found_by: FoundBy::Outside,
            in_block: false,
            subscriber,
            grant: GrantId::NONE,
            now,
        };
        let mapping = match self.redirect_mapping(protocol, external) {
            Some(id) => id,
            None => self.enter_mapping(&new, None)?,
        };
        let made = self.enter_redirected(mapping, parsed, sent, gateway, now);
        match made {
            Ok(_) => self.redirects.live += 1,
            Err(_) => self.release_if_unused(mapping, now),
        }
        made
    }

    /// Enters a session whose host sends `sent`, or to a port of the gateway's that stands for the remote.
    fn enter_redirected(
        &mut self,
        mapping: u32,
        parsed: &Parsed,
        sent: Tuple,
        gateway: Option<u32>,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        let protocol = parsed.protocol;
        let take = |address| {
            let port = self.redirects.alloc(protocol, &mut self.random)?;
            Some(Endpoint { address, port })
        };
        let stand_in = match gateway.map(take) {
            Some(None) => return Err(SessionFailure::RedirectsFull),
            Some(taken) => taken,
            None => None,
        };
        let hairpin = if self.addresses.is_external(parsed.tuple().source) { HAIRPIN } else { 0 };
        let begun = NewSession {
            flows: [
                Flow::from(&stand_in.map_or(sent, |stand_in| Tuple::new(sent.from(), stand_in))),
                parsed.flow,
            ],
            protocol,
            state: tcp_state::State::None,
            timeout: Timeout::HalfOpen,
            flags: HALF_OPEN | hairpin,
        };
        let made = self.enter_session(mapping, &begun, now);
        match (made, stand_in) {
            (Ok(id), Some(_)) => self.sessions[id].stand_in = 1,
            (Err(_), Some(stand_in)) => self.redirects.free(protocol, stand_in.port),
            (_, None) => {}
        }
        made
    }

    /// A packet of a half-open session; whether it opens it.
    #[cold]
    pub(crate) fn opens(&mut self, id: u32, parsed: &Parsed, direction: Direction, now: Time) -> bool {
        let session = &mut self.sessions[id];
        let timeout = match (parsed.protocol, direction) {
            (Protocol::Tcp, _) => match tcp_state::handshake(session.tcp_state, parsed.flags, direction) {
                tcp_state::State::Established => {
                    session.tcp_state = tcp_state::State::Established as u8;
                    tcp_state::State::Established.timeout()
                }
                state => {
                    session.tcp_state = state as u8;
                    return false;
                }
            },
            (_, Direction::Inbound) => return false,
            (protocol, Direction::Outbound) => Timeout::initial(protocol, 0),
        };
        session.flags &= !HALF_OPEN;
        self.set_timeout(id, timeout, now);
        true
    }
}
