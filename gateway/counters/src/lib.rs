//! Counters that cross threads: a worker adds to plain `u64`s of its own and publishes them between bursts;
//! management reads the published copy in place, without asking the worker.
//!
//! Invariants: a [`Published`] has one writer. Each word is read whole, but two words of one read may come from two
//! publications, so sums over words (received = transmitted + dropped + consumed + handed over) hold exactly only
//! while the worker is at rest.

//!
//! # Example
//! ```
//! use natgw_counters::{InterfaceCounters, Published};
//!
//! let shown = Published::<InterfaceCounters>::new();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| shown.publish(&InterfaceCounters { rx_packets: 7, ..Default::default() }));
//! });
//! assert_eq!(shown.read().rx_packets, 7);
//! ```

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::{Pod, Zeroable};

use natgw_nat::{Protocol, SessionFailure, Shard};

/// Kinds of ICMP messages that the gateway makes itself.
pub const ANSWER_KINDS: usize = 6;

/// How many interfaces a worker counts for.
pub const MAX_INTERFACES: usize = 8;

/// A struct of `u64`s that one thread writes and any thread reads.
///
/// It lies on lines of its own (128 bytes: two cache lines, which adjacent-line prefetch fetches as one), so that
/// writes of other threads do not disturb the worker.
pub struct Published<T> {
    lines: Box<[Line]>,
    /// Owns no `T`: it only copies them in and out.
    value: PhantomData<fn() -> T>,
}

#[derive(Default)]
#[repr(align(128))]
struct Line([AtomicU64; WORDS_PER_LINE]);

const WORDS_PER_LINE: usize = 16;

impl<T: Pod> Published<T> {
    const WORDS: usize = {
        assert!(align_of::<T>() == align_of::<u64>() && size_of::<T>().is_multiple_of(size_of::<u64>()));
        size_of::<T>() / size_of::<u64>()
    };

    /// A copy that reads as zero.
    pub fn new() -> Published<T> {
        let lines = (0..Self::WORDS.div_ceil(WORDS_PER_LINE)).map(|_| Line::default()).collect();
        Published { lines, value: PhantomData }
    }

    /// Replaces the published value. Only the owner calls this: after a few bursts rather than after each, for it
    /// costs a store a word (some 40 ns for [`WorkerCounters`]).
    pub fn publish(&self, value: &T) {
        let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(value));
        for (line, words) in self.lines.iter().zip(words.chunks(WORDS_PER_LINE)) {
            for (published, &word) in line.0.iter().zip(words) {
                published.store(word, Ordering::Relaxed);
            }
        }
    }

    /// The value published last, word by word.
    pub fn read(&self) -> T {
        let mut value = T::zeroed();
        let words: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut value));
        for (line, words) in self.lines.iter().zip(words.chunks_mut(WORDS_PER_LINE)) {
            for (word, published) in words.iter_mut().zip(&line.0) {
                *word = published.load(Ordering::Relaxed);
            }
        }
        value
    }
}

impl<T: Pod> Default for Published<T> {
    fn default() -> Published<T> {
        Published::new()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Published").field(&self.read()).finish()
    }
}

/// Everything that one worker counts. Gauges are marked; the rest only grow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct WorkerCounters {
    /// The engine's.
    pub nat: natgw_nat::Counters,
    /// By interface, in the order of the configuration.
    pub interfaces: [InterfaceCounters; MAX_INTERFACES],
    /// Packets that ended in the gateway itself: ARP, what its own addresses take without an answer, what was cut, and
    /// fragments of pings that were put together.
    pub consumed: u64,
    /// Packets that began in the gateway itself: ARP requests and announcements, fragments of what was cut, answers to pings
    /// in fragments. Another answer is not among them: it takes the place of the packet that it answers.
    pub generated: u64,
    /// ICMP messages of the gateway itself that a rate limit held back, by their kind.
    pub answers_limited: [u64; ANSWER_KINDS],
    /// By interface: ARP messages in which another station claims an address of the gateway.
    pub address_conflicts: [u64; MAX_INTERFACES],
    /// Events that did not fit into the queue to management, by [`EventKind`].
    pub events_lost: [u64; EventKind::ALL.len()],
    /// Packets handed to and taken from other workers.
    pub handoff: HandoffCounters,
    /// Frames that captures asked for.
    pub capture: CaptureCounters,
    /// Rounds of the worker's loop.
    pub polls: u64,
    /// Rounds that found no packet.
    pub empty_polls: u64,
    /// TSC cycles spent in rounds that found packets.
    pub busy_cycles: u64,
    /// Packets a burst, of the bursts that held any.
    pub burst_size: BurstSizes,
    /// Gauge: table lines that the sweep of a reload has still to look at.
    pub sweep_lines: u64,
    /// Gauge: packets that wait for their next hop's address, and fragments that wait for the first of their datagram or,
    /// of a ping of the gateway itself, for the rest.
    pub held: u64,
}

