//! New sessions that are refused: their packets are counted as dropped, and answered by ICMP (RFC 5508 REQ-8).

use std::net::{Ipv4Addr, SocketAddrV4};

use natgw_nat::{DropReason, Filtering, IcmpGenerated};

use crate::lab::{Lab, OWN, Setup, Side};
use crate::packet::{Kind, Packet, SYN, refill_header_checksum};

const HOST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 64, 0, 2), 5000);
const ALLOWED: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 443);
const FORBIDDEN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 443);

/// A gateway with a rule for few destinations.
fn setup(workers: u16) -> Setup {
    let mut setup = Setup::new(workers);
    setup.settings.rules[0].destination = "198.51.100.0/24".parse().unwrap();
    setup
}

fn packet(kind: Kind, to: SocketAddrV4) -> Packet {
    let to = if kind == Kind::EchoRequest { SocketAddrV4::new(*to.ip(), 0) } else { to };
    Packet::new(kind, HOST, to, b"may I?")
}

fn generated(lab: &mut Lab, kind: IcmpGenerated) -> u64 {
    lab.rest().iter().map(|counters| counters.nat.icmp_generated[kind as usize]).sum()
}

#[track_caller]
fn assert_answered(lab: &mut Lab, packet: &Packet, code: u8) {
    let seen = lab.one(Side::Inside, packet);
    assert_eq!((seen.side, seen.link().dst), (Side::Inside, Lab::mac_of(*packet.from.ip())));
    let error = seen.packet();
    assert_eq!(
        (error.kind, *error.from.ip(), error.to.ip()),
        (Kind::Error(3, code), OWN[0], packet.from.ip())
    );
    assert_eq!(error.payload, packet.octets());
}

#[test]
fn rfc5508_req8_forbidden_sessions_are_answered_with_prohibited() {
    for workers in [1, 3] {
        setup(workers).run(|lab| {
            lab.learn_all([*HOST.ip()]);
            for kind in [Kind::Udp, Kind::Tcp(SYN), Kind::EchoRequest] {
                assert_answered(lab, &packet(kind, FORBIDDEN), 13);
            }
            assert_eq!(lab.dropped(DropReason::NoRule), 3);
            assert_eq!(generated(lab, IcmpGenerated::Prohibited), 3);
            assert_eq!(lab.one(Side::Inside, &packet(Kind::Udp, ALLOWED)).side, Side::Outside);
        });
    }
}

#[test]
fn rfc6888_req11_lack_of_ports_is_answered_with_host_unreachable() {
    let mut setup = setup(2);
    setup.settings.limits.ports_per_subscriber = 1;
    setup.run(|lab| {
        lab.learn_all([*HOST.ip()]);
        assert_eq!(lab.one(Side::Inside, &packet(Kind::Udp, ALLOWED)).side, Side::Outside);
        let second = Packet { from: SocketAddrV4::new(*HOST.ip(), 5001), ..packet(Kind::Udp, ALLOWED) };
        assert_answered(lab, &second, 1);
        assert_eq!(lab.dropped(DropReason::SubscriberPorts), 1);
        assert_eq!(generated(lab, IcmpGenerated::Unreachable), 1);
    });
}

#[test]
fn rfc5508_req8_hairpinned_packets_without_a_mapping_are_answered() {
    for workers in [1, 3] {
        Setup::new(workers).run(|lab| {
            lab.learn_all([*HOST.ip()]);
            for (last, port) in [(10, 999), (11, 999), (12, 999), (10, 30_000), (11, 30_000)] {
                let nobody = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, last), port);
                assert_answered(lab, &packet(Kind::Udp, nobody), 1);
            }
            assert_eq!(lab.dropped(DropReason::NoMapping), 5);
            assert_eq!(generated(lab, IcmpGenerated::Unreachable), 5);
        });
    }
}

