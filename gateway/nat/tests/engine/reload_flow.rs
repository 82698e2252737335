//! One flow that goes on sending while a reload removes a part of its mapping, beside so many sessions that the sweep takes
//! long. It never loses a packet, no two hosts have one outside endpoint at any step, and in the end it has an endpoint that
//! the new configuration allows, and the change that wanted its old endpoint has that.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use natgw_nat::{
    Direction, Endpoint, Filtering, ForwardSource, Limits, Pool, PortForward, Protocol, RuleAction, Settings,
    Static, Verdict,
};

use natgw_steer::Steering;

use crate::grants::{check, check_settled};
use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, rule};

/// What the reload does to the flow that has `X:P`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// X is removed, and another address added.
    AddressGoes,
    /// X goes to another pool, whose hosts would have P.
    AddressToAnotherPool,
    /// P is not among the pool's ports any more.
    PortsNarrowed,
    /// Filtering becomes endpoint-independent: strangers may reach `X:P`, and nothing else is different.
    Filtering,
    /// A forward of `X:P` is added.
    Forward(ForwardSource),
    /// X is a host's alone.
    Static,
}

const CHANGES: [Change; 7] = [
    Change::AddressGoes,
    Change::AddressToAnotherPool,
    Change::PortsNarrowed,
    Change::Filtering,
    Change::Forward(ForwardSource::Remote),
    Change::Forward(ForwardSource::Gateway),
    Change::Static,
];

/// Where the flow stands among the sessions of its shard: the sweep reaches it at once, or at the end.
#[derive(Clone, Copy, Debug)]
enum Place {
    First,
    Last,
}

/// How fast the shards sweep.
#[derive(Clone, Copy, Debug)]
enum Pace {
    Even,
    /// The flow's shard is behind the others.
    Behind,
    /// The others are behind the flow's.
    Ahead,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    change: Change,
    shards: usize,
    sessions: u32,
    place: Place,
    pace: Pace,
}

const ADDRESSES: u32 = 8;
/// The second pool's: one for each shard.
const OTHERS: u32 = 4;
/// Where the second pool begins.
const FIRST_OTHER: u32 = 40;
const PORT: u16 = 4000;
const REMOTE: &str = "198.51.100.7:7000";
/// Who has never been spoken to.
const STRANGER: &str = "192.0.2.9:7000";
/// Ports that the other hosts have, and how many remotes each of their endpoints speaks to.
const PORTS_EACH: u32 = 50;
const REMOTES_EACH: u32 = 4;
/// Hosts that want what the flow has, from each pool: one a step.
const RIVALS: usize = 4000;
/// Steps of a sweep at least, of the slowest shard.
const STEPS: u32 = 60;

fn outside(at: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(203, 0, 113, 8)) + at)
}

/// The inside hosts from `first` on that belong to a shard.
fn hosts(gateway: &Gateway, first: Ipv4Addr, shard: usize) -> impl Iterator<Item = u32> + '_ {
    (first.to_bits()..).filter(move |&host| gateway.owner_of_inside(host) == shard)
}

const FIRST_HOST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 8);
/// The first ones of those who want what the flow has, by the pool that they would have it from.
const FIRST_RIVALS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 65, 0, 0), Ipv4Addr::new(10, 65, 128, 0)];

fn settings(sessions: u32) -> Settings {
    let pool = |name: &str, first: u32, count: u32| Pool {
        name: name.into(),
        addresses: (first..first + count).map(outside).collect(),
        ..Pool::default()
    };
    Settings {
        inside: vec!["10.64.0.1/15".parse().expect("prefix")],
        pools: vec![pool("main", 0, ADDRESSES), pool("others", FIRST_OTHER, OTHERS)],
        // 10.65.0.0/16 are those who want what the flow has.
        rules: vec![
            rule("10.65.128.0/17", "0.0.0.0/0", RuleAction::Pool(1)),
            rule("10.64.0.0/15", "0.0.0.0/0", RuleAction::Pool(0)),
        ],
        limits: Limits {
            sessions,
            ports_per_subscriber: 1000,
            new_sessions_per_subscriber_per_s: 1_000_000,
            ..Limits::default()
        },
        ..crate::sim::settings()
    }
}

