//! What the API shows of a gateway, made of what the gateway's parts know: its configuration, counters, neighbours, routes and
//! the engine's explanations.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use super::gateway::WorkerSnapshot;
use natgw_api::types::{
    DeterministicPorts, Drop, Drops, Endpoint, Explanation, Holder, Mapping, Neighbor, NewForward, Pool,
    PoolBlocks, PoolFailures, PoolUsage, Route, Session, SubscriberState, Whose, WorkerStatus,
};
use natgw_config::{AddedForward, Config, Holding, decisive_key};
use natgw_counters::{PORT_FAILURES, PoolCounters, PoolPorts};
use natgw_nat::{Direction, DropReason, MappingMode, Outcome, Protocol, Ranges, SessionFailure};
use natgw_neighbor::{Listed, RouteEntry};

/// A neighbour on the interface of this name.
pub fn neighbor(listed: &Listed, interface: &str) -> Neighbor {
    Neighbor {
        address: listed.ip.into(),
        mac: listed.mac.map(|mac| mac.to_string()),
        interface: interface.into(),
        state: listed.state.name().into(),
        age_s: listed.age_s,
        gateway: listed.pinned,
    }
}

/// A route to the interface of this name.
pub fn route(entry: &RouteEntry, interface: &str) -> Route {
    Route {
        prefix: entry.prefix.to_string(),
        via: entry.via,
        interface: interface.into(),
        kind: if entry.via.is_some() { "static".into() } else { "connected".into() },
    }
}

/// A pool as configured, with what its workers counted ([`PoolCounters::sum`]).
pub fn pool(pool: &natgw_nat::Pool, counters: &PoolCounters) -> Pool {
    let usage = |(&protocol, ports): (&Protocol, &PoolPorts)| PoolUsage {
        protocol,
        used: ports.used,
        held: ports.held,
        total: ports.total,
    };
    let failures =
        |(reason, &count): (&SessionFailure, &u64)| PoolFailures { reason: reason.name().into(), count };
    Pool {
        name: pool.name.clone(),
        addresses: ranges(&pool.addresses),
        address_count: pool.addresses.len() as u64,
        ports: format!("{}-{}", pool.ports.start(), pool.ports.end()),
        mapping: match pool.mapping {
            MappingMode::EndpointIndependent => "endpoint-independent".into(),
            MappingMode::AddressAndPortDependent => "address-and-port-dependent".into(),
        },
        filtering: pool.filtering.name().into(),
        filtering_tcp: pool.filtering_of(Protocol::Tcp).name().into(),
        filtering_udp: pool.filtering_of(Protocol::Udp).name().into(),
        blocks: pool.port_blocks.as_ref().map(|blocks| PoolBlocks {
            size: blocks.size,
            per_subscriber: blocks.per_subscriber,
            used: counters.blocks.used,
            held: counters.blocks.held,
            total: counters.blocks.total,
        }),
        deterministic: pool.deterministic.as_ref().zip(Ranges::of(pool)).map(|(whose, ranges)| {
            DeterministicPorts {
                inside: whose.inside.iter().map(ToString::to_string).collect(),
                ports_each: whose.size,
                ratio: ranges.ratio(),
            }
        }),
        usage: Protocol::WITH_PORTS.iter().zip(&counters.ports).map(usage).collect(),
        failures: PORT_FAILURES.iter().zip(&counters.failures).map(failures).collect(),
    }
}

/// Packets dropped, over all workers.
pub fn drops(workers: &[WorkerSnapshot]) -> Drops {
    let count = |reason: DropReason, direction: Direction| -> u64 {
        workers.iter().map(|w| w.counters.nat.dropped[reason as usize][direction as usize]).sum()
    };
    let row = |&reason: &DropReason| Drop {
        reason: reason.name().into(),
        outbound: count(reason, Direction::Outbound),
        inbound: count(reason, Direction::Inbound),
    };
    let reasons: Vec<Drop> = DropReason::ALL.iter().map(row).collect();
    Drops {
        outbound: reasons.iter().map(|row| row.outbound).sum(),
        inbound: reasons.iter().map(|row| row.inbound).sum(),
        reasons,
    }
}

