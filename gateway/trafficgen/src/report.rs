//! Figures for people and for programs.

use std::path::Path;

use serde::Serialize;

use super::Error;
use super::args::{Dpdk, Network};
use super::count::{Figures, Outcome};
use natgw_dpdk::{Clock, Eal};

/// The figures of several runs.
#[derive(Debug, Serialize)]
pub struct Report {
    command: &'static str,
    dpdk: &'static str,
    tsc_hz: u64,
    flows: u32,
    flows_per_host: u32,
    size: String,
    protocol: super::args::Protocol,
    expect: super::traffic::Expect,
    queues: u16,
    runs: Vec<Figures>,
}

impl Report {
    /// No runs yet.
    pub fn new(command: &'static str, network: &Network, dpdk: &Dpdk) -> Report {
        Report {
            command,
            dpdk: Eal::version(),
            tsc_hz: Clock::hz(),
            flows: network.flows,
            flows_per_host: network.flows_per_host,
            size: network.size.name.clone(),
            protocol: network.protocol,
            expect: network.expect,
            queues: dpdk.queues,
            runs: Vec::new(),
        }
    }

    /// The head of the table.
    pub fn header(&self) {
        println!(
            "{} of {} flows, {:?}, {} octets, {:?}",
            self.command, self.flows, self.protocol, self.size, self.expect
        );
        println!(
            "{:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>8} {:>8} {:>8} {:>8} {:>9}",
            "Mpps", "out", "in", "sent", "lost", "wrong", "missed", "p50 us", "p99", "p99.9", "max"
        );
    }

    /// A row; `step` tells what it is a part of, if it is not the whole.
    pub fn add(&mut self, step: &'static str, outcome: &Outcome) {
        let mut figures = outcome.figures();
        figures.step = step;
        let [p50, p99, p999, max] = figures
            .latency
            .as_ref()
            .map_or([0.0; 4], |latency| [latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us]);
        println!(
            "{:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9} {:>10} {:>8} {:>8.1} {:>8.1} {:>8.1} {:>9.1} {step}",
            figures.received_mpps,
            figures.outbound_mpps,
            figures.inbound_mpps,
            figures.sent_mpps,
            figures.lost,
            figures.wrong,
            figures.missed,
            p50,
            p99,
            p999,
            max
        );
        for (fault, count) in &figures.faults {
            println!("          {count} {fault}");
        }
        for (fault, frame) in outcome.sides.iter().filter_map(|side| side.example) {
            let hex: String = frame.iter().map(|octet| format!("{octet:02x}")).collect();
            println!("          {fault}: {hex}");
        }
        self.runs.push(figures);
    }

    /// The median, and the file.
    pub fn finish(self, json: Option<&Path>) -> Result<(), Error> {
        let mut rates: Vec<f64> =
            self.runs.iter().filter(|run| run.step.is_empty()).map(|run| run.received_mpps).collect();
        rates.sort_by(f64::total_cmp);
        if let (Some(low), Some(high)) = (rates.first(), rates.last()) {
            let median = rates[rates.len() / 2];
            let cycles = self.tsc_hz as f64 / median / 1e6;
            println!("median {median:.3} Mpps ({low:.3}-{high:.3}), {cycles:.0} cycles a packet");
        }
        if let Some(path) = json {
            std::fs::write(path, serde_json::to_string_pretty(&self).map_err(std::io::Error::from)?)?;
        }
        Ok(())
    }
}
