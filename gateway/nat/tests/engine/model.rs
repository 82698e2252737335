//! The model: a NAT written the obvious way, with two lists that are searched from end to end, one packet after the other.
//!
//! Which outside port a new mapping gets is the gateway's choice; the model checks the choice against the
//! rules, and goes on from it.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use natgw_nat::{DropReason, Endpoint, Filtering, MappingMode, Protocol, SessionView};
use natgw_wire::tcp::Flags;

use crate::address_plan::Plan;
use crate::connection::Tcp;
use crate::random_ops::{FragmentAction, Meaning, Sent, Shape, TIMEOUTS};

#[derive(Clone, Debug)]
struct Session {
    protocol: Protocol,
    internal: Endpoint,
    external: Endpoint,
    remote: Endpoint,
    tcp: Tcp,
    /// Its handshake has begun and never was over.
    half_open: bool,
    expires: u64,
    /// When it was over, where it is: the order of ends.
    over: u64,
}

impl Session {
    fn is_closed(&self) -> bool {
        self.protocol == Protocol::Tcp && self.tcp.is_closed()
    }

    fn is_over(&self) -> bool {
        self.protocol == Protocol::Tcp && self.tcp.is_over()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pool,
    Permanent,
    Exempt,
}

#[derive(Clone, Debug)]
struct Mapping {
    protocol: Protocol,
    internal: Endpoint,
    external: Endpoint,
    /// The only one it serves, where the pool's ports are shared.
    remote: Option<Endpoint>,
    kind: Kind,
    rests_until: Option<u64>,
    /// A session under it ended without its end being seen.
    unclosed: bool,
}

impl Mapping {
    fn has(&self, session: &Session) -> bool {
        (session.protocol, session.internal, session.external)
            == (self.protocol, self.internal, self.external)
            && self.remote.is_none_or(|remote| remote == session.remote)
    }

    /// Its shard, and its inside address.
    fn subscriber(&self, plan: &Plan) -> (usize, u32) {
        (plan.shard(self.protocol, self.internal.address), self.internal.address)
    }
}

pub(crate) struct Model {
    plan: Plan,
    now: u64,
    /// Sessions that were over ever.
    ends: u64,
    sessions: Vec<Session>,
    mappings: Vec<Mapping>,
    /// The outside address that a subscriber is paired with, by its shard and its address.
    paired: HashMap<(usize, u32), u32>,
}

impl Model {
    pub(crate) fn new(shape: Shape) -> Model {
        Model {
            plan: Plan::new(shape),
            now: 0,
            ends: 0,
            sessions: Vec::new(),
            mappings: Vec::new(),
            paired: HashMap::new(),
        }
    }

    /// What becomes of a packet from inside; `listed` are the gateway's sessions after it.
    pub(crate) fn outbound(&mut self, sent: &Sent, listed: &[SessionView]) -> FragmentAction {
        let protocol = sent.meaning.protocol();
        let found = self.sessions.iter().position(|session| {
            (session.protocol, session.internal, session.remote) == (protocol, sent.from, sent.to)
        });
        if let Some(at) = found {
            if let Err(reason) = self.begin_anew(at, sent.meaning) {
                return FragmentAction::Drop(reason);
            }
            let found = |session: &Session| {
                (session.protocol, session.internal, session.remote) == (protocol, sent.from, sent.to)
            };
            let at = self.sessions.iter().position(found).expect("the session that begins anew stays");
            self.touch(at, sent.meaning, true);
            return self.leave(self.sessions[at].external, sent);
        }
        if self.plan.is_own(sent.to.address) {
            return FragmentAction::Local;
        }
        let permanent = self.plan.permanent_external(protocol, sent.from);
        let kind = match permanent {
            _ if self.plan.is_exempt(sent.to.address) => Kind::Exempt,
            Some(_) => Kind::Permanent,
            None => Kind::Pool,
        };
        let begins = match sent.meaning {
            Meaning::Datagram | Meaning::Query | Meaning::Other(_) => true,
            Meaning::Segment(flags) if flags == Flags::SYN => true,
            // In the middle of a connection whose opening a mapping let through.
            Meaning::Segment(flags) => {
                let used = |mapping: &Mapping| self.is_used(mapping);
                !flags.intersects(Flags(Flags::SYN.0 | Flags::FIN.0 | Flags::RST.0))
                    && (kind != Kind::Pool || self.own_mapping(protocol, sent.from).is_some_and(used))
            }
            Meaning::Reply => false,
        };
        if begins {
            match self.begin(sent, kind, permanent, listed) {
                Ok(external) => return self.leave(external, sent),
                Err(DropReason::SubscriberHalfOpen) if sent.meaning == Meaning::Segment(Flags::ACK) => {}
                Err(reason) => return FragmentAction::Drop(reason),
            }
        }
        let external = match kind {
            Kind::Exempt => Some(sent.from),
            Kind::Permanent => permanent,
            Kind::Pool => self
                .own_mapping(protocol, sent.from)
                .filter(|mapping| self.is_used(mapping))
                .map(|m| m.external),
        };
        match (external, protocol) {
            (Some(external), _) => self.leave(external, sent),
            (None, Protocol::Tcp) => FragmentAction::Drop(DropReason::TcpNoSession),
            (None, _) => FragmentAction::Drop(DropReason::NoMapping),
        }
    }

