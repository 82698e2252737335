//! The workers' tables: each made and populated on its worker's own CPU, and so on that CPU's NUMA node, before the first
//! packet.
//!
//! The main lcore helps the workers of its node. A thread that is free takes the next piece of memory. The kernel zeroes each
//! page as it is populated, and nothing zeroes it again.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{StartError, dpdk_io};
use natgw_dpdk::{Eal, LcoreId};
use natgw_nat::{Backing, Pages, Part, Secret, Settings, Shard, ShardOptions};
use natgw_steer::{Steering, WorkerId};

/// Memory populated in one step, octets.
const PIECE: usize = 64 << 20;

/// What the tables of all workers got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TableMemory {
    /// Octets in the system's reserved huge pages.
    reserved: usize,
    /// Octets in transparent huge pages.
    transparent: usize,
    /// Octets in pages of the ordinary size, or not handed out yet.
    ordinary: usize,
    /// What a session takes with all that belongs to it, octets.
    per_session: u64,
    /// How long it took.
    took: Duration,
}

impl fmt::Display for TableMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.reserved, "reserved huge pages"),
            (self.transparent, "transparent huge pages"),
            (self.ordinary, "ordinary pages"),
        ];
        let mut parts = parts.into_iter().filter(|(bytes, _)| bytes >> 20 > 0);
        let Some((bytes, name)) = parts.next() else { return f.write_str("less than 1 MiB") };
        write!(f, "{} MiB in {name}", bytes >> 20)?;
        parts.try_for_each(|(bytes, name)| write!(f, ", {} MiB in {name}", bytes >> 20))?;
        write!(f, "; {} bytes a session", self.per_session)
    }
}

/// The tables of all workers.
pub(super) struct Tables {
    /// By worker.
    pub(super) shards: Vec<Shard>,
    /// The NUMA node of each worker's CPU.
    pub(super) nodes: Vec<u32>,
    /// What memory they got.
    pub(super) memory: TableMemory,
}

/// A shard that is being populated.
struct NewShard {
    shard: Shard,
    /// The NUMA node of the worker's CPU.
    node: u32,
    /// Region and part of it, each a piece.
    pieces: Vec<(usize, Range<usize>)>,
    next: AtomicUsize,
}

impl NewShard {
    fn new(shard: Shard) -> NewShard {
        let mut pieces = Vec::new();
        for (index, region) in shard.regions().iter().enumerate() {
            let starts = (0..region.bytes()).step_by(PIECE);
            pieces.extend(starts.map(|start| (index, start..region.bytes().min(start + PIECE))));
        }
        NewShard { shard, node: natgw_dpdk::current_node(), pieces, next: AtomicUsize::new(0) }
    }

    /// Populates piece after piece, beside others that do the same, until none is left.
    fn populate(&self) -> io::Result<()> {
        let regions = self.shard.regions();
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((region, part)) = self.pieces.get(next) else { return Ok(()) };
            regions[*region].populate(part.clone())?;
        }
    }
}

/// Sessions that each of so many workers has room for.
pub(crate) fn sessions_each(settings: &Settings, workers: u16) -> u32 {
    settings.limits.sessions_each(workers)
}

/// A shard for every worker, by number.
pub(super) fn make(
    eal: &Eal,
    lcores: &[LcoreId],
    settings: &Settings,
    steering: &Steering,
) -> Result<Tables, StartError> {
    let start = Instant::now();
    let sessions = sessions_each(settings, steering.workers());
    let failed = |source| StartError::Tables { sessions, source };
    let pages = if eal.uses_hugepages() { Pages::Reserved } else { Pages::Ordinary };
    let settings = Arc::new(settings.clone());
    let make = |id: WorkerId| {
        let (settings, shares, of) = (settings.clone(), steering.shares(id).to_vec(), steering.workers());
        move || {
            let options = ShardOptions {
                settings: &settings,
                shares: &shares,
                sessions,
                part: Part { index: id.0, of },
                // Each has its own: one worker's ports say nothing of another's.
                secret: Secret::new(rand::random()),
                now: dpdk_io::engine_time(),
            };
            Shard::with_pages(&options, pages).map(|shard| Arc::new(NewShard::new(shard)))
        }
    };
    let made = on_each(eal, lcores, |index| make(WorkerId(index as u16)), || Ok(()))?;
    let shards = made.into_iter().collect::<io::Result<Vec<_>>>().map_err(failed)?;
    let mut memory = size(&shards);
    check_available(memory.ordinary).map_err(failed)?;

    let here = natgw_dpdk::current_node();
    let help = || shards.iter().filter(|shard| shard.node == here).try_for_each(|shard| shard.populate());
    let own = |index: usize| {
        let shard = shards[index].clone();
        move || shard.populate()
    };
    let populated = on_each(eal, lcores, own, help)?.into_iter().collect::<io::Result<()>>();
    match populated {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            tracing::warn!(
                "tables: pages come at their first use; from Linux 5.14 on they would be there before"
            );
        }
        other => other.map_err(failed)?,
    }
    memory.transparent = transparent().min(memory.ordinary);
    memory.ordinary -= memory.transparent;
    memory.per_session =
        Shard::footprint(&settings, sessions, steering.workers()).bytes_per_session(sessions);
    memory.took = start.elapsed();
    tracing::info!(memory = %memory, took_ms = memory.took.as_millis() as u64, "tables ready");
    let made = Tables {
        memory,
        nodes: shards.iter().map(|shard| shard.node).collect(),
        shards: shards.into_iter().filter_map(Arc::into_inner).map(|shard| shard.shard).collect(),
    };
    Ok(made)
}

