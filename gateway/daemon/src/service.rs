//! Messages to the service manager (sd_notify(3)): the gateway is ready, it stops, and, where the manager asks for that
//! (`WatchdogSec=`), every worker still polls. Without `$NOTIFY_SOCKET` there are none.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::start::Dataplane;

/// The workers poll, and management answers.
pub(crate) fn ready() {
    notify(NotifyState::Ready);
}

/// From here on no packet passes.
pub(crate) fn stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Keeps the service manager's watchdog quiet for as long as all workers poll. With one that hangs the gateway is worth a
/// restart: its subscribers have no other worker.
pub(crate) struct Watchdog {
    every: Option<Duration>,
    due: Instant,
    /// By worker, as last seen.
    polls: Vec<u64>,
}

impl Watchdog {
    pub(crate) fn new() -> Watchdog {
        // Twice within the time that the manager allows, as sd_watchdog_enabled(3) recommends, and some spare.
        let every = sd_notify::watchdog_enabled().map(|allowed| allowed / 3);
        Watchdog { every, due: Instant::now(), polls: Vec::new() }
    }

    pub(crate) fn poll(&mut self, dataplane: &Dataplane) {
        let Some(every) = self.every.filter(|_| Instant::now() >= self.due) else { return };
        self.due = Instant::now() + every;
        let polls: Vec<u64> = dataplane.workers().iter().map(|worker| worker.counters.read().polls).collect();
        match hung(&self.polls, &polls) {
            None => notify(NotifyState::Watchdog),
            Some(worker) => tracing::error!(worker, "the worker does not poll"),
        }
        self.polls = polls;
    }
}

/// A worker that has not polled since.
fn hung(before: &[u64], now: &[u64]) -> Option<usize> {
    before.iter().zip(now).position(|(before, now)| before == now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_hangs_that_has_not_polled_since() {
        assert_eq!(hung(&[], &[5, 7]), None);
        assert_eq!(hung(&[5, 7], &[6, 8]), None);
        assert_eq!(hung(&[5, 7], &[6, 7]), Some(1));
    }
}
