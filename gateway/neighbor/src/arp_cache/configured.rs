//! Neighbours that the configuration names: static ones, and the gateways of routes.

use super::entry::{Entry, Place};
use super::{Action, Key, NEVER, Neighbors, State};
use crate::{Binding, InterfaceId, Route};

impl Neighbors {
    /// Gives these neighbours, and no others, the MAC addresses of the configuration. What was static before is asked
    /// whether it is there.
    pub fn set_static(&mut self, bindings: &[Binding], now_ms: u64, mut sink: impl FnMut(Action)) {
        let before: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state == State::Static)
            .map(|(&key, _)| key)
            .collect();
        for key in before {
            let is_static = bindings.iter().any(|binding| (binding.interface, binding.ip) == key);
            if let Some(&entry) = self.entries.get(&key).filter(|_| !is_static) {
                self.put(key, Entry { state: State::Stale, ..entry }, now_ms);
            }
        }
        for &binding in bindings {
            let key = (binding.interface, binding.ip);
            let known = self.entries.get(&key).copied();
            if let Some(known) = known {
                self.give_place(key, known);
            }
            let entry = Entry {
                state: State::Static,
                mac: Some(binding.mac),
                claim: None,
                place: Place::Configured,
                ..known.unwrap_or(Entry::new(now_ms))
            };
            self.put(key, entry, NEVER);
            sink(Action::Update(binding));
        }
    }

    /// Pins these next hops and no others, and asks for those that are new or failed.
    pub fn pin(&mut self, gateways: &[Route], now_ms: u64, mut sink: impl FnMut(Action)) {
        let before: Vec<(Key, Entry)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.pinned)
            .map(|(&key, &entry)| (key, entry))
            .collect();
        for (key, entry) in before {
            self.put(key, Entry { pinned: false, ..entry }, entry.due_ms);
        }
        for gateway in gateways {
            let key = (gateway.interface, gateway.next_hop);
            match self.entries.get(&key).copied() {
                Some(entry) if entry.state != State::Failed => {
                    self.give_place(key, entry);
                    if entry.place == Place::Heard
                        && let Some(mac) = entry.mac
                    {
                        sink(Action::Update(Binding { interface: key.0, ip: key.1, mac }));
                    }
                    self.put(key, Entry { pinned: true, place: Place::Configured, ..entry }, entry.due_ms);
                }
                known => {
                    if let Some(known) = known {
                        self.give_place(key, known);
                    }
                    let entry = Entry { pinned: true, place: Place::Configured, ..Entry::new(now_ms) };
                    self.ask(key, Entry { hurried: true, ..entry }, now_ms, &mut sink);
                }
            }
        }
    }

    /// The link of an interface came up: its gateways that have not answered are asked for without delay.
    pub fn link_up(&mut self, interface: InterfaceId, now_ms: u64, mut sink: impl FnMut(Action)) {
        let is_due =
            |(key, entry): &(&Key, &Entry)| key.0 == interface && entry.pinned && entry.mac.is_none();
        let due: Vec<(Key, Entry)> =
            self.entries.iter().filter(is_due).map(|(&key, &entry)| (key, entry)).collect();
        for (key, entry) in due {
            self.ask(key, Entry { hurried: true, ..entry }, now_ms, &mut sink);
        }
    }
}
