//! Datagrams in fragments: RFC 4787 REQ-14, and their identifications by RFC 6864 and RFC 7857.

use std::collections::HashSet;

use natgw_nat::{
    Direction, DropReason, Endpoint, Filtering, FragmentEvent, HELD_FRAGMENTS, IcmpReply, Protocol,
    RuleAction, Settings, Static,
};
use natgw_wire::icmpv4::message;
use natgw_wire::tcp::Flags;

use crate::fragment_sim::{Left, Pieces, ident, join, piece, split};
use crate::packet::{Body, GRE, Packet, Seen, at_port, ep, unchanging};
use crate::sim::{Gateway, forward, rule, settings};

pub(crate) const HOST: &str = "10.64.0.5:4000";
pub(crate) const REMOTE: &str = "198.51.100.7:7000";
/// Behind a header, at an MTU of 1500.
pub(crate) const ROOM: usize = 1480;
const FULL: DropReason = DropReason::FragmentsFull;

pub(crate) fn pieces(change: impl FnOnce(&mut Settings)) -> Pieces {
    Pieces::new(Gateway::changed(change))
}

/// A datagram with a payload of so many octets, each different from its neighbours.
pub(crate) fn large(protocol: Protocol, from: Endpoint, to: Endpoint, len: usize) -> Packet {
    let payload = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
    let body = match protocol {
        Protocol::Udp => Body::Udp { checksum: true, payload },
        Protocol::Tcp => Body::Tcp { flags: Flags::ACK, options: vec![1; 12], payload },
        Protocol::Icmp => Body::Query { ty: message::ECHO, seq: 9, payload },
        Protocol::Other => Body::Other { number: GRE, payload },
    };
    Packet::new(from, to, body)
}

pub(crate) fn datagram(from: &str, to: &str, len: usize) -> Vec<u8> {
    large(Protocol::Udp, ep(from), ep(to), len).bytes()
}

/// First to last, last to first, and some orders between.
pub(crate) fn orders(pieces: &[Vec<u8>]) -> Vec<Vec<Vec<u8>>> {
    let count = pieces.len();
    let turned = |by: usize| (0..count).map(|at| pieces[(at + by) % count].clone()).collect();
    let strided = |step: usize| (0..count).map(|at| pieces[at * step % count].clone()).collect();
    let coprime = (2..count).find(|step| !count.is_multiple_of(*step)).unwrap_or(1);
    let reversed = pieces.iter().rev().cloned().collect();
    vec![pieces.to_vec(), reversed, turned(1), turned(count / 2), strided(coprime)]
}

/// What left, put together.
pub(crate) fn whole(left: &[Left]) -> Seen {
    join(left.iter().filter_map(Left::bytes))
}

/// Sends a packet in fragments, in every order, each time under another identification; what arrived each time.
fn sent(pieces: &mut Pieces, packet: &Packet, direction: Direction) -> Vec<Seen> {
    let (bytes, held) = (packet.bytes(), pieces.held());
    let mut seen = Vec::new();
    for (nth, order) in orders(&split(&bytes, ROOM, 0)).iter().enumerate() {
        let renamed = order.iter().map(|one| {
            let at = crate::fragment_sim::offset(one);
            piece(&one[..20], &one[20..], at, one[6] & 0x20 != 0, 100 + nth as u16)
        });
        let left = pieces.arrive_all(&renamed.collect::<Vec<_>>(), direction);
        let arrived = whole(&left);
        assert_eq!(unchanging(&arrived.bytes)[20..], unchanging(&bytes)[20..], "order {nth}");
        assert_eq!(pieces.held(), held);
        seen.push(arrived);
    }
    assert!(seen.iter().all(|one| (one.source, one.destination) == (seen[0].source, seen[0].destination)));
    seen
}

fn events(pieces: &mut Pieces) -> [u64; FragmentEvent::COUNT] {
    let counted = pieces.gateway.shards.iter_mut().map(|shard| shard.counters().fragments);
    counted.fold([0; FragmentEvent::COUNT], |sum, one| std::array::from_fn(|at| sum[at] + one[at]))
}

