//! What a data plane under test looks like before it starts.

use std::net::Ipv4Addr;

use nat_gateway::start::{Dataplane, DataplaneOptions, PortOptions};
use natgw_config::PacketBuffers;
use natgw_dpdk::{Consumer, Eal, Mempool, Port, Producer, ring};
use natgw_nat::{
    Direction, Filtering, ForwardSource, Limits, Pool, PortForward, Protocol, Rule, RuleAction, Settings,
    Static,
};
use natgw_neighbor::{Connected, InterfaceId, OwnAddresses, RouteTable, StaticRoute};
use natgw_worker::Idle;

use super::{Lab, Side, Wire};
use crate::{allocations, main_lcore};

/// ```text
/// hosts 10.64.x.y/16 ── 10.64.0.1 [gateway] 203.0.113.1 ── router 203.0.113.254 ── everything else
///                                  pool: 203.0.113.10 and following
/// ```
pub struct Setup {
    pub workers: u16,
    /// Receive and transmit queues of each port.
    pub queues: [u16; 2],
    pub vlans: [Option<u16>; 2],
    pub mtus: [u16; 2],
    /// Frames that each transmit queue takes before the test looks.
    pub room: u32,
    /// Whether there is a route to everything else.
    pub default_route: bool,
    pub settings: Settings,
}

pub const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
pub const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Each side's own address.
pub const OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 64, 0, 1), Ipv4Addr::new(203, 0, 113, 1)];
const PREFIX_LENS: [u8; 2] = [16, 24];
/// Buffers for the test's own frames.
const FRAMES: u32 = 16_383;

impl Setup {
    /// A worker a queue, and a pool of eight addresses.
    pub fn new(workers: u16) -> Setup {
        let pool = Pool {
            name: "main".into(),
            addresses: (0..8).map(|nth| Ipv4Addr::from_bits(POOL.to_bits() + nth)).collect(),
            filtering: Filtering::EndpointIndependent,
            ..Pool::default()
        };
        let everything =
            Rule { source: "10.64.0.0/16".parse().unwrap(), action: RuleAction::Pool(0), ..Rule::default() };
        Setup {
            workers,
            queues: [workers; 2],
            vlans: [None; 2],
            mtus: [1500; 2],
            room: 8192,
            default_route: true,
            settings: Settings {
                inside: vec!["10.64.0.1/16".parse().unwrap()],
                outside: vec!["203.0.113.1/24".parse().unwrap()],
                pools: vec![pool],
                rules: vec![everything],
                limits: Limits { sessions: 65_536, ..Limits::default() },
                ..Settings::default()
            },
        }
    }

    /// A pool of this many addresses.
    pub fn pool(mut self, addresses: usize) -> Setup {
        self.settings.pools[0].addresses.truncate(addresses);
        self
    }

    /// Forwards a port of an outside address to port 80 of a host.
    pub fn forward(mut self, protocol: Protocol, external: (Ipv4Addr, u16), internal: Ipv4Addr) -> Setup {
        self.settings.port_forwards.push(PortForward {
            protocol,
            external: external.0,
            external_ports: external.1..=external.1,
            internal,
            internal_port: 80,
            source: ForwardSource::Remote,
        });
        self
    }

    /// Maps a whole address to a host.
    pub fn one_to_one(mut self, external: Ipv4Addr, internal: Ipv4Addr) -> Setup {
        self.settings.statics.push(Static { external: external.into(), internal: internal.into() });
        self
    }

    /// Starts the data plane, runs `test` in it, and takes it down. At the end every worker's counters balance, no
    /// worker has allocated anything, and every buffer is back.
    pub fn run(self, test: impl FnOnce(&mut Lab) + Send + 'static) {
        main_lcore::run(move |eal| {
            let mut lab = self.start(eal);
            test(&mut lab);
            lab.rest();
            lab.take_down();
        });
    }

    /// As [`Setup::run`], up to the test.
    pub fn start(self, eal: &Eal) -> Lab {
        let frames = Mempool::new(eal, "frames", FRAMES, 0, Mempool::DATA_ROOM).unwrap();
        let (ports, wires): (Vec<_>, Vec<_>) =
            Side::BOTH.map(|side| self.port(eal, side)).into_iter().unzip();
        let connected = Side::BOTH.map(|side| Connected { interface: side.interface(), address: side.net() });
        let default = StaticRoute { prefix: "0.0.0.0/0".parse().unwrap(), via: ROUTER };
        let statics = if self.default_route { vec![default] } else { Vec::new() };
        let options = DataplaneOptions {
            ports,
            workers: self.workers,
            settings: self.settings.clone(),
            routes: RouteTable::new(&connected, &statics).unwrap(),
            buffers: PacketBuffers { count: 2047, data_room: Mempool::DATA_ROOM },
            idle: Idle::Backoff,
            seed: 11,
        };
        let dataplane = Dataplane::start(eal, options).unwrap();
        // Their tables were made on the same lcores, before their work.
        let allocated = allocations::on_workers();
        let wires = <[Wire; 2]>::try_from(wires).ok().unwrap();
        Lab::new(dataplane, wires, frames, self.vlans, allocated)
    }

    /// One port, and the wire that it hangs on.
    fn port(&self, eal: &Eal, side: Side) -> (PortOptions, Wire) {
        let (mut rx, mut tx) = (Vec::new(), Vec::new());
        let mut wire = Wire { to_gateway: Vec::new(), from_gateway: Vec::new() };
        for queue in 0..self.queues[side as usize] {
            let name = |way: &str| format!("{}{queue}-{way}", side.name());
            let (to_gateway, into_port): (Producer, Consumer) = ring(eal, &name("rx"), 8192).unwrap();
            let (out_of_port, from_gateway) = ring(eal, &name("tx"), self.room).unwrap();
            rx.push(into_port);
            tx.push(out_of_port);
            wire.to_gateway.push(to_gateway);
            wire.from_gateway.push(from_gateway);
        }
        let port = Port::from_rings(eal, side.name(), rx, tx).unwrap();
        let pools = self.settings.pools.iter().flat_map(|pool| pool.addresses.iter().copied());
        let statics = self.settings.statics.iter().map(|mapping| mapping.external.addr());
        let proxies = pools.chain(statics).map(|address| address.to_bits()..=address.to_bits());
        let options = PortOptions {
            name: side.name().into(),
            port,
            direction: side.direction(),
            // A ring has the address zero, and no other.
            mac: None,
            vlan: self.vlans[side as usize],
            mtu: self.mtus[side as usize],
            address: side.own(),
            own: OwnAddresses::new(side.interface(), &[side.net()], proxies),
            rx_descriptors: 512,
            tx_descriptors: 512,
            promiscuous: false,
        };
        (options, wire)
    }
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::Inside, Side::Outside];

    pub fn name(self) -> &'static str {
        ["inside", "outside"][self as usize]
    }

    pub fn interface(self) -> InterfaceId {
        InterfaceId(self as u8)
    }

    /// Which way packets go that come in here.
    pub fn direction(self) -> Direction {
        Direction::ALL[self as usize]
    }

    pub fn other(self) -> Side {
        Side::BOTH[1 - self as usize]
    }

    pub fn own(self) -> Ipv4Addr {
        OWN[self as usize]
    }

    fn net(self) -> ipnet::Ipv4Net {
        ipnet::Ipv4Net::new(self.own(), PREFIX_LENS[self as usize]).unwrap()
    }
}
