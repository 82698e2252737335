//! Captures as streams: who may have one, how it begins and ends, what `natctl` makes of it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use natgw_api::CaptureRequest;
use natgw_api::pcapng::{self, Packet, Statistics};
use natgw_management::{CAPTURES_MAX, Capture, Limits};
use natgw_nat::Protocol;

use crate::client::{get, get_unix};
use crate::{Running, TOKEN, start, start_with, start_within, token};

/// A frame every few milliseconds, whose comment is what was asked for. One in all is missed.
pub(crate) struct FakeCapture {
    request: CaptureRequest,
    frames: u32,
    sent: u32,
    until: Instant,
    running: Arc<AtomicUsize>,
}

impl FakeCapture {
    /// Has so many frames at most.
    pub(crate) fn new(request: &CaptureRequest, frames: u32, running: Arc<AtomicUsize>) -> FakeCapture {
        let until = Instant::now() + Duration::from_secs(request.seconds.into());
        FakeCapture { request: *request, frames: frames.min(request.count), sent: 0, until, running }
    }
}

impl Capture for FakeCapture {
    fn next(&mut self, patience: Duration) -> Option<Vec<u8>> {
        if self.sent > self.frames || Instant::now() >= self.until {
            return None;
        }
        let mut out = Vec::new();
        if self.sent == 0 {
            pcapng::section_header(&mut out, "fake");
            pcapng::interface(&mut out, "inside", "inside", 1500);
        } else {
            thread::sleep(patience.min(Duration::from_millis(5)));
            let (data, comment) = ([0xab; 60], format!("{:?}", self.request));
            let packet = Packet {
                interface: 0,
                time_ns: 1,
                frame_len: 60,
                data: &data,
                heading: None,
                comment: &comment,
            };
            pcapng::packet(&mut out, &packet);
            pcapng::statistics(&mut out, 0, 1, &Statistics { accepted: u64::from(self.sent) + 1, missed: 1 });
        }
        self.sent += 1;
        Some(out)
    }
}