impl Default for WorkerCounters {
    fn default() -> WorkerCounters {
        Zeroable::zeroed()
    }
}

/// What a worker tells management about a link's stations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A neighbour was heard of.
    Learned,
    /// Packets wait for a neighbour.
    Needed,
    /// Another station claims an address of the gateway.
    Conflict,
}

impl EventKind {
    /// Every kind, in the order of its number.
    pub const ALL: [EventKind; 3] = [EventKind::Learned, EventKind::Needed, EventKind::Conflict];

    /// The label used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Learned => "learned",
            EventKind::Needed => "needed",
            EventKind::Conflict => "conflict",
        }
    }
}

/// Packets and bytes (Ethernet frame without FCS) through one interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct InterfaceCounters {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that the port took for transmission.
    pub tx_packets: u64,
    /// Bytes that the port took for transmission.
    pub tx_bytes: u64,
}

/// Packets between workers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct HandoffCounters {
    /// Put on another worker's ring.
    pub sent: u64,
    /// Taken from the own rings.
    pub received: u64,
    /// Dropped because the ring was full; also counted as drop reason `handoff-full`.
    pub full: u64,
}

/// Frames that captures asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CaptureCounters {
    /// Given to management.
    pub taken: u64,
    /// Not given: they were more than the rate allows, or management had not given the buffers back.
    pub missed: u64,
}

/// Histogram of burst sizes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BurstSizes {
    /// Bursts by the first of [`BurstSizes::BOUNDS`] that is not below their size; not cumulative.
    pub buckets: [u64; BurstSizes::BOUNDS.len()],
    /// Packets in all bursts.
    pub sum: u64,
    /// Bursts.
    pub count: u64,
}

impl BurstSizes {
    /// Upper bounds of the buckets, packets.
    pub const BOUNDS: [u64; 6] = [1, 2, 4, 8, 16, 32];

    /// Counts a burst of `size` packets; one above the last bound counts in `sum` and `count` alone.
    pub fn record(&mut self, size: u64) {
        let bucket = size.max(1).next_power_of_two().trailing_zeros() as usize;
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            *bucket += 1;
        }
        self.sum += size;
        self.count += 1;
    }
}

/// What one worker counts for one pool.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PoolCounters {
    /// Gauges, by [`Protocol`].
    pub ports: [PoolPorts; Protocol::WITH_PORTS.len()],
    /// Gauges, in port blocks; all 0 where ports are not handed out in blocks.
    pub blocks: PoolPorts,
    /// Ports asked for and not given, by [`PORT_FAILURES`].
    pub failures: [u64; PORT_FAILURES.len()],
}

impl PoolCounters {
    /// A shard's part of a pool as it is now. Goes through the part's addresses: for once a second, not once a burst.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn of(shard: &Shard, pool: usize) -> PoolCounters {
        PoolCounters {
            ports: Protocol::WITH_PORTS.map(|protocol| shard.pool_usage(pool, protocol).into()),
            blocks: shard.block_usage(pool).into(),
            failures: PORT_FAILURES.map(|reason| shard.pool_failures(pool, reason)),
        }
    }

    /// The sum over the workers that share the pool.
    pub fn sum<'a>(workers: impl IntoIterator<Item = &'a PoolCounters>) -> PoolCounters {
        let mut sum = PoolCounters::zeroed();
        for worker in workers {
            let from: &[u64] = bytemuck::cast_slice(std::slice::from_ref(worker));
            let into: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut sum));
            into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
        }
        sum
    }
}

/// A worker's share of a pool: for one protocol in ports (ICMP: query identifiers), or in port blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PoolPorts {
    /// Ports of mappings.
    pub used: u64,
    /// Freed ports that rest before a subscriber gets them again (RFC 6888 REQ-8).
    pub held: u64,
    /// Ports in all: used, held and free.
    pub total: u64,
}

impl From<natgw_nat::PoolUsage> for PoolPorts {
    fn from(usage: natgw_nat::PoolUsage) -> PoolPorts {
        PoolPorts { used: usage.used.into(), held: usage.held.into(), total: usage.total.into() }
    }
}

