//! Subscribers: inside addresses with something to their name, and what each may have.

use std::io;

use bytemuck::{Pod, Zeroable};

use crate::ids::{MappingId, SubscriberId};
use crate::packet::verdict::{Protocol, SessionFailure};
use crate::policy::rate::{Charge, Rates};
use crate::session::tcp_state;
use crate::settings::Limits;
use crate::table::cpu::prefetch;
use crate::table::free_list::Ids;
use crate::table::hash::Secret;
use crate::table::index::{Hash, Index};
use crate::table::memory::{Pages, Region, Slab};
use crate::table::time::Time;

/// How many pools one subscriber is paired with at once.
const PAIRS: usize = 3;
/// No pool.
const NO_POOL: u16 = u16::MAX;

/// One subscriber.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Subscriber {
    /// Of its rate of new sessions (`rate`); 0 until it begins one.
    rate_clock: u64,
    pub(crate) address: u32,
    /// First of its resting mappings, by protocol: heads of chains.
    resting: [MappingId; Protocol::WITH_PORTS.len()],
    /// Mappings in use and resting, and port blocks.
    holds: u32,
    sessions: [u32; Protocol::COUNT],
    /// Outside ports, in use and resting.
    ports: [u16; Protocol::WITH_PORTS.len()],
    /// TCP sessions that are not open and have not been since their connection began.
    half_open: u16,
    /// Which outside address it is paired with, by pool (RFC 4787 REQ-2).
    pairs: [[u16; 2]; PAIRS],
}
const _: () = assert!(size_of::<Subscriber>() == 64);

impl Subscriber {
    /// One that has nothing yet.
    pub(crate) fn new(address: u32) -> Subscriber {
        Subscriber {
            rate_clock: 0,
            address,
            resting: [MappingId::NONE; Protocol::WITH_PORTS.len()],
            holds: 0,
            sessions: [0; Protocol::COUNT],
            ports: [0; Protocol::WITH_PORTS.len()],
            half_open: 0,
            pairs: [[NO_POOL, 0]; PAIRS],
        }
    }

    /// The same with a session less, of which `half_open` were in the half-open budget.
    pub(crate) fn without(&self, protocol: Protocol, half_open: u16) -> Subscriber {
        let mut without = *self;
        without.end_session(protocol, half_open);
        without
    }

    /// The first of its resting mappings of a protocol.
    pub(crate) fn resting(&self, protocol: Protocol) -> Option<MappingId> {
        self.resting.get(protocol as usize).copied().filter(|&id| id != MappingId::NONE)
    }

    /// The head of the chain of its resting mappings.
    pub(crate) fn resting_head(&mut self, protocol: Protocol) -> &mut MappingId {
        &mut self.resting[protocol]
    }

    /// Whether it has a mapping or a port block, which bind it to outside addresses.
    pub(crate) fn holds_any(&self) -> bool {
        self.holds > 0
    }

    /// It has a mapping or a port block more.
    pub(crate) fn hold(&mut self) {
        self.holds += 1;
    }

    /// It has a mapping or a port block less.
    pub(crate) fn let_go(&mut self) {
        self.holds -= 1;
    }

    /// Sessions, by [`Protocol`].
    pub(crate) fn sessions(&self) -> [u32; Protocol::COUNT] {
        self.sessions
    }

    /// Outside ports in use and resting, by [`Protocol`].
    pub(crate) fn ports(&self) -> [u16; Protocol::WITH_PORTS.len()] {
        self.ports
    }

    /// It has a port more.
    pub(crate) fn take_port(&mut self, protocol: Protocol) {
        self.ports[protocol] += 1;
    }

    /// It has a port less.
    pub(crate) fn give_port(&mut self, protocol: Protocol) {
        self.ports[protocol] -= 1;
    }

    /// TCP sessions that its half-open budget counts.
    pub(crate) fn half_open(&self) -> u16 {
        self.half_open
    }

    /// Counts a session no more, of which `half_open` were in the half-open budget.
    pub(crate) fn end_session(&mut self, protocol: Protocol, half_open: u16) {
        self.sessions[protocol] -= 1;
        self.end_half_open(half_open);
    }

    /// Takes so many sessions, one or none, out of the half-open budget.
    pub(crate) fn end_half_open(&mut self, half_open: u16) {
        self.half_open -= half_open;
    }

