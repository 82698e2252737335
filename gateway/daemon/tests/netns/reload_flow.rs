//! Flows that send every 2 ms while the configuration takes their endpoints away, beside so many sessions that a sweep takes its
//! time: no answer reaches another host, and each flow goes on.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lab::{ALONE, HOST_B, Lab, Options, SERVER, in_a_lab};
use crate::management::natctl;
use crate::namespace::{Namespace, PATIENCE};
use crate::reflector::{UdpReflector, ask, receive, try_ask};
use crate::reload::{natctl_reload, rewrite};

const SPACING: Duration = Duration::from_millis(2);
/// Sessions beside the flows, of so many hosts, each from one endpoint to addresses that no host has.
const BESIDE: u64 = 20_000;
const HOSTS: u8 = 50;
const NOWHERE: &str = "192.0.2.0/24";
/// Of both flows, inside.
const PORT: u16 = 40_000;
/// A host without forwards.
const THIRD: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 30);
/// Host B's service, of forwards, and the third host's.
const SERVICE: u16 = 5400;

const ADDRESSES: &str = "addresses = [\"203.0.113.10-203.0.113.12\"]\n";
const OTHER_ADDRESSES: &str = "addresses = [\"203.0.113.30-203.0.113.45\"]\n";
const FILTERING: &str = "filtering = \"address-dependent\"\n";
const OTHER_FILTERING: &str = "filtering = \"address-and-port-dependent\"\n";
const OTHER_PORTS: &str = "filtering = \"address-and-port-dependent\"\nports = \"50000-59999\"\n";
const RULES: &str = "[[nat.rules]]\nsource = \"10.64.0.0/24\"";

/// The other sessions have a pool of their own, which stays.
const BESIDE_ANOTHER_POOL: Options = Options {
    rules: r#"
[[routes]]
prefix = "192.0.2.0/24"
via = "203.0.113.1"

[[nat.pools]]
name = "beside"
addresses = ["203.0.113.64-203.0.113.79"]

[[nat.rules]]
source = "10.64.0.128/25"
pool = "beside"
"#,
    timeouts: "udp = 600",
    ..ALONE
};

/// A host that asks the server every 2 ms, its name and a number, and reads the answers.
struct Flow {
    host: &'static str,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    asked: AtomicU64,
    answers: AtomicU64,
    /// The last question that was answered, and the endpoint that it came from.
    last: Mutex<Option<(u64, SocketAddrV4)>>,
    /// What another host was meant to have.
    wrong: Mutex<Vec<String>>,
}

impl Flow {
    fn new(host: &'static str, namespace: &Namespace, server: SocketAddrV4) -> Flow {
        let socket = namespace.udp(PORT);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let (shared, reading) = (Arc::new(Shared::default()), socket.try_clone().expect("a descriptor"));
        let threads = vec![
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || ask_on(&socket, host, server, &shared)
            }),
            thread::spawn({
                let shared = Arc::clone(&shared);
                move || read(&reading, host, &shared)
            }),
        ];
        Flow { host, shared, threads }
    }

    fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Where the server sees it: asked from now on.
    fn seen(&self, what: &str) -> SocketAddrV4 {
        let (asked, until) = (self.asked(), Instant::now() + PATIENCE);
        loop {
            let last = *self.shared.last.lock().expect("no panic");
            if let Some((_, seen)) = last.filter(|(number, _)| *number > asked) {
                return seen;
            }
            assert!(Instant::now() < until, "{what}: host {}'s flow does not go on", self.host);
            thread::sleep(SPACING);
        }
    }

    /// Ends it; how many questions had no answer.
    fn lost(mut self) -> u64 {
        self.end();
        let wrong = std::mem::take(&mut *self.shared.wrong.lock().expect("no panic"));
        assert!(wrong.is_empty(), "host {} was sent {wrong:?}", self.host);
        self.asked() - self.shared.answers.load(Ordering::Relaxed)
    }

    fn end(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.end();
    }
}

