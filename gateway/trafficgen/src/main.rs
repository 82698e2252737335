//! A traffic generator for NAT gateways; see [`nat_trafficgen`].

use std::process::ExitCode;

fn main() -> ExitCode {
    match nat_trafficgen::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
