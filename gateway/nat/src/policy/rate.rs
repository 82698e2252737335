//! How fast a subscriber may begin sessions (RFC 6888 REQ-4c): a second's worth at once, then at the rate.
//!
//! A rate is a leaky bucket kept as a clock: the moment when it has run dry. That of all protocols together stands in the
//! subscriber's line, those of single protocols beside it (`subscriber`), where the configuration has such rates.

use crate::packet::verdict::Protocol;
use crate::settings::Limits;
use crate::table::time::Time;

/// The rates that each subscriber is held to.
#[derive(Debug)]
pub(crate) struct Rates {
    pub(crate) all: Rate,
    /// `None` where no protocol has a rate of its own.
    pub(crate) protocols: Option<[Rate; Protocol::COUNT]>,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Rates {
        let own = limits.protocol_new_sessions_per_subscriber_per_s;
        let any = own.iter().any(|&rate| rate != u32::MAX);
        Rates {
            all: Rate::per_s(limits.new_sessions_per_subscriber_per_s),
            protocols: any.then(|| own.map(Rate::per_s)),
        }
    }
}

/// The clocks after a session that was begun.
#[derive(Clone, Copy)]
pub(crate) struct Charge {
    pub(crate) all: u64,
    /// Of the session's protocol, where protocols have rates of their own.
    pub(crate) own: Option<u64>,
}

/// One rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    interval_ns: u64,
}

impl Rate {
    /// `u32::MAX` is none.
    fn per_s(rate: u32) -> Rate {
        Rate { interval_ns: BURST_NS / u64::from(rate.max(1)) }
    }

    /// The clock after one session more, nanoseconds of the engine's time; `None` where that is one too many now.
    #[inline(always)]
    pub(crate) fn after(self, clock: u64, now: Time) -> Option<u64> {
        let now_ns = now.0 * 1_000_000;
        let clock = clock.max(now_ns) + self.interval_ns;
        (clock - now_ns <= BURST_NS).then_some(clock)
    }
}

const BURST_NS: u64 = 1_000_000_000;
