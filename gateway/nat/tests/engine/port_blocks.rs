//! Ports in blocks: RFC 6888 REQ-4, 8 and 12 to 15.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use natgw_nat::{
    BlockEvent, BlockRecord, DropReason, Endpoint, PoolUsage, PortBlocks, PortForward, Protocol,
    SessionFailure, Settings,
};
use proptest::prelude::*;

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, Outcome, forward, settings};

const HOST: &str = "10.64.0.5:4000";
const OTHER: &str = "10.64.0.6:4000";
const REMOTE: &str = "198.51.100.7:7000";

/// Blocks of 16 ports, so many of one address.
fn in_blocks(blocks: u16, per_subscriber: u8) -> Settings {
    let mut settings = settings();
    let pool = &mut settings.pools[0];
    pool.addresses.truncate(1);
    pool.ports = 1024..=1023 + blocks * 16;
    pool.port_blocks = Some(PortBlocks { size: 16, per_subscriber });
    settings
}

fn block_of(external: Endpoint) -> u16 {
    (external.port - 1024) / 16
}

fn nth(host: &str, port: u16) -> Endpoint {
    at_port(ep(host), 5000 + port)
}

fn records(gateway: &mut Gateway) -> Vec<BlockRecord> {
    let next = |gateway: &mut Gateway| gateway.shards.iter_mut().find_map(|shard| shard.next_block_record());
    std::iter::from_fn(|| next(gateway)).collect()
}

#[test]
fn rfc6888_req4_a_subscriber_gets_blocks_one_by_one_and_no_more_than_it_may() {
    let mut gateway = Gateway::new(in_blocks(10, 3));
    let mut blocks = Vec::new();
    for port in 0..48 {
        blocks.push(block_of(gateway.open(Protocol::Udp, nth(HOST, port), ep(REMOTE))));
    }
    let full = gateway.outbound(Packet::udp(nth(HOST, 48), ep(REMOTE)));
    assert_eq!(full, Outcome::Reject(DropReason::SubscriberPortBlocks), "signalled");
    assert_eq!(gateway.shards[0].pool_failures(0, SessionFailure::SubscriberPortBlocks), 1);
    for part in blocks.chunks(16) {
        assert!(part.iter().all(|block| *block == part[0]), "a further one before the first was full");
    }
    // Another protocol finds room in the same blocks.
    for port in 0..48 {
        let tcp = gateway.open(Protocol::Tcp, nth(HOST, port), ep(REMOTE));
        assert!(blocks.contains(&block_of(tcp)));
    }
    assert_eq!(gateway.shards[0].block_usage(0), PoolUsage { used: 3, held: 0, total: 10 });
}

#[test]
fn rfc4787_req2_all_blocks_of_a_subscriber_are_of_one_address() {
    let mut settings = in_blocks(4, 4);
    settings.pools[0].addresses = (10..20).map(|host| Ipv4Addr::new(203, 0, 113, host)).collect();
    let mut gateway = Gateway::new(settings);
    let paired = gateway.open(Protocol::Udp, nth(HOST, 0), ep(REMOTE)).address;
    for port in 1..64 {
        assert_eq!(gateway.open(Protocol::Udp, nth(HOST, port), ep(REMOTE)).address, paired);
    }
    // There are blocks enough elsewhere.
    let full = gateway.outbound(Packet::udp(nth(HOST, 64), ep(REMOTE))).reason();
    assert_eq!(full, DropReason::SubscriberPortBlocks);
}

#[test]
fn rfc6888_req8_a_block_rests_120_s_before_another_subscriber_gets_it() {
    let mut gateway = Gateway::new(in_blocks(1, 4));
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let other = Packet::udp(ep(OTHER), ep(REMOTE));
    let refused = gateway.outbound(other.clone());
    assert_eq!(refused, Outcome::Reject(DropReason::PortBlocksExhausted), "signalled");
    gateway.pass_ms(300_000 + 128);
    assert_eq!(gateway.mappings(), [], "a port of a block need not rest");
    assert_eq!(gateway.shards[0].block_usage(0), PoolUsage { used: 0, held: 1, total: 1 });
    gateway.pass_ms(119_999);
    assert_eq!(gateway.outbound(other.clone()).reason(), DropReason::PortBlocksExhausted);
    gateway.pass_ms(1);
    assert_eq!(gateway.shards[0].block_usage(0), PoolUsage { used: 0, held: 0, total: 1 });
    assert_eq!(block_of(gateway.outbound(other).out().source), block_of(external));
    assert_eq!(gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).reason(), DropReason::PortBlocksExhausted);
}

