//! TCP throughput as iperf3 sees it. The rates are reported, and only held against a floor that any machine passes:
//! both ends and the gateway share its CPUs, and the tests are not built for speed.

use std::io::{self, Write};

use crate::lab::{ALONE, Lab, in_a_lab};

const FLOOR_MBIT_S: f64 = 20.0;

in_a_lab!(iperf3_tcp_both_ways, ALONE);
fn iperf3_tcp_both_ways(lab: &mut Lab) {
    let _server = lab.server.spawn("iperf3 --server");
    for (way, option) in [("inside to outside", ""), ("outside to inside", "--reverse")] {
        let report = retry(|| {
            let output = lab.a.try_exec(&format!("iperf3 --client 198.51.100.10 --time 3 --json {option}"));
            serde_json::from_slice::<serde_json::Value>(&output.stdout).ok()
        });
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0) / 1e6;
        // Past the test runner's capture: a rate is worth reading when the test passes, too.
        let _ = writeln!(io::stderr(), "iperf3 {way}: {rate:.0} Mbit/s");
        assert!(rate > FLOOR_MBIT_S, "{way}: {rate:.0} Mbit/s: {report}");
    }
}

/// The report of a client whose server may still be starting.
fn retry(client: impl Fn() -> Option<serde_json::Value>) -> serde_json::Value {
    for _ in 0..20 {
        match client() {
            Some(report) if report["error"].is_null() => return report,
            _ => std::thread::sleep(std::time::Duration::from_millis(200)),
        }
    }
    client().expect("iperf3 reports in JSON")
}
