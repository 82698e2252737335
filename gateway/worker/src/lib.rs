//! Workers: each owns queues, a shard of the NAT and everything else that its packets touch.
//!
//! ```text
//! rx queues ─┐                    ┌─► tx queues (or the worker that has them)
//!            ├─► owner? ─► shard ─┤
//! rings in  ─┘     │              └─► hold queue of an unresolved next hop
//!                  └─► rings out
//! ```
//!
//! One round takes a burst from every queue and ring, translates, sends what it gathered, and then does a bounded
//! piece of housekeeping: timers, commands, counters. Nothing here blocks, locks or allocates.
//!
//! Invariant, to the packet, for every worker at rest: received + taken from rings + generated = transmitted + dropped
//! + consumed + put on rings + held.
//!
//! A worker is generic over its packets and queues ([`Io`]). The program `nat-gateway` runs it on DPDK; [`simulation`] runs the
//! same loop in memory.
//!
//! # Example
//! One worker over queues in memory translates a packet:
//!
//! ```
//! use std::net::Ipv4Addr;
//!
//! use natgw_nat::{Direction, Limits, Pool, Rule, RuleAction, Settings};
//! use natgw_neighbor::{Binding, Connected, InterfaceId, OwnAddresses, RouteTable, StaticRoute};
//! use natgw_wire::ethernet::{self, Mac};
//! use natgw_wire::{build, ipv4};
//! use natgw_worker::simulation::{Gateway, GatewayOptions};
//! use natgw_worker::{Command, Interface};
//!
//! let settings = Settings {
//!     inside: vec!["10.64.0.1/24".parse()?],
//!     outside: vec!["203.0.113.2/24".parse()?],
//!     pools: vec![Pool { name: "main".into(), addresses: vec!["203.0.113.10".parse()?], ..Pool::default() }],
//!     rules: vec![Rule { source: "10.64.0.0/24".parse()?, action: RuleAction::Pool(0), ..Rule::default() }],
//!     limits: Limits { sessions: 1024, ..Limits::default() },
//!     ..Settings::default()
//! };
//! let (inside, outside) = (InterfaceId(0), InterfaceId(1));
//! let connected = [
//!     Connected { interface: inside, address: settings.inside[0] },
//!     Connected { interface: outside, address: settings.outside[0] },
//! ];
//! let router = StaticRoute { prefix: "0.0.0.0/0".parse()?, via: "203.0.113.1".parse()? };
//! let interface = |id: InterfaceId, direction| Interface {
//!     direction,
//!     mac: Mac([2, 0, 0, 0, 0, id.0]),
//!     vlan: None,
//!     mtu: 1500,
//!     address: connected[usize::from(id.0)].address.addr(),
//!     own: OwnAddresses::new(id, &[connected[usize::from(id.0)].address], std::iter::empty()),
//! };
//! let interfaces = vec![interface(inside, Direction::Outbound), interface(outside, Direction::Inbound)];
//! let routes = RouteTable::new(&connected, &[router])?;
//! let mut gateway = Gateway::new(GatewayOptions::new(1, settings, interfaces, routes))?;
//! let mac = Mac([2, 0, 0, 0, 1, 1]);
//! gateway.command_all(|| Command::Learn(Binding { interface: outside, ip: router.via.to_bits(), mac }));
//! gateway.round();
//!
//! // (10.64.0.11:40000 -> 198.51.100.10:53) becomes (203.0.113.10:P -> 198.51.100.10:53)
//! let packet = build::udp("10.64.0.11:40000".parse()?, "198.51.100.10:53".parse()?, b"query");
//! let mut frame = vec![0; ethernet::HEADER_LEN];
//! ethernet::emit(&mut frame, Mac([2, 0, 0, 0, 0, 0]), mac, None, ethernet::IPV4)?;
//! frame.extend(packet);
//! gateway.send(0, 0, &frame);
//! gateway.round();
//!
//! let sent = gateway.take(1);
//! assert_eq!(ethernet::Frame::new_checked(&sent[0][..])?.dst(), mac);
//! let packet = ipv4::Packet::new_verified(&sent[0][ethernet::HEADER_LEN..])?;
//! assert_eq!(packet.src(), Ipv4Addr::new(203, 0, 113, 10));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod assembly;
mod backpressure;
mod batch;
mod capture;
mod events;
mod fragments;
mod housekeeping;
mod idle;
mod interface;
mod io;
mod link;
mod message;
mod receive;
mod reload;
mod requests;
mod setup;
pub mod simulation;
mod too_big;
mod tx;
mod unsolicited;
mod verdicts;

pub use capture::{CAPTURES_MAX, CaptureId, Captured, Sides, Tap, TapCounters, Way};
pub use events::{EventReceiver, EventSender, event_queues};
pub use idle::Idle;
pub use interface::{Interface, RxPort, TxPort};
pub use io::{Burst, Clock, Consumer, Io, Packet, Pool, Producer, RxQueue, TxQueue};
pub use message::{
    Command, ConfigUpdate, Deleted, Deletion, Ended, Event, Listing, Page, Progress, RequestId, Rows,
};
pub use requests::REQUESTS_MAX;
pub use setup::{Ring, WorkerOptions, ring_mesh};

use std::sync::Arc;

use crossbeam_channel::Receiver;

use backpressure::Backpressure;
use capture::Captures;
use events::LinkBudgets;
use fragments::Waiting;
use idle::Backoff;
use link::Link;
use natgw_counters::{MAX_INTERFACES, PoolCounters, Published, WorkerCounters};
use natgw_nat::{BURST, Direction, DropReason, Shard, Time};
use natgw_neighbor::assembly::Assembly;
use natgw_neighbor::local_responder::Responder;
use natgw_neighbor::{HostBuckets, NextHops, RouteTable};
use natgw_steer::{Steering, WorkerId};
use reload::Reload;
use requests::Requests;
use tx::{HandoffBuffer, MbufTag, TxBuffer};

