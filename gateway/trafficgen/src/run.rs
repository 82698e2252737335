//! From the command line to figures.

use std::io::BufWriter;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;

use super::Error;
use super::args::{
    Cli, Command, Cores, Direction, Dpdk, Io, Load, Method, Network, OrderName, Pcap, Protocol, Rfc9693,
    Sessions,
};
use super::flow::{FlowSpace, Order};
use super::report::Report;
use super::rfc9693::{self, Reset, Trial};
use super::station::{Station, StationOptions};
use super::template::LEN_MIN;
use super::traffic::{Expect, Pass, Traffic, TrafficOptions};
use super::{conversation, cores, io, pcap};
use natgw_dpdk::{Clock, Eal, EalArgs, Memory, Mempool, is_pci};

/// Buffers: queues, stash and what memif holds.
const BUFFERS: u32 = 32 * 1024;
const CACHE: u32 = 256;
/// How long to wait for the other end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program.
pub fn run() -> Result<(), Error> {
    let cli = Cli::parse();
    match &cli.command {
        Command::Load(load) => run_load(&cli.dpdk, load),
        Command::Sessions(sessions) => run_sessions(&cli.dpdk, sessions),
        Command::Rfc9693(rfc9693) => run_rfc9693(&cli.dpdk, rfc9693),
        Command::Io(io) => run_io(&cli.dpdk, io),
        Command::Pcap(pcap) => run_pcap(pcap),
        Command::Cores(cores) => run_cores(&cli.dpdk, cores),
    }
}

fn eal(dpdk: &Dpdk, devices: [&str; 2]) -> Result<(Eal, Mempool), Error> {
    let args = EalArgs {
        main_cpu: dpdk.lcore,
        memory: if dpdk.no_huge { Memory::NoHuge } else { Memory::Auto },
        memory_mib: (BUFFERS >> 10) * 5 / 2 + 32,
        pci: devices.into_iter().filter(|device| is_pci(device)).map(str::to_owned).collect(),
        file_prefix: file_prefix(),
        extra: dpdk.eal.clone(),
        ..EalArgs::default()
    };
    let eal = Eal::init(&args)?;
    let pool = Mempool::new(&eal, "packets", BUFFERS, CACHE, Mempool::DATA_ROOM)?;
    Ok((eal, pool))
}

/// Room for the network's flows, and for `more` behind them.
fn traffic(dpdk: &Dpdk, network: &Network, more: u32) -> Result<Traffic, Error> {
    if !network.flows_per_host.is_power_of_two() || network.flows_per_host > 32_768 || network.flows == 0 {
        return Err(Error::Argument(
            "--flows-per-host is a power of two up to 32768, and --flows at least 1".into(),
        ));
    }
    let (eal, pool) = eal(dpdk, [&network.inside, &network.outside])?;
    let options = |device: &str, own, gateway| StationOptions {
        device: device.to_owned(),
        own,
        gateway,
        queues: dpdk.queues,
        descriptors: dpdk.descriptors,
    };
    let inside = options(&network.inside, network.inside_address, network.inside_gateway);
    let outside = options(&network.outside, network.outside_address, network.outside_gateway);
    let mut stations = [Station::open(&eal, &pool, &inside)?, Station::open(&eal, &pool, &outside)?];
    for station in &mut stations {
        station.wait_for_link(PATIENCE)?;
    }
    if network.expect != Expect::Untouched {
        for station in &mut stations {
            station.resolve(PATIENCE)?;
        }
    }
    let space = FlowSpace {
        flows: network.flows + more,
        first_host: network.hosts.to_bits(),
        host_shift: network.flows_per_host.trailing_zeros(),
        first_remote: network.remotes.to_bits(),
    };
    let options = TrafficOptions {
        expect: network.expect,
        is_tcp: network.protocol == Protocol::Tcp,
        lens: network.size.lens.clone(),
        spread: network.spread,
    };
    Traffic::new(stations, space, network.pool.to_bits(), options, &pool)
}

fn run_load(dpdk: &Dpdk, load: &Load) -> Result<(), Error> {
    let mut traffic = traffic(dpdk, &load.network, load.short_lived)?;
    let is_tcp = load.network.protocol == Protocol::Tcp;
    conversation::run(&mut traffic, conversation::opening(is_tcp), load.warmup_rate)?;
    let order = |seed| match load.order {
        OrderName::Random => Order::Random(seed),
        OrderName::Sequential => Order::Sequential(0),
    };
    let mut report = Report::new("load", &load.network, dpdk);
    report.header();
    for run in 0..load.runs {
        let sender = |side: u64, silent| {
            (load.direction != silent)
                .then(|| (order(u64::from(run) << 32 | side << 16 | 1), conversation::data(is_tcp)))
        };
        let outcome = traffic.run(&Pass {
            senders: [sender(0, Direction::In), sender(1, Direction::Out)],
            flows: load.network.flows,
            rate: load.rate.0,
            seconds: load.seconds,
            sample: load.sample.max(1),
        });
        report.add("", &outcome);
    }
    conversation::run(&mut traffic, conversation::closing(is_tcp), load.warmup_rate)?;
    report.finish(load.network.json.as_deref())
}

