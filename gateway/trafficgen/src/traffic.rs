//! The loop that sends and receives, on one core.
//!
//! Received buffers are filled again and sent: at the rates that matter, a buffer that goes through its pool twice would
//! cost as much as the rest of the packet. Look-ups of outside endpoints are made for a whole burst before the first is
//! used, so that their cache misses overlap.

use arrayvec::ArrayVec;

use super::Error;
use super::count::{Outcome, SideCount};
use super::flow::{Endpoint, Externals, FlowSpace, Order};
use super::latency::{self, Latency};
use super::pace::Pace;
use super::station::Station;
use super::template::{Head, Kind, LEN_MIN, Mark, Segment, Template};
use super::verify::{Expected, Finding};
use natgw_dpdk::{BURST, Burst, Clock, Mbuf, Mempool};

/// A port's place: which packets it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Side {
    /// Sends outbound packets, receives inbound ones.
    Inside = 0,
    /// Sends inbound packets, receives outbound ones.
    Outside = 1,
}

impl Side {
    const BOTH: [Side; 2] = [Side::Inside, Side::Outside];

    fn other(self) -> Side {
        match self {
            Side::Inside => Side::Outside,
            Side::Outside => Side::Inside,
        }
    }
}

/// What the device under test does to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// Another source outbound, the flow's inside endpoint as destination inbound; TTL one less.
    Translated,
    /// Addresses and ports as they were; TTL one less.
    Routed,
    /// The frame as it was.
    Untouched,
}

/// To which worker's queue a flow's packets go, with several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// To its owner's: none is handed over.
    Owner,
    /// To another's: each is handed over.
    Crossed,
    /// By the flow's number.
    Flow,
}

/// One round of traffic.
#[derive(Clone, Debug)]
pub struct Pass {
    /// Who sends; the order of flows and the segment, of each side.
    pub senders: [Option<(Order, Option<Segment>)>; 2],
    /// Those of random and sequential orders are below this.
    pub flows: u32,
    /// Packets a second over all senders; as many as the port takes without.
    pub rate: Option<f64>,
    /// How long, unless the flows run out before.
    pub seconds: f64,
    /// One packet of so many carries a time stamp.
    pub sample: u32,
}

/// A port and what it sends and expects.
#[derive(Debug)]
struct Lane {
    station: Station,
    /// Frames that the port has not taken yet, for each queue.
    pending: Vec<Burst>,
    sent: Vec<Template>,
    expected: Vec<Template>,
    built: u32,
}

/// The generator: two ports, and the flows between them.
#[derive(Debug)]
pub struct Traffic {
    lanes: [Lane; 2],
    space: FlowSpace,
    externals: Externals,
    /// The queue that a flow came out by first, which is its owner's; empty with one queue.
    owners: Vec<u8>,
    options: TrafficOptions,
    pool: Mempool,
    stash: ArrayVec<Mbuf, { 4 * BURST }>,
    run: u16,
}

/// What stays the same from pass to pass.
#[derive(Clone, Debug)]
pub struct TrafficOptions {
    /// What the device under test does.
    pub expect: Expect,
    /// TCP, or UDP.
    pub is_tcp: bool,
    /// Lengths of frames in turn, without their check sequence.
    pub lens: Vec<usize>,
    /// Queues of flows.
    pub spread: Spread,
}

impl Traffic {
    /// A generator on two started ports.
    pub fn new(
        stations: [Station; 2],
        space: FlowSpace,
        first_external: u32,
        options: TrafficOptions,
        pool: &Mempool,
    ) -> Result<Traffic, Error> {
        let externals = Externals::new(space.flows, first_external)?;
        let queues = stations[0].queues.len();
        let owners = vec![0; if queues > 1 { space.flows as usize } else { 0 }];
        let lanes = stations.map(|station| Lane {
            pending: station.queues.iter().map(|_| Burst::new()).collect(),
            station,
            sent: Vec::new(),
            expected: Vec::new(),
            built: 0,
        });
        let (pool, stash) = (pool.clone(), ArrayVec::new());
        Ok(Traffic { lanes, space, externals, owners, options, pool, stash, run: 0 })
    }

    /// The numbering of flows.
    pub fn space(&self) -> &FlowSpace {
        &self.space
    }

    /// Goes on with other flows, of which nothing is known.
    pub fn renumber(&mut self, first_host: u32) {
        self.space.first_host = first_host;
        self.externals.clear();
    }

    /// Flows whose outside endpoint is not known.
    pub fn unknown(&self) -> Vec<u32> {
        match self.options.expect {
            Expect::Translated => {
                (0..self.space.flows).filter(|&flow| self.externals.get(flow).is_none()).collect()
            }
            Expect::Routed | Expect::Untouched => Vec::new(),
        }
    }

