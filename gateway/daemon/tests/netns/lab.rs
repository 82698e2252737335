//! A lab: namespaces wired as the drawing in the crate's documentation shows, with a running gateway in the middle.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Once, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::namespace::Namespace;

/// The hosts' addresses.
pub(crate) const HOST_A: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 11);
pub(crate) const HOST_B: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 12);
/// The server's two addresses.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
pub(crate) const SERVER_2: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 11);
/// The pool.
pub(crate) const POOL: std::ops::RangeInclusive<Ipv4Addr> =
    Ipv4Addr::new(203, 0, 113, 10)..=Ipv4Addr::new(203, 0, 113, 12);
/// Host B's TCP port 80 from outside.
pub(crate) const FORWARD_TCP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 13), 8080);
/// Host B's UDP port 5300 from outside.
pub(crate) const FORWARD_UDP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 13), 5353);
/// Host C from outside, as a whole.
pub(crate) const STATIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);

/// The names of all namespaces begin so, and go on with the process that made them.
pub(crate) const PREFIX: &str = "natgw-test-";

/// What differs between labs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) workers: usize,
    pub(crate) filtering: &'static str,
    /// Further keys of the pool.
    pub(crate) pool: &'static str,
    /// Rules ahead of the one that translates everything.
    pub(crate) rules: &'static str,
    pub(crate) ports_per_subscriber: u32,
    /// Leaves the limits of a subscriber at their defaults.
    pub(crate) default_limits: bool,
    /// Further keys of the interfaces.
    pub(crate) inside: &'static str,
    pub(crate) outside: &'static str,
    /// Keys of `[nat]` itself and of `[nat.timeouts]`.
    pub(crate) nat: &'static str,
    pub(crate) timeouts: &'static str,
    /// Further keys of `[management]`.
    pub(crate) management: &'static str,
    /// No other lab stands meanwhile: for tests that measure, or that need all of the machine.
    pub(crate) alone: bool,
}

impl Options {
    pub(crate) const DEFAULT: Options = Options {
        workers: 1,
        filtering: "address-dependent",
        pool: "",
        rules: "",
        ports_per_subscriber: 4096,
        default_limits: false,
        inside: "",
        outside: "",
        nat: "",
        timeouts: "",
        management: "",
        alone: false,
    };
}

/// A lab as most are, while there is no other.
pub(crate) const ALONE: Options = Options { alone: true, ..Options::DEFAULT };

/// Namespaces and the gateway between them. Fields are dropped in this order.
pub(crate) struct Lab {
    pub(crate) gateway: Gateway,
    pub(crate) a: Namespace,
    pub(crate) b: Namespace,
    pub(crate) c: Namespace,
    pub(crate) server: Namespace,
    pub(crate) router: Namespace,
    pub(crate) middle: Namespace,
    pub(crate) work: TempDir,
    _turn: Turn,
}

/// Declares a test that runs in a lab of one worker and in a lab of two; with `two_workers` only in the latter: where workers
/// do what they do in the others, and the test takes its time.
macro_rules! in_a_lab {
    ($name:ident) => {
        crate::lab::in_a_lab!(@ $name, crate::lab::Options::DEFAULT);
    };
    ($name:ident, $options:ident) => {
        crate::lab::in_a_lab!(@ $name, super::$options);
    };
    ($name:ident, $options:ident, two_workers) => {
        mod $name {
            #[test]
            fn two_workers() {
                crate::lab::run(crate::lab::Options { workers: 2, ..super::$options }, super::$name);
            }
        }
    };
    (@ $name:ident, $options:path) => {
        mod $name {
            #[test]
            fn one_worker() {
                crate::lab::run(crate::lab::Options { workers: 1, ..$options }, super::$name);
            }

            #[test]
            fn two_workers() {
                crate::lab::run(crate::lab::Options { workers: 2, ..$options }, super::$name);
            }
        }
    };
}
pub(crate) use in_a_lab;

