//! What must hold of owners, whatever the settings.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use proptest::prelude::*;

use super::*;
use natgw_nat::Protocol;
use natgw_nat::settings::{ForwardSource, Pool, PortForward, Rule, RuleAction, Settings, Share, Static};
use natgw_nat::{BlockGrid, Deterministic, PortBlocks, Ranges};
use natgw_wire::icmpv4::{self, message, unreachable};
use natgw_wire::{ipv4, ports};

const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const FORWARDED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 13);
const STATIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);

fn pool(first: u32, addresses: u32, ports: RangeInclusive<u16>) -> Pool {
    Pool {
        name: "main".into(),
        addresses: (first..first + addresses).map(Ipv4Addr::from).collect(),
        ports,
        ..Pool::default()
    }
}

fn forward(
    protocol: Protocol,
    external: Ipv4Addr,
    ports: RangeInclusive<u16>,
    internal: Ipv4Addr,
) -> PortForward {
    PortForward {
        protocol,
        external,
        external_ports: ports,
        internal,
        internal_port: 80,
        source: ForwardSource::Remote,
    }
}

/// Two pools, one of them by ports as soon as there is more than one worker, forwards in and out of them, a 1:1
/// mapping, and exempt traffic of hosts behind a router.
fn settings() -> Settings {
    Settings {
        inside: vec!["10.64.0.1/24".parse().unwrap()],
        outside: vec!["203.0.113.2/24".parse().unwrap()],
        pools: vec![pool(0xcb00_7140, 16, 1024..=65535), pool(0xcb00_7102, 1, 40_000..=49_999)],
        rules: vec![Rule {
            source: "10.65.0.0/16".parse().unwrap(),
            destination: "192.0.2.0/24".parse().unwrap(),
            action: RuleAction::Exempt,
            ..Rule::default()
        }],
        port_forwards: vec![
            forward(Protocol::Tcp, FORWARDED, 8080..=8080, host(12)),
            forward(Protocol::Udp, FORWARDED, 9000..=9009, host(13)),
            forward(Protocol::Tcp, Ipv4Addr::new(203, 0, 113, 2), 40_500..=40_600, host(14)),
            forward(Protocol::Udp, Ipv4Addr::new(203, 0, 113, 65), 5000..=5001, host(15)),
        ],
        statics: vec![Static { external: STATIC.into(), internal: host(20).into() }],
        ..Settings::default()
    }
}

fn host(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 0, n)
}

fn steering(settings: &Settings, workers: u16) -> Steering {
    Steering::new(settings, workers, 7, Nic::default(), Nic::default()).unwrap()
}

/// An IPv4 packet around `payload`.
fn packet(protocol: u8, src: Ipv4Addr, dst: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    bytes.extend_from_slice(payload);
    let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
    packet.set_header_len(20);
    packet.set_total_len(20 + payload.len() as u16);
    packet.set_protocol(protocol);
    packet.set_src(src);
    packet.set_dst(dst);
    packet.fill_checksum();
    bytes
}

fn segment(src_port: u16, dst_port: u16) -> [u8; 8] {
    let mut bytes = [0; 8];
    let mut ports = ports::Packet::new_unchecked(&mut bytes);
    ports.set_src_port(src_port);
    ports.set_dst_port(dst_port);
    bytes
}

fn query(ty: u8, ident: u16) -> [u8; 8] {
    let mut bytes = [0; 8];
    let mut message = icmpv4::Packet::new_unchecked(&mut bytes);
    message.set_ty(ty);
    message.set_ident(ident);
    message.fill_checksum();
    bytes
}

/// What a router answers to `offender`.
fn unreachable(mut offender: Vec<u8>) -> Vec<u8> {
    offender.resize(offender.len() + 100, 0);
    let len =
        icmpv4::error(&mut offender, message::UNREACHABLE, unreachable::HOST, 0, Ipv4Addr::new(192, 0, 2, 9));
    offender.truncate(len.unwrap());
    offender
}

