//! What the program says to wrong arguments, before it touches a device.

use std::process::{Command, Output};

fn generator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nat-trafficgen")).args(arguments).output().unwrap()
}

#[test]
fn every_command_is_described() {
    let output = generator(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for command in ["load", "sessions", "rfc9693", "io", "pcap", "cores"] {
        assert!(text.contains(&format!("\n  {command} ")), "{command} is not in\n{text}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in
        [&[][..], &["lode"], &["load"], &["load", "--flows", "many"], &["rfc9693", "--flows", "1"]]
    {
        let output = generator(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}