/// Runs a job on every worker's lcore, and one here meanwhile.
fn on_each<T, J>(
    eal: &Eal,
    lcores: &[LcoreId],
    job: impl Fn(usize) -> J,
    here: impl FnOnce() -> io::Result<()>,
) -> Result<Vec<io::Result<T>>, StartError>
where
    T: Send + 'static,
    J: FnOnce() -> io::Result<T> + Send + 'static,
{
    let jobs = lcores.iter().enumerate().map(|(index, &lcore)| natgw_dpdk::launch(eal, lcore, job(index)));
    let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
    let here = here();
    let mut results = jobs.into_iter().map(natgw_dpdk::Worker::join).collect::<Result<Vec<_>, _>>()?;
    if let (Err(error), Some(first)) = (here, results.first_mut()) {
        *first = Err(error);
    }
    Ok(results)
}

fn size(shards: &[Arc<NewShard>]) -> TableMemory {
    let mut memory = TableMemory::default();
    for shard in shards {
        for region in shard.shard.regions() {
            match region.backing() {
                Backing::Reserved(_) => memory.reserved += region.bytes(),
                Backing::Ordinary => memory.ordinary += region.bytes(),
            }
        }
    }
    memory
}

/// Whether so much ordinary memory can be had. The kernel would not say no when it is touched: it would end processes.
fn check_available(wanted: usize) -> io::Result<()> {
    match available(Path::new("/")) {
        Some(available) if available < wanted => Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("they take {} MiB, and {} MiB are free", wanted >> 20, available >> 20),
        )),
        _ => Ok(()),
    }
}

/// Memory that is free, in the machine and in this control group; the root directory is an argument for tests.
fn available(root: &Path) -> Option<usize> {
    let number = |path: &str| fs::read_to_string(root.join(path)).ok()?.trim().parse::<usize>().ok();
    let group = number("sys/fs/cgroup/memory.max")
        .map(|most| most.saturating_sub(number("sys/fs/cgroup/memory.current").unwrap_or(0)));
    let machine = field(&root.join("proc/meminfo"), "MemAvailable:");
    machine.into_iter().chain(group).min()
}

fn transparent() -> usize {
    field(Path::new("/proc/self/smaps_rollup"), "AnonHugePages:").unwrap_or(0)
}

/// A line of the kernel's tables of sizes, octets.
fn field(file: &Path, name: &str) -> Option<usize> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<usize>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_the_machines_or_the_control_groups() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(available(root.path()), None);
        write("proc/meminfo", "MemTotal:  900 kB\nMemAvailable:  700 kB\n");
        write("sys/fs/cgroup/memory.max", "max\n");
        assert_eq!(available(root.path()), Some(700 << 10));
        write("sys/fs/cgroup/memory.max", "614400\n");
        write("sys/fs/cgroup/memory.current", "102400\n");
        assert_eq!(available(root.path()), Some(500 << 10));
        assert!(check_available(usize::MAX).is_err());
    }

    #[test]
    fn says_what_the_tables_got() {
        let all = TableMemory {
            reserved: 5 << 20,
            transparent: 3 << 20,
            ordinary: 100,
            per_session: 268,
            took: Duration::ZERO,
        };
        assert_eq!(
            all.to_string(),
            "5 MiB in reserved huge pages, 3 MiB in transparent huge pages; 268 bytes a session"
        );
        assert_eq!(TableMemory::default().to_string(), "less than 1 MiB");
    }
}
