//! Datagrams that have been seen in part: a place each, in one of four classes.
//!
//! A class has room of its own, so that what anybody can send at will ([`Class::Waiting`], [`Class::Elsewhere`], [`Class::Refused`]) takes none
//! from what is being translated ([`Class::Known`]). Within a class all live equally long, so the oldest ends first.

use std::io;

use super::piece::Key;
use crate::packet::rewrite::Rewrite;
use crate::packet::verdict::DropReason;
use crate::table::enum_index::enum_index;
use crate::table::free_list::{Chains, Ids, NIL};
use crate::table::hash::Secret;
use crate::table::index::{Hash, Index};
use crate::table::memory::Pages;
use crate::table::time::Time;
use natgw_wire::ipv4::Coverage;

/// Why a datagram is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Class {
    /// Its first fragment has not come.
    Waiting = 0,
    /// Its first fragment was translated.
    Known = 1,
    /// Nothing needs to be remembered but where the rest goes: to another shard, or to the gateway itself.
    Elsewhere = 2,
    /// The rest goes nowhere.
    Refused = 3,
}

impl Class {
    pub(crate) const COUNT: usize = 4;
}

/// What becomes of a datagram's fragments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// They are held, so many as yet.
    Waiting(u32),
    Known(Alike),
    /// They belong to another shard.
    Elsewhere(u16),
    /// They are for the gateway itself.
    Local,
    Refused(DropReason),
}

impl State {
    pub(crate) fn class(&self) -> Class {
        match self {
            State::Waiting(_) => Class::Waiting,
            State::Known(_) => Class::Known,
            State::Elsewhere(_) | State::Local => Class::Elsewhere,
            State::Refused(_) => Class::Refused,
        }
    }
}

/// How all fragments of a datagram are translated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alike {
    /// Addresses, and everything that changes in the header's checksum.
    pub(crate) rewrite: Rewrite,
    pub(crate) ident: u16,
    /// They come back as inbound packets.
    pub(crate) hairpins: bool,
}

/// Who brings datagrams upon a host. None of them can take the room of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Party {
    /// The host itself.
    Host = 0,
    /// A remote that it has a session with.
    Peer = 1,
    /// A remote that a mapping lets in.
    Stranger = 2,
}

impl Party {
    pub(crate) const COUNT: usize = 3;
}

/// The budget of a datagram that is known: the host's for this party. One that waits is in the budget of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) party: Party,
    pub(crate) address: u32,
}

/// A datagram in fragments.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) key: Key,
    pub(crate) state: State,
    pub(crate) due: Time,
    /// In whose budget it is.
    pub(crate) account: Option<Account>,
    pub(crate) coverage: Coverage,
}

impl Datagram {
    const NONE: Datagram = Datagram {
        key: Key { source: 0, destination: 0, ident: 0, protocol: 0, direction: 0 },
        state: State::Waiting(0),
        due: Time(0),
        account: None,
        coverage: Coverage::NOTHING,
    };
}

/// A datagram's place, in whichever class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DatagramId(pub(super) u32);

/// The places of a class, in order of age.
struct Places {
    /// The first place's number.
    base: u32,
    ids: Ids,
    newest: u32,
    oldest: u32,
}

/// See the module.
pub(crate) struct Datagrams {
    places: Box<[Datagram]>,
    classes: [Places; Class::COUNT],
    ages: Chains,
    index: Index,
    secret: Secret,
}

impl Datagrams {
    /// So many places, by [`Class`].
    pub(crate) fn new(room: [u32; Class::COUNT], secret: Secret) -> io::Result<Datagrams> {
        let all: u32 = room.iter().sum();
        let mut base = 0;
        let mut class = |room: u32| {
            let places = Places { base, ids: Ids::new(room, Pages::Ordinary)?, newest: NIL, oldest: NIL };
            base += room;
            io::Result::Ok(places)
        };
        let [waiting, known, elsewhere, refused] = room;
        Ok(Datagrams {
            places: vec![Datagram::NONE; all as usize].into(),
            classes: [class(waiting)?, class(known)?, class(elsewhere)?, class(refused)?],
            ages: Chains::new(all, Pages::Ordinary)?,
            index: Index::new(all as usize)?,
            secret,
        })
    }

