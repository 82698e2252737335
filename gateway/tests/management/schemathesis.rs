//! Schemathesis asks the server for everything that the OpenAPI document allows, and for much that it does not.

use std::process::Command;

use crate::{Running, TOKEN, start_with, token};

/// Requests to a route in each phase, beyond those that cover every parameter.
const EXAMPLES: &str = "20";

/// Has every route tried by all checks. What was 503 would be a fault: this gateway always answers in time.
fn try_all(server: &Running, authorization: Option<&str>) {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("schemathesis.toml");
    std::fs::write(&settings, SETTINGS).unwrap();
    let mut schemathesis = Command::new("schemathesis");
    schemathesis.current_dir(&directory).arg("--config-file").arg(settings).arg("run");
    schemathesis.args([
        "--checks=all",
        "--no-color",
        "--generation-deterministic",
        "--max-examples",
        EXAMPLES,
    ]);
    schemathesis.args(authorization.map(|value| format!("--header=Authorization: {value}")));
    schemathesis.arg(format!("http://{}/api/v1/openapi.json", server.address));
    let output = schemathesis.output().expect("schemathesis, which scripts/setup.sh installs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// What is right by itself may be refused together (422), or name nothing (404).
const SETTINGS: &str = "
[checks.positive_data_acceptance]
expected-statuses = [\"2xx\", 401, 403, 404, 409, 422]
";

#[test]
fn schemathesis_finds_nothing_with_the_token() {
    try_all(&start_with(Some(token())), Some(&format!("Bearer {TOKEN}")));
}

#[test]
fn schemathesis_finds_nothing_without_the_token() {
    try_all(&start_with(Some(token())), None);
}
