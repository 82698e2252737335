//! Reloads of every kind in the midst of traffic and of one another's sweeps: no two hosts have one outside endpoint, after a
//! sweep only mappings remain that the configuration allows, and in the end nothing is held.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use natgw_nat::{
    Direction, Filtering, ForwardSource, FragmentAction, FragmentPath, MappingMode, Pool, PortBlocks,
    PortForward, Protocol, RuleAction, Settings, Static, Twice, Verdict,
};
use natgw_steer::Steering;
use proptest::prelude::*;

use crate::packet::{Packet, Seen, unchanging};
use crate::random_ops::{Shape, Step, externals, holds, resolve, run, shape, steps};
use crate::sim::{Gateway, rule};

/// How a pool hands out ports.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Shared,
    Blocks,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![2 => Just(Kind::Plain), 1 => Just(Kind::Shared), 1 => Just(Kind::Blocks)]
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Traffic(Step),
    Begin(Change),
    Sweep(u32),
}

/// A packet of a trial, damaged on its way.
#[derive(Clone, Debug)]
struct Damaged {
    step: Step,
    /// An ICMP error of this type about it comes in its place, from the other side.
    about: Option<u8>,
    /// Octets that are others.
    octets: Vec<(u8, u8)>,
    cut: Option<u8>,
    /// With a right header checksum the damage gets further in.
    mended: bool,
    shard: u8,
    hairpinned: bool,
}

fn damaged() -> impl Strategy<Value = Damaged> {
    let about = prop::option::weighted(0.3, prop::sample::select(vec![3u8, 4, 5, 11, 12]));
    let octets = prop::collection::vec((any::<u8>(), any::<u8>()), 0..4);
    let cut = prop::option::weighted(0.1, any::<u8>());
    let step = steps(2).prop_map(|steps| steps[0]);
    (step, about, octets, cut, prop::bool::weighted(0.8), any::<u8>(), prop::bool::weighted(0.1)).prop_map(
        |(step, about, octets, cut, mended, shard, hairpinned)| Damaged {
            step,
            about,
            octets,
            cut,
            mended,
            shard,
            hairpinned,
        },
    )
}

/// What a reload changes.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Each address is unused, in the first or the second pool, or of a 1:1 mapping.
    Addresses([u8; ADDRESSES]),
    Ports(u16, u16),
    Filtering(Filtering),
    /// A forward is added, or removed where it exists.
    Forward {
        tcp: bool,
        address: u8,
        port: u16,
        host: u8,
        gateway: bool,
    },
    /// Whom the first rule sends where.
    Rule(u8, u8),
    Twice,
    Timeout(u32),
}

const ADDRESSES: usize = 8;
const FIRST: u8 = 10;

fn external(at: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, FIRST + at % ADDRESSES as u8)
}

