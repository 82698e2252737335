//! The command line of `nat-trafficgen`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::traffic::{Expect, Spread};
use super::{Error, template};

/// A traffic generator for NAT gateways, on DPDK.
#[derive(Debug, Parser)]
#[command(name = "nat-trafficgen", version)]
pub struct Cli {
    /// DPDK's own settings.
    #[command(flatten)]
    pub dpdk: Dpdk,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// DPDK's own settings.
#[derive(Clone, Debug, Args)]
pub struct Dpdk {
    /// The CPU to run on.
    #[arg(long, global = true, value_name = "CPU", default_value_t = 0)]
    pub lcore: u32,
    /// Use ordinary memory rather than huge pages.
    #[arg(long, global = true)]
    pub no_huge: bool,
    /// Queue pairs of each port: as many as the gateway has workers.
    #[arg(long, global = true, value_name = "NUMBER", default_value_t = 1)]
    pub queues: u16,
    /// Descriptors of each queue.
    #[arg(long, global = true, value_name = "NUMBER", default_value_t = 1024)]
    pub descriptors: u16,
    /// A further argument for DPDK's EAL.
    #[arg(long, global = true, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub eal: Vec<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Established flows: teach the gateway each, then measure.
    Load(Load),
    /// New sessions: each flow once, shuffled.
    Sessions(Sessions),
    /// The stateful measurements of RFC 9693, on UDP.
    Rfc9693(Rfc9693),
    /// Forward frames between two ports, untouched: a generator's ceiling.
    Io(Io),
    /// Write captures that net_pcap replays inside the gateway's own process.
    Pcap(Pcap),
    /// Nanoseconds that a cache line takes from --lcore to another CPU and back, and the time-stamp counter's rate.
    Cores(Cores),
}

/// The network that is played.
#[derive(Clone, Debug, Args)]
pub struct Network {
    /// Device on the gateway's inside: a vdev with its arguments or a PCI address.
    #[arg(long, value_name = "DEVICE")]
    pub inside: String,
    /// Device on the gateway's outside.
    #[arg(long, value_name = "DEVICE")]
    pub outside: String,
    /// Our address on the inside: the gateway's next hop to the inside hosts.
    #[arg(long, default_value = "172.16.0.2")]
    pub inside_address: Ipv4Addr,
    /// The gateway's address on the inside.
    #[arg(long, default_value = "172.16.0.1")]
    pub inside_gateway: Ipv4Addr,
    /// Our address on the outside: the gateway's next hop to everywhere else.
    #[arg(long, default_value = "172.16.1.2")]
    pub outside_address: Ipv4Addr,
    /// The gateway's address on the outside.
    #[arg(long, default_value = "172.16.1.1")]
    pub outside_gateway: Ipv4Addr,
    /// The first inside host.
    #[arg(long, default_value = "10.0.0.1")]
    pub hosts: Ipv4Addr,
    /// The first of 65536 remote addresses.
    #[arg(long, default_value = "198.18.0.0")]
    pub remotes: Ipv4Addr,
    /// The first of 65536 addresses that the gateway may translate to.
    #[arg(long, default_value = "100.64.0.0")]
    pub pool: Ipv4Addr,
    /// Flows.
    #[arg(long, default_value_t = 65_536)]
    pub flows: u32,
    /// Flows of one inside host, a power of two.
    #[arg(long, default_value_t = 64)]
    pub flows_per_host: u32,
    /// udp or tcp.
    #[arg(long, value_enum, default_value_t = Protocol::Udp)]
    pub protocol: Protocol,
    /// Octets of a frame, its check sequence included (64-1518), or "imix" (7 of 64, 4 of 594, 1 of 1518).
    #[arg(long, default_value = "64")]
    pub size: Size,
    /// What the device under test does to packets.
    #[arg(long, value_enum, default_value_t = Expect::Translated)]
    pub expect: Expect,
    /// With several queues: to whose queue a flow's packets go.
    #[arg(long, value_enum, default_value_t = Spread::Owner)]
    pub spread: Spread,
    /// Save the figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Established flows.
#[derive(Debug, Args)]
pub struct Load {
    /// The network.
    #[command(flatten)]
    pub network: Network,
    /// Outbound packets, inbound ones, or both in turn.
    #[arg(long, value_enum, default_value_t = Direction::Mixed)]
    pub direction: Direction,
    /// The order of flows.
    #[arg(long, value_enum, default_value_t = OrderName::Random)]
    pub order: OrderName,
    /// Packets a second over both directions, or "open": as many as the ports take.
    #[arg(long, default_value = "open")]
    pub rate: Rate,
    /// Seconds of one run.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Runs.
    #[arg(long, default_value_t = 5)]
    pub runs: u32,
    /// Sessions a second while the gateway is taught.
    #[arg(long, default_value_t = 1_500_000.0)]
    pub warmup_rate: f64,
    /// Further flows, taught with the others and then left alone, so that their sessions expire during the runs.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub short_lived: u32,
    /// One packet of so many measures the latency.
    #[arg(long, default_value_t = 1024)]
    pub sample: u32,
}

/// New sessions.
#[derive(Debug, Args)]
pub struct Sessions {
    /// The network.
    #[command(flatten)]
    pub network: Network,
    /// Sessions a second, or "open": as many as the port takes.
    #[arg(long, default_value = "open")]
    pub rate: Rate,
    /// Runs, each with hosts of its own.
    #[arg(long, default_value_t = 1)]
    pub runs: u32,
}

/// RFC 9693.
#[derive(Debug, Args)]
pub struct Rfc9693 {
    /// The network; --flows is the number of connections.
    #[command(flatten)]
    pub network: Network,
    /// What to measure.
    #[arg(value_enum)]
    pub method: Method,
    /// The highest rate to try; that of capacity and tear-down.
    #[arg(long, default_value_t = 4_000_000.0)]
    pub rate: f64,
    /// A shell command that empties the gateway's table.
    #[arg(long, value_name = "COMMAND")]
    pub reset: Option<String>,
}

/// What RFC 9693 measures of a stateful gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The maximum connection establishment rate, by binary search.
    Establishment,
    /// How many connections the table holds.
    Capacity,
    /// How fast the table is emptied by --reset.
    TearDown,
}

/// Plain forwarding.
#[derive(Debug, Args)]
pub struct Io {
    /// One device.
    #[arg(long, value_name = "DEVICE")]
    pub a: String,
    /// The other.
    #[arg(long, value_name = "DEVICE")]
    pub b: String,
    /// Swap source and destination MAC address, so that the frame is touched.
    #[arg(long)]
    pub macswap: bool,
}

/// Captures.
#[derive(Debug, Args)]
pub struct Pcap {
    /// Flows, of which the capture has a frame each.
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    pub flows: u32,
    /// For the gateway's first net_pcap port: outbound frames, shuffled.
    pub inside: PathBuf,
    /// For its second: where its next hop is.
    pub outside: PathBuf,
}

/// Two CPUs.
#[derive(Debug, Args)]
pub struct Cores {
    /// The other CPU.
    #[arg(long, value_name = "CPU")]
    pub peer: u32,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From inside.
    Out,
    /// From outside.
    In,
    /// Both.
    Mixed,
}

/// The order of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderName {
    /// Any flow at any time.
    Random,
    /// One after the other.
    Sequential,
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP, with handshakes.
    Tcp,
}

