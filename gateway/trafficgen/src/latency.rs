//! Time stamps in packets, and what becomes of them.

use hdrhistogram::Histogram;
use serde::Serialize;

use natgw_dpdk::Clock;

/// Cycles that a stamp counts as one, as a power of two: 32 bits last half a minute then.
const SHIFT: u32 = 4;

/// A stamp for a packet that leaves now; never 0, which means none.
pub fn stamp() -> u32 {
    ((Clock::tsc() >> SHIFT) as u32).max(1)
}

/// How long sampled packets took.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

/// Quantiles, in microseconds.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Quantiles {
    pub samples: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Latency {
    /// No samples yet; up to ten seconds at three digits.
    pub fn new() -> Latency {
        Latency(Histogram::new_with_bounds(1, 10_000_000_000, 3).expect("the bounds are in order"))
    }

    /// A packet with this stamp has come back.
    #[cold]
    pub fn returned(&mut self, stamp: u32, hz: u64) {
        let ticks = ((Clock::tsc() >> SHIFT) as u32).wrapping_sub(stamp);
        self.record(nanoseconds(ticks, hz));
    }

    fn record(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds.max(1));
    }

    /// `None` without a sample.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let us = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let at = |quantile| us(self.0.value_at_quantile(quantile));
        (!self.0.is_empty()).then(|| Quantiles {
            samples: self.0.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(self.0.max()),
        })
    }
}

impl Default for Latency {
    fn default() -> Latency {
        Latency::new()
    }
}

fn nanoseconds(ticks: u32, hz: u64) -> u64 {
    ((u128::from(ticks) << SHIFT) * 1_000_000_000 / u128::from(hz.max(1))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_known_samples() {
        let mut latency = Latency::new();
        assert!(latency.quantiles().is_none());
        (1..=1000).for_each(|sample| latency.record(sample * 1000));
        let Quantiles { samples, p50_us, p99_us, p999_us, max_us } = latency.quantiles().unwrap();
        assert_eq!(samples, 1000);
        for (found, expected) in [(p50_us, 500.0), (p99_us, 990.0), (p999_us, 999.0), (max_us, 1000.0)] {
            assert!((found - expected).abs() <= expected / 1000.0 + 0.5, "{found} for {expected}");
        }
    }

    #[test]
    fn a_stamp_is_in_sixteenths_of_the_clock() {
        assert_eq!(nanoseconds(1000, 1_600_000_000), 10_000);
        assert_eq!(nanoseconds(u32::MAX, 2_600_000_000) / 1_000_000_000, 26);
    }
}
