//! A lab: namespaces wired as the drawing in the crate's documentation shows, with a running gateway in the middle.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
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
    /// Leaves the limits of a subscriber as they are where nobody sets them.
    pub(crate) default_limits: bool,
    /// Further keys of the interfaces.
    pub(crate) inside: &'static str,
    pub(crate) outside: &'static str,
    /// Keys of `[nat]` itself and of `[nat.timeouts]`.
    pub(crate) nat: &'static str,
    pub(crate) timeouts: &'static str,
    /// Further keys of `[management]`.
    pub(crate) management: &'static str,
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
    };
}

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
    _turn: MutexGuard<'static, ()>,
}

/// Declares a test that runs in a lab of one worker and in a lab of two.
macro_rules! in_a_lab {
    ($name:ident) => {
        crate::lab::in_a_lab!(@ $name, crate::lab::Options::DEFAULT);
    };
    ($name:ident, $options:ident) => {
        crate::lab::in_a_lab!(@ $name, super::$options);
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
        let turn = turn();
        let work = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a directory");
        let [a, b, c, server, router, middle] = ["a", "b", "c", "server", "router", "gateway"].map(namespace);
        middle.ip("link add br-in up type bridge");
        middle.ip("link add br-out up type bridge");
        a.plug_into(&middle, "br-in", &["10.64.0.11/24"]);
        b.plug_into(&middle, "br-in", &["10.64.0.12/24"]);
        c.plug_into(&middle, "br-in", &["10.64.0.20/24"]);
        router.plug_into(&middle, "br-out", &["203.0.113.1/24"]);
        router.ip("link add br-server up type bridge");
        router.ip("address add 198.51.100.1/24 dev br-server");
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

/// Labs take turns. The first one takes away what a killed run has left, and raises the limit of open files for the
/// tests with thousands of sockets.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    assert!(
        Uid::effective().is_root(),
        "namespace tests need root: scripts/test.sh, or cargo test under sudo"
    );
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard).expect("a limit up to the hard one");
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    static SWEEP: Once = Once::new();
    SWEEP.call_once(|| Namespace::sweep(PREFIX));
    turn
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
    [("tap-in", "br-in", "02:00:00:00:ff:01"), ("tap-out", "br-out", "02:00:00:00:ff:02")].iter().all(
        |(tap, bridge, mac)| {
            let there = middle.try_exec(&format!("ip link set {tap} address {mac}")).status.success();
            there && middle.try_exec(&format!("ip link set {tap} master {bridge} up")).status.success()
        },
    )
}

/// CPU numbers: management on the first one, workers spread over all from the second on.
fn cpus() -> Vec<usize> {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).expect("a CPU set");
    (0..nix::sched::CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}

/// `[dpdk]` for so many workers on the CPUs that there are.
pub(crate) fn dpdk_section(workers: usize) -> String {
    let cpus = cpus();
    let main = cpus[0];
    let lcores: Vec<_> = (1..=workers).map(|worker| cpus[worker % cpus.len()]).collect();
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
