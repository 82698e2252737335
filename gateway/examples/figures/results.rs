//! What was measured: medians and ranges.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use serde::Deserialize;

/// Above this the two CPUs share no cache, and memif carries less than half.
const NEAR_NS: f64 = 400.0;
/// Near runs that make a median.
const NEAR_MIN: usize = 3;

/// `results.json`.
#[derive(Deserialize)]
pub(crate) struct Results {
    machine: Machine,
    pub(crate) engine: Option<Engine>,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Machine {
    cpu: String,
    cpus: u32,
    hypervisor: String,
    kernel: String,
    dpdk: String,
    rust: String,
    commit: String,
    date: String,
    load: String,
}

/// What benches/engine has found.
#[derive(Deserialize)]
pub(crate) struct Engine {
    pub(crate) unit: String,
    unit_per_second: f64,
    pub(crate) rows: Vec<EngineRow>,
}

/// One case of it, in cycles.
#[derive(Deserialize)]
pub(crate) struct EngineRow {
    pub(crate) case: String,
    pub(crate) flows: u32,
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

#[derive(Deserialize)]
struct Sample {
    case: String,
    what: String,
    workers: u32,
    cores_ns: f64,
    flows: u32,
    tsc_hz: f64,
    received_mpps: f64,
    sent: u64,
    lost: u64,
    wrong: u64,
    latency: Option<Latency>,
}

#[derive(Deserialize)]
struct Latency {
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
}

/// The runs of one case.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) flows: u32,
    pub(crate) workers: u32,
    /// Lowest, median, highest.
    pub(crate) mpps: [f64; 3],
    cycles: f64,
    runs: usize,
    of: usize,
    cores_ns: f64,
    lost_ppm: f64,
    wrong: u64,
    latency_us: [f64; 4],
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Results, Box<dyn Error>> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    /// The rows of a part, in the order of flows and workers.
    pub(crate) fn rows(&self, case: &str) -> Vec<Row> {
        let mut groups: BTreeMap<(u32, u32, &str), Vec<&Sample>> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.case == case) {
            groups.entry((sample.flows, sample.workers, &sample.what)).or_default().push(sample);
        }
        groups.into_values().map(|samples| Row::new(&samples)).collect()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        let machine = &self.machine;
        let _ = writeln!(
            text,
            "{}, {} CPUs ({}), Linux {}, DPDK {}, {}, commit {}, {}; load before: {}.\n\n\
             Medians, and in brackets the lowest and highest run. Cycles are those of the time-stamp counter, all that \
             the core has for a packet. *Line* is what a cache line takes between the two CPUs and back: above \
             {NEAR_NS:.0} ns the host has put them behind different caches; such runs are left out where {NEAR_MIN} \
             others are left, and *runs* says how many.",
            machine.cpu,
            machine.cpus,
            machine.hypervisor,
            machine.kernel,
            machine.dpdk,
            machine.rust,
            machine.commit,
            machine.date,
            machine.load
        );
        for (case, title) in TITLES {
            let rows = self.rows(case);
            if !rows.is_empty() {
                let _ = writeln!(text, "\n**{title}**\n\n{HEADER}");
                rows.iter().for_each(|row| row.write(&mut text));
            }
        }
        if let Some(engine) = &self.engine {
            let _ = writeln!(
                text,
                "\n**Engine alone, {} at {:.2} GHz**\n\n{ENGINE}",
                engine.unit,
                engine.unit_per_second / 1e9
            );
            for EngineRow { case, flows, median, lowest, highest } in &engine.rows {
                let rate = engine.unit_per_second / median / 1e6;
                let _ = writeln!(
                    text,
                    "| {case} | {flows} | {median:.0} ({lowest:.0}-{highest:.0}) | {rate:.1} |"
                );
            }
        }
        text
    }
}

const TITLES: [(&str, &str); 6] = [
    ("memif", "Established flows over memif, 64-octet UDP, both directions, random order"),
    (
        "pcap",
        "Workers alone, outbound packets replayed by net_pcap in the gateway's process; of two workers' packets, half are \
         handed over",
    ),
    ("sessions", "New sessions over memif, one a packet, shuffled; open, or paced in packets a second"),
    ("latency", "At half load over memif"),
    ("workers", "Workers, 65,536 flows over memif"),
    ("kernel", "nftables between veth pairs, the same generator on net_af_packet"),
];
const HEADER: &str = "| | flows | workers | Mpps | cycles | lost, ppm | wrong | p50 / p99 / p99.9 / max, us | line, ns | runs |\n\
    |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|";
const ENGINE: &str = "| | flows | cycles | M/s |\n|---|---:|---:|---:|";

impl Row {
    fn new(samples: &[&Sample]) -> Row {
        let of = samples.len();
        let near: Vec<&Sample> =
            samples.iter().copied().filter(|sample| sample.cores_ns <= NEAR_NS).collect();
        let samples = if near.len() >= NEAR_MIN { &near } else { samples };
        let sorted = |value: &dyn Fn(&Sample) -> f64| {
            let mut values: Vec<f64> = samples.iter().map(|sample| value(sample)).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let median = |value: &dyn Fn(&Sample) -> f64| sorted(value)[samples.len() / 2];
        let latency =
            |value: fn(&Latency) -> f64| median(&|sample| sample.latency.as_ref().map_or(f64::NAN, value));
        let mpps = sorted(&|sample| sample.received_mpps);
        let middle = mpps[mpps.len() / 2];
        Row {
            what: samples[0].what.clone(),
            flows: samples[0].flows,
            workers: samples[0].workers,
            mpps: [mpps[0], middle, mpps[mpps.len() - 1]],
            cycles: samples[0].tsc_hz / middle / 1e6,
            runs: samples.len(),
            of,
            cores_ns: median(&|sample| sample.cores_ns),
            lost_ppm: median(&|sample| sample.lost as f64 / sample.sent.max(1) as f64 * 1e6),
            wrong: samples.iter().map(|sample| sample.wrong).sum(),
            latency_us: [
                latency(|latency| latency.p50_us),
                latency(|latency| latency.p99_us),
                latency(|latency| latency.p999_us),
                latency(|latency| latency.max_us),
            ],
        }
    }

    fn write(&self, text: &mut String) {
        let Row {
            what,
            flows,
            workers,
            mpps: [low, median, high],
            cycles,
            runs,
            of,
            cores_ns,
            lost_ppm,
            wrong,
            ..
        } = self;
        let [p50, p99, p999, max] = self.latency_us;
        // Replayed packets end in the gateway's process: nobody looks at them.
        let checked = match p50.is_nan() {
            true => "| - | - | - |".to_owned(),
            false => format!("| {lost_ppm:.0} | {wrong} | {p50:.0} / {p99:.0} / {p999:.0} / {max:.0} |"),
        };
        let _ = writeln!(
            text,
            "| {what} | {flows} | {workers} | {median:.2} ({low:.2}-{high:.2}) | {cycles:.0} {checked} {cores_ns:.0} | \
             {runs} of {of} |"
        );
    }
}
