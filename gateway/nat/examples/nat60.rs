//! A NAT in fifty lines: the engine as a library, without DPDK. Each line of standard input is `out` or `in` and a
//! packet in hex, as it arrives from inside or outside; each line of output says what became of it.
//!
//! `echo out 4500001c00010000401146510a400005c63364070fa01b580008a066 | cargo run --example nat60`

use std::error::Error;
use std::io::{self, BufRead, Write};

use natgw_nat::{Direction, Limits, Pool, Rule, RuleAction, Secret, Settings, Shard, Time, Verdict};

fn main() -> Result<(), Box<dyn Error>> {
    translate(io::stdin().lock(), io::stdout().lock())
}

pub(crate) fn translate(input: impl BufRead, mut output: impl Write) -> Result<(), Box<dyn Error>> {
    let settings = Settings {
        inside: vec!["10.64.0.1/24".parse()?],
        outside: vec!["203.0.113.2/24".parse()?],
        pools: vec![Pool {
            name: "main".into(),
            addresses: vec!["203.0.113.10".parse()?],
            ..Pool::default()
        }],
        rules: vec![Rule { source: "10.64.0.0/24".parse()?, action: RuleAction::Pool(0), ..Rule::default() }],
        limits: Limits { sessions: 1024, ..Limits::default() },
        ..Settings::default()
    };
    let secret = Secret::new([1, 2, 3, 4]); // a gateway draws it at random
    let mut shard = Shard::single(&settings, secret, Time(0))?;
    for (line, now) in input.lines().zip(1..) {
        let line = line?;
        let (direction, packet) = line.split_once(' ').ok_or("a line is a direction and a packet")?;
        let direction = if direction == "out" { Direction::Outbound } else { Direction::Inbound };
        let mut burst = [from_hex(packet)?];
        let mut verdicts = [Verdict::Local];
        shard.translate(&mut burst[..], direction, Time::from_s(now), &mut verdicts);
        match verdicts[0] {
            Verdict::Forward(_) => writeln!(output, "forward {}", to_hex(&burst[0]))?,
            Verdict::Reject(reason) | Verdict::Reset(reason) | Verdict::Drop(reason) => {
                writeln!(output, "drop {}", reason.name())?
            }
            other => writeln!(output, "{other:?}")?,
        }
        shard.advance(Time::from_s(now), 1000);
    }
    Ok(())
}

fn from_hex(text: &str) -> Result<Vec<u8>, std::num::ParseIntError> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16)).collect()
}

fn to_hex(packet: &[u8]) -> String {
    packet.iter().map(|octet| format!("{octet:02x}")).collect()
}
