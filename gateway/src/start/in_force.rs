//! What is in force, and how something else comes into its place while traffic runs.
//!
//! Management makes everything that the workers need; they only exchange it. First all of them learn who owns what then, so
//! that none mistakes another's packets; then each puts the rest in force, in bounded steps between bursts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::ask::ask_each;
use super::forwards::{self, Added};
use super::running::{Running, lock};
use super::{Dataplane, plan, tables};
use crate::config::{Config, Reloaded};
use crate::counters::Published;
use crate::management::{LISTING_TIMEOUT, ReloadError, Unavailable};
use crate::nat::{Changes, Parts};
use crate::neighbor::InterfaceId;
use crate::steer::{Steering, WorkerId};
use crate::worker::{Adoption, Command};

/// What the configuration in force was made of.
pub(super) struct InForce {
    /// The file's text.
    pub(super) text: String,
    /// What was added beside it.
    pub(super) added: Vec<Added>,
    /// Workers that have not said yet that they are through with the last change.
    pending: Vec<Receiver<Box<Adoption>>>,
    /// A worker did not take a change that others have taken.
    is_torn: bool,
}

impl InForce {
    pub(super) fn new(text: String) -> InForce {
        InForce { text, added: Vec::new(), pending: Vec::new(), is_torn: false }
    }

    /// Waits for the workers to be through with the last change. What was in force before it ends here: a worker frees nothing.
    fn settle(&mut self) -> Result<(), Unavailable> {
        let deadline = Instant::now() + LISTING_TIMEOUT;
        while let Some(adopted) = self.pending.last() {
            adopted.recv_deadline(deadline).map_err(|_| {
                Unavailable("the workers are not through with the change before; try again".into())
            })?;
            self.pending.pop();
        }
        Ok(())
    }
}

impl Running {
    /// Lets the workers and everybody else do as the `text` of a file says, with these forwards beside it. Nothing is changed where
    /// something is wrong.
    pub(super) fn put_in_force(
        &self,
        in_force: &mut InForce,
        text: &str,
        added: Vec<Added>,
    ) -> Result<Reloaded, ReloadError> {
        if in_force.is_torn {
            let detail =
                "a worker did not take an earlier change that others have taken; restart the gateway";
            return Err(ReloadError::Refused(detail.into()));
        }
        in_force.settle()?;
        let all = forwards::with_added(text, &added);
        let new = Config::parse(&all, &self.file.display().to_string()).map_err(|mistakes| {
            let explain = |mistake| forwards::explain_mistake(mistake, text, &added);
            ReloadError::Wrong(mistakes.iter().map(explain).collect())
        })?;
        let refused = |error: &dyn std::error::Error| ReloadError::Refused(error.to_string());
        let old = self.config();
        let reloaded = old.reloaded(new).map_err(|error| refused(&error))?;
        let waits = reloaded.needs_restart.iter().any(|part| part == "nat.port_forwards");
        if waits && added != in_force.added {
            let detail = "the interfaces of the file are not those that run; restart the gateway first";
            return Err(ReloadError::Refused(detail.into()));
        }
        let config = &reloaded.config;
        let routes = plan::routes(config).map_err(|error| refused(&error))?;
        let own = || {
            let ids = (0..).map(InterfaceId).zip(&config.interfaces);
            ids.map(|(id, interface)| plan::own(config, id, interface)).collect::<Vec<_>>()
        };

        let stopping = || Unavailable("the gateway is stopping".into());
        let (steering, commands, mut pools) = self
            .with(|dataplane| {
                let steering = dataplane.steering.under(&old.settings, &config.settings);
                let workers = dataplane.workers().iter();
                let (commands, pools): (Vec<_>, Vec<_>) =
                    workers.map(|worker| (worker.commands.clone(), worker.pools.clone())).unzip();
                (steering.map(|new| (dataplane.steering.clone(), new)), commands, pools)
            })
            .ok_or_else(stopping)?;
        let (before, steering) = steering.map_err(|error| refused(&error))?;
        let sessions = tables::sessions_each(&config.settings, steering.workers());
        let mut adoptions = Vec::new();
        for (worker, pools) in (0..).map(WorkerId).zip(&mut pools) {
            pools.resize_with(config.settings.pools.len(), || Arc::new(Published::new()));
            let before = Parts { settings: &old.settings, shares: before.shares(worker) };
            let after = Parts { settings: &config.settings, shares: steering.shares(worker) };
            let changes = Changes::new(before, after, sessions)
                .map_err(|error| ReloadError::Refused(format!("no memory for the new tables: {error}")))?;
            let adoption = Adoption { changes, routes: routes.clone(), own: own(), pools: pools.clone() };
            adoptions.push(Box::new(adoption));
        }

        let deadline = Instant::now() + LISTING_TIMEOUT;
        steer(&commands, &steering, deadline).inspect_err(|_| in_force.is_torn = true)?;
        for (index, (commands, adoption)) in commands.iter().zip(adoptions).enumerate() {
            let (answer, adopted) = bounded(1);
            if commands.send_deadline(Command::Adopt(adoption, answer), deadline).is_err() {
                in_force.is_torn = true;
                return Err(Unavailable(format!("worker {index} does not take commands")).into());
            }
            in_force.pending.push(adopted);
        }
        // From here on the workers will do it, however late.
        self.added_forwards.store(added.len(), Ordering::Relaxed);
        self.follow(config, |dataplane| {
            dataplane.steering = steering;
            dataplane.routes = routes;
            dataplane.ports.iter_mut().zip(own()).for_each(|(open, own)| open.interface.own = own);
            dataplane.set_pools(pools);
        });
        in_force.text = text.to_owned();
        in_force.added = added;
        // A slow worker makes whoever changes something next wait; this change is in force.
        let _ = in_force.settle();
        Ok(reloaded)
    }

    /// Lets management go by the same.
    fn follow(&self, config: &Config, change: impl FnOnce(&mut Dataplane)) {
        let mut control = lock(&self.control);
        *lock(&self.config) = Arc::new(config.clone());
        self.with_mut(|dataplane| {
            change(dataplane);
            control.follow(dataplane, &config.settings);
        });
    }
}

/// Tells every worker who owns what from now on.
fn steer(commands: &[Sender<Command>], steering: &Steering, deadline: Instant) -> Result<(), Unavailable> {
    let ask = |answer| Command::Steer(Box::new(steering.clone()), answer);
    ask_each(commands, deadline, ask)
        .map(drop)
        .map_err(|index| Unavailable(format!("worker {index} did not take the configuration in time")))
}
