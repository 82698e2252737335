//! What is in force, and how a change of it is put in force while traffic runs.
//!
//! The control plane makes everything that the workers need; they only swap it in, in bounded steps between bursts:
//!
//! 1. *Steer*: all workers learn the owners of outside endpoints that had none. An endpoint that has an owner keeps it.
//! 2. *Adopt*: each worker retires what went, puts in force what had no owner, and sweeps its sessions (`nat::Changes`).
//! 3. *Enforce*: when all have swept, all workers learn the new owners of the other endpoints, and put the rest in force.
//!
//! So a host never gets an outside endpoint that another still has, on any worker.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::state::State;
use crate::start::{Dataplane, plan, table_memory};
use natgw_api::LISTING_TIMEOUT;
use natgw_api::types::{Reloads, Swept};
use natgw_config::{AddedForward, Config, LoadError, Part, Reloaded};
use natgw_counters::{PoolCounters, Published};
use natgw_management::{ReloadError, Unavailable};
use natgw_nat::{Changes, Parts};
use natgw_neighbor::{InterfaceId, OwnAddresses, RouteTable};
use natgw_steer::{Steering, WorkerId};
use natgw_worker::{Command, ConfigUpdate, Ended, Progress};

/// The configuration file, and what became of it.
pub(super) struct Configuration {
    pub(super) file: PathBuf,
    /// Held while something else is put in force.
    pub(super) in_force: Mutex<InForce>,
    /// Requests to reload.
    pub(super) reloads: Mutex<Reloads>,
    /// Requests to add and to delete port forwards.
    pub(super) forward_changes: Mutex<Reloads>,
}

impl Configuration {
    /// With the `text` of the file that is in force.
    pub(super) fn new(file: &Path, text: String) -> Configuration {
        Configuration {
            file: file.to_owned(),
            in_force: Mutex::new(InForce::new(text)),
            reloads: Mutex::default(),
            forward_changes: Mutex::default(),
        }
    }

    /// As [`InForce::settle`], without waiting, and not while a change is being made: so a change ends even if the request
    /// for it was given up.
    pub(super) fn settle_aside(&self, state: &State) {
        if let Ok(mut in_force) = self.in_force.try_lock() {
            // The next round asks again.
            let _ = in_force.settle(state, Instant::now());
        }
    }
}

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

/// How far the workers are with a change.
enum Pending {
    /// They sweep their sessions. Those that have done so have given the update back; when all have, these are the owners.
    Sweep { sweeping: VecDeque<Sweeping>, swept: VecDeque<Box<ConfigUpdate>>, steering: Box<Steering> },
    /// They enforce it.
    Enforce(Vec<Receiver<Progress>>),
}

/// A worker that sweeps.
struct Sweeping {
    progress: Receiver<Progress>,
    is_in_force: bool,
}

impl InForce {
    fn new(text: String) -> InForce {
        InForce { text, added: Vec::new(), pending: None, ended: Ended::default(), partially_applied: false }
    }

    /// Waits until all workers have adopted the last change. They do so, however late.
    fn wait_in_force(&mut self, deadline: Instant) {
        let Some(Pending::Sweep { sweeping, .. }) = &mut self.pending else { return };
        for worker in sweeping.iter_mut().filter(|worker| !worker.is_in_force) {
            // It is the first progress of each.
            worker.is_in_force = matches!(worker.progress.recv_deadline(deadline), Ok(Progress::InForce));
        }
    }

