//! How evenly 2 to 64 workers share the work, and how much they hand over to one another: a simulation, with virtual NICs
//! and the gateway's own keys, tables and owners.
//!
//! `cargo run --release --example balance` prints a table in Markdown.

mod simulation;

use simulation::{FLOWS, Outcome, SUBSCRIBERS, Spread, simulate};

/// Outside addresses: enough for every worker to have whole ones.
const MANY: u32 = 256;

fn main() {
    println!("{SUBSCRIBERS} subscribers, {FLOWS} flows, both directions; the busiest worker over the mean\n");
    println!(
        "| workers | subscribers | flows | packets, Zipf | handed over: our keys | our keys, 1 outside address | by ports | one queue |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for workers in [2, 4, 8, 16, 32, 64] {
        let ours = simulate(workers, MANY, Spread::OurKeys);
        let shares = [
            ours.handed_over,
            simulate(workers, 1, Spread::OurKeys).handed_over,
            simulate(workers, MANY, Spread::Ports).handed_over,
            simulate(workers, MANY, Spread::OneQueue).handed_over,
        ];
        let Outcome { subscribers, flows, packets, .. } = ours;
        let shares = shares.map(|share| format!("{:.1} %", 100.0 * share)).join(" | ");
        println!("| {workers} | {subscribers:.2} | {flows:.2} | {packets:.2} | {shares} |");
    }
}
