//! Reload of rules, timeouts and limits: sessions that are still allowed go on untouched, the others end.

use std::net::Ipv4Addr;

use natgw_nat::{
    DeleteReason, DropReason, Filtering, ForwardSource, Pool, PortBlocks, PortForward, Protocol, RuleAction,
    Settings, Static, Twice,
};
use natgw_wire::tcp::Flags;
use proptest::prelude::*;

use crate::packet::{Packet, at_port, ep};
use crate::random_ops::{run, shape, steps};
use crate::sim::{Gateway, forward, redirect, rule};

const HOST: &str = "10.64.0.5:4000";
const OTHER: &str = "10.64.0.6:4000";
const REMOTE: &str = "198.51.100.7:7000";
const ELSEWHERE: &str = "192.0.2.9:7000";

fn two_pools() -> Gateway {
    Gateway::changed(|settings| {
        let second = Pool {
            name: "second".into(),
            addresses: vec!["203.0.113.40".parse().unwrap()],
            ..settings.pools[0].clone()
        };
        settings.pools.push(second);
    })
}

fn ended(gateway: &mut Gateway) -> u64 {
    let ended = |shard: &mut natgw_nat::Shard| shard.counters().sessions_deleted[DeleteReason::Reload];
    gateway.shards.iter_mut().map(ended).sum()
}

#[test]
fn reload_ends_what_a_new_rule_forbids_and_leaves_the_rest() {
    let mut gateway = two_pools();
    let stays = gateway.open(Protocol::Tcp, ep(HOST), ep(REMOTE));
    gateway.open(Protocol::Tcp, ep(HOST), ep(ELSEWHERE));
    gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
    gateway.reload(|settings| {
        settings.rules.insert(0, rule("0.0.0.0/0", "192.0.2.0/24", RuleAction::Drop));
        settings.rules.insert(0, rule("10.64.0.6/32", "0.0.0.0/0", RuleAction::Drop));
    });
    assert_eq!(ended(&mut gateway), 2);
    assert_eq!(gateway.sessions().len(), 1);
    // The one that stays is the same connection, in both directions, without a new SYN.
    assert_eq!(gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), Flags::ACK)).out().source, stays);
    assert_eq!(gateway.inbound(Packet::tcp(ep(REMOTE), stays, Flags::ACK)).delivered().destination, ep(HOST));
    assert_eq!(gateway.outbound(Packet::udp(ep(OTHER), ep(REMOTE))).reason(), DropReason::RuleDrop);
    assert_eq!(
        gateway.outbound(Packet::tcp(ep(HOST), ep(ELSEWHERE), Flags::ACK)).reason(),
        DropReason::RuleDrop
    );
}

#[test]
fn reload_ends_sessions_whose_rule_names_another_pool_now() {
    let mut gateway = two_pools();
    let before = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
    gateway
        .reload(|settings| settings.rules.insert(0, rule("10.64.0.5/32", "0.0.0.0/0", RuleAction::Pool(1))));
    assert_eq!(ended(&mut gateway), 1);
    let after = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    assert_ne!(before.address, after.address);
    gateway
        .reload(|settings| settings.rules.insert(0, rule("10.64.0.5/32", "0.0.0.0/0", RuleAction::Exempt)));
    assert_eq!(ended(&mut gateway), 2);
    assert_eq!(gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE)), ep(HOST));
    gateway.reload(|settings| settings.rules.clear());
    assert_eq!((ended(&mut gateway), gateway.sessions().len()), (4, 0));
}

#[test]
fn reload_brings_forward_ends_that_a_shorter_timeout_asks_for() {
    let mut gateway = two_pools();
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.reload(|settings| settings.timeouts.udp_s = 20);
    gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
    gateway.pass_s(19);
    assert_eq!(gateway.sessions().len(), 2);
    gateway.pass_s(2);
    assert_eq!(gateway.sessions().len(), 0);
    assert_eq!(ended(&mut gateway), 0, "they were idle");
}

#[test]
fn reload_applies_new_limits_to_new_sessions() {
    let mut gateway = two_pools();
    let port = |port: u16| Packet::udp(ep(&format!("10.64.0.5:{port}")), ep(REMOTE));
    for nth in 0..5 {
        gateway.outbound(port(5000 + nth)).out();
    }
    gateway.reload(|settings| settings.limits.ports_per_subscriber = 3);
    assert_eq!(gateway.sessions().len(), 5, "what is there stays");
    assert_eq!(gateway.outbound(port(6000)).reason(), DropReason::SubscriberPorts);
}

