//! A simulated gateway with the test at the other end of its wires.
//!
//! ```text
//! hosts 10.64.0.x/24 ── 10.64.0.1 [gateway] 203.0.113.1 ── router 203.0.113.254 ── everything else
//!                                  pool: 203.0.113.10 and following
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use crossbeam_channel::bounded;
use natgw_counters::WorkerCounters;
use natgw_nat::{
    Direction, DropReason, Filter, Filtering, Limits, MappingView, Pool, Rule, RuleAction, Settings,
};
use natgw_neighbor::{Binding, Connected, InterfaceId, OwnAddresses, RouteTable, StaticRoute};
use natgw_steer::WorkerId;
use natgw_wire::ethernet::{self, Mac};
use natgw_worker::simulation::{Gateway, GatewayOptions};
use natgw_worker::{Command, Event, Interface, Listing, Page, RequestId, Rows};

use crate::packet::{Link, Packet};

/// A side of the gateway, and its interface there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Inside,
    Outside,
}

pub const SIDES: [Side; 2] = [Side::Inside, Side::Outside];
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
pub const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Each side's own address.
pub const OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 64, 0, 1), Ipv4Addr::new(203, 0, 113, 1)];

/// Endpoint-independent filtering, and a pool of so many addresses.
pub fn settings(addresses: u32) -> Settings {
    let pool = Pool {
        name: "main".into(),
        addresses: (0..addresses).map(|nth| Ipv4Addr::from_bits(POOL.to_bits() + nth)).collect(),
        filtering: Filtering::EndpointIndependent,
        ..Pool::default()
    };
    Settings {
        inside: vec!["10.64.0.1/24".parse().unwrap()],
        outside: vec!["203.0.113.1/24".parse().unwrap()],
        pools: vec![pool],
        rules: vec![Rule {
            source: "10.64.0.0/24".parse().unwrap(),
            action: RuleAction::Pool(0),
            ..Rule::default()
        }],
        limits: Limits { sessions: 4096, ..Limits::default() },
        ..Settings::default()
    }
}

/// So many workers, each with a queue of both interfaces.
pub fn options(workers: u16, settings: Settings) -> GatewayOptions {
    let nets = [settings.inside[0], settings.outside[0]];
    let interface = |side: Side| Interface {
        direction: Direction::ALL[side as usize],
        mac: mac(side),
        vlan: None,
        mtu: 1500,
        address: OWN[side as usize],
        own: OwnAddresses::new(side.interface(), &[nets[side as usize]], std::iter::empty()),
    };
    let connected = SIDES.map(|side| Connected { interface: side.interface(), address: nets[side as usize] });
    let default = StaticRoute { prefix: "0.0.0.0/0".parse().unwrap(), via: ROUTER };
    let routes = RouteTable::new(&connected, &[default]).unwrap();
    GatewayOptions::new(workers, settings, SIDES.map(interface).to_vec(), routes)
}

/// The gateway's own MAC address.
pub fn mac(side: Side) -> Mac {
    Mac([2, 0, 0, 0, 0, side as u8])
}

/// The MAC address of the station with an address.
pub fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([2, 1, a, b, c, d])
}

impl Side {
    pub fn interface(self) -> InterfaceId {
        InterfaceId(self as u8)
    }
}

pub struct Lab {
    pub gateway: Gateway,
    pub queues: usize,
    /// Frames that came from the gateway.
    taken: u64,
}

impl Lab {
    pub fn new(options: GatewayOptions) -> Lab {
        let queues = options.queues.into();
        Lab { gateway: Gateway::new(options).unwrap(), queues, taken: 0 }
    }

    /// Tells every worker the MAC address of a station.
    pub fn learn(&mut self, side: Side, ip: Ipv4Addr) {
        let binding = Binding { interface: side.interface(), ip: ip.to_bits(), mac: mac_of(ip) };
        assert!(self.gateway.command_all(|| Command::Learn(binding)));
    }

    /// Answers, as management and the stations would, what the workers have asked for since the last call.
    pub fn answer_needs(&mut self) {
        let events: Vec<Event> = self.gateway.events().try_iter().collect();
        for event in events {
            if let Event::Needed(interface, ip) = event {
                self.learn(SIDES[usize::from(interface.0)], Ipv4Addr::from_bits(ip));
            }
        }
    }

    /// Who owns a packet that comes in here.
    pub fn owner(&self, side: Side, packet: &Packet) -> WorkerId {
        match side {
            Side::Inside => self.gateway.steering().outbound(&packet.octets()),
            Side::Outside => self.gateway.steering().inbound(&packet.octets()),
        }
    }

    /// A queue whose worker does not own the packet, if there is one.
    pub fn wrong_queue(&self, side: Side, packet: &Packet) -> usize {
        let owner = self.owner(side, packet).index();
        (0..self.queues).find(|&queue| queue != owner).unwrap_or(0)
    }

