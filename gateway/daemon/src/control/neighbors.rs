//! Neighbours, as all workers are told of them: whom ARP asks, what was learnt, and what the gateway announces of itself.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::gratuitous_arp::Announcements;
use crate::start::Dataplane;
use natgw_config::{Config, StaticNeighbor};
use natgw_management::{ControlCounts, LinkChanges};
use natgw_neighbor::arp::{self, Sender};
use natgw_neighbor::{Action, Binding, InterfaceId, Learn, Listed, Neighbors, Route, TokenBucket};
use natgw_wire::ethernet::Mac;
use natgw_worker::{Command, Interface};

/// How often links are looked at.
const LINKS_EVERY_MS: u64 = 250;

/// See the module.
pub(super) struct NeighborControl {
    since: Instant,
    neighbors: Neighbors,
    interfaces: Vec<Interface>,
    actions: Vec<Action>,
    static_neighbors: Vec<Binding>,
    announcements: Announcements,
    /// When links are looked at next.
    links_due_ms: u64,
    /// By interface.
    links: Vec<LinkChanges>,
    /// By worker: neighbours of which it has not heard the last news, because its commands were too many.
    behind: Vec<BTreeSet<(InterfaceId, u32)>>,
    /// Commands about neighbours that had to wait.
    delayed: u64,
    /// Log lines about a full table, and about claims.
    complaints: TokenBucket,
    claims: TokenBucket,
}

impl NeighborControl {
    pub(super) fn new(dataplane: &Dataplane, config: &Config) -> NeighborControl {
        let interfaces = interfaces(dataplane);
        NeighborControl {
            since: Instant::now(),
            neighbors: Neighbors::new(),
            announcements: Announcements::new(interfaces.len()),
            links_due_ms: 0,
            links: vec![LinkChanges::default(); interfaces.len()],
            behind: vec![BTreeSet::new(); dataplane.workers().len()],
            delayed: 0,
            interfaces,
            actions: Vec::new(),
            static_neighbors: static_neighbors(config),
            complaints: TokenBucket::new(1, 1, 0),
            claims: TokenBucket::new(1, 10, 0),
        }
    }

    /// Tells of the static neighbours, and asks for the gateways of the routes.
    pub(super) fn begin(&mut self, dataplane: &Dataplane) {
        let gateways = dataplane.routes.gateways();
        let now_ms = self.now_ms();
        self.neighbors.set_static(&self.static_neighbors, now_ms, |action| self.actions.push(action));
        self.neighbors.pin(&gateways, now_ms, |action| self.actions.push(action));
        self.act(dataplane);
    }

    /// Goes by a new configuration: says who has the addresses that came, and asks for the gateways of its routes.
    pub(super) fn follow(&mut self, dataplane: &Dataplane, config: &Config) {
        self.static_neighbors = static_neighbors(config);
        let before = std::mem::replace(&mut self.interfaces, interfaces(dataplane));
        for (index, (old, new)) in before.iter().zip(&self.interfaces).enumerate() {
            if old.own != new.own {
                self.announcements.begin_anew(index, self.now_ms());
            }
        }
        self.begin(dataplane);
    }

    /// A worker has heard of a neighbour.
    pub(super) fn learned(&mut self, binding: Binding, learn: Learn, dataplane: &Dataplane) {
        let now_ms = self.now_ms();
        let learned = self.neighbors.learned(binding, learn, now_ms, |action| self.actions.push(action));
        self.warn_if_full(learned.is_err(), now_ms);
        self.act(dataplane);
    }

    /// Packets wait for a neighbour on a worker.
    pub(super) fn needed(&mut self, interface: InterfaceId, ip: u32, dataplane: &Dataplane) {
        let now_ms = self.now_ms();
        let needed = self.neighbors.need(interface, ip, now_ms, |action| self.actions.push(action));
        self.warn_if_full(needed.is_err(), now_ms);
        self.act(dataplane);
    }

