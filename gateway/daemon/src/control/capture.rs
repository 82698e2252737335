//! Captures: taps in all workers, buffers between them and the control plane, and the pcapng stream.
//!
//! ```text
//! worker ─┐   filled                          ┌─ free ◄─┐
//! worker ─┼──────────► [`CaptureStream::next`] ► pcapng           │ the same buffers, made at the beginning
//! worker ─┘                    └─────────────────────────┘
//! ```
//!
//! A slow reader of the stream leaves buffers filled. Then the workers count frames as missed; they never wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::state::State;
use natgw_api::pcapng::{self, Heading, Statistics};
use natgw_api::types::Session;
use natgw_api::{CaptureRequest, LISTING_TIMEOUT};
use natgw_config::Config;
use natgw_counters::Published;
use natgw_dpdk::Clock;
use natgw_management::{Capture, Unavailable};
use natgw_neighbor::TokenBucket;
use natgw_wire::ethernet;
use natgw_worker::{CaptureId, Captured, Command, Sides, Tap, TapCounters, Way};

/// Buffers of a capture, over all workers.
const BUFFERS: usize = 1024;
/// Octets that the stream is given on in, about.
const CHUNK_LEN: usize = 64 << 10;
/// How often filled buffers are taken. No thread waits at the channel, so that no worker has to wake one.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often the stream tells what has been counted.
const STATISTICS_EVERY: Duration = Duration::from_secs(1);
/// How long workers may take to give their taps back. They look after their commands more often.
const END_TIMEOUT: Duration = Duration::from_secs(1);

const _: () = assert!(natgw_management::CAPTURES_MAX <= natgw_worker::CAPTURES_MAX);

impl State {
    /// As [`natgw_management::Gateway::capture`].
    pub(super) fn capture(&self, request: &CaptureRequest) -> Result<Box<dyn Capture>, Unavailable> {
        let stream = CaptureStream::begin(request, &self.config(), self.commands()?, self.pool_names())?;
        Ok(Box::new(stream))
    }
}

/// A capture that runs.
struct CaptureStream {
    id: CaptureId,
    /// The stream's beginning, until it is given.
    head: Option<Vec<u8>>,
    interfaces: u32,
    filled: Receiver<Box<Captured>>,
    free: Sender<Box<Captured>>,
    ended: Receiver<Box<Tap>>,
    workers: Vec<Sender<Command>>,
    counters: Vec<Arc<Published<TapCounters>>>,
    pool_names: Vec<String>,
    rate: TokenBucket,
    /// Frames by interface that all workers together had too many of.
    refused: Vec<u64>,
    /// Frames that may still come.
    left: u32,
    since: Instant,
    until: Instant,
    statistics_due: Instant,
    is_over: bool,
}