    /// What becomes of a packet from outside, or of a hairpinned one.
    pub(crate) fn inbound(&mut self, sent: &Sent) -> FragmentAction {
        let protocol = sent.meaning.protocol();
        let found = self.sessions.iter().position(|session| {
            (session.protocol, session.external, session.remote) == (protocol, sent.to, sent.from)
        });
        if let Some(at) = found {
            self.touch(at, sent.meaning, false);
            return FragmentAction::In(sent.from, self.sessions[at].internal);
        }
        if self.plan.is_own(sent.to.address) && sent.meaning == Meaning::Query {
            return FragmentAction::Local;
        }
        let used = |mapping: &&Mapping| {
            (mapping.protocol, mapping.external, mapping.remote) == (protocol, sent.to, None)
                && (protocol.has_ports() || mapping.kind != Kind::Pool)
                && self.is_used(mapping)
        };
        if let Some(mapping) = self.mappings.iter().find(used) {
            let knows = self.sessions.iter().any(|session| {
                (session.protocol, session.external, session.remote.address)
                    == (protocol, sent.to, sent.from.address)
            });
            let admitted = match (mapping.kind, self.plan.shape.filtering) {
                (Kind::Permanent, _) | (Kind::Pool, Filtering::EndpointIndependent) => true,
                (Kind::Pool, Filtering::AddressDependent) => knows,
                (Kind::Exempt, _) | (Kind::Pool, Filtering::AddressAndPortDependent) => false,
            };
            let admit = FragmentAction::In(sent.from, mapping.internal);
            return if admitted { admit } else { FragmentAction::Drop(DropReason::Filtered) };
        }
        match self.plan.permanent_internal(protocol, sent.to) {
            Some(internal) => FragmentAction::In(sent.from, internal),
            None if self.plan.is_own(sent.to.address) => FragmentAction::Local,
            None if Ipv4Addr::from_bits(sent.to.address).octets()[0] == 10 => {
                FragmentAction::Drop(DropReason::InsideFromOutside)
            }
            None => FragmentAction::Drop(DropReason::NoMapping),
        }
    }

    /// Time passes.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now += ms;
        let now = self.now;
        self.mappings.retain(|mapping| mapping.rests_until.is_none_or(|until| until > now));
        let used: Vec<bool> = self.mappings.iter().map(|mapping| self.is_used(mapping)).collect();
        let over: Vec<Session> = self.sessions.extract_if(.., |session| session.expires <= now).collect();
        let over_now: Vec<bool> =
            self.mappings.iter().zip(used).map(|(mapping, used)| used && !self.is_used(mapping)).collect();
        let mut over_now = over_now.into_iter();
        let hold = u64::from(TIMEOUTS.port_hold_s) * 1000;
        self.mappings.retain_mut(|mapping| {
            let mine = |s: &&Session| mapping.has(s);
            mapping.unclosed |= over.iter().filter(mine).any(|session| !session.is_closed());
            let is_over = over_now.next().expect("one a mapping");
            let rests = mapping.kind == Kind::Pool && mapping.protocol.has_ports() && mapping.unclosed;
            if is_over && rests {
                mapping.rests_until = Some(now + hold);
            }
            !is_over || rests
        });
        // Without a mapping nothing binds a subscriber to an address any more.
        let (mappings, plan) = (&self.mappings, &self.plan);
        self.paired.retain(|&key, _| mappings.iter().any(|mapping| mapping.subscriber(plan) == key));
    }

