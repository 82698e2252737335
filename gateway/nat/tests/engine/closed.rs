//! Connections that are closed, or were never established: how long their sessions stay, when their ports and places in the
//! table are used again, and which count as half open.

use natgw_nat::Direction::{self, Inbound, Outbound};
use natgw_nat::{DeleteReason, DropReason, Endpoint, Limits, Protocol, Refuse, SessionFailure, Settings};
use natgw_wire::tcp::Flags;

use crate::packet::{Packet, at_port, ep};
use crate::rfc5382::{ACK, FIN_ACK, HOST, REMOTE, RST, SYN, SYN_ACK};
use crate::sim::{Gateway, Outcome};

/// An inside host and what it sends.
struct Host {
    gateway: Gateway,
}

const CLOSE: [(Direction, Flags); 4] =
    [(Outbound, FIN_ACK), (Inbound, ACK), (Inbound, FIN_ACK), (Outbound, ACK)];

impl Host {
    fn new(limits: impl Fn(Limits) -> Limits) -> Host {
        Host::changed(|settings| settings.limits = limits(settings.limits))
    }

    fn changed(change: impl FnOnce(&mut Settings)) -> Host {
        Host { gateway: Gateway::changed(change) }
    }

    fn send(&mut self, port: u16, flags: Flags) -> Outcome {
        self.gateway.outbound(Packet::tcp(at_port(ep(HOST), port), ep(REMOTE), flags))
    }

    fn run(&mut self, port: u16, external: Endpoint, segments: &[(Direction, Flags)]) {
        for &(direction, flags) in segments {
            match direction {
                Outbound => assert_eq!(self.send(port, flags).out().source, external),
                Inbound => {
                    self.gateway.inbound(Packet::tcp(ep(REMOTE), external, flags)).delivered();
                }
            }
        }
    }

    /// Opens a connection from a port, and lets `segments` follow.
    fn connect(&mut self, port: u16, segments: &[(Direction, Flags)]) -> Endpoint {
        let external = self.send(port, SYN).out().source;
        self.run(port, external, &[(Inbound, SYN_ACK), (Outbound, ACK)]);
        self.run(port, external, segments);
        external
    }

    fn opens(&mut self, port: u16) -> bool {
        matches!(self.send(port, SYN), Outcome::Out(_))
    }

    fn reused(&mut self) -> u64 {
        self.gateway.shards[0].counters().sessions_deleted[DeleteReason::Reused]
    }
}

#[test]
fn remotes_alone_refresh_no_closed_or_opening_connection() {
    let states: [(&str, &[(Direction, Flags)]); 7] = [
        ("closed", &[(Inbound, SYN_ACK), (Outbound, ACK), CLOSE[0], CLOSE[1], CLOSE[2], CLOSE[3]]),
        ("not acknowledged", &[(Inbound, SYN_ACK), (Outbound, ACK), (Outbound, FIN_ACK), (Inbound, FIN_ACK)]),
        ("reset by the host", &[(Inbound, SYN_ACK), (Outbound, ACK), (Outbound, RST)]),
        ("reset by the remote", &[(Inbound, SYN_ACK), (Outbound, ACK), (Inbound, RST)]),
        ("never answered", &[]),
        ("not acknowledged by the host", &[(Inbound, SYN_ACK)]),
        ("closed before that", &[(Inbound, SYN_ACK), (Inbound, FIN_ACK)]),
    ];
    for (state, segments) in states {
        for flags in [ACK, SYN_ACK, FIN_ACK, SYN, RST] {
            let mut host = Host::new(|limits| limits);
            let external = host.send(4000, SYN).out().source;
            host.run(4000, external, segments);
            for _ in 0..20 {
                host.gateway.pass_s(100);
                host.gateway.inbound(Packet::tcp(ep(REMOTE), external, flags));
            }
            assert_eq!(host.gateway.sessions(), [], "{state}, and {flags:?} for half an hour");
        }
    }
}

/// Its RSTs answer what the remote sends: they must not keep what that may not.
#[test]
fn a_host_that_answers_for_a_closed_connection_does_not_keep_it() {
    for end in [&[(Outbound, RST)][..], &CLOSE] {
        let mut host = Host::new(|limits| limits);
        let external = host.connect(4000, end);
        for _ in 0..20 {
            host.gateway.pass_s(100);
            host.gateway.inbound(Packet::tcp(ep(REMOTE), external, ACK));
            host.send(4000, RST);
        }
        assert_eq!(host.gateway.sessions(), []);
    }
}

