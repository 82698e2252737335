//! The traffic generator against a wire, against a wire that breaks frames, and against the gateway itself, which runs
//! in a process of its own at the other end of two memif ports. No huge pages, no privileges.

#[path = "../../dpdk/tests/dpdk_support/mod.rs"]
mod dpdk_support;
mod memif_support;
mod programs;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use dpdk_support::eal;
use memif_support::{assert_sound, generate, start_gateway};
use nat_trafficgen::conversation;
use nat_trafficgen::flow::{FlowSpace, Order};
use nat_trafficgen::station::{Station, StationOptions};
use nat_trafficgen::traffic::{Expect, Pass, Spread, Traffic, TrafficOptions};
use nat_trafficgen::verify::Fault;
use natgw_dpdk::{BURST, Burst, Consumer, Mempool, Port, Producer, ring};
use serde_json::Value;

/// A port of the generator, and the two ends that a wire joins.
fn station(name: &str, pool: &Mempool) -> (Station, Consumer, Producer) {
    let (to_port, rx) = ring(eal(), &format!("{name}-rx"), 1024).unwrap();
    let (tx, from_port) = ring(eal(), &format!("{name}-tx"), 1024).unwrap();
    let port = Port::from_rings(eal(), name, vec![rx], vec![tx]).unwrap();
    let nobody = Ipv4Addr::UNSPECIFIED;
    let options =
        StationOptions { device: String::new(), own: nobody, gateway: nobody, queues: 1, descriptors: 1024 };
    (Station::start(port, pool, &options).unwrap(), from_port, to_port)
}

/// Carries frames from one side to the other and shows each to `touch`.
fn wire(
    (mut from, mut to): (Consumer, Producer),
    stop: &Arc<AtomicBool>,
    mut touch: impl FnMut(&mut [u8]) + Send + 'static,
) -> JoinHandle<()> {
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut burst = Burst::new();
        while !stop.load(Ordering::Relaxed) {
            if from.receive(&mut burst) == 0 {
                std::thread::yield_now();
            }
            burst.as_mut_slice().iter_mut().for_each(|packet| touch(packet.data_mut()));
            to.send(&mut burst);
            burst.free();
        }
    })
}

#[test]
fn counts_what_a_wire_loses_and_breaks() {
    let pool = Mempool::new(eal(), "trafficgen", 4095, 0, Mempool::DATA_ROOM).unwrap();
    let (inside, from_inside, to_inside) = station("trafficgen-in", &pool);
    let (outside, from_outside, to_outside) = station("trafficgen-out", &pool);
    let space = FlowSpace { flows: 1000, first_host: 0x0a00_0001, host_shift: 6, first_remote: 0xc612_0000 };
    let options = TrafficOptions {
        expect: Expect::Untouched,
        is_tcp: false,
        lens: vec![60, 1514, 200],
        spread: Spread::Owner,
    };
    let mut traffic = Traffic::new([inside, outside], space, 0, options, &pool).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    // Of ten outbound frames one gets another port, and one another port with a checksum that says so.
    let mut count = 0;
    let breaks = move |frame: &mut [u8]| {
        count += 1;
        match count % 10 {
            3 => frame[37] ^= 1,
            7 => {
                let (port, sum) = (frame[36], frame[40]);
                frame[36] = sum;
                frame[40] = port;
            }
            _ => {}
        }
    };
    let wires =
        [wire((from_inside, to_outside), &stop, breaks), wire((from_outside, to_inside), &stop, |_| ())];
    let pass = |seed| Some((Order::Random(seed), None));
    let outcome = traffic.run(&Pass {
        senders: [pass(1), pass(2)],
        flows: 1000,
        rate: Some(20_000.0),
        seconds: 0.5,
        sample: 16,
    });
    stop.store(true, Ordering::Relaxed);
    wires.into_iter().for_each(|wire| wire.join().unwrap());

    let [outbound, inbound] = outcome.sides;
    assert!(outbound.sent > BURST as u64 && inbound.sent > BURST as u64, "{outcome:?}");
    assert_eq!((inbound.received, inbound.faults().count()), (inbound.sent, 0), "{outcome:?}");
    let faults: Vec<(Fault, u64)> = outbound.faults().collect();
    let broken: u64 = faults.iter().map(|(_, count)| count).sum();
    assert_eq!(outbound.received + broken, outbound.sent);
    let of = |fault| faults.iter().find(|(other, _)| *other == fault).map_or(0, |(_, count)| *count);
    assert!(of(Fault::Checksum).abs_diff(outbound.sent / 10) <= 1, "{faults:?}");
    // The sum is blind to words that change places, the comparison is not; some have the same octet in both.
    let swapped = of(Fault::Destination);
    assert!(swapped > outbound.sent / 12 && swapped <= outbound.sent / 10 + 1, "{faults:?}");
    assert!(outcome.latency.is_some());
    drop(traffic);
    assert_eq!(pool.in_use(), 0);
}

