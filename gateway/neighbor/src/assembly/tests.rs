//! What is put together is what was cut, octet by octet, or nothing comes of it.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

const GATEWAY: u32 = 0x0a40_0001;
const HOST: u32 = 0x0a40_0002;

/// An echo request with so many octets of data.
fn echo(source: u32, ident: u16, data_len: usize) -> Vec<u8> {
    let message_len = icmpv4::HEADER_LEN + data_len;
    let mut bytes = vec![0; ipv4::HEADER_LEN + message_len];
    for (at, octet) in bytes[ipv4::HEADER_LEN..].iter_mut().enumerate() {
        *octet = (at * 7 + at / 251 + usize::from(ident)) as u8;
    }
    let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
    packet.set_header_len(ipv4::HEADER_LEN);
    packet.set_total_len((ipv4::HEADER_LEN + message_len) as u16);
    packet.set_ident(ident);
    packet.set_ttl(64);
    packet.set_protocol(ipv4::ICMP);
    packet.set_src(source.into());
    packet.set_dst(GATEWAY.into());
    packet.fill_checksum();
    let mut message = icmpv4::Packet::new_unchecked(packet.payload_mut());
    message.set_ty(message::ECHO);
    message.set_code(0);
    message.fill_checksum();
    bytes
}

/// A part of a packet's payload as a fragment.
fn fragment(packet: &[u8], part: Range<usize>) -> Vec<u8> {
    let (header, payload) = packet.split_at(ipv4::HEADER_LEN);
    let is_last = part.end == payload.len();
    let mut bytes = [header, &payload[part.clone()]].concat();
    let total_len = bytes.len() as u16;
    let mut piece = ipv4::Packet::new_unchecked(&mut bytes[..]);
    piece.set_total_len(total_len);
    piece.set_frag_offset(part.start as u16);
    piece.set_more_frags(!is_last);
    piece.fill_checksum();
    bytes
}

/// A packet in fragments of so many octets.
fn cut(packet: &[u8], room: usize) -> Vec<Vec<u8>> {
    let len = packet.len() - ipv4::HEADER_LEN;
    (0..len).step_by(room).map(|start| fragment(packet, start..len.min(start + room))).collect()
}

fn take(assembly: &mut Assembly, fragment: &[u8]) -> Outcome {
    let Taken { outcome, displaced } = assembly.take(fragment, 0);
    assert_eq!(displaced, 0);
    outcome
}

/// Takes all but the last, which wait.
fn take_all(assembly: &mut Assembly, fragments: &[Vec<u8>]) -> Outcome {
    let (last, others) = fragments.split_last().unwrap();
    for other in others {
        assert_eq!(take(assembly, other), Outcome::Held);
    }
    take(assembly, last)
}

fn datagram(assembly: &mut Assembly, outcome: Outcome) -> Option<Vec<u8>> {
    let Outcome::Whole(whole) = outcome else { return None };
    let octets = assembly.datagram(&whole).to_vec();
    assembly.release(whole);
    Some(octets)
}

#[test]
fn rfc791_fragments_are_put_together_in_any_order() {
    for len in [1, 1473, 2000, DATA_MAX] {
        let packet = echo(HOST, 7, len);
        let mut fragments = cut(&packet, 1480.min(len / 2 * 2).max(8));
        for _ in 0..2 {
            let mut assembly = Assembly::new();
            let outcome = take_all(&mut assembly, &fragments);
            assert!(matches!(&outcome, Outcome::Whole(whole) if whole.fragments as usize == fragments.len()));
            assert_eq!(datagram(&mut assembly, outcome), Some(packet.clone()), "{len} octets of data");
            assert_eq!((assembly.held(), assembly.clear()), (0, 0));
            fragments.reverse();
        }
    }
}