    /// Puts a packet on the wire, from the station that would send it.
    pub fn send(&mut self, side: Side, queue: usize, packet: &Packet) {
        let station = if side == Side::Inside { *packet.from.ip() } else { ROUTER };
        let link = Link { dst: mac(side), src: mac_of(station), vlan: None };
        self.gateway.send(side as usize, queue, &link.frame(ethernet::IPV4, &packet.octets()));
    }

    /// The packets that the gateway has sent, checksums and MAC addresses verified, and no ARP message.
    pub fn take(&mut self, side: Side) -> Vec<Packet> {
        let frames = self.gateway.take(side as usize);
        self.taken += frames.len() as u64;
        let read = |frame: Vec<u8>| {
            let (link, ethertype, payload) = Link::read(&frame);
            assert_eq!(link.src, mac(side));
            if ethertype != ethernet::IPV4 {
                return None;
            }
            let packet = Packet::read(payload);
            let station = if side == Side::Inside { *packet.to.ip() } else { ROUTER };
            assert_eq!(link.dst, mac_of(station), "{packet:?}");
            Some(packet)
        };
        frames.into_iter().filter_map(read).collect()
    }

    /// Sends a packet to a wrong queue and returns the one packet that comes out on the other side.
    #[track_caller]
    pub fn cross(&mut self, side: Side, packet: &Packet) -> Packet {
        self.send(side, self.wrong_queue(side, packet), packet);
        self.gateway.settle();
        let mut packets = self.take(SIDES[1 - side as usize]);
        assert_eq!(packets.len(), 1, "{packet:?}");
        packets.remove(0)
    }

    /// Lets everything come to rest. What came to a worker is what went from it; what was handed over was taken; and what
    /// was transmitted the test has seen, or will see now. Returns the counters and the packets on each side.
    #[track_caller]
    pub fn rest(&mut self) -> (Vec<WorkerCounters>, [Vec<Packet>; 2]) {
        let counters = self.gateway.settle();
        let packets = SIDES.map(|side| self.take(side));
        assert_balanced(&counters);
        let total = |of: fn(&WorkerCounters) -> u64| counters.iter().map(of).sum::<u64>();
        assert_eq!(total(|it| it.handoff.sent), total(|it| it.handoff.received), "handed over");
        assert_eq!(total(transmitted), self.taken, "transmitted");
        (counters, packets)
    }

    /// Every mapping of every worker.
    pub fn mappings(&mut self) -> Vec<MappingView> {
        let mut all = Vec::new();
        for worker in 0..self.gateway.counters().len() as u16 {
            let (answer, pages) = bounded(1);
            let listing = Listing {
                id: RequestId::next(),
                filter: Filter::default(),
                from: 0,
                lines: u32::MAX,
                rows: Rows::Mappings(Vec::with_capacity(8192)),
                answer,
            };
            assert!(self.gateway.command(WorkerId(worker), Command::List(listing)));
            let page: Page = loop {
                self.gateway.round();
                if let Ok(page) = pages.try_recv() {
                    break page;
                }
            };
            let Page { rows: Rows::Mappings(rows), next: None, .. } = page else { panic!("{page:?}") };
            all.extend(rows);
        }
        all
    }

    /// Ends the workers. Wherever packets were, their counters balance and every buffer is back.
    #[track_caller]
    pub fn finish(self) {
        let (counters, pool) = self.gateway.finish();
        assert_balanced(&counters);
        assert!(counters.iter().all(|it| it.held == 0), "a worker holds packets at its end");
        assert_eq!(pool.in_use(), 0, "buffers that are still somewhere");
    }
}

/// Two hosts never have one outside endpoint.
#[track_caller]
pub fn assert_no_outside_endpoint_twice(mappings: &[MappingView]) {
    let mut endpoints: Vec<_> = mappings.iter().map(|it| (it.protocol as usize, it.external)).collect();
    endpoints.sort();
    let twice = endpoints.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "{mappings:?}");
}

/// What came to a worker is what went from it.
#[track_caller]
fn assert_balanced(counters: &[WorkerCounters]) {
    for (worker, it) in counters.iter().enumerate() {
        let came = received(it) + it.handoff.received + it.generated;
        let went = transmitted(it) + it.nat.dropped.iter().flatten().sum::<u64>();
        let went = went + it.consumed + it.handoff.sent + it.held;
        assert_eq!(came, went, "worker {worker}: {it:?}");
        let full: u64 = it.nat.dropped[DropReason::HandoffFull as usize].iter().sum();
        assert_eq!(it.handoff.full, full, "worker {worker} counts a full ring in two places");
    }
}

pub fn received(it: &WorkerCounters) -> u64 {
    it.interfaces.iter().map(|interface| interface.rx_packets).sum()
}

pub fn transmitted(it: &WorkerCounters) -> u64 {
    it.interfaces.iter().map(|interface| interface.tx_packets).sum()
}

/// How often a reason was counted, over all workers.
pub fn dropped(counters: &[WorkerCounters], reason: DropReason) -> u64 {
    counters.iter().flat_map(|it| it.nat.dropped[reason as usize]).sum()
}

/// `"10.64.0.5:4000"` as an endpoint.
pub fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

pub fn host(nth: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 0, nth)
}
