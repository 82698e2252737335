//! A token bucket, for the ICMP messages that the gateway makes itself (RFC 1812 section 4.3.2.8).
//!
//! Time is a wrapping count of milliseconds. A bucket left alone for more than 2^32 ms may find fewer tokens than it
//! has earned, never more than its burst.

use std::hash::{BuildHasher, RandomState};

/// Lets `rate_per_s` events a second pass, and up to `burst` at once after a pause.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate_per_s: u32,
    burst: u32,
    /// Thousandths of a token: one a millisecond for each event a second.
    level: u64,
    updated_ms: u32,
}

impl TokenBucket {
    /// A full bucket. A rate of 0 lets nothing pass after the first burst.
    pub const fn new(rate_per_s: u32, burst: u32, now_ms: u32) -> TokenBucket {
        TokenBucket { rate_per_s, burst, level: burst as u64 * TOKEN, updated_ms: now_ms }
    }

    /// Takes a token; `false` when there is none.
    #[must_use]
    pub fn take(&mut self, now_ms: u32) -> bool {
        let earned = u64::from(now_ms.wrapping_sub(self.updated_ms)) * u64::from(self.rate_per_s);
        self.updated_ms = now_ms;
        self.level = self.level.saturating_add(earned).min(u64::from(self.burst) * TOKEN);
        if self.level < TOKEN {
            return false;
        }
        self.level -= TOKEN;
        true
    }
}

const TOKEN: u64 = 1000;

/// A bucket for each host, so that none spends another's tokens. There are 4096 of them, which hosts share by a keyed
/// hash: memory is bounded, and a host cannot choose with which others it shares a bucket.
#[derive(Debug)]
pub struct HostBuckets {
    buckets: Box<[TokenBucket]>,
    secret: RandomState,
}

impl HostBuckets {
    /// Full buckets.
    pub fn new(rate_per_s: u32, burst: u32, now_ms: u32) -> HostBuckets {
        let buckets = vec![TokenBucket::new(rate_per_s, burst, now_ms); HOSTS];
        HostBuckets { buckets: buckets.into(), secret: RandomState::new() }
    }

    /// Takes a token of a host's; `false` when there is none.
    #[must_use]
    pub fn take(&mut self, host: u32, now_ms: u32) -> bool {
        let at = self.secret.hash_one(host) as usize % HOSTS;
        self.buckets[at].take(now_ms)
    }
}

const HOSTS: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 3, 0);
        assert_eq!(
            [bucket.take(0), bucket.take(0), bucket.take(0), bucket.take(0)],
            [true, true, true, false]
        );
        assert!(!bucket.take(99));
        assert!(bucket.take(100));
        assert!(!bucket.take(199));
        assert!(bucket.take(200));
    }

    #[test]
    fn no_host_spends_anothers_tokens() {
        let mut buckets = HostBuckets::new(1, 5, 0);
        assert_eq!((0..100).filter(|_| buckets.take(1, 0)).count(), 5);
        // A few hosts may share a bucket with the first one.
        let served = (2..202).filter(|&host| buckets.take(host, 0)).count();
        assert!(served > 150, "{served} of 200");
        assert!(buckets.take(1, 1000));
    }

    #[test]
    fn the_clock_may_wrap() {
        let mut bucket = TokenBucket::new(1000, 1, u32::MAX);
        assert!(bucket.take(u32::MAX));
        assert!(!bucket.take(u32::MAX));
        assert!(bucket.take(0));
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        let mut bucket = TokenBucket::new(u32::MAX, u32::MAX, 0);
        assert!(bucket.take(0));
        assert!(bucket.take(u32::MAX));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            rate in 0u32..5000, burst in 0u32..50, steps in prop::collection::vec(0u32..50, 1..400),
        ) {
            let mut bucket = TokenBucket::new(rate, burst, 7);
            let (mut now, mut passed) = (7u32, 0u64);
            for step in steps {
                now += step;
                passed += u64::from(bucket.take(now));
                prop_assert!(passed <= u64::from(burst) + u64::from(now - 7) * u64::from(rate) / 1000);
            }
        }
    }
}