    /// Puts the `text` of a file in force, with these forwards beside it, once the workers are through with the change before.
    ///
    /// # Errors
    /// Nothing has changed, but for [`ReloadError::Unavailable`] from a worker: then the others may have taken the change.
    pub(super) fn apply(
        &mut self,
        state: &State,
        file: &Path,
        text: &str,
        added: Vec<AddedForward>,
        deadline: Instant,
    ) -> Result<Reloaded, ReloadError> {
        if self.partially_applied {
            return Err(ReloadError::PartiallyApplied);
        }
        self.settle(state, deadline)?;
        let new = Config::parse_with(text, &file.display().to_string(), &added).map_err(LoadError::Wrong)?;
        let old = state.config();
        let reloaded = old.reloaded(new)?;
        if reloaded.needs_restart.contains(&Part::PortForwards) && added != self.added {
            return Err(ReloadError::InterfacesDiffer);
        }
        let change = PreparedChange::new(state, &old, &reloaded.config)?;
        self.begin(state, change, &reloaded.config)?;
        self.text = text.to_owned();
        self.added = added;
        // A slow worker makes the next change wait; this one is in force.
        self.wait_in_force(Instant::now() + LISTING_TIMEOUT);
        Ok(reloaded)
    }

    /// Gives a change to all workers, which will apply it, however late, and goes by it from then on.
    fn begin(&mut self, state: &State, change: PreparedChange, config: &Config) -> Result<(), Unavailable> {
        let PreparedChange { commands, updates, steering_meanwhile, steering, routes, pools } = change;
        let deadline = Instant::now() + LISTING_TIMEOUT;
        steer(state, &commands, &steering_meanwhile, deadline)
            .inspect_err(|_| self.partially_applied = true)?;
        let mut sweeping = VecDeque::new();
        for (worker, (commands, update)) in (0..).zip(commands.iter().zip(updates)) {
            let (sender, progress) = bounded(2);
            if commands.send_deadline(Command::Adopt(Box::new(update), sender), deadline).is_err() {
                self.partially_applied = true;
                return Err(Unavailable::NoCommands { worker });
            }
            sweeping.push_back(Sweeping { progress, is_in_force: false });
        }
        let swept = VecDeque::new();
        let pending = Pending::Sweep { sweeping, swept, steering: Box::new(steering.clone()) };
        (self.pending, self.ended) = (Some(pending), Ended::default());
        state.set_config(config, |dataplane| {
            dataplane.steering = steering;
            dataplane.routes = routes;
            let own = own_addresses(config);
            dataplane.ports.iter_mut().zip(own).for_each(|(open, own)| open.interface.own = own);
            dataplane.set_pools(pools);
        });
        Ok(())
    }

    /// Waits until the workers have swept their sessions for the last change, and lets them enforce it. What was in force before
    /// is freed here: a worker frees nothing. Gives what the change has ended, once.
    pub(super) fn settle(&mut self, state: &State, deadline: Instant) -> Result<Option<Swept>, Unavailable> {
        if let Some(Pending::Sweep { sweeping, swept, steering }) = &mut self.pending {
            while let Some(first) = sweeping.front() {
                match first.progress.recv_deadline(deadline).map_err(|_| late(state))? {
                    Progress::InForce => continue,
                    Progress::Through(update, ended) => {
                        self.ended.sessions += ended.sessions;
                        self.ended.mappings += ended.mappings;
                        swept.push_back(update);
                    }
                    Progress::Refused(update) => {
                        self.partially_applied = true;
                        swept.push_back(update);
                    }
                }
                sweeping.pop_front();
            }
            let (swept, steering) = (std::mem::take(swept), steering.clone());
            self.pending = None;
            let commands = state.commands()?;
            let deadline = Instant::now() + LISTING_TIMEOUT;
            steer(state, &commands, &steering, deadline).inspect_err(|_| self.partially_applied = true)?;
            let mut enforcing = Vec::new();
            for (worker, (commands, update)) in (0..).zip(commands.iter().zip(swept)) {
                let (sender, progress) = bounded(2);
                if commands.send_deadline(Command::Enforce(update, sender), deadline).is_err() {
                    self.partially_applied = true;
                    return Err(Unavailable::NoCommands { worker });
                }
                enforcing.push(progress);
            }
            self.pending = Some(Pending::Enforce(enforcing));
        }
        let Some(Pending::Enforce(enforcing)) = &mut self.pending else { return Ok(None) };
        while let Some(last) = enforcing.last() {
            let done = last.recv_deadline(deadline).map_err(|_| late(state))?;
            self.partially_applied |= matches!(done, Progress::Refused(_));
            enforcing.pop();
        }
        self.pending = None;
        let Ended { sessions, mappings } = self.ended;
        tracing::info!(sessions_ended = sessions, mappings_ended = mappings, "the change is through");
        Ok(Some(Swept { sessions_ended: sessions, mappings_ended: mappings }))
    }
}

