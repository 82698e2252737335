//! RFC 5382: TCP.

use natgw_nat::Direction::{Inbound, Outbound};
use natgw_nat::{
    DeleteReason, Direction, DropReason, Endpoint, Filtering, Protocol, Refuse, Settings, UnsolicitedSyn,
};
use natgw_wire::tcp::Flags;

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, settings};

pub(crate) const HOST: &str = "10.64.0.5:4000";
pub(crate) const REMOTE: &str = "198.51.100.7:443";
const STRANGER: &str = "192.0.2.99:5000";
pub(crate) const SYN: Flags = Flags::SYN;
pub(crate) const ACK: Flags = Flags::ACK;
pub(crate) const RST: Flags = Flags::RST;
pub(crate) const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
pub(crate) const FIN_ACK: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);

/// Segments of one connection that an inside host opens.
pub(crate) struct Connection {
    pub(crate) gateway: Gateway,
    pub(crate) external: Endpoint,
}

impl Connection {
    pub(crate) fn open() -> Connection {
        let mut gateway = Gateway::changed(|_| {});
        let external = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
        Connection { gateway, external }
    }

    pub(crate) fn established() -> Connection {
        let mut connection = Connection::open();
        connection.run(&[(Inbound, SYN_ACK), (Outbound, ACK)]);
        connection
    }

    pub(crate) fn run(&mut self, segments: &[(Direction, Flags)]) {
        for &(direction, flags) in segments {
            match direction {
                Outbound => {
                    let seen = self.gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), flags)).out();
                    assert_eq!(seen.source, self.external);
                }
                Inbound => {
                    let segment = Packet::tcp(ep(REMOTE), self.external, flags);
                    assert_eq!(self.gateway.inbound(segment).delivered().destination, ep(HOST));
                }
            }
        }
    }

    /// The session's state, and that it lives for so many idle seconds, to the second.
    #[track_caller]
    pub(crate) fn lives(&mut self, state: &str, seconds: u64) {
        let sessions = self.gateway.sessions();
        assert_eq!((sessions.len(), sessions[0].state), (1, state));
        assert_eq!(sessions[0].expires_in_ms, seconds * 1000);
        self.gateway.pass_ms(seconds * 1000 - 1);
        assert_eq!(self.gateway.sessions().len(), 1, "{state} ended early");
        self.gateway.pass_ms(1 + 128);
        assert_eq!(self.gateway.sessions().len(), 0, "{state} did not end");
        let late = self.gateway.inbound(Packet::tcp(ep(REMOTE), self.external, ACK));
        assert_eq!(late.reason(), DropReason::NoMapping);
    }
}

#[test]
fn rfc5382_req1_maps_whatever_the_destination() {
    let mut gateway = Gateway::changed(|_| {});
    let mapped = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    for remote in ["198.51.100.7:444", "192.0.2.1:443"] {
        assert_eq!(gateway.open(Protocol::Tcp, ep(HOST), ep(remote)), mapped);
    }
}

#[test]
fn rfc5382_req2_three_way_handshake() {
    let mut connection = Connection::open();
    connection.run(&[(Inbound, SYN_ACK), (Outbound, ACK), (Outbound, ACK), (Inbound, ACK)]);
    connection.lives("established", 7440);
}

#[test]
fn rfc5382_req2_simultaneous_open() {
    let mut connection = Connection::open();
    connection.run(&[(Inbound, SYN), (Outbound, SYN_ACK), (Inbound, SYN_ACK), (Outbound, ACK)]);
    connection.lives("established", 7440);
}

#[test]
fn rfc5382_req2_half_closed_connections_go_on() {
    for first in [Outbound, Inbound] {
        let mut connection = Connection::established();
        connection.run(&[(first, FIN_ACK), (first.flip(), ACK), (first.flip(), ACK)]);
        connection.gateway.pass_s(7439);
        connection.run(&[(first.flip(), ACK), (first, ACK), (first.flip(), FIN_ACK), (first, ACK)]);
        connection.lives("closed", 240);
        let deleted = connection.gateway.shards[0].counters().sessions_deleted;
        assert_eq!(deleted[DeleteReason::Closed], 1);
    }
}