/// Runs a test in a lab; afterwards every packet must be accounted for and the gateway must end well.
pub(crate) fn run(options: Options, test: fn(&mut Lab)) {
    let mut lab = Lab::new(options);
    test(&mut lab);
    lab.gateway.assert_alive();
    lab.gateway.settled();
    let status = lab.gateway.end_on(Signal::SIGTERM);
    assert_eq!(status.code(), Some(0), "SIGTERM: {status}");
    assert!(!lab.gateway.log().contains("panicked"), "a panic in the log");
}

impl Lab {
    /// Builds the network, starts the gateway and waits until it is ready.
    pub(crate) fn new(options: Options) -> Lab {
        let turn = if options.alone { turn_alone() } else { turn() };
        let work = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a directory");
        let [a, b, c, server, router, middle] = ["a", "b", "c", "server", "router", "gateway"].map(namespace);
        middle.ip_batch(&["link add br-in up type bridge", "link add br-out up type bridge"]);
        a.plug_into(&middle, "br-in", &["10.64.0.11/24"]);
        b.plug_into(&middle, "br-in", &["10.64.0.12/24"]);
        c.plug_into(&middle, "br-in", &["10.64.0.20/24"]);
        router.plug_into(&middle, "br-out", &["203.0.113.1/24"]);
        router.ip_batch(&["link add br-server up type bridge", "address add 198.51.100.1/24 dev br-server"]);
        server.plug_into(&router, "br-server", &["198.51.100.10/24", "198.51.100.11/24"]);
        for host in [&a, &b, &c] {
            host.ip("route add default via 10.64.0.1");
        }
        server.ip("route add default via 198.51.100.1");
        router.sysctl("net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0");
        router.sysctl("net.ipv4.conf.eth0.send_redirects=0 net.ipv4.icmp_ratelimit=0");
        server.sysctl("net.ipv4.icmp_ratelimit=0");

        let path = work.path().join("gateway.toml");
        fs::write(&path, config(options, work.path())).expect("a configuration file");
        let gateway = Gateway::start(&middle, &path);
        let mut lab = Lab { gateway, a, b, c, server, router, middle, work, _turn: turn };
        wait_until_ready(&mut lab.gateway, &lab.middle);
        lab
    }

    /// Forgets the hosts' and the router's neighbours, so that each asks the gateway for its address again.
    pub(crate) fn forget_neighbors(&self) {
        for host in [&self.a, &self.b, &self.c, &self.router] {
            host.ip("neighbor flush dev eth0");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            for (namespace, line) in [
                (&self.middle, "ip -brief link"),
                (&self.middle, "bridge fdb show"),
                (&self.a, "ip neighbor"),
                (&self.b, "ip neighbor"),
                (&self.router, "ip neighbor"),
            ] {
                let output = namespace.try_exec(line);
                eprintln!("---- {line}\n{}", String::from_utf8_lossy(&output.stdout));
            }
        }
    }
}

/// The time of a test on the machine: beside others, or alone.
pub(crate) enum Turn {
    Beside { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

static TURNS: RwLock<()> = RwLock::new(());

/// Beside the tests that wait most of the time, as many as the runner has threads.
pub(crate) fn turn() -> Turn {
    prepare();
    Turn::Beside { _guard: TURNS.read().unwrap_or_else(PoisonError::into_inner) }
}

/// Once no other lab stands; none is built until this one is gone.
pub(crate) fn turn_alone() -> Turn {
    prepare();
    Turn::Alone { _guard: TURNS.write().unwrap_or_else(PoisonError::into_inner) }
}

/// The first lab takes away what a killed run has left, and raises the limit of open files for the tests with thousands of
/// sockets.
fn prepare() {
    assert!(
        Uid::effective().is_root(),
        "namespace tests need root: scripts/test.sh, or cargo test under sudo"
    );
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard).expect("a limit up to the hard one");
        Namespace::sweep(PREFIX);
    });
}