#[test]
fn a_remote_cannot_keep_a_subscriber_from_its_ports() {
    let mut host = Host::new(|limits| Limits { ports_per_subscriber: 50, ..limits });
    let externals: Vec<_> = (4000..4050).map(|port| host.connect(port, &[(Outbound, RST)])).collect();
    for _ in 0..12 {
        host.gateway.pass_s(200);
        for &external in &externals {
            host.gateway.inbound(Packet::tcp(ep(REMOTE), external, ACK));
        }
    }
    assert_eq!((host.gateway.sessions(), host.gateway.mappings()), (vec![], vec![]));
}

#[test]
fn rfc7857_req2_a_reset_that_both_sides_take_for_forged_ends_nothing() {
    for first in Direction::ALL {
        let mut host = Host::new(|limits| limits);
        let external = host.connect(4000, &[(Inbound, RST), (first, ACK)]);
        let state = |host: &Host| {
            let session = host.gateway.sessions()[0];
            (session.state, session.expires_in_ms)
        };
        assert_eq!(state(&host), ("reset", 240_000), "one side alone");
        host.run(4000, external, &[(first.flip(), ACK)]);
        assert_eq!(state(&host), ("established", 7_440_000));
    }
}

#[test]
fn a_connection_that_opens_in_spite_of_a_reset_is_not_half_open() {
    let mut host = Host::new(|limits| Limits { half_open_per_subscriber: 1, ..limits });
    let external = host.send(4000, SYN).out().source;
    host.run(4000, external, &[(Inbound, SYN_ACK), (Inbound, RST), (Outbound, ACK), (Inbound, ACK)]);
    assert_eq!(host.gateway.sessions()[0].state, "established");
    assert!(host.opens(4001), "nothing is half open");
    assert!(!host.opens(4002));
}

#[test]
fn the_half_open_limit_holds_for_connections_that_begin_anew() {
    let mut host = Host::new(|limits| Limits { half_open_per_subscriber: 2, ..limits });
    let externals: Vec<_> = (4000..4010).map(|port| host.connect(port, &CLOSE)).collect();
    assert_eq!((4000..4010).filter(|&port| host.opens(port)).count(), 2);
    let failures = host.gateway.shards[0].counters().session_failures;
    assert_eq!(failures[SessionFailure::SubscriberHalfOpen], 8);
    assert_eq!(host.send(4005, SYN), Outcome::Reject(DropReason::SubscriberHalfOpen));
    // The same SYN again is no further connection.
    assert!(host.opens(4000));
    host.run(4000, externals[0], &[(Inbound, SYN_ACK), (Outbound, ACK)]);
    assert!(host.opens(4009));
}

/// Of a refused connection nothing is left to wait for.
#[test]
fn refused_connections_do_not_use_up_the_half_open_limit() {
    let mut host = Host::new(|limits| Limits { half_open_per_subscriber: 3, ..limits });
    for port in 4000..4100 {
        let external = host.send(port, SYN).out().source;
        host.run(port, external, &[(Inbound, RST)]);
    }
    assert!(host.opens(5000) && host.opens(5001) && host.opens(5002) && !host.opens(5003));
}

/// The remote may remember an older connection from an outside endpoint (TIME-WAIT). It acknowledges that one, the host resets
/// it, and sends its SYN again (RFC 9293 section 3.10.7.3).
#[test]
fn a_host_that_resets_an_older_connection_has_the_same_endpoint_for_its_next_syn() {
    let mut host = Host::new(|limits| Limits { ports_per_subscriber: 8, ..limits });
    (4000..4008).for_each(|port| _ = host.connect(port, &CLOSE));
    let external = host.send(5000, SYN).out().source;
    host.run(5000, external, &[(Inbound, ACK), (Outbound, RST)]);
    // Others open meanwhile, at the host's limits.
    assert!((6000..6006).all(|port| host.opens(port)));
    assert_eq!(host.send(5000, SYN).out().source, external);
}

