//! Datagrams in fragments: what is remembered of them so that the fragments that name no port go the way of the one that
//! does (RFC 4787 REQ-14). Nothing is put together here. Pings for the gateway itself are left to the caller, which may.
//!
//! ```text
//!                        first fragment                     ┌─► Known      the others are rewritten alike
//!   (nothing known) ───────────────────────────► decided ───┼─► Elsewhere  another shard's
//!          │                                        ▲       ├─► Local      a ping for the gateway itself
//!          │                                        │       └─► Refused    the others are dropped alike
//!          └── another fragment ──► Waiting ────────┘
//!                                  held by the caller, under the name of a [`Hold`]
//! ```
//!
//! A datagram is forgotten once all of it has passed, for then its identification may come again; or when its time is
//! over. Fragments that overlap end it: the rest is refused.
//!
//! Limits: a [`datagrams::Class`] has room of its own, and so has in it each [`datagrams::Party`] that brings datagrams upon hosts: what
//! strangers send takes nothing from what a host sends itself or gets from those that it has sessions with. Each host has a
//! budget for each party. What waits is half of [`HELD_FRAGMENTS`] in each direction, [`HELD_EACH`] fragments of one sender at
//! most, for [`WAIT_MS`].
//!
//! A datagram whose addresses change gets a new identification (`ident`); one that is not in fragments keeps its own,
//! which means nothing while it is atomic (RFC 6864 section 4).

pub(crate) mod datagrams;
mod ident;
pub(crate) mod piece;

use std::io;

use datagrams::{Account, Class, Datagram, DatagramId, Datagrams, Party, State};
use hashbrown::HashSet;
use ident::Identifications;
use piece::Piece;

use crate::packet::arrival::Arrival;
use crate::packet::verdict::{Direction, DropReason, Verdict};
use crate::settings::{Part, Settings, Share};
use crate::table::hash::Secret;
use crate::table::time::Time;
use natgw_wire::ipv4::{Coverage, Fit};

pub(crate) use ident::shared_addresses;
pub(crate) use piece::Key;

/// Fragments that one shard lets wait for the first of their datagrams: its caller needs places for so many.
pub const HELD_FRAGMENTS: u32 = 512;
/// Fragments of one sender that wait, as of one datagram: more than the largest has at an MTU of 1500.
const HELD_EACH: u32 = 64;
/// How long they wait, milliseconds: fragments overtake each other on the way, but not by more.
pub(crate) const WAIT_MS: u64 = 2000;

/// How a fragment comes to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentPath {
    /// From inside.
    Outbound,
    /// From outside.
    Inbound,
    /// From inside, translated once already, and inbound now.
    Hairpinned,
}

impl FragmentPath {
    /// The direction in which it is translated.
    pub fn direction(self) -> Direction {
        match self {
            FragmentPath::Outbound => Direction::Outbound,
            FragmentPath::Inbound | FragmentPath::Hairpinned => Direction::Inbound,
        }
    }

    pub(crate) fn arrival(self) -> Arrival {
        Arrival { direction: self.direction(), routed: self != FragmentPath::Hairpinned }
    }
}

/// The name under which fragments wait for the first of their datagram; below [`HELD_FRAGMENTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hold(u32);

impl Hold {
    /// Fragments of a datagram wait under its own name.
    fn of(id: DatagramId) -> Hold {
        Hold(id.0)
    }

    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What becomes of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FragmentAction {
    /// What becomes of any packet.
    Decided(Verdict),
    /// It waits, with those that wait under this name already.
    Held(Hold),
    /// It belongs to this other shard.
    Elsewhere(u16),
}

/// What becomes of a fragment and of those that waited for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentVerdict {
    /// Its own fate.
    pub fate: FragmentAction,
    /// These wait no longer: each is to be translated now, behind this one and in the order of their coming.
    pub released: Option<Hold>,
}