#[test]
fn rfc6888_req8_a_subscriber_takes_its_own_resting_block_up_again() {
    let mut gateway = Gateway::new(in_blocks(100, 4));
    let first = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    for port in 0..5 {
        gateway.pass_s(300 + 119);
        let again = gateway.open(Protocol::Udp, nth(HOST, port), ep(REMOTE));
        assert_eq!(block_of(again), block_of(first));
    }
    assert_eq!(records(&mut gateway).len(), 1);
    gateway.pass_s(301);
    gateway.pass_s(120);
    assert_eq!(gateway.shards[0].counters().subscribers, 0);
}

#[test]
fn rfc6888_req8_a_freed_port_of_a_block_is_its_subscribers_at_once() {
    let mut gateway = Gateway::new(in_blocks(2, 1));
    (0..15).for_each(|port| _ = gateway.open(Protocol::Udp, nth(HOST, port), ep(REMOTE)));
    gateway.pass_s(200);
    gateway.open(Protocol::Udp, nth(HOST, 15), ep(REMOTE));
    gateway.pass_s(101);
    (100..115).for_each(|port| _ = gateway.open(Protocol::Udp, nth(HOST, port), ep(REMOTE)));
    let full = gateway.outbound(Packet::udp(nth(HOST, 115), ep(REMOTE))).reason();
    assert_eq!(full, DropReason::SubscriberPortBlocks);
}

#[test]
fn rfc6888_req12_to_14_one_record_a_block_and_no_destination_in_it() {
    let mut gateway = Gateway::new(in_blocks(10, 2));
    let remote = |nth: u32| Endpoint { address: ep(REMOTE).address + nth, port: 443 };
    for port in 0..16 {
        for to in 0..20 {
            gateway.open(Protocol::Udp, nth(HOST, port), remote(to));
            gateway.open(Protocol::Tcp, nth(HOST, port), remote(to));
        }
    }
    let external = gateway.open(Protocol::Icmp, ep(HOST), remote(0));
    let first = 1024 + block_of(external) * 16;
    let taken = BlockRecord {
        event: BlockEvent::Taken,
        pool: 0,
        inside: Ipv4Addr::new(10, 64, 0, 5),
        outside: Ipv4Addr::new(203, 0, 113, 10),
        first,
        last: first + 15,
    };
    assert_eq!(records(&mut gateway), [taken], "641 sessions");
    gateway.pass_s(301);
    assert_eq!(records(&mut gateway), []);
    gateway.pass_s(121);
    assert_eq!(records(&mut gateway), [BlockRecord { event: BlockEvent::GivenBack, ..taken }]);
}

#[test]
fn rfc6888_req14_every_block_is_usable_and_found_up_to_the_last() {
    let mut settings = settings();
    settings.inside = vec!["10.64.0.1/16".parse().unwrap()];
    settings.rules[0].source = "10.64.0.0/16".parse().unwrap();
    settings.pools[0].addresses.truncate(2);
    settings.pools[0].port_blocks = Some(PortBlocks { size: 500, per_subscriber: 1 });
    let mut gateway = Gateway::new(settings);
    let host = |nth: u32| Endpoint { address: ep("10.64.1.0:4000").address + nth, port: 4000 };
    let blocks: BTreeSet<(u32, u16)> = (0..258)
        .map(|nth| gateway.open(Protocol::Udp, host(nth), ep(REMOTE)))
        .map(|external| (external.address, (external.port - 1024) / 500))
        .collect();
    assert_eq!(blocks.len(), 258);
    let usable = gateway.shards[0].pool_usage(0, Protocol::Udp).total;
    assert!(f64::from(usable) >= 0.98 * f64::from(2 * 64_512), "{usable}");
    let refused = gateway.outbound(Packet::udp(host(258), ep(REMOTE))).reason();
    assert_eq!(refused, DropReason::PortBlocksExhausted);
}

#[test]
fn rfc6888_req15_ports_are_drawn_at_random_within_the_blocks() {
    let mut settings = in_blocks(40, 4);
    settings.pools[0].port_blocks = Some(PortBlocks { size: 512, per_subscriber: 4 });
    settings.pools[0].ports = 1024..=65535;
    let mut gateway = Gateway::new(settings);
    // No inside port lies in the pool, so that each is drawn.
    let drawn: Vec<u16> =
        (1..200).map(|port| gateway.open(Protocol::Tcp, at_port(ep(HOST), port), ep(REMOTE)).port).collect();
    assert!(drawn.iter().all(|port| (port - 1024) / 512 == (drawn[0] - 1024) / 512));
    let steps = drawn.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 2).count();
    assert!(steps < 12, "{steps} of 198 ports lie beside the one before");
    // The blocks themselves are no less so.
    let hosts = (0..60).map(|host| Endpoint { address: ep("10.64.0.20:1").address + host, port: 1 });
    let blocks: Vec<u16> =
        hosts.map(|host| (gateway.open(Protocol::Tcp, host, ep(REMOTE)).port - 1024) / 512).collect();
    let steps = blocks.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) <= 1).count();
    assert!(steps < 10, "{steps} of 59 blocks lie beside the one before");
}

