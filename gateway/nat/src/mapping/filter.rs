//! Who may answer a mapping with address-dependent filtering (RFC 4787 REQ-8): the remote addresses that it has
//! sessions to. The decision takes one lookup however many remotes there are.
//!
//! The sessions of one mapping to one remote address form a run. So a permission is no record of its own, and it ends with
//! the last session of its run.

use std::io;

use crate::ids::{MappingId, SessionId};
use crate::packet::endpoint::Endpoint;
use crate::session::flow_table::FlowTable;
use crate::table::hash::Secret;
use crate::table::index::{Full, Hash};
use crate::table::memory::{Pages, Region};
use crate::table::multimap::Runs;

/// See the module.
pub(crate) struct Permissions {
    runs: Runs,
    secret: Secret,
}

/// A pair of mapping and remote address.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) mapping: MappingId,
    /// The mapping's inside endpoint; it stands in for the mapping where that is not known yet.
    pub(crate) internal: Endpoint,
    pub(crate) remote: u32,
}

impl Permissions {
    /// Room for `capacity` sessions.
    pub(crate) fn new(capacity: u32, secret: Secret, pages: Pages) -> io::Result<Permissions> {
        Ok(Permissions { runs: Runs::new(capacity, pages)?, secret })
    }

    /// Memory of so many, octets.
    pub(crate) fn bytes(capacity: u32) -> u64 {
        Runs::bytes(capacity)
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> [&Region; 2] {
        self.runs.regions()
    }

    /// Asks for the bucket of a pair.
    pub(crate) fn prefetch(&self, internal: Endpoint, remote: u32) {
        self.runs.prefetch(self.hash(internal, remote));
    }

    /// Asks for a session's place in its run.
    pub(crate) fn prefetch_run(&self, SessionId(id): SessionId) {
        self.runs.prefetch_place(id);
    }

    fn hash(&self, internal: Endpoint, remote: u32) -> Hash {
        let addresses = u64::from(internal.address) << 32 | u64::from(remote);
        self.secret.hash(addresses, 4 << 32 | u64::from(internal.port))
    }

    fn first(&self, pair: Pair, sessions: &FlowTable) -> Option<u32> {
        self.runs.first(self.hash(pair.internal, pair.remote), |id| {
            let session = &sessions[SessionId(id)];
            session.mapping == pair.mapping && session.flows[1].tuple().source == pair.remote
        })
    }

    /// Whether the mapping has a session to the remote address.
    pub(crate) fn allows(&self, pair: Pair, sessions: &FlowTable) -> bool {
        self.first(pair, sessions).is_some()
    }

    /// Notes a new session of the pair.
    ///
    /// # Errors
    /// There is no room, and nothing changed.
    pub(crate) fn add(
        &mut self,
        pair: Pair,
        SessionId(id): SessionId,
        sessions: &FlowTable,
    ) -> Result<(), Full> {
        let first = self.first(pair, sessions);
        self.runs.add(self.hash(pair.internal, pair.remote), first, id)
    }

    /// Forgets a session of the pair.
    pub(crate) fn remove(&mut self, pair: Pair, SessionId(id): SessionId) {
        self.runs.remove(self.hash(pair.internal, pair.remote), id);
    }
}