/// A wire that turns every tenth of the first frames into another's: the second pass brings those and no others.
#[test]
fn teaches_again_only_what_was_lost() {
    const FLOWS: u32 = 1000;
    let pool = Mempool::new(eal(), "teaching", 4095, 0, Mempool::DATA_ROOM).unwrap();
    let (inside, from_inside, to_inside) = station("teaching-in", &pool);
    let (outside, from_outside, to_outside) = station("teaching-out", &pool);
    let first_host = 0x0a00_0001;
    let space = FlowSpace { flows: FLOWS, first_host, host_shift: 6, first_remote: 0xc612_0000 };
    let options =
        TrafficOptions { expect: Expect::Translated, is_tcp: false, lens: vec![60], spread: Spread::Owner };
    // Hosts leave by their own endpoints: they are the pool.
    let mut traffic = Traffic::new([inside, outside], space, first_host, options, &pool).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let frames = Arc::new(AtomicU32::new(0));
    let counted = frames.clone();
    let routes = move |frame: &mut [u8]| {
        frame[..6].fill(0);
        frame[22] -= 1;
        // The TTL is the upper half of its word: the sum goes up by as much, and what it carries over comes around.
        let sum = u16::from_be_bytes([frame[24], frame[25]]);
        let (sum, carry) = sum.overflowing_add(0x100);
        frame[24..26].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
        let nth = counted.fetch_add(1, Ordering::Relaxed);
        if nth < FLOWS && nth % 10 == 3 {
            frame[40] ^= 1;
        }
    };
    let wires =
        [wire((from_inside, to_outside), &stop, routes), wire((from_outside, to_inside), &stop, |_| ())];
    let taught = conversation::run(&mut traffic, conversation::opening(false), 20_000.0);
    stop.store(true, Ordering::Relaxed);
    wires.into_iter().for_each(|wire| wire.join().unwrap());
    taught.unwrap();
    assert_eq!(frames.load(Ordering::Relaxed), FLOWS + FLOWS / 10);
}

#[test]
fn finds_the_gateway_right() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = start_gateway(directory.path(), 300);
    for protocol in ["udp", "tcp"] {
        let flows = ["--flows", "600", "--protocol", protocol, "--size", "imix"];
        let load = ["load", "--runs", "2", "--seconds", "0.3", "--rate", "20000", "--warmup-rate", "5000"];
        let figures = generate(directory.path(), &[&load[..], &flows].concat());
        let runs = figures["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        runs.iter().for_each(assert_sound);
    }
    drop(gateway);
}

#[test]
fn finds_out_how_many_connections_the_gateway_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = start_gateway(directory.path(), 300);
    let figures = generate(directory.path(), &["rfc9693", "capacity", "--flows", "4000", "--rate", "10000"]);
    let kept = figures["value"].as_f64().unwrap();
    // A frame that a busy machine loses is a connection that is not made.
    assert!((2500.0..=3000.0).contains(&kept), "{figures}");
    drop(gateway);
}

/// What the gateway counts of sessions that ended for a reason.
fn sessions_deleted(directory: &Path, reason: &str) -> u64 {
    let mut natctl = Command::new(programs::path("natctl"));
    natctl.arg("--socket").arg(directory.join("control")).args(["counters", "--all", "--json"]);
    let output = natctl.output().unwrap();
    let counters: Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_it = |row: &&Value| row["name"] == "sessions_deleted_total" && row["labels"]["reason"] == reason;
    let row = counters["counters"].as_array().unwrap().iter().find(is_it);
    row.expect("the counter")["value"].as_u64().unwrap()
}

/// The command that empties the gateway's table.
fn flush(directory: &Path) -> String {
    format!("{} --socket {} flush", programs::path("natctl"), directory.join("control").display())
}

/// No generator sends that fast, so the search takes many trials: without the flush the table would be full.
#[test]
fn rfc9693_establishment_searches_with_a_table_that_is_flushed() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = start_gateway(directory.path(), 300);
    let search = ["rfc9693", "establishment", "--flows", "1000", "--rate", "1e9"];
    let figures = generate(directory.path(), &[&search[..], &["--reset", &flush(directory.path())]].concat());
    let (value, trials) = (figures["value"].as_f64().unwrap(), figures["trials"].as_array().unwrap());
    assert!(value > 0.0 && value < 1e9 && trials.len() > 6, "{figures}");
    let established = trials.iter().map(|trial| trial["established"].as_u64().unwrap());
    let all_but_the_last: u64 = established.take(trials.len() - 1).sum();
    assert!(all_but_the_last > 3000, "{figures}");
    // A connection whose answer the busy machine loses is the gateway's, and not the generator's.
    let made = all_but_the_last..=1000 * (trials.len() as u64 - 1);
    let deleted = sessions_deleted(directory.path(), "deleted");
    assert!(made.contains(&deleted), "{deleted} of {figures}");
    drop(gateway);
}

#[test]
fn rfc9693_tear_down_ends_every_connection() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = start_gateway(directory.path(), 300);
    let fill = ["rfc9693", "tear-down", "--flows", "1000", "--rate", "20000"];
    let figures = generate(directory.path(), &[&fill[..], &["--reset", &flush(directory.path())]].concat());
    assert!(figures["value"].as_f64().unwrap() > 100.0, "{figures}");
    assert!(figures["trials"][0]["validated"].as_u64().unwrap() > 900, "{figures}");
    drop(gateway);
}

#[test]
fn short_lived_sessions_expire_beside_a_load_that_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = start_gateway(directory.path(), 2);
    let load = ["load", "--runs", "1", "--seconds", "4", "--rate", "20000", "--warmup-rate", "20000"];
    let flows = ["--flows", "64", "--short-lived", "1000"];
    let figures = generate(directory.path(), &[&load[..], &flows].concat());
    assert_sound(&figures["runs"][0]);
    assert_eq!(sessions_deleted(directory.path(), "idle"), 1000);
    drop(gateway);
}