#[test]
fn reload_adds_a_forward_over_a_port_in_use_and_gives_it_back_when_the_forward_goes() {
    let mut gateway = Gateway::changed(|settings| settings.pools[0].ports = 5000..=5003);
    gateway.settings.pools[0].addresses.truncate(1);
    let mut gateway = Gateway::new(gateway.settings);
    let taken = gateway.open(Protocol::Tcp, ep("10.64.0.5:5001"), ep(REMOTE));
    assert_eq!(taken.port, 5001);
    let stays = gateway.open(Protocol::Tcp, ep("10.64.0.5:5002"), ep(REMOTE));
    gateway.reload(|settings| {
        settings.port_forwards.push(forward(Protocol::Tcp, "203.0.113.10:5001", "10.64.0.9:80"))
    });
    assert_eq!(ended(&mut gateway), 1, "the session on the forwarded port alone");
    let syn = Packet::tcp(ep(REMOTE), taken, Flags::SYN);
    assert_eq!(gateway.inbound(syn).delivered().destination, ep("10.64.0.9:80"));
    assert_eq!(
        gateway.inbound(Packet::tcp(ep(REMOTE), stays, Flags::ACK)).delivered().destination,
        ep("10.64.0.5:5002")
    );
    // No subscriber gets the port, not even after every rest.
    gateway.pass_s(500);
    let ports = |gateway: &mut Gateway| {
        let mut open = |port: u16| {
            gateway.outbound(Packet::tcp(ep(&format!("10.64.0.7:{port}")), ep(REMOTE), Flags::SYN))
        };
        (6000..6004).filter_map(|port| open(port).sent()).map(|seen| seen.source.port).collect::<Vec<_>>()
    };
    let mut got = ports(&mut gateway);
    got.sort_unstable();
    assert_eq!(got, [5000, 5003]);
    gateway.reload(|settings| settings.port_forwards.clear());
    let mut got = ports(&mut gateway);
    got.sort_unstable();
    assert_eq!(got, [5000, 5001, 5003]);
    assert_eq!(gateway.inbound(Packet::tcp(ep(ELSEWHERE), taken, Flags::SYN)).reason(), DropReason::Filtered);
}

#[test]
fn reload_ends_the_sessions_of_a_forward_that_leads_elsewhere_and_no_others() {
    let udp = |external: &str, internal: &str| forward(Protocol::Udp, external, internal);
    let mut gateway = Gateway::changed(|settings| {
        settings.port_forwards.push(udp("203.0.113.13:80", "10.64.0.9:80"));
        settings.port_forwards.push(udp("203.0.113.13:81", "10.64.0.9:81"));
    });
    for port in [80, 81] {
        let external = gateway.open(Protocol::Udp, ep(&format!("10.64.0.9:{port}")), ep(REMOTE));
        assert_eq!(external, ep(&format!("203.0.113.13:{port}")));
    }
    gateway.reload(|settings| settings.port_forwards[0] = udp("203.0.113.13:80", "10.64.0.8:80"));
    assert_eq!((ended(&mut gateway), gateway.sessions().len()), (1, 1));
    let datagram = Packet::udp(ep(REMOTE), ep("203.0.113.13:80"));
    assert_eq!(gateway.inbound(datagram).delivered().destination, ep("10.64.0.8:80"));
}

#[test]
fn reload_adds_and_removes_static_mappings() {
    let mut gateway = two_pools();
    let one =
        Static { external: "203.0.113.20/32".parse().unwrap(), internal: "10.64.0.5/32".parse().unwrap() };
    let before = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.reload(|settings| settings.statics.push(one));
    // What was begun goes on, what begins is under the new address.
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).out().source, before);
    assert_eq!(gateway.open(Protocol::Udp, ep(HOST), ep(ELSEWHERE)), ep("203.0.113.20:4000"));
    assert_eq!(ended(&mut gateway), 0);
    gateway.reload(|settings| settings.statics.clear());
    assert_eq!((ended(&mut gateway), gateway.sessions().len()), (1, 1));
    assert_eq!(
        gateway.inbound(Packet::udp(ep(REMOTE), ep("203.0.113.20:4000"))).reason(),
        DropReason::NoMapping
    );
}

