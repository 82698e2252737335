//! Insertion of sessions and mappings.

use crate::ids::{GrantId, MappingId, SessionId, SubscriberId};
use crate::lifecycle::allocation::PortPlan;
use crate::lifecycle::plan::{Admission, MappingPlan};
use crate::lifecycle::request::{AllocRequest, Origin, Request};
use crate::mapping::filter::Pair;
use crate::mapping::{FoundBy, Kind, Mapping, New};
use crate::packet::endpoint::{Endpoint, Flow, Tuple};
use crate::packet::rewrite::Rewrite;
use crate::packet::verdict::{DeleteReason, Direction, Protocol, SessionFailure};
use crate::session::{HAIRPIN, LIVE, Session, Timeout, tcp_state};
use crate::settings::Filtering;
use crate::shard::{NO_HOP, Shard};
use crate::table::index::Full;
use crate::table::time::Time;

/// What a new session is made of.
pub(crate) struct NewSession {
    /// As outbound and as inbound packets arrive.
    pub(crate) flows: [Flow; 2],
    pub(crate) protocol: Protocol,
    pub(crate) state: tcp_state::State,
    pub(crate) timeout: Timeout,
    pub(crate) flags: u8,
    /// 1: the inside host sees a port of the gateway's in the place of the remote.
    pub(crate) stand_in: u8,
}

impl Shard {
    /// Makes the session that an inside host asks for.
    pub(crate) fn new_session(&mut self, request: &Request) -> Result<SessionId, SessionFailure> {
        let admission = self.admission(request)?;
        let subscriber = self.admit(&admission, request)?;
        let made = self.session_of(subscriber, request);
        if made.is_err() {
            self.subscribers.remove_if_idle(subscriber);
        }
        made
    }

    /// Commits an [`Admission`].
    #[inline(always)]
    fn admit(&mut self, admission: &Admission, request: &Request) -> Result<SubscriberId, SessionFailure> {
        let subscriber = match admission.subscriber {
            Some(id) => id,
            None => self.subscribers.add(request.internal.address).ok_or(SessionFailure::SubscribersFull)?,
        };
        self.subscribers.pay(subscriber, request.protocol, &admission.charge);
        if let Some(id) = admission.gives_up {
            self.give_up(id, request.now);
        }
        Ok(subscriber)
    }

    fn session_of(
        &mut self,
        subscriber: SubscriberId,
        request: &Request,
    ) -> Result<SessionId, SessionFailure> {
        let mapping = self.mapping_for(subscriber, request)?;
        let made = self.add_session(mapping, request);
        if made.is_err() {
            self.release_if_unused(mapping, request.now);
        }
        made
    }

    /// The mapping that the session goes under: one that is there, or a new one as a [`MappingPlan`] says.
    #[inline(always)]
    fn mapping_for(
        &mut self,
        subscriber: SubscriberId,
        request: &Request,
    ) -> Result<MappingId, SessionFailure> {
        let Request { protocol, internal, remote, origin, now, .. } = *request;
        let mut known = self.known_mapping(request)?;
        if let Some(id) = known
            && self.clear_expired_holder(subscriber, self.mappings[id].external(), request)
        {
            // It may have been the mapping's last session.
            known = self.known_mapping(request)?;
        }
        if let Some(id) = known {
            self.reactivate(id);
            return Ok(id);
        }
        let found_by = self.found_by(protocol, origin);
        let plan = self.plan_anew(subscriber, request);
        if let (Err(failure), Origin::Pool(pool)) = (&plan, origin) {
            self.count_pool_failure(pool, *failure);
        }
        let (external, kind, grant) = match plan? {
            MappingPlan::Port(pool, plan) => {
                let remote = (found_by == FoundBy::Neither).then_some(remote);
                let need = AllocRequest { subscriber, pool, protocol, inside: internal.port, remote, now };
                let (external, grant) = self.alloc_port(need, plan)?;
                let in_block = self.pools[pool].is_in_blocks();
                let kind = Kind::Pool;
                let new =
                    New { protocol, internal, external, kind, found_by, in_block, subscriber, grant, now };
                let entered = self.enter_mapping(&new, remote);
                if entered.is_err() {
                    self.free_port(need, (external, grant));
                }
                return entered;
            }
            MappingPlan::Address(pool, place) => {
                let external = Endpoint { address: self.pools[pool].address(place), ..internal };
                self.clear_expired_holder(subscriber, external, request);
                self.bind(subscriber, pool, place);
                (external, Kind::Pool, GrantId { pool, place })
            }
            MappingPlan::Fixed(kind, external) => (external, kind, GrantId::NONE),
        };
        let new =
            New { protocol, internal, external, kind, found_by, in_block: false, subscriber, grant, now };
        self.enter_mapping(&new, None)
    }

    /// The new mapping that is planned, once sessions that are over have gone for it.
    #[inline(always)]
    fn plan_anew(
        &mut self,
        subscriber: SubscriberId,
        request: &Request,
    ) -> Result<MappingPlan, SessionFailure> {
        if let Origin::Pool(_) = request.origin {
            self.settle_reservation(subscriber, request);
        }
        let mut random = self.random.clone();
        let mut plan = self.mapping_plan(Some(subscriber), request, &mut random)?;
        if let MappingPlan::Port(_, PortPlan::Closed(id, _)) = plan {
            // Its port is free then, or rests.
            self.rollback();
            self.give_up(id, request.now);
            random = self.random.clone();
            plan = self.mapping_plan(Some(subscriber), request, &mut random)?;
        }
        self.random.rewind(random.mark());
        Ok(plan)
    }

