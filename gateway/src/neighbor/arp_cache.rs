//! The state of every neighbour, as management keeps it: who is asked for, who answered, who is to be asked again.
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
//! unanswered. *Pinned* neighbours, the gateways of routes, never go: they start again as Incomplete, so that readiness
//! can tell whether they answer. The reachable time varies by half around 30 s (RFC 4861 section 6.3.2), so that
//! neighbours learnt together are not probed together.
//!
//! Time is milliseconds of a clock that does not wrap.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::{Binding, Full, InterfaceId, Learn, Route};
use crate::wire::ethernet::Mac;

/// How many neighbours there may be, pinned ones apart.
pub const NEIGHBORS_MAX: usize = 65_536;

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
    /// Asked for in vain.
    Failed,
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
#[derive(Debug, Default)]
pub struct Neighbors {
    entries: HashMap<Key, Entry>,
    /// When each entry is looked at next: one element an entry.
    due: BTreeSet<(u64, Key)>,
    pinned: usize,
}

type Key = (InterfaceId, u32);

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    /// `Some` in Reachable, Stale and Probe.
    mac: Option<Mac>,
    pinned: bool,
    /// Requests sent in this state.
    requests: u8,
    due_ms: u64,
    heard_ms: u64,
}

impl Neighbors {
    /// No neighbours.
    pub fn new() -> Neighbors {
        Neighbors::default()
    }

    /// A worker has packets for this neighbour.
    ///
    /// # Errors
    /// [`Full`] when the neighbour is new and there are [`NEIGHBORS_MAX`].
    pub fn need(
        &mut self,
        interface: InterfaceId,
        ip: u32,
        now_ms: u64,
        mut sink: impl FnMut(Action),
    ) -> Result<(), Full> {
        let key = (interface, ip);
        match self.entries.get(&key) {
            Some(&Entry { mac: Some(mac), .. }) => sink(Action::Update(Binding { interface, ip, mac })),
            Some(entry) if entry.state == State::Incomplete => {}
            Some(&entry) => self.ask(key, entry, now_ms, sink),
            None => {
                self.check_room()?;
                self.ask(key, Entry::new(now_ms), now_ms, sink);
            }
        }
        Ok(())
    }

