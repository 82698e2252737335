//! What is too small: rings, transmit queues, the pool. Packets are lost and counted, buffers are not.

use std::time::Duration;

use natgw_nat::DropReason;
use natgw_worker::simulation::{Faults, GatewayOptions};

use crate::lab::{Lab, ROUTER, Side, at, dropped, host, options, received, settings, transmitted};
use crate::packet::{Kind, Packet};

/// A packet of a host that the first worker does not own.
fn misled(lab: &Lab, port: u16) -> Packet {
    let hosts = (2..).map(host);
    let mut packets =
        hosts.map(|host| Packet::new(Kind::Udp, at(host, port), at([198, 51, 100, 7].into(), 53), &[]));
    packets.find(|packet| lab.owner(Side::Inside, packet).0 != 0).unwrap()
}

#[test]
fn what_a_full_ring_does_not_take_is_dropped_and_counted() {
    let mut lab = Lab::new(GatewayOptions { ring: 8, ..options(2, settings(2)) });
    lab.learn(Side::Outside, ROUTER);
    lab.gateway.settle();
    (2000..2032).for_each(|port| lab.send(Side::Inside, 0, &misled(&lab, port)));
    let (counters, [_, outside]) = lab.rest();
    assert_eq!(counters[0].handoff.sent, 8);
    assert_eq!(dropped(&counters, DropReason::HandoffFull), 24);
    assert_eq!(outside.len(), 8);
    lab.finish();
}

#[test]
fn what_a_full_transmit_queue_does_not_take_is_dropped_and_counted() {
    let mut lab = Lab::new(GatewayOptions { descriptors: 32, ..options(1, settings(1)) });
    lab.learn(Side::Outside, ROUTER);
    lab.gateway.settle();
    for port in 2000..2064 {
        let packet = Packet::new(Kind::Udp, at(host(2), port), at([198, 51, 100, 7].into(), 53), &[]);
        lab.send(Side::Inside, 0, &packet);
        if port == 2031 {
            lab.gateway.round();
        }
    }
    let (counters, [_, outside]) = lab.rest();
    assert_eq!((outside.len(), dropped(&counters, DropReason::TransmitFull)), (32, 32));
    lab.finish();
}

/// A queue that takes a packet at a time is tried a few times before the rest of a burst is dropped.
#[test]
fn a_transmit_queue_may_take_a_part_of_a_burst() {
    let mut lab = Lab::new(GatewayOptions {
        faults: Faults { throttled: 500, ..Faults::default() },
        ..options(1, settings(1))
    });
    lab.learn(Side::Outside, ROUTER);
    lab.gateway.settle();
    for _ in 0..200 {
        for port in 2000..2020 {
            let packet = Packet::new(Kind::Udp, at(host(2), port), at([198, 51, 100, 7].into(), 53), &[]);
            lab.send(Side::Inside, 0, &packet);
        }
        lab.gateway.round();
        lab.take(Side::Outside);
    }
    let (counters, _) = lab.rest();
    let full = dropped(&counters, DropReason::TransmitFull);
    assert_eq!(received(&counters[0]), transmitted(&counters[0]) + full);
    assert!(full > 0 && full < 400, "{full} of 4000");
    lab.finish();
}

#[test]
fn without_a_free_buffer_nothing_is_received_and_nothing_breaks() {
    let mut lab = Lab::new(GatewayOptions { buffers: 16, ..options(2, settings(2)) });
    // Nobody knows the router, so 16 packets wait for it, and all buffers are with them.
    for port in 2000..2100 {
        lab.send(Side::Inside, usize::from(port % 2), &misled(&lab, port));
    }
    let (counters, _) = lab.rest();
    assert_eq!(counters.iter().map(received).sum::<u64>(), 16);
    assert_eq!((counters[1].held, lab.gateway.pool().in_use()), (16, 16));
    // They wait in vain.
    lab.gateway.pass(Duration::from_secs(5));
    lab.rest();
    lab.finish();
}

/// A worker that stands still costs the packets that are its own, and nobody else's.
#[test]
fn workers_that_stall_lose_no_packet_that_fits() {
    let mut lab = Lab::new(GatewayOptions {
        faults: Faults { stalled: 700, ..Faults::default() },
        ..options(4, settings(8))
    });
    lab.learn(Side::Outside, ROUTER);
    lab.gateway.settle();
    let mut out = 0;
    for port in 2000..2500 {
        let packet = Packet::new(
            Kind::Udp,
            at(host(port as u8 % 32 + 2), port),
            at([198, 51, 100, 7].into(), 53),
            &[],
        );
        lab.send(Side::Inside, usize::from(port) % 4, &packet);
        lab.gateway.round();
        out += lab.take(Side::Outside).len();
    }
    let (_, [_, outside]) = lab.rest();
    assert_eq!(out + outside.len(), 500);
    lab.finish();
}
