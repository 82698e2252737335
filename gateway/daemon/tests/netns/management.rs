//! What operators and Prometheus see of a running gateway.

use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::Signal;

use crate::lab::{Lab, Options, in_a_lab};
use crate::programs;

in_a_lab!(metrics_pass_promtool);
fn metrics_pass_promtool(lab: &mut Lab) {
    lab.a.exec("ping -q -c 2 -i 0.2 -W 2 198.51.100.10");
    let scrape = lab.work.path().join("metrics");
    lab.middle.exec(&format!("curl -fsS -o {} http://127.0.0.1:9464/metrics", scrape.display()));
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(std::fs::File::open(&scrape).expect("the scrape"));
    let output = promtool.output().expect("promtool is installed (scripts/setup.sh)");
    let complaints =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
}

in_a_lab!(natctl_shows_the_session_of_a_ping);
fn natctl_shows_the_session_of_a_ping(lab: &mut Lab) {
    lab.a.exec("ping -q -c 1 -W 2 -e 4660 198.51.100.10");
    let sessions = natctl(lab, &["sessions"]);
    let session = sessions.lines().find(|line| line.contains("10.64.0.11")).expect("the session");
    assert!(session.contains("198.51.100.10") && session.contains("203.0.113.1"), "{sessions}");
    for command in ["status", "interfaces", "pools", "mappings", "drops"] {
        assert!(!natctl(lab, &[command]).trim().is_empty(), "natctl {command} says nothing");
    }
}

/// Clients at once, fewer than connections that are served.
const CLIENTS: u16 = 48;
/// What each of them asks.
const QUESTIONS: u16 = 5;

in_a_lab!(requests_at_once_are_all_answered_each_with_its_own);
fn requests_at_once_are_all_answered_each_with_its_own(lab: &mut Lab) {
    lab.a.exec("ping -q -c 1 -W 2 198.51.100.10");
    let lab = &*lab;
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for question in 0..QUESTIONS {
                    match (client + question) % 6 {
                        0 => assert!(lab.gateway.get("/api/v1/sessions").contains("10.64.0.11")),
                        1 => assert!(lab.gateway.get("/api/v1/mappings").contains("\"sessions\":1")),
                        2 => {
                            let nobody = lab.gateway.get("/api/v1/sessions?inside=10.64.0.99");
                            assert!(nobody.contains("\"items\":[]"), "{nobody}");
                        }
                        3 => assert!(lab.gateway.get("/api/v1/subscribers").contains("10.64.0.11")),
                        4 => {
                            let gone = natctl(lab, &["sessions", "delete", "--inside", "10.64.0.99"]);
                            assert!(gone.contains('0'), "{gone}");
                        }
                        _ => {
                            let packet = ["explain", "udp", "10.64.0.11:1000", "198.51.100.10:53"];
                            assert!(natctl(lab, &packet).contains("10.64.0.11"));
                        }
                    }
                }
            });
        }
    });
}

/// What `natctl` prints; it must succeed.
pub(crate) fn natctl(lab: &Lab, arguments: &[&str]) -> String {
    let mut natctl = Command::new(programs::path("natctl"));
    natctl.arg("--socket").arg(lab.gateway.socket()).args(arguments).stdin(Stdio::null());
    let output = natctl.output().expect("natctl is built");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "natctl {}: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn sigint_ends_the_gateway_as_sigterm_does() {
    let mut lab = Lab::new(Options::DEFAULT);
    assert_eq!(lab.gateway.end_on(Signal::SIGINT).code(), Some(0));
    assert!(!lab.gateway.socket().exists(), "the control socket is left behind");
}
