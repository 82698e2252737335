//! Random traffic through workers whose wires, rings and clock fail them.
//!
//! The payload of every packet says who sent it first, so that a packet that comes out says by itself whether it is where it
//! should be.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use natgw_nat::{Limits, Time};
use natgw_worker::simulation::{Faults, GatewayOptions};
use natgw_worker::{Clock, Command};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::lab::{
    Lab, OWN, POOL, ROUTER, SIDES, Side, assert_no_outside_endpoint_twice, at, host, options, settings,
};
use crate::packet::{ACK, Kind, Packet, SYN};

const RST: u8 = 0x04;
const FIN: u8 = 0x01;
const KINDS: [Kind; 6] =
    [Kind::Udp, Kind::EchoRequest, Kind::Tcp(SYN), Kind::Tcp(ACK), Kind::Tcp(FIN | ACK), Kind::Tcp(RST)];
const HOSTS: u8 = 8;
const REMOTES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(198, 51, 100, 8)];

#[derive(Clone, Debug)]
struct Case {
    workers: u16,
    queues: u16,
    addresses: u32,
    ring: usize,
    descriptors: usize,
    buffers: usize,
    /// Room for all sessions.
    roomy: bool,
    faults: Faults,
    seed: u64,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A host sends to a remote.
    Send {
        host: u8,
        port: u8,
        remote: u8,
        kind: u8,
        ttl: bool,
        queue: u8,
    },
    /// A host sends to an outside endpoint.
    Hairpin {
        host: u8,
        nth: u8,
        queue: u8,
    },
    /// A remote answers what it has received.
    Answer {
        nth: u8,
        queue: u8,
    },
    /// A remote sends to an outside endpoint, or to where none is.
    Stray {
        nth: u8,
        kind: u8,
        queue: u8,
    },
    /// A host pings the gateway.
    Ping {
        host: u8,
        queue: u8,
    },
    /// A neighbour is gone, until somebody sends to it.
    Forget {
        station: u8,
    },
    Rounds(u8),
    Pass(Duration),
    /// All that is on its way arrives, and everything is held against everything.
    Rest,
}

fn cases() -> impl Strategy<Value = Case> {
    let faults = prop_oneof![
        1 => Just(Faults::default()),
        3 => (0..100u16, 0..100u16, 0..300u16, 0..300u16, 0..500u16, 0..100u16).prop_map(
            |(lost, doubled, late, throttled, stalled, jumps)| Faults {
                lost,
                doubled,
                late,
                throttled,
                stalled,
                jumps,
                jump_max: JUMP_MAX,
            }
        ),
    ];
    let shape = (1u16..=4, 1u16..=4, 1u32..6, 4usize..64, 16usize..64, 64usize..512);
    let rest = (prop::bool::weighted(0.7), faults, any::<u64>(), prop::collection::vec(step(), 1..400));
    (shape, rest).prop_map(
        |((workers, queues, addresses, ring, descriptors, buffers), (roomy, faults, seed, steps))| Case {
            workers,
            queues: queues.min(workers),
            addresses,
            ring,
            descriptors,
            buffers,
            roomy,
            faults,
            seed,
            steps,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let byte = any::<u8>;
    let send = (byte(), 0..3u8, byte(), byte(), prop::bool::weighted(0.05), byte());
    prop_oneof![
        8 => send.prop_map(|(host, port, remote, kind, ttl, queue)| {
            Step::Send { host, port, remote, kind, ttl, queue }
        }),
        6 => (byte(), byte()).prop_map(|(nth, queue)| Step::Answer { nth, queue }),
        2 => (byte(), byte(), byte()).prop_map(|(host, nth, queue)| Step::Hairpin { host, nth, queue }),
        2 => (byte(), byte(), byte()).prop_map(|(nth, kind, queue)| Step::Stray { nth, kind, queue }),
        1 => (byte(), byte()).prop_map(|(host, queue)| Step::Ping { host, queue }),
        1 => byte().prop_map(|station| Step::Forget { station }),
        6 => (1..6u8).prop_map(Step::Rounds),
        1 => prop_oneof![Just(100), Just(5_000), Just(70_000), Just(400_000)]
            .prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
        1 => Just(Step::Rest),
    ]
}

/// The longest jump of the clock. A late frame is on its way for [`Faults::LATE_ROUNDS`] of these at most.
const JUMP_MAX: Duration = Duration::from_secs(1);
/// How old a packet is that a remote still answers, milliseconds.
const ANSWERED_MS: u64 = 30_000;
/// For how long at least nobody else gets an outside endpoint that was in use, milliseconds. The mapping rests for 120 s; what
/// was translated may have waited for its neighbour for 3 s, and jumps.
const OWNED_MS: u64 = 100_000;

/// A run of a case: the gateway, and what the remotes remember.
struct Run {
    lab: Lab,
    /// Requests that remotes have received, and when.
    requests: Vec<(Packet, Time)>,
    /// Who had an outside endpoint, and when a packet from there was seen last.
    owners: HashMap<(u8, SocketAddrV4), (SocketAddrV4, Time)>,
}

/// What a payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Request,
    Reply,
    /// Of a sender whom nobody asked.
    Other,
}

fn payload(what: What, sender: SocketAddrV4) -> Vec<u8> {
    [&[what as u8][..], &sender.ip().octets(), &sender.port().to_be_bytes()].concat()
}

fn read_payload(payload: &[u8]) -> Option<(What, SocketAddrV4)> {
    let [what, a, b, c, d, high, low] = payload else { return None };
    let what = [What::Request, What::Reply, What::Other][usize::from(*what)];
    Some((what, at(Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low]))))
}

