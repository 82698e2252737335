//! What a worker does between bursts, a bounded piece a round.

use crossbeam_channel::Sender;

use super::message::{Adoption, Command, Deletion, Event, Listing, Page, Rows};
use super::outlet::{Errand, Note};
use super::{TIMERS_PER_ROUND, Worker};
use crate::counters::PoolCounters;
use crate::nat::{DropReason, Sweep};

/// How often counters are published while there is traffic, milliseconds.
const PUBLISH_EVERY_MS: u64 = 1;
/// Commands looked at in a round.
const COMMANDS_PER_ROUND: usize = 8;
/// Table lines looked at for a listing in a round.
const LINES_PER_ROUND: u32 = 256;
/// Sessions looked at in a round after a change of the configuration.
const SWEPT_PER_ROUND: u32 = 32;
/// Lines of the session table looked at in a round for a deletion.
const DELETED_PER_ROUND: u32 = 32;
/// Rounds with packets between two looks at the commands.
const ROUNDS_PER_LOOK: u64 = 16;

/// A new configuration on its way into force, and where it goes back to.
pub(super) struct UnderWay {
    adoption: Box<Adoption>,
    answer: Sender<Box<Adoption>>,
    stage: Stage,
}

/// How far it is.
#[derive(Clone, Copy)]
enum Stage {
    Adopt,
    Sweep(Sweep),
    Enforce,
}

impl Worker {
    pub(super) fn keep_house(&mut self, idle: bool) {
        self.shard.advance(self.now, TIMERS_PER_ROUND);
        self.tell_of_blocks();
        if idle || self.counters.polls.is_multiple_of(ROUNDS_PER_LOOK) {
            for _ in 0..COMMANDS_PER_ROUND {
                let Ok(command) = self.commands.try_recv() else { break };
                self.obey(command);
            }
        }
        if self.listing.is_some() {
            self.list();
        }
        if self.deletion.is_some() {
            self.delete();
        }
        if self.adoption.is_some() {
            self.reload();
        }
        if self.now.0 - self.published_at.0 >= PUBLISH_EVERY_MS {
            self.published_at = self.now;
            self.expire_held();
            self.expire_fragments();
            self.answer_unsolicited();
            self.tend_captures();
            self.publish();
        }
    }

