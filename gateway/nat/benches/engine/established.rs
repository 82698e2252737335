//! Packets of sessions that exist.

use natgw_nat::{BURST, Endpoint, Shard, Time};
use natgw_wire::tcp::Flags;

use crate::Options;
use crate::cycles::Random;
use crate::load::{self, CHUNK, Chunk, REMOTE, Traffic};
use crate::report::{Report, Samples};

const PACKETS: usize = 1 << 20;

pub(crate) fn run(traffic: Traffic, flows: u32, options: &Options, report: &mut Report) {
    let mut shard = load::shard(flows, options.pages());
    let mut chunk = Chunk::new(traffic);
    let external = establish(&mut shard, &mut chunk, flows);
    let mut random = Random::new();
    let mut together = Samples::new();
    let mut alone = Samples::new();
    for _ in 0..options.rounds {
        for (size, samples) in [(BURST, &mut together), (1, &mut alone)] {
            let mut spent = 0;
            for _ in 0..PACKETS / CHUNK {
                chunk.fill(&mut random, &external);
                spent += chunk.measure(&mut shard, CHUNK, size, Time(2));
                chunk.translated(CHUNK).for_each(|(flow, from)| assert_eq!(from, external[flow as usize]));
            }
            samples.add(spent, PACKETS);
        }
    }
    let name = match traffic {
        Traffic::Udp => "established UDP",
        Traffic::UdpAndTcp => "established UDP and TCP",
    };
    report.add(&format!("{name}, bursts of 32"), flows, together);
    report.add(&format!("{name}, one at a time"), flows, alone);
    #[cfg(feature = "stage-cycles")]
    stages(name, &mut shard, &mut chunk, &external, options.rounds, report);
}

/// The same bursts of 32 with the clock read after every stage, which keeps bursts from overlapping.
#[cfg(feature = "stage-cycles")]
fn stages(
    name: &str,
    shard: &mut Shard,
    chunk: &mut Chunk,
    external: &[Endpoint],
    rounds: u32,
    report: &mut Report,
) {
    use natgw_nat::{Stage, StageCounters};
    let mut random = Random::new();
    let mut samples = Stage::ALL.map(|_| Samples::new());
    for _ in 0..rounds {
        let mut counters = StageCounters::new(crate::cycles::now);
        for _ in 0..PACKETS / CHUNK {
            chunk.fill(&mut random, external);
            chunk.measure_stages(shard, Time(2), &mut counters);
        }
        samples.iter_mut().zip(counters.spent).for_each(|(samples, spent)| samples.add(spent, PACKETS));
    }
    for (stage, samples) in Stage::ALL.into_iter().zip(samples) {
        report.add(&format!("{name}, stage {}", stage.name()), external.len() as u32, samples);
    }
}

/// Makes all sessions; their outside endpoints, by flow.
fn establish(shard: &mut Shard, chunk: &mut Chunk, flows: u32) -> Vec<Endpoint> {
    let mut external = vec![REMOTE; flows as usize];
    let all: Vec<u32> = (0..flows).collect();
    for part in all.chunks(CHUNK) {
        chunk.fill_from_inside(part, Flags::SYN);
        chunk.measure(shard, part.len(), BURST, Time(1));
        chunk.translated(part.len()).for_each(|(flow, from)| external[flow as usize] = from);
        chunk.fill_answers(part, &external);
        chunk.measure(shard, part.len(), BURST, Time(1));
        assert_eq!(chunk.translated(part.len()).count(), 0);
        chunk.fill_from_inside(part, Flags::ACK);
        chunk.measure(shard, part.len(), BURST, Time(1));
    }
    external
}
