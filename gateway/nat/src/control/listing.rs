//! Bounded views into a shard's tables, for people who ask.
//!
//! A page looks at a bounded number of table lines and says where to go on, so that a listing of millions is many short
//! pauses between bursts and never a long one.

use std::net::Ipv4Addr;

use crate::ids::{MappingId, SessionId};
use crate::mapping::Kind;
use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::{Direction, Protocol};
use crate::session::{Session, state_name};
use crate::shard::Shard;
use crate::table::time::Time;

/// Which sessions or mappings are asked for; `None` asks for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Inside address.
    pub inside: Option<Ipv4Addr>,
    /// Outside address.
    pub outside: Option<Ipv4Addr>,
    /// Remote address; mappings that serve any remote ignore it.
    pub remote: Option<Ipv4Addr>,
    /// Protocol.
    pub protocol: Option<Protocol>,
    /// Inside, outside or remote port; of [`Protocol::Other`] the number of the protocol.
    pub port: Option<u16>,
}

impl Filter {
    pub(crate) fn accepts_session(&self, session: &Session) -> bool {
        let [internal, external, remote] = session.endpoints();
        self.accepts(session.protocol(), internal, external, Some(remote))
    }

    /// As [`Filter::accepts_session`], of a session's view.
    pub(crate) fn accepts_view(&self, view: &SessionView) -> bool {
        self.accepts(view.protocol, view.internal, view.external, Some(view.remote))
    }

    fn accepts(
        &self,
        protocol: Protocol,
        internal: Endpoint,
        external: Endpoint,
        remote: Option<Endpoint>,
    ) -> bool {
        let is = |wanted: Option<Ipv4Addr>, endpoint: Endpoint| {
            wanted.is_none_or(|address| address.to_bits() == endpoint.address)
        };
        let ports = [Some(internal.port), Some(external.port), remote.map(|remote| remote.port)];
        self.protocol.is_none_or(|wanted| wanted == protocol)
            && is(self.inside, internal)
            && is(self.outside, external)
            && remote.is_none_or(|remote| is(self.remote, remote))
            && self.port.is_none_or(|port| ports.contains(&Some(port)))
    }
}

/// One session, as listings show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its id in the shard.
    pub id: SessionId,
    /// Protocol.
    pub protocol: Protocol,
    /// `a:p`.
    pub internal: Endpoint,
    /// `X:P`.
    pub external: Endpoint,
    /// `r:q`.
    pub remote: Endpoint,
    /// What the inside host sees in the remote's place, where that is another endpoint.
    pub remote_inside: Option<Endpoint>,
    /// TCP state, or `active`.
    pub state: &'static str,
    /// Milliseconds since it was made.
    pub age_ms: u64,
    /// Milliseconds until it ends if nothing more comes.
    pub expires_in_ms: u64,
    /// Packets translated, outbound and inbound; they wrap at 2^32.
    pub packets: [u32; 2],
    /// Pool, where one gave the port.
    pub pool: Option<u16>,
}

/// One mapping, as listings show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingView {
    /// Protocol.
    pub protocol: Protocol,
    /// `a:p`.
    pub internal: Endpoint,
    /// `X:P`.
    pub external: Endpoint,
    /// `r:q`, where it serves this remote endpoint only and others may share `X:P`.
    pub remote: Option<Endpoint>,
    /// `pool`, `permanent`, `exempt` or `redirect`.
    pub kind: &'static str,
    /// Sessions under it.
    pub sessions: u32,
    /// Whether it only keeps its port from others (RFC 6888 REQ-8).
    pub resting: bool,
    /// Milliseconds since it was made.
    pub age_ms: u64,
    /// Pool, where one gave the port.
    pub pool: Option<u16>,
}

impl Shard {
    /// Puts sessions that `filter` accepts into `page`, as many as its capacity has room for, looking at no more than
    /// `lines` table lines from `from` on. Where to go on, or `None` at the end.
    pub fn list_sessions(
        &self,
        from: u32,
        lines: u32,
        filter: &Filter,
        now: Time,
        page: &mut Vec<SessionView>,
    ) -> Option<u32> {
        let end = self.sessions.high_water();
        let stop = end.min(from.saturating_add(lines));
        for line in from..stop {
            if page.len() == page.capacity() {
                return Some(line);
            }
            if let Some(id) = self.sessions.at(line)
                && filter.accepts_session(&self.sessions[id])
            {
                page.push(self.view_session(id, now));
            }
        }
        (stop < end).then_some(stop)
    }

    pub(crate) fn view_session(&self, id: SessionId, now: Time) -> SessionView {
        let session = &self.sessions[id];
        let mapping = &self.mappings[session.mapping];
        let [internal, external, remote] = session.endpoints();
        let remote_inside = session.flows[Direction::Outbound].tuple().to();
        SessionView {
            id,
            protocol: session.protocol(),
            internal,
            external,
            remote,
            remote_inside: (remote_inside != remote).then_some(remote_inside),
            state: state_name(session),
            age_ms: now.0.saturating_sub(now.near(session.created).0),
            expires_in_ms: now.near(session.expires).0.saturating_sub(now.0),
            packets: session.packets,
            pool: (mapping.kind() == Kind::Pool).then_some(mapping.grant.pool),
        }
    }

    /// As [`Shard::list_sessions`], for mappings in use or resting.
    pub fn list_mappings(
        &self,
        from: u32,
        lines: u32,
        filter: &Filter,
        now: Time,
        page: &mut Vec<MappingView>,
    ) -> Option<u32> {
        let end = self.mappings.high_water();
        let stop = end.min(from.saturating_add(lines));
        for line in from..stop {
            if page.len() == page.capacity() {
                return Some(line);
            }
            let Some(id) = self.mappings.at(line) else { continue };
            let mapping = &self.mappings[id];
            let remote = mapping.is_overlapping().then(|| self.overlaps.remote(id));
            if filter.accepts(mapping.protocol(), mapping.internal(), mapping.external(), remote) {
                page.push(self.view_mapping(id, now));
            }
        }
        (stop < end).then_some(stop)
    }

    pub(crate) fn view_mapping(&self, id: MappingId, now: Time) -> MappingView {
        let mapping = &self.mappings[id];
        MappingView {
            protocol: mapping.protocol(),
            internal: mapping.internal(),
            external: mapping.external(),
            remote: mapping.is_overlapping().then(|| self.overlaps.remote(id)),
            kind: mapping.kind().name(),
            sessions: mapping.sessions(),
            resting: mapping.is_resting(),
            age_ms: now.0.saturating_sub(now.near(mapping.created).0),
            pool: (mapping.kind() == Kind::Pool).then_some(mapping.grant.pool),
        }
    }
}
