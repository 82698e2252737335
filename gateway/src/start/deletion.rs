//! Sessions ended because an operator asks.

use std::time::Instant;

use super::ask::ask_each;
use super::running::{Running, lock};
use crate::management::snapshot::Deleted;
use crate::management::{DELETION_TIMEOUT, Unavailable};
use crate::nat::Filter;
use crate::worker::{Command, Deletion};

impl Running {
    /// All workers at once go through their tables. One deletion at a time.
    pub(super) fn delete(&self, filter: &Filter) -> Result<Deleted, Unavailable> {
        let _one = lock(&self.deleting);
        let deadline = Instant::now() + DELETION_TIMEOUT;
        let ask = |answer| Command::Delete(Deletion { filter: *filter, from: 0, sessions: 0, answer });
        let ended = ask_each(&self.commands()?, deadline, ask).map_err(|index| {
            Unavailable(format!("worker {index} is not through with its sessions; ask again for the rest"))
        })?;
        let deleted = Deleted { sessions: ended.iter().sum() };
        tracing::info!(sessions = deleted.sessions, "sessions deleted");
        Ok(deleted)
    }
}