fn ask_on(socket: &UdpSocket, host: &str, server: SocketAddrV4, shared: &Shared) {
    while !shared.ended.load(Ordering::Relaxed) {
        let number = shared.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let _ = socket.send_to(format!("{host} {number}").as_bytes(), server);
        thread::sleep(SPACING);
    }
}

fn read(socket: &UdpSocket, host: &str, shared: &Shared) {
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((answer, _)) = receive(socket) else { continue };
        match parse(&answer) {
            Some((seen, whose, number)) if whose == host => {
                shared.answers.fetch_add(1, Ordering::Relaxed);
                let mut last = shared.last.lock().expect("no panic");
                if last.is_none_or(|(before, _)| before < number) {
                    *last = Some((number, seen));
                }
            }
            _ => shared.wrong.lock().expect("no panic").push(answer),
        }
    }
}

/// The endpoint, host and number of an answer.
fn parse(answer: &str) -> Option<(SocketAddrV4, &str, u64)> {
    let mut words = answer.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?, words.next()?.parse().ok()?))
}

/// Host B's service. It answers questions from outside; what else reaches it are answers that were under way to A when A's
/// endpoint came to be a forward's.
struct Service {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn new(lab: &Lab) -> Service {
        let socket = lab.b.udp_on(HOST_B, SERVICE);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(&socket, &shared)
        });
        Service { shared, thread: Some(thread) }
    }

    /// Whether an outside host reaches it there.
    fn is_reached(&self, lab: &Lab, at: SocketAddrV4) -> bool {
        let client = lab.server.udp_on(SERVER, 0);
        client.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        (0..5).any(|_| try_ask(&client, at).is_ok())
    }

    /// The latest question of a flow's whose answer has come here.
    fn latest(&self) -> u64 {
        self.shared.last.lock().expect("no panic").map_or(0, |(number, _)| number)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    while !shared.ended.load(Ordering::Relaxed) {
        let Ok((text, from)) = receive(socket) else { continue };
        match parse(&text) {
            Some((seen, _, number)) => {
                let mut last = shared.last.lock().expect("no panic");
                *last = (*last).max(Some((number, seen)));
            }
            None => drop(socket.send_to(format!("{from} {text}").as_bytes(), from)),
        }
    }
}

