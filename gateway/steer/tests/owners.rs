//! Steering and engine together: a session's packets of both directions have the one owner that made the session.

use std::net::Ipv4Addr;

use natgw_nat::settings::{Pool, Rule, RuleAction, Settings};
use natgw_nat::{Direction, Part, Secret, Shard, ShardOptions, Time, Verdict};
use natgw_steer::{Nic, Steering, WorkerId};
use natgw_wire::{icmpv4, ipv4, ports, udp};

const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn settings(pool_addresses: u32) -> Settings {
    let pool = Pool {
        name: "main".into(),
        addresses: (0xcb00_710a..0xcb00_710a + pool_addresses).map(Into::into).collect(),
        ..Pool::default()
    };
    let rule = Rule { action: RuleAction::Pool(0), ..Rule::default() };
    Settings {
        inside: vec!["10.64.0.1/16".parse().unwrap()],
        outside: vec!["203.0.113.2/24".parse().unwrap()],
        pools: vec![pool],
        rules: vec![rule],
        ..Settings::default()
    }
}

fn shards(settings: &Settings, steering: &Steering) -> Vec<Shard> {
    let shard = |worker| {
        let shares = steering.shares(WorkerId(worker));
        let secret = Secret::new([u64::from(worker), 2, 3, 4]);
        let part = Part { index: worker, of: steering.workers() };
        let now = Time(0);
        Shard::new(&ShardOptions { settings, shares, sessions: 4096, part, secret, now }).unwrap()
    };
    (0..steering.workers()).map(shard).collect()
}

fn translate(shard: &mut Shard, packet: &mut Vec<u8>, direction: Direction) -> Verdict {
    let mut verdicts = [Verdict::Local];
    shard.translate(std::slice::from_mut(packet), direction, Time(1), &mut verdicts);
    verdicts[0]
}

/// An IPv4 packet between two addresses, with room behind it for an ICMP error's headers.
fn packet(protocol: u8, src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0; 20], payload].concat();
    let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
    packet.set_header_len(20);
    packet.set_total_len(20 + payload.len() as u16);
    packet.set_ttl(64);
    packet.set_protocol(protocol);
    packet.set_src(src);
    packet.set_dst(dst);
    packet.fill_checksum();
    bytes
}

fn datagram(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut bytes = [0; 12];
    let mut datagram = udp::Packet::new_unchecked(&mut bytes[..]);
    datagram.set_src_port(src.1);
    datagram.set_dst_port(dst.1);
    datagram.set_len(12);
    datagram.fill_checksum(src.0, dst.0);
    packet(ipv4::UDP, src.0, dst.0, &bytes)
}

fn echo(ty: u8, src: Ipv4Addr, dst: Ipv4Addr, ident: u16) -> Vec<u8> {
    let mut bytes = [0; 16];
    let mut message = icmpv4::Packet::new_unchecked(&mut bytes[..]);
    message.set_ty(ty);
    message.set_ident(ident);
    message.fill_checksum();
    packet(ipv4::ICMP, src, dst, &bytes)
}

/// What a router answers to `offender`.
fn unreachable(offender: &[u8]) -> Vec<u8> {
    let mut bytes = [offender, &[0; 28]].concat();
    let len = icmpv4::error(&mut bytes, icmpv4::message::UNREACHABLE, icmpv4::unreachable::HOST, 0, ROUTER);
    bytes.truncate(len.unwrap());
    bytes
}

/// The source address of a translated packet, and its port or identifier.
fn external(packet: &[u8]) -> (Ipv4Addr, u16) {
    let packet = ipv4::Packet::new_checked(packet).unwrap();
    let channel = match packet.protocol() {
        ipv4::ICMP => icmpv4::Packet::new_checked(packet.payload()).unwrap().ident(),
        _ => ports::Packet::new_checked(packet.payload()).unwrap().src_port(),
    };
    (packet.src(), channel)
}

#[test]
fn replies_and_errors_reach_the_worker_that_made_the_session() {
    for (workers, pool_addresses) in [(1, 1), (2, 1), (4, 3), (5, 2), (4, 16), (7, 30)] {
        let settings = settings(pool_addresses);
        let steering = Steering::new(&settings, workers, 9, Nic::default(), Nic::default()).unwrap();
        let mut shards = shards(&settings, &steering);
        let mut used = vec![false; usize::from(workers)];
        for nth in 0..200_u16 {
            let host = Ipv4Addr::from(0x0a40_0010 + u32::from(nth / 2));
            let mut out = match nth % 2 {
                0 => datagram((host, 5000 + nth), (REMOTE, 53)),
                _ => echo(icmpv4::message::ECHO, host, REMOTE, nth),
            };
            let owner = steering.outbound(&out);
            used[owner.index()] = true;
            let shard = &mut shards[owner.index()];
            assert!(matches!(translate(shard, &mut out, Direction::Outbound), Verdict::Forward(Some(_))));

            let (address, channel) = external(&out);
            let reply = match nth % 2 {
                0 => datagram((REMOTE, 53), (address, channel)),
                _ => echo(icmpv4::message::ECHO_REPLY, REMOTE, address, channel),
            };
            for mut back in [reply, unreachable(&out)] {
                assert_eq!(steering.inbound(&back), owner, "{workers} workers, {pool_addresses} addresses");
                let verdict = translate(shard, &mut back, Direction::Inbound);
                assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
                assert_eq!(ipv4::Packet::new_verified(&back[..]).unwrap().dst(), host);
            }
        }
        assert!(used.iter().all(|&used| used), "every worker has subscribers");
    }
}
