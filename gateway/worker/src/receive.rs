//! From a received burst to batches for the shard: link layer, ARP, owner.

use super::Worker;
use super::batch::Batch;
use super::io::{Burst, Io, Packet};
use super::tx::{HandoffKind, MbufTag};
use natgw_nat::{BURST, Direction, DropReason, Verdict};
use natgw_neighbor::arp;
use natgw_steer::WorkerId;
use natgw_wire::{ethernet, vlan};

/// What a frame is, by its link layer.
enum Class {
    /// IPv4 behind that many octets.
    Packet(usize),
    Arp,
    Drop(DropReason),
}

impl<I: Io> Worker<I> {
    /// A burst that a queue of `interface` received.
    pub(super) fn on_rx_burst(&mut self, interface: u8, burst: &mut I::Burst) {
        burst.prefetch();
        let arrived = MbufTag { arrival: interface, kind: HandoffKind::Arrived }.tag();
        let interface = usize::from(interface);
        let direction = self.interfaces[interface].direction;
        let link = self.links[interface];
        let header_len = usize::from(link.header_len);
        let counters = &mut self.counters.interfaces[interface];
        counters.rx_packets += burst.len() as u64;
        counters.rx_bytes += burst.as_slice().iter().map(|packet| packet.frame_len() as u64).sum::<u64>();
        let mut batch = Batch::new();
        for mut packet in burst.drain() {
            packet.set_tag(arrived);
            if !link.brings_packet(packet.data()) || packet.is_segmented() {
                let class = self.classify(interface, &packet);
                if !matches!(class, Class::Packet(_)) {
                    self.show_received(&packet);
                }
                match class {
                    Class::Packet(found_len) if found_len != header_len => untag::<I>(&mut packet),
                    Class::Packet(_) => {}
                    Class::Arp => {
                        self.answer_arp(interface, packet);
                        continue;
                    }
                    Class::Drop(reason) => {
                        self.drop_packet(packet, reason, direction);
                        continue;
                    }
                }
            }
            match self.owner(&packet, header_len, direction) {
                owner if owner == self.id => batch.push(packet, header_len),
                owner => self.hand_over(owner, packet, HandoffKind::Arrived),
            }
        }
        self.translate(&mut batch, direction);
    }

    /// A burst from another worker. What it asks for is done as if this worker had received it; a packet that belongs
    /// to a third worker after all is dropped rather than sent round.
    pub(super) fn handed_over(&mut self, burst: &mut I::Burst) {
        burst.prefetch_headers();
        burst.prefetch();
        let mut arrived = [Batch::new(), Batch::new()];
        let mut hairpinned = Batch::new();
        for packet in burst.drain() {
            let interface = &self.interfaces[self.arrival(&packet)];
            let (direction, header_len) = (interface.direction, interface.header_len());
            match MbufTag::from_tag(packet.tag()).kind {
                HandoffKind::Send(interface) => self.transmit(usize::from(interface), packet),
                HandoffKind::Arrived => arrived[direction as usize].push(packet, header_len),
                HandoffKind::Hairpin => hairpinned.push(packet, header_len),
                HandoffKind::Fragment => self.own_fragment(packet),
                HandoffKind::TakeBack(refused) => self.handed_back(packet, refused),
            }
        }
        for (direction, batch) in Direction::ALL.into_iter().zip(&mut arrived) {
            self.translate(batch, direction);
        }
        self.translate_hairpinned(&mut hairpinned);
    }

    /// What an unusual frame is, field by field.
    #[cold]
    fn classify(&self, interface: usize, packet: &I::Packet) -> Class {
        let interface = &self.interfaces[interface];
        if packet.is_segmented() {
            return Class::Drop(DropReason::Segmented);
        }
        let layer2 = match ethernet::parse(packet.data()) {
            Ok(layer2) => layer2,
            Err(error) => return Class::Drop(error.into()),
        };
        match layer2.ethertype {
            _ if layer2.vlan != interface.vlan => Class::Drop(DropReason::Vlan),
            ethernet::ARP => Class::Arp,
            _ if layer2.dst != interface.mac => Class::Drop(DropReason::NotForUs),
            ethernet::IPV4 => Class::Packet(layer2.header_len),
            _ => Class::Drop(DropReason::EtherType),
        }
    }

