//! New sessions, and their end.

use natgw_nat::{BURST, Time};
use natgw_wire::tcp::Flags;

use crate::Options;
use crate::cycles::{self, Random};
use crate::load::{self, CHUNK, Chunk, Traffic};
use crate::report::{Report, Samples};

/// Beyond every timeout, the port's rest included: an hour.
const APART_MS: u64 = 3_600_000;
/// Timers that one call of `advance` looks at, as the worker's housekeeping does.
const BUDGET: u32 = 64;

pub(crate) fn run(options: &Options, report: &mut Report) {
    let sessions = options.new_sessions;
    let mut shard = load::shard(sessions, options.pages());
    let mut chunk = Chunk::new(Traffic::Udp);
    let order = Random::new().shuffled(sessions);
    let mut made = Samples::new();
    let mut ended = Samples::new();
    // The first round touches the memory.
    for round in 0..=options.rounds {
        let now = Time(u64::from(round) * 4 * APART_MS + 1);
        let mut spent = 0;
        for part in order.chunks(CHUNK) {
            chunk.fill_from_inside(part, Flags::SYN);
            spent += chunk.measure(&mut shard, part.len(), BURST, now);
            assert_eq!(chunk.translated(part.len()).count(), part.len());
        }
        let before = shard.counters().sessions_deleted[0];
        let start = cycles::now();
        while !shard.advance(now.plus_ms(APART_MS), BUDGET) {}
        let over = cycles::now() - start;
        assert_eq!(shard.counters().sessions_deleted[0] - before, u64::from(sessions));
        while !shard.advance(now.plus_ms(2 * APART_MS), BUDGET) {}
        if round > 0 {
            made.add(spent, sessions as usize);
            ended.add(over, sessions as usize);
        }
    }
    report.add("new sessions, one a packet", sessions, made);
    report.add("expiry of a session", sessions, ended);
}
