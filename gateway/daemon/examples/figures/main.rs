//! Makes tables and plots of what `scripts/bench.sh` measured.
//!
//! `cargo run --package nat-gateway --example figures -- RESULTS.json DIRECTORY` writes `results.md`, `rows.json` with the same medians and
//! ranges for programs, and the plots `flows.svg`, `workers.svg`, `layouts.svg`, `expiry.svg` and `engine.svg`; a plot
//! whose part was not measured is left out.

mod markdown;
mod plot;
mod results;
mod rows;

use std::error::Error;
use std::path::Path;

use results::Results;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [results, directory] = &arguments[..] else {
        return Err("usage: figures RESULTS.json DIRECTORY".into());
    };
    let (results, directory) = (Results::read(Path::new(results))?, Path::new(directory));
    std::fs::write(directory.join("results.md"), markdown::markdown(&results))?;
    let rows = serde_json::json!({ "rows": results.all_rows(), "rfc9693": results.rfc9693() });
    std::fs::write(directory.join("rows.json"), format!("{rows:#}\n"))?;
    plot::all(&results, directory)
}