/// What a shard remembers.
pub(crate) struct Fragments {
    datagrams: Datagrams,
    idents: Identifications,
    /// Datagrams that are known, by [`Party`] and host. Two whose addresses meet in a bucket share a budget; the hash is keyed,
    /// so nobody chooses whom to meet.
    budget: [Box<[u32]>; Party::COUNT],
    /// Datagrams that are known, by [`Party`], and how many there may be.
    known: [u32; Party::COUNT],
    known_max: [u32; Party::COUNT],
    /// Fragments that wait, by [`Direction`] and sender.
    waiting: [Box<[u32]>; 2],
    /// Fragments that wait, by [`Direction`].
    held: [u32; 2],
    secret: Secret,
}

impl Fragments {
    pub(crate) fn new(
        settings: &Settings,
        shares: &[Vec<Share>],
        part: Part,
        secret: Secret,
    ) -> io::Result<Fragments> {
        let known = settings.limits.fragments.div_ceil(part.of.into());
        let buckets = (known as usize * 2).next_power_of_two();
        Ok(Fragments {
            datagrams: Datagrams::new([HELD_FRAGMENTS, known, HELD_FRAGMENTS, HELD_FRAGMENTS], secret)?,
            idents: Identifications::new(settings, shares, part, secret),
            budget: std::array::from_fn(|_| vec![0; buckets].into()),
            known: [0; Party::COUNT],
            // Hosts and those that they have sessions with have a quarter each whatever the others do.
            known_max: [known.div_ceil(2), known.div_ceil(2), known.div_ceil(4)],
            waiting: std::array::from_fn(|_| vec![0; buckets].into()),
            held: [0; 2],
            secret,
        })
    }

    /// Memory of one with room for so many datagrams of which the first fragment has come, octets.
    pub(crate) fn bytes(known: u32) -> u64 {
        let budget = (known as usize * 2).next_power_of_two() * size_of::<u32>();
        Datagrams::bytes(known + 2 * HELD_FRAGMENTS) + budget as u64
    }

    /// Other addresses are shared with other shards from now on. Which were is in `shared` then.
    pub(crate) fn adopt(&mut self, shared: &mut HashSet<u32>) {
        self.idents.adopt(shared);
    }

    /// Datagrams remembered: those that wait, those that are known, and the others.
    pub(crate) fn count(&self) -> [u64; 3] {
        let count = |class| u64::from(self.datagrams.count(class));
        [count(Class::Waiting), count(Class::Known), count(Class::Elsewhere) + count(Class::Refused)]
    }

    fn bucket(&self, address: u32) -> usize {
        self.secret.pair(address, BUDGET).0 as usize % self.waiting[0].len()
    }

    /// Whether there is room for another datagram of a party.
    pub(crate) fn has_room(&self, party: Party) -> bool {
        !self.datagrams.is_full(Class::Known) && self.known[party] < self.known_max[party]
    }

    pub(crate) fn is_within_budget(&self, account: Account, limit: u32) -> bool {
        self.budget[account.party][self.bucket(account.address)] < limit
    }

    /// The datagram that fragments with this key are of.
    pub(crate) fn find(&self, key: &Key) -> Option<DatagramId> {
        self.datagrams.find(key)
    }

    /// What becomes of a datagram's fragments.
    pub(crate) fn state(&self, id: DatagramId) -> State {
        self.datagrams[id].state
    }

    /// Notes a further fragment of a datagram, which is forgotten once all of it has passed: its identification may come again.
    pub(crate) fn take_piece(&mut self, id: DatagramId, piece: &Piece) -> Fit {
        let coverage = &mut self.datagrams[id].coverage;
        let fit = coverage.take(&piece.blocks, piece.is_last);
        if fit == Fit::New && coverage.is_complete() {
            self.remove(id);
        }
        fit
    }

    /// Lets the first-seen fragment of a datagram wait for the first one; `None` where there is no room.
    pub(crate) fn hold_first(&mut self, piece: &Piece, due: Time) -> Option<Hold> {
        if !self.may_wait(&piece.key) {
            return None;
        }
        let id = self.add(piece, State::Waiting(1), due, None);
        if id.is_none() {
            self.waits_no_more(&piece.key);
        }
        id.map(Hold::of)
    }

