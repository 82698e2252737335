//! Numbers: drops by reason, and everything that the metrics count.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Packets dropped.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Drops {
    /// Packets dropped from inside.
    pub outbound: u64,
    /// Packets dropped from outside.
    pub inbound: u64,
    /// Every reason, zero or not.
    pub reasons: Vec<Drop>,
}

/// Packets dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drop {
    /// Why.
    pub reason: Cow<'static, str>,
    /// Packets from inside.
    pub outbound: u64,
    /// Packets from outside.
    pub inbound: u64,
}

/// Every metric that counts, and the drivers' own counters.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Counters {
    /// The metrics, without their prefix `natgw_`.
    pub counters: Vec<Counter>,
    /// The drivers' own counters (`rte_eth_xstats`).
    pub xstats: Vec<Counter>,
}

/// One number with its labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counter {
    /// Name of the metric.
    pub name: Cow<'static, str>,
    /// Labels.
    pub labels: BTreeMap<Cow<'static, str>, String>,
    /// Value.
    pub value: u64,
}