#[test]
fn a_forward_belongs_to_the_owner_of_its_host() {
    for workers in 1..=16 {
        let settings = settings();
        let steering = steering(&settings, workers);
        for forward in &settings.port_forwards {
            let owner = steering.outbound_owner(forward.internal.into());
            for port in forward.external_ports.clone() {
                assert_eq!(steering.inbound_owner(forward.external.into(), forward.protocol, port), owner);
            }
        }
        for protocol in Protocol::WITH_PORTS {
            let owner = steering.outbound_owner(host(20).into());
            assert_eq!(steering.inbound_owner(STATIC.into(), protocol, 1234), owner);
            assert_eq!(steering.inbound_home(STATIC.into()), owner);
        }
    }
}

#[test]
fn replacing_forwards_leaves_the_rest_alone() {
    let settings = settings();
    let before = steering(&settings, 5);
    let mut after = before.clone();
    after.set_forwards(&[forward(Protocol::Tcp, STATIC, 22..=22, host(99))]).unwrap();
    let owner =
        |steering: &Steering, address: u32, port| steering.inbound_owner(address, Protocol::Tcp, port);
    assert_eq!(owner(&after, STATIC.into(), 22), after.outbound_owner(host(99).into()));
    for address in 0xcb00_7140..0xcb00_7150 {
        assert_eq!(owner(&after, address, 1024), owner(&before, address, 1024));
    }
    let nothing_forwarded = steering(&Settings { port_forwards: vec![], ..settings.clone() }, 5);
    assert_eq!(owner(&after, 0xcb00_7102, 40_550), owner(&nothing_forwarded, 0xcb00_7102, 40_550));
    after.set_forwards(&settings.port_forwards).unwrap();
    assert_eq!(owner(&after, 0xcb00_7102, 40_550), owner(&before, 0xcb00_7102, 40_550));
}

#[test]
fn a_pool_of_neighbours_is_steered_by_the_nic_and_divided_evenly() {
    for (addresses, workers) in [(1, 1), (4, 4), (16, 3), (64, 16), (1024, 7)] {
        let pools = vec![pool(0xcb00_7100, addresses, 1024..=65535)];
        let steering = steering(&Settings { pools, ..Settings::default() }, workers);
        assert_eq!(steering.unsteered_addresses(), 0);
        for worker in (0..workers).map(WorkerId) {
            let shares = &steering.shares(worker)[0];
            assert!(shares.iter().all(|share| steering.outside().owner(share.address.into()) == worker));
            let even = addresses as usize / usize::from(workers);
            assert!(shares.len().abs_diff(even) <= 1 + even / 8, "{} of {addresses}", shares.len());
        }
    }
}

#[test]
fn every_kind_of_packet_finds_the_owner_of_its_endpoint() {
    for workers in 1..=16 {
        let steering = steering(&settings(), workers);
        for Share { address, ports } in (0..workers).flat_map(|w| steering.shares(WorkerId(w)).concat()) {
            let port = *ports.end();
            let owner = |protocol| steering.inbound_owner(address.into(), protocol, port);
            let udp = packet(ipv4::UDP, REMOTE, address, &segment(53, port));
            assert_eq!(steering.inbound(&udp), owner(Protocol::Udp));
            let tcp = packet(ipv4::TCP, REMOTE, address, &segment(443, port));
            assert_eq!(steering.inbound(&tcp), owner(Protocol::Tcp));
            let reply = packet(ipv4::ICMP, REMOTE, address, &query(message::ECHO_REPLY, port));
            assert_eq!(steering.inbound(&reply), owner(Protocol::Icmp));
            // Errors from a router on the way, about what this endpoint sent.
            let sent = packet(ipv4::TCP, address, REMOTE, &segment(port, 443));
            assert_eq!(steering.inbound(&unreachable(sent)), owner(Protocol::Tcp));
            let sent = packet(ipv4::ICMP, address, REMOTE, &query(message::ECHO, port));
            assert_eq!(steering.inbound(&unreachable(sent)), owner(Protocol::Icmp));
        }
    }
}

