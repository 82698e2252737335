//! A running gateway as management sees it, composed of the parts that control it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::apply_config::Configuration;
use super::drain::Drains;
use super::lock::lock;
use super::state::State;
use crate::start::{Dataplane, OpenPort};
use natgw_api::CaptureRequest;
use natgw_api::types::{
    About, Deleted, Drain, Explanation, Forward, Holder, Interface, Link, Mapping, Neighbor, NewForward,
    NicStats, Page, Pool, Query, Question, Readiness, Reloaded, Route, Session, Subscriber, Whose,
};
use natgw_config::Config;
use natgw_counters::PoolCounters;
use natgw_dpdk::{Clock, Eal};
use natgw_management::{
    Capture, ControlCounts, ForwardError, Gateway, Mempool, Nic, ReloadError, Unavailable, Until,
    WorkerSnapshot, convert,
};
use natgw_nat::Filter;

/// See the module. Each part owns its state, and is given [`State`], which all of them share.
pub(crate) struct ControlPlane {
    pub(super) state: State,
    pub(super) configuration: Configuration,
    pub(super) drains: Drains,
    since: Instant,
    memory: &'static str,
}

impl ControlPlane {
    /// With the `text` of the file that the configuration was made of.
    pub(crate) fn new(
        config: Config,
        file: &Path,
        text: String,
        eal: &Eal,
        dataplane: Dataplane,
    ) -> ControlPlane {
        ControlPlane {
            state: State::new(config, dataplane),
            configuration: Configuration::new(file, text),
            drains: Drains::default(),
            since: Instant::now(),
            memory: if eal.uses_hugepages() { "hugepages" } else { "no-huge" },
        }
    }

    /// Tells the log what was chosen.
    pub(crate) fn log_start(&self) {
        self.state.with(|dataplane| {
            for open in &dataplane.ports {
                tracing::info!(
                    interface = open.name,
                    driver = open.info.driver,
                    mac = %open.interface.mac,
                    queues = open.queues,
                    steering = open.steering,
                    "port started"
                );
            }
            let workers = dataplane.workers().len();
            tracing::info!(workers, memory = self.memory, dpdk = Eal::version(), "gateway started");
        });
    }

    /// Stops workers and ports.
    pub(crate) fn stop(&self) {
        self.state.stop();
    }
}