    fn warn_if_full(&mut self, is_full: bool, now_ms: u64) {
        if is_full && self.complaints.take(now_ms as u32) {
            tracing::warn!("the neighbour table is full");
        }
    }

    /// Another station claims an address of the gateway: the gateway announces it again (RFC 5227 section 2.4).
    pub(super) fn conflict(&mut self, claim: Binding, dataplane: &Dataplane) {
        let now_ms = self.now_ms();
        let Some(interface) = self.interfaces.get(usize::from(claim.interface.0)) else { return };
        if !interface.own.answers_for(claim.ip)
            || !self.announcements.defends(claim.interface, claim.ip, now_ms)
        {
            return;
        }
        let ip = Ipv4Addr::from_bits(claim.ip);
        let name = dataplane.ports.get(usize::from(claim.interface.0)).map_or("", |open| open.name.as_str());
        tracing::warn!(interface = name, %ip, mac = %claim.mac, "another station claims an address of this gateway");
        let frame = arp::gratuitous(Sender { mac: interface.mac, vlan: interface.vlan, ip: claim.ip });
        transmit(dataplane, claim.interface, frame);
    }

    /// Does what is due.
    pub(super) fn poll(&mut self, dataplane: &Dataplane) {
        let now_ms = self.now_ms();
        self.catch_up(dataplane);
        self.neighbors.poll(now_ms, |action| self.actions.push(action));
        if now_ms >= self.links_due_ms {
            self.links_due_ms = now_ms + LINKS_EVERY_MS;
            self.look_at_links(dataplane, now_ms);
        }
        self.act(dataplane);
        self.announce(dataplane, now_ms);
    }

    fn look_at_links(&mut self, dataplane: &Dataplane, now_ms: u64) {
        for (index, open) in dataplane.ports.iter().enumerate() {
            let up = open.port.link().is_ok_and(|link| link.up);
            if !self.announcements.look(index, up, now_ms) {
                continue;
            }
            let interface = open.name.as_str();
            let changes = &mut self.links[index];
            if up {
                changes.ups += 1;
                tracing::info!(interface, "link up");
                self.neighbors.link_up(InterfaceId(index as u8), now_ms, |action| self.actions.push(action));
            } else {
                changes.downs += 1;
                tracing::warn!(interface, "link down");
            }
        }
    }

    /// Says who has which address, where that is due.
    fn announce(&mut self, dataplane: &Dataplane, now_ms: u64) {
        for (index, interface) in self.interfaces.iter().enumerate() {
            if !has_room(dataplane) {
                return;
            }
            let due = self.announcements.due(index, interface.own.announced_count(), now_ms);
            for ip in interface.own.announced().skip(due.start).take(due.len()) {
                let frame = arp::gratuitous(Sender { mac: interface.mac, vlan: interface.vlan, ip });
                transmit(dataplane, InterfaceId(index as u8), frame);
            }
        }
    }

    /// What the control plane counts itself.
    pub(super) fn counts(&self) -> ControlCounts {
        ControlCounts { links: self.links.clone(), neighbors: self.neighbors.counts(), delayed: self.delayed }
    }

    /// Gateways of routes that do not answer.
    pub(super) fn unresolved(&self) -> Vec<Route> {
        self.neighbors.unresolved()
    }

    /// Neighbours known or being resolved.
    pub(super) fn list(&self) -> Vec<Listed> {
        self.neighbors.list(self.now_ms())
    }

