//! The gateway as a service of systemd's: what it tells sd_notify(3)'s socket from start to end.

mod null_ports;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Ended with the test, whatever becomes of it.
struct Gateway(Child);

impl Gateway {
    fn start(directory: &Path) -> Gateway {
        let file = null_ports::write(directory, null_ports::CONFIGURATION);
        let mut gateway = Command::new(env!("CARGO_BIN_EXE_nat-gateway"));
        gateway
            .arg("--config")
            .arg(file)
            .env("NOTIFY_SOCKET", directory.join("notify"))
            .env("WATCHDOG_USEC", "300000")
            .stderr(Stdio::null());
        Gateway(gateway.spawn().unwrap())
    }

    fn terminate(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        self.0.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 64];
    let len = socket.recv(&mut buffer).expect("a message");
    String::from_utf8_lossy(&buffer[..len]).trim_end().to_owned()
}

#[test]
fn tells_systemd_of_start_stop_and_that_the_workers_poll() {
    let directory = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut gateway = Gateway::start(directory.path());

    assert_eq!(next(&socket), "READY=1");
    let ready = Instant::now();
    for _ in 0..4 {
        assert_eq!(next(&socket), "WATCHDOG=1");
    }
    assert!(ready.elapsed() >= Duration::from_millis(250), "no more often than was asked for");
    assert_eq!(gateway.terminate().code(), Some(0));
    let last = std::iter::repeat_with(|| next(&socket)).find(|message| message != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}
