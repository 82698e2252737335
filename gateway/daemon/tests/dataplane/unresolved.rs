//! Packets whose next hop's MAC address is unknown.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use natgw_nat::{DropReason, Protocol};
use natgw_worker::{Command, Event};

use crate::lab::{Lab, OWN, POOL, ROUTER, Setup, Side};
use crate::packet::{Kind, Packet};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Packets that wait for one next hop at most, in one worker.
const HELD_EACH: usize = 16;

fn numbered(number: u8) -> Packet {
    Packet::new(Kind::Udp, SocketAddrV4::new(HOST, 5000), SocketAddrV4::new(REMOTE, 443), &[number; 4])
}

fn held(lab: &mut Lab) -> u64 {
    lab.rest().iter().map(|counters| counters.held).sum()
}

/// The sender of the first `count` packets gets a host unreachable about each, as it sent them.
#[track_caller]
fn assert_host_unreachable(lab: &mut Lab, count: u8) {
    let seen = lab.exchange(Vec::new(), count.into());
    for (seen, number) in seen.iter().zip(0..) {
        assert_eq!((seen.side, seen.link().dst), (Side::Inside, Lab::mac_of(HOST)));
        let error = seen.packet();
        assert_eq!((error.kind, *error.from.ip(), *error.to.ip()), (Kind::Error(3, 1), OWN[0], HOST));
        assert_eq!(error.payload, numbered(number).octets());
    }
    assert_eq!(held(lab), 0);
}

fn asked_for(lab: &Lab, side: Side, address: Ipv4Addr) -> usize {
    let wanted = (side.interface(), address.to_bits());
    let events = lab.dataplane().events.try_iter();
    events
        .filter(|event| matches!(event, Event::Needed(interface, ip) if (*interface, *ip) == wanted))
        .count()
}

#[test]
fn packets_wait_in_order_until_the_neighbour_is_learnt() {
    for setup in
        [Setup::new(1), Setup::new(2), Setup { vlans: [None, Some(5)], queues: [1, 1], ..Setup::new(2) }]
    {
        setup.run(|lab| {
            for number in 0..HELD_EACH as u8 {
                lab.send_packet(Side::Inside, &numbered(number));
            }
            assert_eq!(held(lab), HELD_EACH as u64);
            assert_eq!((lab.look().len(), asked_for(lab, Side::Outside, ROUTER)), (0, 1));
            lab.learn(Side::Outside, ROUTER);
            let seen = lab.exchange(Vec::new(), HELD_EACH);
            let order: Vec<u8> = seen.iter().map(|seen| seen.packet().payload[0]).collect();
            assert_eq!(order, (0..HELD_EACH as u8).collect::<Vec<_>>());
            assert!(seen.iter().all(|seen| seen.link().dst == Lab::mac_of(ROUTER)));
            assert_eq!(held(lab), 0);
            assert_eq!(lab.one(Side::Inside, &numbered(99)).side, Side::Outside);
        });
    }
}

#[test]
fn a_hold_queue_is_bounded_and_its_rest_is_counted() {
    Setup::new(2).run(|lab| {
        for number in 0..100 {
            lab.send_packet(Side::Inside, &numbered(number));
        }
        assert_eq!(lab.dropped(DropReason::NextHopUnresolved), 100 - HELD_EACH as u64);
        assert_eq!(held(lab), HELD_EACH as u64);
    });
}

#[test]
fn rfc1812_5_2_7_1_an_unresolved_next_hop_is_answered_after_3_seconds() {
    Setup::new(2).run(|lab| {
        let start = Instant::now();
        (0..5).for_each(|number| lab.send_packet(Side::Inside, &numbered(number)));
        assert_eq!(held(lab), 5);
        let waits = |lab: &Lab| -> u64 { lab.counters().iter().map(|counters| counters.held).sum() };
        lab.wait("they are given up", |lab| waits(lab) == 0);
        // Workers count whole milliseconds.
        assert!(start.elapsed() > Duration::from_millis(2998), "{:?}", start.elapsed());
        assert_host_unreachable(lab, 5);
        // It is asked for again when it is needed again.
        asked_for(lab, Side::Outside, ROUTER);
        lab.send_packet(Side::Inside, &numbered(5));
        assert_eq!(held(lab), 1);
        assert_eq!(asked_for(lab, Side::Outside, ROUTER), 1);
    });
}

