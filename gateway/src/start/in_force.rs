//! What is in force, and how something else comes into its place while traffic runs.
//!
//! Management makes everything that the workers need; they only exchange it, in bounded steps between bursts:
//!
//! 1. All of them learn who owns what nobody owned before; what was somebody's stays so.
//! 2. Each retires what went, puts in force what was nobody's, and looks through its sessions (`nat::Changes`).
//! 3. When all are through, all of them learn the new owners of what was somebody's, and put it in force.
//!
//! So a host never gets an outside endpoint that another still has, on whichever worker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

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
    /// The last change, as long as workers are not through with it.
    pending: Option<Pending>,
    /// A worker did not take a change that others have taken.
    is_torn: bool,
}

impl InForce {
    pub(super) fn new(text: String) -> InForce {
        InForce { text, added: Vec::new(), pending: None, is_torn: false }
    }
}

/// What the workers are doing about a change.
enum Pending {
    /// They look through their sessions. Those that are through have given it back; when all are, these are the owners.
    Sweep {
        sweeping: VecDeque<Receiver<Box<Adoption>>>,
        swept: VecDeque<Box<Adoption>>,
        steering: Box<Steering>,
    },
    /// They put the rest in force.
    Enforce(Vec<Receiver<Box<Adoption>>>),
}

/// How long whoever changes something waits for the workers to be through with it, or with the change before.
pub(super) const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

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
        self.settle(in_force, Instant::now() + RELOAD_TIMEOUT)?;
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
        steer(&commands, &before.until(&steering), deadline).inspect_err(|_| in_force.is_torn = true)?;
        let mut sweeping = VecDeque::new();
        for (index, (commands, adoption)) in commands.iter().zip(adoptions).enumerate() {
            let (answer, adopted) = bounded(1);
            if commands.send_deadline(Command::Adopt(adoption, answer), deadline).is_err() {
                in_force.is_torn = true;
                return Err(Unavailable(format!("worker {index} does not take commands")).into());
            }
            sweeping.push_back(adopted);
        }
        let swept = VecDeque::new();
        let pending = Pending::Sweep { sweeping, swept, steering: Box::new(steering.clone()) };
        in_force.pending = Some(pending);
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
        let _ = self.settle(in_force, Instant::now() + RELOAD_TIMEOUT);
        Ok(reloaded)
    }

    /// Waits for the workers to be through with the last change, and lets them put in force what had to wait for that. What was
    /// in force before it ends here: a worker frees nothing.
    pub(super) fn settle(&self, in_force: &mut InForce, deadline: Instant) -> Result<(), Unavailable> {
        let late = || Unavailable("the workers are not through with the change before; try again".into());
        if let Some(Pending::Sweep { sweeping, swept, steering }) = &mut in_force.pending {
            while let Some(first) = sweeping.front() {
                swept.push_back(first.recv_deadline(deadline).map_err(|_| late())?);
                sweeping.pop_front();
            }
            let (swept, steering) = (std::mem::take(swept), steering.clone());
            in_force.pending = None;
            let commands = self.commands()?;
            let deadline = Instant::now() + LISTING_TIMEOUT;
            steer(&commands, &steering, deadline).inspect_err(|_| in_force.is_torn = true)?;
            let mut enforcing = Vec::new();
            for (index, (commands, adoption)) in commands.iter().zip(swept).enumerate() {
                let (answer, enforced) = bounded(1);
                if commands.send_deadline(Command::Enforce(adoption, answer), deadline).is_err() {
                    in_force.is_torn = true;
                    return Err(Unavailable(format!("worker {index} does not take commands")));
                }
                enforcing.push(enforced);
            }
            in_force.pending = Some(Pending::Enforce(enforcing));
        }
        if let Some(Pending::Enforce(enforcing)) = &mut in_force.pending {
            while let Some(last) = enforcing.last() {
                last.recv_deadline(deadline).map_err(|_| late())?;
                enforcing.pop();
            }
            in_force.pending = None;
        }
        Ok(())
    }

    /// As [`Running::settle`], without waiting, where nobody else is about it: a change comes to its end though whoever asked for
    /// it has gone.
    pub(super) fn settle_aside(&self) {
        if let Ok(mut in_force) = self.in_force.try_lock() {
            // What is not through yet is asked again.
            let _ = self.settle(&mut in_force, Instant::now());
        }
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
