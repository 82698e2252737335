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
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::control_plane::{ControlPlane, lock};
use crate::start::{Dataplane, plan, table_memory};
use natgw_api::LISTING_TIMEOUT;
use natgw_api::types::Swept;
use natgw_config::{AddedForward, Config, LoadError, Part, Reloaded};
use natgw_counters::Published;
use natgw_management::{ReloadError, Unavailable};
use natgw_nat::{Changes, Parts};
use natgw_neighbor::InterfaceId;
use natgw_steer::{Steering, WorkerId};
use natgw_worker::{Command, ConfigUpdate, Ended, Progress};

/// What the configuration in force was made of.
pub(super) struct InForce {
    /// The file's text.
    pub(super) text: String,
    /// What was added beside it.
    pub(super) added: Vec<AddedForward>,
    /// The last change, as long as workers are not through with it.
    pending: Option<Pending>,
    /// What it has ended so far.
    ended: Ended,
    /// A worker did not take a change that others have taken.
    partially_applied: bool,
}

impl InForce {
    pub(super) fn new(text: String) -> InForce {
        InForce { text, added: Vec::new(), pending: None, ended: Ended::default(), partially_applied: false }
    }
}

/// What the workers are doing about a change.
enum Pending {
    /// They look through their sessions. Those that are through have given it back; when all are, these are the owners.
    Sweep { sweeping: VecDeque<Sweeping>, swept: VecDeque<Box<ConfigUpdate>>, steering: Box<Steering> },
    /// They put the rest in force.
    Enforce(Vec<Receiver<Progress>>),
}

/// A worker that is about it.
struct Sweeping {
    progress: Receiver<Progress>,
    is_in_force: bool,
}

impl InForce {
    /// Waits until the last change is in force in all workers, as far as it was nobody's before. They do it, however late.
    fn wait_in_force(&mut self, deadline: Instant) {
        let Some(Pending::Sweep { sweeping, .. }) = &mut self.pending else { return };
        for worker in sweeping.iter_mut().filter(|worker| !worker.is_in_force) {
            // It is the first word of each.
            worker.is_in_force = matches!(worker.progress.recv_deadline(deadline), Ok(Progress::InForce));
        }
    }
}

impl ControlPlane {
    /// Lets the workers and everybody else do as the `text` of a file says, with these forwards beside it, when the workers are
    /// through with the change before. Nothing is changed where something is wrong.
    pub(super) fn put_in_force(
        &self,
        in_force: &mut InForce,
        text: &str,
        added: Vec<AddedForward>,
        deadline: Instant,
    ) -> Result<Reloaded, ReloadError> {
        if in_force.partially_applied {
            return Err(ReloadError::PartiallyApplied);
        }
        self.settle(in_force, deadline)?;
        let file = self.file.display().to_string();
        let new = Config::parse_with(text, &file, &added).map_err(LoadError::Wrong)?;
        let old = self.config();
        let reloaded = old.reloaded(new)?;
        if reloaded.needs_restart.contains(&Part::PortForwards) && added != in_force.added {
            return Err(ReloadError::InterfacesDiffer);
        }
        let config = &reloaded.config;
        let routes = plan::routes(config)?;
        let own = || {
            let ids = (0..).map(InterfaceId).zip(&config.interfaces);
            ids.map(|(id, interface)| plan::own(config, id, interface)).collect::<Vec<_>>()
        };

        let (steering, commands, mut pools) = self
            .with(|dataplane| {
                let steering = dataplane.steering.under(&old.settings, &config.settings);
                let workers = dataplane.workers().iter();
                let (commands, pools): (Vec<_>, Vec<_>) =
                    workers.map(|worker| (worker.commands.clone(), worker.pools.clone())).unzip();
                (steering.map(|new| (dataplane.steering.clone(), new)), commands, pools)
            })
            .ok_or(Unavailable::Stopping)?;
        let (before, steering) = steering.map_err(|error| ReloadError::Steering(Box::new(error)))?;
        let sessions = table_memory::sessions_each(&config.settings, steering.workers());
        let mut adoptions = Vec::new();
        for (worker, pools) in (0..).map(WorkerId).zip(&mut pools) {
            pools.resize_with(config.settings.pools.len(), || Arc::new(Published::new()));
            let before = Parts { settings: &old.settings, shares: before.shares(worker) };
            let after = Parts { settings: &config.settings, shares: steering.shares(worker) };
            let changes = Changes::new(before, after, sessions).map_err(ReloadError::Tables)?;
            let adoption = ConfigUpdate { changes, routes: routes.clone(), own: own(), pools: pools.clone() };
            adoptions.push(Box::new(adoption));
        }

        let deadline = Instant::now() + LISTING_TIMEOUT;
        self.steer(&commands, &before.until(&steering), deadline)
            .inspect_err(|_| in_force.partially_applied = true)?;
        let mut sweeping = VecDeque::new();
        for (worker, (commands, adoption)) in (0..).zip(commands.iter().zip(adoptions)) {
            let (told, progress) = bounded(2);
            if commands.send_deadline(Command::Adopt(adoption, told), deadline).is_err() {
                in_force.partially_applied = true;
                return Err(Unavailable::NoCommands { worker }.into());
            }
            sweeping.push_back(Sweeping { progress, is_in_force: false });
        }
        let swept = VecDeque::new();
        let pending = Pending::Sweep { sweeping, swept, steering: Box::new(steering.clone()) };
        (in_force.pending, in_force.ended) = (Some(pending), Ended::default());
        // From here on the workers will do it, however late.
        self.follow(config, |dataplane| {
            dataplane.steering = steering;
            dataplane.routes = routes;
            dataplane.ports.iter_mut().zip(own()).for_each(|(open, own)| open.interface.own = own);
            dataplane.set_pools(pools);
        });
        in_force.text = text.to_owned();
        in_force.added = added;
        // A slow worker makes the next change wait; this one is in force.
        in_force.wait_in_force(Instant::now() + LISTING_TIMEOUT);
        Ok(reloaded)
    }

