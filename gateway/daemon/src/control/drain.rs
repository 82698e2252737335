//! Draining: no session begins any more, and with the last one, or when the time is over, the gateway ends.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock::lock;
use super::state::State;
use crate::start::Dataplane;
use natgw_api::LISTING_TIMEOUT;
use natgw_api::types::Drain;
use natgw_management::Unavailable;
use natgw_worker::Command;

/// Whether the gateway drains.
#[derive(Default)]
pub(super) struct Drains {
    /// Held while a drain begins or ends.
    change: Mutex<()>,
    /// While no session begins.
    draining: Mutex<Option<Draining>>,
}

/// When a gateway that drains ends, if its last session has not by then.
#[derive(Clone, Copy)]
struct Draining {
    until: Option<Instant>,
}

impl Drains {
    /// Lets no session begin from now on. A limit comes in the place of an earlier one.
    pub(super) fn drain(&self, state: &State, limit: Option<Duration>) -> Result<Drain, Unavailable> {
        let _one = lock(&self.change);
        if let Err(late) = broadcast(state, true) {
            if lock(&self.draining).is_none() {
                // The workers that were told begin sessions again.
                let _ = broadcast(state, false);
            }
            return Err(late);
        }
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        let drain = progress(state, until);
        *lock(&self.draining) = Some(Draining { until });
        tracing::info!(sessions = drain.sessions, within_s = drain.ends_in_s, "draining: no session begins");
        Ok(drain)
    }

    /// Lets sessions begin again.
    pub(super) fn stop_drain(&self, state: &State) -> Result<(), Unavailable> {
        let _one = lock(&self.change);
        broadcast(state, false)?;
        if lock(&self.draining).take().is_some() {
            tracing::info!("draining no more");
        }
        Ok(())
    }

    /// How far a drain is.
    pub(super) fn progress(&self, state: &State) -> Option<Drain> {
        let draining = *lock(&self.draining);
        draining.map(|draining| progress(state, draining.until))
    }

    /// Whether the gateway has drained, and is to end.
    pub(super) fn is_drained(&self, state: &State) -> bool {
        let Some(Drain { sessions, ends_in_s }) = self.progress(state) else { return false };
        let is_over = ends_in_s == Some(0);
        match sessions {
            0 => tracing::info!("drained: no session is left"),
            _ if is_over => tracing::warn!(sessions, "the time to drain is over: these sessions end"),
            _ => {}
        }
        sessions == 0 || is_over
    }
}

/// Tells all workers. One that has answered has no session in its counters that it did not have then.
fn broadcast(state: &State, draining: bool) -> Result<(), Unavailable> {
    let deadline = Instant::now() + LISTING_TIMEOUT;
    let answers =
        state.channels.broadcast(&state.commands()?, deadline, |_, answer| Command::Drain(draining, answer));
    answers.map(drop).map_err(|worker| Unavailable::DrainUnanswered { worker })
}

/// How far a drain with this limit is.
fn progress(state: &State, until: Option<Instant>) -> Drain {
    let sessions = |dataplane: &Dataplane| {
        let workers = dataplane.workers().iter();
        workers.map(|worker| worker.counters.read().nat.sessions.iter().sum::<u64>()).sum()
    };
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    Drain {
        sessions: state.with(sessions).unwrap_or(0),
        // A moment that is left is a second.
        ends_in_s: left.map(|left| left.as_millis().div_ceil(1000) as u64),
    }
}
