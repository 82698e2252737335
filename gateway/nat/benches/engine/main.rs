//! What the engine alone costs, in cycles: `Shard::translate` on frames of 64 bytes in memory, one thread, no NIC.
//!
//! A burst has one direction, as a port delivers it; the direction of each burst and the flow of each packet are drawn
//! at random. Packets are made outside the measured time, [`load::CHUNK`] at once, so they are warm (first-level cache)
//! when it begins, as after a driver that has just written them; sessions and index are as warm as their size and the
//! random order leave them. Every verdict and every outbound translation is checked after each chunk.
//!
//! - `established`: packets of sessions that exist, UDP and then half of the flows TCP, in bursts of 32, as workers do, and one at a
//!   time, which leaves nothing to overlap. What lies between the two is what the stages and their prefetches are for.
//! - `sessions`: one new session a packet, shuffled, into an empty table whose memory was touched before; their end and the end
//!   of their ports' rest, by calls with a worker's budget.
//! - `index`: looking up a flow's record, half of it hash table and half the record's own line, with the engine's index
//!   in two prefetched stages, with the index one at a time, and with hashbrown, all over the same keys and records.
//!
//! Cycles are those of the time stamp counter, not of the core, which may run faster. Ranges are the lowest and the
//! highest of the rounds; rounds of different cases take turns, so that what disturbs the machine disturbs them alike.
//!
//! `cargo bench --bench engine -- [--flows N,N...] [--rounds N] [--only CASE] [--reserved-pages] [--json FILE]`
//! With `--features stage-cycles` also what each stage of the bursts takes.

mod cycles;
mod established;
#[path = "../fixture/mod.rs"]
mod fixture;
mod index;
mod load;
mod report;
mod sessions;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::{Parser, ValueEnum};

use load::Traffic;
use natgw_nat::Pages;
use report::Report;

/// Cycles a packet of the NAT engine alone.
#[derive(Parser)]
struct Options {
    /// Table sizes.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 65_536, 1_000_000, 16_000_000])]
    flows: Vec<u32>,
    /// Sessions of the cases that make new ones.
    #[arg(long, default_value_t = 1_000_000)]
    new_sessions: u32,
    /// Rounds of each case, five at least for a figure to quote.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only this case.
    #[arg(long)]
    only: Option<Case>,
    /// Where to write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Take reserved huge pages for the engine's tables; else the kernel is asked for transparent ones.
    #[arg(long)]
    reserved_pages: bool,
    /// What `cargo bench` says; without meaning here.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn pages(&self) -> Pages {
        if self.reserved_pages { Pages::Reserved } else { Pages::Ordinary }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Case {
    Established,
    Sessions,
    Index,
}

fn main() -> std::io::Result<()> {
    give_the_heap_huge_pages();
    let options = Options::parse();
    let runs = |case| options.only.is_none_or(|only| only == case);
    let mut report = Report::new();
    if runs(Case::Established) {
        for &flows in &options.flows {
            established::run(Traffic::Udp, flows, &options, &mut report);
            established::run(Traffic::UdpAndTcp, flows, &options, &mut report);
        }
    }
    if runs(Case::Sessions) {
        sessions::run(&options, &mut report);
    }
    if runs(Case::Index) {
        for &flows in &options.flows {
            index::run(flows, &options, &mut report);
        }
    }
    options.json.map_or(Ok(()), |path| report.write_json(&path))
}

/// The engine's tables ask for huge pages themselves; hashbrown's come from the heap, which asks only when told so before
/// the program starts.
fn give_the_heap_huge_pages() {
    const TUNABLES: &str = "GLIBC_TUNABLES";
    if std::env::var_os(TUNABLES).is_none()
        && let Ok(program) = std::env::current_exe()
    {
        let mut again = Command::new(program);
        let error = again.args(std::env::args_os().skip(1)).env(TUNABLES, "glibc.malloc.hugetlb=1").exec();
        eprintln!("the heap stays on ordinary pages: {error}");
    }
}