#[test]
fn the_first_fragments_options_stay() {
    let packet = echo(HOST, 7, 100);
    let mut fragments = cut(&packet, 56);
    let options = [0x94, 4, 0, 0];
    fragments[0].splice(20..20, options);
    let total_len = fragments[0].len() as u16;
    let mut first = ipv4::Packet::new_unchecked(&mut fragments[0][..]);
    first.set_header_len(24);
    first.set_total_len(total_len);
    first.fill_checksum();
    let mut assembly = Assembly::new();
    let outcome = take_all(&mut assembly, &fragments);
    let whole = datagram(&mut assembly, outcome).unwrap();
    let read = ipv4::Packet::new_verified(&whole[..]).unwrap();
    assert_eq!((read.options(), read.payload()), (&options[..], &packet[20..]));
}

#[test]
fn repeated_fragments_are_reported_and_change_nothing() {
    let packet = echo(HOST, 7, 3000);
    let fragments = cut(&packet, 1480);
    let mut assembly = Assembly::new();
    assert_eq!(take(&mut assembly, &fragments[0]), Outcome::Held);
    assert_eq!(take(&mut assembly, &fragments[0]), Outcome::Duplicate);
    assert_eq!(take(&mut assembly, &fragments[2]), Outcome::Held);
    assert_eq!(take(&mut assembly, &fragments[2]), Outcome::Duplicate);
    // A part of one that is there.
    assert_eq!(take(&mut assembly, &fragment(&packet, 8..800)), Outcome::Duplicate);
    let outcome = take(&mut assembly, &fragments[1]);
    assert_eq!(datagram(&mut assembly, outcome), Some(packet));
}

#[test]
fn rfc1858_fragments_that_contradict_each_other_end_their_datagram() {
    let packet = echo(HOST, 7, 2992);
    let shorter = &packet[..20 + 2990];
    let other_octets = {
        let mut piece = fragment(&packet, 0..1480);
        piece[100] ^= 1;
        piece
    };
    let no_end = {
        let mut piece = fragment(&packet, 1480..3000);
        ipv4::Packet::new_unchecked(&mut piece[..]).set_more_frags(true);
        piece
    };
    let (head, tail) = (fragment(&packet, 0..1480), fragment(&packet, 1480..3000));
    for (name, before, then) in [
        // Teardrop: inside another and beyond it.
        ("overlap", &head, &fragment(&packet, 1472..3000)),
        ("around", &fragment(&packet, 800..1480), &head),
        ("other octets", &head, &other_octets),
        ("two ends", &tail, &fragment(shorter, 1480..2990)),
        ("an end in the middle", &fragment(&packet, 1480..2960), &fragment(&packet[..20 + 1488], 8..1488)),
        ("behind the end", &fragment(&packet[..20 + 1480], 8..1480), &tail),
        ("no end after all", &tail, &no_end),
        ("an end after all", &no_end, &tail),
    ] {
        let mut assembly = Assembly::new();
        assert_eq!(take(&mut assembly, before), Outcome::Held, "{name}");
        assert_eq!(take(&mut assembly, then), Outcome::Overlap(2), "{name}");
        assert_eq!(assembly.held(), 0);
        // Nothing comes of the rest either.
        assert_eq!(take(&mut assembly, &head), Outcome::Overlap(1), "{name}");
        assert_eq!(take(&mut assembly, &tail), Outcome::Overlap(1), "{name}");
        // Until its time is over.
        assert_eq!(assembly.expire(WAIT_MS), 0);
        let outcome = take_all(&mut assembly, &[head.clone(), tail.clone()]);
        assert_eq!(datagram(&mut assembly, outcome).as_ref(), Some(&packet), "{name}");
    }
}

