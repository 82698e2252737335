//! The tables.

use std::fmt::Write;

use crate::results::{Engine, EngineRow, Layout, Listed, Machine, Results, Swept};
use crate::rows::{NEAR_MIN, NEAR_NS, Rfc9693, Row, Runs};

const TITLES: [(&str, &str); 10] = [
    ("memif", "Established flows over memif, 64-octet UDP, both directions, random order"),
    (
        "pcap",
        "Workers alone, outbound packets replayed by net_pcap in the gateway's process; of two workers' packets, half are \
         handed over",
    ),
    ("sessions", "New sessions over memif, one a packet, shuffled; open, or paced in packets a second"),
    ("latency", "At half load over memif"),
    ("expiry", "At half load over memif, while sessions expire"),
    ("reload", "At half load over memif, while the configuration is read again"),
    ("sweep", "At half load over memif, while a change makes the gateway look through all sessions"),
    ("listing", "Over memif, paced, while all sessions are listed by the API again and again"),
    ("workers", "Workers, 65,536 flows over memif"),
    ("kernel", "nftables between veth pairs, the same generator on net_af_packet"),
];
const HEADER: &str = "| | flows | workers | Mpps | cycles | lost, ppm | wrong | p50 / p99 / p99.9 / max, us | line, ns | runs |\n\
    |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|";
const ENGINE: &str = "| | flows | cycles | M/s |\n|---|---:|---:|---:|";
const LAYOUTS: &str =
    "| | frames a queue | Mpps | times one worker | dropped | runs |\n|---|---:|---:|---:|---:|---:|";
const RFC9693: &str = "| | connections tried | result | line, ns | runs |\n|---|---:|---:|---:|---:|";

/// Everything.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = heading(&results.machine);
    for (case, title) in TITLES {
        let rows = results.rows(case);
        if !rows.is_empty() {
            let _ = writeln!(text, "\n**{title}**\n\n{HEADER}");
            rows.iter().for_each(|row| write_row(&mut text, row));
            rows.iter().for_each(|row| write_events(&mut text, row));
        }
    }
    let rfc9693 = results.rfc9693();
    if !rfc9693.is_empty() {
        let _ = writeln!(text, "\n**RFC 9693 over memif, 64-octet UDP**\n\n{RFC9693}");
        rfc9693.iter().for_each(|method| write_rfc9693(&mut text, method));
    }
    if !results.workers.is_empty() {
        let title = "Workers without a wire, 64-octet UDP, both directions, offered by net_pcap without end";
        let _ = writeln!(text, "\n**{title}**\n\n{LAYOUTS}");
        results.workers.iter().for_each(|layout| write_layout(&mut text, layout));
    }
    if let Some(engine) = &results.engine {
        write_engine(&mut text, engine);
    }
    text
}

fn heading(machine: &Machine) -> String {
    let Machine { cpu, cpus, hypervisor, kernel, dpdk, rust, commit, date, load } = machine;
    format!(
        "{cpu}, {cpus} CPUs ({hypervisor}), Linux {kernel}, DPDK {dpdk}, {rust}, commit {commit}, {date}; load before: \
         {load}.\n\n\
         Medians, and in brackets the lowest and highest run. Cycles are those of the time-stamp counter, all that \
         the core has for a packet. *Line* is what a cache line takes between the two CPUs and back: above \
         {NEAR_NS:.0} ns the host has put them behind different caches; such runs are left out where {NEAR_MIN} \
         others are left, and *runs* says how many.\n"
    )
}

fn write_row(text: &mut String, row: &Row) {
    let Row { what, flows, workers, mpps, cycles, lost_ppm, wrong, .. } = row;
    // Replayed packets end in the gateway's process: nobody looks at them.
    let checked = row.latency_us.map_or_else(
        || "- | - | -".to_owned(),
        |[p50, p99, p999, max]| {
            format!("{:.0} | {wrong} | {p50:.0} / {p99:.0} / {p999:.0} / {max:.0}", lost_ppm.median)
        },
    );
    let (median, low, high) = (mpps.median, mpps.lowest, mpps.highest);
    let _ = writeln!(
        text,
        "| {what} | {flows} | {workers} | {median:.2} ({low:.2}-{high:.2}) | {cycles:.0} | {checked} | {}",
        runs(&row.runs)
    );
}

/// What happened during the runs of a row, and what the gateway dropped meanwhile.
fn write_events(text: &mut String, row: &Row) {
    let mut events = Vec::new();
    if let (Some(expired), Some(per_s)) = (row.expired, row.expired_per_s) {
        let (median, low, high) = (per_s.median, per_s.lowest, per_s.highest);
        events.push(format!("{:.0} sessions expired a run", expired.median));
        events.push(format!("within one second up to {median:.0} ({low:.0}-{high:.0})"));
    }
    if let Some(reloads) = row.reloads {
        events.push(format!("{reloads} reloads"));
    }
    if let Some(Listed { listings, sessions, page_ms_max, grown_kib }) = row.listed {
        events.push(format!("{listings} listings of {sessions} sessions or more"));
        events.push(format!("a page took {page_ms_max} ms at most"));
        events.push(format!("the gateway's memory grew by {grown_kib} KiB at most"));
    }
    if let Some(Swept { sweep_s, sessions_ended, ended_packets }) = row.swept {
        events.push(format!("through after {sweep_s:.2} s at most"));
        events.push(format!(
            "{sessions_ended} sessions ended, {ended_packets} packets came for where they were"
        ));
    }
    if events.is_empty() {
        return;
    }
    let drops: Vec<String> = row.drops.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let dropped = if drops.is_empty() { "none".to_owned() } else { drops.join(", ") };
    let (lost, sent) = (row.lost, row.sent);
    let _ = writeln!(
        text,
        "\n{}: {}. Of {sent} packets {lost} were lost; dropped by the gateway, while it was taught as well: {dropped}.",
        row.what,
        events.join(", ")
    );
}

fn write_rfc9693(text: &mut String, row: &Rfc9693) {
    let Rfc9693 { method, flows, value, unit, .. } = row;
    let (median, low, high) = (value.median, value.lowest, value.highest);
    let _ = writeln!(
        text,
        "| {method} | {flows} | {median:.0} ({low:.0}-{high:.0}) {unit} | {}",
        runs(&row.runs)
    );
}

fn runs(runs: &Runs) -> String {
    let Runs { counted, all, cores_ns_before, cores_ns_after } = runs;
    format!("{:.0} | {counted} of {all} |", cores_ns_before.median.max(cores_ns_after.median))
}

fn write_layout(text: &mut String, row: &Layout) {
    let Layout { layout, frames, mpps, median, ratio, dropped } = row;
    let (low, high) = (mpps.first().unwrap_or(median), mpps.last().unwrap_or(median));
    let _ = writeln!(
        text,
        "| {layout} | {frames} | {median:.2} ({low:.2}-{high:.2}) | {ratio:.2} | {:.2} % | {} |",
        dropped * 100.0,
        mpps.len()
    );
}

fn write_engine(text: &mut String, engine: &Engine) {
    let Engine { unit, unit_per_second, rows } = engine;
    let _ = writeln!(text, "\n**Engine alone, {unit} at {:.2} GHz**\n\n{ENGINE}", unit_per_second / 1e9);
    for EngineRow { case, flows, median, lowest, highest } in rows {
        let rate = unit_per_second / median / 1e6;
        let _ = writeln!(text, "| {case} | {flows} | {median:.0} ({lowest:.0}-{highest:.0}) | {rate:.1} |");
    }
}