#[test]
fn rfc5382_req2_reset_from_either_side_passes() {
    for from in [Outbound, Inbound] {
        let mut connection = Connection::established();
        connection.run(&[(from, RST)]);
        connection.lives("reset", 240);
    }
}

#[test]
fn rfc5382_req2_a_segment_without_syn_begins_nothing() {
    let mut gateway = Gateway::changed(|_| {});
    for flags in [ACK, RST, FIN_ACK] {
        let stray = Packet::tcp(ep(HOST), ep(REMOTE), flags);
        assert_eq!(gateway.outbound(stray).reason(), DropReason::TcpNoSession);
    }
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
}

#[test]
fn rfc5382_req3_filters_unsolicited_connections() {
    let stranger = ep("192.0.2.99:5000");
    for (filtering, admitted) in
        [(Filtering::AddressDependent, false), (Filtering::EndpointIndependent, true)]
    {
        let mut gateway = Gateway::changed(|settings| settings.pools[0].filtering = filtering);
        let external = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
        let syn = gateway.inbound(Packet::tcp(stranger, external, SYN));
        if !admitted {
            assert_eq!(syn.reason(), DropReason::Filtered);
            continue;
        }
        assert_eq!(syn.delivered().destination, ep(HOST));
        assert_eq!(gateway.sessions().len(), 1, "a SYN from outside makes no session");
        // Nor does the SYN-ACK, which any remote could trigger. The segment after the handshake does.
        let answer = gateway.outbound(Packet::tcp(ep(HOST), stranger, SYN_ACK)).out();
        assert_eq!((answer.source, gateway.sessions().len()), (external, 1));
        gateway.inbound(Packet::tcp(stranger, external, ACK)).delivered();
        gateway.outbound(Packet::tcp(ep(HOST), stranger, ACK)).out();
        // It lasts as long as an opening connection, until the remote is heard.
        gateway.inbound(Packet::tcp(stranger, external, ACK)).delivered();
        let session = gateway.sessions().into_iter().find(|session| session.remote == stranger);
        assert_eq!(session.expect("session").state, "established");
    }
}

#[test]
fn rfc5382_req3_tcp_filters_apart_from_udp() {
    let (strict, open) = (Filtering::AddressAndPortDependent, Filtering::EndpointIndependent);
    let stranger = ep("192.0.2.99:5000");
    for (tcp, udp) in [(Some(open), Some(strict)), (Some(strict), Some(open)), (None, None)] {
        let mut gateway = Gateway::changed(|settings| {
            (settings.pools[0].filtering_tcp, settings.pools[0].filtering_udp) = (tcp, udp);
        });
        let own = [(Protocol::Tcp, tcp), (Protocol::Udp, udp), (Protocol::Icmp, None)];
        for (protocol, own) in own {
            let external = gateway.open(protocol, ep(HOST), ep(REMOTE));
            let mut admits = |from| gateway.inbound(Packet::answer(protocol, from, external)).is_delivered();
            // Where it has none of its own, the pool's holds: address-dependent.
            let (filtering, neighbour) = (own.unwrap_or(Filtering::AddressDependent), at_port(ep(REMOTE), 9));
            assert_eq!(admits(stranger), filtering == open, "{protocol:?} {filtering:?}");
            assert_eq!(admits(neighbour), filtering != strict, "{protocol:?} {filtering:?}");
        }
    }
}

#[test]
fn rfc5382_req3_a_refusal_of_an_admitted_connection_passes_and_keeps_nothing() {
    let mut gateway =
        Gateway::changed(|settings| settings.pools[0].filtering = Filtering::EndpointIndependent);
    let external = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    let stranger = ep("192.0.2.99:5000");
    gateway.inbound(Packet::tcp(stranger, external, SYN)).delivered();
    let refusal = gateway.outbound(Packet::tcp(ep(HOST), stranger, RST | ACK)).out();
    assert_eq!((refusal.source, gateway.sessions().len()), (external, 1));
}

/// A mapping of `HOST`'s, an endpoint that its filtering does not let in, and its SYN.
fn unsolicited(change: impl FnOnce(&mut Settings)) -> (Gateway, Endpoint, Packet) {
    let mut gateway = Gateway::changed(change);
    let external = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    (gateway, external, Packet::tcp(ep(STRANGER), external, SYN))
}