#[test]
fn a_segment_without_syn_begins_nothing_that_outlives_an_opening_connection_unless_the_remote_answers() {
    let mut host = Host::changed(|settings| {
        settings.statics.push(natgw_nat::Static {
            external: "203.0.113.20/32".parse().expect("prefix"),
            internal: "10.64.0.5/32".parse().expect("prefix"),
        });
        settings.limits.half_open_per_subscriber = 4;
    });
    let external = host.send(4000, ACK).out().source;
    host.send(4001, ACK).out();
    let sessions = host.gateway.sessions();
    let states: Vec<_> = sessions.iter().map(|s| (s.state, s.expires_in_ms)).collect();
    assert_eq!(states, [("unanswered", 240_000); 2]);
    // They have half of the limit. A static mapping carries more of them without a session.
    assert_eq!(host.send(4002, ACK).out().source.port, 4002);
    assert_eq!(host.gateway.sessions().len(), 2);
    assert!(host.opens(5000) && host.opens(5001) && !host.opens(5002), "they count as half open");
    host.run(4000, external, &[(Inbound, ACK)]);
    assert_eq!(host.gateway.sessions()[0].state, "established");
    assert!(host.opens(5002));
    host.gateway.pass_s(241);
    assert_eq!(host.gateway.sessions().len(), 1);
}

#[test]
fn a_closed_connections_port_serves_its_own_subscriber_alone() {
    let mut host = Host::changed(|settings| {
        settings.pools[0].addresses.truncate(1);
        settings.pools[0].ports = 4000..=4003;
    });
    let ports: Vec<_> = (4000..4004).map(|port| host.connect(port, &CLOSE).port).collect();
    assert_eq!(ports, [4000, 4001, 4002, 4003]);
    let other = Packet::tcp(ep("10.64.0.6:4000"), ep(REMOTE), SYN);
    assert_eq!(host.gateway.outbound(other).reason(), DropReason::PortsExhausted);
    // The one that was closed first goes first.
    let again: Vec<_> = (6000..6003).map(|port| host.connect(port, &[]).port).collect();
    assert_eq!((again, host.reused()), (vec![4000, 4001, 4002], 3));
    // What is open stays (RFC 6888 REQ-11).
    assert!(host.opens(7000) && !host.opens(7001));
    let open = host.gateway.sessions().iter().filter(|session| session.state == "established").count();
    assert_eq!(open, 3);
    let failures = host.gateway.shards[0].pool_failures(0, SessionFailure::PortsExhausted);
    assert_eq!(failures, 2, "of the other host, and the last one");
}

#[test]
fn rfc6888_req11_connections_that_may_still_be_open_are_given_up_for_nothing() {
    let ends: [&[(Direction, Flags)]; 5] = [
        &[],
        &[(Outbound, FIN_ACK), (Inbound, ACK)],
        &[(Inbound, FIN_ACK), (Outbound, ACK)],
        &[(Outbound, FIN_ACK), (Inbound, FIN_ACK)],
        &[(Inbound, RST), (Outbound, ACK)],
    ];
    for end in ends {
        let mut host = Host::new(|limits| Limits { ports_per_subscriber: 3, ..limits });
        (4000..4003).for_each(|port| _ = host.connect(port, end));
        assert_eq!(host.send(5000, SYN).reason(), DropReason::SubscriberPorts, "{end:?}");
        assert_eq!((host.gateway.sessions().len(), host.reused()), (3, 0));
    }
}

#[test]
fn closed_connections_make_room_within_every_limit() {
    let limits: [fn(Limits) -> Limits; 4] = [
        |limits| Limits { ports_per_subscriber: 8, ..limits },
        |limits| Limits { sessions_per_subscriber: 8, ..limits },
        |limits| {
            let mut limits = limits;
            limits.protocol_sessions_per_subscriber[Protocol::Tcp] = 8;
            limits
        },
        |limits| limits,
    ];
    for (nth, change) in limits.into_iter().enumerate() {
        let mut settings = crate::sim::settings();
        settings.limits = change(settings.limits);
        // The last one: a table with room for so many.
        let room = if nth == 3 { 8 } else { 1024 };
        let mut host = Host { gateway: Gateway::with_shards(settings, 1, room) };
        for port in 4000..4200 {
            host.connect(port, &CLOSE);
        }
        assert_eq!(host.gateway.sessions().len(), 8, "{nth}");
        assert_eq!(host.reused(), 192, "{nth}");
    }
}

