//! What a worker is made of.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::Worker;
use super::backpressure::Backpressure;
use super::capture::Captures;
use super::events::{EventSender, LinkBudgets};
use super::fragments::Waiting;
use super::idle::{Backoff, Idle};
use super::interface::{Interface, RxPort, TxPort};
use super::io::{Clock, Io};
use super::link::Link;
use super::message::Command;
use super::requests::Requests;
use super::tx::{HandoffBuffer, TxBuffer};
use natgw_counters::{PoolCounters, Published, WorkerCounters};
use natgw_nat::Shard;
use natgw_neighbor::assembly::Assembly;
use natgw_neighbor::local_responder::Responder;
use natgw_neighbor::{AnswerBudgets, HostBuckets, NextHops, RouteTable, Sizes};
use natgw_steer::{Steering, WorkerId};

/// The two rings between this worker and another.
pub struct Ring<I: Io> {
    /// The other worker.
    pub peer: WorkerId,
    /// To it.
    pub to: I::Producer,
    /// From it.
    pub from: I::Consumer,
}

/// The rings between so many workers, by worker: `make` makes the one from the first worker that it is given to the second.
///
/// # Errors
/// The first error of `make`.
pub fn ring_mesh<I: Io, E>(
    workers: u16,
    mut make: impl FnMut(WorkerId, WorkerId) -> Result<(I::Producer, I::Consumer), E>,
) -> Result<Vec<Vec<Ring<I>>>, E> {
    let mut rings: Vec<Vec<Ring<I>>> = (0..workers).map(|_| Vec::new()).collect();
    for a in (0..workers).map(WorkerId) {
        for b in (a.0 + 1..workers).map(WorkerId) {
            let (to_b, from_a) = make(a, b)?;
            let (to_a, from_b) = make(b, a)?;
            rings[a.index()].push(Ring { peer: b, to: to_b, from: from_b });
            rings[b.index()].push(Ring { peer: a, to: to_a, from: from_a });
        }
    }
    Ok(rings)
}

/// What a worker is built from.
pub struct WorkerOptions<I: Io> {
    /// Its number.
    pub id: WorkerId,
    /// Its part of the NAT.
    pub shard: Shard,
    /// Who owns what.
    pub steering: Steering,
    /// All interfaces.
    pub interfaces: Vec<Interface>,
    /// Its receive queues.
    pub rx_ports: Vec<RxPort<I>>,
    /// By interface.
    pub tx_ports: Vec<TxPort<I>>,
    /// One pair for each other worker.
    pub rings: Vec<Ring<I>>,
    /// Routes.
    pub routes: RouteTable,
    /// From management.
    pub commands: Receiver<Command>,
    /// To management.
    pub events: EventSender,
    /// Where its counters are read.
    pub published: Arc<Published<WorkerCounters>>,
    /// By pool: where their use is read.
    pub pools: Vec<Arc<Published<PoolCounters>>>,
    /// Where frames of management's take their buffers from.
    pub buffers: I::Pool,
    /// What it reads the time from.
    pub clock: I::Clock,
    /// What it does without packets.
    pub idle: Idle,
}

/// RSTs a second to one inside host, and at once: as many as it may have lost connections when its sessions were deleted.
const RESETS_PER_S: u32 = 100;
const RESETS_AT_ONCE: u32 = 1000;

impl<I: Io> Worker<I> {
    /// A worker that is ready to run.
    pub fn new(options: WorkerOptions<I>) -> Worker<I> {
        let mut handoff_buffers: Vec<Option<HandoffBuffer<I>>> = Vec::new();
        let mut rings = Vec::new();
        handoff_buffers.resize_with(options.rings.len() + 1, || None);
        for ring in options.rings {
            handoff_buffers[ring.peer.index()] = Some(HandoffBuffer::new(ring.to));
            rings.push(ring.from);
        }
        let clock = options.clock;
        let (cycles_per_ms, now) = (clock.cycles_per_ms(), clock.now());
        let now_ms = now.0 as u32;
        let sizes = Sizes::default();
        Worker {
            id: options.id,
            shard: options.shard,
            steering: options.steering,
            links: options.interfaces.iter().map(Link::of).collect(),
            link_budgets: options.interfaces.iter().map(|_| LinkBudgets::new(now_ms)).collect(),
            interfaces: options.interfaces,
            queues: options.rx_ports.into_iter().map(|port| (port.interface, port.queue)).collect(),
            rings,
            tx_buffers: options.tx_ports.into_iter().map(TxBuffer::new).collect(),
            handoff_buffers,
            routes: options.routes,
            hops: NextHops::new(sizes),
            fragments: Waiting::new(),
            responders: std::array::from_fn(|_| {
                Responder::new(AnswerBudgets::new(clock.tsc() as u32, now_ms))
            }),
            assemblies: std::array::from_fn(|_| Assembly::new()),
            resets: HostBuckets::new(RESETS_PER_S, RESETS_AT_ONCE, now_ms),
            commands: options.commands,
            events: options.events,
            counters: WorkerCounters::default(),
            published: options.published,
            pools: options.pools,
            backpressure: Backpressure::new(cycles_per_ms),
            idle: Backoff::new(options.idle),
            cycles_per_ms,
            is_behind: false,
            now,
            published_at: now,
            requests: Requests::new(),
            reload: None,
            captures: Captures::new(options.id, clock.clone()),
            buffers: options.buffers,
            released: Vec::with_capacity(sizes.held as usize),
            clock,
            stopping: false,
        }
    }
}