pub(crate) fn remembered(pieces: &mut Pieces) -> u64 {
    pieces.gateway.shards.iter_mut().flat_map(|shard| shard.counters().fragmented_datagrams).sum()
}

#[test]
fn rfc4787_req14_fragments_in_any_order_are_translated_both_ways() {
    for (shards, addresses) in [(1, 3), (3, 3), (3, 1)] {
        let mut settings = settings();
        settings.pools[0].addresses.truncate(addresses);
        let mut pieces = Pieces::new(Gateway::with_shards(settings, shards, 1024));
        for host in (5..12).map(|host| at_port(ep(HOST), 4000 + host)) {
            let host = Endpoint { address: host.address + u32::from(host.port % 7), ..host };
            for (protocol, len) in
                Protocol::WITH_PORTS.into_iter().flat_map(|p| [1473, 4000, 9000].map(|len| (p, len)))
            {
                if protocol == Protocol::Tcp {
                    pieces.gateway.open(protocol, host, ep(REMOTE));
                }
                let remote = if protocol == Protocol::Icmp { at_port(ep(REMOTE), 0) } else { ep(REMOTE) };
                let out = sent(&mut pieces, &large(protocol, host, remote, len), Direction::Outbound);
                assert_eq!(out[0].destination, remote);
                let external = out[0].source;
                assert_eq!(external, pieces.gateway.open(protocol, host, ep(REMOTE)));
                let mut answer = large(protocol, remote, external, len);
                if let Body::Query { ty, .. } = &mut answer.body {
                    *ty = message::ECHO_REPLY;
                }
                let back = sent(&mut pieces, &answer, Direction::Inbound);
                assert_eq!((back[0].source, back[0].destination), (remote, host));
            }
        }
        assert_eq!(remembered(&mut pieces), 0, "what has passed is forgotten");
        let [received, translated, held, handed_over, ..] = events(&mut pieces);
        assert_eq!(received, translated);
        // The home of an address owns all of it, unless shards share its ports.
        assert!(held > 0 && (handed_over > 0) == (addresses < shards), "{shards} shards");
    }
}

#[test]
fn rfc4787_req14_the_largest_datagram_passes_last_fragment_first() {
    let mut pieces = pieces(|_| {});
    let packet = large(Protocol::Udp, ep(HOST), ep(REMOTE), 65_467);
    assert_eq!(split(&packet.bytes(), ROOM, 0).len(), 45);
    sent(&mut pieces, &packet, Direction::Outbound);
}

#[test]
fn rfc4787_req14_hairpinned_forwarded_static_and_exempt_datagrams_pass_in_fragments() {
    for shards in [1, 2, 3] {
        let mut settings = settings();
        settings.pools[0].filtering = Filtering::EndpointIndependent;
        settings.rules.insert(0, rule("10.64.0.0/24", "192.0.2.0/24", RuleAction::Exempt));
        settings.port_forwards.push(forward(Protocol::Udp, "203.0.113.13:5353", "10.64.0.12:53"));
        settings.statics.push(Static {
            external: "203.0.113.20/32".parse().expect("prefix"),
            internal: "10.64.0.20/32".parse().expect("prefix"),
        });
        let mut pieces = Pieces::new(Gateway::with_shards(settings, shards, 1024));
        let udp = |from, to| large(Protocol::Udp, from, to, 4000);

        let target = ep("10.64.0.8:5000");
        let external = pieces.gateway.open(Protocol::Udp, target, ep(REMOTE));
        for (external, target) in [
            (external, target),
            (ep("203.0.113.13:5353"), ep("10.64.0.12:53")),
            (ep("203.0.113.20:9"), ep("10.64.0.20:9")),
        ] {
            let there = sent(&mut pieces, &udp(ep(HOST), external), Direction::Outbound);
            let outside = pieces.gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
            assert_eq!((there[0].source, there[0].destination), (outside, target), "hairpinned");
            let from_outside = sent(&mut pieces, &udp(ep(REMOTE), external), Direction::Inbound);
            assert_eq!((from_outside[0].source, from_outside[0].destination), (ep(REMOTE), target));
            let back = sent(&mut pieces, &udp(target, ep(REMOTE)), Direction::Outbound);
            assert_eq!(back[0].source, external);
        }
        let exempt = sent(&mut pieces, &udp(ep(HOST), ep("192.0.2.9:9")), Direction::Outbound);
        assert_eq!(exempt[0].source, ep(HOST));
        let idents: Vec<u16> = exempt.iter().map(|seen| ident(&seen.bytes)).collect();
        assert_eq!(idents, [100, 101, 102, 103, 104], "who is not translated keeps its identifications");
        let back = sent(&mut pieces, &udp(ep("192.0.2.9:9"), ep(HOST)), Direction::Inbound);
        assert_eq!(back[0].destination, ep(HOST));
        assert_eq!((pieces.held(), remembered(&mut pieces)), (0, 0));
    }
}

