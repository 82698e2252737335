//! Frames shown to whoever captures: as they were received, as they are sent, and those that are dropped.
//!
//! A [`Tap`] is one capture's part in one worker. It comes from management and goes back to it at its end. A worker copies
//! a frame into a buffer that management made, where one is free and the tap's rate allows it, and else counts it as
//! missed: it allocates nothing and waits for nobody. Without a tap all this costs a branch a burst, and one a drop.
//!
//! A frame is shown by the worker that owns its packet. A received one is copied before it is translated, and shown
//! afterwards: by then there is the session that it may have begun, or the reason to drop it.

use std::sync::Arc;

use arrayvec::ArrayVec;
use bytemuck::{Pod, Zeroable};
use crossbeam_channel::{Receiver, Sender};

use super::Worker;
use super::interface::Interface;
use super::io::{Clock, Io, Packet};
use natgw_counters::{CaptureCounters, MAX_INTERFACES, Published};
use natgw_nat::{BURST, Direction, DropReason, Filter, SessionView, Shard, Sight, Time, Verdict};
use natgw_neighbor::{InterfaceId, TokenBucket};
use natgw_steer::WorkerId;

/// Captures at once.
pub const CAPTURES_MAX: usize = 4;

/// A capture's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureId(pub u32);

/// What a capture is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides {
    /// Frames that inside interfaces receive and send.
    pub inside: bool,
    /// Frames that outside interfaces receive and send.
    pub outside: bool,
    /// Frames that are dropped.
    pub dropped: bool,
}

/// What is happening to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It has come.
    Received,
    /// It goes to the port.
    Sent,
    /// It goes no further.
    Dropped,
}

/// One capture's part in a worker.
pub struct Tap {
    /// The capture.
    pub id: CaptureId,
    /// What it is of.
    pub sides: Sides,
    /// Of which packets.
    pub filter: Filter,
    /// How many frames of this worker's.
    pub rate: TokenBucket,
    /// When it ends by itself.
    pub until: Time,
    /// Buffers to be filled.
    pub free: Receiver<Box<Captured>>,
    /// Filled ones; there is room for all.
    pub filled: Sender<Box<Captured>>,
    /// What it has counted.
    pub counters: TapCounters,
    /// Where that is read.
    pub published: Arc<Published<TapCounters>>,
    /// Where it goes at its end.
    pub ended: Sender<Box<Tap>>,
}

/// What a tap counts, by interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TapCounters {
    /// Frames given to management.
    pub taken: [u64; MAX_INTERFACES],
    /// Frames that it asked for and did not get.
    pub missed: [u64; MAX_INTERFACES],
}

/// A buffer for a frame, with what is known of it.
pub struct Captured {
    /// Who shows it.
    pub worker: WorkerId,
    /// When, in TSC cycles.
    pub tsc: u64,
    /// The interface that it came in by or, where it is sent, leaves by.
    pub interface: InterfaceId,
    /// What is happening to it.
    pub way: Way,
    /// Why it is dropped, where it is.
    pub reason: Option<DropReason>,
    /// Its session.
    pub session: Option<SessionView>,
    /// Octets of the frame.
    pub frame_len: usize,
    room: Box<[u8]>,
    captured_len: usize,
}

impl Captured {
    /// A buffer for the first `snap_len` octets of a frame.
    pub fn new(snap_len: usize) -> Captured {
        Captured {
            worker: WorkerId(0),
            tsc: 0,
            interface: InterfaceId(0),
            way: Way::Received,
            reason: None,
            session: None,
            frame_len: 0,
            room: vec![0; snap_len].into(),
            captured_len: 0,
        }
    }

    /// The octets that were captured.
    pub fn data(&self) -> &[u8] {
        &self.room[..self.captured_len]
    }

    fn copy(&mut self, data: &[u8]) {
        self.captured_len = data.len().min(self.room.len());
        self.room[..self.captured_len].copy_from_slice(&data[..self.captured_len]);
    }
}

impl Tap {
    fn asks_for(&self, way: Way, direction: Direction) -> bool {
        match (way, direction) {
            (Way::Dropped, _) => self.sides.dropped,
            (_, Direction::Outbound) => self.sides.inside,
            (_, Direction::Inbound) => self.sides.outside,
        }
    }

    fn accepts(&self, frame: &Frame<'_>, shard: &Shard, now: Time) -> bool {
        let session = || frame.session(shard, now);
        self.asks_for(frame.way, frame.direction)
            && (self.filter == Filter::default()
                || frame.sight().is_some_and(|sight| self.filter.accepts_packet(&sight, session)))
    }

