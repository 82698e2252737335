//! Resources that one party must not take from another, and endpoints that must not be mixed up: cases found in reviews.

use natgw_nat::Direction::{self, Inbound, Outbound};
use natgw_nat::{DropReason, Limits, Protocol, Settings, Static, Verdict};
use natgw_wire::tcp::Flags;

use crate::fragment_sim::{Left, split};
use crate::fragments::{ROOM, datagram, pieces};
use crate::packet::{Packet, at_port, ep};
use crate::rfc5382::{ACK, FIN_ACK, HOST, REMOTE, RST, SYN, SYN_ACK};
use crate::sim::{Gateway, Outcome, forward, redirect, settings};

const SERVER: &str = "10.64.0.12:80";
const FIRST: &str = "203.0.113.13:8080";
const SECOND: &str = "203.0.113.14:8081";

/// UDP and TCP of [`FIRST`] lead to [`SERVER`], which sees the gateway in the place of the remote.
fn redirecting(settings: &mut Settings) {
    settings.limits.sessions = 1024;
    settings.limits.redirected_sessions = 512;
    settings.port_forwards =
        [Protocol::Udp, Protocol::Tcp].map(|protocol| redirect(protocol, FIRST, SERVER)).to_vec();
}

fn all_pass(left: &[Left]) -> bool {
    left.iter().all(|left| left.bytes().is_some())
}

/// RFC 4787 REQ-14a: the first fragments of strangers, each of which begins a redirected session, have the room of strangers.
#[test]
fn rfc4787_req14a_fragments_to_a_redirect_take_no_room_from_hosts() {
    let mut pieces = pieces(|settings| {
        redirecting(settings);
        settings.limits.fragments = 16;
    });
    for nth in 0..16 {
        let stranger = format!("192.0.2.{}:7", nth + 1);
        pieces.arrive(&split(&datagram(&stranger, FIRST, 3000), ROOM, nth)[0], Inbound);
    }
    let own = split(&datagram("10.64.0.5:4000", REMOTE, 3000), ROOM, 1);
    let left = pieces.arrive_all(&own, Outbound);
    assert!(all_pass(&left), "{left:?}");
}

/// A remote whose redirected session is not answered may be forged, so it is no peer.
#[test]
fn rfc4787_req14a_a_half_open_redirect_has_no_room_of_peers() {
    let mut pieces = pieces(|settings| {
        redirecting(settings);
        settings.limits.fragments_per_subscriber = 4;
    });
    let external = pieces.gateway.open(Protocol::Udp, ep("10.64.0.12:5000"), ep("198.51.100.7:7000"));
    pieces.gateway.inbound(Packet::udp(ep("192.0.2.1:7"), ep(FIRST))).delivered();
    for ident in 0..8 {
        pieces.arrive(&split(&datagram("192.0.2.1:7", FIRST, 3000), ROOM, ident)[0], Inbound);
    }
    let answer = split(&datagram("198.51.100.7:7000", &external.to_string(), 3000), ROOM, 1);
    let left = pieces.arrive_all(&answer, Inbound);
    assert!(all_pass(&left), "{left:?}");
}

const CLOSE: [(Direction, Flags); 3] = [(Outbound, FIN_ACK), (Inbound, ACK), (Inbound, FIN_ACK)];

/// A connection from a port of [`HOST`] to [`REMOTE`] that is open, and then what follows.
fn connect(gateway: &mut Gateway, port: u16, segments: &[(Direction, Flags)]) {
    let host = at_port(ep(HOST), port);
    let external = gateway.outbound(Packet::tcp(host, ep(REMOTE), SYN)).out().source;
    for &(direction, flags) in [(Inbound, SYN_ACK), (Outbound, ACK)].iter().chain(segments) {
        match direction {
            Outbound => _ = gateway.outbound(Packet::tcp(host, ep(REMOTE), flags)).out(),
            Inbound => _ = gateway.inbound(Packet::tcp(ep(REMOTE), external, flags)).delivered(),
        }
    }
}

