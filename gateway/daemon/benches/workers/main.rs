//! Whole workers without a wire: what a second one brings when every packet arrives at its owner, and when every packet
//! arrives at the other one and crosses a ring. Two processes of one worker each, which share nothing but the machine, show
//! how much of that the machine allows.
//!
//! Each worker polls a queue of two net_pcap ports that offer the same frames without end (`infinite_rx`: a copy of each
//! into a fresh buffer) and drop what is sent. So there is no generator to share the CPUs with, and everything from the
//! receive burst to the transmit burst is the gateway's: 64-octet UDP, both directions, one 1:1 mapping a host.
//!
//! Each layout runs in a process of its own, in turns, because DPDK starts once a process.
//!
//! `cargo bench --package nat-gateway --bench workers [-- --json FILE]`

mod frames;
mod handover;

use std::error::Error;
use std::fs;
use std::process::{Child, Command as Process, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use frames::{Frames, HOSTS, ROUTER, host, outside};
use nat_gateway::start::{Dataplane, DataplaneOptions, PortOptions};
use natgw_config::PacketBuffers;
use natgw_counters::WorkerCounters;
use natgw_dpdk::{Eal, EalArgs, Memory, Mempool, Port};
use natgw_nat::{Direction, Limits, Settings, Static};
use natgw_neighbor::{Binding, Connected, InterfaceId, OwnAddresses, RouteTable, StaticRoute};
use natgw_steer::{Nic, Steering, WorkerId};
use natgw_wire::ethernet::Mac;
use natgw_worker::{Command, Idle};
use serde_json::json;

/// Frames that each queue offers: some fit the cache, some do not.
const SIZES: [u32; 2] = [256, 16_384];
const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(2);
/// The CPU of the first worker; the second has the other of the first two.
const FIRST_CPU: u32 = 1;
const SEED: u64 = 11;
const SIDES: [Direction; 2] = Direction::ALL;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    OneWorker,
    /// Two processes of one worker each: what the machine itself lets two CPUs do.
    TwoProcesses,
    NothingCrosses,
    EverythingCrosses,
    /// The same, of two lcores that only pass packets on: what crossing costs before anybody translates.
    HandoverAlone,
}

const LAYOUTS: [(Layout, &str); 5] = [
    (Layout::OneWorker, "one worker"),
    (Layout::TwoProcesses, "two processes of one worker"),
    (Layout::NothingCrosses, "two workers, nothing crosses"),
    (Layout::EverythingCrosses, "two workers, everything crosses"),
    (Layout::HandoverAlone, "everything crosses, nobody translates"),
];

impl Layout {
    /// The CPU of each worker, the first one's being `cpu`.
    ///
    /// net_pcap keeps what it reads of one queue and what it writes of the next in one cache line. So between the queues
    /// of two workers there is that of a third, which does not work.
    fn cpus(self, cpu: u32) -> Vec<u32> {
        let alone = matches!(self, Layout::OneWorker | Layout::TwoProcesses);
        if alone { vec![cpu] } else { vec![cpu, 1 - cpu, 1 - cpu] }
    }

    /// Whose frames a queue offers.
    fn owner_of_frames(self, queue: u16) -> WorkerId {
        let crosses = matches!(self, Layout::EverythingCrosses | Layout::HandoverAlone);
        WorkerId(if crosses { 2 - queue } else { queue })
    }
}

