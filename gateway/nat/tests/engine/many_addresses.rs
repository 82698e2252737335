//! A pool of 65,536 addresses, the most that a configuration may name, in one shard: in every mode each subscriber is
//! paired with an address, and keeps it.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use natgw_nat::{Deterministic, Endpoint, MappingMode, OtherProtocols, Pool, PortBlocks, RuleAction};

use crate::packet::{GRE, Packet, at_port, ep};
use crate::sim::{Gateway, rule};

const HOSTS: u32 = 20;

fn host(at: u32) -> Endpoint {
    Endpoint { address: u32::from(Ipv4Addr::new(10, 64, 0, 16)) + at, port: 4000 }
}

fn holds_of(pool: Pool) {
    let mut gateway = Gateway::changed(|settings| {
        let addresses = (0x0b00_0000u32..0x0b01_0000).map(Into::into).collect();
        settings.pools[0] = Pool { addresses, other_protocols: OtherProtocols::ALL, ..pool };
        settings.rules[0] = rule("10.64.0.0/24", "0.0.0.0/0", RuleAction::Pool(0));
    });
    let mut seen = HashSet::new();
    for at in 0..HOSTS {
        let first = gateway.outbound(Packet::udp(host(at), ep("198.51.100.7:7"))).out().source.address;
        let others = [
            Packet::udp(at_port(host(at), 4001), ep("198.51.100.9:9")),
            Packet::other(GRE, host(at), ep("198.51.100.7:0")),
        ];
        for other in others {
            assert_eq!(gateway.outbound(other).out().source.address, first, "RFC 4787 REQ-2");
        }
        seen.insert(first);
    }
    // Two by chance in one run of many.
    assert!(seen.len() + 1 >= HOSTS as usize, "{} addresses for {HOSTS} hosts", seen.len());
    // The last place is one like others, and comes and goes.
    let last = gateway.settings.pools[0].addresses[0xffff];
    if gateway.settings.pools[0].deterministic.is_none() {
        gateway.reload(|settings| settings.pools[0].addresses = vec![last]);
        let seen = gateway.outbound(Packet::udp(host(0), ep("198.51.100.7:7"))).out().source.address;
        assert_eq!(Ipv4Addr::from(seen), last);
    }
}

#[test]
fn each_port_on_its_own() {
    holds_of(Pool { name: "main".into(), ..Pool::default() });
}

#[test]
fn shared_ports() {
    holds_of(Pool { name: "main".into(), mapping: MappingMode::AddressAndPortDependent, ..Pool::default() });
}

#[test]
fn port_blocks() {
    let blocks = PortBlocks { size: 4032, per_subscriber: 2 };
    holds_of(Pool { name: "main".into(), port_blocks: Some(blocks), ..Pool::default() });
}

#[test]
fn deterministic() {
    // A subscriber for each address: as many ports as it has.
    let whose = Deterministic { inside: vec!["10.64.0.0/16".parse().expect("prefix")], size: 64512 };
    holds_of(Pool { name: "main".into(), deterministic: Some(whose), ..Pool::default() });
}
