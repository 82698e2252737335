//! Management's own work: neighbours.

use std::time::Instant;

use super::Dataplane;
use super::announcements::Announcements;
use super::ledger::Ledger;
use crate::config::{Holding, Whose};
use crate::nat::{BlockEvent, BlockRecord, Settings};
use crate::neighbor::arp::{self, Sender};
use crate::neighbor::{Action, InterfaceId, Listed, Neighbors, Route, TokenBucket};
use crate::wire::ethernet::Mac;
use crate::worker::{Command, Event, Interface};

/// Addresses announced at once, over all interfaces: a large pool is found by ARP instead.
const ANNOUNCED_MAX: usize = 256;
/// How often links are looked at.
const LINKS_EVERY_MS: u64 = 250;

/// The state of the control loop.
pub(super) struct Control {
    since: Instant,
    neighbors: Neighbors,
    interfaces: Vec<Interface>,
    actions: Vec<Action>,
    pool_names: Vec<String>,
    ledger: Ledger,
    announcements: Announcements,
    /// When links are looked at next.
    links_due_ms: u64,
    /// Log lines about a full table.
    complaints: TokenBucket,
}

impl Control {
    pub(super) fn new(dataplane: &Dataplane, pool_names: Vec<String>) -> Control {
        let interfaces = interfaces(dataplane);
        Control {
            since: Instant::now(),
            neighbors: Neighbors::new(),
            announcements: Announcements::new(interfaces.len()),
            links_due_ms: 0,
            interfaces,
            actions: Vec::new(),
            pool_names,
            ledger: Ledger::default(),
            complaints: TokenBucket::new(1, 1, 0),
        }
    }

    /// Asks for the gateways of the routes.
    pub(super) fn begin(&mut self, dataplane: &Dataplane) {
        let gateways = dataplane.routes.gateways();
        let now_ms = self.now_ms();
        self.neighbors.pin(&gateways, now_ms, |action| self.actions.push(action));
        self.act(dataplane);
    }

    /// Goes by a new configuration: says who has the addresses that came, and asks for the gateways of its routes.
    pub(super) fn follow(&mut self, dataplane: &Dataplane, settings: &Settings) {
        self.pool_names = settings.pools.iter().map(|pool| pool.name.clone()).collect();
        let before = std::mem::replace(&mut self.interfaces, interfaces(dataplane));
        for (index, (old, new)) in before.iter().zip(&self.interfaces).enumerate() {
            if old.own != new.own {
                self.announcements.begin_anew(index, self.now_ms());
            }
        }
        self.begin(dataplane);
    }

    /// Takes what a worker tells.
    pub(super) fn take(&mut self, event: Event, dataplane: &Dataplane) {
        let now_ms = self.now_ms();
        let sink = |action| self.actions.push(action);
        let taken = match event {
            Event::Learned(binding, learn) => self.neighbors.learned(binding, learn, now_ms, sink),
            Event::Needed(interface, ip) => self.neighbors.need(interface, ip, now_ms, sink),
            Event::Conflict(binding) => {
                let ip = std::net::Ipv4Addr::from_bits(binding.ip);
                tracing::warn!(%ip, mac = %binding.mac, "another station claims an address of this gateway");
                Ok(())
            }
            Event::PortBlock(record) => {
                self.log_block(&record);
                Ok(())
            }
        };
        if taken.is_err() && self.complaints.take(now_ms as u32) {
            tracing::warn!("the neighbour table is full");
        }
        self.act(dataplane);
    }

    /// Who has an outside endpoint from now on, or no more; to whom they speak is nobody's business (RFC 6888 REQ-12).
    fn log_block(&mut self, record: &BlockRecord) {
        self.ledger.note(record);
        let BlockRecord { event, pool, inside, outside, first, last } = *record;
        let pool = self.pool_names.get(usize::from(pool)).map_or("", String::as_str);
        let ports = format_args!("{first}-{last}");
        match event {
            BlockEvent::Taken => tracing::info!(%inside, %outside, %ports, pool, "port block taken"),
            BlockEvent::GivenBack => tracing::info!(%inside, %outside, %ports, pool, "port block given back"),
        }
    }

    /// Does what is due.
    pub(super) fn poll(&mut self, dataplane: &Dataplane) {
        let now_ms = self.now_ms();
        self.neighbors.poll(now_ms, |action| self.actions.push(action));
        self.act(dataplane);
        if now_ms >= self.links_due_ms {
            self.links_due_ms = now_ms + LINKS_EVERY_MS;
            self.announce(dataplane, now_ms);
        }
    }

    /// Says who has which address, where that is due.
    fn announce(&mut self, dataplane: &Dataplane, now_ms: u64) {
        let mut left = ANNOUNCED_MAX;
        for (index, (interface, open)) in self.interfaces.iter().zip(&dataplane.ports).enumerate() {
            let up = open.port.link().is_ok_and(|link| link.up);
            if !self.announcements.look(index, up, now_ms) {
                continue;
            }
            for ip in interface.own.announced().take(left) {
                left -= 1;
                let frame = arp::gratuitous(Sender { mac: interface.mac, vlan: interface.vlan, ip });
                transmit(dataplane, InterfaceId(index as u8), frame);
            }
        }
    }

    /// Gateways of routes that do not answer.
    pub(super) fn unresolved(&self) -> Vec<Route> {
        self.neighbors.unresolved()
    }

    /// The port blocks of a subscriber, or the one that an outside endpoint is of.
    pub(super) fn blocks(&self, whose: Whose) -> Vec<Holding> {
        let holding = |record: BlockRecord| Holding {
            inside: record.inside,
            outside: record.outside,
            ports: record.first..=record.last,
            pool: self.pool_names.get(usize::from(record.pool)).cloned().unwrap_or_default(),
        };
        self.ledger.find(whose).into_iter().map(holding).collect()
    }

    pub(super) fn neighbors(&self) -> Vec<Listed> {
        self.neighbors.list(self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    fn act(&mut self, dataplane: &Dataplane) {
        let interfaces = &self.interfaces;
        for action in self.actions.drain(..) {
            match action {
                Action::SendRequest { interface, tpa, unicast } => {
                    let Some(known) = interfaces.get(usize::from(interface.0)) else { continue };
                    let Some(ip) = known.own.source_for(tpa) else { continue };
                    let sender = Sender { mac: known.mac, vlan: known.vlan, ip };
                    transmit(
                        dataplane,
                        interface,
                        arp::request(sender, tpa, unicast.unwrap_or(Mac::BROADCAST)),
                    );
                }
                Action::Update(binding) => dataplane.tell_all(|| Command::Learn(binding)),
                Action::Remove { interface, ip } => dataplane.tell_all(|| Command::Forget(interface, ip)),
            }
        }
    }
}

fn interfaces(dataplane: &Dataplane) -> Vec<Interface> {
    dataplane.ports.iter().map(|open| open.interface.clone()).collect()
}

/// Sends a frame through the first worker: it has a queue on every port.
fn transmit(dataplane: &Dataplane, interface: InterfaceId, frame: [u8; arp::FRAME_LEN]) {
    let Some(worker) = dataplane.workers().first() else { return };
    if worker.commands.try_send(Command::Transmit(interface, frame)).is_err() {
        tracing::warn!(worker = 0, "a worker does not take its commands");
    }
}
