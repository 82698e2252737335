//! What the gateway says at one moment, and what two moments say together: rates.

use std::time::Instant;

use super::super::client::{Client, Failure};
use super::super::parse;
use super::panel::{Cell, Mark, Panel};
use natgw_api::types::{Drop, Drops, InterfaceStatus, Pool, PoolUsage, Status, Subscriber, WorkerStatus};

/// Subscribers asked for.
const SUBSCRIBERS: usize = 50;

/// The gateway's answers.
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) interfaces: Vec<InterfaceStatus>,
    pub(super) pools: Vec<Pool>,
    pub(super) drops: Drops,
    pub(super) subscribers: Vec<Subscriber>,
}

impl Sample {
    /// Asks the gateway. What the subscribers are the workers have to be asked for, so they may be those of before.
    pub(super) fn take(client: &Client, subscribers: Option<Vec<Subscriber>>) -> Result<Sample, Failure> {
        let subscribers = match subscribers {
            Some(subscribers) => subscribers,
            None => parse(&client.get(&format!("subscribers?top={SUBSCRIBERS}"))?)?,
        };
        Ok(Sample {
            subscribers,
            pools: parse(&client.get("pools")?)?,
            status: parse(&client.get("status")?)?,
            interfaces: parse(&client.get("interfaces")?)?,
            drops: parse(&client.get("drops")?)?,
            at: Instant::now(),
        })
    }
}

/// Two moments of one gateway.
pub(super) struct Interval<'a> {
    pub(super) before: Option<&'a Sample>,
    pub(super) now: &'a Sample,
}

impl Interval<'_> {
    /// How much a counter grew in a second; nothing where there is no moment before.
    fn rate(&self, count: impl Fn(&Sample) -> Option<u64>) -> f64 {
        let Some(before) = self.before else { return 0.0 };
        let seconds = self.now.at.duration_since(before.at).as_secs_f64();
        let grown = count(self.now).unwrap_or(0).saturating_sub(count(before).unwrap_or(0));
        if seconds > 0.0 { grown as f64 / seconds } else { 0.0 }
    }

    pub(super) fn panels(&self) -> [Panel; 5] {
        [self.interfaces(), self.workers(), self.pools(), self.drops(), self.subscribers()]
    }

    fn interfaces(&self) -> Panel {
        let row = |(index, row): (usize, &InterfaceStatus)| {
            let rate = |count: fn(&InterfaceStatus) -> u64| {
                self.rate(|sample| sample.interfaces.get(index).map(count))
            };
            let missed = rate(|row| row.nic.rx_missed);
            vec![
                Cell::text(&row.interface.name),
                Cell::text(&row.interface.role),
                Cell::text(if row.link.up { "up" } else { "down" }).marked(!row.link.up, Mark::Bad),
                Cell::rate(rate(|row| row.rx_packets)),
                Cell::rate(8.0 * rate(|row| row.rx_bytes)),
                Cell::rate(rate(|row| row.tx_packets)),
                Cell::rate(8.0 * rate(|row| row.tx_bytes)),
                Cell::rate(missed).marked(missed > 0.0, Mark::Bad),
            ]
        };
        let columns =
            ["INTERFACE", "ROLE", "LINK", "RX PKT/S", "RX BIT/S", "TX PKT/S", "TX BIT/S", "MISSED/S"];
        Panel::new(&columns, self.now.interfaces.iter().enumerate().map(row), 0)
    }

    fn workers(&self) -> Panel {
        let hz = self.now.status.about.tsc_hz.max(1) as f64;
        let row = |(index, row): (usize, &WorkerStatus)| {
            let rate = |count: fn(&WorkerStatus) -> u64| {
                self.rate(|sample| sample.status.workers.get(index).map(count))
            };
            let busy = rate(|row| row.busy_cycles) / hz;
            vec![
                Cell::number(row.worker.into()).ordered(row.worker.into()),
                Cell::number(row.cpu.into()).ordered(row.cpu),
                Cell::share(busy).marked(busy > 0.8, Mark::Warning),
                Cell::rate(rate(|row| row.rx_packets)),
                Cell::rate(rate(|row| row.tx_packets)),
                Cell::number(row.sessions),
            ]
        };
        let columns = ["WORKER", "CPU", "BUSY", "RX PKT/S", "TX PKT/S", "SESSIONS"];
        Panel::new(&columns, self.now.status.workers.iter().enumerate().map(row), 0)
    }

    fn pools(&self) -> Panel {
        let row = |pool: &Pool, usage: &PoolUsage| {
            let share = (usage.used + usage.held) as f64 / usage.total.max(1) as f64;
            let mark = if share > 0.95 { Mark::Bad } else { Mark::Warning };
            vec![
                Cell::text(&pool.name),
                Cell::text(usage.protocol.name()),
                Cell::number(usage.used),
                Cell::number(usage.held),
                Cell::number(usage.total),
                Cell::share(share).marked(share > 0.8, mark),
            ]
        };
        let rows = self.now.pools.iter().flat_map(|pool| pool.usage.iter().map(|usage| row(pool, usage)));
        Panel::new(&["POOL", "PROTOCOL", "USED", "HELD", "TOTAL", "USE"], rows, 5)
    }

    /// Reasons that have struck, those that strike now first.
    fn drops(&self) -> Panel {
        let row = |row: &Drop| {
            let rate = |count: fn(&Drop) -> u64| {
                let of = |sample: &Sample| {
                    sample.drops.reasons.iter().find(|one| one.reason == row.reason).map(count)
                };
                self.rate(of)
            };
            let [outbound, inbound] = [rate(|row| row.outbound), rate(|row| row.inbound)];
            let all = outbound + inbound;
            vec![
                Cell::text(&row.reason),
                Cell::rate(all).marked(all > 0.0, Mark::Warning),
                Cell::rate(outbound),
                Cell::rate(inbound),
                Cell::number(row.outbound + row.inbound),
            ]
        };
        let rows = self.now.drops.reasons.iter().filter(|row| row.outbound + row.inbound > 0).map(row);
        Panel::new(&["DROPPED", "PKT/S", "OUT PKT/S", "IN PKT/S", "TOTAL"], rows, 1)
    }

    fn subscribers(&self) -> Panel {
        let none = || "-".to_owned();
        let row = |row: &Subscriber| {
            vec![
                Cell::text(&row.address.to_string()).ordered(row.address.to_bits()),
                Cell::text(&row.outside.map_or_else(none, |outside| outside.to_string())),
                Cell::text(row.pool.as_deref().unwrap_or("-")),
                Cell::number(row.sessions.into()),
                Cell::number(row.ports.into()),
                Cell::number(row.worker.into()).ordered(row.worker.into()),
            ]
        };
        let columns = ["SUBSCRIBER", "OUTSIDE", "POOL", "SESSIONS", "PORTS", "WORKER"];
        Panel::new(&columns, self.now.subscribers.iter().map(row), 3)
    }
}