/// Packets a second that were translated, and that were dropped.
struct Rate {
    translated: f64,
    dropped: f64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, layout, frames, cpu] = &arguments[..]
        && mode == "run"
    {
        let rate = run(LAYOUTS[layout.parse::<usize>()?].0, frames.parse()?, cpu.parse()?)?;
        println!("{} {}", rate.translated, rate.dropped);
        return Ok(());
    }
    let cpus = thread::available_parallelism()?.get();
    if cpus < 2 {
        return Err("two workers need two CPUs".into());
    }
    println!("{:<34}{:>8}{:>24}{:>8}{:>10}", "", "frames", "Mpps", "ratio", "dropped");
    let mut rows = Vec::new();
    for frames in SIZES {
        let mut rates: [Vec<Rate>; LAYOUTS.len()] = Default::default();
        for _ in 0..ROUNDS {
            for (index, rates) in rates.iter_mut().enumerate() {
                rates.push(measure(index, frames)?);
            }
        }
        let mut one = 0.0;
        for ((_, name), mut rates) in LAYOUTS.into_iter().zip(rates) {
            rates.sort_by(|a, b| a.translated.total_cmp(&b.translated));
            let mpps: Vec<f64> = rates.iter().map(|rate| rate.translated / 1e6).collect();
            let (low, median, high) = (mpps[0], mpps[ROUNDS / 2], mpps[ROUNDS - 1]);
            one = if one == 0.0 { median } else { one };
            let dropped =
                rates[ROUNDS / 2].dropped / (rates[ROUNDS / 2].translated + rates[ROUNDS / 2].dropped);
            let range = format!("{median:.2} ({low:.2}-{high:.2})");
            println!("{name:<34}{frames:>8}{range:>24}{:>8.2}{:>9.2}%", median / one, dropped * 100.0);
            rows.push(json!({
                "layout": name, "frames": frames, "mpps": mpps, "median": median, "ratio": median / one,
                "dropped": dropped,
            }));
        }
    }
    if let [option, file] = &arguments[..]
        && option == "--json"
    {
        fs::write(file, serde_json::to_vec_pretty(&json!({ "workers": rows }))?)?;
    }
    Ok(())
}

fn measure(layout: usize, frames: u32) -> Result<Rate, Box<dyn Error>> {
    if LAYOUTS[layout].0 != Layout::TwoProcesses {
        return rate(child(layout, frames, FIRST_CPU)?);
    }
    let children = [child(layout, frames, FIRST_CPU)?, child(layout, frames, 1 - FIRST_CPU)?];
    let [first, second] = children.map(rate);
    let (first, second) = (first?, second?);
    Ok(Rate { translated: first.translated + second.translated, dropped: first.dropped + second.dropped })
}

