//! Explanations: the packet then has the outcome that was explained, and explaining changes nothing.

use natgw_nat::{
    Deterministic, Direction, DropReason, Endpoint, Explanation, Filtering, MappingMode, Outcome, Pool,
    PortBlocks, PortForward, Protocol, Question, Refuse, Rule, RuleAction, Static, Tuple, Twice,
};
use natgw_wire::tcp::Flags;
use proptest::prelude::*;

use crate::packet::{Packet, at_port, ep};
use crate::random_ops::{FragmentAction, Meaning, Sent, externals, resolve, shape, steps};
use crate::random_ops::{Step, TICK_MS};
use crate::sim::{Gateway, forward, redirect, rule};

const HOST: &str = "10.64.0.5:4000";
const REMOTE: &str = "198.51.100.7:7000";

fn asked(gateway: &Gateway, question: Question) -> Explanation {
    let Tuple { source, .. } = question.tuple;
    let shard = match question.direction {
        Direction::Outbound => gateway.owner_over(question.protocol, source),
        Direction::Inbound => gateway.owner_of_outside(question.protocol, question.tuple.to()),
    };
    gateway.shards[shard].explain(&question, gateway.now)
}

fn outbound(gateway: &Gateway, protocol: Protocol, from: &str, to: &str) -> Explanation {
    let tuple = Tuple::new(ep(from), ep(to));
    asked(gateway, Question { protocol, tuple, direction: Direction::Outbound, hairpinned: false })
}

fn inbound(gateway: &Gateway, protocol: Protocol, from: &str, to: &str) -> Explanation {
    let tuple = Tuple::new(ep(from), ep(to));
    asked(gateway, Question { protocol, tuple, direction: Direction::Inbound, hairpinned: false })
}

#[test]
fn explain_names_rule_and_pool_of_a_new_session_and_then_the_session() {
    let mut gateway = Gateway::changed(|settings| {
        settings.rules.insert(0, rule("10.64.0.9/32", "0.0.0.0/0", RuleAction::Drop));
    });
    let before = outbound(&gateway, Protocol::Udp, HOST, REMOTE);
    assert_eq!(before.outcome, Outcome::NewSession);
    assert_eq!((before.rule, before.kind, before.pool), (Some(1), Some("pool"), Some(0)));
    assert_eq!((before.source, before.destination), (None, Some(ep(REMOTE))));
    assert_eq!((before.mapping, before.session, before.subscriber), (None, None, None));
    assert!(gateway.sessions().is_empty() && gateway.mappings().is_empty());

    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let after = outbound(&gateway, Protocol::Udp, HOST, REMOTE);
    assert_eq!((after.outcome, after.source), (Outcome::Session, Some(external)));
    assert_eq!(after.session, Some(gateway.sessions()[0]));
    assert_eq!(after.mapping, Some(gateway.mappings()[0]));
    let subscriber = after.subscriber.expect("it has a session");
    assert_eq!((subscriber.sessions, subscriber.ports), ([1, 0, 0, 0], [1, 0, 0]));
    assert_eq!(subscriber.paired, Some(external.address));
    let back = inbound(&gateway, Protocol::Udp, REMOTE, &external.to_string());
    assert_eq!((back.outcome, back.session), (Outcome::Session, after.session));
    assert_eq!((back.source, back.destination), (Some(ep(REMOTE)), Some(ep(HOST))));

    // Another remote goes by the same mapping, which is known to the port.
    let other = outbound(&gateway, Protocol::Udp, HOST, "198.51.100.8:7000");
    assert_eq!((other.outcome, other.source), (Outcome::NewSession, Some(external)));
}