    /// Tells management of port blocks that changed hands, as long as half the room stays for what packets wait for. The
    /// others wait in the shard.
    fn tell_of_blocks(&mut self) {
        let most = self.events.capacity().map_or(usize::MAX, |room| room / 2);
        while self.shard.has_block_records()
            && self.events.len() < most
            && let Some(record) = self.shard.next_block_record()
        {
            if self.events.try_send(Event::PortBlock(record)).is_err() {
                self.shard.count_lost_record();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Learn(binding) => {
                let mut held = std::mem::take(&mut self.released);
                self.hops.learn(binding, crate::neighbor::Learn::Add, |packet| held.push(packet));
                self.release(&mut held, binding.interface, binding.mac);
                self.released = held;
            }
            Command::Forget(interface, ip) => {
                let mut held = std::mem::take(&mut self.released);
                self.hops.forget(interface, ip, |packet| held.push(packet));
                self.give_up(&mut held);
                self.released = held;
            }
            Command::Transmit(interface, frame) => self.originate(usize::from(interface.0), &frame),
            // One at a time: management asks again when the answer does not come.
            Command::List(listing) => self.listing = Some(listing),
            // Whoever asked may have given up.
            Command::Explain(question, answer) => {
                let _ = answer.try_send(self.shard.explain(&question, self.now));
            }
            Command::Delete(deletion) => self.deletion = Some(deletion),
            Command::Steer(mut steering, answer) => {
                std::mem::swap(&mut self.steering, &mut steering);
                drop(answer.try_send(steering));
            }
            Command::Adopt(adoption, answer) => {
                self.adoption = Some(UnderWay { adoption, answer, stage: Stage::Adopt });
            }
            Command::Enforce(adoption, answer) => {
                self.adoption = Some(UnderWay { adoption, answer, stage: Stage::Enforce });
            }
            Command::Capture(tap) => self.begin_capture(tap),
            Command::EndCapture(id) => self.end_captures(|tap| tap.id == id),
            Command::Drain(draining, answer) => {
                self.shard.drain(draining);
                self.publish();
                let _ = answer.try_send(());
            }
            Command::Stop => self.stopping = true,
        }
    }

    /// Sends a frame of management's.
    fn originate(&mut self, interface: usize, frame: &[u8]) {
        let Some(mut packet) = self.buffers.alloc() else { return };
        if interface >= self.interfaces.len() || !packet.set_len(frame.len()) {
            return;
        }
        packet.data_mut().copy_from_slice(frame);
        packet.set_tag(Note { arrival: interface as u8, errand: Errand::Arrived }.tag());
        self.counters.generated += 1;
        self.transmit(interface, packet);
        self.send();
    }

    /// Takes a step with a new configuration.
    fn reload(&mut self) {
        let Some(UnderWay { adoption, stage, .. }) = &mut self.adoption else { return };
        match *stage {
            Stage::Adopt if !self.shard.adopt(&mut adoption.changes) => return,
            Stage::Adopt => {
                *stage = Stage::Sweep(Sweep::START);
                return self.follow();
            }
            Stage::Sweep(from) => {
                if let Some(next) = self.shard.sweep(from, SWEPT_PER_ROUND, self.now) {
                    *stage = Stage::Sweep(next);
                    return;
                }
            }
            Stage::Enforce if !self.shard.enforce(&mut adoption.changes) => return,
            Stage::Enforce => {}
        }
        if let Some(UnderWay { adoption, answer, .. }) = self.adoption.take() {
            drop(answer.try_send(adoption));
        }
    }

    /// Routes and addresses follow what the shard has adopted.
    fn follow(&mut self) {
        let Some(UnderWay { adoption, .. }) = &mut self.adoption else { return };
        std::mem::swap(&mut self.routes, &mut adoption.routes);
        // Sessions ask for their ways anew.
        self.hops.invalidate();
        for (interface, own) in self.interfaces.iter_mut().zip(&mut adoption.own) {
            std::mem::swap(&mut interface.own, own);
        }
        std::mem::swap(&mut self.pools, &mut adoption.pools);
    }

    fn expire_held(&mut self) {
        let mut held = std::mem::take(&mut self.released);
        self.hops.expire(self.now_ms(), |packet| held.push(packet));
        self.give_up(&mut held);
        self.released = held;
    }

    /// At the end: packets that still wait are dropped.
    pub(super) fn drop_held(&mut self) {
        let mut held = std::mem::take(&mut self.released);
        // The longest wait is over by then for every one of them.
        let later = self.now_ms().wrapping_add(crate::neighbor::HOLD_MS);
        while self.hops.held() > 0 {
            self.hops.expire(later, |packet| held.push(packet));
            for packet in held.drain(..) {
                let direction = self.direction(&packet);
                self.drop(packet, DropReason::NextHopUnresolved, direction);
            }
        }
        self.released = held;
    }

    /// Goes on with a listing, and answers when its page is full, its lines have been looked at or the table is through.
    fn list(&mut self) {
        let Some(mut listing) = self.listing.take() else { return };
        let Listing { filter, from, lines, .. } = listing;
        let step = lines.min(LINES_PER_ROUND);
        let next = match &mut listing.rows {
            Rows::Sessions(rows) => self.shard.list_sessions(from, step, &filter, self.now, rows),
            Rows::Mappings(rows) => self.shard.list_mappings(from, step, &filter, self.now, rows),
        };
        let full = match &listing.rows {
            Rows::Sessions(rows) => rows.len() == rows.capacity(),
            Rows::Mappings(rows) => rows.len() == rows.capacity(),
        };
        match next {
            Some(next) if !full && step < lines => {
                self.listing = Some(Listing { from: next, lines: lines - step, ..listing });
            }
            // Whoever asked may have given up.
            next => drop(listing.answer.try_send(Page { worker: self.id, rows: listing.rows, next })),
        }
    }

    /// Goes on with a deletion, and answers when the table is through.
    fn delete(&mut self) {
        let Some(mut deletion) = self.deletion.take() else { return };
        let Deletion { filter, from, .. } = &deletion;
        let deleted = self.shard.delete_sessions(*from, DELETED_PER_ROUND, filter, self.now);
        deletion.sessions += u64::from(deleted.sessions);
        match deleted.next {
            Some(next) => self.deletion = Some(Deletion { from: next, ..deletion }),
            None => drop(deletion.answer.try_send(deletion.sessions)),
        }
    }

    /// Shows the counters to management.
    pub(super) fn publish(&mut self) {
        self.counters.held = u64::from(self.hops.held() + self.fragments.held());
        self.counters.nat = *self.shard.counters();
        self.counters.capture = self.captures.counters();
        self.published.publish(&self.counters);
        for (index, published) in self.pools.iter().enumerate() {
            published.publish(&PoolCounters::of(&self.shard, index));
        }
    }
}
