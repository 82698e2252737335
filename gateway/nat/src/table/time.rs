//! The engine's clock: a number that the caller hands in.

/// Milliseconds since an origin that the caller chose; it never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// This many seconds after the origin.
    pub const fn from_s(seconds: u64) -> Time {
        Time(seconds * 1000)
    }

    /// The moment this many milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Time {
        Time(self.0 + ms)
    }

    /// The low 32 bits, as session lines keep them. Moments compared this way lie within 24 days of each other.
    #[inline]
    pub(crate) const fn low(self) -> u32 {
        self.0 as u32
    }

    /// The full moment whose low bits are `low` and which lies nearest to `self`.
    pub(crate) const fn near(self, low: u32) -> Time {
        Time(self.0.wrapping_add_signed(low.wrapping_sub(self.low()) as i32 as i64))
    }
}

/// Whether the moment with these low bits has come at `now`.
#[inline]
pub(crate) const fn is_past(low: u32, now: Time) -> bool {
    low.wrapping_sub(now.low()) as i32 <= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_bits_survive_the_wrap() {
        let now = Time(u64::from(u32::MAX) - 10);
        let due = now.plus_ms(100);
        assert_eq!(now.near(due.low()), due);
        assert!(!is_past(due.low(), now));
        assert!(is_past(due.low(), due));
    }
}
