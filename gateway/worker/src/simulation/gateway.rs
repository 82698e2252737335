//! A gateway in memory: workers over queues, with rings between them, faults on the wires, and one thread for all.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use super::super::io::{Clock as _, Packet as _, Pool as _};
use super::super::{
    Command, EventReceiver, Idle, Interface, RxPort, TxPort, Worker, WorkerOptions, event_queues, ring_mesh,
};
use super::{Clock, Faults, Packet, Pool, Queue, Random, Simulation};
use natgw_counters::{PoolCounters, Published, WorkerCounters};
use natgw_nat::{BURST, Part, Secret, Settings, Shard, ShardOptions};
use natgw_neighbor::RouteTable;
use natgw_steer::{Nic, Steering, WorkerId};

/// What a [`Gateway`] is made of.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// How many workers.
    pub workers: u16,
    /// Receive and transmit queues of each interface. A worker beyond them receives from its rings alone, and sends through
    /// another.
    pub queues: u16,
    /// The NAT's settings.
    pub settings: Settings,
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// Routes.
    pub routes: RouteTable,
    /// Packet buffers, for all workers and wires.
    pub buffers: usize,
    /// Packets that a receive or transmit queue holds.
    pub descriptors: usize,
    /// Packets that a ring between workers holds.
    pub ring: usize,
    /// What goes wrong.
    pub faults: Faults,
    /// Draws owners, ports and faults.
    pub seed: u64,
}

impl GatewayOptions {
    /// A gateway with one queue a worker, room enough, and no faults.
    pub fn new(
        workers: u16,
        settings: Settings,
        interfaces: Vec<Interface>,
        routes: RouteTable,
    ) -> GatewayOptions {
        GatewayOptions {
            workers,
            queues: workers,
            settings,
            interfaces,
            routes,
            buffers: 2048,
            descriptors: 512,
            ring: 512,
            faults: Faults::default(),
            seed: 0,
        }
    }
}

/// See the module.
pub struct Gateway {
    workers: Vec<Worker<Simulation>>,
    commands: Vec<Sender<Command>>,
    published: Vec<Arc<Published<WorkerCounters>>>,
    events: EventReceiver,
    steering: Steering,
    pool: Pool,
    clock: Clock,
    /// By interface.
    wires: Vec<Wire>,
    rings: Vec<Queue>,
    late: Vec<Late>,
    rounds: u64,
    faults: Faults,
    random: Random,
}

/// The queues of an interface.
struct Wire {
    to_workers: Vec<Queue>,
    from_workers: Vec<Queue>,
}

/// A frame that a wire keeps for a while.
struct Late {
    /// The round before which it arrives.
    due: u64,
    queue: Queue,
    packet: Packet,
}

/// How long a round takes.
const ROUND: Duration = Duration::from_micros(10);
/// Octets of the largest frame that fits a buffer.
const FRAME_LEN: usize = 2048;
/// Commands that wait for a worker.
const COMMANDS: usize = 1024;