    /// Sends and receives, then waits for what is still under way.
    pub fn run(&mut self, pass: &Pass) -> Outcome {
        let mut pass = pass.clone();
        self.prepare(&pass);
        let mut latency = Latency::new();
        let mut counts = [SideCount::default(); 2];
        let hz = Clock::hz();
        let senders = pass.senders.iter().flatten().count().max(1) as f64;
        let start = Clock::tsc();
        let end = start.saturating_add((pass.seconds * hz as f64) as u64);
        let mut paces = [(); 2].map(|()| Pace::new(pass.rate.map(|rate| rate / senders), hz, start));
        let mut now = start;
        loop {
            for side in Side::BOTH {
                self.receive(side, &mut counts, &mut latency);
            }
            let mut more = false;
            for side in Side::BOTH {
                let Some((order, _)) = &mut pass.senders[side as usize] else { continue };
                if self.lanes[side as usize].is_idle() {
                    let due = paces[side as usize].due(now);
                    let mut flows = [0; BURST];
                    let count = order.next(pass.flows, &mut flows[..due]);
                    more |= count > 0 || due == 0;
                    self.build(side, &flows[..count], pass.sample);
                } else {
                    more = true;
                }
                self.lanes[side as usize].flush(&mut counts[side as usize]);
            }
            now = Clock::tsc();
            if !more || now >= end {
                break;
            }
        }
        let seconds = (now - start) as f64 / hz as f64;
        let in_time = [counts[0].received, counts[1].received];
        self.drain(&mut counts, &mut latency);
        let missed = paces.iter().map(|pace| pace.missed()).sum();
        Outcome { seconds, sides: counts, in_time, missed, latency: latency.quantiles() }
    }

    fn prepare(&mut self, pass: &Pass) {
        self.run = self.run.wrapping_add(1).max(1);
        let macs =
            [0, 1].map(|side: usize| (self.lanes[side].station.mac, self.lanes[side].station.gateway_mac));
        for side in Side::BOTH {
            let [(own, gateway), (other, _)] = [macs[side as usize], macs[side.other() as usize]];
            let segment = pass.senders[side as usize].as_ref().and_then(|(_, segment)| *segment);
            let bare = segment.is_some_and(|segment| !segment.data);
            let lens = if bare { &[LEN_MIN][..] } else { &self.options.lens };
            let kind = |len| Kind { dst: gateway, src: own, ttl: TTL, len, run: self.run, segment };
            let sent = |len: &usize| Template::new(&kind(*len));
            let returned = |len: &usize| {
                let kind = kind(*len);
                Template::new(&match self.options.expect {
                    Expect::Untouched => kind,
                    Expect::Translated | Expect::Routed => Kind { dst: other, ttl: TTL - 1, ..kind },
                })
            };
            let (sent, mut expected): (Vec<_>, Vec<_>) =
                (lens.iter().map(sent).collect(), lens.iter().map(returned).collect());
            expected.dedup_by_key(|template| template.frame_len());
            self.lanes[side as usize].sent = sent;
            self.lanes[side.other() as usize].expected = expected;
        }
    }

    /// Makes the next frames of a side.
    #[inline]
    fn build(&mut self, side: Side, flows: &[u32], sample: u32) {
        if self.stash.len() < flows.len() {
            self.restock();
        }
        let mut ends = [(NOWHERE, NOWHERE); BURST];
        for (ends, &flow) in ends.iter_mut().zip(flows) {
            let external = self.external(flow, side);
            *ends = match side {
                Side::Inside => (self.space.inside(flow), self.space.remote(flow)),
                Side::Outside => (self.space.remote(flow), external.unwrap_or(NOWHERE)),
            };
        }
        let lane = &mut self.lanes[side as usize];
        let templates = lane.sent.len() as u32;
        for (&flow, &(src, dst)) in flows.iter().zip(&ends) {
            if dst == NOWHERE {
                continue;
            }
            let template = match templates {
                1 => &lane.sent[0],
                _ => &lane.sent[(lane.built % templates) as usize],
            };
            let stamp = if lane.built.is_multiple_of(sample) { latency::stamp() } else { 0 };
            lane.built = lane.built.wrapping_add(1);
            let Some(mut packet) = self.stash.pop() else { return };
            if !packet.set_len(template.frame_len()) {
                continue;
            }
            template.write(packet.data_mut(), src, dst, Mark { flow, stamp });
            let queue = match self.owners.get(flow as usize) {
                None => 0,
                Some(&owner) => self.options.spread.queue(flow, owner, lane.pending.len()),
            };
            // All were empty, so each has room for a whole burst.
            let _ = lane.pending[queue].push(packet);
        }
    }

    /// The outside endpoint of a flow, if it matters to what this side sends or receives.
    #[inline(always)]
    fn external(&self, flow: u32, side: Side) -> Option<Endpoint> {
        match (side, self.options.expect) {
            (Side::Inside, _) => None,
            (Side::Outside, Expect::Translated) => self.externals.get(flow),
            (Side::Outside, _) => Some(self.space.inside(flow)),
        }
    }

    #[cold]
    fn restock(&mut self) {
        let mut fresh = Burst::new();
        self.pool.alloc_bulk(&mut fresh, BURST);
        self.stash.extend(fresh.drain());
    }