#[test]
fn nothing_but_echo_requests_of_up_to_9000_octets_is_put_together() {
    let large = echo(HOST, 7, DATA_MAX + 1);
    let fragments = cut(&large, 1480);
    let mut assembly = Assembly::new();
    for piece in &fragments[..6] {
        assert_eq!(take(&mut assembly, piece), Outcome::Held);
    }
    assert_eq!(take(&mut assembly, &fragments[6]), Outcome::Unwanted(7));
    assert_eq!((take(&mut assembly, &fragments[0]), assembly.held()), (Outcome::Unwanted(1), 0));

    let changed = |change: &dyn Fn(&mut ipv4::Packet<&mut [u8]>)| {
        let mut piece = fragment(&echo(HOST, 8, 3000), 0..1480);
        change(&mut ipv4::Packet::new_unchecked(&mut piece[..]));
        take(&mut Assembly::new(), &piece)
    };
    assert_eq!(changed(&|_| ()), Outcome::Held);
    assert_eq!(changed(&|packet| packet.payload_mut()[0] = message::ECHO_REPLY), Outcome::Unwanted(1));
    assert_eq!(changed(&|packet| packet.payload_mut()[1] = 1), Outcome::Unwanted(1));
    assert_eq!(changed(&|packet| packet.set_protocol(ipv4::UDP)), Outcome::Unwanted(1));
    assert_eq!(changed(&|packet| packet.set_more_frags(false)), Outcome::Unwanted(1));
    assert_eq!(changed(&|packet| packet.set_total_len(20 + 1479)), Outcome::Unwanted(1));
    assert_eq!(changed(&|packet| packet.set_total_len(20)), Outcome::Unwanted(1));
    assert_eq!(take(&mut Assembly::new(), &[0x45; 10]), Outcome::Unwanted(1));
    // The largest offset that there is.
    assert_eq!(changed(&|packet| packet.set_frag_offset(65_528)), Outcome::Unwanted(1));
}

#[test]
fn what_does_not_come_whole_in_time_is_given_up() {
    let fragments = cut(&echo(HOST, 7, 3000), 1480);
    let mut assembly = Assembly::new();
    let start = u32::MAX - 1000;
    assert_eq!(assembly.take(&fragments[1], start).outcome, Outcome::Held);
    assert_eq!(assembly.take(&fragments[2], start.wrapping_add(WAIT_MS - 1)).outcome, Outcome::Held);
    assert_eq!((assembly.expire(start.wrapping_add(WAIT_MS - 1)), assembly.held()), (0, 2));
    assert_eq!((assembly.expire(start.wrapping_add(WAIT_MS)), assembly.held()), (2, 0));
    assert_eq!(take(&mut assembly, &fragments[0]), Outcome::Held);
}

#[test]
fn no_source_takes_the_place_of_one_that_has_fewer() {
    let mut assembly = Assembly::new();
    let pieces = |source: u32, ident: u16| cut(&echo(source, ident, 2000), 1480);
    // One that sends orphans without end, and a ping of each of as many others as there are places.
    for ident in 0..100 {
        let Taken { outcome, displaced } = assembly.take(&pieces(HOST, ident)[1], 0);
        assert_eq!((outcome, displaced), (Outcome::Held, u32::from(usize::from(ident) >= DATAGRAMS_EACH)));
    }
    assert_eq!(assembly.held() as usize, DATAGRAMS_EACH);
    let others = HOST + 1..HOST + DATAGRAMS as u32;
    for other in others.clone() {
        let displaced = assembly.take(&pieces(other, 1)[0], 0).displaced;
        let room = (DATAGRAMS - DATAGRAMS_EACH) as u32;
        assert_eq!(displaced, u32::from(other > HOST + room), "only the flood loses places");
    }
    for ident in 100..200 {
        assert_eq!(assembly.take(&pieces(HOST, ident)[1], 0).displaced, 1);
    }
    for other in others {
        let outcome = take(&mut assembly, &pieces(other, 1)[1]);
        assert!(datagram(&mut assembly, outcome).is_some());
    }
}