/// Why a pool gives no port or, to a protocol without ports, no address: `natgw_port_allocation_failures_total{reason}`.
pub const PORT_FAILURES: [SessionFailure; 6] = [
    SessionFailure::PortsExhausted,
    SessionFailure::PortBlocksExhausted,
    SessionFailure::AddressTaken,
    SessionFailure::SubscriberPortBlocks,
    SessionFailure::NoPortRange,
    SessionFailure::SubscriberPorts,
];

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use natgw_nat::{
        Direction, Part, Rule, RuleAction, Secret, Settings, ShardOptions, Share, Time, Verdict,
    };
    use natgw_wire::checksum;

    #[test]
    fn what_is_published_is_read() {
        let published = Published::<WorkerCounters>::new();
        assert_eq!(published.read(), WorkerCounters::default());
        let mut counters = WorkerCounters { polls: 7, held: u64::MAX, ..Default::default() };
        counters.nat.translated[1][2] = 9;
        counters.interfaces[MAX_INTERFACES - 1].tx_bytes = 11;
        published.publish(&counters);
        assert_eq!(published.read(), counters);
    }

    #[test]
    fn starts_on_a_line_of_its_own() {
        let published = Published::<u64>::new();
        assert_eq!(published.lines.as_ptr().addr() % 128, 0);
        assert_eq!(size_of_val(&*published.lines), 128);
    }

    #[test]
    fn words_are_never_torn_and_never_go_back() {
        let published = Published::<[u64; 40]>::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..20_000_u64 {
                    published.publish(&[n << 32 | n; 40]);
                }
                done.store(true, Ordering::Release);
            });
            let mut last = [0; 40];
            while !done.load(Ordering::Acquire) {
                let now = published.read();
                for (now, last) in now.iter().zip(&last) {
                    assert_eq!(now >> 32, now & 0xffff_ffff);
                    assert!(now >= last);
                }
                last = now;
            }
        });
    }

    #[test]
    fn a_burst_counts_in_one_bucket() {
        let mut sizes = BurstSizes::default();
        [1, 2, 3, 4, 5, 16, 17, 32, 33].into_iter().for_each(|size| sizes.record(size));
        assert_eq!(sizes.buckets, [1, 1, 2, 1, 1, 2]);
        assert_eq!((sizes.sum, sizes.count), (113, 9));
    }

    /// One outside port, two inside hosts that send UDP.
    #[test]
    fn a_pool_counts_its_use_and_its_refusals() {
        let address = Ipv4Addr::new(203, 0, 113, 10);
        let pool = natgw_nat::Pool {
            name: "main".into(),
            addresses: vec![address],
            ports: 2000..=2000,
            ..natgw_nat::Pool::default()
        };
        let rule =
            Rule { source: "10.0.0.0/8".parse().unwrap(), action: RuleAction::Pool(0), ..Rule::default() };
        let inside = vec!["10.0.0.1/8".parse().unwrap()];
        let settings = Settings { inside, pools: vec![pool], rules: vec![rule], ..Settings::default() };
        let shares = [vec![Share { address, ports: 2000..=2000 }]];
        let secret = Secret::new([1, 2, 3, 4]);
        let options = ShardOptions {
            settings: &settings,
            shares: &shares,
            sessions: 64,
            part: Part::WHOLE,
            secret,
            now: Time(0),
        };
        let mut shard = Shard::new(&options).unwrap();
        let mut burst = [udp_packet(2), udp_packet(3)];
        shard.translate(&mut burst[..], Direction::Outbound, Time(1), &mut [Verdict::Local; 2]);
        let counters = PoolCounters::of(&shard, 0);
        assert_eq!(counters.ports[Protocol::Udp as usize], PoolPorts { used: 1, held: 0, total: 1 });
        assert_eq!(counters.ports[Protocol::Tcp as usize], PoolPorts { used: 0, held: 0, total: 1 });
        assert_eq!(counters.failures, [1, 0, 0, 0, 0, 0]);
    }

    /// 10.0.0.`host`:1000 to 198.51.100.1:53, without data.
    fn udp_packet(host: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, host, 198, 51, 100, 1];
        packet.extend([0x03, 0xe8, 0, 53, 0, 8, 0, 0]);
        let sum = !checksum::sum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    #[test]
    fn pool_counters_add_up_over_workers() {
        let mut one = PoolCounters::default();
        one.ports[1] = PoolPorts { used: 1, held: 2, total: 3 };
        one.blocks.total = 5;
        one.failures[1] = 4;
        let sum = PoolCounters::sum([&one, &one]);
        assert_eq!(sum.ports[1], PoolPorts { used: 2, held: 4, total: 6 });
        assert_eq!((sum.blocks.total, sum.failures), (10, [0, 8, 0, 0, 0, 0]));
    }
}
