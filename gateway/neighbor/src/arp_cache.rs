//! The ARP cache of the management thread: the state of every neighbour, and when it is asked for again.
//!
//! ```text
//!              need            answer            30 s             5 s, or later if much is due
//!            ──────▶ Incomplete ──────▶ Reachable ──────▶ Stale ──────▶ Probe ──────▶ gone
//!                     │ 3 unanswered       ▲   any message │             │ 3 unanswered
//!                     ▼                    ╰───────────────┴─────────────╯
//!                   Failed ──────▶ gone
//!                           30 s
//! ```
//!
//! A request is sent on the way into Incomplete (broadcast) and Probe (to the station), and each second that it stays
//! unanswered. The reachable time varies by half around 30 s (RFC 4861 section 6.3.2), so that neighbours learnt together
//! are not probed together.
//!
//! *Pinned* neighbours, the gateways of routes, never go: they start again as Incomplete, so that readiness can tell
//! whether they answer. They are asked for ten times in the first second, since all traffic waits for them, and what is
//! due for them comes before what is due for others.
//!
//! A neighbour is *used* once a worker has packets for it, and only then do the workers know its MAC address. So a station
//! that only sends ARP requests takes no place in their tables. A neighbour that was never used goes without a probe.
//!
//! **Claims.** A message from another MAC address than the one that is known does not move a neighbour: the known station
//! is asked three times within 300 ms, and only if it is silent the claim is believed. (Otherwise a gratuitous ARP of any station
//! on the link could take a gateway's traffic.) A *static* neighbour is never asked for and never moves.
//!
//! Time is milliseconds of a clock that does not wrap.

mod configured;
mod entry;

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::share::{Shares, Subject};
use super::{Binding, Full, InterfaceId, Learn, Route};
use entry::{Entry, Place};
use natgw_wire::ethernet::Mac;

/// How many neighbours may be used, pinned and static ones apart.
pub const NEIGHBORS_MAX: u32 = 65_536;

/// How many more may be known that are not used.
const HEARD_MAX: u32 = NEIGHBORS_MAX / 4;

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked for, not answered yet.
    Incomplete,
    /// Heard of lately.
    Reachable,
    /// Not heard of lately; in use.
    Stale,
    /// Asked whether it is still there; in use.
    Probe,
    /// Asked for, without an answer.
    Failed,
    /// Configured: never asked for, and no message moves it.
    Static,
}

impl State {
    /// The label used in listings.
    pub const fn name(self) -> &'static str {
        match self {
            State::Incomplete => "incomplete",
            State::Reachable => "reachable",
            State::Stale => "stale",
            State::Probe => "probe",
            State::Failed => "failed",
            State::Static => "static",
        }
    }
}

/// What management is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send an ARP request.
    SendRequest {
        /// By this interface.
        interface: InterfaceId,
        /// For this address.
        tpa: u32,
        /// To this station; `None`: to all.
        unicast: Option<Mac>,
        /// It is the gateway of a route.
        pinned: bool,
    },
    /// Tell the workers a MAC address.
    Update(Binding),
    /// Tell the workers that a neighbour is gone, or never was.
    Remove {
        /// The interface.
        interface: InterfaceId,
        /// The neighbour's address.
        ip: u32,
    },
    /// Tell the log that the neighbour has another MAC address from now on.
    Moved {
        /// Where it was.
        from: Mac,
        /// Where it is.
        to: Binding,
    },
    /// Tell the log that this station claims the address of a neighbour that answers: it is not believed.
    Refused(Binding),
}

/// What happened to neighbours, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighborCounts {
    /// Had another MAC address from then on.
    pub moved: u64,
    /// Claims that were not believed: the station that is known still answers, or is configured.
    pub refused: u64,
    /// Neighbours for which there was no room.
    pub full: u64,
}

/// A row for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The interface.
    pub interface: InterfaceId,
    /// The neighbour's address.
    pub ip: u32,
    /// Its MAC address, once known.
    pub mac: Option<Mac>,
    /// What is known of it.
    pub state: State,
    /// Seconds since it was last heard of, or first asked for.
    pub age_s: u64,
    /// It is the gateway of a route.
    pub pinned: bool,
}