#[test]
fn where_every_source_has_one_the_oldest_goes() {
    let mut assembly = Assembly::new();
    let pieces = |nth: u32| cut(&echo(HOST + nth, 1, 2000), 1480);
    let all = DATAGRAMS as u32;
    assert!((0..all).all(|nth| assembly.take(&pieces(nth)[0], 0).displaced == 0));
    assert_eq!(assembly.take(&pieces(all)[0], 0).displaced, 1);
    for nth in 1..=all {
        assert!(matches!(take(&mut assembly, &pieces(nth)[1]), Outcome::Whole(_)));
    }
}

/// What is done to the fragments of a datagram on their way.
#[derive(Clone, Debug)]
enum Harm {
    Repeat(prop::sample::Index),
    Lose(prop::sample::Index),
    /// Another fragment that begins or ends elsewhere, or says something else.
    Forge {
        part: Range<usize>,
        octet: u8,
    },
}

fn harm() -> impl Strategy<Value = Harm> {
    let part = (0..1130usize, 1..200usize);
    prop_oneof![
        4 => any::<prop::sample::Index>().prop_map(Harm::Repeat),
        2 => any::<prop::sample::Index>().prop_map(Harm::Lose),
        1 => (part, 0..3u8).prop_map(|((at, len), octet)| Harm::Forge { part: at * 8..(at + len) * 8, octet }),
    ]
}

/// A datagram's data, where it is cut, and what happens to it.
fn sent() -> impl Strategy<Value = (usize, Vec<u16>, Vec<Harm>)> {
    let cuts = prop::collection::vec(1..1126u16, 0..12);
    (1..=DATA_MAX, cuts, prop::collection::vec(harm(), 0..3))
}

/// The fragments of a packet that has come to harm; none where it is in no fragments.
fn harmed(packet: &[u8], cuts: &[u16], harms: &[Harm]) -> Vec<Vec<u8>> {
    let len = packet.len() - ipv4::HEADER_LEN;
    let inside = cuts.iter().map(|&cut| usize::from(cut) * 8).filter(|&end| end < len);
    let mut ends: Vec<usize> = inside.chain([len]).collect();
    ends.sort_unstable();
    ends.dedup();
    if ends.len() == 1 {
        return Vec::new();
    }
    let starts = [0].into_iter().chain(ends.iter().copied());
    let mut pieces: Vec<Vec<u8>> = starts.zip(&ends).map(|(at, &end)| fragment(packet, at..end)).collect();
    for harm in harms {
        match harm {
            Harm::Repeat(which) if !pieces.is_empty() => pieces.push(which.get(&pieces).clone()),
            Harm::Lose(which) if !pieces.is_empty() => drop(pieces.remove(which.index(pieces.len()))),
            Harm::Forge { part, octet } if part.start < len && *part != (0..len) => {
                let mut piece = fragment(packet, part.start..part.end.min(len));
                *piece.last_mut().unwrap() ^= octet;
                pieces.push(piece);
            }
            _ => {}
        }
    }
    pieces
}

/// What the fragments of one datagram say, octet by octet.
#[derive(Clone)]
struct Model {
    octets: Vec<Option<u8>>,
    len: Option<usize>,
    fragments: u32,
    is_refused: bool,
}

/// As [`Outcome`], without the datagram.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Held,
    Duplicate,
    Overlap(u32),
    Whole(u32),
}

impl Model {
    const NOTHING: Model = Model { octets: Vec::new(), len: None, fragments: 0, is_refused: false };

