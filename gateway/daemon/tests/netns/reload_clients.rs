//! Clients that can move: WireGuard and QUIC go on from another outside endpoint when a reload takes theirs away.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, POOL, SERVER, in_a_lab};
use crate::namespace::{Namespace, PATIENCE};
use crate::reload::{natctl_reload, rewrite};

const ADDRESSES: &str = "addresses = [\"203.0.113.10-203.0.113.12\"]\n";
const OTHER_ADDRESSES: &str = "addresses = [\"203.0.113.30-203.0.113.45\"]\n";

/// The pool has other addresses from now on: by the time that this returns the flows have lost theirs.
fn take_addresses_away(lab: &Lab) {
    rewrite(lab, |text| text.replacen(ADDRESSES, OTHER_ADDRESSES, 1));
    let output = natctl_reload(lab);
    assert!(output.status.success(), "{output:?}");
    let metrics = lab.gateway.metrics();
    assert!(metrics.sum("sessions_deleted_total", &[("reason", "reload")]) >= 1, "a session was taken away");
}

fn is_new(seen: SocketAddrV4) -> bool {
    !POOL.contains(seen.ip()) && (30..=45).contains(&seen.ip().octets()[3])
}

/// A program that ends after a minute at most, whose output is read line by line; killed on drop.
struct Talker {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Talker {
    fn new(namespace: &Namespace, line: &str) -> Talker {
        let mut words = line.split_whitespace();
        let mut command = namespace.command(words.next().expect("a program"));
        command.args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("ip runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Talker { child, lines }
    }

    /// The next line; fails the test when there is none.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a pipe");
        assert!(!line.is_empty(), "it has ended, or says nothing any more");
        line
    }

    /// Lets it end, and reads what it says then.
    fn rest(mut self, signal: Option<Signal>) -> String {
        drop(self.child.stdin.take());
        if let Some(signal) = signal {
            kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
        }
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("a pipe");
        rest
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An end of a tunnel: wireguard-go in a namespace, stopped on drop.
struct Tunnel<'a> {
    namespace: &'a Namespace,
    interface: String,
    public_key: String,
    child: Child,
}

const TUNNEL_PORT: u16 = 51820;
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);

impl<'a> Tunnel<'a> {
    fn new(lab: &Lab, namespace: &'a Namespace, role: &str, address: Ipv4Addr) -> Tunnel<'a> {
        // Its socket has the interface's name in one folder for all namespaces.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let interface = format!("wg{role}{}.{nth}", std::process::id());
        let mut command = namespace.command("wireguard-go");
        command
            .args(["--foreground", &interface])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("ip runs");
        let key = lab.work.path().join(format!("{role}.key"));
        let mut public_key = String::new();
        if let Ok(secret) = Command::new("wg").arg("genkey").output() {
            fs::write(&key, &secret.stdout).expect("a file");
            let file = fs::File::open(&key).expect("a file");
            let output = Command::new("wg").arg("pubkey").stdin(file).output().expect("wg runs");
            public_key = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        }
        let tunnel = Tunnel { namespace, interface, public_key, child };
        let set =
            format!("wg set {} private-key {} listen-port {TUNNEL_PORT}", tunnel.interface, key.display());
        let until = Instant::now() + PATIENCE;
        while !tunnel.namespace.try_exec(&set).status.success() {
            assert!(Instant::now() < until, "wireguard-go and wg are installed (scripts/setup.sh)");
            thread::sleep(Duration::from_millis(20));
        }
        namespace.ip(&format!("address add {address}/24 dev {}", tunnel.interface));
        namespace.ip(&format!("link set {} up", tunnel.interface));
        tunnel
    }

    fn add_peer(&self, peer: &Tunnel<'_>, more: &str) {
        let Tunnel { interface, .. } = self;
        let line = format!("wg set {interface} peer {} allowed-ips 192.168.77.0/24 {more}", peer.public_key);
        self.namespace.exec(&line);
    }

    /// Where it sends to.
    fn endpoint(&self) -> SocketAddrV4 {
        let said = self.namespace.exec(&format!("wg show {} endpoints", self.interface));
        let word = said.split_whitespace().nth(1).expect("an endpoint");
        word.parse().unwrap_or_else(|_| panic!("no endpoint: {said}"))
    }
}

impl Drop for Tunnel<'_> {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
        let _ = fs::remove_file(format!("/var/run/wireguard/{}.sock", self.interface));
    }
}