    /// A worker has heard of a neighbour.
    ///
    /// # Errors
    /// [`Full`] when the neighbour is new and there are [`NEIGHBORS_MAX`].
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
                self.check_room()?;
                Entry::new(now_ms)
            }
        };
        if known.mac != Some(binding.mac) {
            sink(Action::Update(binding));
        }
        let entry =
            Entry { state: State::Reachable, mac: Some(binding.mac), requests: 0, heard_ms: now_ms, ..known };
        self.put(key, entry, now_ms + reachable_ms(binding.ip));
        Ok(())
    }

    /// Pins these next hops and no others, and asks for those that are new or failed.
    pub fn pin(&mut self, gateways: &[Route], now_ms: u64, mut sink: impl FnMut(Action)) {
        for entry in self.entries.values_mut() {
            entry.pinned = false;
        }
        for gateway in gateways {
            let key = (gateway.interface, gateway.next_hop);
            match self.entries.get_mut(&key) {
                Some(entry) if entry.state != State::Failed => entry.pinned = true,
                _ => self.ask(key, Entry { pinned: true, ..Entry::new(now_ms) }, now_ms, &mut sink),
            }
        }
        self.pinned = self.entries.values().filter(|entry| entry.pinned).count();
    }

    /// The pinned neighbours whose MAC address is unknown, in ascending order: empty when the gateway is ready.
    pub fn unresolved(&self) -> Vec<Route> {
        let waiting = self.entries.iter().filter(|(_, entry)| entry.pinned && entry.mac.is_none());
        let mut waiting: Vec<Route> =
            waiting.map(|(&(interface, next_hop), _)| Route { interface, next_hop }).collect();
        waiting.sort_unstable_by_key(|route| (route.interface, route.next_hop));
        waiting
    }

    /// Does what is due, for 256 neighbours at most; the rest is due at the next call.
    pub fn poll(&mut self, now_ms: u64, mut sink: impl FnMut(Action)) {
        for _ in 0..POLL_MAX {
            match self.due.first() {
                Some(&(due_ms, key)) if due_ms <= now_ms => self.step(key, now_ms, &mut sink),
                _ => return,
            }
        }
    }

    /// When [`Neighbors::poll`] has something to do next.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.first().map(|&(due_ms, _)| due_ms)
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

    fn check_room(&self) -> Result<(), Full> {
        if self.entries.len() - self.pinned < NEIGHBORS_MAX { Ok(()) } else { Err(Full) }
    }

    /// What happens to a neighbour when its time has come.
    fn step(&mut self, key: Key, now_ms: u64, mut sink: impl FnMut(Action)) {
        let entry = self.entries[&key];
        match entry.state {
            State::Reachable => self.put(key, Entry { state: State::Stale, ..entry }, now_ms + STALE_MS),
            State::Stale => {
                self.request(key, Entry { state: State::Probe, requests: 0, ..entry }, now_ms, sink)
            }
            State::Incomplete | State::Probe if entry.requests < REQUESTS_MAX => {
                self.request(key, entry, now_ms, sink)
            }
            State::Incomplete => {
                sink(Action::Remove { interface: key.0, ip: key.1 });
                let rest_ms = if entry.pinned { PINNED_REST_MS } else { FAILED_MS };
                self.put(key, Entry { state: State::Failed, ..entry }, now_ms + rest_ms);
            }
            State::Probe => {
                sink(Action::Remove { interface: key.0, ip: key.1 });
                self.part(key, entry, now_ms, sink);
            }
            State::Failed => self.part(key, entry, now_ms, sink),
        }
    }

    /// Drops a neighbour, or starts again with a pinned one.
    fn part(&mut self, key: Key, entry: Entry, now_ms: u64, sink: impl FnMut(Action)) {
        if entry.pinned {
            return self.ask(key, entry, now_ms, sink);
        }
        self.due.remove(&(entry.due_ms, key));
        self.entries.remove(&key);
    }

    fn ask(&mut self, key: Key, entry: Entry, now_ms: u64, sink: impl FnMut(Action)) {
        self.request(key, Entry { state: State::Incomplete, mac: None, requests: 0, ..entry }, now_ms, sink);
    }

    fn request(&mut self, key: Key, entry: Entry, now_ms: u64, mut sink: impl FnMut(Action)) {
        sink(Action::SendRequest { interface: key.0, tpa: key.1, unicast: entry.mac });
        self.put(key, Entry { requests: entry.requests + 1, ..entry }, now_ms + RETRY_MS);
    }

    fn put(&mut self, key: Key, entry: Entry, due_ms: u64) {
        if let Some(old) = self.entries.insert(key, Entry { due_ms, ..entry }) {
            self.due.remove(&(old.due_ms, key));
        }
        self.due.insert((due_ms, key));
    }
}

impl Entry {
    fn new(now_ms: u64) -> Entry {
        Entry {
            state: State::Incomplete,
            mac: None,
            pinned: false,
            requests: 0,
            due_ms: now_ms,
            heard_ms: now_ms,
        }
    }
}

/// Between half and one and a half of [`REACHABLE_MS`], by address.
fn reachable_ms(ip: u32) -> u64 {
    let spread = u64::from(ip.wrapping_mul(0x9e37_79b1) >> 16);
    REACHABLE_MS / 2 + ((spread * REACHABLE_MS) >> 16)
}

const REACHABLE_MS: u64 = 30_000;
const STALE_MS: u64 = 5_000;
const RETRY_MS: u64 = 1_000;
const REQUESTS_MAX: u8 = 3;
/// How long a neighbour that did not answer is listed.
const FAILED_MS: u64 = 30_000;
/// How long a gateway that did not answer is left alone.
const PINNED_REST_MS: u64 = 2_000;
const POLL_MAX: usize = 256;

#[cfg(test)]
mod tests;
