//! The program under test as a child process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::metrics::Metrics;
use crate::namespace::{Namespace, PATIENCE};

/// A gateway whose counters have not changed for so long is at rest.
const SETTLING: Duration = Duration::from_millis(50);

/// A running gateway, killed on drop; its log is printed when the test has failed.
pub(crate) struct Gateway {
    child: Child,
    log: PathBuf,
    socket: PathBuf,
}

/// The program: the one that cargo built for this test, or another.
pub(crate) fn program() -> OsString {
    std::env::var_os("NAT_GATEWAY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_nat-gateway").into())
}

impl Gateway {
    /// Starts the program in `namespace`, with its log and control socket in the directory of its configuration.
    pub(crate) fn start(namespace: &Namespace, config: &Path) -> Gateway {
        let (log, socket) = (config.with_file_name("log"), config.with_file_name("control.sock"));
        let mut command = namespace.command(program().to_str().expect("a UTF-8 path"));
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log).expect("a log file"));
        Gateway { child: command.spawn().expect("ip runs"), log, socket }
    }

    /// Fails the test when the program has ended.
    pub(crate) fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child of ours") {
            panic!("the gateway has ended: {status}\n{}", self.log());
        }
    }

    /// True once it serves: links up, next hop resolved.
    pub(crate) fn is_ready(&self) -> bool {
        self.try_get("/readyz").is_some_and(|(status, _)| status == 200)
    }

    /// The body of a page that must be there.
    pub(crate) fn get(&self, path: &str) -> String {
        let (status, body) = self.try_get(path).unwrap_or_else(|| panic!("no answer to GET {path}"));
        assert_eq!(status, 200, "GET {path}: {body}");
        body
    }

    /// What it counts now.
    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::parse(&self.get("/metrics"))
    }

    /// What it has counted once the last packet has passed; then every one must be accounted for.
    pub(crate) fn settled(&self) -> Metrics {
        let until = Instant::now() + PATIENCE;
        let mut before = self.metrics();
        loop {
            thread::sleep(SETTLING);
            let metrics = self.metrics();
            let difference = metrics.unaccounted();
            if difference.is_none() && metrics.packets() == before.packets() {
                return metrics;
            }
            assert!(Instant::now() < until, "packets are not accounted for: {difference:?}");
            before = metrics;
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the gateway runs");
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end_on(&mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.end_by_itself()
    }

    /// Waits for the end.
    pub(crate) fn end_by_itself(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < until, "the gateway does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The control socket's path.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    fn try_get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.into()))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if thread::panicking() {
            let (_, metrics) = self.try_get("/metrics").unwrap_or_default();
            eprintln!("---- the gateway's log and drops ----\n{}", self.log());
            eprintln!("{:?}", Metrics::parse(&metrics).drops());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