/// A namespace with a name of its own.
pub(crate) fn namespace(role: &str) -> Namespace {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    Namespace::new(format!("{PREFIX}{}-{}-{role}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Waits until a gateway serves on its two taps.
pub(crate) fn wait_until_ready(gateway: &mut Gateway, middle: &Namespace) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        gateway.assert_alive();
        // Again once it is ready: starting a port gives the tap the port's own MAC address back.
        if attach_taps(middle) && gateway.is_ready() && attach_taps(middle) {
            return;
        }
        assert!(Instant::now() < until, "the gateway does not get ready");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Puts the kernel's ends of the taps onto the bridges. They carry the ports' own MAC addresses, which a bridge would
/// take for itself, so they get others first. True once both taps are there.
fn attach_taps(middle: &Namespace) -> bool {
    let lines = [("tap-in", "br-in", "02:00:00:00:ff:01"), ("tap-out", "br-out", "02:00:00:00:ff:02")]
        .map(|(tap, bridge, mac)| format!("link set {tap} address {mac}\nlink set {tap} master {bridge} up"));
    middle.try_ip_batch(&[&lines[0], &lines[1]]).status.success()
}

/// CPU numbers.
fn cpus() -> Vec<usize> {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).expect("a CPU set");
    (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}

/// `[dpdk]` for so many workers on the CPUs that there are: management on one, workers spread over all from the next one
/// on. The next lab begins one further.
pub(crate) fn dpdk_section(workers: usize) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let cpus = cpus();
    let first = NEXT.fetch_add(1, Ordering::Relaxed);
    let main = cpus[first % cpus.len()];
    let lcores: Vec<_> = (1..=workers).map(|worker| cpus[(first + worker) % cpus.len()]).collect();
    format!(
        "[dpdk]\nmain_lcore = {main}\nworker_lcores = {lcores:?}\nmemory = \"no-huge\"\nidle = \"backoff\"\n"
    )
}

/// The configuration of SPEC's shape that these options stand for, with its socket in `work`.
pub(crate) fn config(options: Options, work: &Path) -> String {
    let Options {
        workers,
        filtering,
        pool,
        rules,
        ports_per_subscriber,
        default_limits,
        inside,
        outside,
        nat,
        timeouts,
        management,
        alone: _,
    } = options;
    let dpdk = dpdk_section(workers);
    let socket = work.join("control.sock");
    let limits = if default_limits {
        String::new()
    } else {
        format!(
            "ports_per_subscriber = {ports_per_subscriber}\nnew_sessions_per_subscriber_per_s = 1_000_000"
        )
    };
    format!(
        r#"
{dpdk}
[[interfaces]]
name = "inside"
device = "net_tap0,iface=tap-in"
role = "inside"
addresses = ["10.64.0.1/24"]
{inside}
[[interfaces]]
name = "outside"
device = "net_tap1,iface=tap-out"
role = "outside"
addresses = ["203.0.113.2/24"]
{outside}
[[routes]]
prefix = "198.51.100.0/24"
via = "203.0.113.1"

[nat]
{nat}
[[nat.pools]]
name = "main"
addresses = ["203.0.113.10-203.0.113.12"]
filtering = "{filtering}"
{pool}
{rules}
[[nat.rules]]
source = "10.64.0.0/24"
pool = "main"

[[nat.port_forwards]]
protocol = "tcp"
external = "203.0.113.13:8080"
internal = "10.64.0.12:80"

[[nat.port_forwards]]
protocol = "udp"
external = "203.0.113.13:5353"
internal = "10.64.0.12:5300"

[[nat.static]]
external = "203.0.113.20"
internal = "10.64.0.20"

[nat.limits]
sessions = 32_768
{limits}

[nat.timeouts]
{timeouts}
[management]
listen = "127.0.0.1:9464"
socket = {socket:?}
{management}
"#
    )
}
