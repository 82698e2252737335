//! Pings of the gateway itself that are larger than the MTU: put together, and answered in fragments of the port's MTU.

use std::net::{Ipv4Addr, SocketAddrV4};

use natgw_nat::{DropReason, FragmentEvent, IcmpGenerated, Refuse};
use natgw_neighbor::assembly::DATAGRAMS_EACH;
use natgw_wire::ethernet;

use crate::fragments::{join, place, split};
use crate::lab::{Lab, OWN, POOL, ROUTER, Seen, Sent, Setup, Side};
use crate::packet::{Kind, Packet, refill_header_checksum};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// An echo request of `from` with so many octets of data.
fn ping(from: Ipv4Addr, to: Ipv4Addr, len: usize) -> Packet {
    let data: Vec<u8> = (0..len).map(|nth| (nth * 7 + nth / 251) as u8).collect();
    Packet::new(Kind::EchoRequest, SocketAddrV4::new(from, 9), SocketAddrV4::new(to, 0), &data)
}

/// Fragments on their way, each to another queue.
fn scattered(lab: &Lab, side: Side, station: Ipv4Addr, fragments: &[Vec<u8>]) -> Vec<Sent> {
    let link = lab.link(side, station);
    let frames = fragments.iter().enumerate();
    let queues = lab.queues(side);
    frames
        .map(|(nth, one)| Sent { side, queue: nth % queues, frame: link.frame(ethernet::IPV4, one) })
        .collect()
}

/// Of a ping's reply at an MTU.
fn fragments_of(len: usize, mtu: usize) -> usize {
    (len + 8).div_ceil((mtu - 20) / 8 * 8)
}

/// Sends a ping in fragments, in order and last to first; it is answered each time.
#[track_caller]
fn assert_answered(lab: &mut Lab, side: Side, ping: &Packet, mtu: u16) {
    let station = if side == Side::Inside { *ping.from.ip() } else { ROUTER };
    for ident in [1, 2] {
        let mut fragments = split(ping, ident);
        if ident == 2 {
            fragments.reverse();
        }
        let sent = scattered(lab, side, station, &fragments);
        let seen = lab.exchange(sent, fragments_of(ping.payload.len(), mtu.into()));
        assert!(seen.iter().all(|seen| seen.frame.len() <= usize::from(mtu) + 14), "the port's MTU");
        assert!(seen.is_sorted_by_key(|seen| place(seen) & 0x1fff), "in order");
        let link = seen[0].link();
        assert_eq!((link.dst, link.src), (Lab::mac_of(station), lab.mac(side)));
        assert_eq!(join(&seen), (side, ping.answer()));
    }
}

fn generated(lab: &mut Lab) -> u64 {
    lab.rest().iter().map(|counters| counters.nat.icmp_generated[IcmpGenerated::EchoReply as usize]).sum()
}

fn events(lab: &mut Lab, event: FragmentEvent) -> u64 {
    lab.rest().iter().map(|counters| counters.nat.fragments[event as usize]).sum()
}

#[test]
fn pings_larger_than_the_mtu_are_answered_in_fragments_of_the_ports_mtu() {
    for (workers, mtus) in [(1, [1500, 1500]), (3, [1400, 576])] {
        Setup { mtus, ..Setup::new(workers) }.run(move |lab| {
            lab.learn_all([HOST]);
            let mut fragments = 0;
            for len in [1473, 2960, 3000, 9000] {
                for (side, from, to) in [
                    (Side::Inside, HOST, OWN[0]),
                    (Side::Inside, HOST, OWN[1]),
                    (Side::Outside, REMOTE, OWN[1]),
                    (Side::Outside, ROUTER, OWN[1]),
                ] {
                    let ping = ping(from, to, len);
                    assert_answered(lab, side, &ping, mtus[side as usize]);
                    fragments += 2 * split(&ping, 0).len() as u64;
                }
            }
            assert_eq!(generated(lab), 4 * 4 * 2);
            assert_eq!(events(lab, FragmentEvent::Assembled), fragments);
            assert_eq!(events(lab, FragmentEvent::Received), fragments);
        });
    }
}

#[test]
fn pools_answer_pings_of_any_size_where_they_say_so() {
    for (workers, addresses) in [(1, 8), (3, 8), (3, 1)] {
        let mut setup = Setup::new(workers).pool(addresses).one_to_one(Ipv4Addr::new(203, 0, 113, 50), HOST);
        setup.settings.pools[0].ping = true;
        setup.run(move |lab| {
            lab.learn_all([HOST]);
            for (side, from) in [(Side::Inside, Ipv4Addr::new(10, 64, 0, 3)), (Side::Outside, REMOTE)] {
                for len in [56, 1472] {
                    let small = ping(from, POOL, len);
                    let seen = lab.one(side, &small);
                    assert_eq!((seen.side, seen.packet()), (side, small.answer()));
                }
                assert_answered(lab, side, &ping(from, POOL, 4000), 1500);
            }
            // A packet that belongs to a host reaches it, and the gateway does not answer.
            let to_host = ping(REMOTE, Ipv4Addr::new(203, 0, 113, 50), 56);
            let seen = lab.one(Side::Outside, &to_host);
            assert_eq!((seen.side, *seen.packet().to.ip()), (Side::Inside, HOST));
        });
    }
}

