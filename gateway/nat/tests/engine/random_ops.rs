//! Random traffic for the property tests: a small gateway whose limits are near, a few hosts and remotes, and steps
//! that meet each other often.

use std::cell::Cell;
use std::net::Ipv4Addr;

use natgw_nat::{
    DropReason, Endpoint, Filtering, Limits, MappingMode, OtherProtocols, Pool, PortForward, Protocol,
    RuleAction, Settings, Static, Timeouts,
};
use natgw_wire::icmpv4::message;
use natgw_wire::tcp::Flags;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::packet::{GRE, Packet, Seen, UDP_LITE};
use crate::sim::{Gateway, Outcome, forward, rule, settings};

/// What varies from one small gateway to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) shards: usize,
    pub(crate) mapping: MappingMode,
    pub(crate) filtering: Filtering,
    pub(crate) addresses: u8,
    pub(crate) ports: u16,
    pub(crate) ports_per_subscriber: u32,
    pub(crate) sessions_per_subscriber: u32,
    pub(crate) half_open_per_subscriber: u32,
    /// Room for more sessions than there are flows, and for every kind of mapping; else for six a shard.
    pub(crate) roomy: bool,
}

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    let mapping = prop_oneof![
        3 => Just(MappingMode::EndpointIndependent),
        1 => Just(MappingMode::AddressAndPortDependent),
    ];
    let filtering = prop_oneof![
        Just(Filtering::EndpointIndependent),
        Just(Filtering::AddressDependent),
        Just(Filtering::AddressAndPortDependent),
    ];
    let limits = (2u32..8, 4u32..40, 1u32..12);
    (1usize..=4, mapping, filtering, 1u8..4, 8u16..20, limits, prop::bool::weighted(0.7)).prop_map(
        |(
            shards,
            mapping,
            filtering,
            addresses,
            ports,
            (ports_each, sessions_each, half_open_each),
            roomy,
        )| {
            Shape {
                shards,
                mapping,
                filtering,
                addresses,
                ports,
                ports_per_subscriber: ports_each,
                sessions_per_subscriber: sessions_each,
                half_open_per_subscriber: half_open_each,
                roomy,
            }
        },
    )
}

/// All in units of 16 s, which is 125 ticks of the timer wheel: so timers ring when they are due and not a tick later.
pub(crate) const TIMEOUTS: Timeouts = Timeouts {
    udp_s: 64,
    udp_dns_s: 32,
    tcp_established_s: 320,
    tcp_opening_s: 96,
    tcp_closing_s: 112,
    tcp_unsolicited_syn_s: 6,
    icmp_s: 48,
    other_s: 320,
    redirect_half_open_s: 16,
    port_hold_s: 80,
    fragment_s: 16,
};

impl Shape {
    pub(crate) const SMALL: u32 = 6;

    pub(crate) fn sessions(&self) -> u32 {
        if self.roomy { 512 } else { Shape::SMALL }
    }

    pub(crate) fn settings(&self) -> Settings {
        let mut settings = settings();
        settings.pools = vec![Pool {
            name: "main".into(),
            addresses: (0..self.addresses).map(|at| Ipv4Addr::new(203, 0, 113, 10 + at)).collect(),
            ports: 2000..=1999 + self.ports,
            mapping: self.mapping,
            filtering: self.filtering,
            other_protocols: OtherProtocols::ALL,
            ..Pool::default()
        }];
        settings.rules.insert(0, rule("0.0.0.0/0", "192.0.2.0/24", RuleAction::Exempt));
        settings.timeouts = TIMEOUTS;
        settings.limits = Limits {
            sessions: 1 << 16,
            ports_per_subscriber: self.ports_per_subscriber,
            sessions_per_subscriber: self.sessions_per_subscriber,
            half_open_per_subscriber: self.half_open_per_subscriber,
            new_sessions_per_subscriber_per_s: 1_000_000,
            fragments: 16,
            fragments_per_subscriber: 16,
            ..Limits::default()
        };
        settings.port_forwards = [Protocol::Udp, Protocol::Tcp]
            .map(|protocol| PortForward {
                external_ports: 2002..=2003,
                ..forward(protocol, "203.0.113.10:2002", "10.64.0.12:5353")
            })
            .to_vec();
        settings.statics = vec![Static {
            external: Ipv4Addr::new(203, 0, 113, 20).into(),
            internal: Ipv4Addr::new(10, 64, 0, 20).into(),
        }];
        settings
    }

    pub(crate) fn gateway(&self) -> Gateway {
        Gateway::with_shards(self.settings(), self.shards, self.sessions())
    }
}

