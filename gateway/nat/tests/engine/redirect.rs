//! Redirects: port forwards whose inside host sees the gateway in the place of the remote, and their budget.

use natgw_nat::{DropReason, Endpoint, Filter, Filtering, Protocol, RuleAction, Settings};
use natgw_wire::tcp::Flags;

use crate::packet::{Packet, Seen, at_port, ep};
use crate::sim::{Gateway, Outcome, redirect, rule, settings};

const HOST: &str = "10.64.0.5:4000";
const REMOTE: &str = "198.51.100.7:7000";
const EXTERNAL: &str = "203.0.113.13:8080";
const SERVER: &str = "10.64.0.12:80";
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

/// [`EXTERNAL`] of UDP and TCP is redirected to [`SERVER`].
fn redirecting(settings: &mut Settings) {
    settings.port_forwards =
        [Protocol::Udp, Protocol::Tcp].map(|protocol| redirect(protocol, EXTERNAL, SERVER)).to_vec();
}

fn gateway() -> Gateway {
    Gateway::changed(redirecting)
}

/// A first packet to [`EXTERNAL`] as it reaches [`SERVER`].
#[track_caller]
fn call(gateway: &mut Gateway, protocol: Protocol, remote: Endpoint) -> Seen {
    let seen = gateway.inbound(Packet::first(protocol, remote, ep(EXTERNAL))).delivered();
    assert_eq!(seen.destination, ep(SERVER));
    assert_eq!(seen.source.address, ep("10.64.0.1:0").address, "the gateway's address on the host's link");
    seen
}

fn remote(nth: u16) -> Endpoint {
    at_port(ep(REMOTE), 10_000 + nth)
}

#[test]
fn redirect_shows_the_gateway_inside_and_the_forward_outside() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut gateway = gateway();
        let first = call(&mut gateway, protocol, remote(1));
        let second = call(&mut gateway, protocol, remote(2));
        assert_ne!(first.source, second.source, "each remote has a port of its own");
        for (seen, caller) in [(&second, remote(2)), (&first, remote(1))] {
            let answer = gateway.outbound(Packet::answer(protocol, ep(SERVER), seen.source)).out();
            assert_eq!((answer.source, answer.destination), (ep(EXTERNAL), caller));
        }
        // From now on it is a session like any other.
        let again = gateway.inbound(Packet::answer(protocol, remote(1), ep(EXTERNAL))).delivered();
        assert_eq!((again.source, again.destination), (first.source, ep(SERVER)));
    }
}

#[test]
fn redirect_is_listed_with_both_faces_of_the_remote() {
    let mut gateway = gateway();
    let seen = call(&mut gateway, Protocol::Tcp, ep(REMOTE));
    let [session] = gateway.sessions()[..] else { panic!("one session") };
    assert_eq!((session.internal, session.external), (ep(SERVER), ep(EXTERNAL)));
    assert_eq!((session.remote, session.remote_inside), (ep(REMOTE), Some(seen.source)));
    assert_eq!((session.state, gateway.mappings()[0].kind), ("half-open", "redirect"));
    assert_eq!(gateway.shards[0].counters().redirected_sessions, 1);
    let of_remote = Filter { remote: Some("198.51.100.7".parse().expect("address")), ..Filter::default() };
    assert_eq!(gateway.delete(&of_remote), 1);
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
    assert_eq!(gateway.shards[0].counters().redirected_sessions, 0);
}

#[test]
fn redirect_follows_a_tcp_connection_to_its_end() {
    let mut gateway = gateway();
    let seen = call(&mut gateway, Protocol::Tcp, ep(REMOTE));
    gateway.outbound(Packet::tcp(ep(SERVER), seen.source, SYN_ACK)).out();
    gateway.inbound(Packet::tcp(ep(REMOTE), ep(EXTERNAL), Flags::ACK)).delivered();
    assert_eq!(gateway.sessions()[0].state, "established");
    gateway.pass_s(7000);
    gateway.inbound(Packet::tcp(ep(REMOTE), ep(EXTERNAL), Flags::FIN | Flags::ACK)).delivered();
    gateway.outbound(Packet::tcp(ep(SERVER), seen.source, Flags::FIN | Flags::ACK)).out();
    assert_eq!(gateway.sessions()[0].state, "fin-both");
    gateway.pass_s(241);
    assert_eq!((gateway.sessions(), gateway.mappings()), (vec![], vec![]));
    assert_eq!(gateway.shards[0].counters().subscribers, 0);
}

#[test]
fn redirect_without_an_answer_is_over_after_the_half_open_timeout() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let mut gateway = gateway();
        for _ in 0..9 {
            call(&mut gateway, protocol, ep(REMOTE));
            gateway.pass_s(1);
        }
        assert_eq!(gateway.sessions().len(), 1, "one session, however often the remote asks");
        gateway.pass_s(2);
        assert_eq!(gateway.sessions(), [], "and what the remote sends refreshes nothing");
    }
}