#[test]
fn reload_ends_sessions_whose_remote_has_another_address_inside_now() {
    let mut gateway = two_pools();
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.open(Protocol::Udp, ep(HOST), ep(ELSEWHERE));
    let twice =
        Twice { external: "198.51.100.0/24".parse().unwrap(), internal: "10.99.0.0/24".parse().unwrap() };
    gateway.reload(|settings| settings.twice.push(twice));
    assert_eq!((ended(&mut gateway), gateway.sessions().len()), (1, 1));
}

#[test]
fn reload_takes_addresses_out_of_a_pool_and_puts_others_in() {
    let mut gateway = Gateway::changed(|settings| settings.timeouts.port_hold_s = 100_000);
    let hosts =
        (1..=30).map(|host| ep(&format!("10.64.0.{host}:4000"))).filter(|host| *host != ep("10.64.0.1:4000"));
    let opened: Vec<_> = hosts.map(|host| (host, gateway.open(Protocol::Udp, host, ep(REMOTE)))).collect();
    let gone = Ipv4Addr::new(203, 0, 113, 11);
    gateway.reload(|settings| {
        settings.pools[0].addresses =
            vec![[203, 0, 113, 10].into(), [203, 0, 113, 12].into(), [203, 0, 113, 14].into()];
    });
    let (out, stay): (Vec<_>, Vec<_>) =
        opened.into_iter().partition(|(_, external)| Ipv4Addr::from(external.address) == gone);
    assert!(!out.is_empty() && !stay.is_empty());
    assert_eq!(ended(&mut gateway), out.len() as u64);
    for (host, external) in &stay {
        assert_eq!(gateway.outbound(Packet::udp(*host, ep(REMOTE))).out().source, *external);
    }
    // Their subscribers get another address, at once and the same for all that they begin.
    for (host, _) in &out {
        let new = gateway.open(Protocol::Udp, *host, ep(REMOTE));
        assert_ne!(Ipv4Addr::from(new.address), gone);
        let second =
            gateway.open(Protocol::Udp, ep(&format!("{}:77", Ipv4Addr::from(host.address))), ep(REMOTE));
        assert_eq!(second.address, new.address);
    }
    let used = |gateway: &mut Gateway| {
        let sessions = gateway.sessions();
        sessions
            .iter()
            .map(|session| Ipv4Addr::from(session.external.address))
            .collect::<std::collections::BTreeSet<_>>()
    };
    for host in 100..200 {
        gateway.open(Protocol::Udp, ep(&format!("10.64.0.{host}:4000")), ep(REMOTE));
    }
    assert_eq!(
        used(&mut gateway).into_iter().map(|address| address.octets()[3]).collect::<Vec<_>>(),
        [10, 12, 14]
    );
    assert_eq!(
        gateway.inbound(Packet::udp(ep(REMOTE), ep("203.0.113.11:4000"))).reason(),
        DropReason::NoMapping
    );
    // The place of the one that went is taken by another.
    gateway.reload(|settings| settings.pools[0].addresses.push([203, 0, 113, 15].into()));
    assert_eq!(gateway.steering.shares(natgw_steer::WorkerId(0))[0].len(), 4);
    gateway.reload(|settings| settings.pools[0].addresses.retain(|address| address.octets()[3] == 15));
    let left = gateway.open(Protocol::Udp, ep("10.64.0.250:4000"), ep(REMOTE));
    assert_eq!(Ipv4Addr::from(left.address).octets()[3], 15);
    assert_eq!(used(&mut gateway).len(), 1);
}

#[test]
fn reload_changes_the_ports_of_a_pool() {
    let mut gateway = two_pools();
    let low = gateway.open(Protocol::Udp, ep("10.64.0.5:2000"), ep(REMOTE));
    let high = gateway.open(Protocol::Udp, ep("10.64.0.5:50000"), ep(REMOTE));
    assert_eq!((low.port, high.port), (2000, 50000));
    gateway.reload(|settings| settings.pools[0].ports = 1024..=9999);
    assert_eq!((ended(&mut gateway), gateway.sessions().len()), (1, 1));
    assert!(gateway.open(Protocol::Udp, ep("10.64.0.5:50000"), ep(REMOTE)).port < 10_000);
    gateway.reload(|settings| settings.pools[0].ports = 1024..=65535);
    let preserved = gateway.open(Protocol::Udp, ep("10.64.0.5:50001"), ep(REMOTE));
    assert_eq!(preserved.port, 50001);
    assert_eq!(gateway.outbound(Packet::udp(ep("10.64.0.5:2000"), ep(REMOTE))).out().source, low);
}

