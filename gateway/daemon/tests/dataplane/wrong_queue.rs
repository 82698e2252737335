//! A packet is translated by its owner, whichever queue receives it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use natgw_counters::WorkerCounters;

use crate::lab::{Lab, ROUTER, Seen, Sent, Setup, Side};
use crate::packet::{ACK, Kind, Packet, SYN};

#[test]
fn every_packet_on_the_wrong_queue_is_translated_by_1_worker() {
    every_packet_on_the_wrong_queue(Setup::new(1));
}

#[test]
fn every_packet_on_the_wrong_queue_is_translated_by_2_workers() {
    every_packet_on_the_wrong_queue(Setup::new(2));
}

#[test]
fn every_packet_on_the_wrong_queue_is_translated_by_3_workers() {
    every_packet_on_the_wrong_queue(Setup::new(3));
}

#[test]
fn every_packet_on_the_wrong_queue_is_translated_by_4_workers() {
    every_packet_on_the_wrong_queue(Setup::new(4));
}

#[test]
fn ports_with_one_queue_serve_3_workers() {
    every_packet_on_the_wrong_queue(Setup { queues: [1, 1], ..Setup::new(3) });
}

#[test]
fn ports_with_different_numbers_of_queues_serve_4_workers() {
    every_packet_on_the_wrong_queue(Setup { queues: [3, 2], ..Setup::new(4) });
}

#[test]
fn workers_share_an_address_by_its_ports() {
    every_packet_on_the_wrong_queue(Setup::new(3).pool(1));
    every_packet_on_the_wrong_queue(Setup::new(4).pool(2));
}

#[test]
fn a_tagged_side_and_an_untagged_one() {
    every_packet_on_the_wrong_queue(Setup { vlans: [Some(42), None], ..Setup::new(2) });
    every_packet_on_the_wrong_queue(Setup { vlans: [Some(42), Some(7)], ..Setup::new(2) });
}

const HOSTS: u8 = 120;

fn host(nth: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 1 + nth % 7, 10 + nth)
}

/// Each inside endpoint sends to two remotes; the payload is the flow's number.
fn flows() -> Vec<Packet> {
    let kinds = [(Kind::Udp, 8), (Kind::Tcp(SYN), 8), (Kind::EchoRequest, 4)];
    let mut flows = Vec::new();
    for host in (0..HOSTS).map(host) {
        for (kind, endpoints) in kinds {
            for port in (0..endpoints).map(|nth| 40_000 + 2 * nth) {
                for remote in [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(192, 0, 2, 200)] {
                    let to = if kind == Kind::EchoRequest { 0 } else { 443 };
                    let number = (flows.len() as u32).to_be_bytes();
                    let (from, to) = (SocketAddrV4::new(host, port), SocketAddrV4::new(remote, to));
                    flows.push(Packet::new(kind, from, to, &number));
                }
            }
        }
    }
    flows
}

fn every_packet_on_the_wrong_queue(setup: Setup) {
    let pool = setup.settings.pools[0].addresses.clone();
    let vlans = setup.vlans;
    setup.run(move |lab| {
        lab.learn_all((0..HOSTS).map(host));
        let flows = flows();
        assert!(flows.len() > 4000);

        let outside = exchange(lab, Side::Inside, &flows);
        let mut mappings = HashMap::new();
        for (flow, translated, seen) in by_flow(&flows, &outside) {
            assert_eq!(seen.side, Side::Outside);
            assert_eq!((seen.link().src, seen.link().dst), (lab.mac(Side::Outside), Lab::mac_of(ROUTER)));
            assert_eq!(seen.link().vlan, vlans[1]);
            assert!(pool.contains(translated.from.ip()), "{translated:?}");
            assert_eq!(translated, Packet { from: translated.from, ..flow.routed() });
            let inside = (flow.kind.protocol(), flow.from);
            assert_eq!(*mappings.entry(inside).or_insert(translated.from), translated.from, "one endpoint");
        }
        assert_paired_and_apart(&mappings);

        let answers: Vec<Packet> = outside.iter().map(|seen| seen.packet().answer()).collect();
        let inside = exchange(lab, Side::Outside, &answers);
        for (flow, answer, seen) in by_flow(&flows, &inside) {
            assert_eq!(seen.side, Side::Inside);
            assert_eq!(
                (seen.link().src, seen.link().dst),
                (lab.mac(Side::Inside), Lab::mac_of(*flow.from.ip()))
            );
            assert_eq!(seen.link().vlan, vlans[0]);
            assert_eq!(answer, flow.answer().routed());
        }

        // What follows the first packet of a flow goes the same way, by its session.
        let seconds: Vec<Packet> = flows.iter().map(second).collect();
        for (flow, translated, _) in by_flow(&seconds, &exchange(lab, Side::Inside, &seconds)) {
            assert_eq!(translated.from, mappings[&(flow.kind.protocol(), flow.from)]);
            assert_eq!(translated, Packet { from: translated.from, ..flow.routed() });
        }
    });
}

fn second(first: &Packet) -> Packet {
    let kind = if first.kind == Kind::Tcp(SYN) { Kind::Tcp(ACK) } else { first.kind };
    Packet { kind, ..first.clone() }
}

/// Sends every packet to a wrong queue; all come out on the other side, and were handed over as often as they had to be.
fn exchange(lab: &mut Lab, side: Side, packets: &[Packet]) -> Vec<Seen> {
    let handed_over = |counters: Vec<WorkerCounters>| -> u64 {
        counters.iter().map(|counters| counters.handoff.received).sum()
    };
    let before = handed_over(lab.rest());
    let misled: Vec<Sent> =
        packets.iter().enumerate().map(|(nth, packet)| lab.misled(side, packet, nth)).collect();
    let needed: usize =
        packets.iter().zip(&misled).map(|(packet, sent)| handovers(lab, side, packet, sent.queue)).sum();
    let seen = lab.exchange(misled, packets.len());
    assert_eq!(seen.len(), packets.len());
    assert_eq!(handed_over(lab.rest()) - before, needed as u64);
    seen
}

/// From the receiver to the owner, and from the owner to a worker that has a queue of the other port.
fn handovers(lab: &Lab, side: Side, packet: &Packet, queue: usize) -> usize {
    let owner = lab.owner(side, packet).index();
    usize::from(owner != queue) + usize::from(owner >= lab.queues(side.other()))
}

/// What was seen, with the flow that it belongs to; each flow once.
fn by_flow<'a>(flows: &'a [Packet], seen: &'a [Seen]) -> Vec<(&'a Packet, Packet, &'a Seen)> {
    let mut once = vec![false; flows.len()];
    let of = |seen: &'a Seen| {
        let packet = seen.packet();
        let number = u32::from_be_bytes(packet.payload[..4].try_into().unwrap()) as usize;
        assert!(!std::mem::replace(&mut once[number], true), "flow {number} twice");
        (&flows[number], packet, seen)
    };
    seen.iter().map(of).collect()
}

/// No outside endpoint serves two inside ones (RFC 4787 REQ-1), and a host has one outside address (REQ-2).
fn assert_paired_and_apart(mappings: &HashMap<(u8, SocketAddrV4), SocketAddrV4>) {
    let mut inside_of = HashMap::new();
    let mut paired = HashMap::new();
    for ((protocol, inside), outside) in mappings {
        assert_eq!(inside_of.insert((protocol, outside), inside), None, "{outside} twice");
        let pair = paired.entry(inside.ip()).or_insert(outside.ip());
        assert_eq!(*pair, outside.ip(), "{inside}");
    }
}
