//! Fragments that are refused: overlaps, repetitions, and what no honest sender makes (RFC 1858, RFC 3128).

use natgw_nat::{Direction, DropReason, Filtering, FragmentAction, FragmentPath, Protocol, Static, Verdict};

use crate::fragment_sim::{Left, piece, split};
use crate::fragments::{HOST, REMOTE, ROOM, datagram, large, orders, pieces, remembered, whole};
use crate::packet::{Packet, ep};

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
        let way = FragmentPath::Outbound;
        let verdict = shard.translate_fragment(&mut after, way, None, pieces.gateway.now);
        // Its sender gets an ICMP error, as for a packet that is not in fragments.
        let is_told = reason == Why::Protocol;
        let expected = if is_told { Verdict::Reject(reason) } else { Verdict::Drop(reason) };
        assert_eq!(verdict.fate, FragmentAction::Decided(expected), "{what}");
        assert_eq!(after, bytes);
        assert_eq!(shard.counters().dropped[reason], [1, 0], "{what} is counted");
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

/// Fragments of strangers, which a host's mapping admits, count apart from those that the host sends and from those of its
/// sessions' remotes.
#[test]
fn rfc4787_req14a_fragments_of_strangers_take_nothing_from_a_hosts_own() {
    let mut pieces = pieces(|settings| {
        settings.limits.fragments = 64;
        settings.limits.fragments_per_subscriber = 8;
        for last in [5, 20] {
            settings.statics.push(Static {
                external: format!("203.0.113.{}/32", last + 15).parse().expect("prefix"),
                internal: format!("10.64.0.{last}/32").parse().expect("prefix"),
            });
        }
    });
    let own = split(&datagram("10.64.0.5:5000", REMOTE, 3000), ROOM, 1);
    assert!(pieces.arrive_all(&own, Direction::Outbound).iter().all(|left| left.bytes().is_some()));
    // First ones to two hosts and later ones, from everywhere.
    for n in 0..512u16 {
        let stranger = format!("192.0.{}.{}:7", n / 128, 1 + n % 128);
        let to = if n % 2 == 0 { "203.0.113.20:5000" } else { "203.0.113.35:5000" };
        for at in [0, 1] {
            let one = &split(&datagram(&stranger, to, 3000), ROOM, n + at)[usize::from(at)];
            pieces.arrive(one, Direction::Inbound);
        }
        let own = split(&datagram("10.64.0.5:5000", REMOTE, 3000), ROOM, 1000 + n);
        let mut left =
            pieces.arrive_all(&[own[1].clone(), own[0].clone(), own[2].clone()], Direction::Outbound);
        assert_eq!(left.remove(0), Left::Held, "its own, {n} strangers later");
        assert!(left.iter().all(|left| left.bytes().is_some()), "its own, {n} strangers later");
        let answer = split(&datagram(REMOTE, "203.0.113.20:5000", 3000), ROOM, n);
        let left = pieces.arrive_all(&answer, Direction::Inbound);
        assert!(
            left.iter().all(|left| left.bytes().is_some()),
            "from its peer, {n} strangers later: {left:?}"
        );
    }
    let refused = pieces.gateway.shards[0].counters().dropped[DropReason::SubscriberFragments];
    assert!(refused[Direction::Inbound] > 0, "strangers have a budget of their own");
}

/// A host that lets many fragments wait takes no other host's room for that.
#[test]
fn rfc4787_req14a_waiting_fragments_of_one_sender_leave_room_for_another() {
    for (direction, greedy, modest) in [
        (Direction::Outbound, (HOST, REMOTE), ("10.64.0.6:5000", REMOTE)),
        (Direction::Inbound, (REMOTE, "203.0.113.10:4000"), ("192.0.2.9:7", "203.0.113.10:4000")),
    ] {
        let mut pieces = pieces(|_| {});
        for ident in 0..300 {
            pieces.arrive(&split(&datagram(greedy.0, greedy.1, 3000), ROOM, ident)[1], direction);
        }
        let late = &split(&datagram(modest.0, modest.1, 3000), ROOM, 1)[1];
        assert_eq!(pieces.arrive(late, direction), [Left::Held], "{direction:?}");
    }
}