fn change() -> impl Strategy<Value = Change> {
    let filtering = prop::sample::select(vec![
        Filtering::EndpointIndependent,
        Filtering::AddressDependent,
        Filtering::AddressAndPortDependent,
    ]);
    let whose = prop_oneof![2 => Just(0u8), 4 => Just(1), 3 => Just(2), 1 => Just(3)];
    let forward = (any::<bool>(), 0u8..3, 2000u16..2008, any::<u8>(), any::<bool>());
    prop_oneof![
        4 => prop::array::uniform8(whose).prop_map(Change::Addresses),
        2 => (2000u16..2008, 8u16..24).prop_map(|(first, len)| Change::Ports(first, len)),
        1 => filtering.prop_map(Change::Filtering),
        6 => forward.prop_map(|(tcp, address, port, host, gateway)| Change::Forward { tcp, address, port, host, gateway }),
        1 => (any::<u8>(), 0u8..4).prop_map(|(host, action)| Change::Rule(host, action)),
        1 => Just(Change::Twice),
        1 => (1u32..5).prop_map(|n| Change::Timeout(n * 16)),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let traffic = steps(12).prop_map(|steps| steps.into_iter().map(Act::Traffic).collect::<Vec<_>>());
    let begin = change().prop_map(|change| vec![Act::Begin(change)]);
    let sweep =
        prop_oneof![Just(1u32), Just(3), Just(7), Just(1000)].prop_map(|lines| vec![Act::Sweep(lines)]);
    let act = prop_oneof![6 => traffic, 2 => begin, 5 => sweep];
    prop::collection::vec(act, 1..60).prop_map(|acts| acts.concat())
}

/// Two pools of these kinds on the addresses that a trial sends to.
fn gateway(shape: &Shape, kinds: [Kind; 2]) -> Gateway {
    let mut settings = Shape { roomy: true, ..*shape }.settings();
    let main = settings.pools[0].clone();
    settings.pools =
        ["main", "second"].iter().zip(kinds).map(|(name, kind)| pool(name, kind, &main)).collect();
    settings.port_forwards.clear();
    settings.statics.clear();
    let (first, second) = (0..ADDRESSES as u8).map(external).partition(|address| *address < external(4));
    (settings.pools[0].addresses, settings.pools[1].addresses) = (first, second);
    Gateway::with_shards(settings, shape.shards, 512)
}

fn pool(name: &str, kind: Kind, like: &Pool) -> Pool {
    let mapping = match kind {
        Kind::Shared => MappingMode::AddressAndPortDependent,
        Kind::Plain | Kind::Blocks => MappingMode::EndpointIndependent,
    };
    let port_blocks = matches!(kind, Kind::Blocks).then_some(PortBlocks { size: 4, per_subscriber: 2 });
    Pool { name: name.into(), mapping, port_blocks, ..like.clone() }
}

/// Gives each address away, and every shard of the first pool one at least; the second has one for each shard or none.
fn assign(settings: &mut Settings, steering: &Steering, whose: [u8; ADDRESSES]) {
    let shards = usize::from(steering.workers());
    let of = |who: u8| (0..).zip(whose).filter(move |(_, of)| *of == who).map(|(at, _)| external(at));
    // The owner of a pool's address, and of one that comes into a pool.
    let shard = |address: &Ipv4Addr| steering.inbound_home(address.to_bits()).index();
    let mut first: Vec<Ipv4Addr> = of(1).collect();
    for missing in 0..shards {
        if !first.iter().any(|address| shard(address) == missing) {
            first.extend((0..ADDRESSES as u8).map(external).find(|address| shard(address) == missing));
        }
    }
    first.sort_unstable();
    let mut second: Vec<Ipv4Addr> = of(2).filter(|address| !first.contains(address)).collect();
    if second.iter().map(shard).collect::<HashSet<_>>().len() < shards {
        second.clear();
    }
    settings.pools[0].addresses = first.clone();
    settings.pools[1].addresses = second.clone();
    let hosts = [20, 6, 5].map(|host| Ipv4Addr::new(10, 64, 0, host));
    settings.statics = of(3)
        .filter(|address| !first.contains(address) && !second.contains(address))
        .zip(hosts)
        .map(|(external, internal)| Static { external: external.into(), internal: internal.into() })
        .collect();
    let statics = &settings.statics;
    settings.port_forwards.retain(|forward| {
        !statics
            .iter()
            .any(|one| one.external.addr() == forward.external || one.internal.addr() == forward.internal)
    });
}

fn apply(settings: &mut Settings, steering: &Steering, change: Change) {
    match change {
        Change::Addresses(whose) => assign(settings, steering, whose),
        Change::Ports(first, len) => {
            for pool in settings.pools.iter_mut().filter(|pool| pool.is_plain()) {
                pool.ports = first..=first + len;
            }
        }
        Change::Filtering(filtering) => settings.pools.iter_mut().for_each(|pool| pool.filtering = filtering),
        Change::Forward { tcp, address, port, host, gateway } => {
            let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
            let external = external(address);
            let before = settings.port_forwards.len();
            settings.port_forwards.retain(|forward| {
                (forward.protocol, forward.external, *forward.external_ports.start())
                    != (protocol, external, port)
            });
            let hosts = [5, 6, 7, 12].map(|host| Ipv4Addr::new(10, 64, 0, host));
            let internal = hosts[usize::from(host) % hosts.len()];
            let mut statics = settings.statics.iter();
            let is_static =
                statics.any(|one| one.external.addr() == external || one.internal.addr() == internal);
            if before == settings.port_forwards.len() && !is_static {
                settings.port_forwards.push(PortForward {
                    protocol,
                    external,
                    external_ports: port..=port,
                    internal,
                    internal_port: 2004,
                    source: if gateway { ForwardSource::Gateway } else { ForwardSource::Remote },
                });
            }
        }
        Change::Rule(host, action) => {
            let action = match action {
                0 => RuleAction::Exempt,
                1 => RuleAction::Drop,
                at => RuleAction::Pool(usize::from(at) - 2),
            };
            settings.rules[0] = rule(&format!("10.64.0.{}/32", 5 + host % 4), "0.0.0.0/0", action);
        }
        Change::Twice if settings.twice.is_empty() => settings.twice.push(Twice {
            external: "198.51.100.0/24".parse().expect("prefix"),
            internal: "10.99.0.0/24".parse().expect("prefix"),
        }),
        Change::Twice => settings.twice.clear(),
        Change::Timeout(seconds) => settings.timeouts.udp_s = seconds,
    }
}

/// Begins a reload, unless an owner would change.
fn begin(gateway: &mut Gateway, change: Change) {
    gateway.finish_reload();
    let steering = gateway.steering.clone();
    let _ = gateway.try_reload(|settings| apply(settings, &steering, change));
}

/// No outside endpoint is two hosts'.
pub(crate) fn check(gateway: &Gateway) -> Result<(), TestCaseError> {
    let mut owners = HashMap::new();
    let mut alone = HashSet::new();
    for mapping in gateway.mappings().iter().filter(|mapping| mapping.protocol.has_ports()) {
        let endpoint = (mapping.protocol, mapping.external);
        if mapping.remote.is_none() {
            alone.insert(endpoint);
        }
        let before = owners.insert((endpoint, mapping.remote), mapping.internal);
        prop_assert!(before.is_none(), "{:?} is {:?}'s and {:?}'s", endpoint, before, mapping.internal);
    }
    let shared = owners.keys().find(|(endpoint, remote)| remote.is_some() && alone.contains(endpoint));
    prop_assert!(shared.is_none(), "{:?} is shared and one host's", shared);
    let sessions = gateway.sessions();
    let distinct: HashSet<_> = sessions.iter().map(|s| (s.protocol, s.external, s.remote)).collect();
    prop_assert_eq!(distinct.len(), sessions.len());
    Ok(())
}

/// What is left is what the configuration gives.
pub(crate) fn check_settled(gateway: &Gateway) -> Result<(), TestCaseError> {
    let settings = &gateway.settings;
    for mapping in gateway.mappings() {
        let (address, port) = (Ipv4Addr::from_bits(mapping.external.address), mapping.external.port);
        let forwarded = settings.port_forwards.iter().find(|forward| {
            forward.protocol == mapping.protocol
                && forward.external == address
                && forward.external_ports.contains(&port)
        });
        match mapping.kind {
            "pool" => {
                let pool = &settings.pools[usize::from(mapping.pool.expect("a pool's"))];
                prop_assert!(pool.addresses.contains(&address), "{:?} is not its pool's", mapping);
                prop_assert!(!mapping.protocol.has_ports() || pool.ports.contains(&port), "{:?}", mapping);
                prop_assert!(forwarded.is_none(), "{:?} is forwarded", mapping);
            }
            "permanent" | "redirect" => {
                let one = settings.statics.iter().find(|one| one.external.addr() == address);
                let host = forwarded.map(|forward| forward.internal).or(one.map(|one| one.internal.addr()));
                prop_assert_eq!(host, Some(Ipv4Addr::from_bits(mapping.internal.address)), "{:?}", mapping);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Nothing is held, and every pool is as one that was made so.
fn check_empty(gateway: &mut Gateway) -> Result<(), TestCaseError> {
    prop_assert_eq!((gateway.sessions().len(), gateway.mappings().len()), (0, 0));
    let fresh = Gateway::with_steering(gateway.settings.clone(), gateway.steering.clone(), 512);
    for (shard, fresh) in gateway.shards.iter_mut().zip(&fresh.shards) {
        let counters = *shard.counters();
        let held = (counters.mappings, counters.subscribers, counters.redirected_sessions);
        prop_assert_eq!(held, (0, 0, 0));
        for pool in (0..2).filter(|&pool| !gateway.settings.pools[pool].is_removed()) {
            for protocol in Protocol::WITH_PORTS {
                prop_assert_eq!(shard.pool_usage(pool, protocol), fresh.pool_usage(pool, protocol));
            }
            prop_assert_eq!(shard.block_usage(pool), fresh.block_usage(pool));
        }
    }
    Ok(())
}

#[test]
fn no_reload_gives_two_hosts_one_outside_endpoint() {
    holds((shape(), kind(), kind(), acts()), |(shape, first, second, acts)| {
        let shape = Shape { roomy: true, ..shape };
        let mut gateway = gateway(&shape, [first, second]);
        for act in &acts {
            match *act {
                Act::Traffic(step) => drop(run(&mut gateway, &shape, step)),
                Act::Begin(change) => {
                    gateway.finish_reload();
                    check_settled(&gateway)?;
                    begin(&mut gateway, change);
                    check(&gateway)?;
                }
                Act::Sweep(lines) => {
                    if gateway.sweep(lines) {
                        check_settled(&gateway)?;
                    }
                }
            }
            check(&gateway)?;
        }
        gateway.finish_reload();
        check_settled(&gateway)?;
        gateway.drain();
        check_empty(&mut gateway)?;
        Ok(acts.len())
    });
}

/// Nearly as long as the low half of the clock tells moments apart (`Time`).
const WEEKS_MS: u64 = 20 * 24 * 3_600_000;

/// A damaged packet arrives at some shard: nothing panics, and a refused packet stays as it was.
fn survives(gateway: &mut Gateway, shape: &Shape, damaged: &Damaged) -> Result<(), TestCaseError> {
    let sent = match damaged.step {
        Step::Pass(ticks) => {
            // Now and then weeks, which take long to walk through: after a few of them the low half of the clock wraps.
            gateway.pass_ms(if ticks == 2500 && damaged.shard == 0 { WEEKS_MS } else { ticks * 7 });
            return Ok(());
        }
        step => resolve(shape, step, &externals(gateway)),
    };
    let (mut direction, sent) = match sent {
        Ok(sent) => (Direction::Outbound, sent),
        Err(sent) => (Direction::Inbound, sent),
    };
    let mut before = sent.packet().bytes();
    if let Some(ty) = damaged.about {
        direction = direction.flip();
        let from = if direction == Direction::Inbound { "192.0.2.254" } else { "10.64.0.9" };
        before = Packet::error(from, ty, 0, &before).bytes();
    }
    for &(at, octet) in &damaged.octets {
        let at = usize::from(at) % before.len();
        before[at] = octet;
    }
    if let Some(cut) = damaged.cut {
        before.truncate(usize::from(cut));
    }
    if damaged.mended
        && let Ok(mut header) = natgw_wire::ipv4::Packet::new_header(&mut before[..])
    {
        header.fill_checksum();
    }
    let count = gateway.shards.len();
    let shard = &mut gateway.shards[usize::from(damaged.shard) % count];
    let (mut burst, mut verdicts) = ([before.clone()], [Verdict::Local]);
    if damaged.hairpinned {
        shard.translate_hairpinned(&mut burst[..], gateway.now, &mut verdicts);
    } else {
        shard.translate(&mut burst[..], direction, gateway.now, &mut verdicts);
    }
    if verdicts[0] == Verdict::Fragment {
        let way = match direction {
            _ if damaged.hairpinned => FragmentPath::Hairpinned,
            Direction::Outbound => FragmentPath::Outbound,
            Direction::Inbound => FragmentPath::Inbound,
        };
        let fate = shard.translate_fragment(&mut burst[0], way, None, gateway.now).fate;
        if !matches!(fate, FragmentAction::Decided(Verdict::Forward(_) | Verdict::Hairpin)) {
            prop_assert_eq!(&before, &burst[0], "{:?} left its mark", fate);
        }
        return Ok(());
    }
    if matches!(verdicts[0], Verdict::Forward(_) | Verdict::Hairpin) {
        prop_assert_eq!(unchanging(&before), unchanging(&burst[0]));
        if Seen::read(&before).is_ok() {
            prop_assert_eq!(Seen::read(&burst[0]).err(), None);
        }
    } else {
        prop_assert_eq!(&before, &burst[0], "{:?} left its mark", verdicts[0]);
    }
    Ok(())
}

/// Damaged packets in both directions, steps of the clock, and reloads in the midst of one another.
#[test]
fn damaged_packets_are_survived_whatever_is_reloaded() {
    let acts = prop_oneof![
        30 => damaged().prop_map(Err),
        2 => change().prop_map(|change| Ok(Act::Begin(change))),
        5 => prop_oneof![Just(1u32), Just(7), Just(1000)].prop_map(|lines| Ok(Act::Sweep(lines))),
    ];
    holds((shape(), kind(), kind(), prop::collection::vec(acts, 1..400)), |(shape, first, second, acts)| {
        let shape = Shape { roomy: true, ..shape };
        let mut gateway = gateway(&shape, [first, second]);
        for act in &acts {
            match act {
                Err(damaged) => survives(&mut gateway, &shape, damaged)?,
                Ok(Act::Begin(change)) => begin(&mut gateway, *change),
                Ok(Act::Sweep(lines)) => drop(gateway.sweep(*lines)),
                Ok(Act::Traffic(_)) => unreachable!("packets are damaged here"),
            }
        }
        // Shards get one another's packets here, so that two may know the same host.
        gateway.finish_reload();
        gateway.drain();
        check_empty(&mut gateway)?;
        Ok(acts.len())
    });
}