    fn now_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }

    fn act(&mut self, dataplane: &Dataplane) {
        let now_ms = self.now_ms();
        for action in std::mem::take(&mut self.actions) {
            match action {
                // The question comes again; those for routers have all of the room.
                Action::SendRequest { pinned: false, .. } if !has_room(dataplane) => self.delayed += 1,
                Action::SendRequest { interface, tpa, unicast, .. } => {
                    self.ask(dataplane, interface, tpa, unicast)
                }
                Action::Update(Binding { interface, ip, .. }) | Action::Remove { interface, ip } => {
                    self.tell_of(dataplane, (interface, ip));
                }
                Action::Moved { from, to } => {
                    if self.claims.take(now_ms as u32) {
                        let ip = Ipv4Addr::from_bits(to.ip);
                        tracing::info!(%ip, %from, to = %to.mac, "a neighbour has another MAC address");
                    }
                }
                Action::Refused(claim) => {
                    if self.claims.take(now_ms as u32) {
                        let ip = Ipv4Addr::from_bits(claim.ip);
                        tracing::warn!(%ip, mac = %claim.mac, "a station claims the address of a neighbour that answers");
                    }
                }
            }
        }
    }

    fn ask(&self, dataplane: &Dataplane, interface: InterfaceId, tpa: u32, unicast: Option<Mac>) {
        let Some(known) = self.interfaces.get(usize::from(interface.0)) else { return };
        let Some(ip) = known.own.source_for(tpa) else { return };
        if unicast.is_none() {
            for worker in dataplane.workers() {
                // One that does not take it takes the answer for a stranger's.
                let _ = worker.commands.try_send(Command::Expect(interface, tpa));
            }
        }
        let sender = Sender { mac: known.mac, vlan: known.vlan, ip };
        transmit(dataplane, interface, arp::request(sender, tpa, unicast.unwrap_or(Mac::BROADCAST)));
    }

    /// Tells every worker what is known of a neighbour; one whose commands are full now, later.
    fn tell_of(&mut self, dataplane: &Dataplane, key: (InterfaceId, u32)) {
        for (worker, behind) in dataplane.workers().iter().zip(&mut self.behind) {
            if !behind.is_empty() || worker.commands.try_send(news_of(&self.neighbors, key)).is_err() {
                self.delayed += u64::from(behind.insert(key));
            }
        }
    }

    /// Tells workers what they could not be told before.
    fn catch_up(&mut self, dataplane: &Dataplane) {
        for (worker, behind) in dataplane.workers().iter().zip(&mut self.behind) {
            while let Some(&key) = behind.first() {
                if worker.commands.try_send(news_of(&self.neighbors, key)).is_err() {
                    break;
                }
                behind.pop_first();
            }
        }
    }
}

/// What a worker is to know of a neighbour.
fn news_of(neighbors: &Neighbors, (interface, ip): (InterfaceId, u32)) -> Command {
    match neighbors.used_mac(interface, ip) {
        Some(mac) => Command::Learn(Binding { interface, ip, mac }),
        None => Command::Forget(interface, ip),
    }
}

/// Whether the worker that sends management's frames has room for what can wait.
fn has_room(dataplane: &Dataplane) -> bool {
    let room = |commands: &crossbeam_channel::Sender<Command>| {
        commands.capacity().is_none_or(|capacity| commands.len() < capacity / 2)
    };
    dataplane.workers().first().is_some_and(|worker| room(&worker.commands))
}

fn static_neighbors(config: &Config) -> Vec<Binding> {
    let binding = |neighbor: &StaticNeighbor| Binding {
        interface: InterfaceId(neighbor.interface as u8),
        ip: neighbor.address.to_bits(),
        mac: neighbor.mac,
    };
    config.neighbors.iter().map(binding).collect()
}

fn interfaces(dataplane: &Dataplane) -> Vec<Interface> {
    dataplane.ports.iter().map(|open| open.interface.clone()).collect()
}

/// Sends a frame through the first worker: it has a queue on every port.
fn transmit(dataplane: &Dataplane, interface: InterfaceId, frame: [u8; arp::FRAME_LEN]) {
    let Some(worker) = dataplane.workers().first() else { return };
    // Whatever it was, it comes again; a worker that takes nothing any more is for the watchdog.
    let _ = worker.commands.try_send(Command::Transmit(interface, frame));
}
