//! What a reload costs: its preparation, and the longest step that a shard takes with it between two bursts.
//!
//! One port forward is added to a pool of so many addresses, on a free port, and removed again; then a rule changes,
//! and the shard looks through a table full of sessions, as many lines a call as a busy worker takes.
//!
//! `cargo bench --bench reload`

mod fixture;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use natgw_nat::{
    Changes, Direction, Endpoint, Filtering, ForwardSource, Pages, Part, Parts, Pool, PortForward, Protocol,
    Rule, RuleAction, Secret, Settings, Shard, ShardOptions, Share, Sweep, Time, Verdict,
};
use natgw_wire::ipv4;

const ROUNDS: usize = 9;
/// Lines that a sweep looks at in a call.
const LINES: u32 = 32;
const SESSIONS: u32 = 1_000_000;

fn main() {
    println!("median (lowest-highest) of {ROUNDS} rounds\n");
    println!(
        "{:<44} {:>22} {:>22}",
        "one port forward more, one less", "preparation, ms", "longest step, us"
    );
    for addresses in [3, 256, 4096, 65_536] {
        let mut gateway = Gateway::new(addresses);
        let mut costs = Vec::new();
        for round in 0..ROUNDS as u16 {
            let mut settings = gateway.settings.clone();
            settings.port_forwards = (round % 2 == 0).then(|| forward(&settings)).into_iter().collect();
            costs.push(gateway.reload(settings));
        }
        let [preparation, step] = [|cost: &Cost| cost.preparation, |cost: &Cost| cost.longest_step]
            .map(|value: fn(&Cost) -> Duration| costs.iter().map(value).collect::<Vec<_>>());
        println!(
            "{:<44} {:>22} {:>22}",
            format!("pool of {addresses} addresses"),
            range(&preparation, 1e3),
            range(&step, 1e6)
        );
    }
    sweep();
}

/// Looks through a full table under another rule that lets all sessions go on.
fn sweep() {
    let mut shard = fixture::shard(SESSIONS, 0x0b00_0000, 256, Filtering::AddressDependent, Pages::Reserved);
    let mut verdicts = [Verdict::Local];
    for session in 0..SESSIONS {
        let from = Endpoint { address: 0x0a00_0002 + session / 32, port: 20_000 + (session % 32) as u16 };
        let mut burst = [packet(from, Endpoint { address: 0x0808_0000 + session % 9973, port: 443 })];
        shard.translate(&mut burst[..], Direction::Outbound, Time(1), &mut verdicts);
        assert!(matches!(verdicts[0], Verdict::Forward(_)), "{:?}", verdicts[0]);
    }
    let mut gateway = Gateway::new(3);
    let before = gateway.settings.clone();
    let mut after = before.clone();
    after.timeouts.udp_s -= 1;
    let shares = &gateway.shares;
    let mut changes =
        Changes::new(Parts { settings: &before, shares }, Parts { settings: &after, shares }, SESSIONS)
            .expect("memory");
    drop(std::mem::replace(&mut gateway.settings, after));
    while !shard.adopt(&mut changes) {}
    let (begun, mut longest, mut calls, mut at) = (Instant::now(), Duration::ZERO, 0u32, Some(Sweep::START));
    while let Some(from) = at {
        let call = Instant::now();
        at = shard.sweep(from, LINES, Time(2));
        longest = longest.max(call.elapsed());
        calls += 1;
    }
    let (whole, mean) = (begun.elapsed(), begun.elapsed() / calls);
    println!(
        "\n{SESSIONS} sessions looked through: {:.0} ms alone; {calls} calls of {LINES} lines, {:.2} us each, the longest {:.0} us",
        whole.as_secs_f64() * 1e3,
        mean.as_secs_f64() * 1e6,
        longest.as_secs_f64() * 1e6
    );
}

fn range(times: &[Duration], unit: f64) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let [low, median, high] = [0, times.len() / 2, times.len() - 1].map(|at| times[at].as_secs_f64() * unit);
    format!("{median:.2} ({low:.2}-{high:.2})")
}

struct Cost {
    preparation: Duration,
    longest_step: Duration,
}

struct Gateway {
    settings: Settings,
    shares: Vec<Vec<Share>>,
    shard: Shard,
}

impl Gateway {
    fn new(addresses: u32) -> Gateway {
        let addresses: Vec<Ipv4Addr> =
            (0..addresses).map(|at| Ipv4Addr::from_bits(0x0b00_0000 + at)).collect();
        let shares = vec![addresses.iter().map(|&address| Share { address, ports: 1024..=65535 }).collect()];
        let settings = Settings {
            inside: vec!["10.0.0.1/8".parse().expect("a prefix")],
            outside: vec!["192.0.2.1/24".parse().expect("a prefix")],
            pools: vec![Pool { name: "bench".into(), addresses, ..Pool::default() }],
            rules: vec![Rule {
                source: "10.0.0.0/8".parse().expect("a prefix"),
                action: RuleAction::Pool(0),
                ..Rule::default()
            }],
            ..Settings::default()
        };
        let options = ShardOptions {
            settings: &settings,
            shares: &shares,
            sessions: 100_000,
            part: Part::WHOLE,
            secret: Secret::new([7, 11, 13, 17]),
            now: Time(0),
        };
        let shard = Shard::new(&options).expect("memory");
        Gateway { settings, shares, shard }
    }

    fn reload(&mut self, settings: Settings) -> Cost {
        let begun = Instant::now();
        let before = Parts { settings: &self.settings, shares: &self.shares };
        let after = Parts { settings: &settings, shares: &self.shares };
        let mut changes = Changes::new(before, after, 100_000).expect("memory");
        let preparation = begun.elapsed();
        let mut longest_step = Duration::ZERO;
        let mut step = |work: &mut dyn FnMut() -> bool| {
            let begun = Instant::now();
            let done = work();
            longest_step = longest_step.max(begun.elapsed());
            done
        };
        while !step(&mut || self.shard.adopt(&mut changes)) {}
        let mut at = Some(Sweep::START);
        while let Some(from) = at {
            step(&mut || {
                at = self.shard.sweep(from, LINES, Time(1));
                true
            });
        }
        while !step(&mut || self.shard.enforce(&mut changes)) {}
        self.settings = settings;
        Cost { preparation, longest_step }
    }
}

fn forward(settings: &Settings) -> PortForward {
    PortForward {
        protocol: Protocol::Tcp,
        external: settings.pools[0].addresses[settings.pools[0].addresses.len() / 2],
        external_ports: 8080..=8080,
        internal: Ipv4Addr::new(10, 0, 0, 12),
        internal_port: 80,
        source: ForwardSource::Remote,
    }
}

fn packet(from: Endpoint, to: Endpoint) -> Vec<u8> {
    let mut bytes = vec![0; 46];
    let len = bytes.len() as u16;
    bytes[..12].copy_from_slice(&[0x45, 0, 0, len as u8, 0, 0, 0x40, 0, 64, ipv4::UDP, 0, 0]);
    bytes[12..16].copy_from_slice(&from.address.to_be_bytes());
    bytes[16..20].copy_from_slice(&to.address.to_be_bytes());
    bytes[20..22].copy_from_slice(&from.port.to_be_bytes());
    bytes[22..24].copy_from_slice(&to.port.to_be_bytes());
    bytes[24..26].copy_from_slice(&(len - 20).to_be_bytes());
    ipv4::Packet::new_unchecked(&mut bytes[..]).fill_checksum();
    bytes
}
