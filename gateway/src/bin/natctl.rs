//! Shows the state of a running NAT gateway; see [`gateway::natctl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    gateway::natctl::main()
}
