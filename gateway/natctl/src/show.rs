//! The API's answers as text for people.

use std::fmt::Write;

use super::table::Align::{Left, Right};
use super::table::Table;
use natgw_api::types::{
    Counters, Deleted, Drops, Forward, Holder, InterfaceStatus, Mapping, Neighbor, Pool, PoolFailures,
    Reloaded, Route, Session, Status, Subscriber, Swept, WorkerStatus,
};
use natgw_nat::Protocol;

pub(super) fn status(status: &Status) -> String {
    let about = &status.about;
    let ready = if status.readiness.ready {
        "ready".into()
    } else {
        format!("not ready: {}", status.readiness.reasons.join("; "))
    };
    let facts = [
        ("version", format!("{}, DPDK {}", about.version, about.dpdk)),
        ("state", ready),
        ("up", format!("{} (pid {})", duration(about.uptime_s), about.pid)),
        ("configuration", format!("{}, generation {}", about.config_file, about.config_generation)),
        ("memory", about.memory.clone()),
        ("tables", about.tables.clone()),
        ("idle", about.idle.clone()),
        ("sessions", format!("{} of {}", status.sessions, about.sessions_limit)),
        ("mappings", status.mappings.to_string()),
        ("subscribers", format!("{} of {}", status.subscribers, about.subscribers_limit)),
    ];
    let mut text = String::new();
    for (name, fact) in facts {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<15}{fact}");
    }
    let columns = [
        ("WORKER", Right),
        ("CPU", Right),
        ("SESSIONS", Right),
        ("RECEIVED", Right),
        ("TRANSMITTED", Right),
        ("POLLS", Right),
        ("EMPTY", Right),
    ];
    let row = |worker: &WorkerStatus| {
        [
            worker.worker.to_string(),
            worker.cpu.to_string(),
            worker.sessions.to_string(),
            worker.rx_packets.to_string(),
            worker.tx_packets.to_string(),
            worker.polls.to_string(),
            percent(worker.empty_polls, worker.polls),
        ]
    };
    format!("{text}\n{}", Table::new(columns, status.workers.iter().map(row)))
}

pub(super) fn reloaded(reloaded: &Reloaded) -> String {
    let mut text = format!("configuration generation {} is in force\n", reloaded.config_generation);
    if !reloaded.needs_restart.is_empty() {
        let _ = writeln!(text, "as before until a restart: {}", reloaded.needs_restart.join(", "));
    }
    for warning in &reloaded.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    let _ = match reloaded.swept {
        Some(Swept { sessions_ended, mappings_ended }) => {
            writeln!(text, "{sessions_ended} sessions and {mappings_ended} mappings ended")
        }
        None => writeln!(text, "workers still look through their sessions (natgw_reload_sweep_lines)"),
    };
    text
}

pub(super) fn deleted(deleted: &Deleted) -> String {
    format!("{} sessions ended\n", deleted.sessions)
}

pub(super) fn forwards(rows: &[Forward]) -> String {
    let columns = [
        ("ID", Left),
        ("KIND", Left),
        ("PROTOCOL", Left),
        ("OUTSIDE", Left),
        ("INSIDE", Left),
        ("FROM", Left),
        ("WORKER", Right),
    ];
    let row = |row: &Forward| {
        [
            row.id.clone(),
            row.kind.to_string(),
            row.protocol.map_or("all", Protocol::name).to_owned(),
            row.external.clone(),
            row.internal.clone(),
            row.origin.to_string(),
            row.worker.to_string(),
        ]
    };
    Table::new(columns, rows.iter().map(row)).to_string()
}

pub(super) fn interfaces(rows: &[InterfaceStatus]) -> String {
    let columns = [
        ("NAME", Left),
        ("ROLE", Left),
        ("DRIVER", Left),
        ("LINK", Left),
        ("MAC", Left),
        ("ADDRESSES", Left),
        ("MTU", Right),
        ("RECEIVED", Right),
        ("TRANSMITTED", Right),
        ("MISSED", Right),
        ("ERRORS", Right),
        ("STEERING", Left),
    ];
    let row = |row: &InterfaceStatus| {
        let interface = &row.interface;
        let link = match row.link.speed_mbps {
            _ if !row.link.up => "down".into(),
            Some(speed) => format!("up {speed} Mbit/s"),
            None => "up".into(),
        };
        [
            interface.name.clone(),
            interface.role.clone(),
            interface.driver.clone(),
            link,
            interface.mac.clone(),
            interface.addresses.join(","),
            interface.mtu.to_string(),
            row.rx_packets.to_string(),
            row.tx_packets.to_string(),
            row.nic.rx_missed.to_string(),
            (row.nic.rx_errors + row.nic.tx_errors).to_string(),
            interface.steering.clone(),
        ]
    };
    Table::new(columns, rows.iter().map(row)).to_string()
}

