//! Echo requests in fragments for the gateway itself, put together (RFC 791 section 3.2, RFC 1122 section 3.3.2).
//!
//! ```text
//!                 fragment            the last one that was missing
//!   (free) ───────────────► partial ─────────────────────────────► whole, and free again
//!                              │ └── its time is over, or another datagram needs the place ──► free
//!                              └── a fragment contradicts it, or it is no echo request ──► refused, until its time is over
//! ```
//!
//! The octets of a fragment are copied to their place in the datagram: no packet buffer waits here. A fragment that
//! contradicts those before it (an overlap, other octets at the same place, another end) ends its datagram, and the rest
//! of that is refused (RFC 1858, RFC 5722 section 4).
//!
//! Limits: [`DATAGRAMS`] datagrams at once, [`DATAGRAMS_EACH`] of one source, [`DATA_MAX`] octets of data, [`WAIT_MS`].
//! A source with as many as it may have loses its own oldest one for the next. Where every place is in use, the oldest of
//! the source with most of them goes, or of the new one's own source where none has more. So a source takes a place only
//! from one that has more, and a source that sends ping after ping takes none from another's ping. A flood under many
//! addresses takes the oldest places first: it would have to be faster than the fragments of a ping, which follow each
//! other on the wire.

use std::cmp::Reverse;

use natgw_wire::icmpv4::{self, message};
use natgw_wire::ipv4::{self, BLOCK, Coverage, Fit, HEADER_LEN_MAX};

/// Datagrams that are being put together at once.
pub const DATAGRAMS: usize = 16;
/// Those of one source.
pub const DATAGRAMS_EACH: usize = 4;
/// Octets of data in the largest echo request that is put together.
pub const DATA_MAX: usize = 9000;
/// How long the fragments of a datagram wait for the rest, milliseconds.
pub const WAIT_MS: u32 = 5000;

/// Octets of the largest message.
const MESSAGE_MAX: usize = icmpv4::HEADER_LEN + DATA_MAX;
/// Octets of a place: the first fragment's header ends where the message begins.
const PLACE: usize = HEADER_LEN_MAX + MESSAGE_MAX;

/// See the module.
pub struct Assembly {
    datagrams: Box<[Datagram]>,
    /// [`PLACE`] of each datagram.
    octets: Box<[u8]>,
    /// Places that are not free.
    used: u32,
    /// Fragments in all datagrams.
    held: u32,
    /// How many datagrams have begun.
    begun: u64,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// Of itself and its datagram.
    pub outcome: Outcome,
    /// So many fragments of another datagram lost their place to it.
    pub displaced: u32,
}

/// What became of a fragment and its datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It waits for the rest.
    Held,
    /// The same octets wait already.
    Duplicate,
    /// It contradicts what waits: so many fragments, itself among them, are of no use.
    Overlap(u32),
    /// It is no part of an echo request of up to [`DATA_MAX`] octets of data: likewise.
    Unwanted(u32),
    /// It was the last one that was missing.
    Whole(Whole),
}

/// A datagram that is put together; its place is taken until [`Assembly::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Whole {
    place: usize,
    /// How many fragments it came in.
    pub fragments: u32,
}

#[derive(Clone)]
struct Datagram {
    key: Key,
    state: State,
    /// When its first fragment came, and as which of all datagrams.
    since_ms: u32,
    nth: u64,
    fragments: u32,
    /// Of the header that the first fragment brought.
    header_len: usize,
    /// Octets of the message, once its last fragment has come.
    len: Option<usize>,
    coverage: Coverage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Key {
    source: u32,
    destination: u32,
    ident: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Partial,
    Refused(Why),
    Whole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Overlap,
    Unwanted,
}

impl Why {
    fn outcome(self, fragments: u32) -> Outcome {
        match self {
            Why::Overlap => Outcome::Overlap(fragments),
            Why::Unwanted => Outcome::Unwanted(fragments),
        }
    }
}

impl Datagram {
    const FREE: Datagram = Datagram {
        key: Key { source: 0, destination: 0, ident: 0 },
        state: State::Free,
        since_ms: 0,
        nth: 0,
        fragments: 0,
        header_len: 0,
        len: None,
        coverage: Coverage::NOTHING,
    };

