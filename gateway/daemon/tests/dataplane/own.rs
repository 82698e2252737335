//! Messages that the gateway makes itself: ARP, echo replies, ICMP errors.

use std::net::{Ipv4Addr, SocketAddrV4};

use natgw_counters::EventKind;
use natgw_dpdk::Mbuf;
use natgw_nat::{DropReason, Refuse};
use natgw_neighbor::arp::{self, Sender};
use natgw_wire::arp::{Operation, Repr};
use natgw_wire::ethernet::{self, Mac};
use natgw_worker::{Command, Event};

use crate::lab::{Lab, POOL, ROUTER, Seen, Sent, Setup, Side};
use crate::packet::{Kind, Link, Packet, SYN};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

fn arp_of(seen: &Seen) -> Repr {
    let (_, ethertype, payload) = Link::read(&seen.frame);
    assert_eq!(ethertype, ethernet::ARP);
    Repr::parse(payload).unwrap()
}

/// A station's question, to every queue of its side in turn.
fn ask(lab: &mut Lab, side: Side, vlan: Option<u16>, station: Ipv4Addr, target: Ipv4Addr) {
    let sender = Sender { mac: Lab::mac_of(station), vlan, ip: station.to_bits() };
    let frame = arp::request(sender, target.to_bits(), Mac::BROADCAST).to_vec();
    for queue in 0..lab.queues(side) {
        lab.send(&Sent { side, queue, frame: frame.clone() });
    }
}

#[test]
fn every_queue_answers_arp_for_own_and_pool_addresses() {
    for (queues, vlan) in [([3, 3], None), ([1, 1], None), ([3, 2], Some(42))] {
        Setup { queues, vlans: [None, vlan], ..Setup::new(3) }.run(move |lab| {
            let queues = lab.queues(Side::Outside);
            for target in [Side::Outside.own(), POOL] {
                ask(lab, Side::Outside, vlan, ROUTER, target);
                let answers = lab.exchange(Vec::new(), queues);
                for answer in &answers {
                    let mac = lab.mac(Side::Outside);
                    let link = Link { dst: Lab::mac_of(ROUTER), src: mac, vlan };
                    assert_eq!((answer.side, answer.link()), (Side::Outside, link));
                    let expected = Repr {
                        op: Operation::Reply,
                        sha: mac,
                        spa: target,
                        tha: Lab::mac_of(ROUTER),
                        tpa: ROUTER,
                    };
                    assert_eq!(arp_of(answer), expected);
                }
            }
            let learned = lab.dataplane().events.try_iter().filter(
                |event| matches!(event, Event::Learned(binding, _) if binding.mac == Lab::mac_of(ROUTER)),
            );
            assert_eq!(learned.count(), 2 * queues);
        });
    }
}

#[test]
fn arp_that_does_not_concern_the_gateway_is_consumed() {
    Setup::new(2).run(|lab| {
        ask(lab, Side::Outside, None, ROUTER, Ipv4Addr::new(203, 0, 113, 77));
        ask(lab, Side::Inside, None, HOST, POOL);
        let consumed: u64 = lab.rest().iter().map(|counters| counters.consumed).sum();
        assert_eq!((consumed, lab.look().len()), (4, 0));
        // A claim of an own address is reported.
        ask(lab, Side::Outside, None, POOL, POOL);
        lab.rest();
        assert!(lab.dataplane().events.try_iter().any(|event| matches!(event, Event::Conflict(_))));
    });
}

#[test]
fn managements_frames_leave_as_they_are() {
    Setup { queues: [1, 3], ..Setup::new(3) }.run(|lab| {
        let sender = Sender { mac: Mac([2; 6]), vlan: None, ip: Side::Outside.own().to_bits() };
        let frame = arp::gratuitous(sender);
        for (worker, side) in [(0, Side::Outside), (2, Side::Outside), (1, Side::Inside)] {
            let commands = &lab.dataplane().workers()[worker].commands;
            commands.send(Command::Transmit(side.interface(), frame)).unwrap();
            let seen = lab.exchange(Vec::new(), 1).remove(0);
            assert_eq!((seen.side, &seen.frame[..]), (side, &frame[..]));
            assert_eq!(lab.rest()[worker].generated, 1);
        }
    });
}

