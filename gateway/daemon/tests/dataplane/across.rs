//! Packets that pass two workers: hairpinning, permanent mappings of another worker's hosts, ICMP errors.

use std::net::{Ipv4Addr, SocketAddrV4};

use natgw_nat::Protocol;

use crate::lab::{Lab, POOL, ROUTER, Setup, Side};
use crate::packet::{ACK, Kind, Packet, SYN};

const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 99);

fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

fn packet(kind: Kind, from: SocketAddrV4, to: SocketAddrV4) -> Packet {
    Packet::new(kind, from, to, b"across")
}

/// The outside endpoint of an inside one, made by a packet to a remote.
fn external(lab: &mut Lab, kind: Kind, inside: SocketAddrV4) -> SocketAddrV4 {
    let out = lab.one(Side::Inside, &packet(kind, inside, at(REMOTE, 443)));
    assert_eq!(out.side, Side::Outside);
    out.packet().from
}

#[test]
fn hairpinned_packets_cross_workers_both_ways() {
    Setup::new(3).run(|lab| {
        let hosts = lab.hosts();
        lab.learn_all(hosts.clone());
        for kind in [Kind::Udp, Kind::Tcp(SYN)] {
            for (&a, &b) in hosts.iter().flat_map(|a| hosts.iter().map(move |b| (a, b))) {
                let (a, b) = (at(a, 5000), at(b, 6000));
                let a_outside = external(lab, kind, a);
                // From outside endpoint to outside endpoint (RFC 4787 REQ-9b), and back the same way.
                let there = lab.one(Side::Inside, &packet(kind, b, a_outside));
                let b_outside = there.packet().from;
                assert_eq!(b_outside, external(lab, kind, b));
                assert_eq!((there.side, there.link().dst), (Side::Inside, Lab::mac_of(*a.ip())));
                assert_eq!(there.packet(), packet(kind, b_outside, a).routed());
                let back = lab.one(Side::Inside, &there.packet().answer());
                assert_eq!((back.side, back.link().dst), (Side::Inside, Lab::mac_of(*b.ip())));
                assert_eq!(back.packet(), packet(kind.answer(), a_outside, b).routed());
            }
        }
        let pairs = 2 * hosts.len() * hosts.len();
        let hairpinned: u64 = lab.rest().iter().map(|counters| counters.nat.hairpinned).sum();
        assert_eq!(hairpinned, 2 * pairs as u64);
    });
}

#[test]
fn an_error_about_a_hairpinned_packet_reaches_its_sender() {
    Setup::new(3).run(|lab| {
        let hosts = lab.hosts();
        lab.learn_all(hosts.clone());
        for (a, b) in [(0, 1), (1, 2), (2, 2)] {
            let (a, b) = (at(hosts[a], 5000), at(hosts[b], 6000));
            let a_outside = external(lab, Kind::Udp, a);
            let there = lab.one(Side::Inside, &packet(Kind::Udp, b, a_outside)).packet();
            let error = lab.one(Side::Inside, &Packet::error(3, 3, *a.ip(), &there));
            assert_eq!((error.side, error.link().dst), (Side::Inside, Lab::mac_of(*b.ip())));
            let error = error.packet();
            assert_eq!((error.from.ip(), error.to.ip()), (a_outside.ip(), b.ip()));
            let about = Packet::read(&error.payload);
            assert_eq!((about.from, about.to), (b, a_outside));
        }
    });
}

#[test]
fn a_port_forward_leads_to_another_workers_host() {
    let host = Ipv4Addr::new(10, 64, 0, 50);
    let setup = Setup::new(4).forward(Protocol::Tcp, (POOL, 8080), host);
    permanent(setup, at(POOL, 8080), at(host, 80));
}

#[test]
fn a_static_mapping_leads_to_another_workers_host() {
    let host = Ipv4Addr::new(10, 64, 0, 60);
    permanent(Setup::new(4).one_to_one(EXTERNAL, host), at(EXTERNAL, 2222), at(host, 2222));
}