/// The neighbours of all interfaces.
#[derive(Debug)]
pub struct Neighbors {
    entries: HashMap<Key, Entry>,
    /// When each entry is looked at next: one element an entry, of pinned ones and of others.
    due: [BTreeSet<(u64, Key)>; 2],
    used: Shares,
    heard: Shares,
    counts: NeighborCounts,
}

type Key = (InterfaceId, u32);

impl Default for Neighbors {
    fn default() -> Neighbors {
        Neighbors {
            entries: HashMap::new(),
            due: [BTreeSet::new(), BTreeSet::new()],
            used: Shares::new(NEIGHBORS_MAX),
            heard: Shares::new(HEARD_MAX),
            counts: NeighborCounts::default(),
        }
    }
}

impl Neighbors {
    /// No neighbours.
    pub fn new() -> Neighbors {
        Neighbors::default()
    }

    /// A worker has packets for this neighbour.
    ///
    /// # Errors
    /// [`Full`] when there is no room for it: [`NEIGHBORS_MAX`] are used, or as many as the interface may have.
    pub fn need(
        &mut self,
        interface: InterfaceId,
        ip: u32,
        now_ms: u64,
        mut sink: impl FnMut(Action),
    ) -> Result<(), Full> {
        let key = (interface, ip);
        let known = self.entries.get(&key).copied();
        let mut entry = known.unwrap_or(Entry::new(now_ms));
        if known.is_none() || entry.place == Place::Heard {
            if !self.used.take(Subject::Link(interface)) {
                self.counts.full += 1;
                return Err(Full);
            }
            if known.is_some() {
                self.heard.give(Subject::Link(interface), 1);
            }
            entry.place = Place::Used;
        }
        match (entry.mac, entry.state) {
            (Some(mac), _) => {
                self.put(key, entry, entry.due_ms);
                sink(Action::Update(Binding { interface, ip, mac }));
            }
            (None, State::Incomplete) if known.is_some() => {}
            (None, _) => self.ask(key, entry, now_ms, sink),
        }
        Ok(())
    }

    /// A worker has heard of a neighbour.
    ///
    /// # Errors
    /// [`Full`] when the neighbour is new and there is no room for it.
    pub fn learned(
        &mut self,
        binding: Binding,
        learn: Learn,
        now_ms: u64,
        mut sink: impl FnMut(Action),
    ) -> Result<(), Full> {
        let key = (binding.interface, binding.ip);
        let known = match (self.entries.get(&key), learn) {
            (Some(&entry), _) => entry,
            (None, Learn::Merge) => return Ok(()),
            (None, Learn::Add) => {
                if !self.heard.take(Subject::Link(binding.interface)) {
                    self.counts.full += 1;
                    return Err(Full);
                }
                Entry { place: Place::Heard, ..Entry::new(now_ms) }
            }
        };
        match known.mac {
            Some(mac) if mac != binding.mac => self.claim(key, known, binding.mac, now_ms, sink),
            _ if known.state == State::Static => {}
            _ => {
                if known.mac.is_none() && known.place != Place::Heard {
                    sink(Action::Update(binding));
                }
                let mut entry = Entry { state: State::Reachable, mac: Some(binding.mac), ..known };
                if let Some(mac) = known.claim {
                    self.counts.refused += 1;
                    entry.refused_ms = Some(now_ms);
                    sink(Action::Refused(Binding { mac, ..binding }));
                }
                let entry = Entry { requests: 0, claim: None, heard_ms: now_ms, ..entry };
                self.put(key, entry, now_ms + reachable_ms(binding.ip));
            }
        }
        Ok(())
    }