    #[inline(always)]
    pub(super) fn owner(&self, packet: &I::Packet, header_len: usize, direction: Direction) -> WorkerId {
        if self.steering.workers() == 1 {
            return self.id;
        }
        let packet = &packet.data()[header_len..];
        match direction {
            Direction::Outbound => self.steering.outbound(packet),
            Direction::Inbound => self.steering.inbound(packet),
        }
    }

    fn translate(&mut self, batch: &mut Batch<I>, direction: Direction) {
        if batch.is_empty() {
            return;
        }
        let mut verdicts = [Verdict::Local; BURST];
        let captured = self.captures.see(direction);
        if captured {
            self.stage_received(batch.frames());
        }
        self.shard.translate(&mut batch.packets(), direction, self.now, &mut verdicts);
        if captured {
            self.show_staged(&verdicts);
        }
        let mut hairpinned = Batch::new();
        for (packet, verdict) in batch.drain().zip(verdicts) {
            if verdict == Verdict::Hairpin {
                self.hairpin(packet, &mut hairpinned);
            } else {
                self.deliver(packet, verdict, direction);
            }
        }
        self.translate_hairpinned(&mut hairpinned);
    }

    /// An outbound packet whose remote is an outside endpoint of ours goes to that endpoint's owner.
    pub(super) fn hairpin(&mut self, packet: I::Packet, hairpinned: &mut Batch<I>) {
        let header_len = self.interfaces[self.arrival(&packet)].header_len();
        match self.owner(&packet, header_len, Direction::Inbound) {
            owner if owner == self.id => hairpinned.push(packet, header_len),
            owner => self.hand_over(owner, packet, HandoffKind::Hairpin),
        }
    }

    pub(super) fn translate_hairpinned(&mut self, batch: &mut Batch<I>) {
        if batch.is_empty() {
            return;
        }
        let mut verdicts = [Verdict::Local; BURST];
        self.shard.translate_hairpinned(&mut batch.packets(), self.now, &mut verdicts);
        for (packet, verdict) in batch.drain().zip(verdicts) {
            self.deliver_hairpinned(packet, verdict);
        }
    }

    /// Answers or takes note of an ARP message.
    fn answer_arp(&mut self, interface: usize, mut packet: I::Packet) {
        let known = &self.interfaces[interface];
        match arp::respond(packet.data_mut(), &known.own, known.mac) {
            arp::Outcome::Taken { learned, reply } => {
                if let Some((binding, learn)) = learned {
                    self.notify(super::Event::Learned(binding, learn));
                }
                match reply {
                    Some(len) if packet.set_len(len) => self.transmit(interface, packet),
                    _ => self.counters.consumed += 1,
                }
            }
            arp::Outcome::Conflict(binding) => {
                self.counters.address_conflicts[interface] += 1;
                self.notify(super::Event::Conflict(binding));
                self.counters.consumed += 1;
            }
            arp::Outcome::Ignored => self.counters.consumed += 1,
            arp::Outcome::Malformed => {
                self.drop_packet(packet, DropReason::ArpMalformed, self.interfaces[interface].direction);
            }
        }
    }
}

/// Takes off a tag that carries a priority and no VLAN (IEEE 802.1Q clause 6.9): such a frame is as good as untagged, and
/// from here on every frame of an interface has a header of the same length.
#[cold]
fn untag<I: Io>(packet: &mut I::Packet) {
    packet.data_mut().copy_within(..ADDRESSES_LEN, vlan::HEADER_LEN);
    packet.trim_front(vlan::HEADER_LEN);
}

/// Both MAC addresses, in front of tag and type.
const ADDRESSES_LEN: usize = 12;