    /// How many sessions are live, mappings in use, and mappings resting.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let resting = self.mappings.iter().filter(|mapping| mapping.rests_until.is_some()).count();
        (self.sessions.len(), self.mappings.len() - resting, resting)
    }

    fn begin(
        &mut self,
        sent: &Sent,
        kind: Kind,
        permanent: Option<Endpoint>,
        listed: &[SessionView],
    ) -> Result<Endpoint, DropReason> {
        let protocol = sent.meaning.protocol();
        let shard = self.plan.shard(protocol, sent.from.address);
        let room = self.plan.shape.sessions() as usize;
        let here = |plan: &Plan, s: &Session| plan.shard(s.protocol, s.internal.address) == shard;
        let is_full = self.sessions.iter().filter(|session| here(&self.plan, session)).count() == room;
        let for_line = match self.over(shard, sent.from.address, false, |_| true) {
            _ if !is_full => None,
            None => return Err(DropReason::SessionsFull),
            closed => closed,
        };
        let mine = |s: &&Session| here(&self.plan, s) && s.internal.address == sent.from.address;
        let half_open = self.sessions.iter().filter(mine).filter(|session| session.half_open).count();
        let count = self.sessions.iter().filter(mine).count();
        let opens = matches!(sent.meaning, Meaning::Segment(_));
        let syn = sent.meaning == Meaning::Segment(Flags::SYN);
        let is_at_most = |count: usize, half_open: usize| {
            let Shape { sessions_per_subscriber, half_open_per_subscriber, .. } = self.plan.shape;
            if count >= sessions_per_subscriber as usize {
                return Err(DropReason::SubscriberSessions);
            }
            // What begins in mid-stream has half of them.
            let most =
                if syn { half_open_per_subscriber } else { half_open_per_subscriber.div_ceil(2) } as usize;
            let refused = opens && half_open >= most;
            if refused { Err(DropReason::SubscriberHalfOpen) } else { Ok(()) }
        };
        let mut within_limits = None;
        if let Err(reason) = is_at_most(count, half_open) {
            let makes_room =
                |s: &Session| is_at_most(count - 1, half_open - usize::from(s.half_open)).is_ok();
            let half_open = reason == DropReason::SubscriberHalfOpen;
            let closed = self.over(shard, sent.from.address, half_open, makes_room).ok_or(reason)?;
            within_limits = Some(closed);
        }
        if let Some(closed) = within_limits.or(for_line) {
            self.give_up(closed);
        }
        let chosen = listed
            .iter()
            .find(|s| (s.protocol, s.internal, s.remote) == (protocol, sent.from, sent.to))
            .map(|session| session.external);
        let external = match kind {
            Kind::Exempt => self.enter(sent, sent.from, kind),
            Kind::Permanent => self.enter(sent, permanent.expect("permanent"), kind),
            Kind::Pool if !protocol.has_ports() => self.address(sent, shard, chosen)?,
            Kind::Pool => match self.own_mapping(protocol, sent.from) {
                Some(mapping) => {
                    let external = mapping.external;
                    self.enter(sent, external, kind)
                }
                None => self.draw(sent, shard, chosen)?,
            },
        };
        let tcp = if syn { Tcp::SynSent } else { Tcp::Unanswered(false) };
        let (internal, remote) = (sent.from, sent.to);
        self.sessions.push(Session {
            protocol,
            internal,
            external,
            remote,
            tcp,
            half_open: opens,
            expires: 0,
            over: 0,
        });
        self.touch(self.sessions.len() - 1, sent.meaning, true);
        Ok(external)
    }

    /// A port for a new mapping: none, or the gateway's choice after it was looked at.
    fn draw(&mut self, sent: &Sent, shard: usize, chosen: Option<Endpoint>) -> Result<Endpoint, DropReason> {
        let protocol = sent.meaning.protocol();
        let subscriber = (shard, sent.from.address);
        let mine = self.mappings.iter().filter(|mapping| mapping.subscriber(&self.plan) == subscriber);
        let in_pool = mine.filter(|mapping| mapping.kind == Kind::Pool && mapping.protocol == protocol);
        let over = in_pool.clone().count() >= self.plan.settings.limits.ports_per_subscriber as usize;
        let remote = self.only_remote(sent);
        let rests = |m: &&Mapping| m.rests_until.is_some() && m.remote == remote;
        let resting: Vec<Endpoint> = in_pool.filter(rests).map(|m| m.external).collect();
        let paired = self.paired.get(&subscriber).copied();
        let free: Vec<Endpoint> = self
            .free(protocol, shard, remote)
            .filter(|e| paired.is_none_or(|address| e.address == address))
            .collect();

        let full = self.is_full(shard);
        if over || full || free.is_empty() {
            if resting.is_empty() {
                let reason = match (over, full) {
                    (true, _) => DropReason::SubscriberPorts,
                    (false, true) => DropReason::MappingsFull,
                    (false, false) => DropReason::PortsExhausted,
                };
                let has_port = |s: &Session| {
                    let mapping = self.mappings.iter().find(|mapping| mapping.has(s)).expect("mapping");
                    let sessions = self.sessions.iter().filter(|session| mapping.has(session)).count();
                    mapping.kind == Kind::Pool && mapping.remote == remote && sessions == 1
                };
                let is_tcp = protocol == Protocol::Tcp;
                let closed =
                    self.over(shard, sent.from.address, false, has_port).filter(|_| is_tcp).ok_or(reason)?;
                let external = self.sessions[closed].external;
                self.give_up(closed);
                assert_eq!(chosen, Some(external), "the port of the first that was over");
                return Ok(self.take_over(sent, external));
            }
            let chosen = chosen.expect("a resting port goes over");
            assert!(resting.contains(&chosen), "{chosen} is none of the subscriber's resting ports");
            return Ok(self.take_over(sent, chosen));
        }
        let chosen = chosen.expect("a port is free");
        assert!(free.contains(&chosen), "{chosen} is not free for {}", sent.from);
        let same_address = || free.iter().filter(|endpoint| endpoint.address == chosen.address);
        if same_address().any(|endpoint| endpoint.port == sent.from.port) {
            assert_eq!(chosen.port, sent.from.port, "a free port is kept");
        } else if protocol == Protocol::Udp && same_address().any(|e| e.port % 2 == sent.from.port % 2) {
            assert_eq!(chosen.port % 2, sent.from.port % 2, "parity is kept");
        }
        self.paired.insert(subscriber, chosen.address);
        Ok(self.enter(sent, chosen, Kind::Pool))
    }

    /// A SYN on the ports of a connection that is over, or that the remote never answered.
    fn begin_anew(&mut self, at: usize, meaning: Meaning) -> Result<(), DropReason> {
        let session = &self.sessions[at];
        let Meaning::Segment(flags) = meaning else { return Ok(()) };
        if !session.tcp.begins_anew(flags, true) || session.half_open {
            return Ok(());
        }
        let inside = session.internal.address;
        let shard = self.plan.shard(Protocol::Tcp, inside);
        let mine =
            |s: &&Session| s.internal.address == inside && self.plan.shard(s.protocol, inside) == shard;
        let half_open = self.sessions.iter().filter(mine).filter(|session| session.half_open).count();
        if half_open < self.plan.shape.half_open_per_subscriber as usize {
            return Ok(());
        }
        let closed = self.over(shard, inside, true, |session| session.half_open);
        self.give_up(closed.ok_or(DropReason::SubscriberHalfOpen)?);
        Ok(())
    }

    /// The first of a subscriber's sessions that was over, of those that `fits` takes: among the first sixteen that were open,
    /// then among the first sixteen that never were, or the other way round.
    fn over(
        &self,
        shard: usize,
        inside: u32,
        refused_first: bool,
        fits: impl Fn(&Session) -> bool,
    ) -> Option<usize> {
        let mine = |s: &Session| s.internal.address == inside && self.plan.shard(s.protocol, inside) == shard;
        let chain = |refused: bool| {
            let mut over: Vec<usize> = (0..self.sessions.len())
                .filter(|&at| mine(&self.sessions[at]) && self.sessions[at].is_over())
                .filter(|&at| self.sessions[at].half_open == refused)
                .collect();
            over.sort_by_key(|&at| self.sessions[at].over);
            over.into_iter().take(16)
        };
        chain(refused_first).chain(chain(!refused_first)).find(|&at| fits(&self.sessions[at]))
    }

    /// A session that is over ends for its subscriber's sake; its port rests.
    fn give_up(&mut self, at: usize) {
        let session = self.sessions.remove(at);
        let used = self.sessions.iter().any(|s| {
            let mapping = self.mappings.iter().find(|mapping| mapping.has(&session)).expect("mapping");
            mapping.has(s)
        });
        let until = self.now + u64::from(TIMEOUTS.port_hold_s) * 1000;
        self.mappings.retain_mut(|mapping| {
            if !mapping.has(&session) {
                return true;
            }
            mapping.unclosed = true;
            let rests = mapping.kind == Kind::Pool && mapping.protocol.has_ports();
            if !used && rests {
                mapping.rests_until = Some(until);
            }
            used || rests
        });
    }

    /// An outside address over a protocol without ports: that of the mapping, or the gateway's choice among those that no
    /// host has towards the remote.
    fn address(
        &mut self,
        sent: &Sent,
        shard: usize,
        chosen: Option<Endpoint>,
    ) -> Result<Endpoint, DropReason> {
        let (protocol, subscriber) = (sent.meaning.protocol(), (shard, sent.from.address));
        let own = self.own_mapping(protocol, sent.from).map(|mapping| mapping.external);
        let paired = own.map(|own| own.address).or_else(|| self.paired.get(&subscriber).copied());
        let is_free = |external: Endpoint| {
            let mut sessions = self.sessions.iter();
            !sessions.any(|s| (s.protocol, s.external, s.remote) == (protocol, external, sent.to))
        };
        let choices = self.plan.addresses(shard).map(|address| Endpoint::new(address, sent.from.port));
        let choices = choices.filter(|choice| paired.is_none_or(|address| choice.address == address));
        let free: Vec<Endpoint> = choices.filter(|&choice| is_free(choice)).collect();
        if free.is_empty() {
            return Err(DropReason::AddressTaken);
        }
        if own.is_none() && self.is_full(shard) {
            return Err(DropReason::MappingsFull);
        }
        let chosen = chosen.expect("an address is free");
        assert!(free.contains(&chosen), "{chosen} is not free for {}", sent.from);
        self.paired.insert(subscriber, chosen.address);
        Ok(self.enter(sent, chosen, Kind::Pool))
    }

    /// Whether a shard has no room for another mapping.
    fn is_full(&self, shard: usize) -> bool {
        let here = self.mappings.iter().filter(|mapping| mapping.subscriber(&self.plan).0 == shard).count();
        here == 2 * self.plan.shape.sessions() as usize
    }

    /// A resting port of the same subscriber serves another of its endpoints.
    fn take_over(&mut self, sent: &Sent, chosen: Endpoint) -> Endpoint {
        let (protocol, remote) = (sent.meaning.protocol(), self.only_remote(sent));
        self.mappings.retain(|m| (m.protocol, m.external, m.remote) != (protocol, chosen, remote));
        self.enter(sent, chosen, Kind::Pool)
    }

    /// The pool's endpoints that a shard may hand out now, where they are shared towards one remote.
    fn free(
        &self,
        protocol: Protocol,
        shard: usize,
        remote: Option<Endpoint>,
    ) -> impl Iterator<Item = Endpoint> + '_ {
        self.plan.endpoints(shard).filter(move |endpoint| {
            let taken = |m: &Mapping| (m.protocol, m.external, m.remote) == (protocol, *endpoint, remote);
            self.plan.permanent_internal(protocol, *endpoint).is_none() && !self.mappings.iter().any(taken)
        })
    }

    fn enter(&mut self, sent: &Sent, external: Endpoint, kind: Kind) -> Endpoint {
        let (protocol, internal) = (sent.meaning.protocol(), sent.from);
        let remote = self.only_remote(sent).filter(|_| kind == Kind::Pool);
        let same = |m: &&mut Mapping| {
            (m.protocol, m.internal, m.external, m.remote) == (protocol, internal, external, remote)
        };
        match self.mappings.iter_mut().find(same) {
            Some(mapping) => mapping.rests_until = None,
            None => self.mappings.push(Mapping {
                protocol,
                internal,
                external,
                remote,
                kind,
                rests_until: None,
                unclosed: false,
            }),
        }
        external
    }

    fn touch(&mut self, at: usize, meaning: Meaning, outbound: bool) {
        let now = self.now;
        let session = &mut self.sessions[at];
        let seconds = match meaning {
            Meaning::Segment(flags) => {
                let before = session.tcp;
                session.tcp = before.after(flags, outbound);
                session.half_open = before.is_half_open_as(session.tcp).unwrap_or(session.half_open);
                if session.tcp.is_over() && !before.is_over() {
                    self.ends += 1;
                    session.over = self.ends;
                }
                let timeout = |tcp| match tcp {
                    Tcp::SynSent | Tcp::SynBoth(_) | Tcp::Unanswered(_) => TIMEOUTS.tcp_opening_s,
                    Tcp::Established | Tcp::Fin(_) => TIMEOUTS.tcp_established_s,
                    Tcp::LastAck(_) | Tcp::Closed | Tcp::Reset(_) | Tcp::Reopening => TIMEOUTS.tcp_closing_s,
                };
                let seconds = timeout(session.tcp);
                let is_new = session.expires == 0 || seconds != timeout(before);
                let refreshes = match session.tcp {
                    Tcp::Established | Tcp::Fin(_) => true,
                    Tcp::SynSent | Tcp::SynBoth(_) | Tcp::Unanswered(_) => outbound,
                    Tcp::LastAck(_) | Tcp::Closed | Tcp::Reset(_) | Tcp::Reopening => false,
                };
                if !is_new && !refreshes {
                    return;
                }
                seconds
            }
            _ if !outbound => return,
            Meaning::Datagram if session.remote.port == 53 => TIMEOUTS.udp_dns_s,
            Meaning::Datagram => TIMEOUTS.udp_s,
            Meaning::Query | Meaning::Reply => TIMEOUTS.icmp_s,
            Meaning::Other(_) => TIMEOUTS.other_s,
        };
        session.expires = now + u64::from(seconds) * 1000;
    }

    /// Out, or around and in again.
    fn leave(&mut self, external: Endpoint, sent: &Sent) -> FragmentAction {
        if self.plan.is_external(sent.to.address) {
            return self.inbound(&Sent { from: external, ..*sent });
        }
        FragmentAction::Out(external, sent.to)
    }

    /// The mapping that an inside endpoint has whatever the destination.
    fn own_mapping(&self, protocol: Protocol, internal: Endpoint) -> Option<&Mapping> {
        if protocol.has_ports() && self.plan.shape.mapping == MappingMode::AddressAndPortDependent {
            return None;
        }
        let is_own = |m: &&Mapping| (m.protocol, m.internal, m.kind) == (protocol, internal, Kind::Pool);
        self.mappings.iter().find(is_own)
    }

    fn is_used(&self, mapping: &Mapping) -> bool {
        self.sessions.iter().any(|session| mapping.has(session))
    }

    /// The only remote that a new pool mapping serves, where the pool's ports are shared.
    fn only_remote(&self, sent: &Sent) -> Option<Endpoint> {
        let shares = self.plan.shape.mapping == MappingMode::AddressAndPortDependent;
        (shares && sent.meaning.protocol().has_ports()).then_some(sent.to)
    }
}
