//! Fragments that are refused: overlaps, repetitions, and what no honest sender makes (RFC 1858, RFC 3128).

use gateway::nat::{Direction, DropReason, Fate, Protocol, Verdict, Way};

use crate::fragments::{HOST, REMOTE, ROOM, datagram, large, orders, pieces, remembered, whole};
use crate::packet::{Packet, ep};
use crate::pieces::{Left, piece, split};

const OVERLAP: Left = Left::Drop(DropReason::FragmentOverlap);

#[test]
fn rfc4787_req14_overlapping_fragments_are_refused() {
    let payload = (0..4000).map(|at| at as u8).collect::<Vec<_>>();
    let header = datagram(HOST, REMOTE, 4000)[..20].to_vec();
    let part = |at: usize, len: usize, more| piece(&header, &payload[at..at + len], at, more, 7);
    let first = split(&datagram(HOST, REMOTE, 4000), ROOM, 7)[0].clone();
    for (what, wrong) in [
        ("into the first", part(1472, 1480, true)),
        ("teardrop: beyond the first's end by less", part(1400, 88, false)),
        ("another first one", part(0, 1488, true)),
        ("around it", part(0, 3000, true)),
        ("an end inside it", part(8, 8, false)),
    ] {
        let mut pieces = pieces(|_| {});
        pieces.arrive(&first, Direction::Outbound);
        assert_eq!(pieces.arrive(&wrong, Direction::Outbound), [OVERLAP], "{what}");
        let rest = pieces.arrive(&part(1480, 1480, true), Direction::Outbound);
        assert_eq!(rest, [OVERLAP], "{what}: nothing passes any more");
    }
    for (what, early, wrong) in [
        ("two that wait", part(1480, 1480, true), part(2952, 16, true)),
        ("behind the end", part(1480, 1480, false), part(2960, 16, true)),
        ("another end", part(1480, 1480, false), part(2960, 16, false)),
        ("an end before", part(2960, 16, true), part(1480, 1480, false)),
    ] {
        let mut pieces = pieces(|_| {});
        assert_eq!(pieces.arrive(&early, Direction::Outbound), [Left::Held]);
        let left = pieces.arrive(&wrong, Direction::Outbound);
        assert_eq!(left, [OVERLAP, OVERLAP], "{what}: and what waited");
        assert_eq!(pieces.arrive(&first, Direction::Outbound), [OVERLAP], "{what}");
        assert_eq!(pieces.held(), 0);
    }
    // What waited overlaps the first one, which is out by then.
    let mut pieces = pieces(|_| {});
    pieces.arrive(&part(1472, 1480, true), Direction::Outbound);
    let left = pieces.arrive(&first, Direction::Outbound);
    assert!(matches!(&left[..], [Left::Out(_), Left::Drop(DropReason::FragmentOverlap)]));
}

#[test]
fn rfc4787_req14_duplicates_are_dropped_and_harm_nothing() {
    let mut pieces = pieces(|_| {});
    for order in orders(&split(&datagram(HOST, REMOTE, 9000), ROOM, 7)) {
        let twice: Vec<_> = order.iter().take(6).flat_map(|one| [one.clone(), one.clone()]).collect();
        let left = pieces.arrive_all(&[twice, order[6..].to_vec()].concat(), Direction::Outbound);
        assert_eq!(whole(&left).destination, ep(REMOTE));
        assert_eq!(left.iter().filter(|&left| *left == Left::Drop(DropReason::FragmentDuplicate)).count(), 6);
    }
}

#[test]
fn rfc1858_rfc3128_fragments_that_no_honest_sender_makes_are_refused() {
    use DropReason as Why;
    let udp = datagram(HOST, REMOTE, 4000);
    let tcp = large(Protocol::Tcp, ep(HOST), ep(REMOTE), 4000).bytes();
    let error = Packet::error("10.64.0.5", 3, 3, &Packet::udp(ep(REMOTE), ep(HOST)).bytes()).bytes();
    let cases = [
        ("not a multiple of eight", piece(&udp[..20], &udp[20..1499], 0, true, 7), Why::FragmentMalformed),
        ("empty", piece(&udp[..20], &[], 8, true, 7), Why::FragmentMalformed),
        ("ping of death", piece(&udp[..20], &udp[20..60], 65_528, false, 7), Why::FragmentMalformed),
        ("an ICMP error", piece(&error[..20], &error[20..44], 0, true, 7), Why::FragmentMalformed),
        ("8 octets of TCP", piece(&tcp[..20], &tcp[20..28], 0, true, 7), Why::Truncated),
        ("TCP without its options", piece(&tcp[..20], &tcp[20..44], 0, true, 7), Why::TcpDataOffset),
        (
            "protocol 47",
            {
                let mut gre = udp[..20].to_vec();
                gre[9] = 47;
                piece(&gre, &[0; 80], 0, true, 7)
            },
            Why::Protocol,
        ),
        (
            "a bad checksum",
            {
                let mut bad = split(&udp, ROOM, 7)[1].clone();
                bad[10] ^= 1;
                bad
            },
            Why::IpChecksum,
        ),
    ];
    for (what, bytes, reason) in cases {
        let mut pieces = pieces(|_| {});
        let shard = &mut pieces.gateway.shards[0];
        let mut after = bytes.clone();
        let way = Way::Outbound;
        let verdict = shard.translate_fragment(&mut after, way, None, pieces.gateway.now);
        assert_eq!(verdict.fate, Fate::Decided(Verdict::Drop(reason)), "{what}");
        assert_eq!(after, bytes);
        assert_eq!(shard.counters().dropped[reason as usize], [1, 0], "{what} is counted");
        assert_eq!(pieces.gateway.sessions(), []);
    }
}

#[test]
fn rfc4787_req14_spoofed_fragments_do_not_wait() {
    let mut pieces = pieces(|_| {});
    let spoofed = split(&datagram("192.0.2.1:5", REMOTE, 3000), ROOM, 7);
    assert_eq!(pieces.arrive(&spoofed[1], Direction::Outbound), [Left::Drop(DropReason::SpoofedInside)]);
    let spoofed = split(&datagram(HOST, "203.0.113.10:5", 3000), ROOM, 7);
    assert_eq!(pieces.arrive(&spoofed[1], Direction::Inbound), [Left::Drop(DropReason::SpoofedOutside)]);
    assert_eq!(remembered(&mut pieces), 0);
}