impl CaptureStream {
    fn begin(
        request: &CaptureRequest,
        config: &Config,
        workers: Vec<Sender<Command>>,
        pool_names: Vec<String>,
    ) -> Result<CaptureStream, Unavailable> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = CaptureId(NEXT.fetch_add(1, Ordering::Relaxed));
        let longest = config.interfaces.iter().map(|interface| frame_len_max(interface.mtu)).max();
        let snap_len = longest.unwrap_or_default().min(request.snap_len as usize);
        let (free, buffers) = bounded(BUFFERS);
        let (filled_in, filled) = bounded(BUFFERS);
        let (ended_in, ended) = bounded(workers.len());
        for _ in 0..BUFFERS {
            // There is room for all of them.
            let _ = free.try_send(Box::new(Captured::new(snap_len)));
        }
        let now = crate::start::engine_time();
        let frames = request.frames;
        let tap = |published: &Arc<Published<TapCounters>>| Tap {
            id,
            sides: Sides { inside: frames.inside, outside: frames.outside, dropped: frames.dropped },
            filter: request.filter,
            rate: TokenBucket::new(request.rate, request.rate, now.0 as u32),
            until: now.plus_ms(u64::from(request.seconds) * 1000),
            free: buffers.clone(),
            filled: filled_in.clone(),
            counters: TapCounters::default(),
            published: Arc::clone(published),
            ended: ended_in.clone(),
        };
        let since = Instant::now();
        let mut live = CaptureStream {
            id,
            head: Some(head(config, snap_len)),
            interfaces: config.interfaces.len() as u32,
            filled,
            free,
            ended,
            workers: Vec::new(),
            counters: Vec::new(),
            pool_names,
            rate: TokenBucket::new(request.rate, request.rate, 0),
            refused: vec![0; config.interfaces.len()],
            left: request.count,
            since,
            until: since + Duration::from_secs(request.seconds.into()),
            statistics_due: since + STATISTICS_EVERY,
            is_over: false,
        };
        for (worker, commands) in (0..).zip(workers) {
            let published = Arc::new(Published::new());
            commands
                .send_deadline(Command::Capture(Box::new(tap(&published))), since + LISTING_TIMEOUT)
                .map_err(|_| Unavailable::NoCommands { worker })?;
            // From here on the end of the stream ends this worker's tap.
            live.workers.push(commands);
            live.counters.push(published);
        }
        Ok(live)
    }

    /// Writes a frame, unless it is one too many, and gives its buffer back.
    fn write(&mut self, out: &mut Vec<u8>, captured: Box<Captured>) {
        if self.left == 0 {
            return;
        }
        if self.rate.take(self.since.elapsed().as_millis() as u32) {
            self.left -= 1;
            let packet = pcapng::Packet {
                interface: captured.interface.0.into(),
                time_ns: wall_time_ns(captured.tsc),
                frame_len: captured.frame_len,
                data: captured.data(),
                heading: match captured.way {
                    Way::Received => Some(Heading::Inbound),
                    Way::Sent => Some(Heading::Outbound),
                    Way::Dropped => None,
                },
                comment: &self.comment(&captured),
            };
            pcapng::packet(out, &packet);
        } else {
            self.refused[usize::from(captured.interface.0)] += 1;
        }
        // There is room for every buffer.
        let _ = self.free.try_send(captured);
    }

    fn comment(&self, captured: &Captured) -> String {
        let mut said = Vec::new();
        if let Some(reason) = captured.reason {
            said.push(format!("dropped: {}", reason.name()));
        }
        if let Some(session) = &captured.session {
            let Session { protocol, inside, outside, remote, .. } =
                Session::of(session, captured.worker.0, &self.pool_names);
            said.push(format!("session: {protocol} {inside} -> {outside}, remote {remote}"));
        }
        said.push(format!("worker: {}", captured.worker.0));
        said.join("; ")
    }

    /// Lets the workers end, and writes what they had captured by then.
    fn finish(&mut self, out: &mut Vec<u8>) {
        self.is_over = true;
        self.end();
        while let Ok(captured) = self.filled.try_recv() {
            self.write(out, captured);
        }
        self.write_statistics(out);
    }

    /// Tells the workers to end, and waits until they have.
    fn end(&mut self) {
        let deadline = Instant::now() + END_TIMEOUT;
        for commands in self.workers.drain(..) {
            // A worker that takes no commands has ended, or its time will be over.
            let _ = commands.send_deadline(Command::EndCapture(self.id), deadline);
        }
        for _ in 0..self.counters.len() {
            if self.ended.recv_deadline(deadline).is_err() {
                break;
            }
        }
    }

    fn write_statistics(&mut self, out: &mut Vec<u8>) {
        self.statistics_due = Instant::now() + STATISTICS_EVERY;
        let counted: Vec<TapCounters> = self.counters.iter().map(|counters| counters.read()).collect();
        let time_ns = wall_time_ns(Clock::tsc());
        for interface in 0..self.interfaces {
            let index = interface as usize;
            let taken: u64 = counted.iter().map(|counters| counters.taken[index]).sum();
            let missed: u64 = counted.iter().map(|counters| counters.missed[index]).sum();
            let statistics = Statistics { accepted: taken + missed, missed: missed + self.refused[index] };
            pcapng::statistics(out, interface, time_ns, &statistics);
        }
    }
}

impl Capture for CaptureStream {
    fn next(&mut self, patience: Duration) -> Option<Vec<u8>> {
        if let Some(head) = self.head.take() {
            return Some(head);
        }
        if self.is_over {
            return None;
        }
        let mut out = Vec::new();
        let deadline = (Instant::now() + patience).min(self.until).min(self.statistics_due);
        while out.len() < CHUNK_LEN && self.left > 0 && Instant::now() < deadline {
            match self.filled.try_recv() {
                Ok(captured) => self.write(&mut out, captured),
                // The workers are gone.
                Err(TryRecvError::Disconnected) => self.left = 0,
                Err(TryRecvError::Empty) if !out.is_empty() => break,
                Err(TryRecvError::Empty) => thread::sleep(LOOK_EVERY),
            }
        }
        let now = Instant::now();
        if self.left == 0 || now >= self.until {
            self.finish(&mut out);
        } else if now >= self.statistics_due {
            self.write_statistics(&mut out);
        }
        Some(out)
    }
}

impl Drop for CaptureStream {
    fn drop(&mut self) {
        if !self.is_over {
            self.end();
        }
    }
}

/// The beginning of the stream: who captures, and where.
fn head(config: &Config, snap_len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    pcapng::section_header(&mut out, concat!("nat-gateway ", env!("CARGO_PKG_VERSION")));
    for interface in &config.interfaces {
        let description = format!("{}, {}", interface.role.name(), interface.device);
        pcapng::interface(&mut out, &interface.name, &description, snap_len as u32);
    }
    out
}

/// Octets of the longest frame.
fn frame_len_max(mtu: u16) -> usize {
    ethernet::header_len(Some(0)) + usize::from(mtu)
}

/// Nanoseconds since 1970 when the clock of the workers stood at `tsc`.
fn wall_time_ns(tsc: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let cycles = u128::from(Clock::tsc().saturating_sub(tsc));
    let age_ns = cycles * 1_000_000_000 / u128::from(Clock::hz().max(1));
    now.as_nanos().saturating_sub(age_ns) as u64
}
