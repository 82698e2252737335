//! Sessions ended because an operator asks.

use std::time::Instant;

use crossbeam_channel::bounded;

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
        let workers: Vec<_> = self
            .with(|dataplane| dataplane.workers().iter().map(|worker| worker.commands.clone()).collect())
            .ok_or_else(|| Unavailable("the gateway is stopping".into()))?;
        let mut answers = Vec::new();
        for (index, commands) in workers.iter().enumerate() {
            let (answer, answered) = bounded(1);
            let deletion = Deletion { filter: *filter, from: 0, sessions: 0, answer };
            commands
                .send_deadline(Command::Delete(deletion), deadline)
                .map_err(|_| Unavailable(format!("worker {index} does not take commands")))?;
            answers.push(answered);
        }
        let mut deleted = Deleted::default();
        for (index, answered) in answers.iter().enumerate() {
            deleted.sessions += answered.recv_deadline(deadline).map_err(|_| {
                Unavailable(format!(
                    "worker {index} is not through with its sessions; ask again for the rest"
                ))
            })?;
        }
        tracing::info!(sessions = deleted.sessions, "sessions deleted");
        Ok(deleted)
    }
}