#[test]
fn explain_names_what_forbids_a_session() {
    let gateway = Gateway::changed(|settings| {
        settings.rules = vec![
            rule("10.64.0.0/24", "192.0.2.0/24", RuleAction::Exempt),
            rule("10.64.0.0/24", "198.18.0.0/15", RuleAction::Drop),
            rule("10.64.0.0/24", "198.51.100.0/24", RuleAction::Reject),
            Rule {
                ports: 53..=53,
                protocol: Some(Protocol::Udp),
                ..rule("10.64.0.0/24", "0.0.0.0/0", RuleAction::Pool(0))
            },
        ];
    });
    let udp = |from, to| outbound(&gateway, Protocol::Udp, from, to);
    let exempt = udp(HOST, "192.0.2.1:80");
    assert_eq!((exempt.outcome, exempt.rule, exempt.kind), (Outcome::NewSession, Some(0), Some("exempt")));
    assert_eq!(exempt.source, Some(ep(HOST)), "as it came");
    let cases = [
        (HOST, "198.18.0.1:80", Outcome::Drop(DropReason::RuleDrop), Some(1)),
        (HOST, REMOTE, Outcome::Reject(DropReason::RuleReject), Some(2)),
        (HOST, "9.9.9.9:53", Outcome::NewSession, Some(3)),
        (HOST, "9.9.9.9:80", Outcome::Reject(DropReason::NoRule), None),
        ("10.65.0.5:4000", REMOTE, Outcome::Drop(DropReason::SpoofedInside), None),
        ("10.64.0.1:4000", REMOTE, Outcome::Drop(DropReason::SpoofedGateway), None),
        (HOST, "224.0.0.1:80", Outcome::Drop(DropReason::DestinationMulticast), None),
        (HOST, "10.64.0.1:80", Outcome::Local, None),
    ];
    for (from, to, outcome, rule) in cases {
        let explained = udp(from, to);
        assert_eq!((explained.outcome, explained.rule), (outcome, rule), "{from} {to}");
    }
    let spoofed = inbound(&gateway, Protocol::Udp, HOST, "203.0.113.10:2000");
    assert_eq!(spoofed.outcome, Outcome::Drop(DropReason::SpoofedOutside));
}

#[test]
fn explain_names_the_limit_that_is_reached() {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools[0].ports = 2000..=2001;
        settings.pools[0].addresses.truncate(1);
        settings.limits.sessions_per_subscriber = 2;
        settings.limits.new_sessions_per_subscriber_per_s = 2;
        settings.refuse = Refuse::Drop;
    });
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let new = |gateway: &Gateway, from, to| outbound(gateway, Protocol::Udp, from, to).outcome;
    let other = "198.51.100.8:7000";
    for _ in 0..10 {
        assert_eq!(new(&gateway, HOST, other), Outcome::NewSession, "asking uses up no rate");
    }
    gateway.open(Protocol::Udp, at_port(ep(HOST), 4001), ep(REMOTE));
    let full = Outcome::Drop(DropReason::SubscriberSessions);
    assert_eq!(new(&gateway, HOST, other), full);
    let full = Outcome::Drop(DropReason::PortsExhausted);
    assert_eq!(new(&gateway, "10.64.0.6:4000", other), full, "the pool has no port left");
    gateway.reload(|settings| settings.limits.sessions_per_subscriber = 100);
    assert_eq!(new(&gateway, HOST, other), Outcome::Drop(DropReason::SubscriberRate));
    gateway.pass_s(2);
    assert_eq!(new(&gateway, HOST, other), Outcome::NewSession);
    gateway.reload(|settings| settings.limits.ports_per_subscriber = 2);
    assert_eq!(new(&gateway, "10.64.0.5:4009", other), Outcome::Drop(DropReason::SubscriberPorts));
}

fn forwarding() -> Gateway {
    Gateway::changed(|settings| {
        let range = forward(Protocol::Tcp, "203.0.113.13:9000", "10.64.0.12:7000");
        settings.port_forwards = vec![
            PortForward { external_ports: 9000..=9009, ..range },
            redirect(Protocol::Tcp, "203.0.113.13:8080", "10.64.0.12:80"),
        ];
        settings.statics = vec![Static {
            external: "203.0.113.32/28".parse().expect("prefix"),
            internal: "10.64.0.32/28".parse().expect("prefix"),
        }];
        settings.twice = vec![Twice {
            external: "172.16.0.0/24".parse().expect("prefix"),
            internal: "10.99.0.0/24".parse().expect("prefix"),
        }];
    })
}

