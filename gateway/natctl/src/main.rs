//! Shows the state of a running NAT gateway; see [`natctl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    natctl::main()
}
