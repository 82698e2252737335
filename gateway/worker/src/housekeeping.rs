//! What a worker does between bursts, a bounded piece a round.

use super::events::EventQueue;
use super::io::{Clock, Io, Packet, Pool};
use super::message::{Command, Event};
use super::reload::Stage;
use super::requests::Request;
use super::tx::{HandoffKind, MbufTag};
use super::{TIMERS_PER_ROUND, Worker};
use natgw_counters::PoolCounters;
use natgw_nat::DropReason;

/// How often counters are published while there is traffic, milliseconds.
const PUBLISH_EVERY_MS: u64 = 1;
/// Commands looked at in a round.
const COMMANDS_PER_ROUND: usize = 8;
/// How long a round that leaves no packet waiting may give to chores, as a part of a millisecond: fewer packets arrive in
/// 20 us than a receive queue or a ring has room for, at any rate that the worker can follow.
const CHORES_PART_OF_MS: u64 = 50;
/// Rounds with packets between two looks at the commands.
const ROUNDS_PER_LOOK: u64 = 16;

impl<I: Io> Worker<I> {
    pub(super) fn housekeeping(&mut self, idle: bool) {
        self.shard.advance(self.now, TIMERS_PER_ROUND);
        self.tell_of_blocks();
        if idle || self.counters.polls.is_multiple_of(ROUNDS_PER_LOOK) {
            for _ in 0..COMMANDS_PER_ROUND {
                let Ok(command) = self.commands.try_recv() else { break };
                self.obey(command);
            }
        }
        if self.has_chores() {
            self.do_chores();
        }
        if self.now.0 - self.published_at.0 >= PUBLISH_EVERY_MS {
            self.published_at = self.now;
            self.expire_held();
            self.expire_fragments();
            self.expire_assemblies();
            self.answer_unsolicited();
            self.tend_captures();
            self.publish();
        }
    }

    /// Whether there is work for management that takes more than a moment. The worker does not sleep over it.
    pub(super) fn has_chores(&self) -> bool {
        self.reload.is_some() || !self.requests.is_empty()
    }

    /// Where packets wait, one piece of each; else as many as there is time for. So chores take what packets leave: a busy
    /// worker falls behind for a moment, and then does the least of them until it has caught up.
    fn do_chores(&mut self) {
        let (begun, time) = (self.clock.tsc(), self.cycles_per_ms / CHORES_PART_OF_MS);
        loop {
            self.go_on_with_reload();
            self.serve_request();
            if self.is_behind || !self.has_chores() || self.clock.tsc().wrapping_sub(begun) >= time {
                return;
            }
        }
    }

    /// Tells management of port blocks that changed hands, as long as there is room. The others wait in the shard.
    fn tell_of_blocks(&mut self) {
        while self.shard.has_block_records()
            && self.events.has_room(EventQueue::PortBlocks)
            && let Some(record) = self.shard.next_block_record()
        {
            if !self.events.send(EventQueue::PortBlocks, Event::PortBlock(record)) {
                self.shard.count_lost_record();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Learn(binding) => {
                let mut held = std::mem::take(&mut self.released);
                self.hops.learn(binding, natgw_neighbor::Learn::Add, |packet| held.push(packet));
                self.release(&mut held, binding.interface, binding.mac);
                self.released = held;
            }
            Command::Forget(interface, ip) => {
                let mut held = std::mem::take(&mut self.released);
                self.hops.forget(interface, ip, |packet| held.push(packet));
                self.give_up(&mut held);
                self.released = held;
            }
            Command::Expect(interface, ip) => {
                // Without room the answer is a stranger's.
                let _ = self.next_hop(interface, ip);
            }
            Command::Transmit(interface, frame) => self.originate(usize::from(interface.0), &frame),
            Command::List(listing) => self.enqueue(Request::List(listing)),
            // The asker may have given up.
            Command::Explain(question, answer) => {
                let _ = answer.try_send(self.shard.explain(&question, self.now));
            }
            Command::Delete(deletion) => self.enqueue(Request::Delete(deletion)),
            Command::Cancel(id) => self.cancel(id),
            Command::Steer(mut steering, answer) => {
                std::mem::swap(&mut self.steering, &mut steering);
                drop(answer.try_send(steering));
            }
            Command::Adopt(adoption, progress) => self.begin_reload(adoption, progress, Stage::Adopting),
            Command::Enforce(adoption, progress) => self.begin_reload(adoption, progress, Stage::Enforcing),
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
        packet.set_tag(MbufTag { arrival: interface as u8, kind: HandoffKind::Arrived }.tag());
        self.counters.generated += 1;
        self.transmit(interface, packet);
        self.send();
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
        let later = self.now_ms().wrapping_add(natgw_neighbor::HOLD_MS);
        while self.hops.held() > 0 {
            self.hops.expire(later, |packet| held.push(packet));
            for packet in held.drain(..) {
                let direction = self.direction(&packet);
                self.drop_packet(packet, DropReason::NextHopUnresolved, direction);
            }
        }
        self.released = held;
    }

    /// Shows the counters to management, as a worker does every millisecond.
    pub fn publish(&mut self) {
        let held = self.hops.held() + self.fragments.held() + self.held_in_assemblies();
        self.counters.held = u64::from(held);
        self.counters.sweep_lines = self.lines_to_sweep();
        self.counters.nat = *self.shard.counters();
        self.counters.capture = self.captures.counters();
        self.published.publish(&self.counters);
        for (index, published) in self.pools.iter().enumerate() {
            published.publish(&PoolCounters::of(&self.shard, index));
        }
    }
}
