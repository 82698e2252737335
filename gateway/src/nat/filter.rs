//! Who may answer a mapping with address-dependent filtering (RFC 4787 REQ-8): the remote addresses that it has
//! sessions to. The decision takes one lookup however many remotes there are.
//!
//! The sessions of one mapping to one remote address form a run, a chain whose first is in the index by that pair. So a
//! permission is no record of its own, and it ends with the last session of its run.

use std::io;

use super::endpoint::Endpoint;
use super::hash::Secret;
use super::ids::{Chains, NIL};
use super::memory::{Pages, Region};
use super::session::Session;
use super::table::{Full, Hash, Index};

/// See the module.
pub(crate) struct Permissions {
    /// The first session of each run.
    index: Index,
    /// The sessions of each run.
    runs: Chains,
    secret: Secret,
}

/// A pair of mapping and remote address.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) mapping: u32,
    /// The mapping's inside endpoint; it stands in for the mapping where that is not known yet.
    pub(crate) internal: Endpoint,
    pub(crate) remote: u32,
}

impl Permissions {
    /// Room for `capacity` sessions.
    pub(crate) fn new(capacity: u32, secret: Secret, pages: Pages) -> io::Result<Permissions> {
        Ok(Permissions {
            index: Index::with_pages(capacity as usize, pages)?,
            runs: Chains::new(capacity, pages)?,
            secret,
        })
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> [&Region; 2] {
        [self.index.region(), self.runs.region()]
    }

    /// Asks for the bucket of a pair.
    pub(crate) fn prefetch(&self, internal: Endpoint, remote: u32) {
        self.index.view().prefetch(self.hash(internal, remote));
    }

    /// Asks for a session's place in its run.
    pub(crate) fn prefetch_run(&self, id: u32) {
        self.runs.prefetch(id);
    }

    fn hash(&self, internal: Endpoint, remote: u32) -> Hash {
        self.secret.filter(internal, remote)
    }

    fn first(&self, pair: Pair, sessions: &[Session]) -> Option<u32> {
        self.index.find(self.hash(pair.internal, pair.remote), |id| {
            let session = &sessions[id as usize];
            session.mapping == pair.mapping && session.flows[0].tuple().destination == pair.remote
        })
    }

    /// Whether the mapping has a session to the remote address.
    pub(crate) fn allows(&self, pair: Pair, sessions: &[Session]) -> bool {
        self.first(pair, sessions).is_some()
    }

    /// Notes a new session of the pair.
    ///
    /// # Errors
    /// There is no room, and nothing changed.
    pub(crate) fn add(&mut self, pair: Pair, id: u32, sessions: &[Session]) -> Result<(), Full> {
        match self.first(pair, sessions) {
            Some(first) => self.runs.insert_after(first, id),
            None => {
                self.index.insert(self.hash(pair.internal, pair.remote), id)?;
                self.runs.start(id);
            }
        }
        Ok(())
    }

    /// Forgets a session of the pair.
    pub(crate) fn remove(&mut self, pair: Pair, id: u32) {
        let mut first = if self.runs.is_first(id) { id } else { NIL };
        let was_first = first == id;
        self.runs.remove(&mut first, id);
        if was_first {
            let hash = self.hash(pair.internal, pair.remote);
            self.index.remove(hash, id);
            if first != NIL {
                // The place that has just become free is there for it.
                let entered = self.index.insert(hash, first);
                debug_assert_eq!(entered, Ok(()));
            }
        }
    }
}