#[test]
fn what_waits_for_a_forgotten_neighbour_is_answered() {
    Setup::new(2).run(|lab| {
        (0..5).for_each(|number| lab.send_packet(Side::Inside, &numbered(number)));
        assert_eq!(held(lab), 5);
        let forget = || Command::Forget(Side::Outside.interface(), ROUTER.to_bits());
        lab.dataplane().tell_all(forget);
        lab.wait("it is forgotten", |lab| lab.counters().iter().all(|counters| counters.held == 0));
        assert_host_unreachable(lab, 5);
    });
}

#[test]
fn what_was_hairpinned_and_waits_for_a_forgotten_neighbour_is_answered() {
    let (target, forward) = (Ipv4Addr::new(10, 64, 0, 50), SocketAddrV4::new(POOL, 8080));
    Setup::new(3).forward(Protocol::Udp, (*forward.ip(), forward.port()), target).run(move |lab| {
        let senders: Vec<_> = (2..12).map(|nth| Ipv4Addr::new(10, 64, 9, nth)).collect();
        lab.learn_all(senders.iter().copied());
        for &sender in &senders {
            let packet = Packet::new(Kind::Udp, SocketAddrV4::new(sender, 5000), forward, b"anyone there?");
            lab.send_packet(Side::Inside, &packet);
            assert_eq!(held(lab), 1);
            lab.dataplane().tell_all(|| Command::Forget(Side::Inside.interface(), target.to_bits()));
            let error = lab.exchange(Vec::new(), 1).remove(0).packet();
            assert_eq!((error.kind, *error.to.ip()), (Kind::Error(3, 1), sender));
            assert_eq!(Packet::read(&error.payload), packet);
        }
    });
}

#[test]
fn a_session_follows_its_neighbour_to_another_mac_address_and_back_to_none() {
    Setup::new(2).run(|lab| {
        lab.learn_all([HOST]);
        let there = lab.one(Side::Inside, &numbered(1)).packet();
        lab.dataplane().tell_all(|| Command::Forget(Side::Inside.interface(), HOST.to_bits()));
        lab.rest();
        lab.send_packet(Side::Outside, &there.answer());
        assert_eq!(held(lab), 1);
        assert_eq!(asked_for(lab, Side::Inside, HOST), 1);
        lab.learn(Side::Inside, HOST);
        let back = lab.exchange(Vec::new(), 1).remove(0);
        assert_eq!((back.side, back.packet()), (Side::Inside, numbered(1).answer().routed()));
    });
}

#[test]
fn held_packets_are_dropped_and_counted_at_the_end() {
    Setup::new(2).run(|lab| {
        (0..5).for_each(|number| lab.send_packet(Side::Inside, &numbered(number)));
        // The balance at the end is looked at by `take_down`.
        assert_eq!(held(lab), 5);
    });
}

#[test]
fn packets_released_at_the_last_moment_are_sent_or_counted() {
    Setup::new(1).run(|lab| {
        (0..5).for_each(|number| lab.send_packet(Side::Inside, &numbered(number)));
        assert_eq!(held(lab), 5);
        let binding = natgw_neighbor::Binding {
            interface: Side::Outside.interface(),
            ip: ROUTER.to_bits(),
            mac: Lab::mac_of(ROUTER),
        };
        // A batch of commands that ends with the end, as management may well send it.
        let commands = &lab.dataplane().workers()[0].commands;
        commands.send(Command::Learn(binding)).unwrap();
        lab.stop(0);
        assert_eq!(lab.exchange(Vec::new(), 5).len(), 5);
    });
}