#[test]
fn redirect_of_udp_is_open_when_the_host_answers() {
    let mut gateway = gateway();
    let seen = call(&mut gateway, Protocol::Udp, ep(REMOTE));
    gateway.outbound(Packet::udp(ep(SERVER), seen.source)).out();
    gateway.pass_s(299);
    assert_eq!(call(&mut gateway, Protocol::Udp, ep(REMOTE)).source, seen.source);
    gateway.pass_s(2);
    assert_eq!(gateway.sessions(), []);
}

/// A forged SYN fetches a SYN-ACK that its sender does not see: neither that nor a blind ACK before it opens anything.
#[test]
fn redirect_of_tcp_is_not_opened_by_half_a_handshake() {
    let mut gateway = gateway();
    let seen = call(&mut gateway, Protocol::Tcp, ep(REMOTE));
    gateway.inbound(Packet::tcp(ep(REMOTE), ep(EXTERNAL), Flags::ACK)).delivered();
    gateway.pass_s(5);
    gateway.outbound(Packet::tcp(ep(SERVER), seen.source, SYN_ACK)).out();
    gateway.outbound(Packet::tcp(ep(SERVER), seen.source, SYN_ACK)).out();
    assert_eq!(gateway.sessions()[0].state, "half-open");
    gateway.pass_s(6);
    assert_eq!(gateway.sessions(), []);
}

#[test]
fn redirect_is_begun_by_a_syn_alone() {
    let mut gateway = gateway();
    for flags in [Flags::ACK, SYN_ACK, Flags::RST, Flags::FIN | Flags::ACK] {
        let stray = Packet::tcp(ep(REMOTE), ep(EXTERNAL), flags);
        assert_eq!(gateway.inbound(stray).reason(), DropReason::TcpNoSession);
    }
    assert_eq!(gateway.sessions(), []);
}

#[test]
fn redirects_have_a_budget_that_leaves_room_for_sessions_from_inside() {
    for (limit, room) in [(10, 10), (1024, 512)] {
        let mut gateway = Gateway::changed(|settings| {
            redirecting(settings);
            settings.limits.sessions = 1024;
            settings.limits.redirected_sessions = limit;
        });
        for nth in 0..room {
            call(&mut gateway, Protocol::Tcp, remote(nth));
        }
        let beyond = Packet::first(Protocol::Udp, remote(room), ep(EXTERNAL));
        assert_eq!(gateway.inbound(beyond.clone()).reason(), DropReason::RedirectsFull);
        let counters = gateway.shards[0].counters();
        assert_eq!(counters.redirected_sessions, u64::from(room));
        assert_eq!(counters.session_failures.iter().sum::<u64>(), 1);
        call(&mut gateway, Protocol::Tcp, remote(0));
        for port in 5000..5500 {
            gateway.open(Protocol::Udp, at_port(ep(HOST), port), ep(REMOTE));
        }
        gateway.pass_s(11);
        gateway.inbound(beyond).delivered();
    }
}

#[test]
fn redirects_take_nothing_of_the_hosts_own_limits() {
    let mut gateway = Gateway::changed(|settings| {
        redirecting(settings);
        settings.limits.sessions_per_subscriber = 2;
    });
    for nth in 0..5 {
        call(&mut gateway, Protocol::Udp, remote(nth));
    }
    for port in [5000, 5001] {
        gateway.open(Protocol::Udp, at_port(ep(SERVER), port), ep(REMOTE));
    }
    let beyond = Packet::udp(at_port(ep(SERVER), 5002), ep(REMOTE));
    assert_eq!(gateway.outbound(beyond.clone()).reason(), DropReason::SubscriberSessions);
    // Nor do they give anything back when they are over.
    gateway.pass_s(11);
    assert_eq!(gateway.outbound(beyond).reason(), DropReason::SubscriberSessions);
}

#[test]
fn redirects_share_their_budget_among_shards() {
    let mut settings = settings();
    redirecting(&mut settings);
    settings.limits.sessions = 256;
    settings.limits.redirected_sessions = 20;
    let mut gateway = Gateway::with_shards(settings, 4, 64);
    let accepted = (0..30)
        .filter(|&nth| {
            let call = Packet::first(Protocol::Udp, remote(nth), ep(EXTERNAL));
            matches!(gateway.inbound(call), Outcome::In(_))
        })
        .count();
    assert_eq!(accepted, 5, "the part of the shard whose host it is");
}

#[test]
fn redirect_hairpins_between_shards_too() {
    for shards in [1, 2] {
        let mut settings = settings();
        redirecting(&mut settings);
        settings.limits.sessions = 64;
        let mut gateway = Gateway::with_shards(settings, shards, 64);
        let seen = gateway.outbound(Packet::udp(ep(HOST), ep(EXTERNAL))).delivered();
        assert_eq!((seen.source.address, seen.destination), (ep("10.64.0.1:0").address, ep(SERVER)));
        let back = gateway.outbound(Packet::udp(ep(SERVER), seen.source)).delivered();
        assert_eq!((back.source, back.destination), (ep(EXTERNAL), ep(HOST)));
    }
}

