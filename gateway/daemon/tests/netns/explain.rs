//! Explanations by a running gateway, held against what hosts then see.

use std::net::SocketAddrV4;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::clients::wait_until;
use crate::lab::{FORWARD_TCP, HOST_A, HOST_B, Lab, Options, SERVER, in_a_lab};
use crate::programs;
use crate::reflector::{UdpReflector, ask};

/// What `natctl explain` prints, with `--json` and without.
fn explained(lab: &Lab, arguments: &[&str]) -> (Value, String) {
    let run = |json: &[&str]| {
        let mut natctl = Command::new(programs::path("natctl"));
        natctl.arg("--socket").arg(lab.gateway.socket()).arg("explain").args(json).args(arguments);
        let output = natctl.stdin(Stdio::null()).output().expect("natctl is built");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    (serde_json::from_str(&run(&["--json"])).expect("JSON"), run(&[]))
}

/// Sessions, mappings, and drops but for those of frames that kernels send by themselves when a link comes up.
fn state(lab: &Lab) -> [Value; 3] {
    let get =
        |table| serde_json::from_str::<Value>(&lab.gateway.get(&format!("/api/v1/{table}"))).expect("JSON");
    let drops = get("drops")["reasons"].as_array().expect("reasons").clone();
    let of_links = ["not-for-us", "ethertype"];
    let others = drops.into_iter().filter(|drop| !of_links.iter().any(|of| drop["reason"] == **of));
    [get("sessions"), get("mappings"), others.collect()]
}

in_a_lab!(explain_foretells_what_hosts_see_and_leaves_no_trace);
fn explain_foretells_what_hosts_see_and_leaves_no_trace(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let (from, to) = (SocketAddrV4::new(HOST_A, 4000).to_string(), reflector.address.to_string());
    // The router may be asked for its address once more after the bridges were changed.
    wait_until("the router answers ARP", || {
        explained(lab, &["udp", &from, &to]).0["neighbor"]["state"] == "reachable"
    });
    lab.gateway.settled();
    let before = state(lab);
    let (new, text) = explained(lab, &["udp", &from, &to]);
    assert_eq!(
        (&new["outcome"], &new["rule"], &new["pool"]),
        (&"new-session".into(), &1.into(), &"main".into())
    );
    assert_eq!(new["next_hop"], "203.0.113.1");
    assert_eq!(new["neighbor"]["state"], "reachable");
    assert!(text.contains("198.51.100.0/24 via 203.0.113.1 on outside"), "{text}");
    let (forwarded, _) = explained(lab, &["tcp", &format!("{SERVER}:5000"), &FORWARD_TCP.to_string()]);
    let inward = (&forwarded["outcome"], &forwarded["destination"], &forwarded["route"]["interface"]);
    assert_eq!(inward, (&"mapping".into(), &"10.64.0.12:80".into(), &"inside".into()));
    let (spoofed, text) = explained(lab, &["udp", "192.0.2.1:9", &to, "--from", "inside"]);
    assert_eq!((&spoofed["outcome"], &spoofed["reason"]), (&"drop".into(), &"spoofed-inside".into()));
    assert!(text.starts_with("outcome     dropped: spoofed-inside\ndecided by  routes\n"), "{text}");
    let (unsolicited, _) = explained(lab, &["udp", &to, "203.0.113.10:4000"]);
    assert_eq!(
        (&unsolicited["reason"], &unsolicited["key"]),
        (&"no-mapping".into(), &"nat.port_forwards".into())
    );
    assert_eq!(state(lab), before, "asking made nothing and counted nothing");

    let seen = ask(&lab.a.udp(4000), reflector.address);
    let (session, _) = explained(lab, &["udp", &from, &to]);
    assert_eq!((&session["outcome"], &session["source"]), (&"session".into(), &seen.to_string().into()));
    assert_eq!(session["session"]["packets_out"], 1);
    assert_eq!(session["subscriber"]["sessions"], 1);
    let (back, _) = explained(lab, &["udp", &to, &seen.to_string()]);
    assert_eq!((&back["direction"], &back["destination"]), (&"inbound".into(), &from.clone().into()));
    // Host B at host A's outside endpoint: out by its own, and in again where host A's filtering lets it.
    let (hairpin, text) = explained(lab, &["udp", "10.64.0.12:5300", &seen.to_string()]);
    assert_eq!((&hairpin["hairpins"], &hairpin["source"]), (&true.into(), &"203.0.113.13:5353".into()));
    assert_eq!(hairpin["then"]["reason"], "filtered", "{text}");
    // From an endpoint that would get its port only then, too; and host A at its own, which that lets in.
    let (drawn, text) = explained(lab, &["udp", &format!("{HOST_B}:4000"), &seen.to_string()]);
    assert_eq!((&drawn["source"], &drawn["then"]["reason"]), (&Value::Null, &"filtered".into()), "{text}");
    let (own, text) = explained(lab, &["udp", &from, &seen.to_string()]);
    let then = (&own["then"]["outcome"], &own["then"]["destination"], &own["then"]["route"]["interface"]);
    assert_eq!(then, (&"session".into(), &from.into(), &"inside".into()), "{text}");
}

const GRE: Options = Options { pool: "other_protocols = [\"gre\"]", ..Options::DEFAULT };

in_a_lab!(explain_knows_protocols_without_ports, GRE);
fn explain_knows_protocols_without_ports(lab: &mut Lab) {
    let (from, to) = (HOST_A.to_string(), SERVER.to_string());
    let (new, text) = explained(lab, &["gre", &from, &to]);
    assert_eq!((&new["outcome"], &new["pool"]), (&"new-session".into(), &"main".into()), "{text}");
    assert!(text.contains("-> 198.51.100.10\n"), "{text}");
    let (refused, text) = explained(lab, &["esp", &from, &to]);
    assert_eq!((&refused["outcome"], &refused["reason"]), (&"reject".into(), &"protocol".into()), "{text}");
    let (refused, text) = explained(lab, &["ah", &from, &to]);
    assert_eq!(refused["reason"], "authentication-header", "{text}");
}