    /// Memory of so many places, octets.
    pub(crate) fn bytes(all: u32) -> u64 {
        let places = all as usize * size_of::<Datagram>();
        places as u64 + Ids::bytes(all) + Chains::bytes(all) + Index::bytes(all as usize)
    }

    fn hash(&self, key: &Key) -> Hash {
        let addresses = u64::from(key.source) << 32 | u64::from(key.destination);
        let rest = u64::from(key.ident) << 16 | u64::from(key.protocol) << 8 | u64::from(key.direction);
        self.secret.hash(addresses, 5 << 32 | rest)
    }

    /// The one with this key.
    pub(crate) fn find(&self, key: &Key) -> Option<DatagramId> {
        self.index.find(self.hash(key), |id| self.places[id as usize].key == *key).map(DatagramId)
    }

    pub(crate) fn count(&self, class: Class) -> u32 {
        self.classes[class].ids.taken()
    }

    pub(crate) fn is_full(&self, class: Class) -> bool {
        self.classes[class].ids.is_exhausted()
    }

    /// The one that has been in the class longest.
    pub(crate) fn oldest(&self, class: Class) -> Option<DatagramId> {
        let oldest = self.classes[class].oldest;
        (oldest != NIL).then_some(DatagramId(oldest))
    }

    /// Enters a datagram that is not there; `None`, and nothing changed, where its class has no room.
    pub(crate) fn add(&mut self, datagram: Datagram) -> Option<DatagramId> {
        let hash = self.hash(&datagram.key);
        let class = &mut self.classes[datagram.state.class()];
        let nth = class.ids.alloc()?;
        let id = class.base + nth;
        if self.index.insert(hash, id).is_err() {
            class.ids.free(nth);
            return None;
        }
        self.ages.push(&mut class.newest, id);
        if class.oldest == NIL {
            class.oldest = id;
        }
        self.places[id as usize] = datagram;
        Some(DatagramId(id))
    }

    pub(crate) fn remove(&mut self, DatagramId(id): DatagramId) {
        let Datagram { key, state, .. } = &self.places[id as usize];
        self.index.remove(self.hash(key), id);
        let class = &mut self.classes[state.class()];
        if class.oldest == id {
            class.oldest = self.ages.previous(id);
        }
        self.ages.remove(&mut class.newest, id);
        class.ids.free(id - class.base);
    }
}

impl std::ops::Index<DatagramId> for Datagrams {
    type Output = Datagram;
    fn index(&self, id: DatagramId) -> &Datagram {
        &self.places[id.0 as usize]
    }
}

impl std::ops::IndexMut<DatagramId> for Datagrams {
    fn index_mut(&mut self, id: DatagramId) -> &mut Datagram {
        &mut self.places[id.0 as usize]
    }
}

enum_index!(Class, Party);

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(ident: u16, state: State) -> Datagram {
        Datagram { key: Key { ident, ..Key::default() }, state, ..Datagram::NONE }
    }

    #[test]
    fn classes_take_no_room_from_each_other_and_age_apart() {
        let mut table = Datagrams::new([2, 3, 1, 1], Secret::new([1, 2, 3, 4])).unwrap();
        let refused = State::Refused(DropReason::NoRule);
        let waiting = [1, 2, 3].map(|ident| table.add(datagram(ident, State::Waiting(0))));
        assert!(waiting[0].is_some() && waiting[1].is_some() && waiting[2].is_none());
        assert!(
            table.add(datagram(4, refused)).is_some()
                && table.add(datagram(5, refused)).is_none()
                && table.add(datagram(7, State::Elsewhere(1))).is_some()
        );
        assert!(
            table.is_full(Class::Waiting) && table.is_full(Class::Refused) && !table.is_full(Class::Known)
        );
        assert_eq!(table.oldest(Class::Waiting), waiting[0]);
        // The newest leaves first, then the oldest.
        table.remove(waiting[1].unwrap());
        let again = table.add(datagram(6, State::Waiting(0)));
        table.remove(waiting[0].unwrap());
        assert_eq!((table.oldest(Class::Waiting), table.count(Class::Waiting)), (again, 1));
        let key = |ident| Key { ident, ..Key::default() };
        assert_eq!([1, 2, 6].map(|ident| table.find(&key(ident))), [None, None, again]);
        table.remove(again.unwrap());
        assert_eq!(table.oldest(Class::Waiting), None);
    }
}
