//! What is right by itself and too much or too little together.

use super::mistakes::{WORKERS, assert_refused};
use super::{EXAMPLE, example_with, parse};
use natgw_nat::PortBlocks;

#[test]
fn a_pool_with_fewer_ports_than_workers_is_refused() {
    let text = example_with(WORKERS, "worker_lcores = \"1-8\" #");
    let text = text.replace("ports = \"1024-65535\"", "ports = \"5000-5006\" #!");
    assert_refused(&text, &["nat.pools.ports, found 5000-5006 (7 ports), allowed 8 ports or more"]);
}

const PORTS: &str = "ports = \"1024-65535\"";

#[test]
fn port_blocks_are_taken_and_told() {
    let with = |keys: &str| example_with(PORTS, &format!("{PORTS}\n{keys}"));
    let config = parse(&with("port_block_size = 512\nport_blocks_per_subscriber = 3"));
    let pool = &config.settings.pools[0];
    assert_eq!(pool.port_blocks, Some(PortBlocks { size: 512, per_subscriber: 3 }));
    assert_eq!(config.warnings, []);
    let words = config.explain();
    assert!(words.contains("378 blocks of 512 ports, at most 3 for each subscriber"), "{words}");
    assert_eq!(
        parse(&with("port_block_size = 512")).settings.pools[0].port_blocks.as_ref().unwrap().per_subscriber,
        4
    );
    let warned = parse(&with("port_block_size = 30_000"));
    let warning = warned.warnings[0].to_string();
    assert!(
        warning.contains("nat.pools.port_block_size, found 30000") && warning.contains("leaves 4512"),
        "{warning}"
    );
}

#[test]
fn a_pool_smaller_than_its_port_blocks_is_refused() {
    let with = |ports: &str, keys: &str| example_with(PORTS, &format!("ports = \"{ports}\"\n{keys}"));
    for (ports, keys, fragment) in [
        ("2000-2099", "port_block_size = 101 #!", "port_block_size, found 101, allowed at most 100"),
        ("2000-2099", "port_block_size = 15 #!", "port_block_size, found 15, allowed 16-32768"),
        (
            "2000-2099",
            "port_blocks_per_subscriber = 2 #!",
            "port_blocks_per_subscriber, found 2, allowed it only beside",
        ),
        ("2000-2099", "port_block_size = 16\nport_blocks_per_subscriber = 33 #!", "found 33, allowed 1-32"),
    ] {
        assert_refused(&with(ports, keys), &[fragment]);
    }
    let text = with("2000-2099", "port_block_size = 16 #!").replace(WORKERS, "worker_lcores = \"1-8\" #");
    assert_refused(&text, &["port_block_size, found 16, allowed at most 12: 8 workers share"]);
    let shared = with("1024-65535", "port_block_size = 512")
        .replace("mapping = \"endpoint-independent\"", "mapping = \"address-and-port-dependent\" #!");
    let shared = shared.replace("filtering = \"address-dependent\"", "#");
    assert_refused(
        &shared,
        &["nat.pools.mapping, found address-and-port-dependent", "allowed endpoint-independent"],
    );
}

#[test]
fn rfc7422_ranges_are_derived_or_given_and_told() {
    let with = |keys: &str| parse(&example_with(PORTS, &format!("{PORTS}\n{keys}")));
    let config = with("deterministic = [\"100.64.0.0/22\", \"10.64.0.0/25\"]");
    let pool = &config.settings.pools[0];
    let deterministic = pool.deterministic.as_ref().unwrap();
    // 1152 subscribers, 384 to each of three addresses.
    assert_eq!((deterministic.subscribers(), deterministic.size), (1152, 168));
    assert_eq!(pool.port_blocks, None);
    let words = config.explain();
    let told =
        "deterministic for 1,152 addresses of 100.64.0.0/22, 10.64.0.0/25: 168 ports each, 384 to an address";
    assert!(words.contains(told), "{words}");
    let line = |holding: &crate::Holding| holding.to_string();
    let whose = |what: &str| {
        let of_endpoint = || config.deterministic_owner(what.parse().unwrap());
        let found = what.parse().map_or_else(|_| of_endpoint(), |inside| config.deterministic_ports(inside));
        found.iter().map(line).collect::<String>()
    };
    let line = "100.64.1.128 has 203.0.113.11 ports 1024-1191 in pool main";
    assert_eq!([whose("100.64.1.128"), whose("203.0.113.11:1191")], [line; 2]);
    assert_eq!([whose("10.64.0.128"), whose("203.0.113.11:80"), whose("203.0.113.99:5000")], [""; 3]);

    let given = with("deterministic = [\"100.64.0.0/24\"]\nport_block_size = 504");
    assert_eq!(given.settings.pools[0].deterministic.as_ref().unwrap().size, 504);
}

