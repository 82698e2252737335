//! Medians and ranges, for people and as JSON.

use std::path::Path;

use serde_json::{Value, json};

use crate::cycles;

/// One case's rounds, in cycles each.
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn new() -> Samples {
        Samples(Vec::new())
    }

    pub(crate) fn add(&mut self, cycles: u64, count: usize) {
        self.0.push(cycles as f64 / count as f64);
    }
}

pub(crate) struct Report {
    per_second: f64,
    rows: Vec<Value>,
}

impl Report {
    pub(crate) fn new() -> Report {
        let per_second = cycles::per_second();
        println!("{} at {:.2} GHz: median (lowest-highest of the rounds)", cycles::UNIT, per_second / 1e9);
        Report { per_second, rows: Vec::new() }
    }

    /// Prints and keeps a row.
    pub(crate) fn add(&mut self, case: &str, flows: u32, samples: Samples) {
        let mut cycles = samples.0;
        cycles.sort_by(f64::total_cmp);
        let (low, high) = (cycles[0], cycles[cycles.len() - 1]);
        let median = cycles[cycles.len() / 2];
        let per_second = (median > 0.0).then(|| self.per_second / median);
        println!(
            "{case:<40} {flows:>10} {median:>8.1} ({low:.1}-{high:.1}) {:>7.2} M/s",
            per_second.map_or(0.0, |rate| rate / 1e6)
        );
        self.rows.push(json!({
            "case": case,
            "flows": flows,
            "median": median,
            "lowest": low,
            "highest": high,
            "rounds": cycles.len(),
            "per_second": per_second,
        }));
    }

    /// `{unit, unit_per_second, rows: [{case, flows, median, lowest, highest, rounds, per_second}]}`.
    pub(crate) fn write_json(&self, path: &Path) -> std::io::Result<()> {
        let all = json!({ "unit": cycles::UNIT, "unit_per_second": self.per_second, "rows": self.rows });
        std::fs::write(path, format!("{all:#}\n"))
    }
}
