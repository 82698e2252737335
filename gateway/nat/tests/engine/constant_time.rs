//! Operations whose time must not grow with the fill of a table: measured against themselves, with room for a busy machine.
//! A search through the table would take many times as long.

use std::time::{Duration, Instant};

use natgw_nat::{Direction, DropReason, Endpoint, Protocol, Settings, Verdict};

use crate::packet::{Packet, at_port, ep};
use crate::sim::{Gateway, settings};

const HOST: &str = "10.64.0.5:4000";
const REMOTE: &str = "198.51.100.7:7000";
const RUNS: u32 = 200;

fn gateway(change: impl FnOnce(&mut Settings)) -> Gateway {
    let mut settings = settings();
    settings.limits.ports_per_subscriber = 65_535;
    settings.limits.sessions_per_subscriber = u32::MAX;
    settings.limits.new_sessions_per_subscriber_per_s = 1_000_000;
    change(&mut settings);
    Gateway::with_shards(settings, 1, 65_536)
}

/// How long the engine takes for one of these packets, in the middle of all of them, and what it says to the last.
fn median(
    gateway: &mut Gateway,
    direction: Direction,
    packets: impl Iterator<Item = Packet>,
) -> (Duration, Verdict) {
    let (mut times, mut verdicts) = (Vec::new(), [Verdict::Local]);
    for packet in packets {
        let mut burst = [packet.bytes()];
        let start = Instant::now();
        gateway.shards[0].translate(&mut burst[..], direction, gateway.now, &mut verdicts);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    (times[times.len() / 2], verdicts[0])
}

fn assert_alike(what: &str, empty: Duration, full: Duration) {
    assert!(full < 5 * empty, "{what}: {full:?} instead of {empty:?}");
}

#[test]
fn rfc4787_req8_a_mapping_with_50_000_remotes_filters_as_fast_as_one_with_one() {
    let [one, many] = [1, 50_000].map(|remotes: u32| {
        let mut gateway = gateway(|_| {});
        let remote = |nth: u32| Endpoint { address: ep("198.18.0.0:0").address + nth, port: 80 };
        let external = (0..remotes).map(|nth| gateway.open(Protocol::Udp, ep(HOST), remote(nth))).last();
        let external = external.expect("a remote");
        [(at_port(remote(0), 9), Verdict::Forward(None)), (ep(REMOTE), Verdict::Drop(DropReason::Filtered))]
            .map(|(from, expected)| {
                let packets = (0..RUNS).map(|_| Packet::udp(from, external));
                let (time, verdict) = median(&mut gateway, Direction::Inbound, packets);
                assert_eq!(verdict, expected);
                time
            })
    });
    assert_alike("a known remote", one[0], many[0]);
    assert_alike("a stranger", one[1], many[1]);
}

#[test]
fn rfc6888_req14_the_last_port_of_a_pool_is_found_as_fast_as_the_first() {
    let [first, last] = [0, 64_512 - RUNS].map(|taken: u32| {
        let mut gateway = gateway(|settings| {
            settings.pools[0].addresses.truncate(1);
            settings.pools[0].port_preservation = false;
            settings.pools[0].port_parity = false;
        });
        let packet = |host: u32, port: u32| {
            Packet::udp(Endpoint { address: ep(HOST).address + host, port: port as u16 }, ep(REMOTE))
        };
        (0..taken).for_each(|nth| _ = gateway.outbound(packet(1 + nth / 30_000, nth % 30_000)).out());
        let (time, verdict) = median(&mut gateway, Direction::Outbound, (0..RUNS).map(|nth| packet(0, nth)));
        assert!(matches!(verdict, Verdict::Forward(Some(_))), "{verdict:?}");
        time
    });
    assert_alike("allocation", first, last);
}
