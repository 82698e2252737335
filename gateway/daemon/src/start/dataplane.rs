//! Ports, buffers, rings, shards and workers, put together and taken apart.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::StartError;
use super::dpdk_io::{Dpdk, Worker};
use super::table_memory::{self, Tables};
use natgw_config::PacketBuffers;
use natgw_counters::{PoolCounters, Published, WorkerCounters};
use natgw_dpdk::{
    Eal, LcoreId, Mempool, Port, PortConfig, PortInfo, Reconnector, RssConfig, Started, Stopped,
};
use natgw_nat::{Direction, Settings, Shard};
use natgw_neighbor::{OwnAddresses, RouteTable};
use natgw_steer::{Nic, Rss, Steering, WorkerId};
use natgw_wire::ethernet::Mac;
use natgw_worker::{
    Command, EventReceiver, Idle, Interface, Ring, RxPort, TxPort, WorkerOptions, event_queues, ring_mesh,
};

/// Commands that wait for a worker; a burst of neighbours after a restart fits.
const COMMANDS: usize = 1024;
/// Buffers that an lcore keeps at hand.
const BUFFER_CACHE: u32 = 256;

/// A port and what it is to be.
pub struct PortOptions {
    /// The interface's name.
    pub name: String,
    /// The open port.
    pub port: Port<Stopped>,
    /// Which way its packets go.
    pub direction: Direction,
    /// Another MAC address than the device's own.
    pub mac: Option<Mac>,
    /// VLAN of its frames.
    pub vlan: Option<u16>,
    /// Largest IPv4 packet, octets.
    pub mtu: u16,
    /// The address that its ICMP errors come from.
    pub address: Ipv4Addr,
    /// What it answers ARP for.
    pub own: OwnAddresses,
    /// Descriptors of each receive queue.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue.
    pub tx_descriptors: u16,
    /// Take frames for other stations too.
    pub promiscuous: bool,
}

/// What a data plane is made of.
pub struct DataplaneOptions {
    /// The ports, in the interfaces' order.
    pub ports: Vec<PortOptions>,
    /// How many workers; the EAL has as many lcores.
    pub workers: u16,
    /// The NAT's settings.
    pub settings: Settings,
    /// Routes.
    pub routes: RouteTable,
    /// Packet buffers.
    pub buffers: PacketBuffers,
    /// What workers do without packets.
    pub idle: Idle,
    /// Draws the RSS keys.
    pub seed: u64,
}

/// A started port with what was found out about it.
pub struct OpenPort {
    /// The port.
    pub port: Port<Started>,
    /// What the device is.
    pub info: PortInfo,
    /// As the workers know it.
    pub interface: Interface,
    /// The interface's name.
    pub name: String,
    /// Queues in use, each way.
    pub queues: u16,
    /// How packets find their worker.
    pub steering: String,
}

/// Where management meets a worker.
pub struct WorkerHandle {
    /// Commands to it.
    pub commands: Sender<Command>,
    /// Its counters.
    pub counters: Arc<Published<WorkerCounters>>,
    /// Its use of each pool.
    pub pools: Vec<Arc<Published<PoolCounters>>>,
    thread: natgw_dpdk::Worker<Worker>,
}

/// A running data plane. Dropping it stops the workers and then the ports.
pub struct Dataplane {
    // Workers first: they use what comes after them.
    workers: Vec<WorkerHandle>,
    _reconnector: Option<Reconnector>,
    /// The ports, in the interfaces' order.
    pub ports: Vec<OpenPort>,
    /// The packet buffers.
    pub buffers: Mempool,
    /// What memory the workers' tables got.
    pub tables: String,
    /// From the workers.
    pub events: EventReceiver,
    /// Who owns what.
    pub steering: Steering,
    /// Routes.
    pub routes: RouteTable,
}