#[test]
fn redirect_translates_errors_both_ways_and_shows_no_router() {
    let mut gateway = gateway();
    let delivered = call(&mut gateway, Protocol::Udp, ep(REMOTE));
    let error = gateway.outbound(Packet::error("10.64.0.12", 3, 3, &delivered.bytes)).out();
    assert_eq!((error.source.address, error.destination.address), (ep(EXTERNAL).address, ep(REMOTE).address));
    let embedded = error.embedded();
    assert_eq!((embedded.source, embedded.destination), (ep(REMOTE), ep(EXTERNAL)));
    let sent = gateway.outbound(Packet::udp(ep(SERVER), delivered.source)).out();
    let back = gateway.inbound(Packet::error("192.0.2.254", 11, 0, &sent.bytes)).delivered();
    assert_eq!(
        (back.source.address, back.destination.address),
        (delivered.source.address, ep(SERVER).address)
    );
    let embedded = back.embedded();
    assert_eq!((embedded.source, embedded.destination), (ep(SERVER), delivered.source));
}

#[test]
fn redirected_hosts_have_the_pool_for_connections_of_their_own() {
    let mut gateway = gateway();
    let seen = call(&mut gateway, Protocol::Udp, ep(REMOTE));
    let external = gateway.open(Protocol::Udp, ep(SERVER), ep(REMOTE));
    assert_ne!(external.address, ep(EXTERNAL).address);
    let answer = gateway.outbound(Packet::udp(ep(SERVER), seen.source)).out();
    assert_eq!((answer.source, answer.destination), (ep(EXTERNAL), ep(REMOTE)));
    assert_eq!(gateway.inbound(Packet::udp(ep(REMOTE), external)).delivered().source, ep(REMOTE));
}

#[test]
fn drop_rules_bind_redirects_too() {
    let drop = rule("10.64.0.12/32", "198.51.100.0/24", RuleAction::Drop);
    let mut gateway = gateway();
    call(&mut gateway, Protocol::Udp, ep(REMOTE));
    call(&mut gateway, Protocol::Udp, ep("192.0.2.1:5"));
    gateway.reload(|settings| settings.rules.insert(0, drop));
    assert_eq!(gateway.sessions().len(), 1, "the session that the new rule forbids has ended");
    let again = Packet::udp(ep(REMOTE), ep(EXTERNAL));
    assert_eq!(gateway.inbound(again).reason(), DropReason::RuleDrop);
}

#[test]
fn redirect_keeps_its_port_from_the_pool() {
    let mut gateway = Gateway::changed(|settings| {
        redirecting(settings);
        let pool = &mut settings.pools[0];
        (pool.addresses, pool.ports) = (vec![ep(EXTERNAL).address.into()], 8080..=8081);
        pool.filtering = Filtering::EndpointIndependent;
    });
    let external = gateway.open(Protocol::Udp, at_port(ep(HOST), 8080), ep(REMOTE));
    assert_eq!(external.port, 8081);
    call(&mut gateway, Protocol::Udp, ep("192.0.2.1:5"));
}

#[test]
fn a_redirect_on_the_gateways_own_address_is_answered_when_its_ttl_runs_out() {
    let mut gateway = Gateway::changed(|settings| {
        redirecting(settings);
        settings.port_forwards[0].external = "203.0.113.2".parse().expect("address");
    });
    let own = ep("203.0.113.2:8080");
    let late = Packet::udp(ep(REMOTE), own).ttl(1);
    assert!(matches!(gateway.inbound(late), Outcome::Reply(_)));
    assert_eq!(gateway.inbound(Packet::udp(ep(REMOTE), own)).delivered().destination, ep(SERVER));
}

#[test]
fn a_redirected_connection_that_began_anew_leaves_no_half_open_count() {
    let mut gateway = Gateway::changed(|settings| {
        redirecting(settings);
        settings.limits.half_open_per_subscriber = 1;
    });
    // It keeps the host's line from beginning with nothing.
    gateway.open(Protocol::Udp, at_port(ep(SERVER), 5000), ep(REMOTE));
    let seen = call(&mut gateway, Protocol::Tcp, ep(REMOTE));
    gateway.outbound(Packet::tcp(ep(SERVER), seen.source, SYN_ACK)).out();
    gateway.inbound(Packet::tcp(ep(REMOTE), ep(EXTERNAL), Flags::ACK)).delivered();
    gateway.inbound(Packet::tcp(ep(REMOTE), ep(EXTERNAL), Flags::RST | Flags::ACK)).delivered();
    gateway.outbound(Packet::tcp(ep(SERVER), seen.source, Flags::SYN)).out();
    let tcp = Filter { protocol: Some(Protocol::Tcp), ..Filter::default() };
    assert_eq!(gateway.delete(&tcp), 1);
    gateway.outbound(Packet::tcp(at_port(ep(SERVER), 5001), ep(REMOTE), Flags::SYN)).out();
}