/// See the module.
pub struct Worker<I: Io> {
    id: WorkerId,
    shard: Shard,
    steering: Steering,
    interfaces: Vec<Interface>,
    /// By interface.
    links: Vec<Link>,
    queues: Vec<(u8, I::RxQueue)>,
    rings: Vec<I::Consumer>,
    /// By interface.
    tx_buffers: Vec<TxBuffer<I>>,
    /// By worker; `None` for this one.
    handoff_buffers: Vec<Option<HandoffBuffer<I>>>,
    routes: RouteTable,
    hops: NextHops<I::Packet>,
    fragments: Waiting<I::Packet>,
    /// By side: neither can silence the other's answers.
    responders: [Responder; 2],
    /// By side: pings in fragments for the gateway itself.
    assemblies: [Assembly; 2],
    /// How often each inside host is told that its connection is not known.
    resets: HostBuckets,
    /// By interface: how often management hears of what any station can cause.
    link_budgets: Vec<LinkBudgets>,
    commands: Receiver<Command>,
    events: EventSender,
    counters: WorkerCounters,
    published: Arc<Published<WorkerCounters>>,
    /// By pool.
    pools: Vec<Arc<Published<PoolCounters>>>,
    backpressure: Backpressure,
    idle: Backoff,
    cycles_per_ms: u64,
    /// In this round a queue or a ring gave a full burst: more packets wait behind it.
    is_behind: bool,
    now: Time,
    published_at: Time,
    requests: Requests,
    reload: Option<Reload>,
    captures: Captures<I>,
    /// For frames of management's.
    buffers: I::Pool,
    /// Packets that come out of hold queues, on their way; as large as all of those together.
    released: Vec<I::Packet>,
    clock: I::Clock,
    stopping: bool,
}

/// Timers looked at in a round.
const TIMERS_PER_ROUND: u32 = 64;

impl<I: Io> Worker<I> {
    /// Runs until a [`Command::Stop`], and gives back what it owns, so that ports outlive their queues' users.
    pub fn run(mut self) -> Self {
        while self.round() {}
        self.finish();
        self
    }

    /// One round: a burst from every ring and queue, and a piece of housekeeping. False once there was a [`Command::Stop`].
    #[inline]
    pub fn round(&mut self) -> bool {
        let start = self.clock.tsc();
        self.now = Time(start / self.cycles_per_ms);
        self.is_behind = false;
        let handed_over = self.take_handed_over();
        let received = self.receive(start);
        self.send();
        self.backpressure.round(received, start);
        let packets = handed_over + received;
        self.housekeeping(packets == 0);
        self.counters.polls += 1;
        if packets == 0 {
            self.counters.empty_polls += 1;
            if !self.has_chores() {
                self.idle.rest();
            }
        } else {
            self.counters.busy_cycles += self.clock.tsc().wrapping_sub(start);
            self.idle.busy();
        }
        !self.stopping
    }

    /// After the last round: drops what is held and has waited, sends what that leads to, ends captures, and shows the last
    /// counters.
    pub fn finish(&mut self) {
        self.drop_held();
        self.drop_all_fragments();
        self.drop_assemblies();
        // The last commands may have released packets.
        self.send();
        self.end_captures(|_| true);
        self.publish();
    }

    /// A burst from every queue, unless others could not take it; how many packets came.
    fn receive(&mut self, now: u64) -> usize {
        let all_low = || self.handoff_buffers.iter().flatten().all(|handoff| handoff.is_low());
        if !self.backpressure.may_receive(now, all_low) {
            return 0;
        }
        let mut packets = 0;
        for index in 0..self.queues.len() {
            let mut burst = I::Burst::default();
            let (interface, queue) = &mut self.queues[index];
            let interface = *interface;
            let received = queue.rx_burst(&mut burst);
            if received > 0 {
                self.is_behind |= received == BURST;
                self.counters.burst_size.record(received as u64);
                self.on_rx_burst(interface, &mut burst);
                packets += received;
            }
        }
        packets
    }

    /// What other workers have received for this one; how many packets came.
    ///
    /// Another worker puts up to a burst of each of its queues on the ring in a round. Twice as much is taken in one, so
    /// that a ring runs empty while the other goes on receiving: what was received already comes before what was not.
    fn take_handed_over(&mut self) -> usize {
        let mut packets = 0;
        for index in 0..self.rings.len() {
            let mut is_empty = false;
            for _ in 0..2 * self.queues.len().max(1) {
                let mut burst = I::Burst::default();
                let received = self.rings[index].dequeue_burst(&mut burst);
                if received > 0 {
                    self.counters.handoff.received += received as u64;
                    self.handed_over(&mut burst);
                    packets += received;
                }
                if received < BURST {
                    is_empty = true;
                    break;
                }
            }
            self.is_behind |= !is_empty;
        }
        packets
    }

    fn drop_packet(&mut self, packet: I::Packet, reason: DropReason, direction: Direction) {
        self.shard.count_drop(reason, direction);
        self.show_dropped(&packet, reason);
        drop(packet);
    }

    /// The interface that a packet came in by.
    fn arrival(&self, packet: &I::Packet) -> usize {
        let arrival = usize::from(MbufTag::from_tag(packet.tag()).arrival);
        debug_assert!(arrival < self.interfaces.len());
        arrival
    }

    fn now_ms(&self) -> u32 {
        self.now.0 as u32
    }
}

const _: () = assert!(MAX_INTERFACES <= 256);
