//! `check` tells how much memory the gateway takes before anything is started; this holds it against the engine, a gateway
//! that runs, and what is written.

use std::fs;
use std::sync::{Mutex, PoisonError};

use natgw_config::Config;
use natgw_nat::{Part, Region, Secret, Shard, ShardOptions, Share, Time};

/// One test at a time takes memory, or else the others would see it.
static ALONE: Mutex<()> = Mutex::new(());

const EXAMPLE: &str = include_str!("../../fixtures/example.toml");

fn shard(config: &Config, sessions: u32) -> Shard {
    let shares = |pool: &natgw_nat::Pool| {
        let share = |&address| Share { address, ports: pool.ports.clone() };
        pool.addresses.iter().map(share).collect()
    };
    let shares: Vec<Vec<Share>> = config.settings.pools.iter().map(shares).collect();
    let options = ShardOptions {
        settings: &config.settings,
        shares: &shares,
        sessions,
        part: Part::WHOLE,
        secret: Secret::new([1, 2, 3, 4]),
        now: Time(0),
    };
    Shard::new(&options).unwrap()
}

#[test]
fn footprint_of_the_sessions_is_what_the_engine_takes_to_the_octet() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for sessions in [1, 1000, 70_000, 500_000, 524_289, 1_000_000, 1_300_000] {
        for (from, to) in [
            ("", ""),
            ("\"endpoint-independent\"", "\"address-and-port-dependent\""),
            ("ports = \"1024-65535\"", "ports = \"1024-65535\"\nport_block_size = 512"),
            ("[nat.limits]", "[nat.limits]\nudp_new_sessions_per_subscriber_per_s = 7"),
        ] {
            let text = EXAMPLE.replace("1_000_000", &sessions.to_string()).replacen(from, to, 1);
            let config = Config::parse(&text, "example.toml").unwrap();
            let shard = shard(&config, sessions);
            let taken: usize = shard.regions().into_iter().map(Region::bytes).sum();
            let footprint = Shard::footprint(&config.settings, sessions, 1);
            assert_eq!(footprint.sessions, taken as u64, "{sessions} sessions, {to}");
            assert_eq!(config.memory_estimate(true).sessions, taken as u64);
        }
    }
}

#[test]
fn estimate_is_what_the_engine_takes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let cases = [500_000, 1_000_000, 1_300_000].map(|sessions| [(sessions, false), (sessions, true)]);
    for (sessions, shares_ports) in cases.into_iter().flatten() {
        let mut text = EXAMPLE.replace("1_000_000", &sessions.to_string());
        if shares_ports {
            text = text.replacen("\"endpoint-independent\"", "\"address-and-port-dependent\"", 1);
        }
        let config = Config::parse(&text, "example.toml").unwrap();
        // The allocator takes address space ahead, once.
        drop(shard(&config, sessions));
        let before = virtual_bytes();
        let shard = shard(&config, sessions);
        let taken = virtual_bytes() - before;
        drop(shard);
        let estimate = config.memory_estimate(true);
        let estimated = estimate.sessions + estimate.ports + estimate.fragments;
        assert!(estimated.abs_diff(taken) * 3 < taken, "{sessions} sessions: {estimated} bytes for {taken}");
    }
}

#[test]
fn the_manual_tells_the_same_bytes_a_session() {
    let config = Config::parse(EXAMPLE, "example.toml").unwrap();
    let each = config.bytes_per_session();
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/architecture.md")).unwrap();
    let words = manual.split_whitespace().collect::<Vec<_>>().join(" ");
    let told = format!("a session takes {each} bytes at a million sessions");
    assert!(words.contains(&told), "{told}");
    assert!(config.explain().contains(&format!("a session takes {each} bytes")));
}

/// Address space, since pages are touched only when they are used.
fn virtual_bytes() -> u64 {
    field("/proc/self/status", "VmSize:")
}

/// A line of the kernel's tables of sizes, bytes; 0 where it has none.
fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |line| line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024)
}

/// With DPDK.
mod started {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    /// Devices of two workers without huge pages, and a million sessions.
    fn configuration(directory: &std::path::Path) -> String {
        let socket = directory.join("control.sock");
        EXAMPLE
            .replace("net_tap0,iface=tap-in", "net_null0")
            .replace("net_tap1,iface=tap-out", "net_null1")
            .replace("worker_lcores = [1] ", "worker_lcores = [0, 0] ")
            .replace("memory = \"auto\"", "memory = \"no-huge\"")
            .replace("127.0.0.1:9464", "127.0.0.1:0")
            .replace("/run/nat-gateway/control.sock", socket.to_str().unwrap())
    }

    #[test]
    fn check_prints_the_memory_that_a_start_takes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gateway.toml");
        fs::write(&file, configuration(directory.path())).unwrap();
        let program = || {
            let mut program = Command::new(env!("CARGO_BIN_EXE_nat-gateway"));
            program.env_remove("NOTIFY_SOCKET").arg("--config").arg(&file);
            program
        };
        let checked = program().arg("check").output().unwrap();
        let checked = String::from_utf8(checked.stdout).unwrap();
        let after = |text: &str, words: &str| {
            let rest = text.split_once(words).unwrap_or_else(|| panic!("{words} in {text}")).1;
            rest.split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let told = after(&checked, "Memory, about ") << 20;
        let each = after(&checked, "a session takes ");

        let mut gateway = program().stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(gateway.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said: Vec<String> = lines.by_ref().take_while(|line| !line.contains("gateway started")).collect();
        let smaps = format!("/proc/{}/smaps_rollup", gateway.id());
        let taken: u64 =
            ["Rss:", "Shared_Hugetlb:", "Private_Hugetlb:"].iter().map(|name| field(&smaps, name)).sum();
        gateway.kill().unwrap();
        gateway.wait().unwrap();
        let ready = said.iter().find(|line| line.contains("tables ready")).unwrap();
        assert!(ready.contains(&format!("; {each} bytes a session")), "{ready}");
        assert!(told.abs_diff(taken) * 10 < taken, "told {} MiB, taken {} MiB", told >> 20, taken >> 20);
    }
}