/// A packet's meaning, without its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    Datagram,
    Segment(Flags),
    Query,
    Reply,
    /// Over a protocol without ports: its number.
    Other(u8),
}

impl Meaning {
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Meaning::Datagram => Protocol::Udp,
            Meaning::Segment(_) => Protocol::Tcp,
            Meaning::Query | Meaning::Reply => Protocol::Icmp,
            Meaning::Other(_) => Protocol::Other,
        }
    }
}

const FLAGS: [Flags; 5] =
    [Flags::SYN, Flags(0x12), Flags::ACK, Flags(Flags::FIN.0 | Flags::ACK.0), Flags::RST];

fn meaning() -> impl Strategy<Value = Meaning> {
    prop_oneof![
        3 => Just(Meaning::Datagram),
        2 => Just(Meaning::Segment(Flags::SYN)),
        4 => prop::sample::select(FLAGS.to_vec()).prop_map(Meaning::Segment),
        2 => Just(Meaning::Query),
        1 => Just(Meaning::Reply),
        2 => prop::sample::select(vec![GRE, UDP_LITE]).prop_map(Meaning::Other),
    ]
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// An inside host sends; `from` and `to` pick from what there is at that time.
    Send { from: u8, to: u8, meaning: Meaning },
    /// A remote sends.
    Receive { from: u8, to: u8, meaning: Meaning },
    /// So many ticks pass.
    Pass(u64),
}

pub(crate) fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let send = (any::<u8>(), any::<u8>(), meaning());
    let receive = (any::<u8>(), any::<u8>(), meaning());
    let pass = prop_oneof![Just(1u64), Just(125), Just(250), Just(500), Just(625), Just(2500)];
    let step = prop_oneof![
        8 => send.prop_map(|(from, to, meaning)| Step::Send { from, to, meaning }),
        6 => receive.prop_map(|(from, to, meaning)| Step::Receive { from, to, meaning }),
        2 => pass.prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..length)
}

/// Random steps that a property is tried with, where the environment does not ask for another number: eight properties make
/// ten million.
const STEPS: usize = 1_250_000;
/// `ENGINE_STEPS=20000000 cargo test --test engine NAME` tries one for longer.
const STEPS_VARIABLE: &str = "ENGINE_STEPS";

/// Holds a property against one random case after the other until it was tried with enough steps; it returns how many
/// a case had.
pub(crate) fn holds<S: Strategy>(cases: S, property: impl Fn(S::Value) -> Result<usize, TestCaseError>) {
    let asked = std::env::var(STEPS_VARIABLE).map(|steps| steps.parse().expect("a number of steps"));
    let wanted = asked.unwrap_or(STEPS);
    let steps = Cell::new(0);
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    while steps.get() < wanted {
        let tried = TestRunner::new(config.clone()).run(&cases, |case| {
            steps.set(steps.get() + property(case)?);
            Ok(())
        });
        tried.unwrap_or_else(|broken| panic!("after {} steps: {broken}", steps.get()));
    }
    println!("{} steps", steps.get());
}

/// Milliseconds a tick of the timer wheel.
pub(crate) const TICK_MS: u64 = 128;

const HOSTS: [Endpoint; 6] = [
    at([10, 64, 0, 5], 2004),
    at([10, 64, 0, 5], 2005),
    at([10, 64, 0, 6], 2004),
    at([10, 64, 0, 7], 4001),
    at([10, 64, 0, 8], 80),
    at([10, 64, 0, 5], 7777),
];
/// Hosts with permanent mappings; the second one's other ports are translated by rules.
const SERVERS: [Endpoint; 4] = [
    at([10, 64, 0, 12], 5353),
    at([10, 64, 0, 12], 5354),
    at([10, 64, 0, 12], 2004),
    at([10, 64, 0, 20], 2004),
];
const REMOTES: [Endpoint; 5] = [
    at([198, 51, 100, 7], 7000),
    at([198, 51, 100, 7], 7001),
    at([198, 51, 100, 8], 7000),
    at([198, 51, 100, 8], 53),
    at([203, 0, 113, 99], 9),
];
const EXEMPT: [Endpoint; 2] = [at([192, 0, 2, 9], 80), at([192, 0, 2, 9], 53)];
const OUTSIDE: [Endpoint; 7] = [
    at([203, 0, 113, 10], 2002),
    at([203, 0, 113, 10], 2003),
    at([203, 0, 113, 20], 2004),
    at([203, 0, 113, 10], 2005),
    at([203, 0, 113, 2], 22),
    at([203, 0, 113, 77], 1),
    at([10, 64, 0, 5], 2004),
];