fn make_sessions(lab: &Lab) {
    lab.router.ip(&format!("route add blackhole {NOWHERE}"));
    let sockets: Vec<_> = (0..HOSTS)
        .map(|nth| {
            let address = Ipv4Addr::new(10, 64, 0, 128 + nth);
            lab.c.ip(&format!("address add {address}/24 dev eth0"));
            lab.c.udp_on(address, PORT)
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(30);
    let each = BESIDE / u64::from(HOSTS);
    for port in (1000u16..).step_by(1) {
        // Some may be lost on the way in, so there are as many as are wanted when the gateway says so.
        if u64::from(port - 1000) >= each {
            thread::sleep(Duration::from_millis(20));
            let there = lab.gateway.metrics().sum("sessions", &[]);
            if there >= BESIDE {
                return;
            }
            assert!(Instant::now() < until, "{there} sessions");
        }
        for socket in &sockets {
            socket.send_to(b"nobody is there", (Ipv4Addr::new(192, 0, 2, 9), port)).expect("sent");
        }
    }
}

in_a_lab!(flows_go_on_while_their_endpoints_are_taken_away, BESIDE_ANOTHER_POOL);
fn flows_go_on_while_their_endpoints_are_taken_away(lab: &mut Lab) {
    let lab = &*lab;
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let begun = Instant::now();
    make_sessions(lab);
    println!("{BESIDE} sessions after {} ms", begun.elapsed().as_millis());
    let service = Service::new(lab);
    let flows = [("A", &lab.a), ("B", &lab.b)].map(|(host, of)| Flow::new(host, of, reflector.address));
    let seen = |what: &str| flows.each_ref().map(|flow| flow.seen(what));
    let change = |what: &str, old: &str, new: &str| {
        rewrite(lab, |text| {
            assert!(text.contains(old), "{what}: {text}");
            text.replacen(old, new, 1)
        });
        let output = natctl_reload(lab);
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("restart"), "{what}: {said}");
        let now = seen(what);
        assert_ne!(now[0], now[1], "{what}: two hosts on one outside endpoint");
        now
    };
    let before = seen("at first");

    assert_eq!(change("the filtering is another", FILTERING, OTHER_FILTERING), before);

    let moved = change("the addresses are others", ADDRESSES, OTHER_ADDRESSES);
    assert!(moved.iter().all(|seen| (30..=45).contains(&seen.ip().octets()[3])), "{moved:?}");

    let narrow = change("the ports are others", OTHER_FILTERING, OTHER_PORTS);
    assert!(narrow.iter().all(|seen| (50_000..60_000).contains(&seen.port())), "{narrow:?}");

    // A forward by the API over the port of A's flow leads to B.
    let taken = narrow[0];
    let service_at = format!("{HOST_B}:{SERVICE}");
    natctl(lab, &["forwards", "add", "udp", &taken.to_string(), &service_at]);
    let asked = flows[0].asked();
    let forwarded = seen("a forward came");
    assert!(forwarded[0] != taken && forwarded[1] == narrow[1], "{forwarded:?}");
    assert!(service.is_reached(lab, taken), "the forward leads to B");
    assert_eq!(seen("the forward is there"), forwarded);
    assert!(service.latest() <= asked, "an answer to A has reached B");
    natctl(lab, &["forwards", "delete", &format!("udp-{}-{}", taken.ip(), taken.port())]);
    assert_eq!(seen("the forward went"), forwarded);
    assert!(!service.is_reached(lab, taken));

    // By the file, so that B sees the gateway as the source.
    let taken = forwarded[0];
    let redirect = format!(
        "[[nat.port_forwards]]\nprotocol = \"udp\"\nexternal = \"{taken}\"\ninternal = \"{service_at}\"\n\
         source = \"gateway\"\n\n{RULES}"
    );
    let redirected = change("a redirect came", RULES, &redirect);
    assert!(redirected[0] != taken && redirected[1] == narrow[1], "{redirected:?}");
    assert!(service.is_reached(lab, taken), "the redirect leads to B");
    assert_eq!(change("the redirect went", &redirect, RULES), redirected);

    // The address of A's flow is a third host's alone.
    let taken = *redirected[0].ip();
    lab.c.ip(&format!("address add {THIRD}/24 dev eth0"));
    let third = UdpReflector::new(&lab.c, THIRD, SERVICE);
    let others = (30..=45).filter(|&of| of != taken.octets()[3]);
    let others: Vec<_> = others.map(|of| format!("\"203.0.113.{of}\"")).collect();
    let others = format!("addresses = [{}]\n", others.join(", "));
    rewrite(lab, |text| text.replacen(OTHER_ADDRESSES, &others, 1));
    let one_to_one = format!("[[nat.static]]\nexternal = \"{taken}\"\ninternal = \"{THIRD}\"\n\n{RULES}");
    let now = change("a static mapping came", RULES, &one_to_one);
    assert_ne!(*now[0].ip(), taken);
    ask(&lab.server.udp_on(SERVER, 0), SocketAddrV4::new(taken, SERVICE));
    drop(third);
    let seen = ask(&lab.c.udp_on(THIRD, PORT), reflector.address);
    assert_eq!(seen, SocketAddrV4::new(taken, PORT));

    let (asked, lost) = (flows[0].asked() + flows[1].asked(), flows.map(Flow::lost));
    println!("{asked} questions, {lost:?} without an answer");
    // Each change may cost what is under way.
    assert!(lost.iter().sum::<u64>() * 10 < asked, "{lost:?} of {asked} questions had no answer");
    let metrics = lab.gateway.metrics();
    assert_eq!(metrics.sum("config_reloads_total", &[("result", "applied")]), 6);
    assert_eq!(metrics.sum("forward_changes_total", &[("result", "applied")]), 2);
    assert!(metrics.sum("sessions", &[]) >= BESIDE, "the others were left alone");
}