/// A change as the workers take it, made before any of them hears of it.
struct PreparedChange {
    /// Where each worker takes its commands.
    commands: Vec<Sender<Command>>,
    /// By worker.
    updates: Vec<ConfigUpdate>,
    /// Who owns what until all workers have looked through their sessions.
    steering_meanwhile: Steering,
    /// Who owns what from then on.
    steering: Steering,
    routes: RouteTable,
    /// By worker and pool: where its use is shown.
    pools: Vec<Vec<Arc<Published<PoolCounters>>>>,
}

impl PreparedChange {
    /// From the `old` configuration, which is in force, to the `new` one.
    fn new(state: &State, old: &Config, new: &Config) -> Result<PreparedChange, ReloadError> {
        let routes = plan::routes(new)?;
        let (steering, commands, mut pools) = state
            .with(|dataplane| {
                let steering = dataplane.steering.under(&old.settings, &new.settings);
                let workers = dataplane.workers().iter();
                let (commands, pools): (Vec<_>, Vec<_>) =
                    workers.map(|worker| (worker.commands.clone(), worker.pools.clone())).unzip();
                (steering.map(|new| (dataplane.steering.clone(), new)), commands, pools)
            })
            .ok_or(Unavailable::Stopping)?;
        let (before, steering) = steering.map_err(|error| ReloadError::Steering(Box::new(error)))?;
        let sessions = table_memory::sessions_each(&new.settings, steering.workers());
        let mut updates = Vec::new();
        for (worker, pools) in (0..).map(WorkerId).zip(&mut pools) {
            pools.resize_with(new.settings.pools.len(), || Arc::new(Published::new()));
            let before = Parts { settings: &old.settings, shares: before.shares(worker) };
            let after = Parts { settings: &new.settings, shares: steering.shares(worker) };
            let changes = Changes::new(before, after, sessions).map_err(ReloadError::Tables)?;
            let (routes, own) = (routes.clone(), own_addresses(new));
            updates.push(ConfigUpdate { changes, routes, own, pools: pools.clone() });
        }
        let steering_meanwhile = before.until(&steering);
        Ok(PreparedChange { commands, updates, steering_meanwhile, steering, routes, pools })
    }
}

/// By interface: what the gateway answers ARP for.
fn own_addresses(config: &Config) -> Vec<OwnAddresses> {
    let interfaces = (0..).map(InterfaceId).zip(&config.interfaces);
    interfaces.map(|(id, interface)| plan::own(config, id, interface)).collect()
}

/// Why the next change has to wait: workers still sweep.
fn late(state: &State) -> Unavailable {
    let left = |dataplane: &Dataplane| {
        dataplane.workers().iter().map(|worker| worker.counters.read().sweep_lines).sum::<u64>()
    };
    Unavailable::Sweeping { lines: state.with(left).unwrap_or(0) }
}

/// Gives every worker the owners from now on.
fn steer(
    state: &State,
    commands: &[Sender<Command>],
    steering: &Steering,
    deadline: Instant,
) -> Result<(), Unavailable> {
    let command = |_, answer| Command::Steer(Box::new(steering.clone()), answer);
    let answers = state.channels.broadcast(commands, deadline, command);
    answers.map(drop).map_err(|worker| Unavailable::ConfigUnanswered { worker })
}