pub(super) fn neighbors(rows: &[Neighbor]) -> String {
    let columns = [("ADDRESS", Left), ("MAC", Left), ("INTERFACE", Left), ("STATE", Left), ("AGE", Right)];
    let row = |row: &Neighbor| {
        [
            row.address.to_string(),
            row.mac.clone().unwrap_or_else(none),
            row.interface.clone(),
            row.state.to_string(),
            duration(row.age_s),
        ]
    };
    Table::new(columns, rows.iter().map(row)).to_string()
}

pub(super) fn routes(rows: &[Route]) -> String {
    let columns = [("PREFIX", Left), ("VIA", Left), ("INTERFACE", Left), ("KIND", Left)];
    let row = |row: &Route| {
        let via = row.via.map_or_else(none, |via| via.to_string());
        [row.prefix.clone(), via, row.interface.clone(), row.kind.to_string()]
    };
    Table::new(columns, rows.iter().map(row)).to_string()
}

pub(super) fn pools(rows: &[Pool]) -> String {
    let columns = [
        ("POOL", Left),
        ("ADDRESSES", Left),
        ("PROTOCOL", Left),
        ("USED", Right),
        ("HELD", Right),
        ("TOTAL", Right),
        ("USE", Right),
        ("BLOCKS", Left),
        ("MAPPING", Left),
        ("FILTERING", Left),
        ("REFUSED", Right),
    ];
    let row = |pool: &Pool| {
        let refused: u64 = pool.failures.iter().map(|failures: &PoolFailures| failures.count).sum();
        let (name, addresses) = (pool.name.clone(), pool.addresses.join(","));
        let mapping = pool.mapping.to_string();
        let filtering = [&pool.filtering_udp, &pool.filtering_tcp, &pool.filtering].map(ToString::to_string);
        let usage = pool.usage.clone();
        let blocks = match (&pool.blocks, &pool.deterministic) {
            (Some(blocks), _) => {
                format!("{}+{} of {} x {}", blocks.used, blocks.held, blocks.total, blocks.size)
            }
            (None, Some(fixed)) => format!("{} each", fixed.ports_each),
            (None, None) => none(),
        };
        usage.into_iter().map(move |usage| {
            [
                name.clone(),
                addresses.clone(),
                usage.protocol.name().into(),
                usage.used.to_string(),
                usage.held.to_string(),
                usage.total.to_string(),
                percent(usage.used + usage.held, usage.total),
                blocks.clone(),
                mapping.clone(),
                filtering[usage.protocol as usize].clone(),
                refused.to_string(),
            ]
        })
    };
    Table::new(columns, rows.iter().flat_map(row)).to_string()
}

pub(super) fn subscribers(rows: &[Subscriber]) -> String {
    let columns = [
        ("SUBSCRIBER", Left),
        ("OUTSIDE", Left),
        ("POOL", Left),
        ("SESSIONS", Right),
        ("PORTS", Right),
        ("BLOCKS", Left),
        ("WORKER", Right),
    ];
    let row = |row: &Subscriber| {
        [
            row.address.to_string(),
            row.outside.map_or_else(none, |outside| outside.to_string()),
            row.pool.clone().unwrap_or_else(none),
            row.sessions.to_string(),
            row.ports.to_string(),
            if row.blocks.is_empty() { none() } else { row.blocks.join(",") },
            row.worker.to_string(),
        ]
    };
    Table::new(columns, rows.iter().map(row)).to_string()
}

pub(super) fn holders(rows: &[Holder]) -> String {
    if rows.is_empty() {
        return "nobody has it to itself now\n".into();
    }
    let columns = [("SUBSCRIBER", Left), ("OUTSIDE", Left), ("PORTS", Left), ("POOL", Left), ("KIND", Left)];
    let row = |row: &Holder| {
        [
            row.inside.to_string(),
            row.outside.to_string(),
            row.ports.clone(),
            row.pool.clone(),
            row.kind.to_string(),
        ]
    };
    Table::new(columns, rows.iter().map(row)).to_string()
}