/// What the engine hands out to be answered.
fn unanswered(gateway: &mut Gateway) -> Vec<Vec<u8>> {
    let now = gateway.now;
    let shard = &mut gateway.shards[0];
    std::iter::from_fn(|| shard.unanswered_syn(now, &mut u32::MAX.clone()))
        .map(|syn| syn.quote.to_vec())
        .collect()
}

fn counted(gateway: &mut Gateway, event: UnsolicitedSyn) -> u64 {
    gateway.shards[0].counters().unsolicited_syns[event]
}

#[test]
fn rfc5382_req4_an_unsolicited_syn_is_answered_after_6_s_and_once() {
    let (mut gateway, _, syn) = unsolicited(|_| {});
    assert_eq!(gateway.inbound(syn.clone().padding(9)).reason(), DropReason::Filtered);
    for after_ms in [1000, 2000, 2999] {
        gateway.pass_ms(after_ms);
        assert_eq!(gateway.inbound(syn.clone()).reason(), DropReason::Filtered);
        assert_eq!(unanswered(&mut gateway), [[0; 0]; 0]);
    }
    gateway.pass_ms(1);
    assert_eq!(unanswered(&mut gateway), [syn.bytes()]);
    gateway.pass_s(60);
    assert_eq!(unanswered(&mut gateway), [[0; 0]; 0]);
    let events = [UnsolicitedSyn::Held, UnsolicitedSyn::Expired].map(|event| counted(&mut gateway, event));
    assert_eq!((events, gateway.sessions().len()), ([1, 1], 1));
    // And again, when it comes again.
    gateway.inbound(syn.clone());
    gateway.pass_s(6);
    assert_eq!(unanswered(&mut gateway).len(), 1);
}

#[test]
fn rfc5382_req4_a_syn_that_an_outbound_one_crosses_is_not_answered_and_the_open_goes_on() {
    let (mut gateway, external, syn) = unsolicited(|_| {});
    gateway.inbound(syn);
    gateway.pass_s(5);
    let out = gateway.outbound(Packet::tcp(ep(HOST), ep(STRANGER), SYN)).out();
    assert_eq!(out.source, external);
    gateway.inbound(Packet::tcp(ep(STRANGER), external, SYN_ACK)).delivered();
    gateway.outbound(Packet::tcp(ep(HOST), ep(STRANGER), ACK)).out();
    gateway.pass_s(60);
    assert_eq!(unanswered(&mut gateway), [[0; 0]; 0]);
    assert_eq!(counted(&mut gateway, UnsolicitedSyn::Crossed), 1);
}

#[test]
fn rfc5382_req4_nothing_else_is_answered() {
    let (mut gateway, external, syn) = unsolicited(|_| {});
    for flags in [SYN_ACK, ACK, RST, FIN_ACK] {
        gateway.inbound(Packet::tcp(ep(STRANGER), external, flags));
    }
    gateway.inbound(Packet::udp(ep(STRANGER), external));
    let nobodys = at_port(external, external.port ^ 2);
    assert_eq!(gateway.inbound(Packet::tcp(ep(STRANGER), nobodys, SYN)).reason(), DropReason::NoMapping);
    gateway.reload(|settings| settings.unsolicited_syn = Refuse::Drop);
    gateway.inbound(syn);
    gateway.pass_s(60);
    assert_eq!(unanswered(&mut gateway), [[0; 0]; 0]);
    assert_eq!(counted(&mut gateway, UnsolicitedSyn::Held), 0);
}

#[test]
fn rfc5382_req4_held_syns_are_bounded() {
    let (mut gateway, external, _) = unsolicited(|settings| settings.timeouts.tcp_unsolicited_syn_s = 10);
    for round in 0..3 {
        for port in 1..=2000 {
            let outcome = gateway.inbound(Packet::tcp(at_port(ep(STRANGER), port), external, SYN));
            assert_eq!(outcome.reason(), DropReason::Filtered);
        }
        assert_eq!(counted(&mut gateway, UnsolicitedSyn::Held), 1024 * (round + 1));
        assert_eq!(counted(&mut gateway, UnsolicitedSyn::Full), 976 * (round + 1));
        gateway.pass_s(10);
        let mut budget = 100;
        let now = gateway.now;
        while gateway.shards[0].unanswered_syn(now, &mut budget).is_some() {}
        assert_eq!((budget, counted(&mut gateway, UnsolicitedSyn::Expired)), (0, 1024 * round + 100));
        assert_eq!(unanswered(&mut gateway).len(), 924);
    }
}

