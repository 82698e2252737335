//! The stateful measurements of RFC 9693: how fast connections are established and torn down, and how many fit.
//!
//! Phase 1 sends a frame of each connection once, shuffled, from the initiator's side, and learns from what arrives;
//! phase 2 sends one of each back from the responder's side. A connection counts when both have come through. Phase 2
//! is sent at half the rate of phase 1: it validates, it does not measure.
//!
//! Every trial needs connections that the gateway does not know. They come from hosts of their own, so its table has
//! to hold those of all trials, unless a command is given that empties it in between. Emptied or not, ports that rest
//! are found again by the same hosts: `port_hold = 0` makes every trial begin at nothing.
//!
//! The capacity is found by one trial with more connections than fit, for this gateway refuses what does not fit and
//! ends nothing to make room; the RFC's search, by the rate at which tables of growing size are filled, serves those
//! that do.

use std::process::Command;
use std::time::Instant;

use super::Error;
use super::conversation::{Step, opening, responding};
use super::traffic::Traffic;

/// Between two trials.
#[derive(Clone, Debug, Default)]
pub struct Reset {
    /// A shell command that empties the gateway's table and returns when that is done.
    pub command: Option<String>,
}

/// One trial: connections tried, and what came of them.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Trial {
    /// Frames a second that phase 1 was to send.
    pub rate: f64,
    /// Those that it sent.
    pub sent_rate: f64,
    /// Connections tried.
    pub connections: u32,
    /// Frames that came through in phase 1.
    pub established: u64,
    /// Frames that came through in phase 2.
    pub validated: u64,
    /// Frames that came back wrong in either.
    pub wrong: u64,
}

impl Trial {
    /// Whether every connection was established, at the rate that was asked for.
    pub fn passed(&self) -> bool {
        self.validated == u64::from(self.connections)
            && self.wrong == 0
            && self.sent_rate >= self.rate * SENT_RATE_MIN
    }
}

/// A generator that sends less than this part of a rate has not tried it.
const SENT_RATE_MIN: f64 = 0.98;

/// Seconds of phase 1 that are tried; what takes longer counts as nothing.
const SECONDS_MAX: f64 = 10.0;

/// The highest rate at which none of the connections is lost, by binary search between nothing and `rate_max` until the
/// bounds are within a hundredth of each other; and all trials on the way.
pub fn establishment_rate(
    traffic: &mut Traffic,
    rate_max: f64,
    reset: &Reset,
    mut told: impl FnMut(&Trial),
) -> Result<(f64, Vec<Trial>), Error> {
    let mut trials = Vec::new();
    let rate_min = f64::from(traffic.space().flows) / SECONDS_MAX;
    let rate = search(rate_min, rate_max, |rate| {
        if !trials.is_empty() {
            renew(traffic, reset)?;
        }
        let trial = trial(traffic, rate);
        told(&trial);
        let passed = trial.passed();
        trials.push(trial);
        Ok::<_, Error>(passed)
    })?;
    Ok((rate, trials))
}

/// The highest rate between `rate_min` and `rate_max` that passes, to a hundredth; 0 where none does.
fn search<E>(rate_min: f64, rate_max: f64, mut passes: impl FnMut(f64) -> Result<bool, E>) -> Result<f64, E> {
    let (mut good, mut bad) = (0.0, rate_max);
    if passes(rate_max)? {
        return Ok(rate_max);
    }
    while bad - good > bad / 100.0 {
        let middle = (good + bad) / 2.0;
        if middle < rate_min {
            break;
        }
        if passes(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good)
}

/// How many connections the gateway keeps of those that are tried. A gateway that ends one connection for another keeps
/// fewer than it has established, which the trial shows.
pub fn capacity(traffic: &mut Traffic, rate: f64) -> Trial {
    trial(traffic, rate)
}

/// Connections ended in a second, when a command empties the gateway's table. The command's own time counts too.
pub fn tear_down_rate(traffic: &mut Traffic, rate: f64, reset: &Reset) -> Result<(f64, Trial), Error> {
    let filled = trial(traffic, rate);
    let start = Instant::now();
    if !reset.run()? {
        return Err(Error::Argument(
            "--reset: the command that empties the gateway's table is needed".into(),
        ));
    }
    let seconds = start.elapsed().as_secs_f64();
    let left = traffic.run(&responding().pass(traffic.space().flows, Some(rate / 2.0)));
    if left.received() > 0 {
        return Err(Error::Argument(format!(
            "--reset: {} connections outlived the command",
            left.received()
        )));
    }
    Ok((filled.validated as f64 / seconds, filled))
}

fn trial(traffic: &mut Traffic, rate: f64) -> Trial {
    let connections = traffic.space().flows;
    let phase = |traffic: &mut Traffic, step: &Step, rate| traffic.run(&step.pass(connections, Some(rate)));
    let first = phase(traffic, &opening(false)[0], rate);
    let second = phase(traffic, &responding(), rate / 2.0);
    Trial {
        rate,
        sent_rate: first.sent() as f64 / first.seconds,
        connections,
        established: first.received(),
        validated: second.received(),
        wrong: first.wrong() + second.wrong(),
    }
}

fn renew(traffic: &mut Traffic, reset: &Reset) -> Result<(), Error> {
    let space = traffic.space();
    let (first, next) = (space.first_host, space.first_host + space.hosts());
    let emptied = reset.run()?;
    traffic.renumber(if emptied { first } else { next });
    Ok(())
}

impl Reset {
    /// Whether there was a command to run.
    fn run(&self) -> Result<bool, Error> {
        let Some(command) = &self.command else { return Ok(false) };
        let status = Command::new("sh").args(["-c", command]).status()?;
        if status.success() { Ok(true) } else { Err(Error::Argument(format!("--reset {command}: {status}"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_the_highest_rate_that_passes() {
        let mut trials = 0;
        let found = search(1e5, 8e6, |rate| {
            trials += 1;
            Ok::<_, ()>(rate <= 2.345e6)
        });
        let found = found.unwrap();
        assert!(found <= 2.345e6 && found > 2.345e6 * 0.98, "{found}");
        assert!(trials <= 12, "{trials} trials");
        assert_eq!(search(1e5, 8e6, |_| Ok::<_, ()>(true)), Ok(8e6));
        assert_eq!(search(1e5, 8e6, |rate| if rate < 1e5 { Err(rate) } else { Ok(false) }), Ok(0.0));
        assert_eq!(search(1e5, 8e6, |_| Err("broken")), Err("broken"));
    }

    #[test]
    fn a_trial_passes_when_every_connection_answers_both_ways_at_its_rate() {
        let right =
            Trial { rate: 100.0, sent_rate: 99.0, connections: 10, established: 10, validated: 10, wrong: 0 };
        assert!(right.passed());
        assert!(!Trial { sent_rate: 90.0, ..right.clone() }.passed());
        assert!(!Trial { validated: 9, ..right.clone() }.passed());
        assert!(!Trial { wrong: 1, ..right }.passed());
    }

    #[test]
    fn a_reset_that_fails_is_an_error() {
        let reset = |command: &str| Reset { command: Some(command.into()) }.run();
        assert!(reset("true").unwrap());
        assert!(reset("exit 3").is_err());
        assert!(!Reset::default().run().unwrap());
    }
}