pub(super) fn mappings(rows: &[Mapping]) -> String {
    let columns = [
        ("PROTOCOL", Left),
        ("INSIDE", Left),
        ("OUTSIDE", Left),
        ("REMOTE", Left),
        ("KIND", Left),
        ("POOL", Left),
        ("AGE", Right),
        ("SESSIONS", Right),
        ("STATE", Left),
        ("WORKER", Right),
    ];
    let row = |row: &Mapping| {
        [
            row.protocol.to_string(),
            row.inside.to_string(),
            row.outside.to_string(),
            row.remote.map_or_else(none, |remote| remote.to_string()),
            row.kind.to_string(),
            row.pool.clone().unwrap_or_else(none),
            duration(row.age_s),
            row.sessions.to_string(),
            if row.resting { "resting".into() } else { "active".into() },
            row.worker.to_string(),
        ]
    };
    Table::new(columns, rows.iter().map(row)).to_string()
}

pub(super) fn sessions(rows: &[Session]) -> String {
    let columns = [
        ("PROTOCOL", Left),
        ("INSIDE", Left),
        ("OUTSIDE", Left),
        ("REMOTE", Left),
        ("STATE", Left),
        ("AGE", Right),
        ("EXPIRES", Right),
        ("OUT", Right),
        ("IN", Right),
        ("POOL", Left),
        ("WORKER", Right),
    ];
    let row = |row: &Session| {
        [
            row.protocol.to_string(),
            row.inside.to_string(),
            row.outside.to_string(),
            row.remote.to_string(),
            row.state.to_string(),
            duration(row.age_s),
            duration(row.expires_in_s),
            row.packets_out.to_string(),
            row.packets_in.to_string(),
            row.pool.clone().unwrap_or_else(none),
            row.worker.to_string(),
        ]
    };
    Table::new(columns, rows.iter().map(row)).to_string()
}

pub(super) fn counters(counters: &Counters, keep: fn(u64) -> bool) -> String {
    let rows = counters.counters.iter().chain(&counters.xstats).filter(|row| keep(row.value)).map(|row| {
        let labels: Vec<String> = row.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        [row.name.to_string(), labels.join(" "), row.value.to_string()]
    });
    Table::new([("COUNTER", Left), ("LABELS", Left), ("VALUE", Right)], rows).to_string()
}

/// Drop reasons, the most frequent first.
pub(super) fn drops(drops: &Drops, keep: fn(u64) -> bool) -> String {
    let mut rows: Vec<_> = drops.reasons.iter().filter(|row| keep(row.outbound + row.inbound)).collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.outbound + row.inbound), row.reason.clone()));
    let cells = |reason: &str, outbound: u64, inbound: u64| {
        [reason.to_owned(), outbound.to_string(), inbound.to_string(), (outbound + inbound).to_string()]
    };
    let rows = rows.iter().map(|row| cells(&row.reason, row.outbound, row.inbound));
    let sum = cells("all", drops.outbound, drops.inbound);
    let columns = [("REASON", Left), ("OUTBOUND", Right), ("INBOUND", Right), ("TOTAL", Right)];
    Table::new(columns, rows.chain([sum])).to_string()
}

fn none() -> String {
    "-".into()
}

/// The two greatest units, such as `2h05m`.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { none() } else { format!("{:.1}%", 100.0 * part as f64 / whole as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use natgw_api::types::Drop;

    #[test]
    fn durations_keep_two_units() {
        let cases =
            [(0, "0s"), (59, "59s"), (60, "1m00s"), (3599, "59m59s"), (7440, "2h04m"), (90_000, "1d01h")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn drops_are_sorted_and_zeros_left_out() {
        let row = |reason: &'static str, outbound, inbound| Drop { reason: reason.into(), outbound, inbound };
        let reasons = vec![row("fragment", 0, 1), row("vlan", 0, 0), row("no-rule", 7, 0)];
        let all = Drops { outbound: 7, inbound: 1, reasons };
        assert_eq!(
            drops(&all, |number| number != 0),
            "REASON    OUTBOUND  INBOUND  TOTAL\n\
             no-rule          7        0      7\n\
             fragment         0        1      1\n\
             all              7        1      8\n"
        );
        assert!(drops(&all, |_| true).contains("vlan"));
    }

    #[test]
    fn a_share_of_nothing_is_no_share() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(1, 3), "33.3%");
    }
}