impl Dataplane {
    /// Starts ports and workers.
    ///
    /// # Errors
    /// The first thing that fails; what was started is stopped.
    pub fn start(eal: &Eal, options: DataplaneOptions) -> Result<Dataplane, StartError> {
        let DataplaneOptions { ports, workers, settings, routes, buffers, idle, seed } = options;
        let infos = ports.iter().map(|port| port.port.info()).collect::<Result<Vec<_>, _>>()?;
        let side = |direction: Direction| {
            nic(ports
                .iter()
                .zip(&infos)
                .filter(|(port, _)| port.direction == direction)
                .map(|(_, info)| info))
        };
        let (inside, outside) = (side(Direction::Outbound), side(Direction::Inbound));
        let steering = Steering::new(&settings, workers, seed, inside, outside)?;
        let buffers = Mempool::new(eal, "packets", buffers.count, BUFFER_CACHE, buffers.data_room)?;
        let mut open = Vec::new();
        for (index, (port, info)) in ports.into_iter().zip(infos).enumerate() {
            let started = start_port(port, info, workers, &steering, &buffers);
            open.push(started.map_err(|source| StartError::of_interface(index, source))?);
        }
        let reconnector = Reconnector::start(open.iter().map(|open| &open.port))?;
        let (events_in, events) = event_queues(open.len());
        let lcores = (0..workers.into()).map(|index| lcore(eal, index)).collect::<Result<Vec<_>, _>>()?;
        let Tables { shards, nodes, memory } = table_memory::make(eal, &lcores, &settings, &steering)?;
        warn_of_distance(&open, &nodes);
        let made = make_workers(eal, shards, |id, shard, rings| {
            let interfaces: Vec<Interface> = open.iter().map(|port| port.interface.clone()).collect();
            let (commands_in, commands) = bounded(COMMANDS);
            let published = Arc::new(Published::new());
            let pools: Vec<_> = settings.pools.iter().map(|_| Arc::new(Published::new())).collect();
            let worker = Worker::new(WorkerOptions {
                id,
                shard,
                steering: steering.clone(),
                interfaces,
                rx_ports: rx_ports(&open, id),
                tx_ports: tx_ports(&open, id),
                rings,
                routes: routes.clone(),
                commands,
                events: events_in.clone(),
                published: published.clone(),
                pools: pools.clone(),
                buffers: buffers.clone(),
                clock: natgw_dpdk::Clock,
                idle,
            });
            (worker, commands_in, published, pools)
        })?;
        let mut handles = Vec::new();
        for (lcore, (worker, commands, counters, pools)) in lcores.into_iter().zip(made) {
            let thread = natgw_dpdk::launch(eal, lcore, move || worker.run());
            match thread {
                Ok(thread) => handles.push(WorkerHandle { commands, counters, pools, thread }),
                Err(error) => {
                    stop(handles);
                    return Err(error.into());
                }
            }
        }
        Ok(Dataplane {
            workers: handles,
            _reconnector: reconnector,
            ports: open,
            buffers,
            tables: memory.to_string(),
            events,
            steering,
            routes,
        })
    }

    /// The workers, by number.
    pub fn workers(&self) -> &[WorkerHandle] {
        &self.workers
    }

    /// Where each worker shows its use of each pool.
    pub fn set_pools(&mut self, pools: Vec<Vec<Arc<Published<PoolCounters>>>>) {
        self.workers.iter_mut().zip(pools).for_each(|(worker, pools)| worker.pools = pools);
    }

    /// Sends a command to every worker; one whose queue is full misses it, and is told so by the log.
    pub fn tell_all(&self, command: impl Fn() -> Command) {
        for (index, worker) in self.workers.iter().enumerate() {
            if worker.commands.try_send(command()).is_err() {
                tracing::warn!(worker = index, "a worker does not take its commands");
            }
        }
    }

    /// Whether every worker runs.
    pub fn is_polling(&self) -> bool {
        self.workers.iter().all(|worker| !worker.thread.is_finished())
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        stop(std::mem::take(&mut self.workers));
    }
}

/// Ends workers. All are told before any is waited for: they hand packets to one another.
fn stop(workers: Vec<WorkerHandle>) {
    for worker in &workers {
        // A worker that runs takes its commands; one that does not has ended.
        let _ = worker.commands.send_timeout(Command::Stop, std::time::Duration::from_secs(5));
    }
    for worker in workers {
        match worker.thread.join() {
            Ok(worker) => drop(worker),
            Err(error) => tracing::error!(%error, "a worker failed"),
        }
    }
}

type Made = (Worker, Sender<Command>, Arc<Published<WorkerCounters>>, Vec<Arc<Published<PoolCounters>>>);

/// A shard and rings for every worker, made into workers.
fn make_workers(
    eal: &Eal,
    shards: Vec<Shard>,
    make: impl Fn(WorkerId, Shard, Vec<Ring<Dpdk>>) -> Made,
) -> Result<Vec<Made>, StartError> {
    let rings = rings(eal, shards.len() as u16)?;
    let parts = (0..).map(WorkerId).zip(shards).zip(rings);
    Ok(parts.map(|((id, shard), rings)| make(id, shard, rings)).collect())
}

