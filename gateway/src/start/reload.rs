//! The configuration file, read again.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::bounded;

use super::running::{Running, lock};
use crate::config::{Config, LoadError, Reloaded};
use crate::management::{LISTING_TIMEOUT, ReloadError, Unavailable, snapshot};
use crate::nat::Policy;
use crate::worker::{Adoption, Command};

impl Running {
    /// Reads the file again and puts it in force, worker by worker. One reload at a time; each is counted and logged.
    pub(super) fn reload_file(&self) -> Result<snapshot::Reloaded, ReloadError> {
        let _one = lock(&self.reloading);
        let outcome = self.try_reload();
        let mut reloads = lock(&self.reloads);
        match &outcome {
            Ok(reloaded) => {
                reloads.applied += 1;
                for warning in &reloaded.config.warnings {
                    tracing::warn!("{warning}");
                }
                let needs_restart = reloaded.needs_restart.join(", ");
                tracing::info!(generation = 1 + reloads.applied, needs_restart, "configuration reloaded");
            }
            Err(error) => {
                reloads.refused += 1;
                tracing::error!(%error, "the configuration stays as it is");
            }
        }
        outcome.map(|reloaded| snapshot::Reloaded {
            config_generation: 1 + reloads.applied,
            needs_restart: reloaded.needs_restart.into_iter().map(str::to_owned).collect(),
            warnings: reloaded.config.warnings.iter().map(ToString::to_string).collect(),
        })
    }

    /// As asked by a signal: the control loop goes on meanwhile, and the log tells what became of it.
    pub(super) fn reload_aside(self: &Arc<Running>) {
        let running = Arc::clone(self);
        let reload = move || drop(running.reload_file());
        if let Err(error) = std::thread::Builder::new().name("reload".into()).spawn(reload) {
            tracing::error!(%error, "the configuration stays as it is");
        }
    }

    fn try_reload(&self) -> Result<Reloaded, ReloadError> {
        let new = Config::load(&self.file).map_err(|error| match error {
            LoadError::Wrong(mistakes) => {
                ReloadError::Wrong(mistakes.iter().map(ToString::to_string).collect())
            }
            unreadable @ LoadError::Unreadable { .. } => ReloadError::Refused(unreadable.to_string()),
        })?;
        let reloaded =
            self.config().reloaded(new).map_err(|error| ReloadError::Refused(error.to_string()))?;
        self.adopt(&reloaded.config)?;
        *lock(&self.config) = Arc::new(reloaded.config.clone());
        Ok(reloaded)
    }

    /// Every worker takes the change, or says nothing in time: then some have it already, and the next reload is for
    /// the others too.
    fn adopt(&self, config: &Config) -> Result<(), Unavailable> {
        let stopping = || Unavailable("the gateway is stopping".into());
        let (steering, workers) = self
            .with(|dataplane| {
                let commands = dataplane.workers().iter().map(|worker| worker.commands.clone());
                (dataplane.steering.with_rules(&config.settings), commands.collect::<Vec<_>>())
            })
            .ok_or_else(stopping)?;
        let deadline = Instant::now() + LISTING_TIMEOUT;
        for (index, commands) in workers.iter().enumerate() {
            let adoption = Adoption { policy: Policy::new(&config.settings), steering: steering.clone() };
            let (answer, answered) = bounded(1);
            let late = || Unavailable(format!("worker {index} did not take the configuration in time"));
            commands
                .send_deadline(Command::Adopt(Box::new(adoption), answer), deadline)
                .map_err(|_| late())?;
            // What was in force ends here: a worker frees nothing.
            drop(answered.recv_deadline(deadline).map_err(|_| late())?);
        }
        Ok(())
    }
}