    /// A buffer for a frame.
    fn buffer(&mut self, interface: usize, now: Time) -> Option<Box<Captured>> {
        let allowed = self.rate.take(now.0 as u32);
        let buffer = if allowed { self.free.try_recv().ok() } else { None };
        let counters = &mut self.counters;
        let counted = if buffer.is_some() { &mut counters.taken } else { &mut counters.missed };
        counted[interface] += 1;
        buffer
    }

    fn end(self: Box<Tap>) {
        self.published.publish(&self.counters);
        let ended = self.ended.clone();
        // Whoever asked may have given up.
        drop(ended.try_send(self));
    }
}

/// A frame on an interface.
struct Frame<'a> {
    /// Octets of the first segment.
    data: &'a [u8],
    /// Octets of all of it.
    frame_len: usize,
    interface: usize,
    header_len: usize,
    direction: Direction,
    way: Way,
    reason: Option<DropReason>,
}

impl<'a> Frame<'a> {
    fn new<I: Io>(packet: &'a I::Packet, interfaces: &[Interface], interface: usize, way: Way) -> Frame<'a> {
        let known = &interfaces[interface];
        let (header_len, direction) = (known.header_len(), known.direction);
        let (data, frame_len) = (packet.data(), packet.frame_len());
        Frame { data, frame_len, interface, header_len, direction, way, reason: None }
    }

    fn bytes(&self) -> &[u8] {
        self.data.get(self.header_len..).unwrap_or_default()
    }

    fn sight(&self) -> Option<Sight> {
        match self.way {
            Way::Sent => Sight::leaving(self.bytes(), self.direction),
            Way::Received | Way::Dropped => Sight::arriving(self.bytes(), self.direction),
        }
    }

    /// Its session. What is dropped may have been translated already.
    fn session(&self, shard: &Shard, now: Time) -> Option<SessionView> {
        let of = |sight: Option<Sight>| shard.session_seen(&sight?, now);
        of(self.sight()).or_else(|| match (self.way, self.reason) {
            (Way::Dropped, Some(DropReason::TransmitFull)) => {
                of(Sight::leaving(self.bytes(), self.direction))
            }
            (Way::Dropped, _) => of(Sight::leaving(self.bytes(), self.direction.flip())),
            (Way::Received | Way::Sent, _) => None,
        })
    }
}

/// A copy of a received frame until its verdict is there.
struct Staged {
    tap: usize,
    /// Its place in the burst.
    place: usize,
    sight: Option<Sight>,
    captured: Box<Captured>,
}

/// All taps of a worker.
pub(super) struct Captures<I: Io> {
    /// Whether some tap asks for frames of interfaces whose packets go this way.
    sides: [bool; 2],
    drops: bool,
    worker: WorkerId,
    taps: ArrayVec<Box<Tap>, CAPTURES_MAX>,
    /// Its capacity is that of a burst for every tap.
    staged: Vec<Staged>,
    counters: CaptureCounters,
    clock: I::Clock,
}

impl<I: Io> Captures<I> {
    pub(super) fn new(worker: WorkerId, clock: I::Clock) -> Captures<I> {
        let staged = Vec::with_capacity(BURST * CAPTURES_MAX);
        let counters = CaptureCounters::default();
        Captures { sides: [false; 2], drops: false, worker, taps: ArrayVec::new(), staged, counters, clock }
    }

    pub(super) fn counters(&self) -> CaptureCounters {
        self.counters
    }

    /// Whether frames of interfaces whose packets go in `direction` are asked for.
    #[inline(always)]
    pub(super) fn see(&self, direction: Direction) -> bool {
        self.sides[direction as usize]
    }

    /// After a change of the taps.
    fn look_again(&mut self) {
        let wanted = |is: fn(&Sides) -> bool| self.taps.iter().any(|tap| is(&tap.sides));
        self.sides = [wanted(|sides| sides.inside), wanted(|sides| sides.outside)];
        self.drops = wanted(|sides| sides.dropped);
    }

    /// A copy of a frame for each tap that asks for it and gets one.
    fn copies(
        &mut self,
        frame: &Frame<'_>,
        shard: &Shard,
        now: Time,
    ) -> ArrayVec<(usize, Box<Captured>), CAPTURES_MAX> {
        let mut copies = ArrayVec::new();
        for (index, tap) in self.taps.iter_mut().enumerate() {
            if !tap.accepts(frame, shard, now) {
                continue;
            }
            let Some(mut captured) = tap.buffer(frame.interface, now) else {
                self.counters.missed += 1;
                continue;
            };
            self.counters.taken += 1;
            captured.worker = self.worker;
            captured.tsc = self.clock.tsc();
            captured.interface = InterfaceId(frame.interface as u8);
            captured.way = frame.way;
            captured.reason = frame.reason;
            captured.frame_len = frame.frame_len;
            captured.copy(frame.data);
            copies.push((index, captured));
        }
        copies
    }