#[test]
fn a_ping_of_an_own_address_is_answered() {
    Setup::new(3).run(|lab| {
        lab.learn_all([HOST]);
        for (side, station) in [(Side::Inside, HOST), (Side::Outside, ROUTER)] {
            for len in [0, 56, 1472] {
                let ping = Packet::new(Kind::EchoRequest, at(station, 9), at(side.own(), 0), &vec![7; len]);
                for queue in 0..3 {
                    let frame = lab.frame(side, &ping);
                    let reply = lab.exchange(vec![Sent { side, queue, frame }], 1).remove(0);
                    assert_eq!((reply.side, reply.link().dst), (side, Lab::mac_of(station)));
                    assert_eq!(reply.packet(), ping.answer());
                }
            }
        }
        // From inside, the outside address is the gateway's own too.
        let ping = Packet::new(Kind::EchoRequest, at(HOST, 9), at(Side::Outside.own(), 0), b"far");
        assert_eq!(lab.one(Side::Inside, &ping).packet(), ping.answer());
    });
}

const RST_ACK: u8 = 0x14;

/// The answer to a SYN without data, whose sequence number is 7.
#[track_caller]
fn assert_reset(lab: &Lab, seen: &Seen, syn: &Packet) {
    let reset = seen.packet();
    assert_eq!((seen.side, seen.link().dst), (Side::Inside, Lab::mac_of(*syn.from.ip())));
    assert_eq!(seen.link().src, lab.mac(Side::Inside));
    assert_eq!((reset.kind, reset.from, reset.to), (Kind::Tcp(RST_ACK), syn.to, syn.from));
    // Behind Ethernet and IPv4: a sequence number of 0, and what acknowledges the SYN.
    assert_eq!(seen.frame[34..][4..12], [0, 0, 0, 0, 0, 0, 0, 8]);
}

fn resets(lab: &mut Lab) -> u64 {
    lab.rest().iter().map(|counters| counters.nat.tcp_resets).sum()
}

/// RFC 9293 sections 3.5.2 and 3.10.7.1: nothing listens here.
#[test]
fn rfc9293_3_5_2_a_connection_to_the_gateway_itself_is_reset_at_once() {
    for workers in [1, 3] {
        Setup::new(workers).run(|lab| {
            lab.learn_all([HOST]);
            for side in Side::BOTH {
                let syn = Packet::new(Kind::Tcp(SYN), at(HOST, 4000), at(side.own(), 22), b"");
                let seen = lab.one(Side::Inside, &syn);
                assert_reset(lab, &seen, &syn);
            }
            assert_eq!(resets(lab), 2);
            // A RST is not answered, nor is anything from outside.
            for flags in [0x04, RST_ACK] {
                let rst = Packet::new(Kind::Tcp(flags), at(HOST, 4000), at(Side::Inside.own(), 22), b"");
                lab.send_packet(Side::Inside, &rst);
            }
            let syn = Packet::new(Kind::Tcp(SYN), at(REMOTE, 4000), at(Side::Outside.own(), 22), b"");
            lab.send_packet(Side::Outside, &syn);
            let udp = Packet::new(Kind::Udp, at(REMOTE, 4000), at(Side::Outside.own(), 22), b"");
            lab.send_packet(Side::Outside, &udp);
            assert_eq!(lab.dropped(DropReason::LocalNoService), 4);
            assert!(lab.look().is_empty());
        });
    }
}

#[test]
fn a_gateway_that_refuses_silently_resets_nothing() {
    let mut setup = Setup::new(1);
    setup.settings.refuse = Refuse::Drop;
    setup.run(|lab| {
        let syn = Packet::new(Kind::Tcp(SYN), at(HOST, 4000), at(Side::Inside.own(), 22), b"");
        lab.send_packet(Side::Inside, &syn);
        assert_eq!(lab.dropped(DropReason::LocalNoService), 1);
        assert!(lab.look().is_empty());
    });
}

#[test]
fn resets_of_the_gateway_are_limited_for_each_host() {
    Setup::new(1).run(|lab| {
        let other = Ipv4Addr::new(10, 64, 0, 3);
        lab.learn_all([HOST, other]);
        let syn = |from| Packet::new(Kind::Tcp(SYN), at(from, 4000), at(Side::Inside.own(), 22), b"");
        for _ in 0..4000 {
            lab.send_packet(Side::Inside, &syn(HOST));
        }
        let (limited, answered) = (lab.dropped(DropReason::ReplyLimited), resets(lab));
        assert_eq!(limited + answered, 4000);
        assert!(limited > 0 && answered >= 1000, "{answered} answers");
        assert_eq!(lab.look().len() as u64, answered);
        let seen = lab.one(Side::Inside, &syn(other));
        assert_reset(lab, &seen, &syn(other));
    });
}