    /// Lets a further fragment of a datagram wait, whose first has not come; `None` where there is no room.
    pub(crate) fn hold(&mut self, id: DatagramId) -> Option<Hold> {
        let key = self.datagrams[id].key;
        if !self.may_wait(&key) {
            return None;
        }
        let State::Waiting(held) = &mut self.datagrams[id].state else { return None };
        *held += 1;
        Some(Hold::of(id))
    }

    /// A new identification for a datagram with these addresses that leaves in fragments.
    pub(crate) fn draw_ident(&mut self, source: u32, destination: u32) -> u16 {
        self.idents.draw(source, destination)
    }

    /// Lets another fragment of this sender wait; false where it or its direction has as many as it may.
    fn may_wait(&mut self, key: &Key) -> bool {
        let (direction, sender) = (usize::from(key.direction), self.bucket(key.source));
        let may = self.held[direction] < HELD_FRAGMENTS / 2 && self.waiting[direction][sender] < HELD_EACH;
        if may {
            self.held[direction] += 1;
            self.waiting[direction][sender] += 1;
        }
        may
    }

    /// Takes back what [`Fragments::may_wait`] allowed.
    fn waits_no_more(&mut self, key: &Key) {
        let (direction, sender) = (usize::from(key.direction), self.bucket(key.source));
        self.held[direction] -= 1;
        self.waiting[direction][sender] -= 1;
    }

    /// Remembers a datagram, of which this is the only fragment that counts, in its budget. `None` where there is no room.
    pub(crate) fn add(
        &mut self,
        piece: &Piece,
        state: State,
        due: Time,
        account: Option<Account>,
    ) -> Option<DatagramId> {
        let mut coverage = Coverage::NOTHING;
        coverage.take(&piece.blocks, piece.is_last);
        let id = self.datagrams.add(Datagram { key: piece.key, state, due, account, coverage })?;
        if let Some(account) = account {
            let bucket = self.bucket(account.address);
            self.budget[account.party][bucket] += 1;
            self.known[account.party] += 1;
        }
        Some(id)
    }

    /// Forgets a datagram; the name under which its fragments waited, if they did.
    pub(crate) fn remove(&mut self, id: DatagramId) -> Option<Hold> {
        let Datagram { state, account, key, .. } = self.datagrams[id];
        self.datagrams.remove(id);
        if let Some(account) = account {
            let bucket = self.bucket(account.address);
            self.budget[account.party][bucket] -= 1;
            self.known[account.party] -= 1;
        }
        let State::Waiting(held) = state else { return None };
        let (direction, sender) = (usize::from(key.direction), self.bucket(key.source));
        self.held[direction] -= held;
        self.waiting[direction][sender] -= held;
        Some(Hold::of(id))
    }

    /// Remembers where the rest of a datagram goes, in the place of the one that was settled first where there is no room.
    pub(crate) fn settle(&mut self, piece: &Piece, state: State, due: Time) -> Option<DatagramId> {
        if self.datagrams.is_full(state.class()) {
            let oldest = self.datagrams.oldest(state.class());
            oldest.map(|id| self.remove(id));
        }
        self.add(piece, state, due, None)
    }

    /// Forgets datagrams whose time is over. Each takes one from `budget`.
    pub(crate) fn expire(&mut self, now: Time, budget: &mut u32) {
        for class in [Class::Known, Class::Elsewhere, Class::Refused] {
            while *budget > 0
                && let Some(id) = self.next_due(class, now)
            {
                *budget -= 1;
                self.remove(id);
            }
        }
    }

    pub(crate) fn next_due(&self, class: Class, now: Time) -> Option<DatagramId> {
        self.datagrams.oldest(class).filter(|&id| self.datagrams[id].due <= now)
    }
}

/// Keeps the hashes of budgets apart.
const BUDGET: u32 = 3;

impl From<Verdict> for FragmentVerdict {
    fn from(verdict: Verdict) -> FragmentVerdict {
        FragmentAction::Decided(verdict).into()
    }
}

impl From<DropReason> for FragmentVerdict {
    fn from(reason: DropReason) -> FragmentVerdict {
        Verdict::Drop(reason).into()
    }
}

impl From<FragmentAction> for FragmentVerdict {
    fn from(fate: FragmentAction) -> FragmentVerdict {
        FragmentVerdict { fate, released: None }
    }
}
