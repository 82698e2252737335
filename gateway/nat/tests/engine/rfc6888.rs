//! RFC 6888: carriers, many subscribers and scarce ports.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use natgw_nat::{DropReason, Endpoint, OtherProtocols, PoolUsage, Protocol, RuleAction, SessionFailure};
use natgw_wire::tcp::Flags;

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, rule, settings};

const HOST: &str = "10.64.0.5:4000";
const OTHER: &str = "10.64.0.6:4000";
const REMOTE: &str = "198.51.100.7:7000";
const FIN_ACK: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);

/// A pool of a few ports of one address.
fn scarce(ports: u16) -> Gateway {
    Gateway::changed(|settings| {
        settings.pools[0].addresses.truncate(1);
        settings.pools[0].ports = 2000..=1999 + ports;
    })
}

#[test]
fn rfc6888_req2_pairing_lasts_as_long_as_the_subscriber_has_ports() {
    let mut gateway = Gateway::changed(|_| {});
    let paired = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE)).address;
    for port in 4001..4020 {
        // By then the first mapping of each round is resting only.
        gateway.pass_s(299);
        assert_eq!(gateway.open(Protocol::Udp, at_port(ep(HOST), port), ep(REMOTE)).address, paired);
    }
}

#[test]
fn rfc6888_req3_pools_need_not_be_contiguous() {
    let addresses =
        ["203.0.113.10", "198.18.7.200", "192.0.2.33"].map(|text| text.parse::<Ipv4Addr>().unwrap());
    let mut gateway = Gateway::changed(|settings| settings.pools[0].addresses = addresses.to_vec());
    let used: HashSet<u32> = (2..40)
        .map(|host| {
            let host = Endpoint { address: ep(HOST).address + host, port: 4000 };
            gateway.open(Protocol::Udp, host, ep("198.51.100.9:9")).address
        })
        .collect();
    assert_eq!(used, addresses.map(Ipv4Addr::to_bits).into());
}

#[test]
fn rfc6888_req4_limits_ports_per_subscriber_and_protocol() {
    let mut gateway = Gateway::changed(|settings| settings.limits.ports_per_subscriber = 4);
    for protocol in Protocol::WITH_PORTS {
        for port in 0..4 {
            gateway.open(protocol, at_port(ep(HOST), 4000 + port), ep(REMOTE));
        }
        let fifth = Packet::first(protocol, at_port(ep(HOST), 5000), ep(REMOTE));
        assert_eq!(gateway.outbound(fifth).reason(), DropReason::SubscriberPorts);
        // More sessions of a mapping that is there take no port, and others have their own account.
        gateway.open(protocol, ep(HOST), ep("192.0.2.1:1"));
        gateway.open(protocol, ep(OTHER), ep(REMOTE));
    }
    let failures = gateway.shards[0].counters().session_failures;
    assert_eq!(failures[SessionFailure::SubscriberPorts], 3);
}

#[test]
fn rfc6888_req4_a_protocol_may_have_a_limit_of_its_own() {
    let mut gateway = Gateway::changed(|settings| {
        settings.limits.ports_per_subscriber = 4;
        settings.limits.protocol_ports_per_subscriber[Protocol::Tcp] = Some(6);
        settings.limits.protocol_sessions_per_subscriber[Protocol::Udp] = 3;
    });
    let cases = [
        (Protocol::Tcp, 6, DropReason::SubscriberPorts),
        (Protocol::Udp, 3, DropReason::SubscriberSessions),
        (Protocol::Icmp, 4, DropReason::SubscriberPorts),
    ];
    for (protocol, most, reason) in cases {
        let first = |nth: u16| Packet::first(protocol, at_port(ep(HOST), 4000 + nth), ep(REMOTE));
        (0..most).for_each(|nth| _ = gateway.outbound(first(nth)).out());
        assert_eq!(gateway.outbound(first(most)).reason(), reason, "{protocol:?}");
    }
}

#[test]
fn rfc6888_req5_limits_sessions_per_subscriber() {
    let mut gateway = Gateway::changed(|settings| settings.limits.sessions_per_subscriber = 10);
    let remote = |nth: u32| Endpoint { address: ep(REMOTE).address + nth, port: 53 };
    for nth in 0..10 {
        gateway.open(Protocol::WITH_PORTS[nth as usize % 3], ep(HOST), remote(nth));
    }
    for protocol in Protocol::WITH_PORTS {
        let more = Packet::first(protocol, ep(HOST), remote(100));
        assert_eq!(gateway.outbound(more).reason(), DropReason::SubscriberSessions);
    }
    gateway.open(Protocol::Udp, ep(OTHER), remote(0));
    let failures = gateway.shards[0].counters().session_failures;
    assert_eq!(failures[SessionFailure::SubscriberSessions], 3);
    // The four over UDP end, and make room for as many.
    gateway.pass_s(31);
    (200..204).for_each(|nth| _ = gateway.open(Protocol::Udp, ep(HOST), remote(nth)));
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), remote(204))).reason(), DropReason::SubscriberSessions);
}

