//! The configuration file, read again.

use std::time::Instant;

use super::apply_config::Configuration;
use super::lock::lock;
use super::state::State;
use natgw_api::{CHANGE_TIMEOUT, types};
use natgw_config::{Config, Part, Reloaded};
use natgw_management::{ReloadError, Until};

impl Configuration {
    /// Reads the file again and puts it in force, worker by worker. One change at a time; each is counted and logged.
    pub(super) fn reload(&self, state: &State, until: Until) -> Result<types::Reloaded, ReloadError> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let mut in_force = lock(&self.in_force);
        let outcome = Config::read(&self.file).map_err(ReloadError::from).and_then(|text| {
            let added = in_force.added.clone();
            in_force.apply(state, &self.file, &text, added, deadline)
        });
        let reloaded = self.report(outcome)?;
        let swept = match until {
            // The event loop settles it.
            Until::InForce => None,
            // It is in force, even if the workers still sweep.
            Until::Swept => in_force.settle(state, deadline).unwrap_or(None),
        };
        Ok(types::Reloaded { swept, ..reloaded })
    }

    /// Counts and logs what became of a change.
    fn report(&self, outcome: Result<Reloaded, ReloadError>) -> Result<types::Reloaded, ReloadError> {
        let mut reloads = lock(&self.reloads);
        match &outcome {
            Ok(reloaded) => {
                reloads.applied += 1;
                for warning in &reloaded.config.warnings {
                    tracing::warn!("{warning}");
                }
                let needs_restart = texts(&reloaded.needs_restart).join(", ");
                tracing::info!(generation = 1 + reloads.applied, needs_restart, "configuration reloaded");
            }
            Err(error) => {
                reloads.refused += 1;
                tracing::error!(%error, "the configuration stays as it is");
            }
        }
        outcome.map(|reloaded| types::Reloaded {
            config_generation: 1 + reloads.applied,
            warnings: reloaded.config.warnings.iter().map(ToString::to_string).collect(),
            needs_restart: texts(&reloaded.needs_restart),
            swept: None,
        })
    }
}

/// As the file names them.
fn texts(parts: &[Part]) -> Vec<String> {
    parts.iter().map(Part::to_string).collect()
}