    /// Takes what has arrived at a side and compares it.
    #[inline]
    fn receive(&mut self, side: Side, counts: &mut [SideCount; 2], latency: &mut Latency) {
        let mut burst = Burst::new();
        for queue in 0..self.lanes[side as usize].pending.len() {
            if self.lanes[side as usize].station.queues[queue].0.receive(&mut burst) == 0 {
                continue;
            }
            burst.prefetch();
            self.compare(side, queue, &burst, counts, latency);
            while !self.stash.is_full() {
                let Some(packet) = burst.pop() else { break };
                if !packet.is_segmented() {
                    self.stash.push(packet);
                }
            }
            burst.free();
        }
    }

    #[inline]
    fn compare(
        &mut self,
        side: Side,
        queue: usize,
        burst: &Burst,
        counts: &mut [SideCount; 2],
        latency: &mut Latency,
    ) {
        let first = &self.lanes[side as usize].expected[0];
        let mut externals = [None; BURST];
        for (external, packet) in externals.iter_mut().zip(burst.as_slice()) {
            let mark = Head::new(packet.data()).map(|head| first.mark(&head));
            *external = mark.and_then(|mark| self.external(mark.flow, side));
        }
        let mut right = 0;
        for (packet, external) in burst.as_slice().iter().zip(externals) {
            let lane = &self.lanes[side as usize];
            let Some(head) = Head::new(packet.data()) else {
                self.lanes[side as usize].station.control(packet.data());
                continue;
            };
            let len = packet.data().len();
            let template = match &lane.expected[..] {
                [only] if only.frame_len() == len => Some(only),
                several => several.iter().find(|template| template.frame_len() == len),
            };
            let mark = lane.expected[0].mark(&head);
            let ends = match side {
                Side::Inside => (Some(self.space.remote(mark.flow)), Some(self.space.inside(mark.flow))),
                Side::Outside => (external, Some(self.space.remote(mark.flow))),
            };
            if let (Some(template), (Some(src), Some(dst))) = (template, ends)
                && mark.flow < self.space.flows
                && template.matches(&head, src, dst, mark)
            {
                right += 1;
            } else {
                let expected = Expected {
                    template,
                    src: ends.0,
                    dst: ends.1,
                    translated: side == Side::Outside && self.options.expect == Expect::Translated,
                    is_tcp: self.options.is_tcp,
                    mark,
                    flows: self.space.flows,
                };
                let finding = expected.find(&head, &mut self.externals);
                if !self.differs(side, queue, packet, finding, counts) {
                    continue;
                }
            }
            if mark.stamp != 0 {
                latency.returned(mark.stamp, Clock::hz());
            }
        }
        counts[side.other() as usize].received += right;
    }

    /// Whether a packet that differs counts as received.
    #[cold]
    fn differs(
        &mut self,
        side: Side,
        queue: usize,
        packet: &Mbuf,
        finding: Finding,
        counts: &mut [SideCount; 2],
    ) -> bool {
        let count = &mut counts[side.other() as usize];
        match finding {
            Finding::Learnt(mark) => {
                count.received += 1;
                count.learnt += 1;
                if let Some(owner) = self.owners.get_mut(mark.flow as usize) {
                    *owner = queue as u8;
                }
                return true;
            }
            Finding::Late => count.late += 1,
            Finding::Arp => self.lanes[side as usize].station.control(packet.data()),
            Finding::Wrong(fault) => count.fault(fault, packet.data()),
        }
        false
    }

    /// Receives until everything is back or nothing has come for a while.
    fn drain(&mut self, counts: &mut [SideCount; 2], latency: &mut Latency) {
        let quiet = Clock::hz() / 20;
        let mut last = Clock::tsc();
        loop {
            let before = counts[0].received + counts[1].received;
            for side in Side::BOTH {
                self.lanes[side as usize].flush(&mut counts[side as usize]);
                self.receive(side, counts, latency);
            }
            let (received, now) = (counts[0].received + counts[1].received, Clock::tsc());
            if received != before {
                last = now;
            }
            let back = counts.iter().all(|count| count.sent == count.received);
            let idle = self.lanes.iter().all(Lane::is_idle);
            if back && idle || now - last > quiet {
                break;
            }
        }
        for lane in &mut self.lanes {
            lane.pending.iter_mut().for_each(Burst::free);
        }
    }
}

impl Lane {
    fn is_idle(&self) -> bool {
        self.pending.iter().all(Burst::is_empty)
    }

    /// Offers the port what waits.
    #[inline]
    fn flush(&mut self, count: &mut SideCount) {
        for (burst, (_, tx)) in self.pending.iter_mut().zip(&mut self.station.queues) {
            if !burst.is_empty() {
                count.sent += tx.send(burst) as u64;
            }
        }
    }
}

impl Spread {
    fn queue(self, flow: u32, owner: u8, queues: usize) -> usize {
        match self {
            Spread::Owner => usize::from(owner) % queues,
            Spread::Crossed => (usize::from(owner) + 1) % queues,
            Spread::Flow => flow as usize % queues,
        }
    }
}

/// What a packet is sent with; more than one router takes off.
const TTL: u8 = 64;
const NOWHERE: Endpoint = Endpoint { address: 0, port: 0 };
