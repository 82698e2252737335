//! A running data plane with the test at the other end of its wires.

mod balance;
mod setup;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use nat_gateway::start::Dataplane;
use natgw_counters::WorkerCounters;
use natgw_dpdk::{Burst, Consumer, Mbuf, Mempool, Producer};
use natgw_nat::DropReason;
use natgw_neighbor::Binding;
use natgw_steer::WorkerId;
use natgw_wire::ethernet::{self, Mac};
use natgw_worker::Command;

use crate::packet::{Link, Packet};
pub use balance::drops;
pub use setup::{OWN, POOL, ROUTER, Setup};

/// A side of the gateway: its interface there, and the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Inside,
    Outside,
}

/// The test's ends of a port's queues.
pub struct Wire {
    to_gateway: Vec<Producer>,
    from_gateway: Vec<Consumer>,
}

/// A frame that the gateway sent.
#[derive(Clone, Debug)]
pub struct Seen {
    pub side: Side,
    pub frame: Vec<u8>,
}

impl Seen {
    pub fn link(&self) -> Link {
        Link::read(&self.frame).0
    }

    /// The IPv4 packet in it.
    ///
    /// # Panics
    /// When it is none, or a checksum is wrong.
    pub fn packet(&self) -> Packet {
        let (_, ethertype, payload) = Link::read(&self.frame);
        assert_eq!(ethertype, ethernet::IPV4);
        Packet::read(payload)
    }
}

/// A frame on its way to the gateway.
#[derive(Clone, Debug)]
pub struct Sent {
    pub side: Side,
    pub queue: usize,
    pub frame: Vec<u8>,
}

pub struct Lab {
    dataplane: Option<Dataplane>,
    wires: [Wire; 2],
    frames: Mempool,
    vlans: [Option<u16>; 2],
    /// What worker lcores had allocated before.
    allocated: u64,
    /// Frames that went to and came from the gateway.
    tally: [u64; 2],
    /// Workers that the test has ended.
    stopped: Vec<usize>,
}

/// How long nothing may happen before a test gives up. Many share the CPUs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Frames on their way at once: fewer than a ring between workers holds.
const PACE: usize = 512;

impl Lab {
    fn new(
        dataplane: Dataplane,
        wires: [Wire; 2],
        frames: Mempool,
        vlans: [Option<u16>; 2],
        allocated: u64,
    ) -> Lab {
        Lab {
            dataplane: Some(dataplane),
            wires,
            frames,
            vlans,
            allocated,
            tally: [0; 2],
            stopped: Vec::new(),
        }
    }

    pub fn dataplane(&self) -> &Dataplane {
        self.dataplane.as_ref().expect("it runs")
    }

    /// Inside hosts, one of each worker.
    pub fn hosts(&self) -> Vec<Ipv4Addr> {
        let steering = &self.dataplane().steering;
        let of = |worker: u16| {
            let mut hosts = (2..250).map(|nth| Ipv4Addr::new(10, 64, 9, nth));
            hosts.find(|host| steering.outbound_owner(host.to_bits()).0 == worker).unwrap()
        };
        (0..steering.workers()).map(of).collect()
    }

    /// The gateway's own MAC address.
    pub fn mac(&self, side: Side) -> Mac {
        self.dataplane().ports[side as usize].interface.mac
    }

    /// The MAC address that the stations of these tests have with an address.
    pub fn mac_of(address: Ipv4Addr) -> Mac {
        let [a, b, c, d] = address.octets();
        Mac([2, 1, a, b, c, d])
    }

    /// Tells every worker the MAC address of a station.
    pub fn learn(&self, side: Side, address: Ipv4Addr) {
        let binding =
            Binding { interface: side.interface(), ip: address.to_bits(), mac: Lab::mac_of(address) };
        self.dataplane().tell_all(|| Command::Learn(binding));
        self.wait("the workers take their commands", |lab| {
            lab.dataplane().workers().iter().all(|worker| worker.commands.is_empty())
        });
    }

    /// Tells every worker of all these inside hosts, and of the router.
    pub fn learn_all(&self, hosts: impl IntoIterator<Item = Ipv4Addr>) {
        hosts.into_iter().for_each(|host| self.learn(Side::Inside, host));
        self.learn(Side::Outside, ROUTER);
    }

    /// The frame that brings a packet to the gateway from the station that would send it there.
    pub fn frame(&self, side: Side, packet: &Packet) -> Vec<u8> {
        let station = if side == Side::Inside { *packet.from.ip() } else { ROUTER };
        self.link(side, station).frame(ethernet::IPV4, &packet.octets())
    }

    /// The link layer of a frame from a station to the gateway.
    pub fn link(&self, side: Side, station: Ipv4Addr) -> Link {
        Link { dst: self.mac(side), src: Lab::mac_of(station), vlan: self.vlans[side as usize] }
    }