fn tunnel(lab: &Lab) -> [Tunnel<'_>; 2] {
    let client = Tunnel::new(lab, &lab.a, "a", INSIDE);
    let server = Tunnel::new(lab, &lab.server, "s", OUTSIDE);
    server.add_peer(&client, "");
    client.add_peer(&server, &format!("endpoint {SERVER}:{TUNNEL_PORT} persistent-keepalive 1"));
    [client, server]
}

/// Reads answers to pings until so many have come.
fn answers(ping: &mut Talker, count: u32) {
    let mut answers = 0;
    while answers < count {
        answers += u32::from(ping.line().contains("bytes from"));
    }
}

/// How many pings were sent, and how many answers came.
fn summary(ping: Talker) -> (u32, u32) {
    let rest = ping.rest(Some(Signal::SIGINT));
    let line = rest.lines().find(|line| line.contains("transmitted")).unwrap_or_else(|| panic!("{rest}"));
    let mut numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
    (numbers.next().expect("sent"), numbers.next().expect("received"))
}

/// Pings through the tunnel are answered before and after the addresses go, and the server finds the client at a new endpoint;
/// how many pings were sent and how many answered.
fn goes_on(lab: &Lab, server: &Tunnel<'_>, mut ping: Talker) -> (u32, u32) {
    answers(&mut ping, 100);
    assert!(POOL.contains(server.endpoint().ip()), "{}", server.endpoint());
    take_addresses_away(lab);
    answers(&mut ping, 200);
    assert!(is_new(server.endpoint()), "{}", server.endpoint());
    let (sent, received) = summary(ping);
    println!("{} of {sent} pings lost", sent - received);
    (sent, received)
}

in_a_lab!(a_wireguard_tunnel_that_the_inside_uses_goes_on);
fn a_wireguard_tunnel_that_the_inside_uses_goes_on(lab: &mut Lab) {
    let lab = &*lab;
    let [_client, server] = tunnel(lab);
    let ping = Talker::new(&lab.a, &format!("ping -n -w 60 -i 0.005 {OUTSIDE}"));
    let (sent, received) = goes_on(lab, &server, ping);
    // What is under way is lost, and nothing afterwards.
    assert!(sent - received <= sent / 5, "{received} of {sent} pings answered");
}

in_a_lab!(a_wireguard_tunnel_that_the_outside_uses_is_moved_by_keepalives);
fn a_wireguard_tunnel_that_the_outside_uses_is_moved_by_keepalives(lab: &mut Lab) {
    let lab = &*lab;
    let [_client, server] = tunnel(lab);
    // The client speaks first: it knows where the other is.
    let mut first = Talker::new(&lab.a, &format!("ping -n -w 60 -i 0.1 {OUTSIDE}"));
    answers(&mut first, 1);
    drop(first);
    let ping = Talker::new(&lab.server, &format!("ping -n -w 60 -i 0.005 {INSIDE}"));
    goes_on(lab, &server, ping);
}

const PYTHON: &str = "/usr/local/lib/aioquic/bin/python";
const QUIC_ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netns/quic_echo.py");
const QUIC_PORT: u16 = 4433;

/// Reads an answer: its number, its connection's, and where the server saw the question come from.
fn answer(client: &mut Talker) -> (u32, u32, SocketAddrV4) {
    let line = client.line();
    let mut words = line.split_whitespace();
    let mut word = || words.next().unwrap_or_else(|| panic!("{line}"));
    let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("{line}"));
    (number(word()), number(word()), word().parse().expect("an endpoint"))
}

in_a_lab!(a_quic_connection_goes_on);
fn a_quic_connection_goes_on(lab: &mut Lab) {
    let lab = &*lab;
    assert!(fs::exists(PYTHON).unwrap_or(false), "aioquic is installed (scripts/setup.sh)");
    let mut server = Talker::new(&lab.server, &format!("{PYTHON} {QUIC_ECHO} server {SERVER} {QUIC_PORT}"));
    assert_eq!(server.line(), "serving\n");
    let mut client = Talker::new(&lab.a, &format!("{PYTHON} {QUIC_ECHO} client {SERVER} {QUIC_PORT} 5"));
    let mut last = 0;
    let mut next = |client: &mut Talker| {
        let (number, connection, seen) = answer(client);
        assert_eq!((number, connection), (last + 1, 1), "each question once, in order, on one connection");
        last = number;
        seen
    };
    for _ in 0..100 {
        let seen = next(&mut client);
        assert!(POOL.contains(seen.ip()), "{seen}");
    }
    take_addresses_away(lab);
    let mut after = 0;
    while after < 200 {
        after += u32::from(is_new(next(&mut client)));
    }
    drop(client.rest(None));
}
