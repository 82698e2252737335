//! The one thread that is DPDK's main lcore: only there are pools freed, so that a second data plane finds their names
//! free. Tests run on it one after the other, since the worker lcores are few.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use natgw_dpdk::{Eal, EalArgs, Memory};

/// The most workers that a test may have.
pub const WORKERS_MAX: u16 = 4;

type Job = Box<dyn FnOnce(&Eal) + Send>;

/// Runs a test as the main lcore, after those that came before. Its panic is the caller's.
pub fn run(test: impl FnOnce(&Eal) + Send + 'static) {
    static JOBS: OnceLock<Sender<Job>> = OnceLock::new();
    let (done, outcome) = channel();
    let job = move |eal: &Eal| {
        let result = panic::catch_unwind(AssertUnwindSafe(|| test(eal)));
        let _ = done.send(result.map_err(|_| LAST_PANIC.take()));
    };
    JOBS.get_or_init(start).send(Box::new(job)).expect("the main lcore runs");
    if let Err(report) = outcome.recv().expect("the main lcore answers") {
        panic!("{report}");
    }
}

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn start() -> Sender<Job> {
    let (jobs, todo) = channel::<Job>();
    let main_lcore = thread::Builder::new().name("main lcore".into());
    let spawned = main_lcore.spawn(move || {
        let cpus = cpus();
        let worker_cpus = (1..=usize::from(WORKERS_MAX)).map(|worker| cpus[worker % cpus.len()]).collect();
        let eal = Eal::init(&EalArgs {
            main_cpu: cpus[0],
            worker_cpus,
            memory: Memory::NoHuge,
            memory_mib: 256,
            file_prefix: format!("gateway-dataplane-{}", std::process::id()),
            ..EalArgs::default()
        })
        .expect("DPDK starts without huge pages");
        // The test's own thread tells of its panic: this one's output belongs to another test.
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some("main lcore") {
                LAST_PANIC.replace(info.to_string());
            } else {
                default(info);
            }
        }));
        todo.into_iter().for_each(|job| job(&eal));
    });
    spawned.expect("a thread for the main lcore");
    jobs
}

/// The CPUs that this process may run on.
fn cpus() -> Vec<u32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    };
    list.trim().split(',').flat_map(range).collect()
}