impl Change {
    /// Whether the flow may stay where it is.
    fn leaves(self) -> bool {
        self == Change::Filtering
    }

    fn apply(self, settings: &mut Settings, steering: &Steering, had: Endpoint, server: Endpoint) {
        let address = Ipv4Addr::from_bits(had.address);
        let go = |pool: &mut Pool| pool.addresses.retain(|&other| other != address);
        match self {
            Change::AddressGoes => {
                go(&mut settings.pools[0]);
                let owner = |address: Ipv4Addr| steering.inbound_home(address.to_bits());
                let mut others = (ADDRESSES..FIRST_OTHER).map(outside);
                let same_shard = others.find(|&other| owner(other) == owner(address));
                settings.pools[0].addresses.push(same_shard.expect("one of the same shard"));
            }
            Change::AddressToAnotherPool => {
                go(&mut settings.pools[0]);
                settings.pools[1].addresses.push(address);
            }
            Change::PortsNarrowed => settings.pools[0].ports = PORT + 1..=65535,
            Change::Filtering => settings.pools[0].filtering = Filtering::EndpointIndependent,
            Change::Forward(source) => settings.port_forwards.push(PortForward {
                protocol: Protocol::Udp,
                external: address,
                external_ports: had.port..=had.port,
                internal: Ipv4Addr::from_bits(server.address),
                internal_port: server.port,
                source,
            }),
            Change::Static => {
                go(&mut settings.pools[0]);
                let internal = Ipv4Addr::from_bits(server.address).into();
                settings.statics.push(Static { external: address.into(), internal });
            }
        }
    }
}

/// Who has been seen at outside endpoints. None passes from a host to another before the sweep is through, and a host that was
/// followed by another does not come back.
#[derive(Default)]
struct Holders {
    hosts: HashMap<Endpoint, Vec<Ipv4Addr>>,
    is_through: bool,
}

impl Holders {
    fn note(&mut self, external: Endpoint, host: u32) {
        let (host, hosts) = (Ipv4Addr::from_bits(host), self.hosts.entry(external).or_default());
        if hosts.last() != Some(&host) {
            let is_given = hosts.is_empty() || self.is_through && !hosts.contains(&host);
            assert!(is_given, "{external:?} is {host}'s and {hosts:?}'s at once");
            hosts.push(host);
        }
    }
}

/// What goes on while the gateway changes.
struct Traffic {
    flow: Endpoint,
    had: Endpoint,
    /// Where the flow has been seen, the present place last.
    seen: Vec<Endpoint>,
    /// What the reload may bring over `had`.
    server: Endpoint,
    holders: Holders,
    /// Hosts of the flow's shard that have not wanted its port yet, by the pool that they would have it from.
    rivals: [Vec<u32>; 2],
    asked: u32,
}

impl Traffic {
    /// A step of everybody. Whether the stranger has reached the server at the flow's old endpoint.
    fn step(&mut self, gateway: &mut Gateway) -> bool {
        gateway.pass_ms(2);
        self.flow_goes_on(gateway);
        self.late_answers(gateway);
        self.rival(gateway);
        self.asks(gateway)
    }

    /// No packet of the flow is lost, in either direction.
    fn flow_goes_on(&mut self, gateway: &mut Gateway) {
        let external = gateway.outbound(Packet::udp(self.flow, ep(REMOTE))).out().source;
        self.holders.note(external, self.flow.address);
        if self.seen.last() != Some(&external) {
            self.seen.push(external);
        }
        let answer = gateway.inbound(Packet::udp(ep(REMOTE), external)).delivered();
        assert_eq!(answer.destination, self.flow);
    }

    /// Late answers to the former endpoint of the flow reach no host, unless another host has it now.
    fn late_answers(&mut self, gateway: &mut Gateway) {
        let (_, before) = self.seen.split_last().expect("it was seen");
        for &external in before {
            if let Outcome::In(seen) = gateway.inbound(Packet::udp(ep(REMOTE), external)) {
                assert_ne!(seen.destination, self.flow, "it is elsewhere now");
                self.holders.note(external, seen.destination.address);
            }
        }
    }

