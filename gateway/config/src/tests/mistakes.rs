//! Each kind of mistake: its line and what is said about it.
//!
//! A case replaces one piece of the example's text. The mistake is expected on the line that ends in `#!`.

use super::additions::ADDITIONS;
use super::{example_and, example_with};
use crate::{Config, Diagnostic};

const OUTSIDE: &str = "addresses = [\"203.0.113.2/24\"]";
const POOL: &str = "addresses = [\"203.0.113.10-203.0.113.12\"]   # addresses, ranges, prefixes; or interface = \"outside\" (masquerade)";
pub(super) const WORKERS: &str = "worker_lcores = [1]                # CPU numbers";

/// Text to replace, what with, and what the message says.
type Case = (&'static str, &'static str, &'static [&'static str]);

const VALUES: &[Case] = &[
    ("main_lcore = 0 ", "main_lcore = -1 #!\n", &["dpdk.main_lcore, found -1, allowed 0-1023"]),
    ("main_lcore = 0 ", "main_lcore = \"0\" #!\n", &["dpdk.main_lcore, found \"0\", allowed 0-1023"]),
    (WORKERS, "worker_lcores = [] #!\n#", &["dpdk.worker_lcores, found 0 CPU numbers, allowed 1 to 64"]),
    (WORKERS, "worker_lcores = \"8-1\" #!\n#", &["found \"8-1\", allowed 1 to 64 CPU numbers"]),
    (WORKERS, "worker_lcores = \"1-65\" #!\n#", &["found 65 CPU numbers"]),
    (WORKERS, "worker_lcores = [1, 5000] #!\n#", &["found 5000, allowed 0-1023"]),
    (
        "memory = \"auto\" ",
        "memory = \"hugepage\" #!\n",
        &["dpdk.memory, found \"hugepage\", allowed hugepages (nearest), auto, no-huge"],
    ),
    ("idle = \"backoff\" ", "idle = true #!\n", &["dpdk.idle, found true, allowed poll, backoff"]),
    ("eal_args = [] ", "eal_args = \"-v\" #!\n", &["dpdk.eal_args, found \"-v\", allowed an array"]),
    (
        "role = \"inside\"",
        "role = \"insde\" #!",
        &["interfaces.role, found \"insde\", allowed inside (nearest), outside"],
    ),
    (
        "name = \"outside\"",
        "name = \"out side\" #!",
        &["interfaces.name, found \"out side\", allowed 1 to 32 letters"],
    ),
    (
        "name = \"outside\"",
        "name = \"inside\" #!",
        &["interfaces.name, found \"inside\", allowed each once; it stands on line 9"],
    ),
    (
        "net_tap1,iface=tap-out\"",
        "net_tap0,iface=tap-out\" #!",
        &["interfaces.device, found \"net_tap0\", allowed each once"],
    ),
    (
        "net_tap1,iface=tap-out\"",
        "tap1\" #!",
        &["interfaces.device, found \"tap1\", allowed a PCI address like"],
    ),
    (
        "net_tap1,iface=tap-out\"",
        "0000:3b:00.9\" #!",
        &["found \"0000:3b:00.9\", allowed a PCI address like"],
    ),
    (
        OUTSIDE,
        "addresses = [\"203.0.113.2\"] #!",
        &["interfaces.addresses, found \"203.0.113.2\", allowed a host's address with its prefix"],
    ),
    (OUTSIDE, "addresses = [\"203.0.113.255/24\"] #!", &["found \"203.0.113.255/24\""]),
    (OUTSIDE, "addresses = [\n\"203.0.113.2/24\",\n\"224.0.0.1/24\" #!\n]", &["found \"224.0.0.1/24\""]),
    (OUTSIDE, "addresses = [] #!", &["interfaces.addresses, found an empty array, allowed at least one"]),
    (OUTSIDE, "addresses = 7 #!", &["interfaces.addresses, found 7, allowed an array"]),
    ("mtu = 1500  ", "mtu = 67 #!\n", &["interfaces.mtu, found 67, allowed 68-9216"]),
    ("mtu = 1500  ", "mtu = 1500.0 #!\n", &["interfaces.mtu, found 1500.0, allowed 68-9216"]),
    ("mtu = 1500  ", "vlan = 4095 #!\n", &["interfaces.vlan, found 4095, allowed 1-4094"]),
    (
        "mtu = 1500  ",
        "mac = \"01:00:5e:00:00:01\" #!\n",
        &["interfaces.mac, found \"01:00:5e:00:00:01\", allowed a station's"],
    ),
    ("mtu = 1500  ", "rx_queue_size = 1 #!\n", &["interfaces.rx_queue_size, found 1, allowed 32-32768"]),
    (
        "mtu = 1500  ",
        "promiscuous = \"no\" #!\n",
        &["interfaces.promiscuous, found \"no\", allowed true or false"],
    ),
    (
        "prefix = \"0.0.0.0/0\"",
        "prefix = \"198.51.100.1/24\" #!",
        &["routes.prefix, found \"198.51.100.1/24\", allowed \"198.51.100.0/24\""],
    ),
    ("prefix = \"0.0.0.0/0\"", "prefix = \"default\" #!", &["found \"default\", allowed an IPv4 prefix"]),
    (
        "via = \"203.0.113.1\"",
        "via = \"203.0.113\" #!",
        &["routes.via, found \"203.0.113\", allowed a host's IPv4 address"],
    ),
    (POOL, "addresses = [\"203.0.113.12-203.0.113.10\"] #!", &["nat.pools.addresses", "lowest first"]),
    (
        POOL,
        "addresses = [\"127.0.0.1\"] #!",
        &["found \"127.0.0.1\", allowed addresses of hosts, none of 127.0.0.0/8"],
    ),
    (POOL, "addresses = [\"198.0.0.0/8\"] #!", &["found 16777216 addresses", "at most 65536"]),
    (
        "ports = \"1024-65535\"",
        "ports = \"65535-1024\" #!",
        &["nat.pools.ports, found \"65535-1024\"", "lowest first"],
    ),
    ("ports = \"1024-65535\"", "ports = \"0-1023\" #!", &["found \"0-1023\"", "none 0"]),
    ("ports = \"1024-65535\"", "ports = \"1024-65536\" #!", &["found \"1024-65536\""]),
    (
        "mapping = \"endpoint-independent\"  ",
        "mapping = \"endpoint-indepedent\" #!\n",
        &["nat.pools.mapping", "allowed endpoint-independent (nearest)"],
    ),
    (
        "filtering = \"address-dependent\"  ",
        "filtering_tcp = \"none\" #!\n",
        &[
            "nat.pools.filtering_tcp, found \"none\", allowed endpoint-independent, address-dependent, address-and-port-dependent",
        ],
    ),
    (
        "filtering = \"address-dependent\"  ",
        "filtering = \"none\" #!\n",
        &[
            "nat.pools.filtering, found \"none\", allowed endpoint-independent, address-dependent, address-and-port-dependent",
        ],
    ),
    (
        "protocol = \"tcp\"",
        "protocol = \"icmp\" #!",
        &["nat.port_forwards.protocol, found \"icmp\", allowed tcp"],
    ),
    (
        "internal = \"10.64.0.12:80\"",
        "internal = \"10.64.0.12\" #!",
        &["nat.port_forwards.internal, found \"10.64.0.12\", allowed a host's address with a port"],
    ),
    ("internal = \"10.64.0.12:80\"", "internal = \"10.64.0.12:0\" #!", &["found \"10.64.0.12:0\""]),
    ("sessions = 1_000_000 ", "sessions = 0 #!\n", &["nat.limits.sessions, found 0, allowed 1-134217728"]),
    ("udp = 300", "udp = 0 #!", &["nat.timeouts.udp, found 0, allowed 1-604800"]),
    ("udp = 300", "udp = 30000000000000000000000000 #!", &["allowed 1-604800"]),
    (
        "listen = \"127.0.0.1:9464\" ",
        "listen = \":9464\" #!\n",
        &["management.listen, found \":9464\", allowed an address with a port"],
    ),
    (
        "listen = \"127.0.0.1:9464\" ",
        "token = \"hunter2\" #!\n",
        &["management.token, found another, allowed 8 or more"],
    ),
    (
        "socket = \"/run/nat-gateway/control.sock\"",
        "socket = \"control.sock\" #!",
        &["management.socket", "an absolute path"],
    ),
    (
        "listen = \"127.0.0.1:9464\" ",
        "socket_mode = \"0460\" #!\n",
        &["management.socket_mode, found \"0460\", allowed permissions in octal"],
    ),
    (
        "listen = \"127.0.0.1:9464\" ",
        "socket_mode = \"1660\" #!\n",
        &["management.socket_mode, found \"1660\", allowed permissions in octal"],
    ),
    (
        "listen = \"127.0.0.1:9464\" ",
        "socket_group = \"\" #!\n",
        &["management.socket_group, found \"\", allowed a group's name"],
    ),
];