#[test]
fn what_names_no_port_goes_to_the_home_of_its_address() {
    let steering = steering(&settings(), 8);
    for address in [0xcb00_7102, 0xcb00_7141] {
        let home = steering.inbound_home(address);
        let mut fragment = packet(ipv4::UDP, REMOTE, address.into(), &segment(53, 41_000));
        ipv4::Packet::new_unchecked(&mut fragment[..]).set_frag_offset(1480);
        assert_eq!(steering.inbound(&fragment), home);
        assert_eq!(steering.inbound(&packet(ipv4::UDP, REMOTE, address.into(), &[0; 3])), home);
        // An echo from outside carries an identifier of the remote's own.
        for ty in [message::ECHO, 99] {
            assert_eq!(
                steering.inbound(&packet(ipv4::ICMP, REMOTE, address.into(), &query(ty, 41_000))),
                home
            );
        }
    }
    assert_eq!(steering.inbound(&[0x45; 19]), Steering::MALFORMED);
    assert_eq!(steering.outbound(&[0x65; 40]), Steering::MALFORMED);
}

/// The worker that chooses the outside address of a protocol without ports gets the answers, errors and fragments too.
#[test]
fn protocols_without_ports_come_and_go_by_one_worker() {
    let by_address = vec![pool(0xcb00_7140, 16, 1024..=65535)];
    // Of the numbers of protocols some are ports of one, and none of the other.
    let by_ports = vec![pool(0xcb00_7140, 3, 40..=167), pool(0xcb00_7150, 3, 1024..=65535)];
    for workers in 1..=8 {
        let others = [&by_address, &by_ports].map(|pools| Settings { pools: pools.clone(), ..settings() });
        for settings in others.into_iter().chain([settings()]) {
            let steering = steering(&settings, workers);
            for (n, protocol) in (0..=255).flat_map(|n| [47, 50, 132, 136, 99].map(|protocol| (n, protocol)))
            {
                let sent = packet(protocol, host(n), REMOTE, &[0; 8]);
                let owner = steering.outbound(&sent);
                let received = packet(protocol, REMOTE, host(n), &[0; 8]);
                assert_eq!(steering.outbound(&unreachable(received.clone())), owner);
                // What is not translated, for some of the settings' rules.
                assert_eq!(steering.inbound(&received), owner);
                let is_static = host(n) == host(20);
                let shares = steering.shares(owner).iter().flatten().map(|share| share.address);
                for address in if is_static { vec![STATIC] } else { shares.collect() } {
                    let answer = packet(protocol, REMOTE, address, &[0; 8]);
                    assert_eq!(steering.inbound(&answer), owner, "{workers} workers, {address}");
                    assert_eq!(steering.endpoint_owner_of(&answer), owner);
                    let sent = packet(protocol, address, REMOTE, &[0; 8]);
                    assert_eq!(steering.inbound(&unreachable(sent)), owner);
                }
            }
        }
    }
}

#[test]
fn an_error_from_inside_belongs_to_the_owner_of_the_host_that_it_is_about() {
    let steering = steering(&settings(), 16);
    for n in 0..=255 {
        let received = packet(ipv4::UDP, REMOTE, host(n), &segment(53, 5353));
        assert_eq!(steering.outbound(&unreachable(received)), steering.outbound_owner(host(n).into()));
        let sent = packet(ipv4::UDP, host(n), REMOTE, &segment(5353, 53));
        assert_eq!(steering.outbound(&sent), steering.outbound_owner(host(n).into()));
    }
}

#[test]
fn untranslated_traffic_belongs_to_the_owner_of_the_inside_address() {
    let steering = steering(&settings(), 16);
    for inside in [host(77), Ipv4Addr::new(10, 65, 3, 4)] {
        let owner = steering.outbound_owner(inside.into());
        assert_eq!(steering.inbound(&packet(ipv4::TCP, REMOTE, inside, &segment(80, 5000))), owner);
        let sent = packet(ipv4::TCP, inside, REMOTE, &segment(5000, 80));
        assert_eq!(steering.inbound(&unreachable(sent)), owner);
    }
}

