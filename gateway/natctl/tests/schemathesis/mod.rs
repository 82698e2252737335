//! Schemathesis asks a management server for everything that its OpenAPI document allows, and for much that it does not.

use std::net::SocketAddr;
use std::process::Command;

/// Requests to a route in each phase, beyond those that cover every parameter.
const EXAMPLES: &str = "20";

/// What is right by itself may be refused together (422), or name nothing (404).
const SETTINGS: &str = "
[checks.positive_data_acceptance]
expected-statuses = [\"2xx\", 401, 403, 404, 409, 422]
";

/// Has every route of `server` but some tried by all checks, by this command. What was 503 would be a fault: the gateways
/// that are asked always answer in time.
pub(crate) fn try_all(
    mut schemathesis: Command,
    server: SocketAddr,
    authorization: Option<&str>,
    but: &[&str],
) {
    let directory = tempfile::tempdir().unwrap();
    let settings = directory.path().join("schemathesis.toml");
    std::fs::write(&settings, SETTINGS).unwrap();
    schemathesis.current_dir(&directory).arg("--config-file").arg(settings).arg("run");
    schemathesis.args([
        "--checks=all",
        "--no-color",
        "--generation-deterministic",
        "--max-examples",
        EXAMPLES,
    ]);
    schemathesis.args(authorization.map(|value| format!("--header=Authorization: {value}")));
    schemathesis.args(but.iter().map(|path| format!("--exclude-path={path}")));
    schemathesis.arg(format!("http://{server}/api/v1/openapi.json"));
    let output = schemathesis.output().expect("schemathesis, which scripts/setup.sh installs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
