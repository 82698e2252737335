//! Makes tables and plots of what `scripts/bench.sh` measured.
//!
//! `cargo run --example figures -- RESULTS.json DIRECTORY` writes `results.md`, `flows.svg`, `workers.svg` and
//! `engine.svg`; a plot whose part was not measured is left out.

mod plot;
mod results;

use std::error::Error;
use std::path::Path;

use results::Results;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [results, directory] = &arguments[..] else {
        return Err("usage: figures RESULTS.json DIRECTORY".into());
    };
    let (results, directory) = (Results::read(Path::new(results))?, Path::new(directory));
    std::fs::write(directory.join("results.md"), results.markdown())?;
    plot::all(&results, directory)
}