#[test]
fn rfc4787_req14_options_and_datagrams_without_checksum_pass_in_fragments() {
    let mut pieces = pieces(|_| {});
    let mut packet = large(Protocol::Udp, ep(HOST), ep(REMOTE), 4000).options(&[0x94, 4, 0, 0, 1, 1, 1, 1]);
    if let Body::Udp { checksum, .. } = &mut packet.body {
        *checksum = false;
    }
    for order in orders(&split(&packet.bytes(), ROOM, 7)) {
        let seen = whole(&pieces.arrive_all(&order, Direction::Outbound));
        assert_eq!(seen.bytes[34..36], [0, 0], "no checksum stays none");
        assert_eq!(seen.bytes[20..28], packet.options[..]);
    }
}

#[test]
fn rfc4787_req14_filtering_refuses_all_fragments_of_a_datagram() {
    let mut pieces = pieces(|_| {});
    let external = pieces.gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let stranger = large(Protocol::Udp, ep("192.0.2.1:1"), external, 4000).bytes();
    for order in orders(&split(&stranger, ROOM, 7)) {
        let left = pieces.arrive_all(&order, Direction::Inbound);
        let passed =
            left.iter().filter(|left| !matches!(left, Left::Held | Left::Drop(DropReason::Filtered)));
        assert_eq!((passed.count(), pieces.held()), (0, 0));
        pieces.pass_ms(15_000);
    }
    let refused = DropReason::Filtered as usize;
    assert_eq!(pieces.gateway.shards[0].counters().dropped[refused][1], 15);
}

#[test]
fn rfc4787_req14_ttl_runs_out_for_the_first_fragment_alone_with_an_answer() {
    let mut pieces = pieces(|_| {});
    let bytes = large(Protocol::Udp, ep(HOST), ep(REMOTE), 4000).ttl(1).bytes();
    let left = pieces.arrive_all(&split(&bytes, ROOM, 7), Direction::Outbound);
    let out_of_life = Left::Drop(DropReason::TtlExceeded);
    assert_eq!(left, [Left::Reply(IcmpReply::TimeExceeded), out_of_life.clone(), out_of_life]);
    assert_eq!((remembered(&mut pieces), pieces.gateway.sessions().len()), (0, 0));
}

#[test]
fn rfc4787_req14_datagrams_for_the_gateway_itself_are_local_to_the_last_fragment() {
    let mut pieces = pieces(|_| {});
    let bytes = datagram(HOST, "10.64.0.1:9", 4000);
    let left = pieces.arrive_all(&split(&bytes, ROOM, 7), Direction::Outbound);
    assert_eq!(
        left,
        [Left::Local, Left::Drop(DropReason::LocalNoService), Left::Drop(DropReason::LocalNoService)]
    );
}

#[test]
fn rfc4787_req14_an_identification_serves_again_once_its_datagram_has_passed() {
    let mut pieces = pieces(|_| {});
    let all = split(&datagram(HOST, REMOTE, 4000), ROOM, 7);
    let drawn: HashSet<u16> =
        (0..1000).map(|_| ident(&whole(&pieces.arrive_all(&all, Direction::Outbound)).bytes)).collect();
    assert_eq!(drawn.len(), 1000);
}