#[test]
fn rfc6888_req5_a_syn_flood_ends_at_the_subscribers_half_open_budget() {
    let mut settings = settings();
    settings.limits.half_open_per_subscriber = 100;
    settings.limits.new_sessions_per_subscriber_per_s = 150;
    let mut gateway = Gateway::with_shards(settings, 1, 4096);
    let remote = |nth: u32| Endpoint { address: ep("198.18.0.0:0").address + nth, port: 443 };
    let connect = |gateway: &mut Gateway, host: &str, to: Endpoint| {
        let external = gateway.open(Protocol::Tcp, ep(host), to);
        gateway.inbound(Packet::answer(Protocol::Tcp, to, external)).delivered();
        gateway.outbound(Packet::tcp(ep(host), to, Flags::ACK)).out();
    };
    // Established connections take nothing from the budget.
    connect(&mut gateway, HOST, remote(50_000));
    let flood = |nth| Packet::tcp(ep(HOST), remote(nth), Flags::SYN);
    let passed = (0..3000).filter(|&nth| matches!(gateway.outbound(flood(nth)), Outcome::Out(_))).count();
    assert_eq!((passed, gateway.sessions().len()), (100, 101));
    let dropped = gateway.shards[0].counters().dropped[DropReason::SubscriberHalfOpen];
    assert_eq!(dropped, [2900, 0]);

    // Its other traffic goes on, and everybody else's; what was refused took nothing of its rate.
    gateway.open(Protocol::Udp, ep(HOST), ep("192.0.2.53:53"));
    gateway.outbound(Packet::tcp(ep(HOST), remote(50_000), Flags::ACK)).out();
    connect(&mut gateway, OTHER, remote(0));

    // A handshake that ends makes room for one, and so does a reset: what is over gives its place up.
    let external = gateway.open(Protocol::Tcp, ep(HOST), remote(0));
    gateway.inbound(Packet::answer(Protocol::Tcp, remote(0), external)).delivered();
    assert_eq!(gateway.outbound(flood(5000)).reason(), DropReason::SubscriberHalfOpen);
    gateway.outbound(Packet::tcp(ep(HOST), remote(0), Flags::ACK)).out();
    gateway.outbound(flood(5000)).out();
    gateway.outbound(Packet::tcp(ep(HOST), remote(1), Flags::RST)).out();
    gateway.outbound(flood(5001)).out();
    assert_eq!(gateway.outbound(flood(5002)).reason(), DropReason::SubscriberHalfOpen);
    assert_eq!(gateway.sessions().len(), 104);
    gateway.pass_s(241);
    gateway.outbound(flood(5002)).out();
}

#[test]
fn rfc6888_req4_limits_the_rate_of_new_sessions_per_subscriber() {
    let mut gateway = Gateway::changed(|settings| settings.limits.new_sessions_per_subscriber_per_s = 10);
    let begun = |gateway: &mut Gateway, from: &str, base: u16| {
        let tries = (base..base + 50).map(|port| Packet::udp(ep(from), at_port(ep(REMOTE), port)));
        let results: Vec<_> = tries.map(|packet| gateway.outbound(packet)).collect();
        let refused =
            results.iter().filter(|outcome| **outcome == Outcome::Reject(DropReason::SubscriberRate));
        50 - refused.count()
    };
    assert_eq!(begun(&mut gateway, HOST, 100), 10);
    assert_eq!(begun(&mut gateway, OTHER, 100), 10, "each subscriber has a rate of its own");
    gateway.pass_ms(500);
    assert_eq!(begun(&mut gateway, HOST, 200), 5);
    gateway.pass_ms(10_000);
    assert_eq!(begun(&mut gateway, HOST, 300), 10);
    // What has a session is not held up.
    gateway.open(Protocol::Udp, ep(HOST), at_port(ep(REMOTE), 100));
}