    /// Who owns a packet that comes in here.
    pub fn owner(&self, side: Side, packet: &Packet) -> WorkerId {
        match side {
            Side::Inside => self.dataplane().steering.outbound(&packet.octets()),
            Side::Outside => self.dataplane().steering.inbound(&packet.octets()),
        }
    }

    pub fn queues(&self, side: Side) -> usize {
        self.wires[side as usize].to_gateway.len()
    }

    /// A packet on its way to a queue whose worker does not own it, if there is one; `nth` chooses among several.
    pub fn misled(&self, side: Side, packet: &Packet, nth: usize) -> Sent {
        let owner = self.owner(side, packet).index();
        let others: Vec<usize> = (0..self.queues(side)).filter(|&queue| queue != owner).collect();
        let queue = if others.is_empty() { 0 } else { others[nth % others.len()] };
        Sent { side, queue, frame: self.frame(side, packet) }
    }

    /// Puts a frame on the wire.
    pub fn send(&mut self, sent: &Sent) {
        let mut packet = self.buffer();
        assert!(packet.set_len(sent.frame.len()));
        packet.data_mut().copy_from_slice(&sent.frame);
        self.send_mbuf(sent.side, sent.queue, packet);
    }

    /// Puts a packet on the wire, for queue 0.
    pub fn send_packet(&mut self, side: Side, packet: &Packet) {
        let frame = self.frame(side, packet);
        self.send(&Sent { side, queue: 0, frame });
    }

    /// An empty buffer for a frame.
    pub fn buffer(&self) -> Mbuf {
        self.frames.alloc().expect("enough buffers for the test's frames")
    }

    pub fn send_mbuf(&mut self, side: Side, queue: usize, packet: Mbuf) {
        let mut burst = Burst::new();
        burst.push(packet).unwrap();
        assert_eq!(self.wires[side as usize].to_gateway[queue].send(&mut burst), 1, "the wire is full");
        self.tally[0] += 1;
    }

    /// What the gateway has sent since the last look.
    pub fn look(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for side in Side::BOTH {
            for wire in &mut self.wires[side as usize].from_gateway {
                let mut burst = Burst::new();
                while wire.receive(&mut burst) > 0 {
                    let frames = burst.drain().map(|packet| packet.data().to_vec());
                    seen.extend(frames.map(|frame| Seen { side, frame }));
                }
            }
        }
        self.tally[1] += seen.len() as u64;
        seen
    }

    /// Sends frames, no more at once than rings hold, and returns the `expected` ones that come out.
    pub fn exchange(&mut self, frames: Vec<Sent>, expected: usize) -> Vec<Seen> {
        let mut todo = VecDeque::from(frames);
        let total = todo.len();
        let mut seen = Vec::new();
        let mut progress = Instant::now();
        while !todo.is_empty() || seen.len() < expected {
            let on_their_way = (total - todo.len()).saturating_sub(seen.len());
            for sent in todo.drain(..PACE.saturating_sub(on_their_way).min(todo.len())).collect::<Vec<_>>() {
                self.send(&sent);
            }
            let new = self.look();
            if new.is_empty() {
                thread::sleep(Duration::from_micros(200));
            } else {
                progress = Instant::now();
            }
            seen.extend(new);
            let (sent, came) = (total - todo.len(), seen.len());
            let counters = || self.counters().iter().map(balance::drops).collect::<Vec<_>>();
            assert!(
                progress.elapsed() < PATIENCE,
                "{sent} of {total} sent, {came} of {expected} came; dropped {:?}",
                counters()
            );
        }
        seen
    }

    /// Sends one packet to a wrong queue and returns the one frame that comes of it.
    pub fn one(&mut self, side: Side, packet: &Packet) -> Seen {
        let sent = self.misled(side, packet, 0);
        let seen = self.exchange(vec![sent], 1);
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }

    /// Ends a worker, whose queues and rings stay as they are: the slowest worker that there can be.
    pub fn stop(&mut self, worker: usize) {
        self.dataplane().workers()[worker].commands.send(Command::Stop).unwrap();
        self.wait("the worker ends", |lab| !lab.dataplane().is_polling());
        self.stopped.push(worker);
    }

    /// Waits until something holds.
    pub fn wait(&self, what: &str, holds: impl Fn(&Lab) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// How often a reason was counted, over all workers. The gateway is at rest.
    pub fn dropped(&mut self, reason: DropReason) -> u64 {
        self.rest().iter().map(|counters| counters.nat.dropped[reason as usize].iter().sum::<u64>()).sum()
    }

    pub fn counters(&self) -> Vec<WorkerCounters> {
        self.dataplane().workers().iter().map(|worker| worker.counters.read()).collect()
    }
}