fn start_port(
    options: PortOptions,
    info: PortInfo,
    workers: u16,
    steering: &Steering,
    buffers: &Mempool,
) -> Result<OpenPort, natgw_dpdk::Error> {
    let queues = workers.min(info.max_rx_queues).min(info.max_tx_queues);
    if queues == 0 {
        let what = "offers no queue".to_owned();
        return Err(natgw_dpdk::Error::Unsupported { device: options.port.name().to_owned(), what });
    }
    let (rss, by) = match options.direction {
        Direction::Outbound => (steering.inside(), "source"),
        Direction::Inbound => (steering.outside(), "destination"),
    };
    let config = PortConfig {
        rx_queues: queues,
        tx_queues: queues,
        rx_descriptors: options.rx_descriptors,
        tx_descriptors: options.tx_descriptors,
        mtu: options.mtu,
        promiscuous: options.promiscuous,
        rss: rss_config(rss, &info, queues),
        mac: options.mac.map(|mac| mac.0),
        wait_for_peer: true,
    };
    let port = options.port.start(&config, std::slice::from_ref(buffers))?;
    let steering = match port.rss_report() {
        natgw_dpdk::RssReport::Unneeded if workers == 1 => "not needed: one worker".to_owned(),
        natgw_dpdk::RssReport::Unneeded => "in software: the device offers one queue".to_owned(),
        natgw_dpdk::RssReport::Hardware => format!("RSS by {by} address in hardware"),
        report @ natgw_dpdk::RssReport::Software { .. } => report.to_string(),
    };
    let interface = Interface {
        direction: options.direction,
        mac: Mac(port.mac()?),
        vlan: options.vlan,
        mtu: options.mtu,
        address: options.address,
        own: options.own,
    };
    Ok(OpenPort { port, info, interface, name: options.name, queues, steering })
}

/// Says which workers poll a port of another NUMA node: each of its packets crosses over.
fn warn_of_distance(ports: &[OpenPort], nodes: &[u32]) {
    for port in ports {
        let Some(node) = port.info.socket else { continue };
        let distant = distant(node, &nodes[..nodes.len().min(port.queues.into())]);
        if !distant.is_empty() {
            let interface = &port.name;
            tracing::warn!(interface, node, workers = ?distant, "workers on another NUMA node than their port");
        }
    }
}

/// The workers whose CPU is not on `node`.
fn distant(node: u32, workers: &[u32]) -> Vec<usize> {
    (0..workers.len()).filter(|&worker| workers[worker] != node).collect()
}

/// What the NICs of a side have in common; the default where one of them has no table of a usable size.
fn nic<'a>(infos: impl Iterator<Item = &'a PortInfo>) -> Nic {
    let usable = |info: &PortInfo| {
        let size = usize::from(info.reta_size);
        (size.is_power_of_two() && Nic::RETA_SIZES.contains(&size) && info.rss_key_size >= 12)
            .then_some(Nic { reta_size: size, key_len: usize::from(info.rss_key_size) })
    };
    let smaller =
        |a: Nic, b: Nic| Nic { reta_size: a.reta_size.min(b.reta_size), key_len: a.key_len.max(b.key_len) };
    infos.filter_map(usable).reduce(smaller).unwrap_or_default()
}

/// What the device is asked for; one that has no table or takes no key says so in its report.
fn rss_config(rss: &Rss, info: &PortInfo, queues: u16) -> Option<RssConfig> {
    let mut key = rss.key().octets().to_vec();
    key.resize(usize::from(info.rss_key_size), 0);
    let reta = rss.reta(usize::from(info.reta_size)).map(|owner| owner.0 % queues).collect();
    (queues > 1).then_some(RssConfig { key, reta })
}

/// Two rings for every pair of workers, by worker.
fn rings(eal: &Eal, workers: u16) -> Result<Vec<Vec<Ring<Dpdk>>>, StartError> {
    Ok(ring_mesh(workers, |from, to| {
        natgw_dpdk::ring(eal, &format!("w{}-w{}", from.0, to.0), PacketBuffers::RING)
    })?)
}

/// The receive queues that a worker polls: the one with its number, where the port has that many.
fn rx_ports(ports: &[OpenPort], id: WorkerId) -> Vec<RxPort<Dpdk>> {
    let queue = |(index, open): (usize, &OpenPort)| {
        let queue = open.port.take_rx_queue(id.0)?;
        Some(RxPort { interface: index as u8, queue })
    };
    ports.iter().enumerate().filter_map(queue).collect()
}

/// How a worker sends by each port: with the queue of its number, or through the worker that shares its remainder.
fn tx_ports(ports: &[OpenPort], id: WorkerId) -> Vec<TxPort<Dpdk>> {
    let port = |open: &OpenPort| match open.port.take_tx_queue(id.0) {
        Some(queue) => TxPort::Queue(queue),
        None => TxPort::Through(WorkerId(id.0 % open.queues)),
    };
    ports.iter().map(port).collect()
}

fn lcore(eal: &Eal, index: usize) -> Result<LcoreId, natgw_dpdk::Error> {
    eal.worker(index)
        .ok_or(natgw_dpdk::Error::TooManyLcores { wanted: index + 2, limit: eal.workers().len() + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_of_another_node_are_named() {
        assert_eq!(distant(1, &[0, 1, 1, 2]), [0, 3]);
        assert_eq!(distant(0, &[0, 0]), [0; 0]);
    }
}
