//! What promtool says to the shipped Prometheus configuration, rules and alerts.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn promtool_takes_configuration_and_rules() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "--lint-fatal", "rules.yml", "alerts.yml"]);
}

#[test]
fn the_tests_of_alerts_and_rules_pass() {
    let files: Vec<String> = tests().iter().map(|path| path.display().to_string()).collect();
    promtool(&["test", "rules"].into_iter().chain(files.iter().map(String::as_str)).collect::<Vec<_>>());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/prometheus")
}

fn tests() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join("tests")).expect("the tests of the rules");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(folder()).output();
    let output = output.expect("promtool is installed (scripts/setup.sh)");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
}
