//! A running gateway, as management shows it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::apply_config::InForce;
use super::broadcast::Channels;
use super::drain::Draining;
use super::neighbors::Control;
use crate::service::Watchdog;
use crate::signals::Signal;
use crate::start::{Dataplane, OpenPort};
use natgw_api::types::{
    About, Cursor, Deleted, Drain, Explanation, Forward, Holder, Interface, Link, Mapping, Neighbor,
    NewForward, NicStats, Page, Pool, Query, Question, Readiness, Reloaded, Reloads, Route, Session,
    Subscriber, Whose,
};
use natgw_api::{CaptureRequest, LISTING_TIMEOUT};
use natgw_config::Config;
use natgw_counters::PoolCounters;
use natgw_dpdk::{Clock, Eal};
use natgw_management::{
    Capture, ControlCounts, ForwardError, Gateway, Mempool, Nic, ReloadError, Unavailable, Until,
    WorkerSnapshot, convert,
};
use natgw_nat::Filter;
use natgw_neighbor::InterfaceId;
use natgw_worker::{Command, Listing, Page as WorkerPage, Rows};

/// See the module.
pub(crate) struct ControlPlane {
    /// What is in force.
    pub(super) config: Mutex<Arc<Config>>,
    pub(super) file: PathBuf,
    pub(super) reloads: Mutex<Reloads>,
    /// Held while something else is put in force.
    pub(super) in_force: Mutex<InForce>,
    pub(super) forward_changes: Mutex<Reloads>,
    /// Of requests whose askers are gone.
    pub(super) channels: Channels,
    /// Held while a drain begins or ends.
    pub(super) drains: Mutex<()>,
    /// While no session begins.
    pub(super) draining: Mutex<Option<Draining>>,
    since: Instant,
    memory: &'static str,
    dataplane: Mutex<Option<Dataplane>>,
    pub(super) control: Mutex<Control>,
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
        let control = Control::new(&dataplane, &config);
        ControlPlane {
            config: Mutex::new(Arc::new(config)),
            reloads: Mutex::default(),
            in_force: Mutex::new(InForce::new(text)),
            forward_changes: Mutex::default(),
            channels: Channels::default(),
            drains: Mutex::default(),
            draining: Mutex::default(),
            file: file.to_owned(),
            since: Instant::now(),
            memory: if eal.uses_hugepages() { "hugepages" } else { "no-huge" },
            dataplane: Mutex::new(Some(dataplane)),
            control: Mutex::new(control),
        }
    }

    /// Tells the log what was chosen.
    pub(crate) fn log_start(&self) {
        self.with(|dataplane| {
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

    /// Does management's own work until asked to stop, or drained.
    pub(crate) fn control(self: &Arc<ControlPlane>, signals: &Receiver<Signal>) {
        let Some(events) = self.with(|dataplane| dataplane.events.clone()) else { return };
        let mut watchdog = Watchdog::new();
        self.step(|control, dataplane| control.begin(dataplane));
        loop {
            crossbeam_channel::select! {
                recv(signals) -> signal => match signal {
                    Ok(Signal::Reload) => self.reload_aside(),
                    Ok(Signal::Stop) | Err(_) => return,
                },
                recv(events.woken()) -> woken => if woken.is_err() {
                    return;
                },
                default(CONTROL_EVERY) => {}
            }
            // As many from each queue in turn, so that none waits for a long one.
            for _ in 0..EVENT_ROUNDS {
                let mut is_more = false;
                self.step(|control, dataplane| {
                    is_more = events.take(EVENTS_AT_ONCE, |event| control.take(event, dataplane));
                });
                if !is_more {
                    break;
                }
            }
            self.step(|control, dataplane| {
                control.poll(dataplane);
                watchdog.poll(dataplane);
            });
            self.settle_aside();
            if self.is_drained() {
                return;
            }
        }
    }

    /// Stops workers and ports.
    pub(crate) fn stop(&self) {
        drop(lock(&self.dataplane).take());
    }

    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.config))
    }

    fn step(&self, work: impl FnOnce(&mut Control, &Dataplane)) {
        let mut control = lock(&self.control);
        self.with(|dataplane| work(&mut control, dataplane));
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&Dataplane) -> T) -> Option<T> {
        lock(&self.dataplane).as_ref().map(look)
    }

    pub(super) fn with_mut(&self, change: impl FnOnce(&mut Dataplane)) {
        if let Some(dataplane) = lock(&self.dataplane).as_mut() {
            change(dataplane);
        }
    }

    /// The names of all pools, by place.
    pub(super) fn pool_names(&self) -> Vec<String> {
        pool_names(&self.config())
    }

    pub(super) fn name_of(&self, interface: InterfaceId) -> String {
        self.config()
            .interfaces
            .get(usize::from(interface.0))
            .map_or_else(String::new, |found| found.name.clone())
    }

    pub(super) fn owner(&self, internal: Ipv4Addr) -> u16 {
        self.with(|dataplane| dataplane.steering.outbound_owner(internal.to_bits()).0).unwrap_or(0)
    }

    /// One page of a table, worker after worker: as many rows as asked for, the end, or what [`PAGE_TIME`] was enough for.
    fn page<T>(
        &self,
        query: &Query,
        empty: impl Fn(usize) -> Rows,
        take: impl Fn(WorkerPage, &mut Vec<T>),
    ) -> Result<Page<T>, Unavailable> {
        let begun = Instant::now();
        let deadline = begun + LISTING_TIMEOUT;
        let mut at = query.cursor.unwrap_or_default();
        let mut items = Vec::new();
        loop {
            let commands = self
                .with(|dataplane| dataplane.workers().get(usize::from(at.worker)).map(|w| w.commands.clone()))
                .ok_or(Unavailable::Stopping)?;
            let Some(commands) = commands else { return Ok(Page { items, next_cursor: None }) };
            let (filter, from, rows) = (query.filter, at.position, empty(query.limit - items.len()));
            let page: WorkerPage = self.ask(at.worker, &commands, deadline, |id, answer| {
                Command::List(Listing { id, filter, from, lines: LINES_AT_ONCE, rows, answer })
            })?;
            if page.refused {
                return Err(Unavailable::Busy { worker: at.worker });
            }
            at = match page.next {
                Some(position) => Cursor { position, ..at },
                None => Cursor { worker: at.worker + 1, position: 0 },
            };
            take(page, &mut items);
            if items.len() >= query.limit || begun.elapsed() >= PAGE_TIME {
                return Ok(Page { items, next_cursor: Some(at) });
            }
        }
    }
}