#[test]
fn reload_adds_and_removes_pools() {
    let mut gateway = Gateway::changed(|_| ());
    let stays = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let second = Pool { name: "second".into(), addresses: vec![[203, 0, 113, 40].into()], ..Pool::default() };
    gateway.reload(|settings| {
        settings.pools.push(second.clone());
        settings.rules.insert(0, rule("10.64.0.6/32", "0.0.0.0/0", RuleAction::Pool(1)));
    });
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).out().source, stays);
    let other = gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE));
    assert_eq!(Ipv4Addr::from(other.address), Ipv4Addr::new(203, 0, 113, 40));
    gateway.reload(|settings| {
        settings.pools[1].addresses.clear();
        settings.rules.remove(0);
    });
    assert_eq!((ended(&mut gateway), gateway.sessions().len()), (1, 1));
    assert_ne!(gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE)).address, other.address);
    // Another pool may come to its place.
    gateway.reload(|settings| {
        settings.pools[1] =
            Pool { name: "third".into(), addresses: vec![[203, 0, 113, 41].into()], ..Pool::default() };
        settings.rules.insert(0, rule("10.64.0.7/32", "0.0.0.0/0", RuleAction::Pool(1)));
    });
    let third = gateway.open(Protocol::Udp, ep("10.64.0.7:4000"), ep(REMOTE));
    assert_eq!(Ipv4Addr::from(third.address), Ipv4Addr::new(203, 0, 113, 41));
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).out().source, stays);
}

#[test]
fn reload_changes_the_filtering_of_sessions_that_are_there() {
    let mut gateway =
        Gateway::changed(|settings| settings.pools[0].filtering = Filtering::EndpointIndependent);
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let strange =
        |gateway: &mut Gateway| gateway.inbound(Packet::udp(ep(ELSEWHERE), external)).is_delivered();
    let other_port =
        |gateway: &mut Gateway| gateway.inbound(Packet::udp(ep("198.51.100.7:1"), external)).is_delivered();
    assert!(strange(&mut gateway) && other_port(&mut gateway));
    for (filtering, lets_in) in [
        (Filtering::AddressDependent, [false, true]),
        (Filtering::AddressAndPortDependent, [false, false]),
        (Filtering::AddressDependent, [false, true]),
        (Filtering::EndpointIndependent, [true, true]),
    ] {
        gateway.reload(|settings| settings.pools[0].filtering = filtering);
        assert_eq!([strange(&mut gateway), other_port(&mut gateway)], lets_in, "{filtering:?}");
        assert!(gateway.inbound(Packet::udp(ep(REMOTE), external)).is_delivered());
    }
    assert_eq!(ended(&mut gateway), 0);
    gateway.reload(|settings| settings.pools[0].filtering = Filtering::AddressDependent);
    gateway.pass_s(1000);
    assert_eq!(gateway.sessions().len(), 0);
}

fn at(host: &str) -> Ipv4Addr {
    host.parse().expect("address")
}

/// A gateway whose pool has these addresses alone.
fn pool_of(addresses: &[&str]) -> Gateway {
    Gateway::changed(|settings| {
        settings.pools[0].addresses = addresses.iter().map(|address| at(address)).collect();
    })
}

/// Lets the sweep look at sessions alone: the mappings that rest are there still.
fn sweep_sessions(gateway: &mut Gateway) {
    gateway.sweep(u32::MAX);
}

#[test]
fn reload_wakes_no_mapping_on_an_address_that_went() {
    let mut gateway = pool_of(&["203.0.113.10"]);
    let before = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.pass_s(301);
    assert_eq!(gateway.sessions().len(), 0, "its port rests");
    gateway.begin_reload(|settings| settings.pools[0].addresses = vec![at("203.0.113.11")]);
    sweep_sessions(&mut gateway);
    let seen = gateway.outbound(Packet::udp(ep(HOST), ep(ELSEWHERE))).out();
    assert_eq!(Ipv4Addr::from(seen.source.address), at("203.0.113.11"));
    assert_eq!(gateway.inbound(Packet::udp(ep(REMOTE), before)).reason(), DropReason::NoMapping);
    gateway.finish_reload();
    let left: Vec<_> = gateway.mappings().iter().map(|mapping| mapping.external).collect();
    assert_eq!(left, [seen.source]);
}

