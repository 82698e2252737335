//! Runs of one case, taken together: medians and ranges, and what a reader needs to judge them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::results::{Cores, Latency, Listed, Measurement, Results, Sample, Swept};

/// Above this the two CPUs share no cache, and memif carries less than half.
pub(crate) const NEAR_NS: f64 = 400.0;
/// Near runs that make a median.
pub(crate) const NEAR_MIN: usize = 3;

/// Of several runs.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Span {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

/// How many runs there are, how many of them count, and how far apart the CPUs were in those.
#[derive(Serialize)]
pub(crate) struct Runs {
    pub(crate) counted: usize,
    pub(crate) all: usize,
    pub(crate) cores_ns_before: Span,
    pub(crate) cores_ns_after: Span,
}

/// The runs of one case.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) case: String,
    pub(crate) what: String,
    pub(crate) flows: u32,
    pub(crate) workers: u32,
    pub(crate) runs: Runs,
    pub(crate) mpps: Span,
    pub(crate) cycles: f64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) lost_ppm: Span,
    pub(crate) wrong: u64,
    pub(crate) missed: u64,
    pub(crate) drops: BTreeMap<String, u64>,
    /// Medians of 50, 99, 99.9 and 100 %; none where nobody looked at packets.
    pub(crate) latency_us: Option<[f64; 4]>,
    pub(crate) expired: Option<Span>,
    pub(crate) expired_per_s: Option<Span>,
    pub(crate) reloads: Option<u64>,
    pub(crate) listed: Option<Listed>,
    pub(crate) swept: Option<Swept>,
}

/// The measurements of one method of RFC 9693.
#[derive(Serialize)]
pub(crate) struct Rfc9693 {
    pub(crate) method: String,
    pub(crate) flows: u32,
    pub(crate) value: Span,
    pub(crate) unit: String,
    pub(crate) runs: Runs,
}

impl Results {
    /// The rows of a part, in the order of flows and workers.
    pub(crate) fn rows(&self, case: &str) -> Vec<Row> {
        let samples = self.samples.iter().filter(|sample| sample.case == case);
        let groups = grouped(samples, |sample| (sample.flows, sample.workers, &sample.what));
        groups.iter().map(|samples| Row::new(samples)).collect()
    }

    /// The rows of all parts.
    pub(crate) fn all_rows(&self) -> Vec<Row> {
        let cases: BTreeSet<&str> = self.samples.iter().map(|sample| &*sample.case).collect();
        cases.into_iter().flat_map(|case| self.rows(case)).collect()
    }

    /// The methods of RFC 9693, by name.
    pub(crate) fn rfc9693(&self) -> Vec<Rfc9693> {
        let groups = grouped(self.rfc9693.iter(), |measurement| &measurement.what);
        groups.iter().map(|measurements| Rfc9693::new(measurements)).collect()
    }
}

fn grouped<'a, T, K: Ord>(all: impl Iterator<Item = &'a T>, key: impl Fn(&'a T) -> K) -> Vec<Vec<&'a T>> {
    let mut groups: BTreeMap<K, Vec<&T>> = BTreeMap::new();
    for one in all {
        groups.entry(key(one)).or_default().push(one);
    }
    groups.into_values().collect()
}

/// Those with the CPUs near, where they are enough, else all.
fn near<'a, T>(all: &[&'a T], cores: fn(&T) -> &Cores) -> (Vec<&'a T>, Runs) {
    let near: Vec<&T> = all.iter().copied().filter(|run| cores(run).apart_ns() <= NEAR_NS).collect();
    let counted = if near.len() >= NEAR_MIN { near } else { all.to_vec() };
    let span = |value: fn(&Cores) -> f64| Span::of(counted.iter().map(|run| value(cores(run))));
    let runs = Runs {
        counted: counted.len(),
        all: all.len(),
        cores_ns_before: span(|cores| cores.before),
        cores_ns_after: span(|cores| cores.after),
    };
    (counted, runs)
}

impl Span {
    /// # Panics
    /// Of nothing.
    fn of(values: impl Iterator<Item = f64>) -> Span {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        Span { median: values[values.len() / 2], lowest: values[0], highest: values[values.len() - 1] }
    }
}

impl Row {
    fn new(samples: &[&Sample]) -> Row {
        let first = samples[0];
        let (samples, runs) = near(samples, |sample| &sample.cores);
        let span = |value: &dyn Fn(&Sample) -> f64| Span::of(samples.iter().map(|sample| value(sample)));
        let sum = |value: fn(&Sample) -> u64| samples.iter().map(|sample| value(sample)).sum();
        let latency = |value: fn(&Latency) -> f64| {
            span(&|sample| sample.latency.as_ref().map_or(f64::NAN, value)).median
        };
        let optional = |value: fn(&Sample) -> Option<u64>| {
            value(first).map(|_| span(&|sample| value(sample).map_or(f64::NAN, |value| value as f64)))
        };
        let mut drops = BTreeMap::new();
        for (reason, count) in samples.iter().flat_map(|sample| &sample.drops) {
            *drops.entry(reason.clone()).or_default() += count;
        }
        let mpps = span(&|sample| sample.received_mpps);
        Row {
            case: first.case.clone(),
            what: first.what.clone(),
            flows: first.flows,
            workers: first.workers,
            cycles: first.tsc_hz / mpps.median / 1e6,
            mpps,
            sent: sum(|sample| sample.sent),
            lost: sum(|sample| sample.lost),
            lost_ppm: span(&|sample| sample.lost as f64 / sample.sent.max(1) as f64 * 1e6),
            wrong: sum(|sample| sample.wrong),
            missed: sum(|sample| sample.missed),
            drops,
            latency_us: first.latency.as_ref().map(|_| {
                [
                    latency(|latency| latency.p50_us),
                    latency(|latency| latency.p99_us),
                    latency(|latency| latency.p999_us),
                    latency(|latency| latency.max_us),
                ]
            }),
            expired: optional(|sample| sample.expired),
            expired_per_s: optional(|sample| sample.expired_per_s),
            reloads: first.reloads.map(|_| sum(|sample| sample.reloads.unwrap_or(0))),
            listed: samples.iter().filter_map(|sample| sample.listed).reduce(Listed::and),
            swept: samples.iter().filter_map(|sample| sample.swept).reduce(Swept::and),
            runs,
        }
    }
}

impl Rfc9693 {
    fn new(measurements: &[&Measurement]) -> Rfc9693 {
        let first = measurements[0];
        let (measurements, runs) = near(measurements, |measurement| &measurement.cores);
        Rfc9693 {
            method: first.what.clone(),
            flows: first.flows,
            value: Span::of(measurements.iter().map(|measurement| measurement.value)),
            unit: first.unit.clone(),
            runs,
        }
    }
}