/// Of what a worker has counted.
pub fn worker_status(snapshot: &WorkerSnapshot) -> WorkerStatus {
    let counters = &snapshot.counters;
    WorkerStatus {
        worker: snapshot.worker,
        cpu: snapshot.cpu,
        sessions: counters.nat.sessions.iter().sum(),
        rx_packets: counters.interfaces.iter().map(|interface| interface.rx_packets).sum(),
        tx_packets: counters.interfaces.iter().map(|interface| interface.tx_packets).sum(),
        polls: counters.polls,
        empty_polls: counters.empty_polls,
        busy_cycles: counters.busy_cycles,
    }
}

/// Whom these ports belong to; `kind` as [`Holder::kind`] has it.
pub fn holder(holding: &Holding, kind: &'static str) -> Holder {
    let Holding { inside, outside, ports, pool } = holding;
    Holder {
        inside: *inside,
        outside: *outside,
        ports: format!("{}-{}", ports.start(), ports.end()),
        pool: pool.clone(),
        kind: kind.into(),
    }
}

/// What the configuration alone gives a subscriber, or whose it says an outside endpoint is.
pub fn holdings(config: &Config, whose: Whose) -> Vec<Holding> {
    match whose {
        Whose::Subscriber(inside) => config.deterministic_ports(inside),
        Whose::Endpoint(outside) => config.deterministic_owner(outside),
    }
}

/// A port forward, as the configuration takes it beside those of its file.
pub fn added_forward(new: &NewForward) -> AddedForward {
    let NewForward { protocol, external, internal, source } = new.clone();
    AddedForward { protocol, external, internal, source }
}

/// The answer of a worker; `pools` are the names of all pools, by index.
pub fn explanation(
    question: &natgw_nat::Question,
    view: &natgw_nat::Explanation,
    worker: u16,
    pools: &[String],
) -> Explanation {
    let (outcome, reason) = match view.outcome {
        Outcome::Session => ("session", None),
        Outcome::NewSession => ("new-session", None),
        Outcome::Mapping => ("mapping", None),
        Outcome::Local => ("local", None),
        Outcome::Drop(reason) => ("drop", Some(reason)),
        Outcome::Reject(reason) => ("reject", Some(reason)),
    };
    let subscriber = view.subscriber.map(|view| SubscriberState {
        address: view.address.into(),
        outside: view.paired.map(Into::into),
        sessions: view.sessions.iter().sum(),
        half_open: view.half_open,
        ports: view.ports.get(question.protocol as usize).copied().unwrap_or(0),
    });
    Explanation {
        direction: question.direction.name().into(),
        worker,
        outcome: outcome.into(),
        reason: reason.map(|reason| reason.name().into()),
        key: key_of(reason, question.protocol),
        rule: view.rule.map(|place| place + 1),
        kind: view.kind.map(Into::into),
        pool: view.pool.and_then(|place| pools.get(usize::from(place)).cloned()),
        port_block: view.block.map(|[first, last]| format!("{first}-{last}")),
        filtering: view.filtering.map(|filtering| filtering.name().into()),
        subscriber,
        mapping: view.mapping.map(|view| Mapping::of(&view, worker, pools)),
        session: view.session.map(|view| Session::of(&view, worker, pools)),
        source: view.source.map(|endpoint| Endpoint::of(question.protocol, endpoint)),
        destination: view.destination.map(|endpoint| Endpoint::of(question.protocol, endpoint)),
        hairpins: view.hairpins,
        ..Explanation::default()
    }
}

/// The packet would be forwarded, but for this.
pub fn refuse(explanation: &mut Explanation, reason: DropReason, protocol: Protocol) {
    explanation.outcome = "drop".into();
    explanation.reason = Some(reason.name().into());
    explanation.key = key_of(Some(reason), protocol);
}

fn key_of(reason: Option<DropReason>, protocol: Protocol) -> Option<Cow<'static, str>> {
    decisive_key(reason?, protocol).map(Cow::from)
}