#[test]
fn rfc5382_req5_opening_connections_live_240_s() {
    Connection::open().lives("syn-sent", 240);
    let mut answered = Connection::open();
    answered.run(&[(Inbound, SYN_ACK)]);
    answered.lives("syn-both", 240);
}

/// Its timer was set for hours when the connection closes.
#[test]
fn rfc5382_req5_a_closing_connection_does_not_wait_for_the_timer_of_an_open_one() {
    for end in [&[(Outbound, RST)][..], &[(Outbound, FIN_ACK), (Inbound, FIN_ACK)]] {
        let mut connection = Connection::established();
        connection.gateway.pass_s(1000);
        connection.run(end);
        connection.gateway.pass_ms(240_128);
        assert_eq!(connection.gateway.sessions(), []);
    }
}

#[test]
fn rfc5382_req5_either_side_keeps_an_established_connection() {
    let mut connection = Connection::established();
    for direction in [Inbound, Outbound, Inbound] {
        connection.gateway.pass_s(7439);
        connection.run(&[(direction, ACK)]);
    }
    connection.lives("established", 7440);
}

#[test]
fn rfc5382_req7_ports_are_not_overloaded() {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools[0].addresses.truncate(1);
        settings.pools[0].ports = 2000..=2009;
    });
    let hosts = (10..20).map(|host| Endpoint { address: ep("10.64.0.0:0").address + host, port: 4000 });
    let mut ports: Vec<u16> = hosts
        .enumerate()
        .map(|(at, host)| gateway.open(Protocol::Tcp, host, at_port(ep(REMOTE), at as u16)).port)
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, (2000..=2009).collect::<Vec<_>>());
    let eleventh = Packet::tcp(ep("10.64.0.30:4000"), ep("192.0.2.1:1"), SYN);
    assert_eq!(gateway.outbound(eleventh).reason(), DropReason::PortsExhausted);
}

#[test]
fn rfc5382_req8_connections_hairpin() {
    for shards in [1, 2] {
        let mut settings = settings();
        settings.pools[0].filtering = Filtering::EndpointIndependent;
        let mut gateway = Gateway::with_shards(settings, shards, 1024);
        let (client, server) = (ep(HOST), ep("10.64.0.8:80"));
        let of_server = gateway.open(Protocol::Tcp, server, ep(REMOTE));
        let seen = gateway.outbound(Packet::tcp(client, of_server, SYN)).delivered();
        assert_eq!(seen.destination, server);
        let of_client = seen.source;
        let answer = gateway.outbound(Packet::tcp(server, of_client, SYN_ACK)).delivered();
        assert_eq!((answer.source, answer.destination), (of_server, client));
        let ack = gateway.outbound(Packet::tcp(client, of_server, ACK)).delivered();
        assert_eq!((ack.source, ack.destination), (of_client, server));
        gateway.outbound(Packet::tcp(server, of_client, ACK)).delivered();
        gateway.outbound(Packet::tcp(client, of_server, ACK)).delivered();
        let open = gateway.sessions().iter().filter(|session| session.state == "established").count();
        assert_eq!(open, 2, "both halves are open");
    }
}

#[test]
fn rfc5382_req9_and_10_icmp_errors_are_translated_and_never_end_a_session() {
    let mut connection = Connection::established();
    let sent = connection.gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), ACK)).out();
    connection.gateway.pass_s(1000);
    for (ty, code) in [(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (12, 0)] {
        let seen =
            connection.gateway.inbound(Packet::error("192.0.2.254", ty, code, &sent.bytes)).delivered();
        assert_eq!((seen.embedded().source, seen.embedded().destination), (ep(HOST), ep(REMOTE)));
    }
    let session = connection.gateway.sessions()[0];
    assert_eq!((session.state, session.expires_in_ms), ("established", 6_440_000));
}