impl Drop for FakeCapture {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until so many captures run.
fn wait_for(server: &Running, captures: usize) {
    let until = Instant::now() + Duration::from_secs(5);
    while server.gateway.captures.load(Ordering::Relaxed) != captures {
        assert!(Instant::now() < until, "{captures} captures expected");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A server whose gateway always has another frame.
fn start_busy() -> Running {
    let server = start();
    server.gateway.is_busy.store(true, Ordering::Relaxed);
    server
}

/// A capture that has begun; its status line was read.
fn begin(server: &Running, parameters: &str) -> (BufReader<UnixStream>, String) {
    let mut stream = UnixStream::connect(&server.socket).unwrap();
    write!(stream, "GET /api/v1/capture?{parameters} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    (stream, head)
}

fn natctl(server: &Running, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_natctl"));
    command.arg("--socket").arg(&server.socket).arg("capture").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_capture_is_a_stream_of_blocks_that_ends() {
    let server = start();
    let (mut stream, head) = begin(&server, "frames=inside&count=3");
    assert!(head.contains("content-type: application/x-pcapng") && head.contains("chunked"), "{head}");
    let mut body = Vec::new();
    // The connection stays for further requests, so the end is that of the chunks.
    while !body.ends_with(b"\r\n0\r\n\r\n") {
        let mut piece = [0; 4096];
        let len = stream.read(&mut piece).unwrap();
        assert!(len > 0, "the connection ends early");
        body.extend(&piece[..len]);
    }
    wait_for(&server, 0);
}

#[test]
fn what_is_asked_for_is_what_the_gateway_hears() {
    let server = start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("it.pcapng");
    let arguments = ["--inside", "--dropped", "-w", file.to_str().unwrap(), "--count", "2", "--seconds", "9"];
    let filter = ["--rate", "77", "--snap-len", "99", "inside=10.64.0.11", "protocol=udp", "port=53"];
    let output = natctl(&server, &[&arguments[..], &filter].concat()).wait_with_output().unwrap();
    assert_eq!(output.stderr, b"natctl: 2 frames captured, 1 missed\n");
    assert!(output.status.success() && output.stdout.is_empty());
    let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
    let filter =
        format!("inside: Some(10.64.0.11), outside: None, remote: None, protocol: Some({:?})", Protocol::Udp);
    for said in
        [&filter, "port: Some(53)", "inside: true, outside: false, dropped: true", "rate: 77", "snap_len: 99"]
    {
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn a_capture_ends_when_its_client_goes_away() {
    let server = start_busy();
    let (stream, _) = begin(&server, "frames=dropped&seconds=3600");
    wait_for(&server, 1);
    drop(stream);
    wait_for(&server, 0);
}

#[test]
fn a_capture_ends_with_its_time_though_its_client_reads_nothing() {
    let server = start_busy();
    let streams: Vec<_> = (0..2).map(|_| begin(&server, "frames=dropped&seconds=1")).collect();
    wait_for(&server, 2);
    wait_for(&server, 0);
    drop(streams);
}

#[test]
fn a_capture_may_outlast_the_time_of_a_connection() {
    let connection_time = Duration::from_millis(200);
    let server =
        start_within(Limits { connection_time, close_timeout: connection_time, ..Limits::DEFAULT }, None);
    server.gateway.is_busy.store(true, Ordering::Relaxed);
    let start = Instant::now();
    let (mut stream, _) = begin(&server, "frames=dropped&seconds=1");
    let mut body = Vec::new();
    stream.read_to_end(&mut body).unwrap();
    assert!(
        start.elapsed() >= Duration::from_secs(1) && body.ends_with(b"\r\n0\r\n\r\n"),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_capture_ends_with_the_server() {
    let server = start_busy();
    let (_stream, _) = begin(&server, "frames=dropped&seconds=3600");
    wait_for(&server, 1);
    let start = Instant::now();
    let captures = Arc::clone(&server.gateway.captures);
    server.handle.shutdown();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(captures.load(Ordering::Relaxed), 0);
}

#[test]
fn a_few_captures_run_at_once_and_others_are_served_beside_them() {
    let server = start_busy();
    let streams: Vec<_> = (0..CAPTURES_MAX).map(|_| begin(&server, "frames=inside")).collect();
    wait_for(&server, CAPTURES_MAX);
    let one_more = get_unix(&server.socket, "/api/v1/capture?frames=inside");
    assert_eq!(one_more.status, 503);
    assert_eq!(one_more.json()["detail"], "4 captures are running; end one first");
    assert_eq!(get_unix(&server.socket, "/api/v1/sessions").status, 200);
    assert_eq!(get_unix(&server.socket, "/metrics").status, 200);
    drop(streams);
    wait_for(&server, 0);
}

#[test]
fn a_capture_shows_payload_and_so_needs_the_socket_or_the_token() {
    let open = start();
    let refused = get(open.address, "/api/v1/capture?frames=inside");
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["detail"], "without management.token only the unix socket takes captures");
    let guarded = start_with(Some(token()));
    assert_eq!(get(guarded.address, "/api/v1/capture?frames=inside").status, 401);
    let directory = tempfile::tempdir().unwrap();
    let [file, token_file] = ["it.pcapng", "token"].map(|name| directory.path().join(name));
    fs::write(&token_file, TOKEN).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_natctl"));
    command.args(["--url", &format!("http://{}", guarded.address), "capture", "--inside", "--count", "1"]);
    let refused = command.arg("-w").arg(&file).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(!file.exists(), "nothing is written that the gateway did not agree to");
    assert_eq!(command.arg("--token-file").arg(&token_file).status().unwrap().code(), Some(0));
    assert!(file.exists());
}

#[test]
fn a_refused_capture_says_why() {
    let server = start();
    for (parameters, said) in [
        ("", "frames"),
        ("frames=both", "one or more of inside, outside and dropped"),
        ("frames=inside&inside=here", "inside"),
        ("frames=inside&protocol=ipsec", "ipsec"),
        ("frames=inside&port=70000", "port"),
        ("frames=inside&rate=0", "rate: 0 asked for; 1 to 100000 are allowed"),
        ("frames=inside&rate=100001", "1 to 100000"),
        ("frames=inside&seconds=3601", "seconds: 3601 asked for; 1 to 3600 are allowed"),
        ("frames=inside&count=0", "count: 0 asked for; 1 to 1000000000 are allowed"),
        ("frames=inside&snap_len=0", "snap_len"),
        ("frames=inside&host=10.0.0.1", "host"),
    ] {
        let response = get_unix(&server.socket, &format!("/api/v1/capture?{parameters}"));
        assert_eq!(response.status, 400, "{parameters}");
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(said), "{parameters}: {detail}");
    }
    assert_eq!(get_unix(&server.socket, "/api/v1/capture?frames=inside&protocol=esp&port=500").status, 422);
    let wrong: [&[&str]; 7] = [
        &["-w", "it.pcapng"],
        &["--inside"],
        &["--inside", "-w", "it.pcapng", "host=10.0.0.1"],
        &["--inside", "-w", "it.pcapng", "inside=10.0.0"],
        &["--inside", "-w", "it.pcapng", "--rate", "0"],
        &["--inside", "-w", "it.pcapng", "--seconds", "3601"],
        &["--inside", "-w", "it.pcapng", "--count", "0"],
    ];
    for arguments in wrong {
        assert_eq!(natctl(&server, arguments).wait().unwrap().code(), Some(2), "{arguments:?}");
    }
    server.gateway.workers_hang.store(true, Ordering::Relaxed);
    assert_eq!(natctl(&server, &["--inside", "-w", "/dev/null"]).wait().unwrap().code(), Some(1));
}

#[test]
fn natctl_ends_well_when_it_is_interrupted_or_its_reader_has_enough() {
    let server = start_busy();
    let mut child = natctl(&server, &["--outside", "-w", "-"]);
    let mut head = [0; 4];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut head).unwrap();
    assert_eq!(head, [0x0a, 0x0d, 0x0d, 0x0a]);
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));

    let mut child = natctl(&server, &["--outside", "-w", "-"]);
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut head).unwrap();
    let reading = thread::spawn(move || out.read_to_end(&mut Vec::new()).unwrap());
    thread::sleep(Duration::from_millis(100));
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.ends_with(" frames captured, 1 missed\n"), "{said}");
    reading.join().unwrap();
    wait_for(&server, 0);
}