/// A process whose first worker runs on `cpu`.
fn child(layout: usize, frames: u32, cpu: u32) -> Result<Child, Box<dyn Error>> {
    let mut process = Process::new(std::env::current_exe()?);
    process.args(["run", &layout.to_string(), &frames.to_string(), &cpu.to_string()]);
    Ok(process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn rate(child: Child) -> Result<Rate, Box<dyn Error>> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [translated, dropped] if output.status.success() => Ok(Rate { translated, dropped }),
        _ => Err(format!("{}{text}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn settings() -> Settings {
    Settings {
        inside: vec!["10.64.0.1/16".parse().expect("a prefix")],
        outside: vec!["203.0.113.1/24".parse().expect("a prefix")],
        statics: (0..HOSTS)
            .map(|nth| Static { external: outside(nth).into(), internal: host(nth).into() })
            .collect(),
        limits: Limits {
            sessions: 1 << 17,
            new_sessions_per_subscriber_per_s: u32::MAX,
            ..Limits::default()
        },
        ..Settings::default()
    }
}

fn run(layout: Layout, count: u32, cpu: u32) -> Result<Rate, Box<dyn Error>> {
    let settings = settings();
    let worker_cpus = layout.cpus(cpu);
    let workers = worker_cpus.len() as u16;
    let owners = Steering::new(&settings, workers, SEED, Nic::default(), Nic::default())?;
    let directory = tempfile::tempdir()?;
    // Preloaded frames stay in buffers of the pool.
    let buffers =
        PacketBuffers { count: u32::from(workers) * (2 * count + 8192), data_room: Mempool::DATA_ROOM };
    let eal = Eal::init(&EalArgs {
        main_cpu: 0,
        worker_cpus,
        memory: Memory::NoHuge,
        memory_mib: (buffers.bytes() >> 20) as u32 * 2 + 64,
        file_prefix: format!("gateway-bench-{}", std::process::id()),
        ..EalArgs::default()
    })?;
    let mut ports = Vec::new();
    for side in SIDES {
        let frames = Frames::new(side, count);
        let queues = (0..workers).map(|queue| {
            let file = directory.path().join(format!("{side:?}{queue}.pcap"));
            frames.write(&file, |host| {
                owners.outbound_owner(host.to_bits()) == layout.owner_of_frames(queue)
            })?;
            Ok(format!(",rx_pcap={}", file.display()))
        });
        let queues = queues.collect::<Result<String, std::io::Error>>()?;
        ports.push(port(&eal, side, &queues, &settings)?);
    }
    if layout == Layout::HandoverAlone {
        return handover::run(&eal, ports.into_iter().map(|options| options.port).collect(), buffers);
    }
    let connected = [
        Connected { interface: InterfaceId(0), address: settings.inside[0] },
        Connected { interface: InterfaceId(1), address: settings.outside[0] },
    ];
    let default = StaticRoute { prefix: "0.0.0.0/0".parse()?, via: ROUTER };
    let routes = RouteTable::new(&connected, &[default])?;
    let options =
        DataplaneOptions { ports, workers, settings, routes, buffers, idle: Idle::Poll, seed: SEED };
    let dataplane = Dataplane::start(&eal, options)?;
    if let [_, unused, _] = dataplane.workers() {
        unused.commands.send(Command::Stop)?;
    }
    let mac = Mac([2, 0, 0, 0, 2, 1]);
    let hosts = (0..HOSTS).map(|nth| (InterfaceId(0), host(nth)));
    for (interface, ip) in hosts.chain([(InterfaceId(1), ROUTER)]) {
        dataplane.tell_all(|| Command::Learn(Binding { interface, ip: ip.to_bits(), mac }));
    }
    thread::sleep(WARM_UP);
    let (before, started) = (totals(&dataplane), Instant::now());
    thread::sleep(MEASURED);
    let (after, seconds) = (totals(&dataplane), started.elapsed().as_secs_f64());
    drop(dataplane);
    let per_s = |index: usize| (after[index] - before[index]) as f64 / seconds;
    let crossed = after[2] - before[2];
    let expected = layout == Layout::EverythingCrosses;
    if (crossed > 0) != expected {
        return Err(format!("{crossed} packets crossed").into());
    }
    Ok(Rate { translated: per_s(0), dropped: per_s(1) })
}

/// Packets translated, dropped, and handed over by all workers.
fn totals(dataplane: &Dataplane) -> [u64; 3] {
    let sum = |of: fn(&WorkerCounters) -> u64| -> u64 {
        dataplane.workers().iter().map(|worker| of(&worker.counters.read())).sum()
    };
    [
        sum(|counters| counters.nat.translated.iter().flatten().sum()),
        sum(|counters| counters.nat.dropped.iter().flatten().sum()),
        sum(|counters| counters.handoff.received),
    ]
}

fn port(
    eal: &Eal,
    side: Direction,
    queues: &str,
    settings: &Settings,
) -> Result<PortOptions, Box<dyn Error>> {
    let id = InterfaceId(side as u8);
    let net = if side == Direction::Outbound { settings.inside[0] } else { settings.outside[0] };
    let port = Port::open(eal, &format!("net_pcap{}{queues},infinite_rx=1", id.0))?;
    Ok(PortOptions {
        name: format!("{side:?}"),
        port,
        direction: side,
        mac: None,
        vlan: None,
        mtu: 1500,
        address: net.addr(),
        own: OwnAddresses::new(id, &[net], std::iter::empty()),
        rx_descriptors: 1024,
        tx_descriptors: 1024,
        promiscuous: false,
    })
}

/// The address that net_pcap gives its ports, in the order of their opening.
fn mac_of_port(side: Direction) -> Mac {
    Mac([0x02, 0x70, 0x63, 0x61, 0x70, side as u8])
}