#[test]
fn explain_leads_through_forwards_statics_redirects_and_twice_nat() {
    let gateway = forwarding();
    let tcp = |to| inbound(&gateway, Protocol::Tcp, REMOTE, to);
    let cases = [
        ("203.0.113.13:9004", Outcome::Mapping, Some("permanent"), Some("10.64.0.12:7004")),
        ("203.0.113.35:22", Outcome::Mapping, Some("permanent"), Some("10.64.0.35:22")),
        ("203.0.113.13:8080", Outcome::NewSession, Some("redirect"), Some("10.64.0.12:80")),
        ("203.0.113.13:9010", Outcome::Drop(DropReason::NoMapping), None, None),
        ("203.0.113.10:3000", Outcome::Drop(DropReason::NoMapping), None, None),
        ("203.0.113.2:22", Outcome::Local, None, None),
        ("10.64.0.12:7004", Outcome::Drop(DropReason::InsideFromOutside), None, None),
    ];
    for (to, outcome, kind, destination) in cases {
        let explained = tcp(to);
        let seen = (explained.outcome, explained.kind, explained.destination);
        assert_eq!(seen, (outcome, kind, destination.map(ep)), "{to}");
    }
    let out = outbound(&gateway, Protocol::Tcp, "10.64.0.35:22", REMOTE);
    assert_eq!((out.kind, out.source), (Some("permanent"), Some(ep("203.0.113.35:22"))));
    let twice = outbound(&gateway, Protocol::Tcp, HOST, "10.99.0.7:80");
    assert_eq!((twice.destination, twice.for_outside), (Some(ep("172.16.0.7:80")), true));
    let back = inbound(&gateway, Protocol::Tcp, "172.16.0.7:80", "203.0.113.13:9000");
    assert_eq!(back.source, Some(ep("10.99.0.7:80")));
    assert!(gateway.sessions().is_empty() && gateway.mappings().is_empty());
}

#[test]
fn explain_says_when_the_redirects_are_full() {
    let mut gateway = forwarding();
    gateway.reload(|settings| settings.limits.redirected_sessions = 0);
    let explained = inbound(&gateway, Protocol::Tcp, REMOTE, "203.0.113.13:8080");
    assert_eq!(explained.outcome, Outcome::Drop(DropReason::RedirectsFull));
}

#[test]
fn explain_follows_filtering_and_hairpinning() {
    for (filtering, same_address, stranger) in [
        (Filtering::EndpointIndependent, true, true),
        (Filtering::AddressDependent, true, false),
        (Filtering::AddressAndPortDependent, false, false),
    ] {
        let mut gateway = Gateway::changed(|settings| settings.pools[0].filtering = filtering);
        let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE)).to_string();
        let answer = |from| {
            let explained = inbound(&gateway, Protocol::Udp, from, &external);
            assert_eq!(explained.filtering, Some(filtering));
            explained.outcome
        };
        let expected = |admitted| {
            if admitted { Outcome::Mapping } else { Outcome::Drop(DropReason::Filtered) }
        };
        assert_eq!(answer("198.51.100.7:7001"), expected(same_address), "{filtering:?}");
        assert_eq!(answer("198.51.100.8:7000"), expected(stranger), "{filtering:?}");
        let hairpinned = outbound(&gateway, Protocol::Udp, "10.64.0.6:4000", &external);
        assert_eq!((hairpinned.outcome, hairpinned.hairpins), (Outcome::NewSession, true));
        let tuple = Tuple::new(ep("203.0.113.11:3000"), ep(&external));
        let question =
            Question { protocol: Protocol::Udp, tuple, direction: Direction::Inbound, hairpinned: true };
        assert_eq!(asked(&gateway, question).outcome, expected(stranger), "{filtering:?}");
    }
}