const KEYS: &[Case] = &[
    (
        "mtu = 1500  ",
        "mut = 1500 #!\n",
        &["unknown key in interfaces, found \"mut\", allowed mtu (nearest), name"],
    ),
    ("[management]", "[managment] #!", &["unknown key, found \"managment\", allowed management (nearest)"]),
    ("[nat.limits]", "[nat.limit] #!", &["unknown key in nat, found \"limit\", allowed limits (nearest)"]),
    ("[dpdk]", "colour = \"red\" #!\n[dpdk]", &["unknown key, found \"colour\", allowed dpdk"]),
    ("icmp = 60", "icmp = 60\nsctp = 60 #!", &["unknown key in nat.timeouts, found \"sctp\""]),
    ("[[routes]]\nprefix = \"0.0.0.0/0\"", "[[routes]] #!", &["routes.prefix is missing"]),
    ("[[nat.pools]]\nname = \"main\"", "[[nat.pools]] #!", &["nat.pools.name is missing"]),
    ("[[routes]]", "[routes] #!", &["routes, found a table, allowed tables [[routes]]"]),
    (
        "[nat.timeouts]  ",
        "[[nat.timeouts]] #!\n#",
        &["nat.timeouts, found an array, allowed a table [nat.timeouts]"],
    ),
    ("mtu = 1500  ", "mtu = 1500\nmtu = 1400 #!\n", &["syntax: duplicate key, found mtu"]),
    ("mtu = 1500  ", "mtu = #!\n", &["syntax: "]),
    ("role = \"outside\"", "role = \"outside #!", &["syntax: "]),
    ("[nat.limits]", "[nat.limits #!\n", &["syntax: "]),
];

