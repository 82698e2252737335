//! What a new session would get, found out without changing anything.
//!
//! A session is made in two steps, each a plan and its commit (`insert`): the subscriber is admitted, then the session gets a
//! mapping. The packet path commits what is planned here, and [`Shard::explain`] prints it. So both decide by the same code.

use crate::ids::{MappingId, SessionId, SubscriberId};
use crate::lifecycle::allocation::PortPlan;
use crate::lifecycle::request::{Origin, Request};
use crate::mapping::{FoundBy, Kind, Mapping};
use crate::packet::endpoint::{End, Endpoint};
use crate::packet::verdict::{Protocol, SessionFailure};
use crate::policy::rate::Charge;
use crate::policy::subscriber::Subscriber;
use crate::shard::Shard;
use crate::table::hash::Random;

/// A subscriber that may begin a session.
pub(crate) struct Admission {
    /// `None` where it is new.
    pub(crate) subscriber: Option<SubscriberId>,
    /// Its rates after the session.
    pub(crate) charge: Charge,
    /// A session of its own that is over and goes for the new one: for its line in the table, or for its limits.
    pub(crate) gives_up: Option<SessionId>,
}

/// A new mapping for a session.
pub(crate) enum MappingPlan {
    /// With a port of a pool.
    Port(u16, PortPlan),
    /// Of a protocol without ports, with the address at a place of a pool.
    Address(u16, u16),
    /// With an outside endpoint that is certain.
    Fixed(Kind, Endpoint),
}

impl Shard {
    /// Whether any session may begin, and which one of an inside address, that is over, goes for its line in the table.
    fn line_for_session(&self, inside: u32) -> Result<Option<SessionId>, SessionFailure> {
        match self.may_begin() {
            Ok(()) => Ok(None),
            Err(SessionFailure::SessionsFull) => {
                self.oldest_closed(inside).map(Some).ok_or(SessionFailure::SessionsFull)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether any session may begin without another that ends.
    pub(crate) fn may_begin(&self) -> Result<(), SessionFailure> {
        if self.draining {
            return Err(SessionFailure::Draining);
        }
        if self.sessions.is_full() { Err(SessionFailure::SessionsFull) } else { Ok(()) }
    }

    /// Whether the subscriber may begin the session.
    #[inline(always)]
    pub(crate) fn admission(&self, request: &Request) -> Result<Admission, SessionFailure> {
        let Request { protocol, internal, opening, now, .. } = *request;
        let for_line = self.line_for_session(internal.address)?;
        let subscriber = self.subscribers.find(internal.address);
        if subscriber.is_none() && self.subscribers.is_full() {
            return Err(SessionFailure::SubscribersFull);
        }
        let within_limits = match subscriber {
            Some(id) => self.room_within_bounds(id, protocol, opening)?,
            None => {
                self.policy.bounds.admit(&Subscriber::new(internal.address), protocol, opening)?;
                None
            }
        };
        let charge = self.subscribers.charge(subscriber, protocol, &self.policy.rates, now);
        let charge = charge.ok_or(SessionFailure::SubscriberRate)?;
        // One is enough: what goes for the limits leaves its line, too.
        Ok(Admission { subscriber, charge, gives_up: within_limits.or(for_line) })
    }

    /// The mapping that is there for the session, in use or resting.
    #[inline(always)]
    pub(crate) fn known_mapping(&self, request: &Request) -> Result<Option<MappingId>, SessionFailure> {
        let found = self.own_mapping(request);
        match found {
            Some(id) if !request.protocol.has_ports() && matches!(request.origin, Origin::Pool(_)) => {
                let is_taken =
                    self.holder(self.mappings[id].external(), request.remote, request.now).is_some();
                if is_taken { Err(SessionFailure::AddressTaken) } else { Ok(found) }
            }
            _ => Ok(found),
        }
    }

    /// The mapping of the request's inside endpoint, whether or not the remote can be reached by it.
    #[inline(always)]
    pub(crate) fn own_mapping(&self, request: &Request) -> Option<MappingId> {
        let Request { protocol, internal, origin, .. } = *request;
        match origin {
            // Several remotes share the untranslated endpoint.
            Origin::Exempt => self.exempt_mapping(protocol, internal),
            _ => self.mapping_found(protocol, internal, origin, self.found_by(protocol, origin)),
        }
    }

    /// Which new mapping the session of a subscriber goes under, who has no line yet where `subscriber` is `None`. Choices at
    /// random are made with `random`.
    #[inline(always)]
    pub(crate) fn mapping_plan(
        &self,
        subscriber: Option<SubscriberId>,
        request: &Request,
        random: &mut Random,
    ) -> Result<MappingPlan, SessionFailure> {
        let internal = request.internal;
        let plan = match request.origin {
            Origin::Pool(pool) if request.protocol.has_ports() => {
                return Ok(MappingPlan::Port(pool, self.port_plan(subscriber, pool, request, random)?));
            }
            Origin::Pool(pool) => {
                MappingPlan::Address(pool, self.address_plan(subscriber, pool, request, random)?)
            }
            // Whatever begins a session names its sender's end, and the same end has the mapping.
            Origin::Permanent(End { address, port }) => {
                MappingPlan::Fixed(Kind::Permanent, Endpoint { address, port: port.unwrap_or(internal.port) })
            }
            Origin::Exempt => MappingPlan::Fixed(Kind::Exempt, internal),
        };
        if self.mappings.is_full() { Err(SessionFailure::MappingsFull) } else { Ok(plan) }
    }

    /// By what a mapping of this origin is found again.
    #[inline(always)]
    pub(crate) fn found_by(&self, protocol: Protocol, origin: Origin) -> FoundBy {
        match origin {
            Origin::Pool(_) if !protocol.has_ports() => FoundBy::Inside,
            Origin::Pool(pool) if self.pools[pool].shares_ports() => FoundBy::Neither,
            // One inside endpoint can have an exempt and a translated mapping at once: the exempt one is apart.
            Origin::Exempt => FoundBy::Outside,
            Origin::Pool(_) | Origin::Permanent(_) => FoundBy::Both,
        }
    }

    /// The inside endpoint's own mapping, in use or resting.
    #[inline(always)]
    fn mapping_found(
        &self,
        protocol: Protocol,
        internal: Endpoint,
        origin: Origin,
        found_by: FoundBy,
    ) -> Option<MappingId> {
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

    /// The mapping of an endpoint that is not translated.
    fn exempt_mapping(&self, protocol: Protocol, internal: Endpoint) -> Option<MappingId> {
        self.mappings.by_external(protocol, internal, |mapping| mapping.kind() == Kind::Exempt)
    }
}