#[test]
fn rfc4787_req4_parity_and_preservation_hold_within_the_blocks() {
    let mut gateway = Gateway::new(in_blocks(10, 2));
    let first = gateway.open(Protocol::Udp, at_port(ep(HOST), 3), ep(REMOTE));
    assert_eq!(first.port % 2, 1);
    let mine = 1024 + block_of(first) * 16;
    for port in (2..16).step_by(2) {
        assert_eq!(gateway.open(Protocol::Udp, at_port(ep(HOST), port), ep(REMOTE)).port % 2, 0);
    }
    let kept =
        (mine..mine + 16).find(|port| gateway.mappings().iter().all(|line| line.external.port != *port));
    let kept = kept.expect("eight are free");
    assert_eq!(gateway.open(Protocol::Udp, at_port(ep(HOST), kept), ep(REMOTE)).port, kept);
    // A free port of another block is not preserved.
    let elsewhere = if mine == 1024 { 1024 + 16 } else { 1024 };
    let other = gateway.open(Protocol::Tcp, at_port(ep(HOST), elsewhere), ep(REMOTE));
    assert_eq!(block_of(other), block_of(first));
}

#[test]
fn a_block_of_forwarded_ports_is_given_to_no_subscriber() {
    let mut settings = in_blocks(2, 2);
    let forward = forward(Protocol::Tcp, "203.0.113.10:1020", "10.64.0.9:1020");
    settings.port_forwards = vec![PortForward { external_ports: 1020..=1050, ..forward }];
    let mut gateway = Gateway::new(settings);
    assert_eq!(gateway.shards[0].block_usage(0).total, 1);
    // Of the other block five ports are left.
    (0..5).for_each(|port| _ = gateway.open(Protocol::Tcp, nth(HOST, port), ep(REMOTE)));
    let sixth = gateway.outbound(Packet::first(Protocol::Tcp, nth(HOST, 5), ep(REMOTE))).reason();
    assert_eq!(sixth, DropReason::PortBlocksExhausted);
    gateway.open(Protocol::Udp, nth(HOST, 5), ep(REMOTE));
}

#[test]
fn records_beyond_the_queue_are_counted() {
    let mut settings = in_blocks(1200, 1);
    settings.inside = vec!["10.64.0.1/16".parse().unwrap()];
    settings.rules[0].source = "10.64.0.0/16".parse().unwrap();
    let mut gateway = Gateway::with_shards(settings, 1, 4096);
    for host in 0..1100 {
        gateway.open(
            Protocol::Udp,
            Endpoint { address: ep("10.64.1.0:1").address + host, port: 9 },
            ep(REMOTE),
        );
    }
    assert_eq!(gateway.shards[0].counters().block_records_lost, 1100 - 1024);
    assert_eq!(records(&mut gateway).len(), 1024);
}

#[test]
fn reload_adds_addresses_and_subscribers_keep_their_blocks() {
    let mut gateway = Gateway::new(in_blocks(2, 1));
    let stays = gateway.open(Protocol::Udp, nth(HOST, 0), ep(REMOTE));
    gateway.open(Protocol::Udp, nth(OTHER, 0), ep("192.0.2.9:7000"));
    let third = Packet::udp(nth("10.64.0.7:1", 0), ep(REMOTE));
    assert_eq!(gateway.outbound(third.clone()).reason(), DropReason::PortBlocksExhausted);
    let second = Ipv4Addr::new(203, 0, 113, 40);
    gateway.reload(|settings| settings.pools[0].addresses.push(second));
    assert_eq!(gateway.shards[0].block_usage(0), PoolUsage { used: 2, held: 0, total: 4 });
    let served = gateway.outbound(third).out().source;
    assert_eq!(Ipv4Addr::from(served.address), second);
    // A subscriber keeps to its blocks, and to their limit.
    assert_eq!(gateway.outbound(Packet::udp(nth(HOST, 0), ep(REMOTE))).out().source, stays);
    for port in 1..16 {
        let more = gateway.open(Protocol::Udp, nth(HOST, port), ep(REMOTE));
        assert_eq!((more.address, block_of(more)), (stays.address, block_of(stays)));
    }
    let full = gateway.outbound(Packet::udp(nth(HOST, 16), ep(REMOTE))).reason();
    assert_eq!(full, DropReason::SubscriberPortBlocks);
    // Blocks of before come back and rest as ever.
    records(&mut gateway);
    gateway.drain();
    let back: BTreeSet<_> =
        records(&mut gateway).iter().map(|record| (record.outside, record.first)).collect();
    assert_eq!(back.len(), 3);
    assert_eq!(gateway.shards[0].block_usage(0), PoolUsage { used: 0, held: 0, total: 4 });
}