    /// Another host of the flow's shard wants the flow's port on an address of either pool, and then has it for itself.
    fn rival(&mut self, gateway: &mut Gateway) {
        self.asked += 1;
        let rivals = &mut self.rivals[self.asked as usize % 2];
        let rival = Endpoint { address: rivals.pop().expect("another host"), port: PORT };
        let external = gateway.outbound(Packet::udp(rival, ep(REMOTE))).out().source;
        self.holders.note(external, rival.address);
        let answer = gateway.inbound(Packet::udp(ep(REMOTE), external)).delivered();
        assert_eq!(answer.destination, rival);
    }

    /// A stranger asks at the flow's old endpoint; the server that it reaches answers from there.
    fn asks(&mut self, gateway: &mut Gateway) -> bool {
        let asked = Packet::udp(at_port(ep(STRANGER), 1024 + self.asked as u16 % 60_000), self.had);
        let stranger = asked.source;
        let Outcome::In(seen) = gateway.inbound(asked) else { return false };
        self.holders.note(self.had, seen.destination.address);
        let answer = gateway.outbound(Packet::udp(seen.destination, seen.source)).out();
        assert_eq!((answer.source, answer.destination), (self.had, stranger));
        seen.destination == self.server
    }
}

impl Case {
    fn run(self) {
        let Case { change, shards, sessions, place, pace } = self;
        let each = sessions / shards as u32 + 8192;
        let mut gateway = Gateway::with_shards(settings(sessions + 32_768), shards, each);
        // The flow is the last shard's, and the server the first one's.
        let mine = shards - 1;
        let host = |shard, nth| hosts(&gateway, FIRST_HOST, shard).nth(nth).expect("a host");
        let flow = Endpoint { address: host(mine, 0), port: PORT };
        let server = Endpoint { address: host(0, 1), port: PORT };
        let rivals = FIRST_RIVALS.map(|first| hosts(&gateway, first, mine).take(RIVALS).collect());
        if let Place::Last = place {
            fill(&mut gateway, sessions);
        }
        let had = gateway.open(Protocol::Udp, flow, ep(REMOTE));
        assert_eq!(had.port, PORT);
        if let Place::First = place {
            fill(&mut gateway, sessions);
        }
        let server = if change == Change::Static { at_port(server, had.port) } else { at_port(server, 5353) };
        let before = views(&gateway);
        let mut traffic =
            Traffic { flow, had, seen: vec![had], server, holders: Holders::default(), rivals, asked: 0 };
        assert!(!traffic.step(&mut gateway));

        let steering = gateway.steering.clone();
        gateway.begin_reload(|settings| change.apply(settings, &steering, had, server));
        let lines = (sessions / shards as u32 / STEPS).max(2);
        let mut steps = 0;
        let of = |shard: usize| match pace {
            Pace::Behind if shard != mine => lines * 8,
            Pace::Ahead if shard == mine => lines * 8,
            _ => lines,
        };
        loop {
            let reached = traffic.step(&mut gateway);
            assert!(!reached, "{self:?}: the server has the endpoint before the sweep is through");
            steps += 1;
            if gateway.sweep_each(of) {
                break;
            }
        }
        assert!(change == Change::Filtering || steps >= 8, "{self:?}: {steps} steps");

        traffic.holders.is_through = true;
        let reached = traffic.step(&mut gateway);
        assert_eq!(reached, matches!(change, Change::Forward(_) | Change::Static), "{self:?}");
        let now = *traffic.seen.last().expect("it was seen");
        assert_eq!(now == had, change.leaves(), "{self:?}: {now:?}");
        assert!(traffic.seen.len() <= 2, "{self:?}: it moved once: {:?}", traffic.seen);
        let pool = &gateway.settings.pools[0];
        assert!(pool.addresses.contains(&now.address.into()) && pool.ports.contains(&now.port), "{self:?}");
        let strange = gateway.inbound(Packet::udp(ep(STRANGER), now));
        assert_eq!(strange.is_delivered(), change == Change::Filtering, "{self:?}");
        for _ in 0..40 {
            traffic.step(&mut gateway);
        }
        check(&gateway).expect("nothing is two hosts'");
        check_settled(&gateway).expect("what is left is what the configuration gives");

        // All others are there still, where they may be.
        let after = views(&gateway);
        let is_lost = |external: Endpoint| match change {
            Change::Filtering => false,
            Change::Forward(_) => external == had,
            Change::PortsNarrowed => external.port <= PORT,
            _ => external.address == had.address,
        };
        let (lost, stay): (Vec<_>, Vec<_>) = before.iter().partition(|view| is_lost(view.1));
        assert!(lost.iter().all(|view| !after.contains(*view)), "{self:?}");
        assert!(stay.iter().all(|view| after.contains(*view)), "{self:?}");
    }
}

