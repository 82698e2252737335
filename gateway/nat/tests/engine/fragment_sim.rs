//! Datagrams in fragments: cut up, carried through the shards as workers carry them, and put together again.
//!
//! Every fragment that leaves is compared with the one that arrived: only addresses, identification, TTL and checksum may differ, and
//! in a first fragment what translation changes of layer 4.

use std::collections::HashMap;

use natgw_nat::{
    Direction, DropReason, FragmentAction, FragmentPath, HELD_FRAGMENTS, Hold, IcmpReply, Verdict,
};
use natgw_wire::ipv4;

use crate::packet::Seen;
use crate::sim::Gateway;

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Out(Vec<u8>),
    In(Vec<u8>),
    Held,
    Reply(IcmpReply),
    Local,
    Reject(DropReason),
    Drop(DropReason),
}

impl Left {
    /// The fragment as it left, on either side.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Left::Out(bytes) | Left::In(bytes) => Some(bytes),
            _ => None,
        }
    }
}

type Waiting = (Vec<u8>, FragmentPath);

/// A gateway that fragments come to, and those that wait in it, by shard.
pub(crate) struct Pieces {
    pub(crate) gateway: Gateway,
    waiting: Vec<HashMap<Hold, Vec<Waiting>>>,
}

impl Pieces {
    pub(crate) fn new(gateway: Gateway) -> Pieces {
        Pieces { waiting: vec![HashMap::new(); gateway.shards.len()], gateway }
    }

    /// A fragment arrives; what became of it, and behind it of those that had waited for it.
    pub(crate) fn arrive(&mut self, bytes: &[u8], direction: Direction) -> Vec<Left> {
        let (shard, way) = match direction {
            Direction::Outbound => (self.gateway.steering.outbound(bytes), FragmentPath::Outbound),
            Direction::Inbound => (self.gateway.steering.inbound(bytes), FragmentPath::Inbound),
        };
        let mut left = Vec::new();
        self.decide(shard.index(), bytes.to_vec(), way, &mut left);
        left
    }

    /// Fragments arrive one after the other.
    pub(crate) fn arrive_all(&mut self, pieces: &[Vec<u8>], direction: Direction) -> Vec<Left> {
        pieces.iter().flat_map(|piece| self.arrive(piece, direction)).collect()
    }

    /// How many wait.
    pub(crate) fn held(&self) -> usize {
        self.waiting.iter().flat_map(HashMap::values).map(Vec::len).sum()
    }

    /// Time passes; how many fragments were given up.
    pub(crate) fn pass_ms(&mut self, ms: u64) -> usize {
        let before = self.held();
        self.gateway.pass_ms(ms);
        for (shard, waiting) in self.gateway.shards.iter_mut().zip(&mut self.waiting) {
            while let Some(hold) = shard.give_up_fragments(self.gateway.now) {
                waiting.remove(&hold).expect("somebody waits under that name");
            }
        }
        before - self.held()
    }

    /// As [`Pieces::arrive`], at the shard that the fragment goes to first.
    fn decide(&mut self, shard: usize, bytes: Vec<u8>, way: FragmentPath, left: &mut Vec<Left>) {
        let mut burst = [bytes.clone()];
        let mut verdicts = [Verdict::Local];
        let now = self.gateway.now;
        match way {
            FragmentPath::Hairpinned => {
                self.gateway.shards[shard].translate_hairpinned(&mut burst[..], now, &mut verdicts);
            }
            FragmentPath::Outbound | FragmentPath::Inbound => {
                self.gateway.shards[shard].translate(&mut burst[..], way.direction(), now, &mut verdicts);
            }
        }
        assert!(verdicts == [Verdict::Fragment] && burst[0] == bytes, "{verdicts:?}");
        let owner = match way.direction() {
            Direction::Outbound => shard,
            Direction::Inbound => self.gateway.steering.endpoint_owner_of(&bytes).index(),
        };
        self.translate(shard, bytes, way, (owner != shard).then_some(owner), left);
    }