const RELATIONS: &[Case] = &[
    ("role = \"outside\"", "role = \"inside\"", &["interfaces, found none with role \"outside\""]),
    (
        OUTSIDE,
        "addresses = [\"203.0.113.2/24\", \"10.64.0.129/25\"] #!",
        &[
            "interfaces.addresses, found 10.64.0.129/25, allowed a prefix apart from 10.64.0.1/24 of inside (line 12)",
        ],
    ),
    (OUTSIDE, "addresses = [\"203.0.113.2/24\", \"203.0.113.2/25\"] #!", &["found 203.0.113.2/25"]),
    (
        "via = \"203.0.113.1\"",
        "via = \"198.51.100.1\" #!",
        &[
            "routes.via, found 198.51.100.1, allowed a router on a connected prefix: 10.64.0.0/24, 203.0.113.0/24",
        ],
    ),
    (
        "via = \"203.0.113.1\"",
        "via = \"203.0.113.2\" #!",
        &["routes.via, found 203.0.113.2, allowed another host's address"],
    ),
    (
        "prefix = \"0.0.0.0/0\"\nvia = \"203.0.113.1\"",
        "prefix = \"0.0.0.0/0\" #!\nvia = \"10.64.0.9\"",
        &["routes.prefix, found 0.0.0.0/0, allowed through an inside router"],
    ),
    (
        "prefix = \"0.0.0.0/0\"",
        "prefix = \"10.64.0.0/24\" #!",
        &["found 10.64.0.0/24, allowed a prefix that is not connected"],
    ),
    (
        POOL,
        "addresses = [\"203.0.113.1-203.0.113.9\"] #!",
        &[
            "nat.pools.addresses, found 203.0.113.1-203.0.113.9, allowed addresses apart from the router 203.0.113.1",
        ],
    ),
    (POOL, "addresses = [\"203.0.113.248/29\"] #!", &["apart from the network's own 203.0.113.255"]),
    (POOL, "addresses = [\"10.64.0.9\"] #!", &["apart from the inside prefix 10.64.0.0/24"]),
    (
        POOL,
        "addresses = [\"203.0.113.16/28\"]",
        &["nat.static.external, found 203.0.113.20 of static 203.0.113.20, allowed what pool main"],
    ),
    (
        POOL,
        "addresses = [\n\"198.51.100.0/28\",\n\"198.51.100.9\" #!\n]",
        &[
            "found 198.51.100.9 of pool main, allowed what pool main (line 29) does not use: 198.51.100.0-198.51.100.15",
        ],
    ),
    (
        POOL,
        "interface = \"inside\" #!",
        &["nat.pools.interface, found \"inside\", allowed an outside interface: "],
    ),
    (
        POOL,
        "interface = \"outsid\" #!",
        &["found \"outsid\", allowed an outside interface: outside (nearest)"],
    ),
    (POOL, "addresses = [\"203.0.113.10\"]\ninterface = \"outside\" #!", &["either addresses or interface"]),
    (
        "pool = \"main\"  ",
        "pool = \"mian\" #!\n",
        &["nat.rules.pool, found \"mian\", allowed a pool of [[nat.pools]]: main (nearest)"],
    ),
    (
        "source = \"10.64.0.0/24\"",
        "source = \"10.65.0.0/24\" #!",
        &[
            "nat.rules.source, found 10.65.0.0/24, allowed hosts that are reached through an inside interface: 10.64.0.0/24",
        ],
    ),
    (
        "pool = \"main\"  ",
        "protocol = \"icmp\"\nports = 7 #!\npool = \"main\" #",
        &["nat.rules.ports, found 7, allowed ports with protocol tcp"],
    ),
    (
        "internal = \"10.64.0.12:80\"",
        "internal = \"203.0.113.50:80\" #!",
        &["nat.port_forwards.internal, found 203.0.113.50, allowed hosts that are reached through an inside"],
    ),
    (
        "internal = \"10.64.0.12:80\"",
        "internal = \"10.64.0.1:80\" #!",
        &["nat.port_forwards.internal, found 10.64.0.1"],
    ),
    (
        "internal = \"10.64.0.12:80\"",
        "internal = \"10.64.0.12:80-81\" #!",
        &["found 80-81 for 1 outside ports, allowed as many as external has"],
    ),
    (
        "external = \"203.0.113.13:8080\"     # ranges: \"203.0.113.13:9000-9009\"",
        "external = \"203.0.113.20:8080\"",
        &["nat.static.external, found 203.0.113.20 of static", "port forward tcp 203.0.113.20:8080"],
    ),
    (
        "external = \"203.0.113.20\"",
        "external = \"203.0.113.2\" #!",
        &["nat.static.external, found 203.0.113.2, allowed addresses apart from the gateway's own"],
    ),
    (
        "listen = \"127.0.0.1:9464\" ",
        "listen = \"0.0.0.0:9464\" #!\n",
        &["management.listen, found 0.0.0.0:9464, allowed a loopback address", "token"],
    ),
    (
        WORKERS,
        "worker_lcores = \"1-8\"\n[nat.limits2]\n#",
        &["unknown key in nat, found \"limits2\", allowed limits (nearest)"],
    ),
];