/// The last segment of a connection and a new one that takes its place, in one burst: the caller looks for next hops behind
/// the burst, by the names in the verdicts.
#[test]
fn no_two_sessions_of_a_burst_have_one_name() {
    for last in [ACK, RST] {
        let mut gateway = Gateway::changed(|settings| settings.limits.sessions_per_subscriber = 1);
        connect(&mut gateway, 4000, &CLOSE);
        let other = ep("192.0.2.77:443");
        let mut burst = [
            Packet::tcp(at_port(ep(HOST), 4000), ep(REMOTE), last).bytes(),
            Packet::tcp(at_port(ep(HOST), 4001), other, SYN).bytes(),
        ];
        let mut verdicts = [Verdict::Local; 2];
        let (shard, now) = (&mut gateway.shards[0], gateway.now);
        shard.translate(&mut burst[..], Outbound, now, &mut verdicts);
        // What a worker does, with a next hop for each destination.
        for (hop, verdict) in (100..).zip(verdicts) {
            let Verdict::Forward(session) = verdict else { panic!("{verdict:?}") };
            if let Some(id) = session.filter(|&id| shard.next_hop(id, Outbound).is_none()) {
                shard.keep_next_hop(id, Outbound, hop);
            }
        }
        let Verdict::Forward(Some(new)) = verdicts[1] else { panic!("{verdicts:?}") };
        assert_eq!(shard.next_hop(new, Outbound), Some(101), "the new one's own");
    }
}

/// RFC 6888 REQ-11: what has run out is no lasting error, and a RST is one.
#[test]
fn a_stream_that_finds_no_half_open_room_is_not_reset() {
    let mut gateway = Gateway::changed(|settings| {
        settings.tcp_pickup = true;
        settings.limits.half_open_per_subscriber = 1;
    });
    gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), SYN)).out();
    let stream = Packet::tcp(at_port(ep(HOST), 4001), ep(REMOTE), ACK);
    assert_eq!(gateway.outbound(stream), Outcome::Reject(DropReason::SubscriberHalfOpen));
}

/// Of a refused connection nothing is left to wait for, whatever was closed before it.
#[test]
fn refused_connections_make_room_behind_closed_ones() {
    let mut gateway = Gateway::changed(|settings| {
        settings.limits = Limits { half_open_per_subscriber: 3, ..settings.limits };
    });
    for port in 3000..3016 {
        connect(&mut gateway, port, &[&CLOSE[..], &[(Outbound, ACK)]].concat());
    }
    for port in 4000..4010 {
        let sent = gateway.outbound(Packet::tcp(at_port(ep(HOST), port), ep(REMOTE), SYN));
        let Outcome::Out(sent) = sent else { panic!("{port}: {sent:?}") };
        gateway.inbound(Packet::tcp(ep(REMOTE), sent.source, RST)).delivered();
    }
}

/// The other way round than `several_ways::one_remote_port_has_one_way_to_an_inside_endpoint`: the host's answer would leave
/// from [`SECOND`].
#[test]
fn what_comes_by_the_first_way_is_not_answered_by_the_second() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut settings = settings();
        for external in [FIRST, SECOND] {
            settings.port_forwards.push(forward(protocol, external, SERVER));
        }
        let mut gateway = Gateway::new(settings);
        gateway.inbound(Packet::first(protocol, ep(REMOTE), ep(SECOND))).delivered();
        let first = gateway.inbound(Packet::first(protocol, ep(REMOTE), ep(FIRST)));
        assert_eq!(first, Outcome::Drop(DropReason::RemoteTaken), "{protocol:?}");
    }
}

/// A directed broadcast is one in 240.0.0.0/4 too, where hosts are numbered from that.
#[test]
fn class_e_has_directed_broadcasts() {
    let mut gateway = Gateway::changed(|settings| {
        settings.class_e = true;
        settings.inside.push("240.1.2.1/24".parse().expect("prefix"));
    });
    let sent = Packet::udp(ep(HOST), ep("240.1.2.255:7"));
    assert_eq!(gateway.outbound(sent).reason(), DropReason::DestinationDirectedBroadcast);
}

/// Remotes that say nothing after a handshake, or never were there (RFC 9293 section 3.10.7.4: a segment outside the window
/// fetches an ACK of a host that waits for the end of a handshake), take nothing from what a host begins itself.
#[test]
fn remotes_do_not_use_up_the_half_open_limit_of_a_host() {
    let mut gateway = Gateway::changed(|settings| {
        settings.statics.push(Static {
            external: "203.0.113.20/32".parse().expect("prefix"),
            internal: "10.64.0.5/32".parse().expect("prefix"),
        });
        settings.limits.half_open_per_subscriber = 4;
    });
    let (server, external) = (ep("10.64.0.5:80"), ep("203.0.113.20:80"));
    for port in 7000..7010 {
        let remote = at_port(ep("192.0.2.1:0"), port);
        gateway.inbound(Packet::tcp(remote, external, SYN)).delivered();
        gateway.outbound(Packet::tcp(server, remote, SYN_ACK)).out();
        gateway.inbound(Packet::tcp(remote, external, ACK)).delivered();
        gateway.outbound(Packet::tcp(server, remote, ACK)).out();
    }
    gateway.outbound(Packet::tcp(ep("10.64.0.5:5000"), ep(REMOTE), SYN)).out();
}