#[test]
fn reload_gives_the_place_of_an_address_away_with_nothing_on_it() {
    let mut gateway = pool_of(&["203.0.113.10", "203.0.113.12"]);
    let hosts = (2..60).map(|host| format!("10.64.0.{host}:4000"));
    let on_first = |host: &String| {
        Ipv4Addr::from(gateway.open(Protocol::Udp, ep(host), ep(REMOTE)).address) == at("203.0.113.10")
    };
    let host = hosts
        .into_iter()
        .find({
            let mut on_first = on_first;
            move |host| on_first(host)
        })
        .expect("a host on each address");
    gateway.pass_s(301);
    gateway.begin_reload(|settings| settings.pools[0].addresses = vec![at("203.0.113.12")]);
    sweep_sessions(&mut gateway);
    gateway.outbound(Packet::udp(ep(&host), ep(ELSEWHERE))).out();
    gateway.reload(|settings| settings.pools[0].addresses = vec![at("203.0.113.30")]);
    let one = gateway.open(Protocol::Udp, ep("10.64.0.99:4000"), ep(ELSEWHERE));
    for _ in 0..12 {
        gateway.pass_s(60);
        gateway.outbound(Packet::udp(ep("10.64.0.99:4000"), ep(ELSEWHERE))).out();
    }
    let other = gateway.open(Protocol::Udp, ep("10.64.0.100:4000"), ep(ELSEWHERE));
    assert_ne!(one, other, "two hosts have the same outside endpoint");
}

#[test]
fn reload_redirects_an_endpoint_once_it_is_free() {
    let mut gateway = pool_of(&["203.0.113.10"]);
    let taken = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    assert_eq!(taken, ep("203.0.113.10:4000"));
    gateway.begin_reload(|settings| {
        settings.port_forwards.push(redirect(Protocol::Udp, "203.0.113.10:4000", "10.64.0.12:80"))
    });
    let asked = Packet::udp(ep("198.51.100.99:5"), taken);
    assert!(!gateway.inbound(asked.clone()).is_delivered(), "it is somebody's still");
    assert_eq!(gateway.inbound(Packet::udp(ep(REMOTE), taken)).delivered().destination, ep(HOST));
    gateway.finish_reload();
    assert_eq!(gateway.inbound(asked).delivered().destination, ep("10.64.0.12:80"));
    assert_ne!(gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE)), taken);
    assert_eq!(gateway.shards[0].counters().redirected_sessions, 1);
    gateway.drain();
    assert_eq!(gateway.shards[0].counters().redirected_sessions, 0);
}

#[test]
fn an_address_goes_from_one_pool_to_another_in_one_reload() {
    let mut gateway = two_pools();
    gateway
        .reload(|settings| settings.rules.insert(0, rule("10.64.0.6/32", "0.0.0.0/0", RuleAction::Pool(1))));
    let hosts: Vec<_> = (20..60).map(|host| ep(&format!("10.64.0.{host}:4000"))).collect();
    let opened: Vec<_> = hosts.iter().map(|&host| gateway.open(Protocol::Udp, host, ep(REMOTE))).collect();
    gateway.begin_reload(|settings| {
        settings.pools[0].addresses.retain(|&address| address != at("203.0.113.11"));
        settings.pools[1].addresses = vec![at("203.0.113.11")];
    });
    // No address is in two pools: until the sweep is through, the second pool has no address.
    assert_eq!(gateway.outbound(Packet::udp(ep(OTHER), ep(REMOTE))).reason(), DropReason::PortsExhausted);
    gateway.finish_reload();
    let on_moved =
        opened.iter().filter(|external| Ipv4Addr::from(external.address) == at("203.0.113.11")).count();
    assert!(on_moved > 0);
    assert_eq!(ended(&mut gateway), on_moved as u64);
    assert_eq!(
        Ipv4Addr::from(gateway.open(Protocol::Udp, ep(OTHER), ep(REMOTE)).address),
        at("203.0.113.11")
    );
}