#[test]
fn rfc4787_req14a_a_missing_first_fragment_costs_bounded_time() {
    let mut pieces = pieces(|settings| settings.timeouts.fragment_s = 15);
    let all = split(&datagram(HOST, REMOTE, 4000), ROOM, 7);
    assert_eq!(pieces.arrive_all(&all[1..], Direction::Outbound), [Left::Held, Left::Held]);
    assert_eq!((pieces.pass_ms(1999), remembered(&mut pieces)), (0, 1));
    assert_eq!((pieces.pass_ms(1), remembered(&mut pieces)), (2, 0));

    // The others are waited for longer.
    assert!(matches!(pieces.arrive(&all[0], Direction::Outbound)[..], [Left::Out(_)]));
    pieces.pass_ms(14_999);
    assert!(matches!(pieces.arrive(&all[1], Direction::Outbound)[..], [Left::Out(_)]));
    pieces.pass_ms(1);
    assert_eq!(remembered(&mut pieces), 0);
    assert_eq!(pieces.arrive(&all[2], Direction::Outbound), [Left::Held]);
}

/// Half of the flood waits in vain, half is refused; what else is in fragments passes all the while.
#[test]
fn rfc4787_req14a_orphan_floods_cost_bounded_memory_and_no_goodput() {
    let mut pieces = pieces(|_| {});
    let external = pieces.gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let mut unfinished = Vec::new();
    for nth in 0..200_u16 {
        let all = split(&large(Protocol::Udp, ep(REMOTE), external, 3000).bytes(), ROOM, nth);
        assert!(matches!(pieces.arrive(&all[0], Direction::Inbound)[..], [Left::In(_)]));
        unfinished.push(all);
    }
    let before = pieces.gateway.shards[0].counters().dropped[FULL][1];
    for nth in 0..5000_u32 {
        let source = Endpoint { address: ep("192.0.2.0:0").address + nth % 256, port: 9 };
        let target = if nth % 2 == 0 { external } else { at_port(external, 1) };
        let stray = split(&large(Protocol::Udp, source, target, 3000).bytes(), ROOM, nth as u16);
        pieces.arrive(&stray[if nth % 2 == 0 { 1 } else { 0 }], Direction::Inbound);
        let again = split(&large(Protocol::Udp, ep(REMOTE), external, 3000).bytes(), ROOM, 1000 + nth as u16);
        assert_eq!(whole(&pieces.arrive_all(&again, Direction::Inbound)).destination, ep(HOST));
    }
    // The other half is for fragments from inside.
    assert_eq!(pieces.held(), HELD_FRAGMENTS as usize / 2);
    let full = pieces.gateway.shards[0].counters().dropped[FULL][1] - before;
    assert_eq!(full, 2500 - u64::from(HELD_FRAGMENTS / 2));
    assert!(remembered(&mut pieces) <= 200 + 2 * u64::from(HELD_FRAGMENTS));
    for all in unfinished {
        assert!(
            matches!(pieces.arrive(&all[1], Direction::Inbound)[..], [Left::In(_)]),
            "none was displaced"
        );
    }
    pieces.pass_ms(15_000);
    assert_eq!((pieces.held(), remembered(&mut pieces)), (0, 0));
}

#[test]
fn rfc4787_req14a_a_subscriber_has_a_budget_and_the_others_have_theirs() {
    let mut pieces = pieces(|settings| settings.limits.fragments_per_subscriber = 8);
    let mut left = Vec::new();
    for nth in 0..20 {
        let all = split(&datagram(HOST, REMOTE, 3000), ROOM, nth);
        left.extend(pieces.arrive(&all[0], Direction::Outbound));
    }
    let refused = Left::Drop(DropReason::SubscriberFragments);
    assert_eq!(left.iter().filter(|&left| *left == refused).count(), 12);
    let neighbour = large(Protocol::Udp, ep("10.64.0.6:1"), ep(REMOTE), 3000);
    sent(&mut pieces, &neighbour, Direction::Outbound);
    pieces.pass_ms(15_000);
    assert_eq!(remembered(&mut pieces), 0);
    sent(&mut pieces, &large(Protocol::Udp, ep(HOST), ep(REMOTE), 3000), Direction::Outbound);

    // From outside the budget is the inside host's.
    let external = pieces.gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let firsts = (0..20)
        .map(|nth| split(&large(Protocol::Udp, ep(REMOTE), external, 3000).bytes(), ROOM, nth)[0].clone());
    let left = pieces.arrive_all(&firsts.collect::<Vec<_>>(), Direction::Inbound);
    assert_eq!(left.iter().filter(|left| left.bytes().is_some()).count(), 8);
}