#[test]
fn what_cannot_be_divided_is_refused() {
    let new = |settings: &Settings, workers| {
        Steering::new(settings, workers, 1, Nic::default(), Nic::default()).map(|_| ()).unwrap_err()
    };
    let small = Settings { pools: vec![pool(0xcb00_7102, 2, 5000..=5002)], ..Settings::default() };
    assert!(steering(&small, 2).shares(WorkerId(1))[0].len() == 1);
    assert!(steering(&small, 3).shares(WorkerId(2))[0].len() == 2);
    let error = SteeringError::PoolTooSmall { name: "main".into(), parts: 3, blocks: false, workers: 4 };
    assert_eq!(new(&small, 4), error);
    let twice = Settings { pools: vec![pool(0xcb00_7102, 2, 5000..=5002); 2], ..Settings::default() };
    assert_eq!(new(&twice, 1), SteeringError::AddressTwice(Ipv4Addr::new(203, 0, 113, 2)));
    assert_eq!(new(&Settings::default(), 0), SteeringError::Workers { workers: 0, entries: 512 });
    assert_eq!(new(&Settings::default(), 513), SteeringError::Workers { workers: 513, entries: 512 });
    let nic = Nic { reta_size: 100, key_len: 40 };
    let error = Steering::new(&Settings::default(), 1, 1, nic, Nic::default()).unwrap_err();
    assert_eq!(error, SteeringError::RetaSize(100));
    let forwards = vec![forward(Protocol::Tcp, FORWARDED, 80..=90, host(1)); 2];
    let twice = Settings { port_forwards: forwards, ..Settings::default() };
    assert_eq!(new(&twice, 1), SteeringError::ForwardTwice(FORWARDED, 80));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_outside_endpoint_has_two_owners_and_none_has_none(
        sizes in prop::collection::vec(1_u32..40, 1..4),
        ports in (0_u16..60_000, 16_u16..200).prop_map(|(first, count)| first..=first + count),
        workers in 1_u16..=16,
        reta_size in prop::sample::select(vec![16_usize, 64, 128, 512, 2048]),
        seed: u64,
    ) {
        let base = |nth: u32| 0xcb00_7100 + nth * 256;
        let pools: Vec<Pool> = (0..).zip(&sizes).map(|(nth, &size)| pool(base(nth), size, ports.clone())).collect();
        let settings = Settings { pools, ..Settings::default() };
        let nic = Nic { reta_size, key_len: 40 };
        let steering = Steering::new(&settings, workers, seed, Nic::default(), nic).unwrap();
        for (nth, pool) in settings.pools.iter().enumerate() {
            let mut endpoints = 0;
            for worker in (0..workers).map(WorkerId) {
                let shares = &steering.shares(worker)[nth];
                prop_assert!(!shares.is_empty(), "{worker:?} has nothing of pool {nth}");
                for Share { address, ports } in shares {
                    prop_assert!(pool.addresses.contains(address));
                    for port in ports.clone() {
                        endpoints += 1;
                        for protocol in Protocol::WITH_PORTS {
                            prop_assert_eq!(steering.inbound_owner((*address).into(), protocol, port), worker);
                        }
                    }
                }
            }
            // Each share's endpoints have its worker as their one owner, and there are as many as the pool has.
            prop_assert_eq!(endpoints, pool.addresses.len() * pool.ports.len());
        }
    }

    #[test]
    fn every_port_block_has_one_owner(
        addresses in 1_u32..80,
        size in 16_u16..700,
        workers in 1_u16..=64,
        seed: u64,
    ) {
        let mut divided = pool(0xcb00_7102, addresses, 1024..=65535);
        divided.port_blocks = Some(PortBlocks { size, per_subscriber: 1 });
        let grid = divided.block_grid().unwrap();
        let settings = Settings { pools: vec![divided], ..Settings::default() };
        let steering = Steering::new(&settings, workers, seed, Nic::default(), Nic::default()).unwrap();
        let mut blocks = 0;
        for worker in (0..workers).map(WorkerId) {
            let shares = &steering.shares(worker)[0];
            prop_assert!(!shares.is_empty());
            for Share { address, ports } in shares {
                let mine = BlockGrid::new(ports, size);
                prop_assert!(mine.count() > 0);
                for block in 0..mine.count() {
                    blocks += 1;
                    let ports = mine.ports(block);
                    prop_assert_eq!(grid.ports_around(*ports.start()), Some(ports.clone()));
                    for port in [*ports.start(), *ports.end()] {
                        prop_assert_eq!(steering.inbound_owner((*address).into(), Protocol::Tcp, port), worker);
                    }
                }
            }
        }
        prop_assert_eq!(blocks, addresses * u32::from(grid.count()));
    }

    #[test]
    fn rfc7422_the_owner_of_an_endpoint_is_its_subscribers(
        lens in prop::collection::vec(23_u8..=30, 1..4),
        size in 64_u16..2000,
        workers in 1_u16..=64,
        seed: u64,
    ) {
        let prefix = |(nth, len): (usize, &u8)| format!("10.{}.0.0/{len}", 70 + nth).parse().unwrap();
        let inside = lens.iter().enumerate().map(prefix).collect();
        let mut fixed = pool(0xcb00_7102, 60, 1024..=65535);
        fixed.deterministic = Some(Deterministic { inside, size });
        let ranges = Ranges::of(&fixed).unwrap();
        let settings = Settings { pools: vec![fixed], ..Settings::default() };
        let steering = Steering::new(&settings, workers, seed, Nic::default(), Nic::default()).unwrap();
        let pool = &settings.pools[0];
        let hosts: Vec<Ipv4Addr> = pool.deterministic.as_ref().unwrap().hosts().collect();
        let fit = hosts.len().min(60 * usize::from(ranges.ratio()));
        for &host in &hosts[..fit] {
            let (place, ports) = ranges.outside(host).unwrap();
            let owner = steering.outbound_owner(host.into());
            let address = pool.addresses[place];
            for port in [*ports.start(), *ports.end()] {
                for protocol in Protocol::WITH_PORTS {
                    prop_assert_eq!(steering.inbound_owner(address.into(), protocol, port), owner);
                }
                let to = packet(ipv4::UDP, REMOTE, address, &segment(53, port));
                prop_assert_eq!(steering.inbound(&to), owner);
            }
            let share = Share { address, ports };
            prop_assert!(steering.shares(owner)[0].contains(&share));
        }
        let shares = (0..workers).map(|worker| steering.shares(WorkerId(worker))[0].len());
        prop_assert_eq!(shares.sum::<usize>(), fit);
    }

    #[test]
    fn any_bytes_have_an_owner(bytes in prop::collection::vec(any::<u8>(), 0..120), workers in 1_u16..=16) {
        let steering = steering(&settings(), workers);
        prop_assert!(steering.inbound(&bytes).0 < workers);
        prop_assert!(steering.outbound(&bytes).0 < workers);
    }
    /// The short way to an owner, for nearly all packets, leads where the long one does.
    #[test]
    fn the_short_way_leads_to_the_same_owner(
        (last, protocol, offset) in (any::<u8>(), 0_u8..=60, prop_oneof![Just(0_u16), 0..8191_u16]),
        (port, cut) in (39_990..50_010_u16, 20_usize..40),
        workers in 1_u16..=16,
    ) {
        let steering = steering(&settings(), workers);
        let ours = Ipv4Addr::new(203, 0, 113, last);
        for (from, to) in [(REMOTE, ours), (host(last), REMOTE)] {
            let mut packet = packet(protocol, from, to, &segment(53, port));
            ipv4::Packet::new_unchecked(&mut packet[..]).set_frag_offset(offset & !7);
            packet.truncate(cut);
            prop_assert_eq!(steering.inbound(&packet), steering.inbound_closely(&packet));
            prop_assert_eq!(steering.outbound(&packet), steering.outbound_closely(&packet));
        }
    }
}