const fn at(address: [u8; 4], port: u16) -> Endpoint {
    Endpoint { address: u32::from_be_bytes(address), port }
}

/// A packet of a trial and where it is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
    pub(crate) meaning: Meaning,
}

impl Sent {
    /// Identifiers stand in for the asking side's port; the other side has none. Of protocols without ports, both sides have
    /// the number.
    fn new(mut from: Endpoint, mut to: Endpoint, meaning: Meaning) -> Sent {
        match meaning {
            Meaning::Query => to.port = 0,
            Meaning::Reply => from.port = 0,
            Meaning::Other(number) => (from.port, to.port) = (number.into(), number.into()),
            Meaning::Datagram | Meaning::Segment(_) => {}
        }
        Sent { from, to, meaning }
    }

    pub(crate) fn packet(&self) -> Packet {
        match self.meaning {
            Meaning::Datagram => Packet::udp(self.from, self.to),
            Meaning::Segment(flags) => Packet::tcp(self.from, self.to, flags),
            Meaning::Query => Packet::query(self.from, self.to, message::TIMESTAMP),
            Meaning::Reply => Packet::query(self.from, self.to, message::TIMESTAMP_REPLY),
            Meaning::Other(number) => Packet::other(number, self.from, self.to),
        }
    }
}

/// An outcome without the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FragmentAction {
    Out(Endpoint, Endpoint),
    In(Endpoint, Endpoint),
    Reply,
    Local,
    Drop(DropReason),
}

impl From<Outcome> for FragmentAction {
    fn from(outcome: Outcome) -> FragmentAction {
        let ends = |seen: Seen| (seen.source, seen.destination);
        match outcome {
            Outcome::Out(seen) => {
                let (from, to) = ends(seen);
                FragmentAction::Out(from, to)
            }
            Outcome::In(seen) => {
                let (from, to) = ends(seen);
                FragmentAction::In(from, to)
            }
            Outcome::Reply(_) => FragmentAction::Reply,
            Outcome::Local => FragmentAction::Local,
            Outcome::Drop(reason) | Outcome::Reject(reason) | Outcome::Reset(reason) => {
                FragmentAction::Drop(reason)
            }
        }
    }
}

/// What a step turned out to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Sent(Sent, FragmentAction),
    Received(Sent, FragmentAction),
    Passed,
}

/// Resolves a step and lets it happen.
pub(crate) fn run(gateway: &mut Gateway, shape: &Shape, step: Step) -> Event {
    match step {
        Step::Send { .. } | Step::Receive { .. } => {
            let externals = externals(gateway);
            match resolve(shape, step, &externals) {
                Ok(sent) => Event::Sent(sent, gateway.outbound(sent.packet()).into()),
                Err(sent) => Event::Received(sent, gateway.inbound(sent.packet()).into()),
            }
        }
        Step::Pass(ticks) => {
            gateway.pass_ms(ticks * TICK_MS);
            Event::Passed
        }
    }
}

/// The outside endpoints that are in use, in an order that does not depend on the tables.
pub(crate) fn externals(gateway: &Gateway) -> Vec<Endpoint> {
    let mut externals: Vec<_> = gateway.mappings().iter().map(|mapping| mapping.external).collect();
    externals.sort_unstable();
    externals
}

/// The packet that a step sends, `Ok` where an inside host does, given the outside endpoints in use.
pub(crate) fn resolve(shape: &Shape, step: Step, externals: &[Endpoint]) -> Result<Sent, Sent> {
    let pick = |choices: &[Endpoint], at: u8| choices[usize::from(at) % choices.len()];
    match step {
        Step::Send { from, to, meaning } => {
            let servers = if shape.roomy { &SERVERS[..] } else { &[] };
            let exempt = if shape.roomy { &EXEMPT[..] } else { &[] };
            let hosts = [&HOSTS, servers].concat();
            // An exempt endpoint is no outside address: it is reached inside.
            let mine = |endpoint: &&Endpoint| endpoint.address >> 16 == OUTSIDE[0].address >> 16;
            let known: Vec<Endpoint> = externals.iter().filter(mine).copied().collect();
            let targets = [&REMOTES, &REMOTES, exempt, &OUTSIDE[..5], &known].concat();
            Ok(Sent::new(pick(&hosts, from), pick(&targets, to), meaning))
        }
        Step::Receive { from, to, meaning } => {
            let senders = [&REMOTES[..], &EXEMPT].concat();
            let targets = [&OUTSIDE, externals, externals].concat();
            Err(Sent::new(pick(&senders, from), pick(&targets, to), meaning))
        }
        Step::Pass(_) => unreachable!("time is no packet"),
    }
}