/// Frame sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// As it was given.
    pub name: String,
    /// Frames in turn, octets without their check sequence.
    pub lens: Vec<usize>,
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Size, Error> {
        const IMIX: [usize; 12] = [60, 590, 60, 60, 590, 60, 1514, 60, 590, 60, 590, 60];
        let lens = match text {
            "imix" => IMIX.to_vec(),
            number => match number.parse::<usize>() {
                Ok(size) if (template::LEN_MIN + CRC..=template::LEN_MAX + CRC).contains(&size) => {
                    vec![size - CRC]
                }
                _ => return Err(Error::Argument(format!("{text}: 64 to 1518, or imix"))),
            },
        };
        Ok(Size { name: text.to_owned(), lens })
    }
}

const CRC: usize = 4;

/// Packets a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub Option<f64>);

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rate, Error> {
        match text.parse::<f64>() {
            _ if text == "open" => Ok(Rate(None)),
            Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(Rate(Some(rate))),
            _ => Err(Error::Argument(format!("{text}: packets a second, or open"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_those_on_the_wire() {
        assert_eq!("64".parse::<Size>().unwrap().lens, [60]);
        assert_eq!("1518".parse::<Size>().unwrap().lens, [1514]);
        let imix = "imix".parse::<Size>().unwrap().lens;
        assert_eq!([60, 590, 1514].map(|len| imix.iter().filter(|&&other| other == len).count()), [7, 4, 1]);
        assert!("63".parse::<Size>().is_err() && "1519".parse::<Size>().is_err());
    }

    #[test]
    fn rates_are_positive_or_open() {
        assert_eq!("2.5e6".parse::<Rate>().unwrap(), Rate(Some(2.5e6)));
        assert_eq!("open".parse::<Rate>().unwrap(), Rate(None));
        assert!("-1".parse::<Rate>().is_err() && "inf".parse::<Rate>().is_err());
    }
}