impl Gateway {
    /// A gateway that no packet has come to.
    ///
    /// # Errors
    /// Where the workers cannot divide the pools, or there is no memory for the sessions.
    pub fn new(options: GatewayOptions) -> Result<Gateway, Box<dyn Error>> {
        let GatewayOptions { workers, settings, interfaces, routes, faults, seed, .. } = options;
        let steering = Steering::new(&settings, workers, seed, Nic::default(), Nic::default())?;
        let (pool, clock) = (Pool::new(options.buffers, FRAME_LEN), Clock::new());
        let queues = || (0..options.queues).map(|_| Queue::new(options.descriptors)).collect();
        let wires: Vec<Wire> =
            interfaces.iter().map(|_| Wire { to_workers: queues(), from_workers: queues() }).collect();
        let mut all_rings = Vec::new();
        let rings = ring_mesh::<Simulation, Box<dyn Error>>(workers, |_, _| {
            let ring = Queue::new(options.ring);
            all_rings.push(ring.clone());
            Ok((ring.clone(), ring))
        })?;
        let (events_in, events) = event_queues(interfaces.len());
        let mut gateway = Gateway {
            workers: Vec::new(),
            commands: Vec::new(),
            published: Vec::new(),
            events,
            steering,
            pool,
            clock,
            wires,
            rings: all_rings,
            late: Vec::new(),
            rounds: 0,
            faults,
            random: Random::new(seed),
        };
        for (id, rings) in (0..workers).map(WorkerId).zip(rings) {
            let shard = Shard::new(&ShardOptions {
                settings: &settings,
                shares: gateway.steering.shares(id),
                sessions: settings.limits.sessions_each(workers),
                part: Part { index: id.0, of: workers },
                secret: Secret::new([seed, id.0.into(), 2, 3]),
                now: gateway.clock.now(),
            })?;
            let (commands, commands_out) = bounded(COMMANDS);
            let published = Arc::new(Published::new());
            let pools = settings.pools.iter().map(|_| Arc::new(Published::<PoolCounters>::new()));
            gateway.workers.push(Worker::new(WorkerOptions {
                id,
                shard,
                steering: gateway.steering.clone(),
                interfaces: interfaces.clone(),
                rx_ports: gateway.rx_ports(id),
                tx_ports: gateway.tx_ports(id, options.queues),
                rings,
                routes: routes.clone(),
                commands: commands_out,
                events: events_in.clone(),
                published: Arc::clone(&published),
                pools: pools.collect(),
                buffers: gateway.pool.clone(),
                clock: gateway.clock.clone(),
                idle: Idle::Poll,
            }));
            gateway.commands.push(commands);
            gateway.published.push(published);
        }
        Ok(gateway)
    }

    fn rx_ports(&self, id: WorkerId) -> Vec<RxPort<Simulation>> {
        let queue = |(interface, wire): (u8, &Wire)| {
            let queue = wire.to_workers.get(id.index())?.clone();
            Some(RxPort { interface, queue })
        };
        (0..).zip(&self.wires).filter_map(queue).collect()
    }

    fn tx_ports(&self, id: WorkerId, queues: u16) -> Vec<TxPort<Simulation>> {
        let port = |wire: &Wire| match wire.from_workers.get(id.index()) {
            Some(queue) => TxPort::Queue(queue.clone()),
            None => TxPort::Through(WorkerId(id.0 % queues)),
        };
        self.wires.iter().map(port).collect()
    }

    /// Puts a frame on the wire of an interface, for one of its queues. It arrives before the next round, unless there is a
    /// fault. Without a free buffer or descriptor it is lost, as in a NIC.
    pub fn send(&mut self, interface: usize, queue: usize, frame: &[u8]) {
        let Faults { lost, doubled, late, .. } = self.faults;
        let copies = if self.random.chance(lost) { 0 } else { 1 + u8::from(self.random.chance(doubled)) };
        for _ in 0..copies {
            let queue = self.wires[interface].to_workers[queue].clone();
            let Some(packet) = self.packet(frame) else { continue };
            if self.random.chance(late) {
                let due = self.rounds + 1 + self.random.below(Faults::LATE_ROUNDS);
                self.late.push(Late { due, queue, packet });
            } else {
                drop(queue.push(packet));
            }
        }
    }

    /// A buffer with a frame.
    pub fn packet(&self, frame: &[u8]) -> Option<Packet> {
        let mut packet = self.pool.alloc()?;
        if !packet.set_len(frame.len()) {
            return None;
        }
        packet.data_mut().copy_from_slice(frame);
        Some(packet)
    }

    /// What the workers have sent by an interface since the last call.
    pub fn take(&mut self, interface: usize) -> Vec<Vec<u8>> {
        let queues = &self.wires[interface].from_workers;
        let packets = queues.iter().flat_map(|queue| std::iter::from_fn(|| queue.pop()));
        packets.map(|packet| packet.data().to_vec()).collect()
    }

