//! Inside endpoints that several outside endpoints lead to: answers leave from the endpoint that was asked, and
//! sessions that the host begins leave from one of them.

use natgw_nat::{DropReason, Endpoint, Protocol, Settings, Static};
use natgw_wire::tcp::Flags;

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, forward, settings};

const SERVER: &str = "10.64.0.12:80";
const REMOTE: &str = "198.51.100.7:7000";
const FIRST: &str = "203.0.113.13:8080";
const SECOND: &str = "203.0.113.14:8081";
const STATIC: &str = "203.0.113.21:80";
const PROTOCOLS: [Protocol; 2] = [Protocol::Udp, Protocol::Tcp];

fn forwards(settings: &mut Settings, externals: &[&str]) {
    for protocol in PROTOCOLS {
        for external in externals {
            settings.port_forwards.push(forward(protocol, external, SERVER));
        }
    }
}

fn two_forwards() -> Settings {
    let mut settings = settings();
    forwards(&mut settings, &[FIRST, SECOND]);
    settings
}

fn static_and_forward() -> Settings {
    let mut settings = settings();
    forwards(&mut settings, &[SECOND]);
    let [external, internal] =
        ["203.0.113.21/32", "10.64.0.12/32"].map(|prefix| prefix.parse().expect("prefix"));
    settings.statics.push(Static { external, internal });
    settings
}

fn remote(nth: u16) -> Endpoint {
    at_port(ep(REMOTE), 7000 + nth)
}

/// A conversation that a remote begins with an outside endpoint, which the answers come from.
#[track_caller]
fn converse(gateway: &mut Gateway, protocol: Protocol, remote: Endpoint, external: Endpoint) {
    let seen = gateway.inbound(Packet::first(protocol, remote, external)).delivered();
    assert_eq!((seen.source, seen.destination), (remote, ep(SERVER)));
    let answer = gateway.outbound(Packet::answer(protocol, ep(SERVER), remote)).out();
    assert_eq!((answer.source, answer.destination), (external, remote));
    if protocol == Protocol::Tcp {
        gateway.inbound(Packet::tcp(remote, external, Flags::ACK)).delivered();
        let data = gateway.outbound(Packet::tcp(ep(SERVER), remote, Flags::ACK)).out();
        assert_eq!((data.source, data.destination), (external, remote));
        gateway.inbound(Packet::tcp(remote, external, Flags::ACK)).delivered();
    }
}

#[test]
fn answers_leave_from_where_the_question_came_in() {
    for (settings, own) in [(two_forwards(), FIRST), (static_and_forward(), STATIC)] {
        for shards in [1, 2, 4] {
            for protocol in PROTOCOLS {
                let mut gateway = Gateway::with_shards(settings.clone(), shards, 1024);
                for nth in 0..4 {
                    let external = if nth % 2 == 0 { own } else { SECOND };
                    converse(&mut gateway, protocol, remote(nth), ep(external));
                }
                // RFC 4787 REQ-1.
                for nth in 10..14 {
                    let sent = Packet::first(protocol, ep(SERVER), remote(nth));
                    assert_eq!(gateway.outbound(sent).out().source, ep(own));
                }
                assert_eq!(
                    gateway.shards.iter_mut().map(|s| s.counters().redirected_sessions).sum::<u64>(),
                    2
                );
                // Longer than a redirect may be half open: they are not, any more.
                gateway.pass_s(20);
                for nth in [1, 3] {
                    let sent = Packet::answer(protocol, ep(SERVER), remote(nth));
                    assert_eq!(gateway.outbound(sent).out().source, ep(SECOND), "{protocol:?}");
                }
                gateway.pass_s(8000);
                assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
                assert_eq!(
                    gateway.shards.iter_mut().map(|s| s.counters().redirected_sessions).sum::<u64>(),
                    0
                );
            }
        }
    }
}

#[test]
fn an_inside_client_comes_in_by_every_way() {
    let mut gateway = Gateway::new(two_forwards());
    for (nth, external) in [FIRST, SECOND].into_iter().enumerate() {
        let client = at_port(ep("10.64.0.5:4000"), 4000 + nth as u16);
        let seen = gateway.outbound(Packet::udp(client, ep(external))).delivered();
        assert_eq!(seen.destination, ep(SERVER));
        let answer = gateway.outbound(Packet::udp(ep(SERVER), seen.source)).delivered();
        assert_eq!((answer.source, answer.destination), (ep(external), client));
    }
}

#[test]
fn icmp_errors_take_the_path_of_their_embedded_packet() {
    let mut gateway = Gateway::new(two_forwards());
    converse(&mut gateway, Protocol::Udp, ep(REMOTE), ep(SECOND));
    let sent = gateway.outbound(Packet::udp(ep(SERVER), ep(REMOTE))).out();
    let error = gateway.inbound(Packet::error("198.51.100.1", 3, 1, &sent.bytes)).delivered();
    assert_eq!((error.destination.address, error.embedded().source), (ep(SERVER).address, ep(SERVER)));
}

#[test]
fn one_remote_port_has_one_way_to_an_inside_endpoint() {
    for protocol in PROTOCOLS {
        let mut gateway = Gateway::new(two_forwards());
        converse(&mut gateway, protocol, ep(REMOTE), ep(FIRST));
        let again = Packet::first(protocol, ep(REMOTE), ep(SECOND));
        assert_eq!(gateway.inbound(again), Outcome::Drop(DropReason::RemoteTaken));
        assert_eq!(gateway.sessions().len(), 1);
        converse(&mut gateway, protocol, remote(1), ep(SECOND));
    }
}

#[test]
fn what_comes_by_a_further_way_has_the_limit_of_redirects() {
    let mut settings = two_forwards();
    (settings.limits.sessions, settings.limits.redirected_sessions) = (1024, 3);
    let mut gateway = Gateway::with_shards(settings, 1, 1024);
    for nth in 0..5 {
        let sent = Packet::udp(remote(nth), ep(SECOND));
        let outcome = gateway.inbound(sent);
        if nth < 3 {
            outcome.delivered();
        } else {
            assert_eq!(outcome, Outcome::Drop(DropReason::RedirectsFull));
        }
    }
    // No answer.
    gateway.pass_s(11);
    gateway.inbound(Packet::udp(remote(9), ep(SECOND))).delivered();
}

#[test]
fn reload_takes_one_way_and_leaves_the_others() {
    let mut gateway = Gateway::new(two_forwards());
    converse(&mut gateway, Protocol::Tcp, remote(0), ep(FIRST));
    converse(&mut gateway, Protocol::Tcp, remote(1), ep(SECOND));
    gateway.reload(|settings| {
        settings.port_forwards.retain(|forward| forward.external_ports != (8081..=8081));
    });
    let left: Vec<_> = gateway.sessions().iter().map(|session| session.external).collect();
    assert_eq!(left, [ep(FIRST)]);
    gateway.reload(|settings| forwards(settings, &[SECOND]));
    converse(&mut gateway, Protocol::Tcp, remote(2), ep(SECOND));
    // The second is the first now.
    gateway.reload(|settings| {
        settings.port_forwards.retain(|forward| forward.external_ports != (8080..=8080));
    });
    assert_eq!(gateway.sessions(), []);
    converse(&mut gateway, Protocol::Tcp, remote(3), ep(SECOND));
    assert_eq!(
        gateway.outbound(Packet::first(Protocol::Tcp, ep(SERVER), remote(4))).out().source,
        ep(SECOND)
    );
}
