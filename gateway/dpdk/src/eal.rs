//! DPDK's environment abstraction layer: memory, lcores, buses. Once a process.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dpdk_sys::rte_mempool;

use super::{EalArgs, Error, LcoreId, Memory, current_lcore, log, memory, stdout};

/// DPDK, initialised. A clone is another handle; the last one to go cleans DPDK up.
#[derive(Debug, Clone)]
pub struct Eal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    workers: u32,
    huge_pages: bool,
    lcores: Mutex<Lcores>,
    ports: Mutex<BTreeSet<u16>>,
}

/// What runs, and what waits for it to end.
#[derive(Debug, Default)]
struct Lcores {
    running: BTreeSet<u32>,
    retired: Vec<Pool>,
}

#[derive(Debug)]
struct Pool(NonNull<rte_mempool>);

// SAFETY: a mempool is usable from any thread; this handle is used under the mutex around `Lcores` only.
unsafe impl Send for Pool {}

static INITIALISED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Initialises DPDK. The calling thread becomes the main lcore and is bound to its CPU, as are the threads that
    /// it makes later.
    pub fn init(args: &EalArgs) -> Result<Eal, Error> {
        args.check(&allowed_cpus())?;
        let huge_pages = decide_memory(args)?;
        let mut argv = Vec::new();
        for argument in args.to_argv(huge_pages) {
            argv.push(CString::new(argument.as_str()).map_err(|_| Error::Nul(argument))?.into_raw());
        }
        if INITIALISED.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyInitialised);
        }
        log::redirect();
        log::forget();
        let setting_up = log::SettingUp::begin();
        let argc = i32::try_from(argv.len()).unwrap_or(i32::MAX);
        let argv: &'static mut [*mut c_char] = argv.leak();
        // SAFETY: `argv` holds `argc` C strings that live as long as the process, for EAL may keep them; the swap
        // above makes this the only call in the process.
        let result = stdout::silenced(|| unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) });
        drop(setting_up);
        if result < 0 {
            let error = Error::last("rte_eal_init", init_context(args, huge_pages));
            remove_runtime_directory();
            return Err(error);
        }
        log::redirect();
        let workers = u32::try_from(args.worker_cpus.len()).unwrap_or(0);
        Ok(Eal(Arc::new(Inner { workers, huge_pages, lcores: Mutex::default(), ports: Mutex::default() })))
    }

    /// DPDK's version: `22.11.11`.
    pub fn version() -> &'static str {
        // SAFETY: returns a static string, before `rte_eal_init` too.
        let version = unsafe { CStr::from_ptr(dpdk_sys::rte_version()) }.to_str().unwrap_or("unknown");
        version.strip_prefix("DPDK ").unwrap_or(version)
    }

    /// True if DPDK's memory is in huge pages.
    pub fn uses_hugepages(&self) -> bool {
        self.0.huge_pages
    }

    /// The worker lcores, in the order of [`EalArgs::worker_cpus`].
    pub fn workers(&self) -> impl ExactSizeIterator<Item = LcoreId> + use<> {
        (0..self.0.workers).map(|worker| LcoreId::new(worker + 1))
    }

    /// The lcore of worker `index`, from 0.
    pub fn worker(&self, index: usize) -> Option<LcoreId> {
        self.workers().nth(index)
    }

    /// Held while a device is attached or detached, which DPDK does not allow from two threads. Contains the ports
    /// that have an owner.
    pub(super) fn ports(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.0.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims an lcore; false if it runs something.
    pub(super) fn occupy(&self, lcore: u32) -> bool {
        self.0.lcores().running.insert(lcore)
    }

    pub(super) fn vacate(&self, lcore: u32) {
        self.0.lcores().running.remove(&lcore);
    }

    /// Frees a pool that has no handle left, at once or when that is safe.
    pub(super) fn retire(&self, pool: NonNull<rte_mempool>) {
        let mut lcores = self.0.lcores();
        lcores.retired.push(Pool(pool));
        lcores.free_retired();
    }
}

impl Inner {
    fn lcores(&self) -> MutexGuard<'_, Lcores> {
        self.lcores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lcores {
    /// Frees the retired pools whose buffers are all back, if no lcore can still be busy returning one.
    ///
    /// An lcore that returns a buffer counts it first and then writes it to its cache of the pool, so a full count
    /// alone does not mean that nobody touches the pool. Threads that are not lcores have no cache and count last.
    fn free_retired(&mut self) {
        if !self.running.is_empty() || current_lcore() != Some(MAIN) {
            return;
        }
        self.retired.retain(|pool| {
            // SAFETY: the pool is valid until it is freed here, which removes it from the list. Full and without a
            // handle, nobody can take a buffer from it. Nobody is still returning one: no worker runs, and this is the
            // main lcore.
            unsafe {
                let complete = dpdk_sys::rte_mempool_in_use_count(pool.0.as_ptr()) == 0;
                if complete {
                    dpdk_sys::rte_mempool_free(pool.0.as_ptr());
                }
                !complete
            }
        });
    }
}

impl Drop for Inner {
    /// Workers hold the Eal, so none runs any more. Pools are left if buffers are, or if this is not the main lcore's
    /// thread; then the memory stays until the process ends.
    fn drop(&mut self) {
        let mut lcores = self.lcores();
        lcores.free_retired();
        if !lcores.retired.is_empty() {
            tracing::warn!(
                pools = lcores.retired.len(),
                "DPDK is not cleaned up: packet buffers may be in use"
            );
            return;
        }
        // SAFETY: this is the last handle: no port, queue, ring, pool or worker is left, and no buffer, as each pool
        // was freed complete.
        let result = unsafe { dpdk_sys::rte_eal_cleanup() };
        if result != 0 {
            tracing::warn!(errno = -result, "rte_eal_cleanup failed");
        }
        remove_runtime_directory();
    }
}

/// DPDK makes a directory for every file prefix and leaves it. One that is not empty stays.
fn remove_runtime_directory() {
    // SAFETY: returns DPDK's own static buffer, empty before `rte_eal_init` has filled it; nothing else uses EAL now.
    let directory = unsafe { CStr::from_ptr(dpdk_sys::rte_eal_get_runtime_dir()) };
    if let Ok(directory) = directory.to_str() {
        let _ = fs::remove_dir(directory);
    }
}

const MAIN: u32 = 0;

fn decide_memory(args: &EalArgs) -> Result<bool, Error> {
    match args.memory {
        Memory::NoHuge => Ok(false),
        Memory::Hugepages => memory::check_huge_pages(args.memory_mib).map(|()| true),
        Memory::Auto => match memory::check_huge_pages(args.memory_mib) {
            Ok(()) => Ok(true),
            Err(reason) => {
                tracing::warn!(%reason, "uses ordinary memory, which is slower");
                Ok(false)
            }
        },
    }
}

fn init_context(args: &EalArgs, huge_pages: bool) -> String {
    let mib = args.memory_mib;
    let memory = if huge_pages {
        format!(
            "{mib} MiB of huge pages; in a container they need the capability SYS_NICE and a hugetlb limit"
        )
    } else {
        format!("{mib} MiB of ordinary memory")
    };
    if args.extra.is_empty() { memory } else { format!("{memory}; with {}", args.extra.join(" ")) }
}

fn allowed_cpus() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or_else(|| format!("0-{}", u32::MAX), |list| list.trim().to_owned())
}