/// The source of `syn` gets a port unreachable about it.
#[track_caller]
fn assert_port_unreachable(lab: &mut Lab, side: Side, syn: &Packet) {
    lab.send(&lab.misled(side, syn, 0));
    let seen = lab.exchange(Vec::new(), 1).remove(0);
    let error = seen.packet();
    assert_eq!((seen.side, error.kind, error.to.ip()), (side, Kind::Error(3, 3), syn.from.ip()));
    // A hairpinned one had passed the gateway once when it was not let in.
    let about = if side == Side::Inside { syn.routed() } else { syn.clone() };
    assert_eq!((error.from.ip(), Packet::read(&error.payload)), (syn.to.ip(), about));
}

#[test]
fn rfc5382_req4_unsolicited_syns_are_answered_from_outside_and_hairpinned() {
    for workers in [1, 3] {
        let mut setup = Setup::new(workers);
        setup.settings.pools[0].filtering = Filtering::AddressDependent;
        setup.settings.timeouts.tcp_unsolicited_syn_s = 1;
        setup.run(|lab| {
            let others: Vec<_> = (2..8).map(|nth| Ipv4Addr::new(10, 64, 9, nth)).collect();
            lab.learn_all(others.iter().copied().chain([*HOST.ip()]));
            let mapped = lab.one(Side::Inside, &packet(Kind::Tcp(SYN), ALLOWED)).packet().from;
            assert_port_unreachable(lab, Side::Outside, &Packet::new(Kind::Tcp(SYN), FORBIDDEN, mapped, b""));
            for &other in &others {
                let syn = Packet::new(Kind::Tcp(SYN), SocketAddrV4::new(other, 5000), mapped, b"");
                assert_port_unreachable(lab, Side::Inside, &syn);
            }
            assert_eq!(lab.dropped(DropReason::Filtered), 1 + others.len() as u64);
            assert_eq!(generated(lab, IcmpGenerated::Unreachable), 1 + others.len() as u64);
        });
    }
}

/// RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7.
#[test]
fn rfc5508_req8_errors_groups_broadcasts_and_later_fragments_are_not_answered() {
    setup(2).run(|lab| {
        lab.learn_all([*HOST.ip()]);
        let error = Packet::error(3, 3, *HOST.ip(), &packet(Kind::Udp, FORBIDDEN).answer());
        let broadcast = packet(Kind::Udp, SocketAddrV4::new(Ipv4Addr::BROADCAST, 443));
        let group = packet(Kind::Udp, SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 5), 443));
        let nobody = Packet { from: SocketAddrV4::new(Ipv4Addr::new(10, 64, 255, 255), 1), ..group.clone() };
        for packet in [error, broadcast, group, nobody] {
            lab.send_packet(Side::Inside, &packet);
        }
        // A later fragment.
        let link = lab.link(Side::Inside, *HOST.ip());
        let mut fragment = packet(Kind::Udp, FORBIDDEN).octets();
        fragment[6..8].copy_from_slice(&[0, 100]);
        refill_header_checksum(&mut fragment);
        let frame = link.frame(0x0800, &fragment);
        lab.send(&crate::lab::Sent { side: Side::Inside, queue: 0, frame });
        lab.rest();
        assert!(lab.look().is_empty());
    });
}

#[test]
fn rfc5508_req8_answers_are_limited_and_every_refusal_is_counted() {
    setup(1).run(|lab| {
        lab.learn_all([*HOST.ip()]);
        let frame = lab.frame(Side::Inside, &packet(Kind::Udp, FORBIDDEN));
        for _ in 0..4000 {
            lab.send(&crate::lab::Sent { side: Side::Inside, queue: 0, frame: frame.clone() });
        }
        assert_eq!(lab.dropped(DropReason::NoRule), 4000);
        let answered = generated(lab, IcmpGenerated::Prohibited);
        // A second's worth for one host, and what was earned meanwhile.
        assert!((250..3000).contains(&answered), "{answered} answers");
        assert_eq!(lab.look().len() as u64, answered);
    });
}