#[test]
fn rfc6888_req4_a_protocol_may_have_a_rate_of_its_own() {
    for limited in Protocol::ALL {
        let mut gateway = Gateway::changed(|settings| {
            settings.pools[0].other_protocols = OtherProtocols::ALL;
            settings.limits.new_sessions_per_subscriber_per_s = 10;
            settings.limits.protocol_new_sessions_per_subscriber_per_s[limited] = 4;
        });
        let others = Protocol::ALL.into_iter().find(|&protocol| protocol != limited).expect("four protocols");
        let mut remotes = (1..).map(|nth| Endpoint { address: ep("198.18.0.0:0").address + nth, port: 53 });
        let mut begun = |gateway: &mut Gateway, host: &str, protocol: Protocol| {
            let mut try_one = |to: Endpoint| match gateway.outbound(Packet::first(protocol, ep(host), to)) {
                Outcome::Out(_) => true,
                refused => {
                    assert_eq!(refused.reason(), DropReason::SubscriberRate, "{protocol:?}");
                    false
                }
            };
            remotes.by_ref().take(50).filter(|&to| try_one(to)).count()
        };
        // What its own rate refuses takes nothing of the rate of all.
        assert_eq!(begun(&mut gateway, HOST, limited), 4, "{limited:?}");
        assert_eq!(begun(&mut gateway, HOST, others), 6, "{limited:?} leaves the others alone");
        // Nor the other way around: a second later its own is whole again.
        assert_eq!(begun(&mut gateway, HOST, limited), 0);
        gateway.pass_s(1);
        assert_eq!(begun(&mut gateway, HOST, limited), 4);
        assert_eq!(begun(&mut gateway, OTHER, limited), 4, "each subscriber has a rate of its own");
        gateway.pass_s(1);
        gateway.reload(|settings| {
            settings.limits.protocol_new_sessions_per_subscriber_per_s[limited] = 2;
        });
        assert_eq!(begun(&mut gateway, HOST, limited), 2, "a new rate is in force at once");
    }
}

#[test]
fn rfc6888_req6_exempt_destinations_are_not_translated() {
    let mut gateway = Gateway::changed(|settings| {
        settings.rules.insert(0, rule("10.64.0.0/24", "192.0.2.0/24", RuleAction::Exempt));
    });
    let partner = ep("192.0.2.9:80");
    for protocol in Protocol::WITH_PORTS {
        let seen = gateway.outbound(Packet::first(protocol, ep(HOST), partner)).out();
        assert_eq!(seen.source, ep(HOST));
        let back = gateway.inbound(Packet::answer(protocol, partner, ep(HOST))).delivered();
        assert_eq!(back.destination, ep(HOST));
        // The same inside endpoint is translated for everybody else.
        let elsewhere = gateway.open(protocol, ep(HOST), ep(REMOTE));
        assert_ne!(elsewhere.address, ep(HOST).address);
    }
    let stranger = Packet::udp(ep("192.0.2.10:80"), ep(HOST));
    assert_eq!(gateway.inbound(stranger).reason(), DropReason::Filtered);
    let unknown = Packet::udp(partner, ep("10.64.0.77:4000"));
    assert_eq!(gateway.inbound(unknown).reason(), DropReason::InsideFromOutside);
}

#[test]
fn rfc6888_req8_a_freed_port_rests_120_s() {
    let mut gateway = scarce(1);
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.pass_s(300);
    assert_eq!(gateway.shards[0].pool_usage(0, Protocol::Udp), PoolUsage { used: 0, held: 1, total: 1 });
    assert!(gateway.mappings()[0].resting);
    let other = Packet::udp(ep(OTHER), ep(REMOTE));
    gateway.pass_ms(119_999);
    assert_eq!(gateway.outbound(other.clone()).reason(), DropReason::PortsExhausted);
    gateway.pass_ms(1 + 2 * 128);
    assert_eq!(gateway.outbound(other).out().source.port, 2000);
}

#[test]
fn rfc6888_req8_one_end_that_was_not_seen_is_enough_for_a_rest() {
    let mut gateway = scarce(2);
    gateway.open(Protocol::Tcp, ep(HOST), ep("192.0.2.1:80"));
    gateway.pass_s(200);
    gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    // The first connection is given up at 240 s, the second one reset and forgotten 240 s later.
    gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), Flags::RST)).out();
    gateway.pass_s(241);
    assert_eq!(gateway.sessions(), []);
    assert_eq!(gateway.shards[0].pool_usage(0, Protocol::Tcp), PoolUsage { used: 0, held: 1, total: 2 });
}

#[test]
fn rfc6888_req8_a_resting_port_admits_no_packet() {
    let mut gateway = scarce(1);
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.pass_s(301);
    assert_eq!(gateway.inbound(Packet::udp(ep(REMOTE), external)).reason(), DropReason::NoMapping);
}

#[test]
fn rfc6888_req8_its_own_endpoint_takes_a_resting_port_up_again() {
    let mut gateway = scarce(100);
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    for _ in 0..5 {
        gateway.pass_s(300 + 119);
        assert_eq!(gateway.open(Protocol::Udp, ep(HOST), ep("192.0.2.1:1")), external);
    }
    assert_eq!(gateway.shards[0].pool_usage(0, Protocol::Udp), PoolUsage { used: 1, held: 0, total: 100 });
}

