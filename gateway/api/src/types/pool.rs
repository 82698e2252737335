//! Pools: settings and use.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text;
use natgw_nat::Protocol;

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
