//! How sessions and mappings come into the tables, whoever begins them.

use crate::mapping::filter::Pair;
use crate::mapping::{Kind, New};
use crate::packet::endpoint::{Endpoint, Flow};
use crate::packet::rewrite::Rewrite;
use crate::packet::verdict::{DeleteReason, Direction, Protocol, SessionFailure};
use crate::session::tcp_state;
use crate::session::{LIVE, Session, Timeout};
use crate::shard::{NO_HOP, Shard};
use crate::table::index::Hash;
use crate::table::time::Time;

/// What a new session is made of.
pub(crate) struct NewSession {
    /// As outbound and as inbound packets arrive.
    pub(crate) flows: [Flow; 2],
    pub(crate) protocol: Protocol,
    pub(crate) state: tcp_state::State,
    pub(crate) timeout: Timeout,
    pub(crate) flags: u8,
}

impl Shard {
    /// Enters a mapping and counts it.
    #[inline(always)]
    pub(crate) fn enter_mapping(
        &mut self,
        new: &New,
        remote: Option<Endpoint>,
    ) -> Result<u32, SessionFailure> {
        let id = self.add_mapping(new, remote).ok_or(SessionFailure::MappingsFull)?;
        self.subscribers.lines[new.subscriber].mappings += 1;
        self.counters.mappings += 1;
        if new.kind == Kind::Pool {
            self.pools[usize::from(new.grant.pool)].add_mapping(new.grant.place);
        }
        Ok(id)
    }

    /// Ends a session of before a reload that a new one would share a flow with: the same remote had another address inside.
    #[cold]
    #[inline(never)]
    fn end_superseded(&mut self, mapping: u32, begun: &NewSession, hashes: [Hash; 2], now: Time) {
        // It may be the mapping's last.
        self.mappings.lines[mapping].add_session();
        for direction in Direction::ALL {
            let (sessions, flow) = (self.sessions.as_slice(), &begun.flows[direction]);
            let matches = |id: u32| sessions[id as usize].matches(flow, begun.protocol, direction);
            if let Some(id) = self.index.find(hashes[direction], matches) {
                self.gave_up = true;
                self.idle.stop(id);
                self.end_session(id, Some(DeleteReason::Reload), now);
            }
        }
        self.mappings.lines[mapping].cancel_session();
    }

    /// Makes the session itself.
    #[inline(always)]
    pub(crate) fn enter_session(
        &mut self,
        mapping: u32,
        begun: &NewSession,
        now: Time,
    ) -> Result<u32, SessionFailure> {
        let NewSession { flows, protocol, state, timeout, flags } = *begun;
        let line = self.mappings.lines[mapping];
        let rewrite = Rewrite::between(protocol, &flows[0], flows[1].reversed());
        let ms = self.policy.timeouts.of(timeout as u8);
        let id = self.session_ids.alloc().ok_or(SessionFailure::SessionsFull)?;
        let hash = |direction: Direction| self.secret.flow(&flows[direction], protocol, direction);
        let hashes = [hash(Direction::Outbound), hash(Direction::Inbound)];
        if self.reloading {
            self.end_superseded(mapping, begun, hashes, now);
        }
        let filtered = self.is_filtered_by_address(&line);
        let pair = Pair { mapping, internal: line.internal(), remote: flows[1].tuple().source };
        if filtered && self.permissions.add(pair, id, self.sessions.as_slice()).is_err() {
            self.session_ids.free(id);
            return Err(SessionFailure::SessionsFull);
        }
        let entered = self.index.insert(hashes[0], id).and_then(|()| {
            let second = self.index.insert(hashes[1], id);
            if second.is_err() {
                self.index.remove(hashes[0], id);
            }
            second
        });
        if entered.is_err() {
            if filtered {
                self.permissions.remove(pair, id);
            }
            self.session_ids.free(id);
            return Err(SessionFailure::SessionsFull);
        }
        self.sessions[id] = Session {
            flows,
            protocol: protocol as u8,
            tcp_state: state as u8,
            timeout: timeout as u8,
            flags: LIVE | flags,
            ip_delta: rewrite.ip_delta.to_bits(),
            l4_delta: rewrite.l4_delta.to_bits(),
            expires: now.low().wrapping_add(ms),
            mapping,
            next_hops: [NO_HOP; 2],
            packets: [0; 2],
            created: now.low(),
            half_open: 0,
            permits: filtered.into(),
            stand_in: 0,
        };
        self.idle.start(id, now.plus_ms(u64::from(ms)));
        self.mappings.lines[mapping].add_session();
        self.counters.sessions[protocol] += 1;
        self.counters.sessions_created[protocol] += 1;
        Ok(id)
    }
}
