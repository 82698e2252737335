//! Sessions ended because an operator asks.

use std::time::Instant;

use super::state::State;
use natgw_api::DELETION_TIMEOUT;
use natgw_api::types::Deleted;
use natgw_management::Unavailable;
use natgw_nat::Filter;
use natgw_worker::{Command, Deletion};

impl State {
    /// As [`natgw_management::Gateway::delete_sessions`]. All workers at once go through their tables.
    pub(super) fn delete_sessions(&self, filter: &Filter) -> Result<Deleted, Unavailable> {
        let deadline = Instant::now() + DELETION_TIMEOUT;
        let command =
            |id, answer| Command::Delete(Deletion { id, filter: *filter, from: 0, sessions: 0, answer });
        let ended = self
            .channels
            .broadcast(&self.commands()?, deadline, command)
            .map_err(|worker| Unavailable::SessionsLeft { worker })?;
        let ended = (0..).zip(ended).map(|(worker, ended)| match ended {
            natgw_worker::Deleted::All(sessions) => Ok(sessions),
            natgw_worker::Deleted::Refused => Err(Unavailable::Busy { worker }),
        });
        let deleted = Deleted { sessions: ended.sum::<Result<u64, Unavailable>>()? };
        tracing::info!(sessions = deleted.sessions, "sessions deleted");
        Ok(deleted)
    }
}