#[test]
fn rfc7422_more_subscribers_than_the_ports_are_for_are_refused() {
    let with = |keys: &str| example_with(PORTS, &format!("{PORTS}\n{keys}"));
    for (keys, fragment) in [
        (
            "deterministic = [\"100.64.0.0/18\"] #!",
            "found 16384 addresses, allowed at most 12096: 3 outside addresses",
        ),
        (
            "port_block_size = 504\ndeterministic = [\"100.64.0.0/23\"] #!",
            "found 512 addresses, allowed at most 384",
        ),
        (
            "deterministic = [\"100.64.0.0/24\", \"100.64.0.128/25\"] #!",
            "found 100.64.0.128/25, allowed hosts that",
        ),
        ("deterministic = [] #!", "nat.pools.deterministic, found an empty array"),
        (
            "deterministic = [\"100.64.0.0/24\"]\nport_blocks_per_subscriber = 2 #!",
            "allowed it only without deterministic",
        ),
    ] {
        assert_refused(&with(keys), &[fragment]);
    }
}

#[test]
fn fewer_sessions_than_workers_are_refused() {
    let text = example_with(WORKERS, "worker_lcores = \"1-8\" #");
    let text = text.replace("sessions = 1_000_000 ", "sessions = 7 #!\n#");
    assert_refused(&text, &["nat.limits.sessions, found 7, allowed 8 or more"]);
}

#[test]
fn limits_of_a_subscriber_are_by_protocol_where_they_say_so() {
    let keys = "tcp_ports_per_subscriber = 9\nudp_sessions_per_subscriber = 8\nsessions_per_subscriber = 0\n\
                half_open_per_subscriber = 7\nudp_new_sessions_per_subscriber_per_s = 6\n\
                other_new_sessions_per_subscriber_per_s = 1\n";
    let config =
        parse(&example_with("ports_per_subscriber = 1024", &format!("{keys}ports_per_subscriber = 1024")));
    let limits = config.settings.limits;
    assert_eq!(limits.protocol_ports_per_subscriber, [None, Some(9), None]);
    assert_eq!(limits.protocol_sessions_per_subscriber, [8, u32::MAX, u32::MAX, u32::MAX]);
    assert_eq!((limits.sessions_per_subscriber, limits.half_open_per_subscriber), (u32::MAX, 7));
    let rates = limits.protocol_new_sessions_per_subscriber_per_s;
    assert_eq!(rates, [6, u32::MAX, u32::MAX, 1]);
    let words = config.explain();
    let told = "any number of sessions, 7 half-open connections, 8 sessions udp, 6 new sessions per second udp, \
                9 ports tcp, 1 new session per second other";
    assert!(words.contains(told), "{words}");
    let text = example_with("ports_per_subscriber = 1024", "half_open_per_subscriber = 65536 #!\n");
    assert_refused(&text, &["nat.limits.half_open_per_subscriber, found 65536, allowed 0-65535"]);
}

#[test]
fn more_interfaces_than_the_limit_are_refused() {
    let mut text = EXAMPLE.to_owned();
    for nth in 2..9 {
        let mark = if nth == 8 { " #!" } else { "" };
        text.push_str(&format!(
            "[[interfaces]]{mark}\nname = \"i{nth}\"\ndevice = \"net_tap{nth}\"\nrole = \"inside\"\n\
             addresses = [\"10.{nth}.0.1/24\"]\n"
        ));
    }
    assert_refused(&text, &["interfaces, found 9, allowed at most 8"]);
}

#[test]
fn more_forwarded_ports_than_the_limit_are_refused() {
    let mut text = EXAMPLE.to_owned();
    for host in 100..117 {
        let mark = if host == 116 { " #!" } else { "" };
        text.push_str(&format!(
            "[[nat.port_forwards]]\nprotocol = \"udp\"\nexternal = \"203.0.113.{host}:1-65535\"{mark}\n\
             internal = \"10.64.0.{host}:1-65535\"\n"
        ));
    }
    assert_refused(&text, &["nat.port_forwards.external, found 65535 ports, allowed at most 1048576 in all"]);
}

#[test]
fn more_static_addresses_than_the_limit_are_refused() {
    let text = EXAMPLE.replace("10.64.0.1/24", "10.64.0.1/8").replace("10.64.0.0/24", "10.0.0.0/8");
    let text = format!("{text}[[nat.static]]\nexternal = \"198.0.0.0/15\" #!\ninternal = \"10.2.0.0/15\"\n");
    assert_refused(
        &text,
        &["nat.static.external, found 131072 addresses, allowed at most 65536 in all static"],
    );
}

#[test]
fn there_is_room_for_as_many_subscribers_as_sessions_or_as_many_as_the_file_says() {
    let subscribers = |text: &str| parse(text).settings.limits.subscribers;
    assert_eq!(subscribers(&example_with("sessions = 1_000_000", "sessions = 2_000_000")), 2_000_000);
    let text = example_with("sessions = 1_000_000", "sessions = 2_000_000\nsubscribers = 3000");
    assert_eq!(subscribers(&text), 3000);
    assert!(parse(&text).explain().contains("2,000,000 sessions, 3,000 subscribers and"));
    let none = example_with("sessions = 1_000_000", "sessions = 1_000_000\nsubscribers = 0 #!");
    assert_refused(&none, &["nat.limits.subscribers, found 0, allowed 1-134217728"]);
}