    fn translate(
        &mut self,
        shard: usize,
        bytes: Vec<u8>,
        way: FragmentPath,
        owner: Option<usize>,
        left: &mut Vec<Left>,
    ) {
        let mut after = bytes.clone();
        let elsewhere = owner.map(|owner| owner as u16);
        let verdict =
            self.gateway.shards[shard].translate_fragment(&mut after, way, elsewhere, self.gateway.now);
        match verdict.fate {
            FragmentAction::Decided(Verdict::Forward(_) | Verdict::Hairpin) => {
                assert_alike(&bytes, &after, way)
            }
            other => assert_eq!(bytes, after, "{other:?} left its mark"),
        }
        match verdict.fate {
            FragmentAction::Decided(Verdict::Forward(_)) if way == FragmentPath::Outbound => {
                left.push(Left::Out(after))
            }
            FragmentAction::Decided(Verdict::Forward(_)) => left.push(Left::In(after)),
            FragmentAction::Decided(Verdict::Hairpin) => {
                let home = self.gateway.steering.inbound(&after).index();
                self.decide(home, after, FragmentPath::Hairpinned, left);
            }
            FragmentAction::Decided(Verdict::Drop(reason) | Verdict::Reset(reason)) => {
                left.push(Left::Drop(reason))
            }
            FragmentAction::Decided(Verdict::Reject(reason)) => left.push(Left::Reject(reason)),
            FragmentAction::Decided(Verdict::Reply(refusal)) => left.push(Left::Reply(refusal)),
            FragmentAction::Decided(Verdict::Local) => left.push(Left::Local),
            FragmentAction::Held(hold) => {
                assert!(hold.index() < HELD_FRAGMENTS as usize);
                self.waiting[shard].entry(hold).or_default().push((bytes, way));
                left.push(Left::Held);
            }
            FragmentAction::Elsewhere(owner) => self.translate(usize::from(owner), bytes, way, None, left),
            action => panic!("undecided: {action:?}"),
        }
        let released = verdict.released.and_then(|hold| self.waiting[shard].remove(&hold));
        for (bytes, way) in released.unwrap_or_default() {
            self.translate(shard, bytes, way, None, left);
        }
    }
}

/// A packet cut into fragments with no more than `room` octets behind the header; options stand in all of them.
pub(crate) fn split(packet: &[u8], room: usize, ident: u16) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(usize::from(packet[0] & 0xf) * 4);
    let room = room / 8 * 8;
    let parts = payload.chunks(room).enumerate();
    parts
        .map(|(nth, part)| piece(header, part, nth * room, (nth + 1) * room < payload.len(), ident))
        .collect()
}

/// One fragment: this part of the payload, at this offset.
pub(crate) fn piece(header: &[u8], part: &[u8], at: usize, more: bool, ident: u16) -> Vec<u8> {
    let mut bytes = [header, part].concat();
    let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
    packet.set_total_len((header.len() + part.len()) as u16);
    packet.set_ident(ident);
    packet.set_dont_frag(false);
    packet.set_more_frags(more);
    packet.set_frag_offset(at as u16);
    packet.fill_checksum();
    bytes
}

/// Puts a datagram together from all its fragments, in any order, and reads it.
pub(crate) fn join<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Seen {
    let mut pieces: Vec<&[u8]> = pieces.into_iter().collect();
    pieces.sort_by_key(|piece| offset(piece));
    let header_len = usize::from(pieces[0][0] & 0xf) * 4;
    let mut whole = pieces[0][..header_len].to_vec();
    for (nth, piece) in pieces.iter().enumerate() {
        assert_eq!(offset(piece), whole.len() - header_len, "a gap or an overlap");
        assert_eq!(piece[6] & 0x20 != 0, nth + 1 < pieces.len(), "more fragments");
        assert_eq!(
            (&piece[4..6], &piece[8..10], &piece[12..20]),
            (&whole[4..6], &whole[8..10], &whole[12..20])
        );
        whole.extend(&piece[header_len..]);
    }
    let len = whole.len() as u16;
    let mut packet = ipv4::Packet::new_unchecked(&mut whole[..]);
    packet.set_total_len(len);
    packet.set_more_frags(false);
    packet.fill_checksum();
    Seen::read(&whole).expect("a whole packet")
}

pub(crate) fn offset(piece: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([piece[6] & 0x1f, piece[7]])) * 8
}

pub(crate) fn ident(piece: &[u8]) -> u16 {
    u16::from_be_bytes([piece[4], piece[5]])
}

fn assert_alike(before: &[u8], after: &[u8], way: FragmentPath) {
    let header_len = usize::from(before[0] & 0xf) * 4;
    let fixed = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[4..6].fill(0);
        bytes[8] = 0;
        bytes[10..20].fill(0);
        if offset(before) == 0 {
            let end = header_len + if before[9] == ipv4::TCP { 18 } else { 8 };
            bytes[header_len..end].fill(0);
        }
        bytes
    };
    assert_eq!(fixed(before), fixed(after), "more changed than translation is about");
    assert!(ipv4::Packet::new_verified(after).is_ok(), "header checksum");
    assert_eq!(before[8] - after[8], u8::from(way != FragmentPath::Hairpinned), "TTL");
}