/// How often management looks after its timers when nothing happens.
const CONTROL_EVERY: Duration = Duration::from_millis(50);
/// How long a page may take to fill. What there is then is given: few rows of a large table may be asked for.
const PAGE_TIME: Duration = Duration::from_secs(1);
/// Lines of a worker's table behind one another for a page.
const LINES_AT_ONCE: u32 = 65_536;
/// Events taken of one queue in one step, and steps before timers are looked at.
const EVENTS_AT_ONCE: usize = 64;
const EVENT_ROUNDS: usize = 8;

fn pool_names(config: &Config) -> Vec<String> {
    config.settings.pools.iter().map(|pool| pool.name.clone()).collect()
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gateway for ControlPlane {
    fn about(&self) -> About {
        let (config, reloads) = (self.config(), *lock(&self.reloads));
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dpdk: Eal::version().to_owned(),
            pid: std::process::id(),
            uptime_s: self.since.elapsed().as_secs(),
            config_file: self.file.display().to_string(),
            config_generation: 1 + reloads.applied,
            config_reloads: reloads,
            forward_changes: *lock(&self.forward_changes),
            drain: self.drain_under_way(),
            memory: self.memory.to_owned(),
            tables: self.with(|dataplane| dataplane.tables.clone()).unwrap_or_default(),
            idle: config.dpdk.idle.name().to_owned(),
            sessions_limit: config.settings.limits.sessions.into(),
            subscribers_limit: config.settings.limits.subscribers.into(),
            tsc_hz: Clock::hz(),
        }
    }

    fn readiness(&self) -> Readiness {
        let mut reasons = Vec::new();
        let unresolved = lock(&self.control).unresolved();
        let seen = self.with(|dataplane| {
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
        reasons.extend(self.drain_under_way().map(|drain| drain.to_string()));
        for route in unresolved {
            let next_hop = Ipv4Addr::from_bits(route.next_hop);
            reasons.push(format!("{next_hop} on {} does not answer ARP", self.name_of(route.interface)));
        }
        Readiness { ready: reasons.is_empty(), reasons }
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!({ "file": self.file, "explained": self.config().explain() })
    }

    fn interfaces(&self) -> Vec<Interface> {
        let config = self.config();
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
        self.with(row).unwrap_or_default()
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
        self.with(|dataplane| dataplane.ports.iter().map(nic).collect()).unwrap_or_default()
    }

    fn control_counts(&self) -> ControlCounts {
        lock(&self.control).counts()
    }

    fn mempools(&self) -> Vec<Mempool> {
        let pool = |dataplane: &Dataplane| {
            vec![Mempool {
                name: "packets".to_owned(),
                available: dataplane.buffers.available().into(),
                in_use: dataplane.buffers.in_use().into(),
            }]
        };
        self.with(pool).unwrap_or_default()
    }

    fn neighbors(&self) -> Vec<Neighbor> {
        let rows = lock(&self.control).neighbors();
        rows.iter().map(|listed| convert::neighbor(listed, &self.name_of(listed.interface))).collect()
    }

    fn routes(&self) -> Vec<Route> {
        let entries = self.with(|dataplane| dataplane.routes.entries()).unwrap_or_default();
        entries.iter().map(|entry| convert::route(entry, &self.name_of(entry.interface))).collect()
    }

    fn pools(&self) -> Vec<Pool> {
        let counters = |index: usize| {
            self.with(|dataplane| {
                let read: Vec<PoolCounters> = dataplane
                    .workers()
                    .iter()
                    .map(|worker| worker.pools.get(index).map(|pool| pool.read()).unwrap_or_default())
                    .collect();
                PoolCounters::sum(&read)
            })
        };
        let config = self.config();
        let pools = config.settings.pools.iter().enumerate().filter(|(_, pool)| !pool.is_removed());
        pools.map(|(index, pool)| convert::pool(pool, &counters(index).unwrap_or_default())).collect()
    }

    fn forwards(&self) -> Vec<Forward> {
        self.list_forwards()
    }

    fn workers(&self) -> Vec<WorkerSnapshot> {
        let config = self.config();
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
        self.with(rows).unwrap_or_default()
    }

    fn subscribers(&self, top: usize) -> Result<Vec<Subscriber>, Unavailable> {
        self.list_subscribers(top)
    }

    fn whose(&self, whose: Whose) -> Vec<Holder> {
        self.holders(whose)
    }

    fn mappings(&self, query: &Query) -> Result<Page<Mapping>, Unavailable> {
        let pools = self.pool_names();
        self.page(
            query,
            |rows| Rows::Mappings(Vec::with_capacity(rows)),
            |page, items| {
                if let Rows::Mappings(rows) = page.rows {
                    items.extend(rows.iter().map(|row| Mapping::of(row, page.worker.0, &pools)));
                }
            },
        )
    }

    fn sessions(&self, query: &Query) -> Result<Page<Session>, Unavailable> {
        let pools = self.pool_names();
        self.page(
            query,
            |rows| Rows::Sessions(Vec::with_capacity(rows)),
            |page, items| {
                if let Rows::Sessions(rows) = page.rows {
                    items.extend(rows.iter().map(|row| Session::of(row, page.worker.0, &pools)));
                }
            },
        )
    }

    fn explain(&self, question: &Question) -> Result<Explanation, Unavailable> {
        self.explain_packet(question)
    }

    fn capture(&self, request: &CaptureRequest) -> Result<Box<dyn Capture>, Unavailable> {
        Ok(Box::new(self.begin_capture(request)?))
    }

    fn delete_sessions(&self, filter: &Filter) -> Result<Deleted, Unavailable> {
        self.delete(filter)
    }

    fn add_forward(&self, forward: &NewForward) -> Result<Forward, ForwardError> {
        self.put_forward(forward)
    }

    fn delete_forward(&self, id: &str) -> Result<(), ForwardError> {
        self.remove_forward(id)
    }

    fn reload(&self, until: Until) -> Result<Reloaded, ReloadError> {
        self.reload_file(until)
    }

    fn drain(&self, limit: Option<Duration>) -> Result<Drain, Unavailable> {
        self.begin_drain(limit)
    }

    fn stop_drain(&self) -> Result<(), Unavailable> {
        self.end_drain()
    }
}
