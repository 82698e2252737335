//! RFC 6888: ports in blocks, and what the log says of them.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::wait_within;
use crate::lab::{Lab, Options, SERVER, in_a_lab};
use crate::management::natctl;
use crate::reflector::{UdpReflector, ask, try_ask};
use crate::reload::{natctl_reload, rewrite};

const BLOCKS: Options = Options {
    pool: "port_block_size = 64\nport_blocks_per_subscriber = 2",
    timeouts: "udp = 6\nport_hold = 1",
    ..Options::DEFAULT
};
const IN_JSON: Options = Options { management: "[log]\nformat = \"json\"", ..BLOCKS };

in_a_lab!(rfc6888_req13_the_log_has_one_record_for_each_block_and_its_return, BLOCKS);
fn rfc6888_req13_the_log_has_one_record_for_each_block_and_its_return(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let sockets: Vec<_> = (0..150).map(|_| lab.a.udp(0)).collect();
    let (served, refused) = sockets.split_at(128);
    let seen: Vec<_> = served.iter().map(|socket| ask(socket, reflector.address)).collect();
    let blocks: HashSet<_> =
        seen.iter().map(|outside| (*outside.ip(), (outside.port() - 1024) / 64)).collect();
    assert_eq!(blocks.len(), 2);
    for socket in refused {
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        try_ask(socket, reflector.address).expect_err("a port beyond the blocks");
    }
    ask(&lab.b.udp(0), reflector.address);

    let subscribers = natctl(lab, &["subscribers"]);
    let pools = natctl(lab, &["pools"]);
    assert!(pools.contains("3+0 of 3024 x 64"), "{pools}");
    for (outside, block) in &blocks {
        let (first, last) = (1024 + block * 64, 1024 + block * 64 + 63);
        assert!(subscribers.contains(&format!("{first}-{last}")), "{subscribers}");
        let record = format!(
            "port block taken inside=10.64.0.11 outside={outside} ports={first}-{last} pool=\"main\""
        );
        assert_eq!(times(lab, &record), 1, "{record}");
    }
    for outside in [seen[0], seen[127]] {
        let holders = natctl(lab, &["whose", &outside.to_string()]);
        assert!(holders.contains("10.64.0.11") && holders.lines().count() == 2, "{holders}");
    }
    assert_eq!(natctl(lab, &["whose", "10.64.0.11"]).lines().count(), 3);
    let metrics = lab.gateway.settled();
    assert!(metrics.dropped("subscriber-port-blocks") >= 22, "{:?}", metrics.drops());
    assert_eq!(metrics.sum("pool_blocks_used", &[]), 3);

    wait_for_return(lab, 3);
    assert_eq!(times(lab, "port block taken"), 3);
    assert_eq!(times(lab, &SERVER.to_string()), 0, "the log says who was spoken to (RFC 6888 REQ-12)");
    assert_eq!(natctl(lab, &["whose", "10.64.0.11"]), "nobody has it to itself now\n");
    let metrics = lab.gateway.metrics();
    assert_eq!((metrics.sum("pool_blocks_used", &[]), metrics.sum("pool_blocks_held", &[])), (0, 0));
}

/// How many lines of the log have this in them.
fn times(lab: &Lab, text: &str) -> usize {
    lab.gateway.log().lines().filter(|line| line.contains(text)).count()
}

/// Until so many blocks have been given back, by the log.
fn wait_for_return(lab: &Lab, blocks: usize) {
    wait_within(Duration::from_secs(30), "the blocks come back", || {
        times(lab, "port block given back") >= blocks
    });
}

in_a_lab!(rfc6888_req13_a_record_has_fields_where_the_log_is_json, IN_JSON);
fn rfc6888_req13_a_record_has_fields_where_the_log_is_json(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let outside = ask(&lab.a.udp(0), reflector.address);
    wait_for_return(lab, 1);
    let lines: Vec<Value> = lab
        .gateway
        .log()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let first = outside.port() - (outside.port() - 1024) % 64;
    let facts = json!({
        "inside": "10.64.0.11", "outside": outside.ip(), "ports": format!("{first}-{}", first + 63), "pool": "main"
    });
    for message in ["port block taken", "port block given back"] {
        let records: Vec<&Value> = lines.iter().filter(|line| line["message"] == message).collect();
        assert_eq!(records.len(), 1, "{message}");
        for (field, value) in facts.as_object().unwrap() {
            assert_eq!(&records[0][field], value, "{}", records[0]);
        }
    }
}

in_a_lab!(reload_adds_an_address_and_blocks_stay_where_they_are, BLOCKS);
fn reload_adds_an_address_and_blocks_stay_where_they_are(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let sockets: Vec<_> = (0..100).map(|_| lab.a.udp(0)).collect();
    let before: Vec<_> = sockets.iter().map(|socket| ask(socket, reflector.address)).collect();
    rewrite(lab, |text| {
        let (old, new) = ("203.0.113.12\"]", "203.0.113.12\", \"203.0.113.30\"]");
        assert!(text.contains(old), "{text}");
        text.replacen(old, new, 1)
    });
    let output = natctl_reload(lab);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("configuration generation 2 is in force\n"), "{output:?}");
    assert!(!said.contains("restart"), "{said}");
    let after: Vec<_> = sockets.iter().map(|socket| ask(socket, reflector.address)).collect();
    assert_eq!(before, after);
    ask(&lab.b.udp(0), reflector.address);
    lab.gateway.settled();
    let pools = natctl(lab, &["pools"]);
    assert!(pools.contains("3+0 of 4032 x 64"), "{pools}");
}