#[test]
fn many_short_connections_from_one_host_all_open_by_default() {
    let mut settings = crate::sim::settings();
    settings.limits = Limits::default();
    let mut host = Host { gateway: Gateway::with_shards(settings, 1, 65_536) };
    for nth in 0..50_000u32 {
        // Linux's ephemeral ports; some 6,000 connections a second.
        let port = 32_768 + (nth % 28_232) as u16;
        host.connect(port, &[(Inbound, FIN_ACK), (Outbound, FIN_ACK), (Inbound, ACK)]);
        if nth % 6 == 0 {
            host.gateway.pass_ms(1);
        }
    }
    assert_eq!(host.gateway.shards[0].counters().session_failures.iter().sum::<u64>(), 0);
}

/// A hundred pages with thirty servers each: a name asked for, two connections at once of which one is used, HTTP/3 tried
/// beside. Every server answers; nothing is closed in good order.
#[test]
fn a_browsing_host_finds_room_by_default() {
    let mut settings = crate::sim::settings();
    settings.limits = Limits::default();
    let mut host = Host { gateway: Gateway::with_shards(settings, 1, 65_536) };
    let dns = ep("9.9.9.9:53");
    let mut port = 32_768;
    for server in 0..100 * 30 {
        let remote = Endpoint { address: ep("198.18.0.0:0").address + server, port: 443 };
        port = if port > 60_000 { 32_768 } else { port + 4 };
        let from = |nth: u16| at_port(ep(HOST), port + nth);
        host.gateway.outbound(Packet::udp(from(0), dns)).out();
        host.gateway.outbound(Packet::udp(from(1), remote)).out();
        for nth in [2, 3] {
            let external = host.gateway.outbound(Packet::tcp(from(nth), remote, SYN)).out().source;
            host.gateway.inbound(Packet::tcp(remote, external, SYN_ACK)).delivered();
            host.gateway.outbound(Packet::tcp(from(nth), remote, ACK)).out();
        }
        host.gateway.pass_ms(100);
    }
    let counters = host.gateway.shards[0].counters();
    assert_eq!(counters.session_failures.iter().sum::<u64>(), 0);
}

#[test]
fn a_segment_of_a_connection_that_was_forgotten_is_due_a_reset() {
    let mut host = Host::new(|limits| limits);
    host.connect(4000, &[]);
    let filter = natgw_nat::Filter::default();
    assert_eq!(host.gateway.delete(&filter), 1);
    let segments = [ACK, FIN_ACK, SYN_ACK, Flags(ACK.0 | Flags::PSH.0)];
    for flags in segments {
        assert_eq!(host.send(4000, flags), Outcome::Reset(DropReason::TcpNoSession));
    }
    for flags in [RST, Flags(RST.0 | ACK.0)] {
        assert_eq!(host.send(4000, flags), Outcome::Drop(DropReason::TcpNoSession));
    }
    let dropped = host.gateway.shards[0].counters().dropped;
    assert_eq!(dropped[DropReason::TcpNoSession], [6, 0]);
    assert_eq!(host.gateway.sessions(), []);
    host.gateway.reload(|settings| settings.refuse = Refuse::Drop);
    for flags in segments {
        assert_eq!(host.send(4000, flags), Outcome::Drop(DropReason::TcpNoSession));
    }
}

#[test]
fn a_stream_is_taken_up_in_the_middle_where_that_is_asked_for() {
    let mut host = Host::changed(|settings| settings.tcp_pickup = true);
    let external = host.connect(4000, &[]);
    host.gateway.delete(&natgw_nat::Filter::default());
    assert_eq!(host.send(4000, ACK).out().source, external, "the resting port is its own");
    assert_eq!(host.gateway.sessions()[0].state, "unanswered");
    host.run(4000, external, &[(Inbound, ACK)]);
    assert_eq!(host.gateway.sessions()[0].state, "established");
    // What ends a connection begins none.
    assert_eq!(host.send(4001, FIN_ACK), Outcome::Reset(DropReason::TcpNoSession));
    // Half as many as may be half open, and no more.
    host.gateway.reload(|settings| settings.limits.half_open_per_subscriber = 6);
    let taken = (5000..5010).filter(|&port| matches!(host.send(port, ACK), Outcome::Out(_))).count();
    assert_eq!(taken, 3);
}