/// Where the pool is the gateway's own outside address, a packet from inside to it is translated, hairpins, and finds no
/// mapping.
#[test]
fn closed_ports_of_a_masquerade_address_are_answered_to_inside_hosts() {
    for workers in [1, 3] {
        let mut setup = Setup::new(workers);
        setup.settings.pools[0].addresses = vec![Side::Outside.own()];
        setup.run(|lab| {
            let hosts: Vec<Ipv4Addr> = (2..10).map(|nth| Ipv4Addr::new(10, 64, 9, nth)).collect();
            lab.learn_all(hosts.clone());
            for &host in &hosts {
                let syn = Packet::new(Kind::Tcp(SYN), at(host, 4000), at(Side::Outside.own(), 22), b"");
                let seen = lab.one(Side::Inside, &syn);
                assert_reset(lab, &seen, &syn);
                let udp = Packet::new(Kind::Udp, at(host, 4000), at(Side::Outside.own(), 53), b"who?");
                let error = lab.one(Side::Inside, &udp);
                assert_eq!((error.side, error.link().dst), (Side::Inside, Lab::mac_of(host)));
                let error = error.packet();
                assert_eq!((error.kind, error.from.ip()), (Kind::Error(3, 3), udp.to.ip()));
                let about = Packet::read(&error.payload);
                assert_eq!((about.from, about.to), (udp.from, udp.to), "as the host knows it");
            }
        });
    }
}

#[test]
fn a_packet_at_the_end_of_its_life_earns_a_time_exceeded() {
    Setup::new(3).run(|lab| {
        lab.learn_all([HOST]);
        for kind in [Kind::Udp, Kind::Tcp(SYN), Kind::EchoRequest] {
            for len in [0, 100, 1400] {
                let to = if kind == Kind::EchoRequest { 0 } else { 33_434 };
                let probe =
                    Packet { ttl: 1, ..Packet::new(kind, at(HOST, 5000), at(REMOTE, to), &vec![1; len]) };
                let error = lab.one(Side::Inside, &probe);
                assert_eq!((error.side, error.link().dst), (Side::Inside, Lab::mac_of(HOST)));
                assert_error(&error.packet(), (11, 0), Side::Inside.own(), &probe);
            }
        }
        let probe = Packet { ttl: 1, ..Packet::new(Kind::Udp, at(REMOTE, 5000), at(POOL, 2000), b"in") };
        let error = lab.one(Side::Outside, &probe);
        assert_eq!((error.side, error.link().dst), (Side::Outside, Lab::mac_of(ROUTER)));
        assert_error(&error.packet(), (11, 0), Side::Outside.own(), &probe);
    });
}

/// An error of the gateway's that quotes as much of the packet as 576 octets allow.
fn assert_error(error: &Packet, (ty, code): (u8, u8), from: Ipv4Addr, about: &Packet) {
    assert_eq!(error.kind, Kind::Error(ty, code));
    assert_eq!((*error.from.ip(), error.to.ip()), (from, about.from.ip()));
    let about = about.octets();
    assert_eq!(error.payload, about[..about.len().min(576 - 28)]);
}

#[test]
fn a_packet_without_a_route_earns_an_unreachable() {
    Setup { default_route: false, ..Setup::new(3) }.run(|lab| {
        lab.learn_all([HOST]);
        for kind in [Kind::Udp, Kind::Tcp(SYN), Kind::EchoRequest] {
            let to = if kind == Kind::EchoRequest { 0 } else { 443 };
            let lost = Packet::new(kind, at(HOST, 5000), at(REMOTE, to), b"lost");
            // The second packet has a session already.
            for _ in 0..2 {
                let error = lab.one(Side::Inside, &lost);
                assert_eq!((error.side, error.link().dst), (Side::Inside, Lab::mac_of(HOST)));
                // Quoted as the host sent it: it knows no other flow.
                assert_error(&error.packet(), (3, 0), Side::Inside.own(), &lost);
            }
        }
    });
}

#[test]
fn errors_are_limited() {
    Setup::new(1).run(|lab| {
        let probe = Packet { ttl: 1, ..Packet::new(Kind::Udp, at(HOST, 5000), at(REMOTE, 33_434), b"") };
        for _ in 0..4000 {
            lab.send_packet(Side::Inside, &probe);
        }
        let limited = lab.dropped(DropReason::ReplyLimited);
        let answered = lab.look().len() as u64;
        assert_eq!(limited + answered, 4000);
        assert!(limited > 0 && answered >= 250, "{answered} answers");
    });
}

#[test]
fn an_answer_without_room_in_its_buffer_quotes_less() {
    Setup::new(1).run(|lab| {
        let probe = Packet { ttl: 1, ..Packet::new(Kind::Udp, at(HOST, 5000), at(REMOTE, 33_434), &[1; 60]) };
        let mut packet: Mbuf = lab.buffer();
        // The frame fills what the buffer has behind its headroom: it can grow no further.
        assert!(packet.set_len(packet.tailroom()));
        let frame = lab.frame(Side::Inside, &probe);
        packet.data_mut()[..frame.len()].copy_from_slice(&frame);
        lab.send_mbuf(Side::Inside, 0, packet);
        let error = lab.exchange(Vec::new(), 1).remove(0).packet();
        assert_error(&error, (11, 0), Side::Inside.own(), &probe);
    });
}

