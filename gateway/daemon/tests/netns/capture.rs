//! Captures of a running gateway, as tshark reads them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{HOST_A, Lab, Options, POOL, SERVER, SERVER_2, in_a_lab};
use crate::namespace::PATIENCE;
use crate::programs;
use crate::reflector::{UdpReflector, ask};

/// A capture on its way into a file.
struct Capture {
    child: Child,
    file: PathBuf,
}

impl Capture {
    /// Begins one; returns once the gateway has agreed.
    fn begin(lab: &Lab, name: &str, arguments: &[&str]) -> Capture {
        let file = lab.work.path().join(name);
        let child = command(lab, arguments, &file).spawn().expect("natctl is built");
        let until = Instant::now() + PATIENCE;
        while !std::fs::metadata(&file).is_ok_and(|file| file.len() > 0) {
            assert!(Instant::now() < until, "the capture does not begin");
            thread::sleep(Duration::from_millis(10));
        }
        Capture { child, file }
    }

    /// Interrupts it; what it says at the end.
    fn interrupt(self) -> (PathBuf, String) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT).expect("it runs");
        self.end()
    }

    /// Waits for its end.
    fn end(self) -> (PathBuf, String) {
        let Output { status, stderr, .. } = self.child.wait_with_output().expect("a child of ours");
        let said = String::from_utf8(stderr).expect("UTF-8");
        assert!(status.success(), "{status}: {said}");
        (self.file, said)
    }
}

fn command(lab: &Lab, arguments: &[&str], file: &Path) -> Command {
    let mut command = Command::new(programs::path("natctl"));
    command.arg("--socket").arg(lab.gateway.socket()).arg("capture").args(arguments).arg("-w").arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Fields of every frame that tshark finds; a field that a frame does not have is empty.
fn tshark<const FIELDS: usize>(file: &Path, fields: [&str; FIELDS]) -> Vec<[String; FIELDS]> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-T", "fields", "-E", "separator=|"]);
    command.args(fields.iter().flat_map(|field| ["-e", *field]));
    let output = command.output().expect("tshark is installed (scripts/setup.sh)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let cells = |line: &str| {
        let mut cells = line.split('|').map(str::to_owned);
        std::array::from_fn(|_| cells.next().expect("a cell a field"))
    };
    text.lines().map(cells).collect()
}

in_a_lab!(tshark_reads_what_passed_and_what_was_dropped);
fn tshark_reads_what_passed_and_what_was_dropped(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let client = lab.a.udp(4000);
    ask(&client, reflector.address);
    // Hosts talk ARP and IGMP whenever they like.
    let all = Capture::begin(lab, "all.pcapng", &["--inside", "--outside", "--dropped", "protocol=udp"]);
    let outside = ask(&client, reflector.address);
    let other = lab.server.udp_on(SERVER_2, 7);
    other.send_to(b"let me in", outside).expect("sent");
    let unmapped = SocketAddrV4::new(*POOL.end(), 9);
    other.send_to(b"who is there", unmapped).expect("sent");
    lab.a.ip("address add 192.0.2.77/32 dev eth0");
    let spoofed = lab.a.udp_on(Ipv4Addr::new(192, 0, 2, 77), 5000);
    spoofed.send_to(b"not me", reflector.address).expect("sent");
    lab.gateway.settled();
    let (file, said) = all.interrupt();
    assert!(said.starts_with("natctl: ") && said.ends_with(" frames captured, 0 missed\n"), "{said}");

    let fields =
        ["frame.interface_name", "frame.packet_flags_direction", "ip.src", "ip.dst", "frame.comment"];
    let seen: BTreeSet<[String; 5]> = tshark(&file, fields)
        .into_iter()
        .map(|[interface, way, source, destination, comment]| {
            // The comment names the worker, which the gateway chooses.
            let (comment, worker) = comment.rsplit_once("worker: ").expect("a worker");
            assert!(worker == "0" || worker == "1", "{worker}");
            let way = way.trim_start_matches("0x0000000").to_owned();
            [interface, way, source, destination, comment.trim_end_matches("; ").to_owned()]
        })
        .collect();
    let (server, pool) = (SERVER.to_string(), outside.ip().to_string());
    let (other, host) = (SERVER_2.to_string(), HOST_A.to_string());
    let session = format!("session: udp {HOST_A}:4000 -> {outside}, remote {SERVER}:7");
    let expected = [
        ["inside", "1", &host, &server, &session],
        ["outside", "2", &pool, &server, &session],
        ["outside", "1", &server, &pool, &session],
        ["inside", "2", &server, &host, &session],
        ["outside", "1", &other, &pool, "dropped: filtered"],
        ["outside", "", &other, &pool, "dropped: filtered"],
        ["outside", "1", &other, &unmapped.ip().to_string(), "dropped: no-mapping"],
        ["outside", "", &other, &unmapped.ip().to_string(), "dropped: no-mapping"],
        ["inside", "1", "192.0.2.77", &server, "dropped: spoofed-inside"],
        ["inside", "", "192.0.2.77", &server, "dropped: spoofed-inside"],
    ];
    let expected: BTreeSet<[String; 5]> = expected.iter().map(|row| row.map(str::to_owned)).collect();
    let missing: Vec<_> = expected.difference(&seen).collect();
    let besides: Vec<_> = seen.difference(&expected).collect();
    assert!(missing.is_empty() && besides.is_empty(), "missing {missing:#?}\nbesides {besides:#?}");
}