/// Where a datagram goes whose first fragment names another worker's endpoint is not forgotten over datagrams that go nowhere.
#[test]
fn rfc4787_req14a_refused_datagrams_push_no_other_workers_out() {
    let mut pieces = pieces(|_| {});
    let (way, now) = (FragmentPath::Inbound, pieces.gateway.now);
    let others = split(&datagram(REMOTE, "203.0.113.10:4000", 3000), ROOM, 1);
    let shard = &mut pieces.gateway.shards[0];
    assert_eq!(
        shard.translate_fragment(&mut others[0].clone(), way, Some(1), now).fate,
        FragmentAction::Elsewhere(1)
    );
    for ident in 2..2000 {
        let nowhere = &mut split(&datagram(REMOTE, "203.0.113.10:4001", 3000), ROOM, ident)[0];
        let refused = FragmentAction::Decided(Verdict::Drop(DropReason::NoMapping));
        assert_eq!(shard.translate_fragment(nowhere, way, None, now).fate, refused);
    }
    assert_eq!(
        shard.translate_fragment(&mut others[1].clone(), way, None, now).fate,
        FragmentAction::Elsewhere(1)
    );
}

/// A hairpinned datagram is known by the outside addresses of both hosts, which no packet from outside may have.
#[test]
fn rfc4787_req14_later_fragments_from_outside_are_checked_as_first_ones_are() {
    for (from, to, reason) in [
        ("203.0.113.11:5", "203.0.113.10:5", DropReason::SpoofedGateway),
        ("203.0.113.2:5", "203.0.113.10:5", DropReason::SpoofedGateway),
        ("10.64.0.9:5", "203.0.113.10:5", DropReason::SpoofedOutside),
        (REMOTE, "10.64.0.1:5", DropReason::InsideFromOutside),
        (REMOTE, "203.0.113.255:5", DropReason::DestinationDirectedBroadcast),
        ("127.0.0.1:5", "203.0.113.10:5", DropReason::SourceLoopback),
    ] {
        let mut pieces = pieces(|_| {});
        for at in [0, 1, 2] {
            let one = &split(&datagram(from, to, 4000), ROOM, 7)[at];
            assert_eq!(pieces.arrive(one, Direction::Inbound), [Left::Drop(reason)], "{from} to {to}: {at}");
        }
    }
    let mut pieces = pieces(|settings| settings.pools[0].filtering = Filtering::EndpointIndependent);
    let other = pieces.gateway.open(Protocol::Udp, ep("10.64.0.6:5000"), ep(REMOTE));
    let own = pieces.gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let sent = split(&datagram(HOST, &other.to_string(), 4000), ROOM, 7);
    let left = pieces.arrive(&sent[0], Direction::Outbound);
    assert!(matches!(&left[..], [Left::In(_)]), "{left:?}");
    let ident = u16::from_be_bytes([left[0].bytes().unwrap()[4], left[0].bytes().unwrap()[5]]);
    for ident in [ident, 7] {
        let spoofed = &split(&datagram(&own.to_string(), &other.to_string(), 4000), ROOM, ident)[1];
        let refused = [Left::Drop(DropReason::SpoofedGateway)];
        assert_eq!(pieces.arrive(spoofed, Direction::Inbound), refused);
    }
    let rest = pieces.arrive_all(&sent[1..], Direction::Outbound);
    assert!(rest.iter().all(|left| matches!(left, Left::In(_))), "{rest:?}");
}

#[test]
fn rfc7126_fragments_with_a_source_route_are_dropped() {
    let whole = Packet {
        options: vec![131, 7, 4, 192, 0, 2, 1, 0],
        ..large(Protocol::Udp, ep(HOST), ep(REMOTE), 4000)
    };
    for at in [0, 1] {
        let mut pieces = pieces(|_| {});
        let one = &split(&whole.bytes(), ROOM, 7)[at];
        assert_eq!(pieces.arrive(one, Direction::Outbound), [Left::Drop(DropReason::SourceRoute)]);
    }
}

/// As a whole one is (RFC 3715 section 2.1); who sent it hears of it once.
#[test]
fn rfc5508_req8_a_datagram_under_an_authentication_header_is_refused_by_its_first_fragment() {
    let header = Packet::other(51, ep(HOST), ep(REMOTE)).bytes();
    let part = |at: usize, more| piece(&header[..20], &[7; 1480], at, more, 7);
    let mut pieces = pieces(|_| {});
    let reason = DropReason::AuthenticationHeader;
    assert_eq!(pieces.arrive(&part(1480, false), Direction::Outbound), [Left::Drop(reason)]);
    assert_eq!(pieces.arrive(&part(0, true), Direction::Outbound), [Left::Reject(reason)]);
    assert_eq!(pieces.arrive(&part(0, true), Direction::Inbound), [Left::Drop(reason)]);
}