/// An ARP message: who asks, or tells, from which MAC address.
fn arp_message(lab: &Lab, side: Side, op: u8, from: Ipv4Addr, to: Ipv4Addr) -> Sent {
    let station = Lab::mac_of(from);
    let ours = if op == 2 { lab.mac(side).0 } else { [0; 6] };
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, op];
    message.extend([&station.0[..], &from.octets(), &ours, &to.octets()].concat());
    Sent { side, queue: 0, frame: lab.link(side, from).frame(0x0806, &message) }
}

/// What management hears of a neighbour.
fn hears_of(lab: &Lab, neighbor: Ipv4Addr) -> usize {
    let is_of =
        |event: &Event| matches!(event, Event::Learned(binding, _) if binding.ip == neighbor.to_bits());
    lab.dataplane().events.try_iter().filter(is_of).count()
}

/// A flood of ARP from an inside host does not take the outside router from others.
#[test]
fn arp_of_one_link_keeps_nothing_of_another_from_management() {
    Setup::new(1).run(|lab| {
        let peer = Ipv4Addr::new(203, 0, 113, 200);
        for flood in 0..3 {
            let strangers = (0..7000).map(|nth| Ipv4Addr::from_bits(HOST.to_bits() + 1 + flood * 7000 + nth));
            for stranger in strangers.collect::<Vec<_>>() {
                let request = arp_message(lab, Side::Inside, 1, stranger, Side::Inside.own());
                lab.send(&request);
            }
            for neighbor in [ROUTER, peer] {
                let reply = arp_message(lab, Side::Outside, 2, neighbor, Side::Outside.own());
                lab.send(&reply);
            }
            lab.rest();
            assert_eq!(lab.look().len(), 7000, "every request is answered");
            if flood == 2 {
                assert!(lab.counters()[0].events_lost[EventKind::Learned as usize] > 10_000);
            }
        }
        assert_eq!(hears_of(lab, ROUTER), 3);
        lab.send(&arp_message(lab, Side::Outside, 2, peer, Side::Outside.own()));
        lab.rest();
        assert_eq!(hears_of(lab, peer), 1);
    });
}

/// Nor does one on the router's own link, once management asks for it.
#[test]
fn arp_of_strangers_does_not_hide_the_answer_of_a_neighbour_that_is_asked_for() {
    Setup::new(1).run(|lab| {
        let peer = Ipv4Addr::new(10, 64, 200, 1);
        let expect = || Command::Expect(Side::Inside.interface(), peer.to_bits());
        lab.dataplane().tell_all(expect);
        lab.wait("the worker takes its commands", |lab| lab.dataplane().workers()[0].commands.is_empty());
        for nth in 0..3000 {
            let stranger = Ipv4Addr::from_bits(HOST.to_bits() + 1 + nth);
            lab.send(&arp_message(lab, Side::Inside, 1, stranger, Side::Inside.own()));
        }
        lab.send(&arp_message(lab, Side::Inside, 2, peer, Side::Inside.own()));
        lab.rest();
        lab.look();
        assert_eq!(hears_of(lab, peer), 1);
    });
}

/// RFC 1122 section 3.2.2.1: the error is about the packet as its sender knows it, whichever worker owns the port.
#[test]
fn a_masquerade_address_answers_inside_hosts_on_every_worker() {
    for workers in [1, 3] {
        let mut setup = Setup::new(workers);
        setup.settings.pools[0].addresses = vec![Side::Outside.own()];
        setup.run(|lab| {
            lab.learn_all([HOST]);
            for port in [53, 1024, 20_000, 33_434, 50_000, 65_535] {
                let to = at(Side::Outside.own(), port);
                let sent = Packet::new(Kind::Udp, at(HOST, 5000), to, b"is anybody there?");
                let seen = lab.one(Side::Inside, &sent);
                let error = seen.packet();
                assert_eq!((seen.side, error.kind), (Side::Inside, Kind::Error(3, 3)), "port {port}");
                assert_eq!((*error.from.ip(), *error.to.ip()), (*to.ip(), HOST));
                assert_eq!(error.payload, sent.octets());
            }
            let live: Vec<u64> = lab.rest().iter().flat_map(|counters| counters.nat.sessions).collect();
            assert!(live.iter().all(|&sessions| sessions == 0), "{live:?}");
        });
    }
}