/// The other hosts' sessions, in bursts.
fn fill(gateway: &mut Gateway, sessions: u32) {
    let shards = gateway.shards.len();
    let mut verdicts = [Verdict::Local; 32];
    let mut burst: Vec<Vec<u8>> = Vec::with_capacity(32);
    for shard in 0..shards {
        let count = sessions / shards as u32;
        let all = count.div_ceil(REMOTES_EACH * PORTS_EACH) as usize;
        let hosts: Vec<u32> = hosts(gateway, FIRST_HOST, shard).skip(2).take(all).collect();
        for nth in 0..count {
            let (remote, nth) = (nth % REMOTES_EACH, nth / REMOTES_EACH);
            let from = Endpoint {
                address: hosts[(nth / PORTS_EACH) as usize],
                port: 20_000 + (nth % PORTS_EACH) as u16,
            };
            burst.push(Packet::udp(from, at_port(ep("192.0.2.77:0"), 1 + remote as u16)).bytes());
            if burst.len() == 32 || burst.len() as u32 == count {
                flush(gateway, shard, &mut burst, &mut verdicts);
            }
        }
        flush(gateway, shard, &mut burst, &mut verdicts);
    }
}

fn flush(gateway: &mut Gateway, shard: usize, burst: &mut Vec<Vec<u8>>, verdicts: &mut [Verdict; 32]) {
    let (now, verdicts) = (gateway.now, &mut verdicts[..burst.len()]);
    gateway.shards[shard].translate(&mut burst[..], Direction::Outbound, now, verdicts);
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Forward(_))), "{verdicts:?}");
    burst.clear();
}

/// Inside, outside and remote endpoints.
fn views(gateway: &Gateway) -> HashSet<(Endpoint, Endpoint, Endpoint)> {
    gateway.sessions().iter().map(|session| (session.internal, session.external, session.remote)).collect()
}

fn each_of(sessions: u32, changes: &[Change], places: &[Place], shards: &[usize]) {
    for &change in changes {
        for &place in places {
            for &shards in shards {
                let paces: &[Pace] =
                    if shards == 1 { &[Pace::Even] } else { &[Pace::Even, Pace::Behind, Pace::Ahead] };
                for &pace in paces {
                    Case { change, shards, sessions, place, pace }.run();
                }
            }
        }
    }
}

#[test]
fn a_flow_goes_on_among_200_sessions() {
    each_of(200, &CHANGES, &[Place::First, Place::Last], &[1, 2, 4]);
}

#[test]
fn a_flow_goes_on_among_20_000_sessions() {
    each_of(20_000, &CHANGES, &[Place::First, Place::Last], &[1, 2, 4]);
}

#[test]
fn a_flow_goes_on_among_1_000_000_sessions() {
    let change = Change::Forward(ForwardSource::Remote);
    Case { change, shards: 4, sessions: 1_000_000, place: Place::Last, pace: Pace::Behind }.run();
    let change = Change::AddressToAnotherPool;
    Case { change, shards: 1, sessions: 1_000_000, place: Place::Last, pace: Pace::Even }.run();
}