impl Gateway for ControlPlane {
    fn about(&self) -> About {
        let (config, reloads) = (self.state.config(), *lock(&self.configuration.reloads));
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dpdk: Eal::version().to_owned(),
            pid: std::process::id(),
            uptime_s: self.since.elapsed().as_secs(),
            config_file: self.configuration.file.display().to_string(),
            config_generation: 1 + reloads.applied,
            config_reloads: reloads,
            forward_changes: *lock(&self.configuration.forward_changes),
            drain: self.drains.progress(&self.state),
            memory: self.memory.to_owned(),
            tables: self.state.with(|dataplane| dataplane.tables.clone()).unwrap_or_default(),
            idle: config.dpdk.idle.name().to_owned(),
            sessions_limit: config.settings.limits.sessions.into(),
            subscribers_limit: config.settings.limits.subscribers.into(),
            tsc_hz: Clock::hz(),
        }
    }

    fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        let unresolved = lock(&self.state.neighbors).unresolved();
        let seen = self.state.with(|dataplane| {
            if !dataplane.is_polling() {
                reasons.push("a worker has ended".to_owned());
            }
            for open in &dataplane.ports {
                if !open.port.link().is_ok_and(|link| link.up) {
                    reasons.push(format!("the link of {} is down", open.name));
                }
            }
        });
        if seen.is_none() {
            reasons.push("the gateway is stopping".to_owned());
        }
        reasons.extend(self.drains.progress(&self.state).map(|drain| drain.to_string()));
        for route in unresolved {
            let next_hop = Ipv4Addr::from_bits(route.next_hop);
            reasons.push(format!(
                "{next_hop} on {} does not answer ARP",
                self.state.interface_name(route.interface)
            ));
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!({ "file": self.configuration.file, "explained": self.state.config().explain() })
    }

    fn interfaces(&self) -> Vec<Interface> {
        let config = self.state.config();
        let row = |dataplane: &Dataplane| {
            let rows = dataplane.ports.iter().zip(&config.interfaces).map(|(open, configured)| Interface {
                name: configured.name.clone(),
                device: configured.device.to_string(),
                driver: open.info.driver.clone(),
                role: configured.role.name().to_owned(),
                addresses: configured.addresses.iter().map(ToString::to_string).collect(),
                mac: open.interface.mac.to_string(),
                mtu: configured.mtu,
                vlan: configured.vlan,
                rx_queues: open.queues,
                tx_queues: open.queues,
                steering: open.steering.clone(),
            });
            rows.collect()
        };
        self.state.with(row).unwrap_or_default()
    }

    fn nics(&self) -> Vec<Nic> {
        let nic = |open: &OpenPort| {
            let link = open.port.link().map_or_else(
                |_| Link::default(),
                |link| Link { up: link.up, speed_mbps: link.speed_mbps, full_duplex: link.full_duplex },
            );
            let stats = open.port.stats().unwrap_or_default();
            Nic {
                link,
                stats: NicStats {
                    rx_packets: stats.rx_packets,
                    rx_bytes: stats.rx_bytes,
                    tx_packets: stats.tx_packets,
                    tx_bytes: stats.tx_bytes,
                    rx_missed: stats.rx_missed,
                    rx_errors: stats.rx_errors,
                    tx_errors: stats.tx_errors,
                    rx_no_buffer: stats.rx_no_buffer,
                },
                xstats: open.port.xstats().unwrap_or_default().into_iter().collect(),
            }
        };
        self.state.with(|dataplane| dataplane.ports.iter().map(nic).collect()).unwrap_or_default()
    }

    fn control_counts(&self) -> ControlCounts {
        lock(&self.state.neighbors).counts()
    }

    fn mempools(&self) -> Vec<Mempool> {
        let pool = |dataplane: &Dataplane| {
            vec![Mempool {
                name: "packets".to_owned(),
                available: dataplane.buffers.available().into(),
                in_use: dataplane.buffers.in_use().into(),
            }]
        };
        self.state.with(pool).unwrap_or_default()
    }

    fn neighbors(&self) -> Vec<Neighbor> {
        let rows = lock(&self.state.neighbors).list();
        rows.iter()
            .map(|listed| convert::neighbor(listed, &self.state.interface_name(listed.interface)))
            .collect()
    }

    fn routes(&self) -> Vec<Route> {
        let entries = self.state.with(|dataplane| dataplane.routes.entries()).unwrap_or_default();
        entries
            .iter()
            .map(|entry| convert::route(entry, &self.state.interface_name(entry.interface)))
            .collect()
    }

    fn pools(&self) -> Vec<Pool> {
        let counters = |index: usize| {
            self.state.with(|dataplane| {
                let read: Vec<PoolCounters> = dataplane
                    .workers()
                    .iter()
                    .map(|worker| worker.pools.get(index).map(|pool| pool.read()).unwrap_or_default())
                    .collect();
                PoolCounters::sum(&read)
            })
        };
        let config = self.state.config();
        let pools = config.settings.pools.iter().enumerate().filter(|(_, pool)| !pool.is_removed());
        pools.map(|(index, pool)| convert::pool(pool, &counters(index).unwrap_or_default())).collect()
    }

    fn forwards(&self) -> Vec<Forward> {
        self.state.forwards()
    }

    fn workers(&self) -> Vec<WorkerSnapshot> {
        let config = self.state.config();
        let rows = |dataplane: &Dataplane| {
            let workers = dataplane.workers().iter().zip(&config.dpdk.worker_lcores).enumerate();
            workers
                .map(|(index, (handle, &cpu))| WorkerSnapshot {
                    worker: index as u16,
                    cpu: cpu.into(),
                    counters: handle.counters.read(),
                })
                .collect()
        };
        self.state.with(rows).unwrap_or_default()
    }

    fn subscribers(&self, top: usize) -> Result<Vec<Subscriber>, Unavailable> {
        self.state.subscribers(top)
    }

    fn whose(&self, whose: Whose) -> Vec<Holder> {
        self.state.whose(whose)
    }

    fn mappings(&self, query: &Query) -> Result<Page<Mapping>, Unavailable> {
        self.state.mappings(query)
    }

    fn sessions(&self, query: &Query) -> Result<Page<Session>, Unavailable> {
        self.state.sessions(query)
    }

    fn explain(&self, question: &Question) -> Result<Explanation, Unavailable> {
        self.state.explain(question)
    }

    fn capture(&self, request: &CaptureRequest) -> Result<Box<dyn Capture>, Unavailable> {
        self.state.capture(request)
    }

    fn delete_sessions(&self, filter: &Filter) -> Result<Deleted, Unavailable> {
        self.state.delete_sessions(filter)
    }

    fn add_forward(&self, forward: &NewForward) -> Result<Forward, ForwardError> {
        self.configuration.add_forward(&self.state, forward)
    }

    fn delete_forward(&self, id: &str) -> Result<(), ForwardError> {
        self.configuration.delete_forward(&self.state, id)
    }

    fn reload(&self, until: Until) -> Result<Reloaded, ReloadError> {
        self.configuration.reload(&self.state, until)
    }

    fn drain(&self, limit: Option<Duration>) -> Result<Drain, Unavailable> {
        self.drains.drain(&self.state, limit)
    }

    fn stop_drain(&self) -> Result<(), Unavailable> {
        self.drains.stop_drain(&self.state)
    }
}
