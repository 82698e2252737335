//! `check` tells how much memory the tables take before anything is started; this holds it against the engine.

use std::fs;

use gateway::config::Config;
use gateway::nat::{Part, Secret, Shard, ShardOptions, Share, Time};

#[test]
fn estimate_is_what_the_engine_takes() {
    let cases = [500_000, 1_000_000, 1_300_000].map(|sessions| [(sessions, false), (sessions, true)]);
    for (sessions, shares_ports) in cases.into_iter().flatten() {
        let mut text = include_str!("config/example.toml").replace("1_000_000", &sessions.to_string());
        if shares_ports {
            text = text.replacen("\"endpoint-independent\"", "\"address-and-port-dependent\"", 1);
        }
        let config = Config::parse(&text, "example.toml").unwrap();
        let pool = &config.settings.pools[0];
        let share = |&address| Share { address, ports: pool.ports.clone() };
        let shares = [pool.addresses.iter().map(share).collect()];
        let options = ShardOptions {
            settings: &config.settings,
            shares: &shares,
            sessions,
            part: Part::WHOLE,
            secret: Secret::new([1, 2, 3, 4]),
            now: Time(0),
        };
        let before = virtual_bytes();
        let shard = Shard::new(&options).unwrap();
        let taken = virtual_bytes() - before;
        drop(shard);
        let estimate = config.memory_estimate();
        let estimated = estimate.sessions + estimate.ports + estimate.fragments;
        println!(
            "{sessions} sessions, ports shared: {shares_ports}: taken {taken}, estimated {estimated}, {} each",
            taken / u64::from(sessions)
        );
        assert!(estimated.abs_diff(taken) * 3 < taken, "{sessions} sessions: {estimated} bytes for {taken}");
    }
}

/// Address space, since pages are touched only when they are used.
fn virtual_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmSize:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