    fn take(&mut self, fragment: &[u8]) -> Expected {
        let packet = ipv4::Packet::new_verified(fragment).unwrap();
        let (start, octets) = (usize::from(packet.frag_offset()), packet.payload());
        let (end, is_last) = (start + octets.len(), !packet.more_frags());
        if self.is_refused {
            return Expected::Overlap(1);
        }
        self.octets.resize(self.octets.len().max(end), None);
        let known = &self.octets[start..end];
        let ends_well = match self.len {
            Some(len) => is_last == (end == len) && end <= len,
            None => !is_last || self.octets.iter().skip(end).all(Option::is_none),
        };
        let is_known = known.iter().zip(octets).all(|(known, octet)| *known == Some(*octet));
        if is_known && ends_well && is_last == (self.len == Some(end)) {
            return Expected::Duplicate;
        }
        if !ends_well || known.iter().any(Option::is_some) {
            self.is_refused = true;
            return Expected::Overlap(1 + std::mem::take(&mut self.fragments));
        }
        self.octets.splice(start..end, octets.iter().copied().map(Some));
        self.len = if is_last { Some(end) } else { self.len };
        self.fragments += 1;
        if self.len.is_none() || self.octets.contains(&None) {
            return Expected::Held;
        }
        Expected::Whole(std::mem::replace(self, Model::NOTHING).fragments)
    }
}

proptest! {
    /// Datagrams of several sources, cut anywhere, shuffled, in part repeated, lost and forged, against a model of each: a
    /// reassembled datagram is the one that was sent, octet by octet; a datagram that was not damaged is reassembled; every
    /// fragment is accounted for, and no memory is taken.
    #[test]
    fn the_datagram_comes_out_or_nothing_does(
        sent in prop::collection::vec(sent(), 1..12), order in any::<u64>(),
    ) {
        let mut arriving: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut packets = Vec::new();
        for (nth, (len, cuts, harms)) in sent.iter().enumerate() {
            // So few of each source that none loses its place.
            let packet = echo(HOST + nth as u32 % 3, nth as u16, *len);
            let pieces = harmed(&packet, cuts, harms);
            let is_whole = !pieces.is_empty() && harms.iter().all(|harm| matches!(harm, Harm::Repeat(_)));
            arriving.extend(pieces.into_iter().map(|piece| (nth, piece)));
            packets.push((packet, is_whole));
        }
        let mut random = order | 1;
        for at in (1..arriving.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            arriving.swap(at, (random >> 33) as usize % (at + 1));
        }

        let mut assembly = Assembly::new();
        let memory = (assembly.datagrams.len(), assembly.octets.len());
        let mut models = vec![Model::NOTHING; packets.len()];
        let mut came_out = vec![false; packets.len()];
        let mut accounted = 0;
        for (nth, piece) in &arriving {
            let Taken { outcome, displaced } = assembly.take(piece, 0);
            prop_assert_eq!(displaced, 0);
            let seen = match outcome {
                Outcome::Held => Expected::Held,
                Outcome::Duplicate => Expected::Duplicate,
                Outcome::Overlap(fragments) => Expected::Overlap(fragments),
                Outcome::Unwanted(_) => return Err(TestCaseError::fail("a part of an echo request")),
                Outcome::Whole(whole) => {
                    let octets = assembly.datagram(&whole);
                    let packet = ipv4::Packet::new_verified(&octets[..]).unwrap();
                    // A forged octet that nothing contradicts is for the checksum to find.
                    if icmpv4::Packet::new_verified(packet.payload()).is_ok() {
                        prop_assert_eq!(&*octets, &packets[*nth].0[..]);
                        came_out[*nth] = true;
                    }
                    let fragments = whole.fragments;
                    assembly.release(whole);
                    Expected::Whole(fragments)
                }
            };
            accounted += match seen {
                Expected::Held => 0,
                Expected::Duplicate => 1,
                Expected::Overlap(fragments) | Expected::Whole(fragments) => fragments,
            };
            prop_assert_eq!(seen, models[*nth].take(piece));
            let waiting: u32 = models.iter().map(|model| model.fragments).sum();
            prop_assert_eq!(assembly.held(), waiting);
        }
        prop_assert_eq!((assembly.datagrams.len(), assembly.octets.len()), memory);
        accounted += assembly.clear();
        prop_assert_eq!(accounted as usize, arriving.len());
        for (nth, (_, is_whole)) in packets.iter().enumerate() {
            prop_assert!(!is_whole || came_out[nth], "datagram {} is lost", nth);
        }
    }
}