#[test]
fn workers_without_queues_serve_permanent_mappings() {
    let host = Ipv4Addr::new(10, 64, 0, 50);
    let setup = || Setup { queues: [1, 1], ..Setup::new(3) };
    permanent(setup().forward(Protocol::Tcp, (POOL, 8080), host), at(POOL, 8080), at(host, 80));
    permanent(setup().one_to_one(EXTERNAL, host), at(EXTERNAL, 2222), at(host, 2222));
}

/// `outside` is reached from outside and by hairpinning, and its host answers, whatever queue the packets come to.
fn permanent(setup: Setup, outside: SocketAddrV4, inside: SocketAddrV4) {
    setup.run(move |lab| {
        let hosts = lab.hosts();
        lab.learn_all(hosts.iter().copied().chain([*inside.ip()]));
        for (remote, nth) in [(at(REMOTE, 1000), 0), (at(REMOTE, 1001), 1), (at(REMOTE, 1002), 2)] {
            let syn = packet(Kind::Tcp(SYN), remote, outside);
            let sent = lab.misled(Side::Outside, &syn, nth);
            let came = lab.exchange(vec![sent], 1).remove(0);
            assert_eq!((came.side, came.link().dst), (Side::Inside, Lab::mac_of(*inside.ip())));
            assert_eq!(came.packet(), packet(Kind::Tcp(SYN), remote, inside).routed());
            let back = lab.one(Side::Inside, &came.packet().answer());
            assert_eq!((back.side, back.packet()), (Side::Outside, syn.answer().routed()));
            let then = packet(Kind::Tcp(ACK), remote, outside);
            let came = lab.one(Side::Outside, &then);
            assert_eq!(came.packet(), packet(Kind::Tcp(ACK), remote, inside).routed());
        }
        for client in hosts {
            let syn = packet(Kind::Tcp(SYN), at(client, 7000), outside);
            let came = lab.one(Side::Inside, &syn);
            assert_eq!((came.side, came.packet().to), (Side::Inside, inside));
            let back = lab.one(Side::Inside, &came.packet().answer());
            assert_eq!((back.side, back.packet().from, back.packet().to), (Side::Inside, outside, syn.from));
        }
    });
}

#[test]
fn an_outside_routers_error_reaches_the_host_it_is_about() {
    for setup in
        [Setup::new(1), Setup::new(3), Setup::new(3).pool(1), Setup { queues: [1, 1], ..Setup::new(3) }]
    {
        setup.run(|lab| {
            let hosts = lab.hosts();
            lab.learn_all(hosts.clone());
            for (host, kind) in hosts
                .iter()
                .flat_map(|&host| [Kind::Udp, Kind::Tcp(SYN), Kind::EchoRequest].map(|kind| (host, kind)))
            {
                let remote = at(REMOTE, if kind == Kind::EchoRequest { 0 } else { 443 });
                let out = packet(kind, at(host, 5000), remote);
                let translated = lab.one(Side::Inside, &out).packet();
                let hop = Ipv4Addr::new(192, 0, 2, 33);
                let error = lab.one(Side::Outside, &Packet::error(11, 0, hop, &translated));
                assert_eq!((error.side, error.link().dst), (Side::Inside, Lab::mac_of(host)));
                // The packet in it is the host's own again, its checksums included.
                assert_eq!(error.packet(), Packet::error(11, 0, hop, &out.routed()).routed());
            }
        });
    }
}

#[test]
fn an_inside_hosts_error_leaves_as_its_outside_endpoint() {
    Setup::new(3).run(|lab| {
        let hosts = lab.hosts();
        lab.learn_all(hosts.clone());
        for host in hosts {
            let inside = at(host, 5000);
            let outside = external(lab, Kind::Udp, inside);
            let arrived = lab.one(Side::Outside, &packet(Kind::Udp, at(REMOTE, 443), outside)).packet();
            let error = lab.one(Side::Inside, &Packet::error(3, 3, host, &arrived));
            assert_eq!((error.side, error.link().dst), (Side::Outside, Lab::mac_of(ROUTER)));
            let about = packet(Kind::Udp, at(REMOTE, 443), outside).routed();
            assert_eq!(error.packet(), Packet::error(3, 3, *outside.ip(), &about).routed());
        }
    });
}