#[test]
fn explain_reads_identifiers_and_types_of_icmp() {
    let mut gateway = Gateway::changed(|settings| {
        settings.rules[0].icmp_types = vec![8];
    });
    assert_eq!(outbound(&gateway, Protocol::Udp, HOST, REMOTE).outcome, Outcome::Reject(DropReason::NoRule));
    let ping = |gateway: &Gateway| outbound(gateway, Protocol::Icmp, "10.64.0.5:7", "198.51.100.7:0");
    assert_eq!(ping(&gateway).outcome, Outcome::NewSession);
    let external = gateway.open(Protocol::Icmp, ep("10.64.0.5:7"), ep("198.51.100.7:0"));
    assert_eq!(ping(&gateway).outcome, Outcome::Session);
    let reply = inbound(&gateway, Protocol::Icmp, "198.51.100.7:0", &external.to_string());
    assert_eq!((reply.outcome, reply.destination), (Outcome::Session, Some(ep("10.64.0.5:7"))));
    let own = inbound(&gateway, Protocol::Icmp, "198.51.100.7:9", "203.0.113.2:0");
    assert_eq!(own.outcome, Outcome::Local);
    let of_pool = |gateway: &Gateway| {
        let from_inside = outbound(gateway, Protocol::Icmp, "10.64.0.5:9", "203.0.113.10:0").outcome;
        [from_inside, inbound(gateway, Protocol::Icmp, "198.51.100.7:9", "203.0.113.10:0").outcome]
    };
    assert_eq!(of_pool(&gateway), [Outcome::NewSession, Outcome::Drop(DropReason::NoMapping)]);
    gateway.reload(|settings| settings.pools[0].ping = true);
    assert_eq!(of_pool(&gateway), [Outcome::Local; 2]);
}

#[test]
fn explain_knows_ports_that_are_shared_between_remotes() {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools = vec![Pool {
            ports: 2000..=2000,
            addresses: vec![[203, 0, 113, 10].into()],
            mapping: MappingMode::AddressAndPortDependent,
            ..settings.pools[0].clone()
        }];
    });
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let new = |to| outbound(&gateway, Protocol::Udp, "10.64.0.6:4000", to).outcome;
    assert_eq!(new(REMOTE), Outcome::Reject(DropReason::PortsExhausted));
    assert_eq!(new("198.51.100.8:7000"), Outcome::NewSession, "free towards another remote");
}

#[test]
fn explain_knows_port_blocks() {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools = vec![Pool {
            ports: 2000..=2003,
            addresses: vec![[203, 0, 113, 10].into()],
            port_blocks: Some(PortBlocks { size: 2, per_subscriber: 1 }),
            ..settings.pools[0].clone()
        }];
    });
    let new = |gateway: &Gateway, from| outbound(gateway, Protocol::Udp, from, "198.51.100.8:7000").outcome;
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let block = outbound(&gateway, Protocol::Udp, HOST, REMOTE).block.expect("of a block");
    assert!(block[0] <= external.port && external.port <= block[1] && block[1] == block[0] + 1, "{block:?}");
    assert_eq!(new(&gateway, "10.64.0.5:4001"), Outcome::NewSession, "the block's other port");
    gateway.open(Protocol::Udp, ep("10.64.0.5:4001"), ep(REMOTE));
    assert_eq!(new(&gateway, "10.64.0.5:4002"), Outcome::Reject(DropReason::SubscriberPortBlocks));
    assert_eq!(new(&gateway, "10.64.0.6:4000"), Outcome::NewSession, "the other block");
    gateway.open(Protocol::Udp, ep("10.64.0.6:4000"), ep(REMOTE));
    assert_eq!(new(&gateway, "10.64.0.7:4000"), Outcome::Reject(DropReason::PortBlocksExhausted));
}

