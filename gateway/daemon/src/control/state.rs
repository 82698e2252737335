//! What runs and what is in force: the state that all parts of the control plane share.
//!
//! Locks nest in one order: neighbours, data plane, and then the configuration or the port blocks.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;

use super::block_leases::BlockLeases;
use super::broadcast::Channels;
use super::lock::lock;
use super::neighbors::NeighborControl;
use crate::start::Dataplane;
use natgw_config::Config;
use natgw_management::Unavailable;
use natgw_neighbor::InterfaceId;
use natgw_worker::Command;

/// See the module.
pub(super) struct State {
    /// What is in force.
    config: Mutex<Arc<Config>>,
    /// None once it has been stopped.
    dataplane: Mutex<Option<Dataplane>>,
    pub(super) neighbors: Mutex<NeighborControl>,
    pub(super) block_leases: Mutex<BlockLeases>,
    /// Of requests to workers.
    pub(super) channels: Channels,
}

impl State {
    pub(super) fn new(config: Config, dataplane: Dataplane) -> State {
        State {
            neighbors: Mutex::new(NeighborControl::new(&dataplane, &config)),
            block_leases: Mutex::default(),
            channels: Channels::default(),
            config: Mutex::new(Arc::new(config)),
            dataplane: Mutex::new(Some(dataplane)),
        }
    }

    /// Stops workers and ports.
    pub(super) fn stop(&self) {
        drop(lock(&self.dataplane).take());
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.config))
    }

    /// Puts a configuration in force for all that is not a worker's: the `change` of the data plane, and the neighbours.
    pub(super) fn set_config(&self, config: &Config, change: impl FnOnce(&mut Dataplane)) {
        let mut neighbors = lock(&self.neighbors);
        *lock(&self.config) = Arc::new(config.clone());
        if let Some(dataplane) = lock(&self.dataplane).as_mut() {
            change(dataplane);
            neighbors.follow(dataplane, config);
        }
    }

    /// Looks at the data plane; `None` once it has been stopped.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Dataplane) -> T) -> Option<T> {
        lock(&self.dataplane).as_ref().map(look)
    }

    /// Works on the neighbours, as long as the data plane runs.
    pub(super) fn with_neighbors(&self, work: impl FnOnce(&mut NeighborControl, &Dataplane)) {
        let mut neighbors = lock(&self.neighbors);
        self.with(|dataplane| work(&mut neighbors, dataplane));
    }

    /// Where each worker takes its commands.
    pub(super) fn commands(&self) -> Result<Vec<Sender<Command>>, Unavailable> {
        self.with(|dataplane| dataplane.workers().iter().map(|worker| worker.commands.clone()).collect())
            .ok_or(Unavailable::Stopping)
    }

    /// Where a worker takes its commands; `None` where there is no worker of this number.
    pub(super) fn commands_of(&self, worker: u16) -> Result<Option<Sender<Command>>, Unavailable> {
        let commands = |dataplane: &Dataplane| {
            dataplane.workers().get(usize::from(worker)).map(|worker| worker.commands.clone())
        };
        self.with(commands).ok_or(Unavailable::Stopping)
    }

    /// The names of all pools, by place.
    pub(super) fn pool_names(&self) -> Vec<String> {
        self.config().settings.pools.iter().map(|pool| pool.name.clone()).collect()
    }

    /// An interface's name; empty where there is none of this number.
    pub(super) fn interface_name(&self, interface: InterfaceId) -> String {
        let config = self.config();
        let found = config.interfaces.get(usize::from(interface.0));
        found.map_or_else(String::new, |found| found.name.clone())
    }

    /// The worker that owns an inside host.
    pub(super) fn owner(&self, internal: Ipv4Addr) -> u16 {
        self.with(|dataplane| dataplane.steering.outbound_owner(internal.to_bits()).0).unwrap_or(0)
    }
}
