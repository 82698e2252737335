//! RFC 6888 REQ-11: whichever resource is used up, the new session is refused and answered by ICMP, and existing ones go on.

use natgw_nat::{
    Deterministic, DropReason, OtherProtocols, PortBlocks, Protocol, Refuse, SessionFailure, Settings,
};

use crate::packet::{GRE, Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, settings};

const HOST: &str = "10.64.0.5:4000";
const OTHER: &str = "10.64.0.6:4000";
const REMOTE: &str = "198.51.100.7:7000";

/// How a resource is used up.
struct Lack {
    failure: SessionFailure,
    change: fn(&mut Settings),
    /// What happens before, beside the first packet of the one who lives.
    before: fn(&mut Gateway),
    /// The first packet of the one who is refused.
    late: fn() -> Packet,
}

impl Lack {
    fn new(failure: SessionFailure, change: fn(&mut Settings), late: fn() -> Packet) -> Lack {
        Lack { failure, change, before: |_| {}, late }
    }
}

fn second_port() -> Packet {
    Packet::udp(at_port(ep(HOST), 4001), ep(REMOTE))
}

fn other_host() -> Packet {
    Packet::udp(ep(OTHER), ep(REMOTE))
}

fn one_address(settings: &mut Settings) {
    settings.pools[0].addresses.truncate(1);
}

/// Of a table of eight sessions.
fn lacks() -> Vec<Lack> {
    use SessionFailure::*;
    let blocks = |settings: &mut Settings| {
        one_address(settings);
        settings.pools[0].ports = 2000..=2000;
        settings.pools[0].port_blocks = Some(PortBlocks { size: 1, per_subscriber: 1 });
    };
    vec![
        Lack {
            before: |gateway| {
                (1..8).for_each(|at| _ = gateway.open(Protocol::Udp, at_port(ep(OTHER), at), ep(REMOTE)));
            },
            ..Lack::new(SessionsFull, |_| {}, second_port)
        },
        Lack {
            // All but one rest.
            before: |gateway| {
                for round in [0, 7, 14] {
                    let ports = round..(round + 7).min(15);
                    ports.for_each(|at| {
                        _ = gateway.open(Protocol::Udp, at_port(ep(OTHER), at), ep("192.0.2.1:53"))
                    });
                    gateway.pass_s(31);
                }
            },
            ..Lack::new(MappingsFull, |_| {}, second_port)
        },
        Lack {
            before: |gateway| {
                for at in 1..8 {
                    let host = natgw_nat::Endpoint { address: ep(OTHER).address + at, port: 1 };
                    gateway.open(Protocol::Udp, host, ep("192.0.2.1:53"));
                }
                gateway.pass_s(31);
            },
            ..Lack::new(SubscribersFull, |_| {}, other_host)
        },
        Lack::new(
            PortsExhausted,
            |settings| {
                one_address(settings);
                settings.pools[0].ports = 2000..=2000;
            },
            second_port,
        ),
        Lack::new(PortBlocksExhausted, blocks, other_host),
        Lack::new(SubscriberPortBlocks, blocks, second_port),
        Lack::new(
            NoPortRange,
            |settings| {
                let inside = vec!["10.64.0.5/32".parse().expect("prefix")];
                settings.pools[0].deterministic = Some(Deterministic { inside, size: 100 });
            },
            other_host,
        ),
        Lack {
            before: |gateway| drop(gateway.outbound(Packet::other(GRE, ep(HOST), ep(REMOTE))).out()),
            ..Lack::new(
                AddressTaken,
                |settings| {
                    one_address(settings);
                    settings.pools[0].other_protocols = OtherProtocols::ALL;
                },
                || Packet::other(GRE, ep(OTHER), ep(REMOTE)),
            )
        },
        Lack::new(SubscriberPorts, |settings| settings.limits.ports_per_subscriber = 1, second_port),
        Lack::new(SubscriberSessions, |settings| settings.limits.sessions_per_subscriber = 1, second_port),
        Lack {
            before: |gateway| _ = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE)),
            ..Lack::new(
                SubscriberHalfOpen,
                |settings| settings.limits.half_open_per_subscriber = 1,
                || Packet::first(Protocol::Tcp, at_port(ep(HOST), 4001), ep(REMOTE)),
            )
        },
        Lack::new(
            SubscriberRate,
            |settings| settings.limits.new_sessions_per_subscriber_per_s = 1,
            second_port,
        ),
        Lack { before: |gateway| gateway.shards[0].drain(true), ..Lack::new(Draining, |_| {}, second_port) },
    ]
}

#[test]
fn rfc6888_req11_every_lack_is_signalled_unless_that_is_switched_off() {
    let lacks = lacks();
    for &failure in SessionFailure::ALL {
        // Redirects are begun from outside, where no ICMP answers.
        let of_redirects = [SessionFailure::RedirectsFull, SessionFailure::RemoteTaken].contains(&failure);
        let is_known = of_redirects || lacks.iter().any(|lack| lack.failure == failure);
        assert!(is_known, "{} is not tried", failure.name());
    }
    for Lack { failure, change, before, late } in lacks {
        let mut settings = settings();
        change(&mut settings);
        let mut gateway = Gateway::with_shards(settings, 1, 8);
        let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
        before(&mut gateway);
        let reason: DropReason = failure.into();
        assert_eq!(gateway.outbound(late()), Outcome::Reject(reason));
        gateway.reload(|settings| settings.refuse = Refuse::Drop);
        assert_eq!(gateway.outbound(late()), Outcome::Drop(reason));
        let failures = gateway.shards[0].counters().session_failures;
        assert_eq!(failures[failure], 2, "{}", failure.name());
        let answer = gateway.inbound(Packet::udp(ep(REMOTE), external)).delivered();
        assert_eq!(answer.destination, ep(HOST), "who lives goes on");
    }
}