#[test]
fn explain_knows_whose_ports_are_deterministic() {
    let gateway = Gateway::changed(|settings| {
        let inside = vec!["10.64.0.4/31".parse().expect("prefix")];
        settings.pools[0].deterministic = Some(Deterministic { inside, size: 100 });
    });
    let listed = outbound(&gateway, Protocol::Udp, HOST, REMOTE);
    assert_eq!((listed.outcome, listed.block), (Outcome::NewSession, Some([1124, 1223])));
    let other = outbound(&gateway, Protocol::Udp, "10.64.0.6:4000", REMOTE);
    assert_eq!(other.outcome, Outcome::Reject(DropReason::NoPortRange));
}

/// What is said of a packet before it is sent, as far around as it goes.
fn foreseen(gateway: &Gateway, sent: &Sent, direction: Direction) -> Foreseen {
    let question = Question {
        protocol: sent.meaning.protocol(),
        tuple: Tuple::new(sent.from, sent.to),
        direction,
        hairpinned: false,
    };
    let first = asked(gateway, question);
    let begins = first.outcome == Outcome::NewSession;
    match first.around(&question) {
        None => Foreseen { begins, last: first, inbound: direction == Direction::Inbound, drawn: false },
        Some(around) => {
            let last = first.to_itself(&question).unwrap_or_else(|| asked(gateway, around));
            Foreseen { begins, last, inbound: true, drawn: first.source.is_none() }
        }
    }
}

#[derive(Debug)]
struct Foreseen {
    begins: bool,
    last: Explanation,
    inbound: bool,
    /// It hairpins from an endpoint that is not drawn yet. By chance it may be one that the other side has sent to.
    drawn: bool,
}

impl Foreseen {
    fn is(&self, fate: FragmentAction) -> bool {
        let last = &self.last;
        let ends = |source: Endpoint, destination: Endpoint| {
            let is_source = last.source.is_none_or(|foreseen| foreseen == source) || self.drawn;
            is_source && last.destination == Some(destination)
        };
        match (last.outcome, fate) {
            (Outcome::Local, FragmentAction::Local) => true,
            (Outcome::Drop(foreseen) | Outcome::Reject(foreseen), FragmentAction::Drop(reason)) => {
                foreseen == reason
            }
            (Outcome::Drop(_) | Outcome::Reject(_), FragmentAction::In(..)) => self.drawn && self.inbound,
            (Outcome::Session | Outcome::NewSession | Outcome::Mapping, FragmentAction::In(from, to)) => {
                self.inbound && ends(from, to)
            }
            (Outcome::Session | Outcome::NewSession, FragmentAction::Out(from, to)) => {
                !self.inbound && ends(from, to)
            }
            _ => false,
        }
    }
}

fn created(gateway: &mut Gateway) -> u64 {
    gateway.shards.iter_mut().flat_map(|shard| shard.counters().sessions_created).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn explanations_match_the_outcome(shape in shape(), steps in steps(60)) {
        let mut gateway = shape.gateway();
        for step in steps {
            if let Step::Pass(ticks) = step {
                gateway.pass_ms(ticks * TICK_MS);
                continue;
            }
            let known = externals(&gateway);
            let (sent, direction) = match resolve(&shape, step, &known) {
                Ok(sent) => (sent, Direction::Outbound),
                Err(sent) => (sent, Direction::Inbound),
            };
            let is_first = matches!(sent.meaning, Meaning::Datagram | Meaning::Segment(Flags::SYN) | Meaning::Query | Meaning::Other(_));
            let foreseen = is_first.then(|| foreseen(&gateway, &sent, direction));
            let before = created(&mut gateway);
            let packet: Packet = sent.packet();
            let fate: FragmentAction = match direction {
                Direction::Outbound => gateway.outbound(packet),
                Direction::Inbound => gateway.inbound(packet),
            }.into();
            let begun = created(&mut gateway) > before;
            if let Some(foreseen) = foreseen {
                prop_assert!(foreseen.is(fate), "{:?}: {:?}, but {:?}", sent, fate, foreseen);
                prop_assert_eq!(foreseen.begins, begun, "{:?}: {:?}, but {:?}", sent, fate, foreseen);
            }
        }
    }
}
