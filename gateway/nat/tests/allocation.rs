//! After `Shard::new` the engine allocates nothing: a counting allocator looks on while a shard lives a whole life.
//!
//! Each thread counts for itself, so that the test harness' own allocations do not matter.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use natgw_nat::{
    Direction, DropReason, Filter, FragmentPath, MappingMode, Part, PortBlocks, Protocol, Secret,
    SessionView, Settings, Shard, ShardOptions, Share, Time, Verdict,
};
use natgw_wire::tcp::Flags;

#[allow(dead_code, reason = "shared with the engine's tests, which use all of it")]
#[path = "engine/fragment_sim.rs"]
mod fragment_sim;
#[allow(dead_code, reason = "shared with the engine's tests, which use all of it")]
#[path = "engine/packet.rs"]
mod packet;
#[allow(dead_code, reason = "shared with the engine's tests, which use all of it")]
#[path = "engine/sim.rs"]
mod sim;

use packet::{Packet, at_port, ep};

struct Counting;

thread_local! {
    /// Constant and without a destructor: its first use allocates nothing itself.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Allocations and frees of this thread so far.
fn calls_so_far() -> u64 {
    CALLS.get()
}

fn count() {
    CALLS.set(CALLS.get() + 1);
}

// SAFETY: every call goes to `System` with the arguments it came with, and `System` keeps the trait's contract; the
// counter beside it neither allocates nor touches the caller's memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `block` came from `System` with this layout, for there is no other allocator.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count();
        // SAFETY: `block` came from `System` with this layout, for there is no other allocator.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROOM: u32 = 256;

/// A shard, and packets made ahead of it: those that begin sessions, more than there is room for; what answers them;
/// errors about them.
struct Life {
    shard: Shard,
    now: Time,
    first: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    errors: Vec<Vec<u8>>,
    verdicts: Vec<Verdict>,
    page: Vec<SessionView>,
    mappings: Vec<natgw_nat::MappingView>,
}

fn settings() -> Settings {
    let mut settings = sim::settings();
    settings.limits.new_sessions_per_subscriber_per_s = 1_000_000;
    settings
}

impl Life {
    fn new(settings: Settings) -> Life {
        let pool = &settings.pools[0];
        let share = |&address| Share { address, ports: pool.ports.clone() };
        let now = Time::from_s(1);
        let options = ShardOptions {
            settings: &settings,
            shares: &[pool.addresses.iter().map(share).collect()],
            sessions: ROOM,
            part: Part::WHOLE,
            secret: Secret::new([1, 2, 3, 4]),
            now,
        };
        let remote = ep("198.51.100.7:7000");
        let first = (0..ROOM as u16 + 64)
            .map(|at| {
                let host = at_port(ep("10.64.0.5:0"), 2000 + at);
                Packet::first(Protocol::WITH_PORTS[usize::from(at % 3)], host, remote).bytes()
            })
            .collect();
        Life {
            shard: Shard::new(&options).expect("memory"),
            now,
            first,
            answers: Vec::new(),
            errors: Vec::new(),
            verdicts: vec![Verdict::Local; ROOM as usize + 64],
            page: Vec::with_capacity(64),
            mappings: Vec::with_capacity(64),
        }
    }

    /// Allocations and frees while `packets` are translated.
    fn translate(&mut self, mut packets: Vec<Vec<u8>>, direction: Direction) -> (u64, Vec<Vec<u8>>) {
        let verdicts = &mut self.verdicts[..packets.len()];
        let before = calls_so_far();
        self.shard.translate(&mut packets[..], direction, self.now, verdicts);
        (calls_so_far() - before, packets)
    }

    fn forwarded(&self) -> usize {
        self.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Forward(_))).count()
    }
}

/// Allocations and frees while fragments are translated, held and given up: in order, last first, and without their first.
fn fragments(life: &mut Life) -> u64 {
    let body = packet::Body::Udp { checksum: true, payload: vec![7; 3000] };
    let whole = Packet::new(ep("10.64.0.5:2000"), ep("198.51.100.7:7000"), body).bytes();
    let mut pieces: Vec<Vec<u8>> =
        (0..600).flat_map(|ident| fragment_sim::split(&whole, 1480, ident)).collect();
    pieces[300..].reverse();
    pieces.retain(|piece| fragment_sim::ident(piece) < 550 || fragment_sim::offset(piece) > 0);
    let before = calls_so_far();
    for piece in &mut pieces {
        life.shard.translate_fragment(piece, FragmentPath::Outbound, None, life.now);
    }
    life.now = life.now.plus_ms(20_000);
    while life.shard.give_up_fragments(life.now).is_some() {}
    life.shard.advance(life.now, 1000);
    calls_so_far() - before
}

