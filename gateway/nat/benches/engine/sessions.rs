//! New sessions, their end, and the end of their ports' rest.

use natgw_nat::{BURST, Shard, Time};
use natgw_wire::tcp::Flags;

use crate::Options;
use crate::cycles::{self, Random};
use crate::load::{self, CHUNK, Chunk, Traffic};
use crate::report::{Report, Samples};

/// An hour, beyond every timeout and beyond `port_hold`.
const APART_MS: u64 = 3_600_000;
/// Timers that one call of `advance` looks at, as the worker's housekeeping does.
const BUDGET: u32 = 64;

pub(crate) fn run(options: &Options, report: &mut Report) {
    let sessions = options.new_sessions;
    let mut shard = load::shard(sessions, options.pages());
    let mut chunk = Chunk::new(Traffic::Udp);
    let order = Random::new().shuffled(sessions);
    let mut made = Samples::new();
    let [mut ended, mut ended_long, mut rested, mut rested_long] = [(); 4].map(|()| Samples::new());
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
        let end = Calls::until_done(&mut shard, now.plus_ms(APART_MS));
        assert_eq!(shard.counters().sessions_deleted[0] - before, u64::from(sessions));
        let rest = Calls::until_done(&mut shard, now.plus_ms(2 * APART_MS));
        assert_eq!(shard.counters().subscribers, 0, "nothing rests any more");
        if round > 0 {
            made.add(spent, sessions as usize);
            ended.add(end.cycles, sessions as usize);
            ended_long.add(end.long, 1);
            rested.add(rest.cycles, sessions as usize);
            rested_long.add(rest.long, 1);
        }
    }
    report.add("new sessions, one a packet", sessions, made);
    report.add("expiry of a session", sessions, ended);
    report.add("expiry, 999 calls in 1,000 within", sessions, ended_long);
    report.add("end of a port's rest", sessions, rested);
    report.add("port's rest, 999 calls in 1,000 within", sessions, rested_long);
}

/// Calls of `advance`, each with the budget of a worker. Packets wait for as long as one takes.
struct Calls {
    /// Of all.
    cycles: u64,
    /// One call in a thousand takes longer. (The longest of all shows the machine's interruptions.)
    long: u64,
}

impl Calls {
    /// Ends all that is due.
    fn until_done(shard: &mut Shard, now: Time) -> Calls {
        let mut calls = Vec::new();
        loop {
            let start = cycles::now();
            let done = shard.advance(now, BUDGET);
            calls.push(cycles::now() - start);
            if done {
                break;
            }
        }
        let cycles = calls.iter().sum();
        calls.sort_unstable();
        Calls { cycles, long: calls[calls.len() - 1 - calls.len() / 1000] }
    }
}
