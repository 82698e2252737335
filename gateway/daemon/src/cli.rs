//! The command line of `nat-gateway`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use natgw_api::types::Whose;
use natgw_config::log::{Format, Level};

/// A NAT gateway on DPDK poll-mode drivers.
///
/// Without a command it runs in the foreground until SIGTERM or SIGINT and logs to stderr.
#[derive(Debug, Parser)]
#[command(name = "nat-gateway", version)]
pub struct Cli {
    /// The configuration, TOML.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/nat-gateway/gateway.toml")]
    pub config: PathBuf,
    /// How log lines look; overrides the configuration.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<Format>,
    /// The least important messages that are logged; overrides the configuration.
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log_level: Option<Level>,
    /// What to do other than run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do other than run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Check the configuration and say what it means, without touching a device.
    Check,
    /// Say which outside ports a subscriber has, or whose an outside endpoint is, where the configuration alone tells
    /// (deterministic mapping, RFC 7422). Exit code 1 where it does not.
    Whose {
        /// An inside address, or an outside address with a port.
        #[arg(value_name = "ADDRESS[:PORT]")]
        whose: Whose,
    },
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
    fn check_takes_the_file_before_and_behind_its_name() {
        for line in
            [["nat-gateway", "check", "--config", "a.toml"], ["nat-gateway", "--config", "a.toml", "check"]]
        {
            let cli = Cli::try_parse_from(line).unwrap();
            assert_eq!((cli.command, cli.config), (Some(Command::Check), PathBuf::from("a.toml")));
        }
    }

    #[test]
    fn log_options_are_words() {
        let line = ["nat-gateway", "--config", "a.toml", "--log-format", "json", "--log-level", "debug"];
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!((cli.log_format, cli.log_level), (Some(Format::Json), Some(Level::Debug)));
        assert!(Cli::try_parse_from(["nat-gateway", "--log-format", "xml"]).is_err());
    }
}