    /// One round of every worker, in turn. Which of them is the first one is random.
    pub fn round(&mut self) {
        self.rounds += 1;
        self.clock.advance(ROUND);
        if self.random.chance(self.faults.jumps) {
            let jump = self.random.below(self.faults.jump_max.as_nanos() as u64);
            self.clock.advance(Duration::from_nanos(jump));
        }
        self.deliver_late(self.rounds);
        for queue in self.rings.iter().chain(self.wires.iter().flat_map(|wire| &wire.from_workers)) {
            let is_throttled = self.random.chance(self.faults.throttled);
            queue.throttle(if is_throttled { self.random.below(BURST as u64) as usize } else { BURST });
        }
        let first = self.random.below(self.workers.len() as u64) as usize;
        let (before, from) = self.workers.split_at_mut(first);
        for worker in from.iter_mut().chain(before) {
            if !self.random.chance(self.faults.stalled) {
                worker.round();
            }
        }
    }

    /// Delivers the frames that are due by this round. Where a queue has no descriptor, they are lost.
    fn deliver_late(&mut self, round: u64) {
        for late in self.late.extract_if(.., |late| late.due <= round) {
            drop(late.queue.push(late.packet));
        }
    }

    /// Runs without faults until every command is obeyed and no packet is on its way, and returns the counters of every worker
    /// as of then. Packets that wait for their next hop, and fragments that wait for the others, still wait.
    pub fn settle(&mut self) -> Vec<WorkerCounters> {
        let faults = std::mem::take(&mut self.faults);
        let mut before = self.counters_now();
        loop {
            self.round();
            let now = self.counters_now();
            // What housekeeping has sent leaves in the round after it, and is counted then.
            if self.is_quiet() && now.iter().zip(&before).all(|(now, before)| moved(now) == moved(before)) {
                self.faults = faults;
                return now;
            }
            before = now;
        }
    }

    fn is_quiet(&self) -> bool {
        let received = self.wires.iter().flat_map(|wire| &wire.to_workers);
        self.late.is_empty()
            && received.chain(&self.rings).all(Queue::is_empty)
            && self.commands.iter().all(Sender::is_empty)
    }

    fn counters_now(&mut self) -> Vec<WorkerCounters> {
        self.workers.iter_mut().for_each(Worker::publish);
        self.counters()
    }

    /// Lets time pass in which nobody sends, in steps after which the workers do their housekeeping. What is late arrives first.
    pub fn pass(&mut self, time: Duration) {
        self.deliver_late(u64::MAX);
        let until = self.clock.tsc() + time.as_nanos() as u64;
        while self.clock.tsc() < until {
            self.clock.advance(STEP.min(Duration::from_nanos(until - self.clock.tsc())));
            self.workers.iter_mut().for_each(|worker| _ = worker.round());
        }
    }

    /// Ends every worker, and returns their last counters and the pool. When the gateway is gone, all buffers are back.
    pub fn finish(mut self) -> (Vec<WorkerCounters>, Pool) {
        // What one worker hands over at its end, another one still takes, or drops.
        self.settle();
        self.workers.iter_mut().for_each(Worker::finish);
        (self.counters(), self.pool.clone())
    }

    /// From now on other things go wrong.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// The counters of every worker, as it has published them last.
    pub fn counters(&self) -> Vec<WorkerCounters> {
        self.published.iter().map(|published| published.read()).collect()
    }

    /// Sends a command to a worker; false where too many wait.
    pub fn command(&self, worker: WorkerId, command: Command) -> bool {
        self.commands[worker.index()].try_send(command).is_ok()
    }

    /// Sends a command to every worker.
    pub fn command_all(&self, command: impl Fn() -> Command) -> bool {
        self.commands.iter().all(|commands| commands.try_send(command()).is_ok())
    }

    /// What the workers tell management.
    pub fn events(&self) -> &EventReceiver {
        &self.events
    }

    /// Who owns what.
    pub fn steering(&self) -> &Steering {
        &self.steering
    }

    /// The packet buffers.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The clock of all workers.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// Everything that only moves when packets do.
fn moved(it: &WorkerCounters) -> WorkerCounters {
    WorkerCounters { polls: 0, empty_polls: 0, busy_cycles: 0, ..*it }
}

/// Between two rounds of [`Gateway::pass`].
const STEP: Duration = Duration::from_secs(1);