#[test]
fn pools_answer_no_ping_by_default() {
    let mut setup = Setup::new(2);
    // A host inside would get an ICMP error: no host has the address.
    setup.settings.refuse = Refuse::Drop;
    setup.run(|lab| {
        lab.learn_all([HOST]);
        for (side, from) in [(Side::Inside, HOST), (Side::Outside, REMOTE)] {
            lab.send_packet(side, &ping(from, POOL, 56));
            let fragments = split(&ping(from, POOL, 3000), 1);
            let station = if side == Side::Inside { HOST } else { ROUTER };
            scattered(lab, side, station, &fragments).iter().for_each(|sent| lab.send(sent));
        }
        assert_eq!(generated(lab), 0);
        assert!(lab.look().is_empty());
    });
}

/// A part of a ping's message at another place, or with another end.
fn moved(fragment: &[u8], place: u16) -> Vec<u8> {
    let mut fragment = fragment.to_vec();
    fragment[6..8].copy_from_slice(&place.to_be_bytes());
    refill_header_checksum(&mut fragment);
    fragment
}

const MORE: u16 = 0x2000;

#[test]
fn rfc1858_fragments_that_overlap_are_dropped_and_counted() {
    Setup::new(2).run(|lab| {
        lab.learn_all([HOST]);
        let fragments = split(&ping(HOST, OWN[0], 2952), 7);
        // Teardrop: the second begins within the first; then what would have been right.
        let teardrop = [fragments[0].clone(), moved(&fragments[1], 184), fragments[1].clone()];
        let sent = scattered(lab, Side::Inside, HOST, &teardrop);
        sent.iter().for_each(|sent| {
            lab.send(sent);
            lab.rest();
        });
        assert_eq!(lab.dropped(DropReason::FragmentOverlap), 3);
        // The same again, which is none the worse for it.
        let repeated = split(&ping(HOST, OWN[0], 2952), 8);
        let repeated = [repeated[0].clone(), repeated[0].clone(), repeated[1].clone()];
        let sent = scattered(lab, Side::Inside, HOST, &repeated);
        sent.iter().for_each(|sent| {
            lab.send(sent);
            lab.rest();
        });
        assert_eq!(join(&lab.exchange(Vec::new(), 2)).1, ping(HOST, OWN[0], 2952).answer());
        assert_eq!(lab.dropped(DropReason::FragmentDuplicate), 1);
        // More than is put together, a wrong checksum, and no ping.
        let large = split(&ping(HOST, OWN[0], 9001), 9);
        let mut broken = split(&ping(HOST, OWN[0], 2000), 10);
        broken[1][30] ^= 1;
        let reply = split(&ping(HOST, OWN[0], 2000).answer(), 11);
        let reply = reply.iter().map(|one| {
            // It comes from the host for all that.
            let mut one = one.clone();
            one[12..16].copy_from_slice(&HOST.octets());
            one[16..20].copy_from_slice(&OWN[0].octets());
            refill_header_checksum(&mut one);
            one
        });
        let all: Vec<Vec<u8>> = large.into_iter().chain(broken).chain(reply).collect();
        let count = all.len() as u64;
        let sent = scattered(lab, Side::Inside, HOST, &all);
        sent.iter().for_each(|sent| lab.send(sent));
        assert_eq!(lab.dropped(DropReason::LocalNoService), count);
        assert!(lab.look().is_empty());
    });
}

fn held(lab: &mut Lab) -> u64 {
    lab.rest().iter().map(|counters| counters.held).sum()
}

#[test]
fn a_flood_of_pings_that_never_are_whole_takes_no_ping_from_another_host() {
    Setup::new(1).run(|lab| {
        let other = Ipv4Addr::new(10, 64, 0, 3);
        lab.learn_all([HOST, other]);
        let whole = split(&ping(other, OWN[0], 9000), 1);
        let mut seen: Vec<Seen> = Vec::new();
        for nth in 0..700_u16 {
            let orphan = moved(&split(&ping(HOST, OWN[0], 1473), nth)[0], MORE);
            scattered(lab, Side::Inside, HOST, &[orphan]).iter().for_each(|sent| lab.send(sent));
            if nth % 100 == 99 {
                let piece = usize::from(nth / 100);
                scattered(lab, Side::Inside, other, &whole[piece..=piece])
                    .iter()
                    .for_each(|sent| lab.send(sent));
                lab.rest();
                seen.extend(lab.look());
            }
        }
        assert_eq!(whole.len(), 7);
        assert_eq!(join(&seen).1, ping(other, OWN[0], 9000).answer());
        // What waits is bounded, and is given up in time.
        assert!(held(lab) <= DATAGRAMS_EACH as u64);
        assert!(lab.dropped(DropReason::FragmentIncomplete) >= 700 - DATAGRAMS_EACH as u64);
        lab.wait("they are given up", |lab| {
            let reason = DropReason::FragmentIncomplete as usize;
            lab.counters()[0].nat.dropped[reason][0] == 700
        });
        assert_eq!(held(lab), 0);
        // This one waits to the end, which looks at the balance.
        let orphan = whole[..1].to_vec();
        scattered(lab, Side::Inside, other, &orphan).iter().for_each(|sent| lab.send(sent));
        assert_eq!(held(lab), 1);
    });
}

#[test]
fn replies_in_fragments_have_the_budget_of_all_replies() {
    Setup::new(1).run(|lab| {
        lab.learn_all([HOST]);
        for nth in 0..3000 {
            let fragments = split(&ping(HOST, OWN[0], 1473), nth);
            scattered(lab, Side::Inside, HOST, &fragments).iter().for_each(|sent| lab.send(sent));
            if nth % 100 == 99 {
                lab.rest();
            }
        }
        let (limited, answered) = (lab.dropped(DropReason::ReplyLimited), generated(lab));
        assert_eq!(limited + 2 * answered, 6000);
        assert!(limited > 0 && answered >= 500, "{answered} answers");
        assert_eq!(lab.look().len() as u64, 2 * answered);
    });
}