in_a_lab!(two_captures_at_once_have_filters_and_limits_of_their_own);
fn two_captures_at_once_have_filters_and_limits_of_their_own(lab: &mut Lab) {
    let [one, two] = [7, 9].map(|port| UdpReflector::new(&lab.server, SERVER, port));
    let clients = [&lab.a, &lab.b].map(|host| host.udp(4000));
    // The filter is about the inside, the capture of the outside.
    let of_a = Capture::begin(lab, "a.pcapng", &["--outside", &format!("inside={HOST_A}"), "--count", "5"]);
    let short =
        Capture::begin(lab, "short.pcapng", &["--inside", "port=9", "protocol=udp", "--snap-len", "40"]);
    for _ in 0..5 {
        for client in &clients {
            ask(client, one.address);
            ask(client, two.address);
        }
    }
    let (file, said) = of_a.end();
    assert_eq!(said, "natctl: 5 frames captured, 0 missed\n");
    let comments = tshark(&file, ["frame.comment"]);
    assert_eq!(comments.len(), 5);
    assert!(comments.iter().all(|[comment]| comment.contains(&format!("{HOST_A}:4000"))), "{comments:?}");
    lab.gateway.settled();
    let (file, said) = short.interrupt();
    assert_eq!(said, "natctl: 20 frames captured, 0 missed\n");
    let frames = tshark(&file, ["frame.cap_len", "udp.port", "frame.len"]);
    assert_eq!(frames.len(), 20);
    assert!(frames.iter().all(|[captured, ports, _]| captured == "40" && ports.contains('9')), "{frames:?}");
}

in_a_lab!(a_capture_is_bounded_in_rate_and_time_and_says_what_it_missed);
fn a_capture_is_bounded_in_rate_and_time_and_says_what_it_missed(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let client = lab.a.udp(4000);
    ask(&client, reflector.address);
    let start = Instant::now();
    let capture =
        Capture::begin(lab, "slow.pcapng", &["--inside", "port=4000", "--rate", "10", "--seconds", "2"]);
    let mut asked = 0;
    while start.elapsed() < Duration::from_millis(1500) {
        // None is lost.
        ask(&client, reflector.address);
        asked += 1;
    }
    let (file, said) = capture.end();
    assert!(start.elapsed() < Duration::from_secs(2) + PATIENCE);
    let frames = tshark(&file, ["frame.time_epoch"]).len();
    assert!((10..=30).contains(&frames), "{frames} frames in two seconds at ten a second");
    let missed: usize =
        said.split_whitespace().nth_back(1).and_then(|number| number.parse().ok()).expect("a number");
    assert_eq!(frames + missed, 2 * asked, "{said}");
}

in_a_lab!(a_capture_ends_with_its_client);
fn a_capture_ends_with_its_client(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let client = lab.a.udp(4000);
    let mut capture = Capture::begin(lab, "killed.pcapng", &["--inside", "--seconds", "3600"]);
    ask(&client, reflector.address);
    capture.child.kill().expect("it runs");
    capture.child.wait().expect("a child of ours");
    // A moment later the workers capture nothing more.
    let until = Instant::now() + PATIENCE;
    loop {
        let before = taken(lab);
        ask(&client, reflector.address);
        lab.gateway.settled();
        if taken(lab) == before {
            break;
        }
        assert!(Instant::now() < until, "the workers go on capturing");
    }
    assert!(taken(lab) > 0);
}

#[test]
fn a_capture_is_whole_when_the_gateway_ends() {
    let mut lab = Lab::new(Options::DEFAULT);
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let capture = Capture::begin(&lab, "ended.pcapng", &["--inside", "--seconds", "3600", "port=7"]);
    ask(&lab.a.udp(4000), reflector.address);
    let start = Instant::now();
    assert_eq!(lab.gateway.end_on(Signal::SIGTERM).code(), Some(0));
    let (file, said) = capture.end();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(said, "natctl: 2 frames captured, 0 missed\n");
    assert_eq!(tshark(&file, ["frame.len"]).len(), 2);
}

/// Frames that all workers have given to captures.
fn taken(lab: &Lab) -> u64 {
    let text = lab.gateway.get("/metrics");
    let samples =
        text.lines().filter(|line| line.starts_with("natgw_captured_packets_total{event=\"taken\""));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}
