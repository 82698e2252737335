//! When packets are due.

use natgw_dpdk::BURST;

/// Packets at a steady rate, or as many as there is room for.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Packets a cycle.
    rate: Option<f64>,
    since: u64,
    sent: u64,
    missed: u64,
}

impl Pace {
    /// `rate` packets a second from `now` on, both in cycles of a clock of `hz`.
    pub fn new(rate: Option<f64>, hz: u64, now: u64) -> Pace {
        Pace { rate: rate.map(|rate| rate / hz as f64), since: now, sent: 0, missed: 0 }
    }

    /// How many to send now, a burst at most; they count as sent.
    ///
    /// A generator that lost its core for a while does not make up for it: a flood that no wire would carry is not
    /// the rate that was asked for. What is left out is [`missed`](Pace::missed).
    #[inline]
    pub fn due(&mut self, now: u64) -> usize {
        let Some(rate) = self.rate else { return BURST };
        let due = ((now - self.since) as f64 * rate) as u64;
        let mut behind = due.saturating_sub(self.sent);
        if behind > BACKLOG_MAX {
            self.missed += behind - BACKLOG_MAX;
            self.sent = due - BACKLOG_MAX;
            behind = BACKLOG_MAX;
        }
        let count = behind.min(BURST as u64);
        self.sent += count;
        count as usize
    }

    /// Packets that were due and never sent.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

const BACKLOG_MAX: u64 = 8 * BURST as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_rate() {
        let mut pace = Pace::new(Some(1000.0), 1_000_000, 50);
        let sent: usize = (50..=1_000_050).step_by(700).map(|now| pace.due(now)).sum();
        assert!((999..=1000).contains(&sent), "{sent}");
        assert_eq!(pace.missed(), 0);
    }

    #[test]
    fn does_not_make_up_for_a_pause() {
        let mut pace = Pace::new(Some(1e6), 1_000_000, 0);
        let sent: usize = (0..100).map(|_| pace.due(10_000)).sum();
        assert_eq!((sent as u64, pace.missed()), (BACKLOG_MAX, 10_000 - BACKLOG_MAX));
    }

    #[test]
    fn open_is_a_burst_at_any_time() {
        let mut pace = Pace::new(None, 1_000_000, 0);
        assert_eq!([pace.due(0), pace.due(0)], [BURST, BURST]);
    }
}