impl Run {
    fn new(case: &Case) -> Run {
        let mut settings = settings(case.addresses);
        settings.limits = Limits { sessions: if case.roomy { 4096 } else { 64 }, ..Limits::default() };
        let mut lab = Lab::new(GatewayOptions {
            queues: case.queues,
            ring: case.ring,
            descriptors: case.descriptors,
            buffers: case.buffers,
            faults: case.faults,
            seed: case.seed,
            ..options(case.workers, settings)
        });
        lab.learn(Side::Outside, ROUTER);
        Run { lab, requests: Vec::new(), owners: HashMap::new() }
    }

    fn now(&self) -> Time {
        self.lab.gateway.clock().now()
    }

    fn send(&mut self, side: Side, queue: u8, packet: &Packet) {
        self.lab.send(side, usize::from(queue) % self.lab.queues, packet);
    }

    fn step(&mut self, step: Step) {
        let host = |nth: u8| host(2 + nth % HOSTS);
        match step {
            Step::Send { host: nth, port, remote, kind, ttl, queue } => {
                let from = at(host(nth), 4000 + u16::from(port));
                let kind = KINDS[usize::from(kind) % KINDS.len()];
                let port = if kind == Kind::EchoRequest { 0 } else { 53 };
                let to = at(REMOTES[usize::from(remote) % REMOTES.len()], port);
                let packet = Packet::new(kind, from, to, &payload(What::Request, from));
                self.send(Side::Inside, queue, &Packet { ttl: if ttl { 1 } else { 64 }, ..packet });
            }
            Step::Hairpin { host: nth, queue, .. } if self.requests.is_empty() => {
                self.step(Step::Ping { host: nth, queue });
            }
            Step::Hairpin { host: nth, nth: request, queue } => {
                let (request, _) = &self.requests[usize::from(request) % self.requests.len()];
                let from = at(host(nth), 4000);
                let packet = Packet::new(request.kind, from, request.from, &payload(What::Other, from));
                if request.kind != Kind::EchoRequest {
                    self.send(Side::Inside, queue, &packet);
                }
            }
            Step::Answer { nth, queue } => {
                let (now, requests) = (self.now(), &self.requests);
                let recent = requests.iter().rev().take_while(|(_, seen)| now.0 - seen.0 < ANSWERED_MS);
                let recent: Vec<&Packet> = recent.map(|(request, _)| request).collect();
                if let Some(request) = recent.get(usize::from(nth) % recent.len().max(1)) {
                    let answer = request.answer();
                    let (_, sender) = read_payload(&answer.payload).expect("a request of ours");
                    let answer = Packet { payload: payload(What::Reply, sender), ..answer };
                    self.send(Side::Outside, queue, &answer);
                }
            }
            Step::Stray { nth, kind, queue } => {
                let from = at(REMOTES[0], 9);
                let known = self.requests.get(usize::from(nth)).map(|(request, _)| request.from);
                let to = known.unwrap_or(at(POOL, 5000 + u16::from(nth)));
                let kind = KINDS[usize::from(kind) % KINDS.len()];
                self.send(Side::Outside, queue, &Packet::new(kind, from, to, &payload(What::Other, from)));
            }
            Step::Ping { host: nth, queue } => {
                let from = at(host(nth), 7);
                let packet =
                    Packet::new(Kind::EchoRequest, from, at(OWN[0], 0), &payload(What::Request, from));
                self.send(Side::Inside, queue, &packet);
            }
            Step::Forget { station } => {
                let (side, ip) = match station % (HOSTS + 1) {
                    HOSTS => (Side::Outside, ROUTER),
                    nth => (Side::Inside, host(nth)),
                };
                assert!(self.lab.gateway.command_all(|| Command::Forget(side.interface(), ip.to_bits())));
            }
            Step::Rounds(count) => (0..count).for_each(|_| self.lab.gateway.round()),
            Step::Pass(time) => {
                // What is translated first is seen first.
                (0..time.as_secs()).for_each(|_| self.pass(Duration::from_secs(1)));
                self.pass(Duration::from_millis(time.subsec_millis().into()));
            }
            Step::Rest => self.rest(),
        }
        self.lab.answer_needs();
        self.look_both();
    }