    fn is_free(&self) -> bool {
        self.state == State::Free
    }
}

impl Assembly {
    /// With nothing in it. All its memory is taken here.
    pub fn new() -> Assembly {
        Assembly {
            datagrams: vec![Datagram::FREE; DATAGRAMS].into(),
            octets: vec![0; DATAGRAMS * PLACE].into(),
            used: 0,
            held: 0,
            begun: 0,
        }
    }

    /// How many fragments wait.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// Takes the fragment of an ICMP message at the front of `fragment`.
    pub fn take(&mut self, fragment: &[u8], now_ms: u32) -> Taken {
        let Some(piece) = Piece::read(fragment) else {
            return Taken { outcome: Outcome::Unwanted(1), displaced: 0 };
        };
        let known = self.datagrams.iter().position(|one| !one.is_free() && one.key == piece.key);
        let (place, displaced) = match known {
            Some(place) => (place, 0),
            None => self.begin(piece.key, now_ms),
        };
        Taken { outcome: self.add(place, &piece), displaced }
    }

    /// The datagram as if it had never been in fragments, its header checksum right.
    pub fn datagram(&mut self, whole: &Whole) -> &mut [u8] {
        let Datagram { header_len, len, .. } = self.datagrams[whole.place];
        let message_at = whole.place * PLACE + HEADER_LEN_MAX;
        &mut self.octets[message_at - header_len..message_at + len.unwrap_or(0)]
    }

    /// Its place is free again.
    pub fn release(&mut self, whole: Whole) {
        self.free(whole.place);
    }

    /// Gives up every datagram whose time is over; how many fragments that were.
    pub fn expire(&mut self, now_ms: u32) -> u32 {
        self.give_up(|datagram| now_ms.wrapping_sub(datagram.since_ms) >= WAIT_MS)
    }

    /// Gives up every datagram; how many fragments that were.
    pub fn clear(&mut self) -> u32 {
        self.give_up(|_| true)
    }

    fn give_up(&mut self, is_over: impl Fn(&Datagram) -> bool) -> u32 {
        if self.used == 0 {
            return 0;
        }
        let over = |place: &usize| !self.datagrams[*place].is_free() && is_over(&self.datagrams[*place]);
        let over: arrayvec::ArrayVec<usize, DATAGRAMS> = (0..DATAGRAMS).filter(over).collect();
        over.into_iter().map(|place| self.free(place)).sum()
    }

    /// Frees a place; how many fragments waited there.
    fn free(&mut self, place: usize) -> u32 {
        self.used -= u32::from(!self.datagrams[place].is_free());
        self.datagrams[place].state = State::Free;
        self.let_go(place)
    }

    /// Forgets the fragments of a datagram; how many they were.
    fn let_go(&mut self, place: usize) -> u32 {
        let fragments = std::mem::take(&mut self.datagrams[place].fragments);
        self.held -= fragments;
        fragments
    }

    /// A place for another datagram, and how many fragments lost it.
    fn begin(&mut self, key: Key, now_ms: u32) -> (usize, u32) {
        let place = self.place_for(key.source);
        let displaced = self.free(place);
        self.used += 1;
        self.begun += 1;
        let nth = self.begun;
        self.datagrams[place] =
            Datagram { key, state: State::Partial, since_ms: now_ms, nth, ..Datagram::FREE };
        (place, displaced)
    }

    fn place_for(&self, source: u32) -> usize {
        let datagrams = &self.datagrams;
        let of = |source: u32| {
            let used = datagrams.iter().enumerate().filter(|(_, datagram)| !datagram.is_free());
            used.filter(move |(_, datagram)| datagram.key.source == source)
        };
        let has = of(source).count();
        let free = datagrams.iter().position(Datagram::is_free);
        let loser = match free {
            Some(free) if has < DATAGRAMS_EACH => return free,
            Some(_) => source,
            None => {
                let most = datagrams.iter().max_by_key(|one| (of(one.key.source).count(), Reverse(one.nth)));
                most.map(|one| one.key.source).filter(|&other| of(other).count() > has).unwrap_or(source)
            }
        };
        of(loser).min_by_key(|(_, datagram)| datagram.nth).map_or(0, |(place, _)| place)
    }

