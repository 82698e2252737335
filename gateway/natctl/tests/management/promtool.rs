//! What promtool says to the metrics.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::metrics::scrape;

#[test]
fn promtool_has_nothing_to_say() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus, checks the metrics");
    promtool.stdin.take().unwrap().write_all(scrape().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}