    /// Counts a new session. What the session notes of it: whether the half-open budget counts it, too.
    pub(crate) fn begin(&mut self, protocol: Protocol, half_open: bool) -> u16 {
        self.sessions[protocol] += 1;
        if half_open { self.begin_half_open() } else { 0 }
    }

    /// Counts a session against the half-open budget until its connection opens, or the session is over: a reset does not let
    /// it go, since its state stays all the same. 0 where so many are counted that there is no budget.
    pub(crate) fn begin_half_open(&mut self) -> u16 {
        let counted = self.half_open < u16::MAX;
        self.half_open += u16::from(counted);
        counted.into()
    }

    /// The index of its address in `pool`.
    pub(crate) fn paired(&self, pool: u16) -> Option<u16> {
        self.pairs.iter().find(|pair| pair[0] == pool).map(|pair| pair[1])
    }

    /// Whether it is, or can be, paired with the address at `index` of `pool`.
    pub(crate) fn may_pair(&self, pool: u16, index: u16) -> bool {
        match self.paired(pool) {
            Some(paired) => paired == index,
            None => self.pairs.iter().any(|pair| pair[0] == NO_POOL),
        }
    }

    /// Whether it can be paired with some address of `pool`, where what it is paired with there does not count.
    pub(crate) fn has_room_for_pair(&self, pool: u16) -> bool {
        self.pairs.iter().any(|pair| pair[0] == pool || pair[0] == NO_POOL)
    }

    /// Pairs it with the address at `index` of `pool`; false where it is paired with too many pools already.
    pub(crate) fn pair(&mut self, pool: u16, index: u16) -> bool {
        let free = self.pairs.iter_mut().find(|pair| pair[0] == pool || pair[0] == NO_POOL);
        free.map(|pair| *pair = [pool, index]).is_some()
    }

    /// Forgets the pairs, of a pool and a place in it, that `keep` does not name.
    pub(crate) fn retain_pairs(&mut self, keep: impl Fn(u16, u16) -> bool) {
        let pairs = self.pairs.iter_mut().filter(|[pool, _]| *pool != NO_POOL);
        pairs.filter(|&&mut [pool, place]| !keep(pool, place)).for_each(|pair| *pair = [NO_POOL, 0]);
    }

    /// Forgets its address in `pool`.
    pub(crate) fn unpair(&mut self, pool: u16) {
        self.pairs.iter_mut().filter(|pair| pair[0] == pool).for_each(|pair| *pair = [NO_POOL, 0]);
    }
}

/// How much state each may have (RFC 6888 REQ-4 and 5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    sessions: u32,
    protocol_sessions: [u32; Protocol::COUNT],
    protocol_ports: [u16; Protocol::WITH_PORTS.len()],
    half_open: u16,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits) -> Bounds {
        let narrow = |limit: u32| limit.min(u16::MAX.into()) as u16;
        let ports = limits.protocol_ports_per_subscriber;
        Bounds {
            sessions: limits.sessions_per_subscriber,
            protocol_sessions: limits.protocol_sessions_per_subscriber,
            protocol_ports: ports.map(|own| narrow(own.unwrap_or(limits.ports_per_subscriber))),
            half_open: narrow(limits.half_open_per_subscriber),
        }
    }

    /// Whether the subscriber may have another session; `opening` is the state of a TCP connection to be opened.
    pub(crate) fn admit(
        &self,
        subscriber: &Subscriber,
        protocol: Protocol,
        opening: Option<tcp_state::State>,
    ) -> Result<(), SessionFailure> {
        let [a, b, c, d] = subscriber.sessions;
        let own = subscriber.sessions[protocol];
        if a + b + c + d >= self.sessions || own >= self.protocol_sessions[protocol] {
            return Err(SessionFailure::SubscriberSessions);
        }
        let admits = match opening {
            None => true,
            // Remotes can make a host send what begins such a one, so the other half is for what it begins itself.
            Some(tcp_state::State::Unanswered) => subscriber.half_open < self.half_open.div_ceil(2),
            Some(_) => self.admits_half_open(subscriber.half_open),
        };
        if admits { Ok(()) } else { Err(SessionFailure::SubscriberHalfOpen) }
    }

    /// Whether a subscriber with so many half-open connections may have another.
    pub(crate) fn admits_half_open(&self, half_open: u16) -> bool {
        half_open < self.half_open
    }

    /// Whether the subscriber has as many ports as it may.
    pub(crate) fn has_all_ports(&self, subscriber: &Subscriber, protocol: Protocol) -> bool {
        subscriber.ports[protocol] >= self.protocol_ports[protocol]
    }
}