#[test]
fn rfc6888_req8_another_endpoint_of_the_subscriber_may_have_its_resting_port() {
    let mut gateway = scarce(1);
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.pass_s(301);
    assert_eq!(gateway.open(Protocol::Udp, at_port(ep(HOST), 4999), ep(REMOTE)).port, 2000);
}

/// At its limit a subscriber goes on with its own resting ports; another subscriber does not get them earlier for that.
#[test]
fn rfc6888_req8_a_subscriber_at_its_limit_frees_no_resting_port_for_others() {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools[0].addresses.truncate(1);
        settings.pools[0].ports = 2000..=2001;
        settings.limits.ports_per_subscriber = 1;
    });
    let rested = gateway.open(Protocol::Udp, ep("10.64.0.5:2000"), ep(REMOTE));
    gateway.pass_s(301);
    let mine = gateway.open(Protocol::Udp, ep("10.64.0.5:2001"), ep(REMOTE));
    let others = gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
    assert_eq!((mine, others.port), (rested, 2001));
}

#[test]
fn rfc6888_req8_a_closed_tcp_connections_port_need_not_rest() {
    let mut gateway = scarce(1);
    let external = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    gateway.inbound(Packet::tcp(ep(REMOTE), external, FIN_ACK)).delivered();
    gateway.inbound(Packet::answer(Protocol::Tcp, ep(REMOTE), external)).delivered();
    gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), Flags::ACK)).out();
    gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), FIN_ACK)).out();
    gateway.inbound(Packet::tcp(ep(REMOTE), external, FIN_ACK)).delivered();
    gateway.pass_ms(240_000 + 128);
    assert_eq!(gateway.open(Protocol::Tcp, ep(OTHER), ep(REMOTE)), external);
}

#[test]
fn rfc6888_req11_out_of_resources_refuses_the_new_and_evicts_nothing() {
    let mut gateway = Gateway::with_shards(settings(), 1, 8);
    let old: Vec<_> =
        (0..8).map(|at| gateway.open(Protocol::Udp, at_port(ep(HOST), 4000 + at), ep(REMOTE))).collect();
    for at in 0..100 {
        let new = Packet::udp(at_port(ep(OTHER), 5000 + at), ep(REMOTE));
        assert_eq!(gateway.outbound(new), Outcome::Reject(DropReason::SessionsFull), "signalled");
    }
    for (at, external) in old.into_iter().enumerate() {
        let seen = gateway.inbound(Packet::udp(ep(REMOTE), external)).delivered();
        assert_eq!(seen.destination, at_port(ep(HOST), 4000 + at as u16));
    }
    gateway.pass_ms(300_128);
    gateway.pass_ms(120_128);
    gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
}

#[test]
fn rfc6888_req14_all_of_a_pools_ports_are_usable() {
    let mut settings = settings();
    settings.pools[0].addresses.truncate(1);
    settings.limits.ports_per_subscriber = 65535;
    settings.limits.new_sessions_per_subscriber_per_s = 1_000_000;
    let mut gateway = Gateway::with_shards(settings, 1, 70_000);
    for port in 1024..=65535 {
        gateway.open(
            Protocol::Udp,
            Endpoint { address: ep(HOST).address + u32::from(port) % 50, port },
            ep(REMOTE),
        );
    }
    let usage = gateway.shards[0].pool_usage(0, Protocol::Udp);
    assert_eq!(usage, PoolUsage { used: 64512, held: 0, total: 64512 });
    let one_more = Packet::udp(ep("10.64.0.200:80"), ep(REMOTE));
    assert_eq!(gateway.outbound(one_more).reason(), DropReason::PortsExhausted);
}

#[test]
fn rfc6888_req15_the_next_port_is_hard_to_guess() {
    let mut gateway = Gateway::changed(|settings| {
        settings.pools[0].addresses.truncate(1);
        settings.limits.ports_per_subscriber = 65535;
    });
    // Port 1 is outside the pool, so that none can be kept and each is drawn.
    let hosts = (0..200).map(|host| Endpoint { address: ep("10.64.0.20:1").address + host, port: 1 });
    let drawn: Vec<u16> = hosts.map(|host| gateway.open(Protocol::Tcp, host, ep(REMOTE)).port).collect();
    let near = drawn.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 64).count();
    assert!(near < 8, "{near} of 199 ports lie next to the one before");
    let quarters: HashSet<u16> = drawn.iter().map(|port| port / 16384).collect();
    assert_eq!(quarters.len(), 4);
}