    /// Another station than the known one says that it is the neighbour: the known one is asked.
    fn claim(&mut self, key: Key, entry: Entry, claim: Mac, now_ms: u64, mut sink: impl FnMut(Action)) {
        let rests = entry.refused_ms.is_some_and(|refused_ms| now_ms < refused_ms + CLAIM_REST_MS);
        if entry.claim.is_some() || rests {
            return;
        }
        if entry.state == State::Static {
            self.counts.refused += 1;
            self.put(key, Entry { refused_ms: Some(now_ms), ..entry }, entry.due_ms);
            return sink(Action::Refused(Binding { interface: key.0, ip: key.1, mac: claim }));
        }
        let entry = Entry { state: State::Probe, claim: Some(claim), requests: 0, ..entry };
        self.request(key, entry, now_ms, sink);
    }

    /// Whether the gateway of a route.
    pub fn is_pinned(&self, interface: InterfaceId, ip: u32) -> bool {
        self.entries.get(&(interface, ip)).is_some_and(|entry| entry.pinned)
    }

    /// The MAC address that the workers are to know, if they are to know the neighbour at all.
    pub fn used_mac(&self, interface: InterfaceId, ip: u32) -> Option<Mac> {
        self.entries
            .get(&(interface, ip))
            .filter(|entry| entry.place != Place::Heard)
            .and_then(|entry| entry.mac)
    }

    /// What happened so far.
    pub fn counts(&self) -> NeighborCounts {
        self.counts
    }

    /// The pinned neighbours whose MAC address is unknown, in ascending order: empty when the gateway is ready.
    pub fn unresolved(&self) -> Vec<Route> {
        let waiting = self.entries.iter().filter(|(_, entry)| entry.pinned && entry.mac.is_none());
        let mut waiting: Vec<Route> =
            waiting.map(|(&(interface, next_hop), _)| Route { interface, next_hop }).collect();
        waiting.sort_unstable_by_key(|route| (route.interface, route.next_hop));
        waiting
    }

    /// Does what is due, for 256 neighbours at most, pinned ones first; the rest is due at the next call.
    pub fn poll(&mut self, now_ms: u64, mut sink: impl FnMut(Action)) {
        let mut budget = POLL_MAX;
        for which in [PINNED, OTHERS] {
            while budget > 0
                && let Some(&(due_ms, key)) = self.due[which].first()
                && due_ms <= now_ms
            {
                self.step(key, now_ms, &mut sink);
                budget -= 1;
            }
        }
    }

    /// When [`Neighbors::poll`] has something to do next.
    pub fn next_due_ms(&self) -> Option<u64> {
        let next = self.due.iter().filter_map(|due| due.first()).map(|&(due_ms, _)| due_ms);
        next.min().filter(|&due_ms| due_ms != NEVER)
    }

    /// Every neighbour, in ascending order of interface and address.
    pub fn list(&self, now_ms: u64) -> Vec<Listed> {
        let mut rows: Vec<Listed> = self
            .entries
            .iter()
            .map(|(&(interface, ip), entry)| Listed {
                interface,
                ip,
                mac: entry.mac,
                state: entry.state,
                age_s: now_ms.saturating_sub(entry.heard_ms) / 1000,
                pinned: entry.pinned,
            })
            .collect();
        rows.sort_unstable_by_key(|row| (row.interface, row.ip));
        rows
    }

