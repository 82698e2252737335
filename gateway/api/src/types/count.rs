//! Numbers: drops by reason, and everything that the metrics count.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::WorkerSnapshot;
use natgw_nat::{Direction, DropReason};

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

impl Drops {
    /// The sum over the workers.
    pub fn of(workers: &[WorkerSnapshot]) -> Drops {
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

#[cfg(test)]
mod tests {
    use super::*;
    use natgw_counters::WorkerCounters;

    #[test]
    fn drops_list_every_reason_and_add_up() {
        let mut counters = WorkerCounters::default();
        counters.nat.dropped[DropReason::NoRule as usize] = [3, 4];
        let worker = WorkerSnapshot { worker: 0, cpu: 1, counters };
        let drops = Drops::of(&[worker.clone(), worker]);
        assert_eq!((drops.outbound, drops.inbound), (6, 8));
        assert_eq!(drops.reasons.len(), DropReason::COUNT);
        assert_eq!(drops.reasons.iter().filter(|row| row.outbound > 0).count(), 1);
    }
}
