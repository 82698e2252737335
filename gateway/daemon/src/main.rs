//! `nat-gateway`: runs the gateway, or checks its configuration.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use nat_gateway::cli::{Cli, Command};
use nat_gateway::log;
use nat_gateway::start::machine;
use natgw_api::types::Whose;
use natgw_config::Config;
use natgw_management::convert;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (config, text) = match Config::load_with_text(&cli.config) {
        Ok(loaded) => loaded,
        Err(error) => return refuse(&error),
    };
    match cli.command {
        Some(Command::Check) => check(&config),
        Some(Command::Whose { whose }) => tell_whose(&config, whose),
        None => run(&cli, config, text),
    }
}

fn check(config: &Config) -> ExitCode {
    for warning in &config.warnings {
        eprintln!("{warning} (warning)");
    }
    for warning in machine::warnings(config, Path::new("/")) {
        eprintln!("machine: {warning} (warning)");
    }
    // A reader that has closed the pipe has read enough.
    let _ = io::stdout().write_all(config.explain().as_bytes());
    ExitCode::SUCCESS
}

fn tell_whose(config: &Config, whose: Whose) -> ExitCode {
    let holdings = convert::holdings(config, whose);
    for holding in &holdings {
        // A reader that has closed the pipe has read enough.
        let _ = writeln!(io::stdout(), "{holding}");
    }
    if holdings.is_empty() {
        eprintln!("the configuration does not tell: no pool with deterministic mapping has it");
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

fn run(cli: &Cli, config: Config, text: String) -> ExitCode {
    let format = cli.log_format.unwrap_or(config.log.format);
    let level = cli.log_level.unwrap_or(config.log.level);
    log::init(format, level).expect("the process has no log yet");
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    match nat_gateway::run(config, &cli.config, text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// What is wrong, a line each, and the exit code for configuration and environment.
fn refuse(error: &impl std::fmt::Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(2)
}
