//! RFC 7857 section 2: the states of TCP connections and their timers.

use natgw_nat::Direction::{self, Inbound, Outbound};
use natgw_nat::{Filtering, Protocol};
use natgw_wire::ipv4;
use natgw_wire::tcp::{self, Flags};

use crate::packet::{Packet, ep};
use crate::rfc5382::{ACK, Connection, FIN_ACK, HOST, REMOTE, RST, SYN, SYN_ACK};
use crate::sim::Gateway;

type Segments = &'static [(Direction, Flags)];

/// What leads to each state behind the first SYN, and how long a connection may idle in it.
const STATES: [(Segments, &str, u64); 8] = [
    (&[], "syn-sent", 240),
    (&[(Inbound, SYN_ACK)], "syn-both", 240),
    (&[(Inbound, SYN), (Outbound, SYN_ACK)], "syn-both", 240),
    (&[(Inbound, SYN_ACK), (Outbound, ACK)], "established", 7440),
    (&[(Inbound, SYN_ACK), (Outbound, ACK), (Outbound, FIN_ACK), (Inbound, ACK)], "fin-inside", 7440),
    (&[(Inbound, SYN_ACK), (Outbound, ACK), (Inbound, FIN_ACK), (Outbound, ACK)], "fin-remote", 7440),
    (&[(Inbound, SYN_ACK), (Outbound, ACK), (Outbound, FIN_ACK), (Inbound, FIN_ACK)], "fin-both", 240),
    (&[(Inbound, SYN_ACK), (Outbound, ACK), (Inbound, RST)], "reset", 240),
];

fn connection(segments: Segments) -> Connection {
    let mut connection = Connection::open();
    connection.run(segments);
    connection
}

#[test]
fn rfc7857_req2_every_state_has_its_timer() {
    for (segments, state, seconds) in STATES {
        connection(segments).lives(state, seconds);
    }
}

#[test]
fn rfc7857_req2_opening_and_closing_have_timers_of_their_own() {
    for (segments, state, seconds) in STATES {
        let mut connection = Connection::open();
        connection.gateway.reload(|settings| {
            settings.timeouts.tcp_opening_s = 20;
            settings.timeouts.tcp_closing_s = 30;
        });
        connection.run(segments);
        // The first packet went before the change.
        connection.run(if segments.is_empty() { &[(Outbound, SYN)] } else { &[] });
        connection.lives(
            state,
            if seconds > 240 {
                seconds
            } else if state.starts_with("syn") {
                20
            } else {
                30
            },
        );
    }
}

#[test]
fn rfc7857_req2_a_reset_passes_in_every_state_and_leaves_the_session_240_s() {
    for (segments, state, _) in STATES {
        for from in Direction::ALL {
            let mut connection = connection(segments);
            connection.run(&[(from, RST)]);
            // Both sides have closed it already.
            connection.lives(if state == "fin-both" { "closed" } else { "reset" }, 240);
        }
    }
}

#[test]
fn rfc7857_req2_segments_of_either_side_keep_an_open_connection_and_the_hosts_own_an_opening_one() {
    for (segments, state, seconds) in STATES.into_iter().filter(|(_, _, seconds)| *seconds > 240) {
        let mut connection = connection(segments);
        for from in [Inbound, Outbound, Inbound] {
            connection.gateway.pass_s(seconds - 1);
            connection.run(&[(from, ACK)]);
        }
        connection.lives(state, seconds);
    }
    for (segments, state, flags) in [(STATES[0].0, "syn-sent", SYN), (STATES[2].0, "syn-both", SYN_ACK)] {
        let mut connection = connection(segments);
        for _ in 0..3 {
            connection.gateway.pass_s(239);
            connection.run(&[(Outbound, flags)]);
        }
        connection.lives(state, 240);
    }
}

#[test]
fn rfc7857_req2_nothing_keeps_a_closing_connection() {
    for (segments, state, _) in
        STATES.into_iter().filter(|(_, state, _)| ["fin-both", "reset"].contains(state))
    {
        for from in Direction::ALL {
            let mut connection = connection(segments);
            connection.gateway.pass_s(100);
            connection.run(&[(from, FIN_ACK)]);
            connection.lives(state, 140);
        }
    }
}

#[test]
fn rfc7857_req2_data_after_a_reset_keeps_the_connection() {
    let mut connection = Connection::established();
    connection.run(&[(Inbound, RST), (Outbound, ACK), (Inbound, ACK)]);
    connection.lives("established", 7440);
}

#[test]
fn rfc7857_req2_a_syn_takes_a_closed_connections_place() {
    let mut connection = Connection::established();
    connection.run(&[(Outbound, FIN_ACK), (Inbound, FIN_ACK), (Outbound, ACK)]);
    connection.gateway.pass_s(100);
    connection.run(&[(Outbound, SYN), (Inbound, SYN_ACK), (Outbound, ACK)]);
    connection.lives("established", 7440);
}

/// The gateway does not know what the hosts have agreed on: scaled windows, reordering, retransmissions.
#[test]
fn rfc7857_req2_sequence_numbers_and_windows_do_not_matter() {
    let mut gateway = Gateway::changed(|_| {});
    let external = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    let numbers = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    for (flags, state) in
        [(SYN_ACK, "syn-both"), (ACK, "established"), (FIN_ACK, "fin-remote"), (RST, "reset")]
    {
        if state == "established" {
            // The remote alone opens nothing.
            gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), ACK)).out();
        }
        for (seq, ack) in numbers.iter().flat_map(|&seq| numbers.map(|ack| (seq, ack))) {
            let segment = Packet::tcp(ep(REMOTE), external, flags);
            let mut bytes = segment.bytes();
            let (source, destination) = {
                let header = ipv4::Packet::new_unchecked(&bytes[..]);
                (header.src(), header.dst())
            };
            let mut segment = tcp::Packet::new_unchecked(&mut bytes[20..]);
            segment.set_seq(seq);
            segment.set_ack(ack);
            segment.set_window(seq as u16);
            segment.fill_checksum(source, destination);
            assert_eq!(gateway.raw(&bytes, Inbound).delivered().destination, ep(HOST));
        }
        assert_eq!(gateway.sessions()[0].state, state);
    }
}

/// Else a stranger could keep a mapping for ever.
#[test]
fn rfc7857_a_host_that_refuses_an_admitted_packet_refreshes_nothing() {
    let stranger = ep("192.0.2.99:5000");
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
        let mut gateway =
            Gateway::changed(|settings| settings.pools[0].filtering = Filtering::EndpointIndependent);
        let external = gateway.open(protocol, ep(HOST), ep(REMOTE));
        let before = (gateway.sessions(), gateway.mappings());
        let first = match protocol {
            Protocol::Icmp => Packet::pong(stranger, external),
            _ => Packet::first(protocol, stranger, external),
        };
        gateway.pass_s(20);
        let seen = gateway.inbound(first).delivered();
        let error = Packet::error("10.64.0.5", 3, 3, &seen.bytes);
        assert_eq!(gateway.outbound(error).out().embedded().destination, external);
        if protocol == Protocol::Tcp {
            for flags in [RST, RST | ACK] {
                gateway.outbound(Packet::tcp(ep(HOST), stranger, flags)).out();
            }
        }
        let after = (gateway.sessions(), gateway.mappings());
        let [left_before, left_after] = [&before, &after].map(|(sessions, _)| sessions[0].expires_in_ms);
        assert_eq!((left_before - left_after, after.0.len()), (20_000, 1), "{protocol:?}");
        assert_eq!((before.1.len(), after.1.len()), (1, 1), "{protocol:?}");
    }
}