/// The subscribers of a shard, by address.
pub(crate) struct Subscribers {
    lines: Slab<Subscriber>,
    ids: Ids,
    index: Index,
    /// Of the rates by protocol: pages that nobody touches where there are none.
    protocol_clocks: Slab<[u64; Protocol::COUNT]>,
    secret: Secret,
}

impl Subscribers {
    pub(crate) fn new(capacity: u32, secret: Secret, pages: Pages) -> io::Result<Subscribers> {
        Ok(Subscribers {
            lines: Slab::new(capacity as usize, pages)?,
            ids: Ids::new(capacity, pages)?,
            index: Index::with_pages(capacity as usize, pages)?,
            protocol_clocks: Slab::new(capacity as usize, Pages::Ordinary)?,
            secret,
        })
    }

    /// Memory of one for so many, octets; with rates by protocol more.
    pub(crate) fn bytes(capacity: u32, with_rates: bool) -> u64 {
        let clocks = if with_rates { Slab::<[u64; Protocol::COUNT]>::bytes(capacity as usize) } else { 0 };
        Slab::<Subscriber>::bytes(capacity as usize)
            + Ids::bytes(capacity)
            + Index::bytes(capacity as usize)
            + clocks
    }

    /// The memory of it all.
    pub(crate) fn regions(&self) -> [&Region; 3] {
        [self.lines.region(), self.ids.region(), self.index.region()]
    }

    /// The memory of the rates by protocol.
    pub(crate) fn protocol_clocks(&self) -> &Region {
        self.protocol_clocks.region()
    }

    /// The hash by which the index knows the subscriber at `address`.
    pub(crate) fn hash(&self, address: u32) -> Hash {
        self.secret.pair(address, 0)
    }

    /// The subscriber at `address`.
    #[inline(always)]
    pub(crate) fn find(&self, address: u32) -> Option<SubscriberId> {
        let lines = self.lines.as_slice();
        self.index.find(self.hash(address), |id| lines[id as usize].address == address).map(SubscriberId)
    }

    /// Asks for a bucket of the index.
    pub(crate) fn prefetch_bucket(&self, hash: Hash) {
        self.index.view().prefetch(hash);
    }

    /// The subscriber that may have this hash; asks for its line.
    pub(crate) fn prefetch_candidate(&self, hash: Hash) -> Option<SubscriberId> {
        let id = self.index.view().candidate(hash)?;
        prefetch(&self.lines[id]);
        Some(SubscriberId(id))
    }

    /// Asks for a subscriber's line.
    pub(crate) fn prefetch(&self, SubscriberId(id): SubscriberId) {
        prefetch(&self.lines[id]);
    }

    /// The subscriber at a line that was ever in use. It may be gone.
    pub(crate) fn at(&self, line: u32) -> SubscriberId {
        SubscriberId(line)
    }

    /// A subscriber at `address`, where there is none; `None` where there is no room.
    #[inline(always)]
    pub(crate) fn add(&mut self, address: u32) -> Option<SubscriberId> {
        let id = self.ids.alloc()?;
        if self.index.insert(self.hash(address), id).is_err() {
            self.ids.free(id);
            return None;
        }
        self.lines[id] = Subscriber::new(address);
        Some(SubscriberId(id))
    }

    /// The charge of a session that a subscriber begins now; `None` where its rates do not allow one. A new subscriber is `None`.
    #[inline(always)]
    pub(crate) fn charge(
        &self,
        subscriber: Option<SubscriberId>,
        protocol: Protocol,
        rates: &Rates,
        now: Time,
    ) -> Option<Charge> {
        let before = subscriber.map_or(0, |SubscriberId(id)| self.lines[id].rate_clock);
        let all = rates.all.after(before, now)?;
        let own = match &rates.protocols {
            None => None,
            Some(rates) => {
                let before = subscriber.map_or(0, |SubscriberId(id)| self.protocol_clock(id, protocol));
                Some(rates[protocol].after(before, now)?)
            }
        };
        Some(Charge { all, own })
    }

