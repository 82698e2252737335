//! RFC 7422: whose an outside endpoint is follows from the configuration, which is asked offline.

use std::net::SocketAddrV4;
use std::process::Command;

use crate::gateway::program;
use crate::lab::{HOST_A, HOST_B, Lab, Options, SERVER, in_a_lab};
use crate::management::natctl;
use crate::reflector::{UdpReflector, ask};

const FIXED: Options = Options { pool: "deterministic = [\"10.64.0.8/29\"]", ..Options::DEFAULT };

in_a_lab!(rfc7422_the_configuration_tells_whose_an_outside_endpoint_is, FIXED);
fn rfc7422_the_configuration_tells_whose_an_outside_endpoint_is(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    for (host, address) in [(&lab.a, HOST_A), (&lab.b, HOST_B)] {
        for _ in 0..20 {
            let seen = ask(&host.udp(0), reflector.address);
            let answer = whose(lab, &seen.to_string());
            assert!(answer.starts_with(&format!("{address} has {} ports ", seen.ip())), "{seen}: {answer}");
            assert_eq!(answer, whose(lab, &address.to_string()));
        }
    }
    // Eight subscribers on three addresses: three to an address, 21504 ports each. Host a is the fourth of them.
    assert_eq!(whose(lab, "10.64.0.11"), "10.64.0.11 has 203.0.113.11 ports 1024-22527 in pool main\n");
    let nobody = SocketAddrV4::new(std::net::Ipv4Addr::new(203, 0, 113, 12), 65_000);
    assert_eq!(whose(lab, &nobody.to_string()), "");
    let running = natctl(lab, &["whose", "203.0.113.11:5000"]);
    assert!(running.contains("10.64.0.11") && running.contains("deterministic"), "{running}");
    assert_eq!(lab.gateway.log().matches("port block").count(), 0);
}

in_a_lab!(rfc7422_explain_computes_both_ways, FIXED);
fn rfc7422_explain_computes_both_ways(lab: &mut Lab) {
    let line = "ports of    10.64.0.11: 203.0.113.11:1024-22527, deterministic, pool main\n";
    let out = natctl(lab, &["explain", "udp", "10.64.0.11:5000", "198.51.100.10:53"]);
    assert!(out.contains(line), "{out}");
    // No mapping has this endpoint, and still its subscriber is named.
    let back = natctl(lab, &["explain", "udp", "198.51.100.10:53", "203.0.113.11:22527"]);
    assert!(back.contains("no-mapping") && back.contains(line), "{back}");
    let nobody = natctl(lab, &["explain", "udp", "198.51.100.10:53", "203.0.113.12:65000"]);
    assert!(!nobody.contains("ports of"), "{nobody}");
}

/// What the program says of the lab's configuration.
fn whose(lab: &Lab, what: &str) -> String {
    let file = lab.work.path().join("gateway.toml");
    let output = Command::new(program()).arg("--config").arg(file).args(["whose", what]).output();
    String::from_utf8(output.expect("it runs").stdout).expect("UTF-8")
}