/// Writes runs of neighbouring addresses as `first-last`.
fn ranges(addresses: &[Ipv4Addr]) -> Vec<String> {
    let follows = |a: &Ipv4Addr, b: &Ipv4Addr| a.to_bits().checked_add(1) == Some(b.to_bits());
    let text = |run: &[Ipv4Addr]| match run {
        [one] => one.to_string(),
        run => format!("{}-{}", run[0], run[run.len() - 1]),
    };
    addresses.chunk_by(follows).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use natgw_counters::WorkerCounters;
    use natgw_nat::Filtering;

    #[test]
    fn a_neighbour_and_a_route_are_written_as_people_do() {
        let listed = natgw_neighbor::Listed {
            interface: natgw_neighbor::InterfaceId(1),
            ip: u32::from(Ipv4Addr::new(203, 0, 113, 1)),
            mac: Some(natgw_wire::ethernet::Mac([2, 0, 0, 0, 0, 0xa])),
            state: natgw_neighbor::State::Reachable,
            age_s: 3,
            pinned: true,
        };
        let json = serde_json::to_value(neighbor(&listed, "outside")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "address": "203.0.113.1",
                "mac": "02:00:00:00:00:0a",
                "interface": "outside",
                "state": "reachable",
                "age_s": 3,
                "gateway": true,
            })
        );
        let entry = natgw_neighbor::RouteEntry {
            prefix: "10.64.0.0/24".parse().unwrap(),
            interface: natgw_neighbor::InterfaceId(0),
            via: None,
        };
        let route = super::route(&entry, "inside");
        assert_eq!((route.prefix.as_str(), &*route.kind), ("10.64.0.0/24", "connected"));
    }

    #[test]
    fn neighbouring_addresses_make_a_range() {
        let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.0", "255.255.255.255", "0.0.0.0"];
        let addresses: Vec<Ipv4Addr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(ranges(&addresses), ["10.0.0.1-10.0.0.3", "10.0.1.0", "255.255.255.255", "0.0.0.0"]);
        assert!(ranges(&[]).is_empty());
    }

    #[test]
    fn a_pool_shows_its_settings_and_use() {
        let pool = natgw_nat::Pool {
            name: "main".into(),
            addresses: vec![Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(203, 0, 113, 11)],
            filtering_udp: Some(Filtering::EndpointIndependent),
            ..natgw_nat::Pool::default()
        };
        let mut counters = PoolCounters::default();
        counters.ports[Protocol::Tcp as usize].used = 5;
        counters.failures[0] = 6;
        let json = serde_json::to_value(super::pool(&pool, &counters)).unwrap();
        assert_eq!(json["addresses"][0], "203.0.113.10-203.0.113.11");
        assert_eq!(json["address_count"], 2);
        assert_eq!(json["ports"], "1024-65535");
        assert_eq!(
            (&json["filtering"], &json["filtering_tcp"]),
            (&"address-dependent".into(), &"address-dependent".into())
        );
        assert_eq!(json["filtering_udp"], "endpoint-independent");
        assert_eq!(json["usage"][1]["protocol"], "tcp");
        assert_eq!(json["usage"][1]["used"], 5);
        assert_eq!(json["failures"][0]["reason"], "ports-exhausted");
        assert_eq!(json["failures"][0]["count"], 6);
        assert_eq!(json["blocks"], serde_json::Value::Null);
    }

    #[test]
    fn drops_list_every_reason_and_add_up() {
        let mut counters = WorkerCounters::default();
        counters.nat.dropped[DropReason::NoRule as usize] = [3, 4];
        let worker = WorkerSnapshot { worker: 0, cpu: 1, counters };
        let drops = super::drops(&[worker.clone(), worker]);
        assert_eq!((drops.outbound, drops.inbound), (6, 8));
        assert_eq!(drops.reasons.len(), DropReason::COUNT);
        assert_eq!(drops.reasons.iter().filter(|row| row.outbound > 0).count(), 1);
    }
}
