//! A gateway in a process of its own between two memif ports, and the traffic generator at their other ends.

#![allow(dead_code, unreachable_pub)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::dpdk_support::cpu;
use crate::programs;

/// A gateway, ended with the value.
pub struct Gateway(pub Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The gateway's MAC addresses, inside and outside.
pub const MAC_OF: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// A memif port of either end.
pub fn device(directory: &Path, role: &str, id: u32) -> String {
    format!("net_memif{id},role={role},socket={}/memif,socket-abstract=no,id={id}", directory.display())
}

/// Room for 3000 sessions, which end when idle for so many seconds, and ports that do not rest.
pub fn start_gateway(directory: &Path, udp: u32) -> Gateway {
    start_gateway_as("server", "backoff", directory, udp)
}

/// Which end of memif the gateway is, and what its worker does without packets.
pub fn start_gateway_as(role: &str, idle: &str, directory: &Path, udp: u32) -> Gateway {
    let config = directory.join("gateway.toml");
    let socket = directory.join("control");
    let values = [
        ("main_cpu", cpu().to_string()),
        ("worker_cpus", cpu().to_string()),
        ("memory", "no-huge".into()),
        ("idle", idle.into()),
        ("inside", format!("{},mac=02:00:00:00:00:01", device(directory, role, 0))),
        ("outside", format!("{},mac=02:00:00:00:00:02", device(directory, role, 1))),
        ("queue_size", "1024".into()),
        ("last_external", "100.64.0.3".into()),
        ("action", "pool = \"main\"".into()),
        ("sessions", "3000".into()),
        ("udp", udp.to_string()),
        ("port_hold", "0".into()),
        ("listen", "127.0.0.1:0".into()),
        ("socket", socket.display().to_string()),
    ];
    let text = include_str!("../../../fixtures/memif.toml").to_owned();
    let text = values.iter().fold(text, |text, (name, value)| text.replace(&format!("@{name}@"), value));
    std::fs::write(&config, text).unwrap();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_nat-gateway"))
        .arg("--config")
        .arg(&config)
        .stderr(log)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let gateway = Gateway(child);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let log = std::fs::read_to_string(directory.join("log")).unwrap();
        if log.contains("gateway started") {
            return gateway;
        }
        assert!(Instant::now() < deadline && !log.contains("rror"), "{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The generator, not yet run.
pub fn generator(role: &str, directory: &Path, arguments: &[&str]) -> Command {
    let [inside, outside] = [0, 1].map(|id| device(directory, role, id));
    let mut command = Command::new(programs::path("nat-trafficgen"));
    command.args(["--lcore", &cpu().to_string(), "--no-huge"]).args(arguments);
    command.args(["--inside", &inside, "--outside", &outside, "--json"]).arg(directory.join("figures.json"));
    command
}

/// Runs the generator to its end; its figures.
pub fn generate(directory: &Path, arguments: &[&str]) -> Value {
    generate_as("client", directory, arguments)
}

/// As [`generate`], with the end of memif that the generator is.
pub fn generate_as(role: &str, directory: &Path, arguments: &[&str]) -> Value {
    let output = generator(role, directory, arguments).output().unwrap();
    let log = std::fs::read_to_string(directory.join("log")).unwrap();
    assert!(output.status.success(), "{}\n{log}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(directory.join("figures.json")).unwrap()).unwrap()
}

/// Every frame that came back was right, and nearly all came back.
pub fn assert_sound(run: &Value) {
    let number = |name: &str| run[name].as_u64().unwrap();
    assert_eq!(number("wrong"), 0, "{run}");
    assert!(number("sent") > 0 && number("lost") * 10 <= number("sent"), "{run}");
}