#[test]
fn rfc4787_req14a_datagrams_have_a_limit_over_all_subscribers() {
    let mut pieces = pieces(|settings| settings.limits.fragments = 32);
    let mut passed = 0;
    for nth in 0..50_u32 {
        let host = Endpoint { address: ep(HOST).address + nth, port: 9 };
        let all = split(&large(Protocol::Udp, host, ep(REMOTE), 3000).bytes(), ROOM, 7);
        let left = pieces.arrive(&all[0], Direction::Outbound);
        passed += left.iter().filter(|left| left.bytes().is_some()).count();
        let all_alike = pieces.arrive(&all[1], Direction::Outbound);
        assert!(left[0].bytes().is_some() || all_alike == [Left::Drop(FULL)]);
        // Each of the first ones leaves a datagram behind, for it lacks its last fragment.
        assert!(all.len() > 2);
    }
    assert_eq!(passed, 16, "half of the room is for what hosts send");
}

/// Sixteen hosts behind one address, which all draw the same identifications at the same time: the host's shard, and what
/// arrives under which identification.
fn idents_of_hosts(shards: usize) -> Vec<(usize, u16)> {
    let mut settings = settings();
    settings.pools[0].addresses.truncate(1);
    let mut pieces = Pieces::new(Gateway::with_shards(settings, shards, 1024));
    let mut seen = Vec::new();
    for (host, nth) in (0..16).flat_map(|host| (0..40).map(move |nth| (host, nth))) {
        let host = Endpoint { address: ep(HOST).address + host, port: 4000 };
        let all = split(&large(Protocol::Udp, host, ep(REMOTE), 3000).bytes(), ROOM, nth);
        let owner = pieces.gateway.owner_of_inside(host.address);
        seen.push((owner, ident(&whole(&pieces.arrive_all(&all, Direction::Outbound)).bytes)));
    }
    let drawn: HashSet<u16> = seen.iter().map(|&(_, ident)| ident).collect();
    assert_eq!(drawn.len(), seen.len(), "two datagrams share an identification");
    seen
}

#[test]
fn rfc7857_an_ipv4_id_never_mixes_two_hosts_behind_an_address() {
    assert_eq!(idents_of_hosts(1).len(), 640);
}

#[test]
fn rfc6864_an_ipv4_id_is_unique_also_where_shards_share_an_address() {
    for shards in [2, 3, 8] {
        for (owner, ident) in idents_of_hosts(shards) {
            assert_eq!(usize::from(ident) % shards, owner, "each shard counts through a class of its own");
        }
    }
}

#[test]
fn rfc6864_fragments_made_by_the_gateway_have_a_new_ipv4_id() {
    let mut gateway = Gateway::changed(|_| {});
    let mut drawn = HashSet::new();
    for nth in 0..100 {
        let host = Endpoint { address: ep(HOST).address + nth, port: 9 };
        let sent = gateway.outbound(Packet::udp(host, ep(REMOTE))).out();
        let mut cut = sent.bytes.clone();
        gateway.shards[0].identify(&mut cut);
        let seen = Seen::read(&cut).expect("a right checksum");
        assert!(drawn.insert((seen.source.address, ident(&cut))), "two hosts share it");
        // What is not translated, and what is a fragment already, has its own.
        let fragment = split(&sent.bytes, 8, 7).remove(1);
        for own in [Packet::udp(host, ep(REMOTE)).bytes(), fragment] {
            let mut after = own.clone();
            gateway.shards[0].identify(&mut after);
            assert_eq!(after, own);
        }
    }
}

#[test]
fn rfc6864_unfragmented_packets_keep_their_ipv4_id() {
    let mut gateway = Gateway::changed(|_| {});
    let sent = gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).out();
    assert_eq!(ident(&sent.bytes), 0x1234);
}
