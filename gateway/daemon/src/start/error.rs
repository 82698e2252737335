//! Why the gateway does not start, with the line of the file that mends it.

use std::path::Path;

use natgw_config::{Config, line_of};
use natgw_management::BindError;
use natgw_neighbor::RouteError;
use natgw_steer::SteeringError;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// DPDK, or what it needs of the machine.
    #[error(transparent)]
    Dpdk(#[from] natgw_dpdk::Error),
    /// The management server's sockets.
    #[error(transparent)]
    Management(#[from] BindError),
    /// The workers cannot divide the pools.
    #[error(transparent)]
    Steering(#[from] SteeringError),
    /// The routes contradict each other.
    #[error(transparent)]
    Routes(#[from] RouteError),
    /// Table memory.
    #[error("no memory for {sessions} sessions: {source}; lower nat.limits.sessions")]
    Tables {
        /// Sessions of one worker.
        sessions: u32,
        /// The operating system's words.
        source: std::io::Error,
    },
    /// The device of an interface, or what it is asked for.
    #[error("interfaces.{key}: {source}")]
    Interface {
        /// Its place among the interfaces of the file, from 0.
        index: usize,
        /// The key that is wrong.
        key: &'static str,
        /// What DPDK says.
        source: Box<natgw_dpdk::Error>,
    },
    /// Another error, with the place in the file that it is about.
    #[error("{file}:{line}: {source}")]
    At {
        /// The configuration.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The error.
        source: Box<StartError>,
    },
    /// A thread or a signal handler could not be had.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl StartError {
    pub(super) fn of_interface(index: usize, source: natgw_dpdk::Error) -> StartError {
        let key = match &source {
            natgw_dpdk::Error::Mtu { .. } => "mtu",
            natgw_dpdk::Error::Mac { .. } => "mac",
            natgw_dpdk::Error::Call { call: "rte_eth_dev_set_mtu", .. } => "mtu",
            natgw_dpdk::Error::Call { call: "rte_eth_rx_queue_setup", .. } => "rx_queue_size",
            natgw_dpdk::Error::Call { call: "rte_eth_tx_queue_setup", .. } => "tx_queue_size",
            _ => "device",
        };
        StartError::Interface { index, key, source: Box::new(source) }
    }

    /// With the line of the file whose key is wrong, if it is one's.
    pub(crate) fn located(self, config: &Config, file: &Path, text: &str) -> StartError {
        let number;
        let path: &[&str] = match &self {
            StartError::Interface { index, key, .. } => {
                number = index.to_string();
                &["interfaces", &number, key]
            }
            StartError::Management(BindError::Listen { .. }) => &["management", "listen"],
            StartError::Management(BindError::Socket { .. }) => &["management", "socket"],
            StartError::Tables { .. } => &["nat", "limits", "sessions"],
            StartError::Dpdk(error) => match error {
                natgw_dpdk::Error::HugePages { .. } | natgw_dpdk::Error::NoHugePages => &["dpdk", "memory"],
                natgw_dpdk::Error::Cpu { cpu, .. } if *cpu == u32::from(config.dpdk.main_lcore) => {
                    &["dpdk", "main_lcore"]
                }
                natgw_dpdk::Error::Cpu { .. } | natgw_dpdk::Error::TooManyLcores { .. } => {
                    &["dpdk", "worker_lcores"]
                }
                natgw_dpdk::Error::Call { call: "rte_eal_init", .. } if !config.dpdk.eal_args.is_empty() => {
                    &["dpdk", "eal_args"]
                }
                natgw_dpdk::Error::Call { call: "rte_eal_init" | "rte_pktmbuf_pool_create", .. } => {
                    &["dpdk", "memory"]
                }
                _ => &[],
            },
            _ => &[],
        };
        match line_of(text, path) {
            Some(line) => StartError::At { file: file.display().to_string(), line, source: Box::new(self) },
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../../fixtures/example.toml");

    /// Where an error is said to be.
    fn line(error: StartError) -> Option<usize> {
        let config = Config::parse(EXAMPLE, "gateway.toml").unwrap();
        match error.located(&config, Path::new("gateway.toml"), EXAMPLE) {
            StartError::At { line, .. } => Some(line),
            _ => None,
        }
    }

    #[test]
    fn an_error_is_about_the_key_that_mends_it() {
        let place = |text: &str| EXAMPLE.lines().position(|line| line.starts_with(text)).map(|nth| nth + 1);
        let device = || "net_tap1".to_owned();
        let mtu = natgw_dpdk::Error::Mtu {
            device: device(),
            mtu: 9000,
            driver: "net_tap".into(),
            min: 68,
            max: 1504,
        };
        assert_eq!(
            StartError::of_interface(1, mtu.clone()).to_string(),
            "interfaces.mtu: net_tap1: an MTU of 9000: net_tap allows 68 to 1504"
        );
        assert_eq!(line(StartError::of_interface(0, mtu)), place("mtu"));
        let missing = natgw_dpdk::Error::NoDevice { device: device(), reason: "is not there".into() };
        assert_eq!(line(StartError::of_interface(1, missing)), place("device = \"net_tap1"));
        let source = std::io::Error::from_raw_os_error(12);
        assert_eq!(line(StartError::Tables { sessions: 7, source }), place("sessions"));
        assert_eq!(line(StartError::Dpdk(natgw_dpdk::Error::NoHugePages)), place("memory"));
        let cpu = |cpu| StartError::Dpdk(natgw_dpdk::Error::Cpu { cpu, allowed: "5".into() });
        assert_eq!([line(cpu(0)), line(cpu(1))], [place("main_lcore"), place("worker_lcores")]);
        assert_eq!(line(StartError::Dpdk(natgw_dpdk::Error::AlreadyInitialised)), None);
    }
}