#[test]
fn a_forward_over_a_free_port_needs_no_sweep() {
    let mut gateway = pool_of(&["203.0.113.10"]);
    gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    gateway.begin_reload(|settings| {
        settings.port_forwards.push(forward(Protocol::Udp, "203.0.113.10:4001", "10.64.0.12:80"));
    });
    assert!(gateway.sweep(0), "there is nothing to look through");
    let asked = Packet::udp(ep(REMOTE), ep("203.0.113.10:4001"));
    assert_eq!(gateway.inbound(asked).delivered().destination, ep("10.64.0.12:80"));
    let preserved = gateway.open(Protocol::Udp, ep("10.64.0.7:4001"), ep(REMOTE));
    assert_ne!(preserved.port, 4001);
}

#[test]
fn no_rate_of_new_sessions_keeps_a_sweep_from_its_end() {
    let mut gateway = two_pools();
    let port = |port: u16| ep(&format!("10.64.0.5:{port}"));
    for nth in 0..100 {
        gateway.open(Protocol::Udp, port(5000 + nth), ep(REMOTE));
    }
    gateway.begin_reload(|settings| settings.timeouts.udp_s = 20);
    let mut steps = 0;
    while !gateway.sweep(2) {
        steps += 1;
        for nth in 0..3 {
            gateway.open(Protocol::Udp, port(6000 + 3 * steps + nth), ep(REMOTE));
        }
    }
    assert!((100..=110).contains(&steps), "{steps} steps for 100 sessions and 100 mappings");
}

#[test]
fn an_address_that_comes_has_the_blocks_that_its_own_forwards_leave() {
    let forwarded = |address: &str| PortForward {
        external_ports: 2000..=2003,
        ..forward(Protocol::Udp, &format!("{address}:2000"), "10.64.0.12:80")
    };
    let mut settings = pool_of(&["203.0.113.10", "203.0.113.11"]).settings;
    settings.pools[0].ports = 2000..=2011;
    settings.pools[0].port_blocks = Some(PortBlocks { size: 4, per_subscriber: 2 });
    settings.port_forwards.push(forwarded("203.0.113.11"));
    let mut gateway = Gateway::new(settings);
    assert_eq!(gateway.shards[0].block_usage(0).total, 5, "a block of a forward's ports is nobody's");
    gateway.reload(|settings| settings.pools[0].addresses.truncate(1));
    assert_eq!(gateway.shards[0].block_usage(0).total, 3);
    // Where that address stood.
    gateway.reload(|settings| settings.pools[0].addresses.push(at("203.0.113.12")));
    assert_eq!(gateway.shards[0].block_usage(0).total, 6);
    // Behind the others, with a forward.
    gateway.reload(|settings| {
        settings.pools[0].addresses.push(at("203.0.113.13"));
        settings.port_forwards.push(forwarded("203.0.113.13"));
    });
    assert_eq!(gateway.shards[0].block_usage(0).total, 8);
}

#[test]
fn a_forward_reaches_a_host_that_speaks_with_the_remote_from_another_endpoint() {
    for source in [ForwardSource::Remote, ForwardSource::Gateway] {
        let mut gateway = two_pools();
        let host = ep("10.64.0.12:5353");
        let before = gateway.open(Protocol::Udp, host, ep(REMOTE));
        gateway.reload(|settings| {
            let new = forward(Protocol::Udp, "203.0.113.10:7777", "10.64.0.12:5353");
            settings.port_forwards.push(PortForward { source, ..new });
        });
        let asked = Packet::udp(ep(REMOTE), ep("203.0.113.10:7777"));
        let seen = gateway.inbound(asked.clone()).delivered();
        assert_eq!(seen.destination, host);
        // What was begun goes on from where it was; a redirect is answered from where it was asked.
        assert_eq!(gateway.outbound(Packet::udp(host, ep(REMOTE))).out().source, before);
        if source == ForwardSource::Gateway {
            assert_eq!(gateway.outbound(Packet::udp(host, seen.source)).out().source, asked.destination);
        }
        assert_eq!(gateway.inbound(asked).delivered().destination, host);
    }
}

