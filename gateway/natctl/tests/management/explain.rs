//! Questions about packets, over HTTP and by `natctl`.

use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use crate::client::{post, request};
use crate::{Running, start};

fn natctl(server: &Running, arguments: &[&str]) -> Output {
    let mut natctl = Command::new(env!("CARGO_BIN_EXE_natctl"));
    natctl.arg("--socket").arg(&server.socket).arg("explain").args(arguments).output().unwrap()
}

#[test]
fn explain_needs_no_token_since_nothing_changes() {
    let server = start();
    let path = "/api/v1/explain?protocol=udp&source=10.64.0.5:4000&destination=198.51.100.7:53";
    let response = post(server.address, path, None);
    assert_eq!(response.status, 200);
    let explanation = response.json();
    assert_eq!(explanation["outcome"], "new-session");
    assert_eq!((&explanation["rule"], &explanation["pool"]), (&2.into(), &"main".into()));
    assert_eq!(explanation["destination"], "198.51.100.7:53");
    assert_eq!(explanation.get("reason"), None, "what had no part is left out");
    assert_eq!(
        post(server.address, &format!("{path}&direction=inbound"), None).json()["direction"],
        "inbound"
    );
    assert_eq!(request(server.address, "GET", path).status, 405);
    let gre = "?protocol=gre&source=10.64.0.5&destination=198.51.100.7";
    assert_eq!(post(server.address, &format!("/api/v1/explain{gre}"), None).status, 200);
    let wrong = [
        ("", 400),
        ("?protocol=gre", 400),
        ("?protocol=ipsec&source=10.64.0.5&destination=198.51.100.7", 400),
        ("?protocol=udp&source=10.64.0.5&destination=198.51.100.7:53", 422),
        ("?protocol=gre&source=10.64.0.5&destination=198.51.100.7:53", 422),
    ];
    for (wrong, status) in wrong {
        let response = post(server.address, &format!("/api/v1/explain{wrong}"), None);
        assert_eq!(
            (response.status, response.content_type()),
            (status, "application/problem+json"),
            "{wrong}"
        );
    }
    server.gateway.workers_hang.store(true, Ordering::Relaxed);
    assert_eq!(post(server.address, path, None).status, 503);
}

#[test]
fn natctl_explains_in_lines() {
    let server = start();
    let output = natctl(&server, &["udp", "10.64.0.5:4000", "198.51.100.7:53"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "outcome     forwarded, and begins a session\n\
         worker      1, outbound\n\
         rule        2\n\
         outside by  pool\n\
         pool        main, address-dependent filtering\n\
         leaves as   a free port -> 198.51.100.7:53\n\
         route       0.0.0.0/0 via 203.0.113.1 on outside\n\
         next hop    203.0.113.1, 02:00:00:00:00:02 reachable\n"
    );
    let output = natctl(&server, &["--json", "icmp", "10.64.0.5:7", "198.51.100.7", "--from", "outside"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["direction"], &json["destination"]), (&"inbound".into(), &"198.51.100.7".into()));
    let output = natctl(&server, &["gre", "10.64.0.5", "198.51.100.7"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("-> 198.51.100.7\n"), "{output:?}");
    assert_eq!(natctl(&server, &["gre", "10.64.0.5:1", "1.1.1.1"]).status.code(), Some(1));
    for wrong in [&["ipsec", "10.64.0.5", "1.1.1.1"][..], &["udp", "host:1", "1.1.1.1:1"], &["udp"]] {
        assert_eq!(natctl(&server, wrong).status.code(), Some(2), "{wrong:?}");
    }
}