    fn add(&mut self, place: usize, piece: &Piece<'_>) -> Outcome {
        let datagram = &mut self.datagrams[place];
        match datagram.state {
            State::Partial => {}
            State::Refused(why) => return why.outcome(1),
            State::Free | State::Whole => return Outcome::Unwanted(1),
        }
        if !piece.is_wanted() {
            return self.refuse(place, Why::Unwanted);
        }
        let message_at = place * PLACE + HEADER_LEN_MAX;
        let octets = &mut self.octets[message_at + piece.start..message_at + piece.end()];
        let blocks = (piece.start / BLOCK) as u16..piece.end().div_ceil(BLOCK) as u16;
        match datagram.coverage.take(&blocks, piece.is_last) {
            Fit::New => octets.copy_from_slice(piece.octets),
            Fit::Duplicate if datagram.knows_end_of(piece) && octets == piece.octets => {
                return Outcome::Duplicate;
            }
            Fit::Duplicate | Fit::Overlap => return self.refuse(place, Why::Overlap),
        }
        if piece.is_last {
            datagram.len = Some(piece.end());
        }
        if piece.start == 0 {
            datagram.header_len = piece.header.len();
            self.octets[message_at - piece.header.len()..message_at].copy_from_slice(piece.header);
        }
        datagram.fragments += 1;
        self.held += 1;
        if !datagram.coverage.is_complete() {
            return Outcome::Held;
        }
        datagram.state = State::Whole;
        let whole = Whole { place, fragments: self.let_go(place) };
        join_header(self.datagram(&whole));
        Outcome::Whole(whole)
    }

    /// Forgets what a datagram has, and refuses its further fragments.
    fn refuse(&mut self, place: usize, why: Why) -> Outcome {
        self.datagrams[place].state = State::Refused(why);
        why.outcome(1 + self.let_go(place))
    }
}

impl Default for Assembly {
    fn default() -> Assembly {
        Assembly::new()
    }
}

impl Datagram {
    /// Whether a repeated fragment agrees with what is known of the datagram's end.
    fn knows_end_of(&self, piece: &Piece<'_>) -> bool {
        let end = piece.end();
        piece.is_last == (self.len == Some(end)) && self.len.is_none_or(|len| end <= len)
    }
}

/// A fragment of an ICMP message.
struct Piece<'a> {
    key: Key,
    header: &'a [u8],
    /// Where its octets belong in the message.
    start: usize,
    octets: &'a [u8],
    is_last: bool,
}

impl<'a> Piece<'a> {
    /// `None` for what is no fragment of ICMP, or none that an honest sender makes.
    fn read(fragment: &'a [u8]) -> Option<Piece<'a>> {
        let packet = ipv4::Packet::new_checked(fragment).ok()?;
        let key = Key { source: packet.src_bits(), destination: packet.dst_bits(), ident: packet.ident() };
        let (start, is_last) = (usize::from(packet.frag_offset()), !packet.more_frags());
        let is_whole = !packet.is_fragment() || packet.protocol() != ipv4::ICMP;
        let (header, rest) = fragment.split_at(packet.header_len());
        let octets = &rest[..usize::from(packet.total_len()) - header.len()];
        let is_odd = octets.is_empty() || !is_last && !octets.len().is_multiple_of(BLOCK);
        (!is_whole && !is_odd).then_some(Piece { key, header, start, octets, is_last })
    }

    fn end(&self) -> usize {
        self.start + self.octets.len()
    }

    /// Whether it may be of an echo request that is not too large.
    fn is_wanted(&self) -> bool {
        let is_echo = |octets: &[u8]| octets.starts_with(&[message::ECHO, 0]) && octets.len() >= BLOCK;
        self.end() <= MESSAGE_MAX && (self.start > 0 || is_echo(self.octets))
    }
}

/// Makes the header of a datagram's first fragment that of the datagram.
fn join_header(datagram: &mut [u8]) {
    let total_len = datagram.len() as u16;
    let mut packet = ipv4::Packet::new_unchecked(datagram);
    packet.set_total_len(total_len);
    packet.set_dont_frag(false);
    packet.set_more_frags(false);
    packet.set_frag_offset(0);
    packet.fill_checksum();
}

#[cfg(test)]
mod tests;