/// Rules that strike some hosts and some remotes of a trial.
fn rules() -> impl Strategy<Value = Vec<(&'static str, &'static str, RuleAction)>> {
    let sources = prop::sample::select(vec!["0.0.0.0/0", "10.64.0.5/32", "10.64.0.6/31", "10.64.0.20/32"]);
    let destinations =
        prop::sample::select(vec!["0.0.0.0/0", "198.51.100.7/32", "192.0.2.0/24", "203.0.113.0/24"]);
    let actions = prop::sample::select(vec![
        RuleAction::Reject,
        RuleAction::Drop,
        RuleAction::Exempt,
        RuleAction::Pool(0),
    ]);
    prop::collection::vec((sources, destinations, actions), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// After a reload and its sweep no session is left that the new rules would not let begin, and none that they would
    /// is gone; when all is over, nothing is held.
    #[test]
    fn reload_leaves_exactly_the_sessions_that_may_begin(
        shape in shape(),
        before in steps(80),
        new in rules(),
        after in steps(40),
    ) {
        let mut gateway = shape.gateway();
        for step in before {
            run(&mut gateway, &shape, step);
        }
        let sessions = gateway.sessions();
        let mut settings = Settings::default();
        gateway.reload(|changed| {
            let new = new.iter().map(|&(source, destination, action)| rule(source, destination, action));
            changed.rules.splice(0..0, new);
            settings = changed.clone();
        });
        let expected: Vec<_> = sessions
            .into_iter()
            .filter(|session| {
                let matches = |rule: &&natgw_nat::Rule| {
                    rule.source.contains(&Ipv4Addr::from_bits(session.internal.address))
                        && rule.destination.contains(&Ipv4Addr::from_bits(session.remote.address))
                };
                let action = settings.rules.iter().find(matches).map(|rule| rule.action);
                let exempt = session.internal == session.external;
                match action {
                    Some(RuleAction::Reject | RuleAction::Drop) | None => session.pool.is_none() && !exempt && action.is_none(),
                    Some(RuleAction::Exempt) => exempt,
                    Some(RuleAction::Pool(_)) => !exempt,
                }
            })
            .map(|session| (session.protocol, session.internal, session.remote, session.external))
            .collect();
        let left: Vec<_> = gateway
            .sessions()
            .iter()
            .map(|session| (session.protocol, session.internal, session.remote, session.external))
            .collect();
        prop_assert_eq!(left, expected);
        for step in after {
            run(&mut gateway, &shape, step);
        }
        gateway.drain();
        prop_assert_eq!((gateway.sessions().len(), gateway.mappings().len()), (0, 0));
        for (shard, fresh) in gateway.shards.iter_mut().zip(&shape.gateway().shards) {
            let counters = *shard.counters();
            prop_assert_eq!((counters.mappings, counters.subscribers), (0, 0));
            for protocol in Protocol::WITH_PORTS {
                prop_assert_eq!(shard.pool_usage(0, protocol), fresh.pool_usage(0, protocol), "{:?}", protocol);
            }
        }
    }
}

#[test]
fn a_host_of_many_pools_gets_nothing_of_an_address_that_is_not_in_force() {
    let remote = |pool: usize| ep(&format!("198.51.100.{}:7000", 20 + pool));
    let address = |pool: usize| Ipv4Addr::new(203, 0, 113, 60 + pool as u8);
    let mut gateway = Gateway::changed(|settings| {
        let pool = |nth: usize| Pool {
            name: format!("pool {nth}"),
            addresses: vec![address(nth)],
            ..settings.pools[0].clone()
        };
        settings.pools = (0..4).map(pool).collect();
        let rules = (0..4)
            .map(|nth| rule("10.64.0.0/24", &format!("198.51.100.{}/32", 20 + nth), RuleAction::Pool(nth)));
        settings.rules = rules.collect();
    });
    // It is paired with an address in as many pools as it can keep in mind.
    for pool in 0..3 {
        gateway.open(Protocol::Udp, at_port(ep(HOST), 5000 + pool as u16), remote(pool));
    }
    // The address of the last pool goes, and the one that comes was another pool's.
    gateway.begin_reload(|settings| {
        settings.pools[3].addresses = vec![address(2)];
        settings.pools[2].addresses = vec![address(7)];
    });
    let packet = Packet::udp(ep(HOST), remote(3));
    assert_eq!(gateway.outbound(packet.clone()).reason(), DropReason::PortsExhausted);
    gateway.finish_reload();
    assert_eq!(gateway.outbound(packet).out().source.address, address(2).to_bits());
}