#[test]
fn nothing_is_allocated_after_start() {
    let before = calls_so_far();
    drop(std::hint::black_box(Box::new([0u8; 64])));
    assert!(calls_so_far() >= before + 2, "the count counts");
    lives_without_allocating(settings());
}

#[test]
fn nothing_is_allocated_where_ports_are_shared() {
    let mut settings = settings();
    settings.pools[0].mapping = MappingMode::AddressAndPortDependent;
    lives_without_allocating(settings);
}

#[test]
fn nothing_is_allocated_where_ports_come_in_blocks() {
    let mut settings = settings();
    settings.pools[0].port_blocks = Some(PortBlocks { size: 16, per_subscriber: 16 });
    lives_without_allocating(settings);
}

fn lives_without_allocating(settings: Settings) {
    let mut life = Life::new(settings);
    for round in 0..3 {
        let (calls, sent) = life.translate(life.first.clone(), Direction::Outbound);
        assert_eq!(
            (calls, life.forwarded()),
            (0, ROOM as usize),
            "new sessions and a full table, round {round}"
        );
        assert_eq!(life.verdicts.last(), Some(&Verdict::Reject(DropReason::SessionsFull)));

        let (calls, _) = life.translate(life.first[..ROOM as usize].to_vec(), Direction::Outbound);
        assert_eq!(calls, 0, "established sessions");

        let seen = |bytes: &Vec<u8>| packet::Seen::read(bytes).expect("translated");
        let known: Vec<_> = sent[..ROOM as usize].iter().map(seen).collect();
        life.answers = known
            .iter()
            .zip((0..3).cycle())
            .map(|(seen, at)| Packet::answer(Protocol::WITH_PORTS[at], seen.destination, seen.source).bytes())
            .collect();
        life.errors =
            known.iter().map(|seen| Packet::error("192.0.2.9", 3, 4, &seen.bytes).bytes()).collect();
        life.verdicts.fill(Verdict::Local);
        let (calls, _) = life.translate(life.answers.clone(), Direction::Inbound);
        assert_eq!((calls, life.forwarded()), (0, ROOM as usize), "answers");
        life.verdicts.fill(Verdict::Local);
        let (calls, _) = life.translate(life.errors.clone(), Direction::Inbound);
        assert_eq!((calls, life.forwarded()), (0, ROOM as usize), "ICMP errors");

        let stray = Packet::tcp(ep("192.0.2.9:9"), ep("203.0.113.10:9"), Flags::SYN).bytes();
        let hairpin = Packet::udp(ep("10.64.0.5:2000"), known[3].source).bytes();
        let (calls, _) = life.translate(vec![stray, vec![0xff; 60], Vec::new()], Direction::Inbound);
        let (more, _) = life.translate(vec![hairpin], Direction::Outbound);
        assert_eq!(calls + more, 0, "refusals and a hairpin");

        assert_eq!(fragments(&mut life), 0, "fragments");
        let [_, translated, held, ..] = life.shard.counters().fragments;
        assert!(translated > 0 && held > 0);
        assert_eq!(life.shard.counters().fragmented_datagrams, [0; 3]);

        let before = calls_so_far();
        let (mut from, mut listed) = (Some(0), 0);
        while let Some(at) = from {
            life.page.clear();
            from = life.shard.list_sessions(at, 100, &Filter::default(), life.now, &mut life.page);
            listed += life.page.len();
        }
        let mut from = Some(0);
        while let Some(at) = from {
            life.mappings.clear();
            from = life.shard.list_mappings(at, 100, &Filter::default(), life.now, &mut life.mappings);
        }
        life.shard.counters();
        life.shard.pool_usage(0, Protocol::Udp);
        assert_eq!((calls_so_far() - before, listed), (0, ROOM as usize), "listing page by page");

        // Sessions end, then their ports have rested.
        let before = calls_so_far();
        for _ in 0..2 {
            life.now = life.now.plus_ms(8_000_000);
            while !life.shard.advance(life.now, 500) {}
        }
        assert_eq!(calls_so_far() - before, 0, "expiry");
        assert_eq!(life.shard.counters().sessions, [0; 4]);
        life.verdicts.fill(Verdict::Local);
    }
}