/// What is done in a world with blocks.
#[derive(Clone, Debug)]
enum Step {
    Open {
        host: u8,
        port: u8,
        protocol: usize,
    },
    Pass {
        seconds: u16,
    },
    /// A reload adds an address.
    Grow,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..6, 0u8..60, 0usize..3).prop_map(|(host, port, protocol)| Step::Open { host, port, protocol }),
        1 => prop_oneof![1u16..60, 100u16..500].prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Grow),
    ]
}

proptest! {
    /// By the records alone, the subscriber of an endpoint has its block. No subscriber gets another's block before `port_hold`
    /// is over, and no session is refused that a free block allows.
    #[test]
    fn records_say_whose_every_endpoint_is(
        (shards, addresses, blocks, most) in (1usize..4, 1u8..4, 4u16..9, 1u8..4),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut settings = in_blocks(blocks, most);
        settings.limits.new_sessions_per_subscriber_per_s = 1_000_000;
        settings.pools[0].addresses = (0..addresses).map(|host| Ipv4Addr::new(203, 0, 113, 10 + host)).collect();
        let mut gateway = Gateway::with_shards(settings, shards, 4096);
        // Block to owner; and when a block was in use for the last time.
        let mut owners: BTreeMap<(Ipv4Addr, u16), Ipv4Addr> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Pass { seconds } => gateway.pass_s(seconds.into()),
                Step::Grow => {
                    let here = gateway.settings.pools[0].addresses.len();
                    // Who shares each address shares the next one too.
                    if here >= shards || here + 1 < shards {
                        let next = Ipv4Addr::new(203, 0, 113, 10 + here as u8);
                        gateway.reload(|settings| settings.pools[0].addresses.push(next));
                        let total: u32 = gateway.shards.iter().map(|shard| shard.block_usage(0).total).sum();
                        prop_assert_eq!(total, (here as u32 + 1) * u32::from(blocks));
                    }
                }
                Step::Open { host, port, protocol } => {
                    let inside = nth(&format!("10.64.0.{}:1", 5 + host), port.into());
                    let outcome = gateway.outbound(Packet::first(Protocol::WITH_PORTS[protocol], inside, ep(REMOTE)));
                    let mine: Vec<_> =
                        owners.iter().filter(|(_, owner)| owner.to_bits() == inside.address).map(|(block, _)| *block).collect();
                    let used = |block: &(Ipv4Addr, u16)| {
                        let lines = gateway.mappings();
                        let of = |line: &&natgw_nat::MappingView| {
                            line.protocol as usize == protocol
                                && (Ipv4Addr::from(line.external.address), block_of(line.external)) == *block
                        };
                        lines.iter().filter(of).count()
                    };
                    match outcome {
                        Outcome::Out(_) => {}
                        Outcome::Reject(DropReason::SubscriberPortBlocks) => {
                            prop_assert_eq!(mine.len(), usize::from(most));
                            prop_assert!(mine.iter().all(|block| used(block) == 16));
                        }
                        Outcome::Reject(DropReason::PortBlocksExhausted) => {
                            prop_assert!(mine.iter().all(|block| used(block) == 16));
                            let PoolUsage { used, held, total } =
                                gateway.shards[gateway.owner_of_inside(inside.address)].block_usage(0);
                            prop_assert!(!mine.is_empty() || used + held == total, "there are free ones");
                        }
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
            }
            for record in records(&mut gateway) {
                let block = (record.outside, (record.first - 1024) / 16);
                match record.event {
                    BlockEvent::Taken => prop_assert_eq!(owners.insert(block, record.inside), None),
                    BlockEvent::GivenBack => prop_assert_eq!(owners.remove(&block), Some(record.inside)),
                }
            }
            for line in gateway.mappings() {
                let block = (Ipv4Addr::from(line.external.address), block_of(line.external));
                prop_assert_eq!(owners.get(&block).copied(), Some(line.internal.address.into()));
            }
            let usage: u32 = gateway.shards.iter().map(|shard| shard.block_usage(0)).map(|u| u.used + u.held).sum();
            prop_assert_eq!(usage as usize, owners.len());
        }
        gateway.drain();
        records(&mut gateway);
        for shard in &mut gateway.shards {
            let usage = shard.block_usage(0);
            prop_assert_eq!((usage.used, usage.held), (0, 0));
            prop_assert_eq!(shard.counters().subscribers, 0);
        }
    }
}
