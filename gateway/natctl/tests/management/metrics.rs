//! The metrics are a contract: names, types, labels, and clean by Prometheus's own linter.

use std::collections::BTreeSet;

use natgw_management::metrics::family::{ALL, PREFIX};
use natgw_nat::{Direction, DropReason};

use crate::client::get;
use crate::start;

pub(crate) fn scrape() -> String {
    get(start().address, "/metrics").body
}

#[test]
fn every_metric_is_there_from_the_start() {
    let text = scrape();
    let found: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE natgw_")?.split(' ').next()).collect();
    assert_eq!(found, ALL.iter().map(|family| family.name).collect());
    assert_eq!(PREFIX, "natgw_");
}

/// The names, types and labels that users build on.
#[test]
fn the_contract_is_kept() {
    let text = scrape();
    for line in [
        "natgw_packets_total{interface=\"outside\",direction=\"tx\",worker=\"1\"} 1000",
        "natgw_translated_packets_total{direction=\"outbound\",protocol=\"tcp\",worker=\"0\"} 1000",
        "natgw_dropped_packets_total{reason=\"no-rule\",direction=\"outbound\",worker=\"0\"} 4",
        "natgw_sessions{protocol=\"udp\",worker=\"1\"} 125",
        "natgw_sessions_limit 1000000",
        "natgw_subscribers_limit 250000",
        "natgw_pool_ports_used{pool=\"main\",protocol=\"udp\"} 250",
        "natgw_pool_ports_held{pool=\"main\",protocol=\"udp\"} 3",
        "natgw_pool_ports{pool=\"main\",protocol=\"udp\"} 193536",
        "natgw_pool_blocks_used{pool=\"main\"} 7",
        "natgw_pool_blocks_held{pool=\"main\"} 1",
        "natgw_pool_blocks{pool=\"main\"} 378",
        "natgw_pool_addresses{pool=\"main\"} 3",
        "natgw_worker_burst_size_bucket{worker=\"0\",le=\"1\"} 1",
        "natgw_worker_burst_size_bucket{worker=\"0\",le=\"4\"} 2",
        "natgw_worker_burst_size_bucket{worker=\"0\",le=\"32\"} 3",
        "natgw_worker_burst_size_sum{worker=\"0\"} 36",
        "natgw_handoff_packets_total{event=\"full\",worker=\"0\"} 0",
        "natgw_nic_missed_total{interface=\"inside\"} 5",
        "natgw_nic_errors_total{interface=\"inside\",direction=\"tx\"} 0",
        "natgw_link_up{interface=\"inside\"} 1",
        "natgw_mempool_buffers{pool=\"packets\",state=\"in_use\"} 192",
        "natgw_ready 1",
        "natgw_tsc_hertz 2600000000",
        "natgw_config_reloads_total{result=\"applied\"} 0",
        "natgw_build_info{version=\"0.1.0\",dpdk=\"DPDK \\\"22.11\\\"\"} 1",
        "# TYPE natgw_sessions gauge",
        "# TYPE natgw_packets_total counter",
        "# TYPE natgw_worker_burst_size histogram",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}

#[test]
fn every_drop_reason_is_there_at_zero() {
    let text = scrape();
    for reason in DropReason::ALL {
        for direction in Direction::ALL {
            let labels = [("reason", reason.name()), ("direction", direction.name()), ("worker", "1")];
            let labels = labels.map(|(name, value)| format!("{name}=\"{value}\"")).join(",");
            let series = format!("natgw_dropped_packets_total{{{labels}}} ");
            assert!(text.lines().any(|line| line.starts_with(&series)), "{series}");
        }
    }
}

#[test]
fn ten_scrapes_at_once_say_the_same() {
    let server = start();
    let scrapes: Vec<String> = std::thread::scope(|scope| {
        let scrapes: Vec<_> = (0..10).map(|_| scope.spawn(|| get(server.address, "/metrics").body)).collect();
        scrapes.into_iter().map(|scrape| scrape.join().unwrap()).collect()
    });
    assert!(scrapes.iter().all(|scrape| *scrape == scrapes[0] && scrape.len() > 1000));
}
