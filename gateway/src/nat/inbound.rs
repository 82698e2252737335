//! The slow path of inbound packets: no session, but perhaps a mapping whose filtering lets them in.

use super::endpoint::{Endpoint, Tuple};
use super::filter::Pair;
use super::mapping::{Kind, Mapping};
use super::outbound::is_query;
use super::parse::Parsed;
use super::rewrite::Rewrite;
use super::settings::Filtering;
use super::shard::{Arrival, Shard};
use super::time::Time;
use super::verdict::{DropReason, Protocol, Verdict};

impl Shard {
    /// `(r:q -> X:P)` without a session becomes `(r:q -> a:p)` where a mapping admits the remote. No session is made, but
    /// for a redirect.
    pub(super) fn admit(&mut self, packet: &mut [u8], parsed: &Parsed, at: Arrival, now: Time) -> Verdict {
        let tuple = parsed.tuple();
        if at.routed
            && let Err(reason) = self.addresses.check_inbound(&tuple)
        {
            return Verdict::Drop(reason);
        }
        let own = self.addresses.is_own(tuple.destination);
        if own && is_query(parsed, packet) {
            return Verdict::Local;
        }
        if let Some(redirect) = self.permanent.redirect(parsed.protocol, tuple.to()) {
            return self.redirect(packet, parsed, redirect, at, now);
        }
        let internal = match self.admitted_or_local(parsed.protocol, &tuple, own) {
            Ok(Some(internal)) => internal,
            Ok(None) => return Verdict::Local,
            Err(reason) => {
                if reason == DropReason::Filtered {
                    self.keep_unsolicited(packet, parsed, now);
                }
                return Verdict::Drop(reason);
            }
        };
        let to = Tuple::new(self.remote_inside(tuple.from()), internal);
        let rewrite = Rewrite::new(parsed.protocol, &tuple, &to);
        self.forward_without_session(packet, parsed, &rewrite, at, false)
    }

    /// The inside endpoint that a packet without a session leads to; `None` where it is for the gateway itself, whose `own`
    /// address it may bear. A shard that drains lets nothing in that would have to begin a session with its answer.
    #[inline(always)]
    pub(super) fn admitted_or_local(
        &self,
        protocol: Protocol,
        tuple: &Tuple,
        own: bool,
    ) -> Result<Option<Endpoint>, DropReason> {
        match self.admitted(protocol, tuple.to(), tuple.source)? {
            Some(_) if self.draining => Err(DropReason::Draining),
            Some(internal) => Ok(Some(internal)),
            None if own => Ok(None),
            None if self.addresses.is_inside(tuple.destination) => Err(DropReason::InsideFromOutside),
            None => Err(DropReason::NoMapping),
        }
    }

    /// A remote endpoint as inside hosts know it.
    pub(super) fn remote_inside(&self, remote: Endpoint) -> Endpoint {
        Endpoint { address: self.addresses.remote_inside(remote.address), ..remote }
    }

    /// The inside endpoint that an outside one leads to, as far as this remote may use it without a session; `None` where
    /// nothing is mapped.
    pub(super) fn admitted(
        &self,
        protocol: Protocol,
        external: Endpoint,
        remote: u32,
    ) -> Result<Option<Endpoint>, DropReason> {
        let mapping = self.mappings.by_external(protocol, external).map(|id| (id, &self.mappings.lines[id]));
        match mapping.filter(|(_, mapping)| mapping.is_in_use()) {
            Some((id, mapping)) if self.admits(id, mapping, remote) => Ok(Some(mapping.internal())),
            Some(_) => Err(DropReason::Filtered),
            None => Ok(self.permanent.internal(protocol, external)),
        }
    }

    /// Whether a mapping in use admits a remote that it has no session with (RFC 4787 REQ-8).
    fn admits(&self, id: u32, mapping: &Mapping, remote: u32) -> bool {
        match mapping.kind() {
            Kind::Permanent => true,
            Kind::Exempt | Kind::Redirect => false,
            Kind::Pool => match self.pools[usize::from(mapping.pool)].filtering(mapping.protocol()) {
                Filtering::EndpointIndependent => true,
                Filtering::AddressDependent => {
                    let pair = Pair { mapping: id, internal: mapping.internal(), remote };
                    self.permissions.allows(pair, self.sessions.as_slice())
                }
                Filtering::AddressAndPortDependent => false,
            },
        }
    }
}