    /// The subscriber begins the session that was charged.
    #[inline(always)]
    pub(crate) fn pay(&mut self, SubscriberId(id): SubscriberId, protocol: Protocol, charge: &Charge) {
        if let Some(own) = charge.own {
            let clocks = &mut self.protocol_clocks[id];
            if self.lines[id].rate_clock == 0 {
                *clocks = [0; Protocol::COUNT];
            }
            clocks[protocol] = own;
        }
        self.lines[id].rate_clock = charge.all;
    }

    /// What stands there before the subscriber has begun anything is another one's.
    fn protocol_clock(&self, id: u32, protocol: Protocol) -> u64 {
        if self.lines[id].rate_clock == 0 { 0 } else { self.protocol_clocks[id][protocol] }
    }

    /// Forgets a subscriber that has no mapping left.
    pub(crate) fn remove_if_idle(&mut self, SubscriberId(id): SubscriberId) {
        let line = &self.lines[id];
        if !line.holds_any() {
            self.index.remove(self.hash(line.address), id);
            self.ids.free(id);
        }
    }

    /// Whether there is no room for another.
    pub(crate) fn is_full(&self) -> bool {
        self.ids.is_exhausted()
    }

    /// The lines that were ever in use.
    pub(crate) fn high_water(&self) -> u32 {
        self.ids.high_water()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        self.ids.taken()
    }
}

impl std::ops::Index<SubscriberId> for Subscribers {
    type Output = Subscriber;
    #[inline(always)]
    fn index(&self, id: SubscriberId) -> &Subscriber {
        &self.lines[id.0]
    }
}

impl std::ops::IndexMut<SubscriberId> for Subscribers {
    #[inline(always)]
    fn index_mut(&mut self, id: SubscriberId) -> &mut Subscriber {
        &mut self.lines[id.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(
        subscribers: &mut Subscribers,
        id: SubscriberId,
        protocol: Protocol,
        rates: &Rates,
        ms: u64,
    ) -> usize {
        let mut begin = || {
            let charge = subscribers.charge(Some(id), protocol, rates, Time(ms));
            charge.inspect(|charge| subscribers.pay(id, protocol, charge)).is_some()
        };
        (0..100).filter(|_| begin()).count()
    }

    #[test]
    fn rate_lets_a_second_of_burst_through_and_then_the_rate() {
        let mut subscribers = Subscribers::new(1, Secret::new([1, 2, 3, 4]), Pages::Ordinary).unwrap();
        let id = subscribers.add(7).unwrap();
        let rates = Rates::new(&Limits { new_sessions_per_subscriber_per_s: 10, ..Limits::default() });
        let counts = [5000, 5500].map(|ms| begun(&mut subscribers, id, Protocol::Udp, &rates, ms));
        assert_eq!(counts, [10, 5]);
    }

    #[test]
    fn another_subscribers_line_has_its_whole_rate_by_protocol() {
        let mut subscribers = Subscribers::new(1, Secret::new([1, 2, 3, 4]), Pages::Ordinary).unwrap();
        let protocol_new_sessions_per_subscriber_per_s = [10, 20, u32::MAX, 5];
        let rates = Rates::new(&Limits { protocol_new_sessions_per_subscriber_per_s, ..Limits::default() });
        for address in [7, 8] {
            let id = subscribers.add(address).unwrap();
            let counts = Protocol::ALL.map(|protocol| begun(&mut subscribers, id, protocol, &rates, 5000));
            assert_eq!(counts, [10, 20, 100, 5]);
            subscribers.remove_if_idle(id);
        }
    }

    #[test]
    fn full_is_said_and_an_idle_subscriber_makes_room() {
        let mut subscribers = Subscribers::new(1, Secret::new([1, 2, 3, 4]), Pages::Ordinary).unwrap();
        let id = subscribers.add(7).unwrap();
        assert_eq!((subscribers.find(7), subscribers.add(8)), (Some(id), None));
        subscribers.remove_if_idle(id);
        assert_eq!((subscribers.find(7), subscribers.add(8)), (None, Some(id)));
    }
}