    fn pass(&mut self, time: Duration) {
        self.lab.gateway.pass(time);
        self.look_both();
    }

    fn look_both(&mut self) {
        for side in SIDES {
            let packets = self.lab.take(side);
            self.look(side, packets);
        }
    }

    /// Holds what came out on a side against who sent it.
    fn look(&mut self, side: Side, packets: Vec<Packet>) {
        let now = self.now();
        for packet in packets {
            // The gateway's own: errors, resets, and its answers to strays. Pings of it are answered as any are.
            let is_reset =
                packet.payload.is_empty() && matches!(packet.kind, Kind::Tcp(flags) if flags & RST != 0);
            if matches!(packet.kind, Kind::Error(..)) || is_reset || *packet.from.ip() == OWN[1] {
                continue;
            }
            let (what, sender) = read_payload(&packet.payload).expect("a payload of ours");
            match (side, what) {
                (Side::Outside, _) => {
                    let owner = (sender, now);
                    let old =
                        self.owners.insert((packet.kind.protocol(), packet.from), owner).unwrap_or(owner);
                    let is_his = old.0 == sender || now.0 - old.1.0 > OWNED_MS;
                    assert!(is_his, "{packet:?} has the endpoint of {old:?}");
                    if what == What::Request {
                        self.requests.push((packet, now));
                    }
                }
                (Side::Inside, What::Reply) => assert_eq!(packet.to, sender, "{packet:?}"),
                (Side::Inside, What::Request) => {
                    assert_eq!((packet.kind, packet.to.ip()), (Kind::EchoReply, sender.ip()), "{packet:?}");
                }
                (Side::Inside, What::Other) => {}
            }
        }
    }

    fn rest(&mut self) {
        let (_, packets) = self.lab.rest();
        SIDES.into_iter().zip(packets).for_each(|(side, packets)| self.look(side, packets));
        let mappings = self.lab.mappings();
        assert_no_outside_endpoint_twice(&mappings);
        self.lab.rest();
    }

    /// When nothing goes wrong any more, everybody is served.
    fn recover(&mut self) {
        self.lab.gateway.set_faults(Faults::default());
        self.step(Step::Pass(Duration::from_secs(10)));
        self.rest();
        self.lab.learn(Side::Outside, ROUTER);
        (0..HOSTS).for_each(|nth| self.lab.learn(Side::Inside, host(2 + nth)));
        self.lab.gateway.settle();
        for nth in 0..HOSTS {
            let from = at(host(2 + nth), 9000);
            let sent = Packet::new(Kind::Udp, from, at(REMOTES[1], 53), &payload(What::Request, from));
            let out = self.lab.cross(Side::Inside, &sent);
            let back = self.lab.cross(Side::Outside, &out.answer());
            assert_eq!(back.to, from);
        }
    }
}

/// Received = transmitted + dropped by reason + consumed + handed over, every buffer returns, replies reach the sender, and no
/// outside endpoint belongs to two hosts: whatever goes wrong around the workers.
#[test]
fn holds_whatever_wires_rings_and_clock_do() {
    let asked = std::env::var(STEPS_VARIABLE).map(|steps| steps.parse().expect("a number of steps"));
    let wanted = asked.unwrap_or(STEPS);
    let steps = Cell::new(0);
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    while steps.get() < wanted {
        let tried = TestRunner::new(config.clone()).run(&cases(), |case| {
            let mut run = Run::new(&case);
            case.steps.iter().for_each(|&step| run.step(step));
            if case.roomy {
                run.recover();
            }
            run.rest();
            run.lab.finish();
            steps.set(steps.get() + case.steps.len());
            Ok(())
        });
        tried.unwrap_or_else(|broken| panic!("after {} steps: {broken}", steps.get()));
    }
    println!("{} steps", steps.get());
}

/// Random steps where the environment does not ask for another number.
const STEPS: usize = 50_000;
/// `ENGINE_STEPS=20000000 cargo test --package natgw-worker --test simulation` tries for longer.
const STEPS_VARIABLE: &str = "ENGINE_STEPS";