fn run_sessions(dpdk: &Dpdk, sessions: &Sessions) -> Result<(), Error> {
    let mut traffic = traffic(dpdk, &sessions.network, 0)?;
    let is_tcp = sessions.network.protocol == Protocol::Tcp;
    let mut report = Report::new("sessions", &sessions.network, dpdk);
    report.header();
    for run in 0..sessions.runs {
        if run > 0 {
            let space = traffic.space();
            traffic.renumber(space.first_host + space.hosts());
        }
        let flows = traffic.space().flows;
        let steps = conversation::opening(is_tcp).iter().chain(conversation::closing(is_tcp));
        for (index, step) in steps.enumerate() {
            let outcome = traffic.run(&step.pass(flows, sessions.rate.0));
            report.add(if index == 0 { "" } else { step.name }, &outcome);
        }
    }
    report.finish(sessions.network.json.as_deref())
}

fn run_rfc9693(dpdk: &Dpdk, options: &Rfc9693) -> Result<(), Error> {
    if options.network.protocol != Protocol::Udp {
        return Err(Error::Argument("RFC 9693 is measured with UDP".into()));
    }
    let mut traffic = traffic(dpdk, &options.network, 0)?;
    let reset = Reset { command: options.reset.clone() };
    let told = |trial: &Trial| {
        println!(
            "{:>12.0}/s, sent at {:.0}/s: {} connections, {} established, {} validated, {} wrong{}",
            trial.rate,
            trial.sent_rate,
            trial.connections,
            trial.established,
            trial.validated,
            trial.wrong,
            if trial.passed() { "" } else { ": not passed" }
        );
    };
    let (value, unit, trials) = match options.method {
        Method::Establishment => {
            let (rate, trials) = rfc9693::establishment_rate(&mut traffic, options.rate, &reset, told)?;
            (rate, "connections established a second", trials)
        }
        Method::Capacity => {
            let trial = rfc9693::capacity(&mut traffic, options.rate);
            told(&trial);
            (trial.validated as f64, "connections kept", vec![trial])
        }
        Method::TearDown => {
            let (rate, trial) = rfc9693::tear_down_rate(&mut traffic, options.rate, &reset)?;
            told(&trial);
            (rate, "connections torn down a second", vec![trial])
        }
    };
    println!("{value:.0} {unit}");
    let json =
        serde_json::json!({ "method": options.method, "value": value, "unit": unit, "trials": trials });
    match &options.network.json {
        Some(path) => Ok(std::fs::write(path, format!("{json:#}\n"))?),
        None => Ok(()),
    }
}

fn run_io(dpdk: &Dpdk, io: &Io) -> Result<(), Error> {
    let (eal, pool) = eal(dpdk, [&io.a, &io.b])?;
    let station = |device: &str| {
        let nobody = Ipv4Addr::UNSPECIFIED;
        let (queues, descriptors) = (dpdk.queues, dpdk.descriptors);
        Station::open(
            &eal,
            &pool,
            &StationOptions { device: device.to_owned(), own: nobody, gateway: nobody, queues, descriptors },
        )
    };
    let (a, b) = (station(&io.a)?, station(&io.b)?);
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let (forwarded, dropped) = io::forward([a.queues, b.queues], io.macswap, &stop);
    debug_assert!(stop.load(Ordering::Relaxed));
    println!("{forwarded} frames forwarded, {dropped} not taken");
    Ok(())
}

fn run_pcap(options: &Pcap) -> Result<(), Error> {
    let space = FlowSpace {
        flows: options.flows,
        first_host: Ipv4Addr::new(10, 0, 0, 1).to_bits(),
        host_shift: 6,
        first_remote: Ipv4Addr::new(198, 18, 0, 0).to_bits(),
    };
    let create = |path| std::fs::File::create(path).map(BufWriter::new);
    pcap::write_outbound(&mut create(&options.inside)?, &space, LEN_MIN)?;
    let (next_hop, gateway) = (Ipv4Addr::new(172, 16, 1, 2), Ipv4Addr::new(172, 16, 1, 1));
    Ok(pcap::write_arp_reply(&mut create(&options.outside)?, next_hop, gateway)?)
}

fn run_cores(dpdk: &Dpdk, cores: &Cores) -> Result<(), Error> {
    let eal = Eal::init(&EalArgs {
        main_cpu: dpdk.lcore,
        worker_cpus: vec![cores.peer],
        memory: Memory::NoHuge,
        memory_mib: 16,
        file_prefix: file_prefix(),
        ..EalArgs::default()
    })?;
    println!("{:.0} {}", cores::round_trip_ns(&eal)?, Clock::hz());
    Ok(())
}

fn file_prefix() -> String {
    format!("nat-trafficgen-{}", std::process::id())
}
