//! Who may answer a mapping with address-dependent filtering (RFC 4787 REQ-8): the remote addresses that it has
//! sessions to, counted, so that the decision takes one lookup however many remotes there are.

use std::io;

use bytemuck::{Pod, Zeroable};

use super::hash::Secret;
use super::ids::Ids;
use super::memory::{Lines, Pages, Region};
use super::table::Index;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Permission {
    mapping: u32,
    remote: u32,
    sessions: u32,
}

/// See the module.
pub(crate) struct Permissions {
    lines: Lines<Permission>,
    ids: Ids,
    index: Index,
    secret: Secret,
}

impl Permissions {
    /// Room for `capacity` pairs of mapping and remote address.
    pub(crate) fn new(capacity: u32, secret: Secret, pages: Pages) -> io::Result<Permissions> {
        Ok(Permissions {
            lines: Lines::new(capacity as usize, pages)?,
            ids: Ids::new(capacity, pages)?,
            index: Index::with_pages(capacity as usize, pages)?,
            secret,
        })
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> [&Region; 3] {
        [self.lines.region(), self.ids.region(), self.index.region()]
    }

    fn find(&self, mapping: u32, remote: u32) -> Option<u32> {
        let lines = self.lines.as_slice();
        self.index.find(self.secret.pair(mapping, remote), |id| {
            let line = &lines[id as usize];
            (line.mapping, line.remote) == (mapping, remote)
        })
    }

    /// Whether `mapping` has a session to `remote`.
    pub(crate) fn allows(&self, mapping: u32, remote: u32) -> bool {
        self.find(mapping, remote).is_some()
    }

    /// One more session of `mapping` to `remote`; false, and nothing changed, where there is no room.
    pub(crate) fn add(&mut self, mapping: u32, remote: u32) -> bool {
        if let Some(id) = self.find(mapping, remote) {
            self.lines[id].sessions += 1;
            return true;
        }
        let Some(id) = self.ids.take() else { return false };
        if self.index.insert(self.secret.pair(mapping, remote), id).is_err() {
            self.ids.give(id);
            return false;
        }
        self.lines[id] = Permission { mapping, remote, sessions: 1 };
        true
    }

    /// One session of `mapping` to `remote` less.
    pub(crate) fn remove(&mut self, mapping: u32, remote: u32) {
        let Some(id) = self.find(mapping, remote) else {
            debug_assert!(false, "removed a permission that was not given");
            return;
        };
        let line = &mut self.lines[id];
        line.sessions -= 1;
        if line.sessions == 0 {
            self.index.remove(self.secret.pair(mapping, remote), id);
            self.ids.give(id);
        }
    }
}