    /// How many neighbours there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What happens to a neighbour when its time has come.
    fn step(&mut self, key: Key, now_ms: u64, mut sink: impl FnMut(Action)) {
        let entry = self.entries[&key];
        let is_crowded = self.entries.len() > NEIGHBORS_MAX as usize / 2;
        match entry.state {
            State::Reachable => self.put(key, Entry { state: State::Stale, ..entry }, now_ms + STALE_MS),
            State::Stale if entry.place == Place::Heard => self.remove(key, entry),
            State::Stale => {
                self.request(key, Entry { state: State::Probe, requests: 0, ..entry }, now_ms, sink)
            }
            State::Incomplete | State::Probe if entry.requests < entry.requests_max() => {
                self.request(key, entry, now_ms, sink)
            }
            State::Incomplete => {
                sink(Action::Remove { interface: key.0, ip: key.1 });
                if is_crowded && !entry.pinned {
                    return self.remove(key, entry);
                }
                let rest_ms = if entry.pinned { PINNED_REST_MS } else { FAILED_MS };
                self.put(key, Entry { state: State::Failed, ..entry }, now_ms + rest_ms);
            }
            State::Probe => match (entry.claim, entry.mac) {
                (Some(mac), Some(from)) => {
                    let to = Binding { interface: key.0, ip: key.1, mac };
                    self.counts.moved += 1;
                    sink(Action::Moved { from, to });
                    if entry.place != Place::Heard {
                        sink(Action::Update(to));
                    }
                    let entry = Entry { state: State::Reachable, mac: Some(mac), claim: None, ..entry };
                    self.put(key, Entry { heard_ms: now_ms, ..entry }, now_ms + reachable_ms(key.1));
                }
                _ => {
                    sink(Action::Remove { interface: key.0, ip: key.1 });
                    self.part(key, Entry { hurried: true, ..entry }, now_ms, sink);
                }
            },
            State::Failed => self.part(key, Entry { hurried: false, ..entry }, now_ms, sink),
            State::Static => self.put(key, entry, NEVER),
        }
    }

    /// Drops a neighbour, or starts again with a pinned one.
    fn part(&mut self, key: Key, entry: Entry, now_ms: u64, sink: impl FnMut(Action)) {
        if entry.pinned {
            return self.ask(key, entry, now_ms, sink);
        }
        self.remove(key, entry);
    }

    fn remove(&mut self, key: Key, entry: Entry) {
        self.due[usize::from(!entry.pinned)].remove(&(entry.due_ms, key));
        self.entries.remove(&key);
        self.give_place(key, entry);
    }

    fn give_place(&mut self, key: Key, entry: Entry) {
        match entry.place {
            Place::Heard => self.heard.give(Subject::Link(key.0), 1),
            Place::Used => self.used.give(Subject::Link(key.0), 1),
            Place::Configured => {}
        }
    }

    fn ask(&mut self, key: Key, entry: Entry, now_ms: u64, sink: impl FnMut(Action)) {
        let entry = Entry { state: State::Incomplete, mac: None, claim: None, requests: 0, ..entry };
        self.request(key, entry, now_ms, sink);
    }

    fn request(&mut self, key: Key, entry: Entry, now_ms: u64, mut sink: impl FnMut(Action)) {
        let Entry { mac: unicast, pinned, .. } = entry;
        sink(Action::SendRequest { interface: key.0, tpa: key.1, unicast, pinned });
        let entry = Entry { requests: entry.requests + 1, ..entry };
        self.put(key, entry, now_ms + entry.retry_ms());
    }

    fn put(&mut self, key: Key, entry: Entry, due_ms: u64) {
        if let Some(old) = self.entries.insert(key, Entry { due_ms, ..entry }) {
            self.due[usize::from(!old.pinned)].remove(&(old.due_ms, key));
        }
        self.due[usize::from(!entry.pinned)].insert((due_ms, key));
    }
}

/// Between half and one and a half of [`REACHABLE_MS`], by address.
fn reachable_ms(ip: u32) -> u64 {
    let spread = u64::from(ip.wrapping_mul(0x9e37_79b1) >> 16);
    REACHABLE_MS / 2 + ((spread * REACHABLE_MS) >> 16)
}

const REACHABLE_MS: u64 = 30_000;
const STALE_MS: u64 = 5_000;
/// How long after a claim was refused the next one is looked at.
const CLAIM_REST_MS: u64 = 1_000;
/// How long a neighbour that did not answer is listed.
const FAILED_MS: u64 = 30_000;
/// How long a gateway that did not answer is left alone.
const PINNED_REST_MS: u64 = 2_000;
const POLL_MAX: usize = 256;
/// When nothing is due.
const NEVER: u64 = u64::MAX;
/// Places in [`Neighbors::due`].
const PINNED: usize = 0;
const OTHERS: usize = 1;

#[cfg(test)]
mod tests;
