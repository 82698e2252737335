//! Pools: settings and use.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text;

use natgw_counters::{PORT_FAILURES, PoolCounters, PoolPorts};
use natgw_nat::{Filtering, MappingMode, Protocol, Ranges, SessionFailure};

/// An outside address pool with its use.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its addresses, as ranges.
    pub addresses: Vec<String>,
    /// How many addresses these are.
    pub address_count: u64,
    /// Ports that it hands out, `first-last`.
    pub ports: String,
    /// RFC 4787 section 4.1: `endpoint-independent` or `address-and-port-dependent`.
    pub mapping: Cow<'static, str>,
    /// RFC 4787 section 5: `endpoint-independent`, `address-dependent` or `address-and-port-dependent`.
    pub filtering: Cow<'static, str>,
    /// As `filtering`, for TCP (RFC 5382 REQ-3).
    pub filtering_tcp: Cow<'static, str>,
    /// As `filtering`, for UDP.
    pub filtering_udp: Cow<'static, str>,
    /// Port blocks, where ports are handed out in blocks.
    pub blocks: Option<PoolBlocks>,
    /// The subscribers that have ports of their own, where mapping is deterministic (RFC 7422).
    pub deterministic: Option<DeterministicPorts>,
    /// Use, by protocol.
    pub usage: Vec<PoolUsage>,
    /// Ports refused.
    pub failures: Vec<PoolFailures>,
}

/// Use of a pool for one protocol, in ports (ICMP: query identifiers) over all its addresses.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolUsage {
    /// The protocol.
    #[schema(value_type = text::Protocol)]
    pub protocol: Protocol,
    /// Ports of mappings.
    pub used: u64,
    /// Freed ports that rest.
    pub held: u64,
    /// Used, held and free ports.
    pub total: u64,
}

/// Port blocks of a pool (RFC 6888 REQ-14), over all its addresses.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PoolBlocks {
    /// Ports of each.
    pub size: u16,
    /// Most of one subscriber.
    pub per_subscriber: u8,
    /// Those with ports of mappings.
    pub used: u64,
    /// Those that rest with their subscriber.
    pub held: u64,
    /// Used, held and free ones.
    pub total: u64,
}

/// Who has ports of their own in a pool.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeterministicPorts {
    /// The inside prefixes of the subscribers.
    pub inside: Vec<String>,
    /// Ports of each subscriber.
    pub ports_each: u16,
    /// Subscribers to an outside address.
    pub ratio: u16,
}

/// How often a pool refused a port for one reason.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PoolFailures {
    /// Why.
    pub reason: Cow<'static, str>,
    /// How often.
    pub count: u64,
}

impl Pool {
    /// A pool as configured, with what its workers counted ([`PoolCounters::sum`]).
    pub fn of(pool: &natgw_nat::Pool, counters: &PoolCounters) -> Pool {
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
            filtering: word(pool.filtering).into(),
            filtering_tcp: word(pool.filtering_of(Protocol::Tcp)).into(),
            filtering_udp: word(pool.filtering_of(Protocol::Udp)).into(),
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
}

const fn word(filtering: Filtering) -> &'static str {
    match filtering {
        Filtering::EndpointIndependent => "endpoint-independent",
        Filtering::AddressDependent => "address-dependent",
        Filtering::AddressAndPortDependent => "address-and-port-dependent",
    }
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
        let json = serde_json::to_value(Pool::of(&pool, &counters)).unwrap();
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
}