fn mistakes(text: &str) -> Vec<Diagnostic> {
    Config::parse(text, "gateway.toml").expect_err(text)
}

/// Exactly one mistake, on the marked line if one is marked, with all fragments.
pub(super) fn assert_refused(text: &str, fragments: &[&str]) {
    let found = mistakes(text);
    let [mistake] = found.as_slice() else {
        panic!("one mistake in\n{text}\nbut found\n{found:#?}");
    };
    let message = mistake.to_string();
    if let Some(line) = text.lines().position(|line| line.trim_end().ends_with("#!")) {
        assert!(
            message.starts_with(&format!("gateway.toml:{}: ", line + 1)),
            "line {} in {message}",
            line + 1
        );
    }
    for fragment in fragments {
        assert!(message.contains(fragment), "{fragment:?} in {message}");
    }
}

#[test]
fn wrong_values_are_refused_with_their_line() {
    for (from, to, fragments) in VALUES {
        assert_refused(&example_with(from, to), fragments);
    }
}

#[test]
fn unknown_missing_and_broken_keys_are_refused_with_their_line() {
    for (from, to, fragments) in KEYS {
        assert_refused(&example_with(from, to), fragments);
    }
}

#[test]
fn relations_that_cannot_work_are_refused_with_their_line() {
    for (from, to, fragments) in RELATIONS {
        assert_refused(&example_with(from, to), fragments);
    }
    for (tables, fragments) in ADDITIONS {
        assert_refused(&example_and(tables), fragments);
    }
}

#[test]
fn ten_mistakes_are_all_reported() {
    let text = include_str!("../../../fixtures/ten-mistakes.toml");
    let marked: Vec<usize> =
        text.lines().enumerate().filter(|(_, line)| line.ends_with("#!")).map(|(nth, _)| nth + 1).collect();
    let found: Vec<usize> = mistakes(text).iter().map(|mistake| mistake.line).collect();
    assert_eq!(found.len(), 10);
    assert_eq!(found, marked);
}

#[test]
fn every_syntax_error_is_reported_and_the_rest_still_checked() {
    let text = example_with("name = \"inside\"", "name = inside")
        .replace("udp = 300", "udp = =")
        .replace("icmp = 60", "icmp = 0");
    let found: Vec<String> = mistakes(&text).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("gateway.toml:9: syntax: ") && found[1].contains("syntax: "), "{found:#?}");
    assert!(found[2].contains("nat.timeouts.icmp, found 0"), "{found:#?}");
}

#[test]
fn an_empty_file_lacks_both_sides() {
    let found = mistakes("");
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|mistake| mistake.line == 1));
}

#[test]
fn a_secret_is_never_quoted() {
    for token in ["\"s3cret\"", "\"s3cret", "[\"s3cret\"]", "\"s3cret \\u00e9\""] {
        let text = example_with("listen = \"127.0.0.1:9464\" ", &format!("token = {token}\n#"));
        for mistake in mistakes(&text) {
            assert!(!mistake.to_string().contains("s3cret"), "{mistake}");
        }
    }
}