    /// Waits for the workers to be through with the last change, and lets them put in force what had to wait for that. What was
    /// in force before it ends here: a worker frees nothing. What the change has ended, the first time that it is through.
    pub(super) fn settle(
        &self,
        in_force: &mut InForce,
        deadline: Instant,
    ) -> Result<Option<Swept>, Unavailable> {
        if let Some(Pending::Sweep { sweeping, swept, steering }) = &mut in_force.pending {
            while let Some(first) = sweeping.front() {
                match first.progress.recv_deadline(deadline).map_err(|_| self.late())? {
                    Progress::InForce => continue,
                    Progress::Through(adoption, ended) => {
                        in_force.ended.sessions += ended.sessions;
                        in_force.ended.mappings += ended.mappings;
                        swept.push_back(adoption);
                    }
                    Progress::Refused(adoption) => {
                        in_force.partially_applied = true;
                        swept.push_back(adoption);
                    }
                }
                sweeping.pop_front();
            }
            let (swept, steering) = (std::mem::take(swept), steering.clone());
            in_force.pending = None;
            let commands = self.commands()?;
            let deadline = Instant::now() + LISTING_TIMEOUT;
            self.steer(&commands, &steering, deadline).inspect_err(|_| in_force.partially_applied = true)?;
            let mut enforcing = Vec::new();
            for (worker, (commands, adoption)) in (0..).zip(commands.iter().zip(swept)) {
                let (told, progress) = bounded(2);
                if commands.send_deadline(Command::Enforce(adoption, told), deadline).is_err() {
                    in_force.partially_applied = true;
                    return Err(Unavailable::NoCommands { worker });
                }
                enforcing.push(progress);
            }
            in_force.pending = Some(Pending::Enforce(enforcing));
        }
        let Some(Pending::Enforce(enforcing)) = &mut in_force.pending else { return Ok(None) };
        while let Some(last) = enforcing.last() {
            let done = last.recv_deadline(deadline).map_err(|_| self.late())?;
            in_force.partially_applied |= matches!(done, Progress::Refused(_));
            enforcing.pop();
        }
        in_force.pending = None;
        let Ended { sessions, mappings } = in_force.ended;
        tracing::info!(sessions_ended = sessions, mappings_ended = mappings, "the change is through");
        Ok(Some(Swept { sessions_ended: sessions, mappings_ended: mappings }))
    }

    /// Why the next change has to wait.
    fn late(&self) -> Unavailable {
        let left = |dataplane: &Dataplane| {
            dataplane.workers().iter().map(|worker| worker.counters.read().sweep_lines).sum::<u64>()
        };
        let lines = self.with(left).unwrap_or(0);
        Unavailable::Sweeping { lines }
    }

    /// As [`ControlPlane::settle`], without waiting, where nobody else is about it: a change comes to its end though whoever asked for
    /// it has gone.
    pub(super) fn settle_aside(&self) {
        if let Ok(mut in_force) = self.in_force.try_lock() {
            // What is not through yet is asked again.
            let _ = self.settle(&mut in_force, Instant::now());
        }
    }

    /// Tells every worker who owns what from now on.
    fn steer(
        &self,
        commands: &[Sender<Command>],
        steering: &Steering,
        deadline: Instant,
    ) -> Result<(), Unavailable> {
        let ask = |_, answer| Command::Steer(Box::new(steering.clone()), answer);
        self.ask_each(commands, deadline, ask)
            .map(drop)
            .map_err(|worker| Unavailable::ConfigUnanswered { worker })
    }

    /// Lets management go by the same.
    fn follow(&self, config: &Config, change: impl FnOnce(&mut Dataplane)) {
        let mut control = lock(&self.control);
        *lock(&self.config) = Arc::new(config.clone());
        self.with_mut(|dataplane| {
            change(dataplane);
            control.follow(dataplane, config);
        });
    }
}
