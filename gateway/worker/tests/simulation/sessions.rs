//! Sessions out and back, whichever worker receives what.

use natgw_worker::simulation::Faults;

use crate::lab::{
    Lab, POOL, ROUTER, SIDES, Side, assert_no_outside_endpoint_twice, at, dropped, host, options, received,
    settings, transmitted,
};
use crate::packet::{Kind, Packet, SYN};
use natgw_nat::DropReason;

const KINDS: [Kind; 3] = [Kind::Udp, Kind::Tcp(SYN), Kind::EchoRequest];
const HOSTS: u8 = 40;

/// Workers that know every host and the router.
fn lab(workers: u16, addresses: u32) -> Lab {
    let mut lab = Lab::new(options(workers, settings(addresses)));
    lab.learn(Side::Outside, ROUTER);
    (2..=HOSTS + 1).for_each(|nth| lab.learn(Side::Inside, host(nth)));
    lab.gateway.settle();
    lab
}

#[test]
fn replies_reach_the_sender_though_every_packet_is_on_the_wrong_queue() {
    // Of whole addresses, and of addresses that workers share by their ports.
    for (workers, addresses) in [(1, 1), (2, 8), (4, 8), (3, 1)] {
        let mut lab = lab(workers, addresses);
        for nth in 2..=HOSTS + 1 {
            let kind = KINDS[usize::from(nth) % KINDS.len()];
            let sent = Packet::new(kind, at(host(nth), 4000), at([198, 51, 100, 7].into(), 53), &[nth]);
            let sent =
                if kind == Kind::EchoRequest { Packet { to: at(*sent.to.ip(), 0), ..sent } } else { sent };
            let out = lab.cross(Side::Inside, &sent);
            assert_eq!(out, Packet { from: out.from, ..sent.routed() });
            assert!((POOL..ROUTER).contains(out.from.ip()));
            let reply = out.answer();
            let back = lab.cross(Side::Outside, &reply);
            assert_eq!(back, Packet { to: sent.from, ..reply.routed() });
        }
        let mappings = lab.mappings();
        assert_eq!(mappings.len(), HOSTS.into());
        assert_no_outside_endpoint_twice(&mappings);
        let (counters, _) = lab.rest();
        let crossed: u64 = counters.iter().map(|it| it.handoff.received).sum();
        assert_eq!(crossed, if workers == 1 { 0 } else { 2 * u64::from(HOSTS) });
        assert_eq!(counters.iter().map(received).sum::<u64>(), 2 * u64::from(HOSTS));
        assert_eq!(counters.iter().map(transmitted).sum::<u64>(), 2 * u64::from(HOSTS));
        lab.finish();
    }
}

#[test]
fn hairpinned_packets_cross_to_the_owner_of_the_endpoint_and_back() {
    let mut lab = lab(4, 8);
    let far = at([198, 51, 100, 7].into(), 53);
    let outside = |lab: &mut Lab, nth| {
        lab.cross(Side::Inside, &Packet::new(Kind::Udp, at(host(nth), 4000), far, &[nth])).from
    };
    for (one, other) in (2..HOSTS).map(|nth| (nth, nth + 1)) {
        let (from, to) = (outside(&mut lab, one), outside(&mut lab, other));
        let sent = Packet::new(Kind::Udp, at(host(one), 4000), to, &[one, other]);
        lab.send(Side::Inside, lab.wrong_queue(Side::Inside, &sent), &sent);
        let (_, [inside, _]) = lab.rest();
        assert_eq!(inside, [Packet { from, to: at(host(other), 4000), ..sent.routed() }]);
    }
    lab.finish();
}

#[test]
fn packets_wait_for_their_neighbour_and_go_on() {
    let mut lab = Lab::new(options(3, settings(4)));
    let sent = Packet::new(Kind::Udp, at(host(2), 4000), at([198, 51, 100, 7].into(), 53), b"waits");
    lab.send(Side::Inside, 0, &sent);
    let (counters, [_, outside]) = lab.rest();
    assert!(outside.is_empty() && counters.iter().map(|it| it.held).sum::<u64>() == 1);
    lab.answer_needs();
    (0..100).for_each(|_| lab.gateway.round());
    let (_, [_, outside]) = lab.rest();
    assert_eq!(outside.len(), 1);
    lab.finish();
}

#[test]
fn frames_that_are_no_packet_for_the_gateway_have_one_reason() {
    let mut lab = lab(2, 2);
    let packet = Packet::new(Kind::Udp, at(host(2), 4000), at([198, 51, 100, 7].into(), 53), &[]);
    lab.gateway.send(0, 1, &[0; 60]);
    lab.gateway.send(0, 0, &[1; 5]);
    lab.send(Side::Inside, 0, &Packet { ttl: 1, ..packet.clone() });
    let (counters, [inside, outside]) = lab.rest();
    assert_eq!((inside.len(), outside.len()), (1, 0), "time exceeded");
    assert_eq!(dropped(&counters, DropReason::NotForUs), 1);
    assert_eq!(dropped(&counters, DropReason::Truncated), 1);
    lab.finish();
}

/// With the same seed, whatever goes wrong goes wrong again in the same way.
#[test]
fn a_seed_gives_one_run() {
    let run = |seed| {
        let faults =
            Faults { lost: 100, doubled: 100, late: 300, throttled: 200, stalled: 300, ..Faults::default() };
        let mut options = options(3, settings(4));
        (options.faults, options.seed) = (faults, seed);
        let mut lab = Lab::new(options);
        SIDES.iter().zip([host(2), ROUTER]).for_each(|(&side, station)| lab.learn(side, station));
        let mut seen = Vec::new();
        for port in 2000..2200 {
            let packet = Packet::new(Kind::Udp, at(host(2), port), at([198, 51, 100, 7].into(), 53), &[]);
            lab.send(Side::Inside, usize::from(port) % 3, &packet);
            lab.gateway.round();
            seen.extend(lab.take(Side::Outside));
        }
        let (counters, [_, outside]) = lab.rest();
        seen.extend(outside);
        lab.finish();
        (format!("{counters:?}"), seen)
    };
    assert!(run(1) == run(1));
    assert!(run(1).1 != run(2).1);
}