    /// Enters a mapping and counts it; among those that share its outside endpoint where it serves one remote.
    #[inline(always)]
    pub(crate) fn enter_mapping(
        &mut self,
        new: &New,
        remote: Option<Endpoint>,
    ) -> Result<MappingId, SessionFailure> {
        let id = self.mappings.add(new).ok_or(SessionFailure::MappingsFull)?;
        if let Some(remote) = remote {
            self.share_port(id, new, remote)?;
        }
        self.subscribers[new.subscriber].hold();
        self.counters.mappings += 1;
        if new.kind == Kind::Pool {
            self.pools[new.grant.pool].add_mapping(new.grant.place);
        }
        Ok(id)
    }

    /// Lets a new mapping share its port with those that serve other remotes.
    #[inline(never)]
    fn share_port(&mut self, id: MappingId, new: &New, remote: Endpoint) -> Result<(), SessionFailure> {
        match self.overlaps.enter(id, remote, &self.mappings) {
            Ok([before, after]) => {
                let GrantId { pool, place } = new.grant;
                self.pools[pool].account(place, new.protocol, before, after);
                Ok(())
            }
            Err(Full) => {
                self.mappings.remove(id);
                Err(SessionFailure::MappingsFull)
            }
        }
    }

    /// Makes the session of an outbound packet. The mapping is in use or new.
    #[inline(always)]
    fn add_session(&mut self, mapping: MappingId, request: &Request) -> Result<SessionId, SessionFailure> {
        let Request { protocol, flow, remote, opening, now, .. } = *request;
        let line = &self.mappings[mapping];
        let outside = Tuple::new(remote, line.external());
        let hairpins = self.addresses.is_external(outside.source) && line.kind() != Kind::Exempt;
        let subscriber = line.subscriber;
        let new = NewSession {
            flows: [flow, Flow::from(&outside)],
            protocol,
            state: opening.unwrap_or(tcp_state::State::None),
            timeout: opening
                .map_or(Timeout::initial(protocol, flow.tuple().destination_port), tcp_state::State::timeout),
            flags: if hairpins { HAIRPIN } else { 0 },
            stand_in: 0,
        };
        let id = self.enter_session(mapping, &new, now)?;
        self.sessions[id].half_open = self.subscribers[subscriber].begin(protocol, opening.is_some());
        Ok(id)
    }

    /// Makes the session itself.
    #[inline(always)]
    pub(crate) fn enter_session(
        &mut self,
        mapping: MappingId,
        new: &NewSession,
        now: Time,
    ) -> Result<SessionId, SessionFailure> {
        let NewSession { flows, protocol, state, timeout, flags, stand_in } = *new;
        if self.reloading {
            self.end_superseded(mapping, new, now);
        }
        let line = self.mappings[mapping];
        let rewrite = Rewrite::between(protocol, &flows[0], flows[1].reversed());
        let filtered = self.is_filtered_by_address(&line);
        let end = now.plus_ms(u64::from(self.policy.timeouts.of(timeout as u8)));
        let session = Session {
            flows,
            protocol: protocol as u8,
            tcp_state: state as u8,
            timeout: timeout as u8,
            flags: LIVE | flags,
            ip_delta: rewrite.ip_delta.to_bits(),
            l4_delta: rewrite.l4_delta.to_bits(),
            expires: end.low(),
            mapping,
            next_hops: [NO_HOP; 2],
            packets: [0; 2],
            created: now.low(),
            half_open: 0,
            permits: filtered.into(),
            stand_in,
        };
        let id = self.sessions.insert(&session, end).map_err(|Full| SessionFailure::SessionsFull)?;
        if filtered {
            let pair = Pair { mapping, internal: line.internal(), remote: flows[1].tuple().source };
            if self.permissions.add(pair, id, &self.sessions).is_err() {
                self.sessions.stop_timer(id);
                self.sessions.remove(id);
                return Err(SessionFailure::SessionsFull);
            }
        }
        self.mappings[mapping].add_session();
        self.counters.sessions[protocol] += 1;
        self.counters.sessions_created[protocol] += 1;
        Ok(id)
    }

    /// Ends a session of before a reload that a new one would share a flow with: the same remote had another address inside.
    #[cold]
    #[inline(never)]
    fn end_superseded(&mut self, mapping: MappingId, new: &NewSession, now: Time) {
        // It may be the mapping's last.
        self.mappings[mapping].add_session();
        for direction in Direction::ALL {
            if let Some(id) = self.sessions.find(&new.flows[direction], new.protocol, direction) {
                self.gave_up = true;
                self.end_now(id, DeleteReason::Reload, now);
            }
        }
        self.mappings[mapping].cancel_session();
    }

    /// Whether the mapping keeps a list of the remote addresses that may answer it.
    pub(crate) fn is_filtered_by_address(&self, mapping: &Mapping) -> bool {
        mapping.kind() == Kind::Pool
            && self.pools[mapping.grant.pool].filtering(mapping.protocol()) == Filtering::AddressDependent
    }
}
