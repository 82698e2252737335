//! Draining: no session begins any more, and with the last one, or when the time is over, the gateway ends.

use std::time::{Duration, Instant};

use super::control_plane::{ControlPlane, lock};
use natgw_api::LISTING_TIMEOUT;
use natgw_api::types::Drain;
use natgw_management::Unavailable;
use natgw_worker::Command;

/// When a gateway that drains ends, if its last session has not by then.
#[derive(Clone, Copy)]
pub(super) struct Draining {
    until: Option<Instant>,
}

impl ControlPlane {
    /// Lets no session begin from now on. A limit comes in the place of an earlier one.
    pub(super) fn begin_drain(&self, limit: Option<Duration>) -> Result<Drain, Unavailable> {
        let _one = lock(&self.drains);
        if let Err(late) = self.tell_of_drain(true) {
            if lock(&self.draining).is_none() {
                // As far as they can be reached.
                let _ = self.tell_of_drain(false);
            }
            return Err(late);
        }
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        let drain = self.drain_until(until);
        *lock(&self.draining) = Some(Draining { until });
        tracing::info!(sessions = drain.sessions, within_s = drain.ends_in_s, "draining: no session begins");
        Ok(drain)
    }

    /// Lets sessions begin again.
    pub(super) fn end_drain(&self) -> Result<(), Unavailable> {
        let _one = lock(&self.drains);
        self.tell_of_drain(false)?;
        if lock(&self.draining).take().is_some() {
            tracing::info!("draining no more");
        }
        Ok(())
    }

    /// How far a drain is.
    pub(super) fn drain_under_way(&self) -> Option<Drain> {
        let draining = *lock(&self.draining);
        draining.map(|draining| self.drain_until(draining.until))
    }

    /// Whether the gateway has drained, and is to end.
    pub(super) fn is_drained(&self) -> bool {
        let Some(Drain { sessions, ends_in_s }) = self.drain_under_way() else { return false };
        let is_over = ends_in_s == Some(0);
        match sessions {
            0 => tracing::info!("drained: no session is left"),
            _ if is_over => tracing::warn!(sessions, "the time to drain is over: these sessions end"),
            _ => {}
        }
        sessions == 0 || is_over
    }

    /// A worker that has answered has no session in its counters that it did not have then.
    fn tell_of_drain(&self, draining: bool) -> Result<(), Unavailable> {
        let deadline = Instant::now() + LISTING_TIMEOUT;
        self.ask_each(&self.commands()?, deadline, |_, answer| Command::Drain(draining, answer))
            .map(drop)
            .map_err(|worker| Unavailable::DrainUnanswered { worker })
    }

    fn drain_until(&self, until: Option<Instant>) -> Drain {
        let sessions = |dataplane: &crate::start::Dataplane| {
            let workers = dataplane.workers().iter();
            workers.map(|worker| worker.counters.read().nat.sessions.iter().sum::<u64>()).sum()
        };
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        Drain {
            sessions: self.with(sessions).unwrap_or(0),
            // A moment that is left is a second.
            ends_in_s: left.map(|left| left.as_millis().div_ceil(1000) as u64),
        }
    }
}