    fn show(&mut self, frame: &Frame<'_>, shard: &Shard, now: Time) {
        for (tap, mut captured) in self.copies(frame, shard, now) {
            captured.session = frame.session(shard, now);
            // The channel has room for every buffer.
            let _ = self.taps[tap].filled.try_send(captured);
        }
    }

    /// Frames that go to the port of `interface`.
    #[cold]
    pub(super) fn show_sent(
        &mut self,
        shard: &Shard,
        interfaces: &[Interface],
        interface: usize,
        packets: &[I::Packet],
        now: Time,
    ) {
        for packet in packets {
            self.show(&Frame::new::<I>(packet, interfaces, interface, Way::Sent), shard, now);
        }
    }

    /// A frame that the port of `interface` did not take.
    pub(super) fn show_refused(
        &mut self,
        shard: &Shard,
        interfaces: &[Interface],
        interface: usize,
        packet: &I::Packet,
        now: Time,
    ) {
        if self.drops {
            let reason = Some(DropReason::TransmitFull);
            let frame = Frame::new::<I>(packet, interfaces, interface, Way::Dropped);
            self.show(&Frame { reason, ..frame }, shard, now);
        }
    }
}

impl<I: Io> Worker<I> {
    /// A tap for which there is no room goes back at once.
    pub(super) fn begin_capture(&mut self, tap: Box<Tap>) {
        match self.captures.taps.try_push(tap) {
            Ok(()) => self.captures.look_again(),
            Err(full) => full.element().end(),
        }
    }

    pub(super) fn end_captures(&mut self, is_over: impl Fn(&Tap) -> bool) {
        while let Some(index) = self.captures.taps.iter().position(|tap| is_over(tap)) {
            self.captures.taps.remove(index).end();
            self.captures.look_again();
        }
    }

    /// Ends the captures whose time is over, and shows management what the others have counted.
    pub(super) fn tend_captures(&mut self) {
        let now = self.now;
        self.end_captures(|tap| tap.until <= now);
        self.captures.taps.iter().for_each(|tap| tap.published.publish(&tap.counters));
    }

    #[inline(always)]
    pub(super) fn show_dropped(&mut self, packet: &I::Packet, reason: DropReason) {
        if self.captures.drops {
            self.show(packet, Way::Dropped, Some(reason));
        }
    }

    /// A frame that brings no packet to be translated.
    pub(super) fn show_received(&mut self, packet: &I::Packet) {
        if self.captures.see(self.interfaces[self.arrival(packet)].direction) {
            self.show(packet, Way::Received, None);
        }
    }

    #[cold]
    fn show(&mut self, packet: &I::Packet, way: Way, reason: Option<DropReason>) {
        let frame = Frame::new::<I>(packet, &self.interfaces, self.arrival(packet), way);
        self.captures.show(&Frame { reason, ..frame }, &self.shard, self.now);
    }

    /// Copies frames of a burst that is going to be translated.
    #[cold]
    pub(super) fn stage_received(&mut self, packets: &[I::Packet]) {
        for (place, packet) in packets.iter().enumerate() {
            let frame = Frame::new::<I>(packet, &self.interfaces, self.arrival(packet), Way::Received);
            let sight = frame.sight();
            for (tap, captured) in self.captures.copies(&frame, &self.shard, self.now) {
                self.captures.staged.push(Staged { tap, place, sight, captured });
            }
        }
    }

    /// Shows the frames of [`Worker::stage_received`], with their sessions and what became of them.
    #[cold]
    pub(super) fn show_staged(&mut self, verdicts: &[Verdict]) {
        let Captures { staged, taps, .. } = &mut self.captures;
        for Staged { tap, place, sight, mut captured } in staged.drain(..) {
            captured.session = sight.and_then(|sight| self.shard.session_seen(&sight, self.now));
            captured.reason = match verdicts[place] {
                Verdict::Drop(reason) | Verdict::Reject(reason) | Verdict::Reset(reason) => Some(reason),
                _ => None,
            };
            let _ = taps[tap].filled.try_send(captured);
        }
    }
}
