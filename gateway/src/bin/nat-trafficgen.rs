//! A traffic generator for NAT gateways; see [`gateway::trafficgen`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match gateway::trafficgen::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
