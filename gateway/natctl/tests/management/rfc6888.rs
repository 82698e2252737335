//! RFC 6888 REQ-10: every counter and every table can be read by a route.

use natgw_counters::{MAX_INTERFACES, PoolCounters, WorkerCounters};
use natgw_management::Gateway;

use crate::client::get;
use crate::start;

/// Each number of a record, alone, as the record that has a 7 there.
fn one_by_one<T: bytemuck::Pod>() -> impl Iterator<Item = T> {
    (0..size_of::<T>() / size_of::<u64>()).map(|nth| {
        let mut record = T::zeroed();
        bytemuck::cast_slice_mut::<T, u64>(std::slice::from_mut(&mut record))[nth] = 7;
        record
    })
}

#[test]
fn rfc6888_req10_every_counter_is_read_by_a_route() {
    let server = start();
    let metrics = || get(server.address, "/metrics").body;
    *server.gateway.counted.lock().unwrap() = Some(Default::default());
    let nothing = metrics();
    let mut shown = 0;
    for counters in one_by_one::<WorkerCounters>() {
        // Interfaces that do not exist are not counted.
        let absent = &counters.interfaces[server.gateway.interfaces().len()..MAX_INTERFACES];
        let conflicts = &counters.address_conflicts[server.gateway.interfaces().len()..];
        if absent.iter().any(|interface| *interface != Default::default()) || conflicts.iter().any(|&n| n > 0)
        {
            continue;
        }
        *server.gateway.counted.lock().unwrap() = Some((counters, PoolCounters::default()));
        assert_ne!(metrics(), nothing, "not shown: {counters:?}");
        shown += 1;
    }
    assert!(shown > 200, "{shown} numbers");
    for counters in one_by_one::<PoolCounters>() {
        *server.gateway.counted.lock().unwrap() = Some((WorkerCounters::default(), counters));
        assert_ne!(metrics(), nothing, "not shown: {counters:?}");
    }
}

/// What a shard has, and the route that shows it.
const TABLES: [(&str, &str); 16] = [
    ("counters", "/api/v1/counters"),
    ("sessions", "/api/v1/sessions"),
    ("mappings", "/api/v1/mappings"),
    ("subscribers", "/api/v1/subscribers"),
    // Filtering: remotes with a session may answer.
    ("permissions", "/api/v1/sessions"),
    // Mappings that share a port, each with its remote.
    ("overlaps", "/api/v1/mappings"),
    ("pools", "/api/v1/pools"),
    ("permanent", "/api/v1/forwards"),
    ("addresses", "/api/v1/interfaces"),
    ("policy", "/api/v1/config"),
    // Their sessions, of the kind `redirect`.
    ("redirects", "/api/v1/sessions"),
    ("draining", "/api/v1/status"),
    // What is left to sweep.
    ("reloading", "/metrics"),
    // Kept by management as they come.
    ("records", "/api/v1/whose?of=10.64.0.10"),
    // How many there are and what became of them: single ones live for seconds.
    ("fragments", "/metrics"),
    ("unsolicited", "/metrics"),
];

/// Ways into these tables, free places in them, and what is drawn at start.
const NOT_TABLES: [&str; 8] =
    ["secret", "closed", "gave_up", "random", "filters_by_address", "reservations", "is_alone", "swept"];

#[test]
fn rfc6888_req10_every_table_is_read_by_a_route() {
    let source = include_str!("../../../nat/src/shard.rs");
    let (_, fields) = source.split_once("pub struct Shard {\n").expect("the shard");
    let (fields, _) = fields.split_once("\n}").expect("its end");
    let names = fields.lines().filter_map(|line| line.trim().strip_prefix("pub(crate) ")?.split(':').next());
    let names: Vec<&str> = names.collect();
    assert_eq!(names.len(), TABLES.len() + NOT_TABLES.len(), "{names:?}");
    let server = start();
    for name in names.iter().filter(|name| !NOT_TABLES.contains(name)) {
        let (_, route) = TABLES.iter().find(|(table, _)| table == name).expect(name);
        let response = get(server.address, route);
        assert!(response.status == 200 && response.body.len() > 10, "{name} by {route}: {}", response.body);
    }
    for route in ["neighbors", "routes", "status", "drops"] {
        let response = get(server.address, &format!("/api/v1/{route}"));
        assert!(response.status == 200 && response.body.len() > 10, "{route}: {}", response.body);
    }
}
