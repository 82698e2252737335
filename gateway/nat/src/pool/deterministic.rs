//! Deterministic mapping (RFC 7422): which ports a subscriber has follows from the configuration alone, in both directions, so
//! that no log has to tell.
//!
//! ```text
//! inside prefixes   100.64.0.0/22 ...         subscriber n, counted from the first address of the first prefix on
//! outside           addresses[n / ratio]      ratio: as many ranges as an address has room for
//! ports             grid.ports(n % ratio)     the same of every protocol
//! ```
//!
//! Nothing else enters: not the number of workers, not the order in which subscribers come. Prefixes that are added at the
//! end change nothing for those before them as long as the size of a range stays.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use crate::settings::Pool;
use crate::settings::block_config::BlockGrid;
use crate::settings::deterministic::Deterministic;

/// The ranges of a pool with deterministic mapping.
#[derive(Clone, Debug)]
pub struct Ranges {
    whose: Deterministic,
    grid: BlockGrid,
}

impl Ranges {
    /// As the pool is configured; `None` where its ports are anybody's.
    pub fn of(pool: &Pool) -> Option<Ranges> {
        let whose = pool.deterministic.clone()?;
        Some(Ranges { grid: BlockGrid::new(&pool.ports, whose.size), whose })
    }

    /// How many subscribers share an outside address.
    pub fn ratio(&self) -> u16 {
        self.grid.count()
    }

    /// The place of a subscriber's address in the pool, and its ports.
    pub fn outside(&self, inside: Ipv4Addr) -> Option<(usize, RangeInclusive<u16>)> {
        let (nth, ratio) = (self.whose.nth(inside)?, u64::from(self.ratio()));
        Some(((nth / ratio) as usize, self.grid.ports((nth % ratio) as u16)))
    }

    /// The subscriber that has a port of the address at this place.
    pub fn inside(&self, place: usize, port: u16) -> Option<Ipv4Addr> {
        let block = self.grid.block_of(port)?;
        self.whose.host(place as u64 * u64::from(self.ratio()) + u64::from(block))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pool(addresses: u32, inside: &[&str], size: u16) -> Pool {
        Pool {
            addresses: (0xcb00_7100..).take(addresses as usize).map(Into::into).collect(),
            deterministic: Some(Deterministic {
                inside: inside.iter().map(|net| net.parse().unwrap()).collect(),
                size,
            }),
            ..Pool::default()
        }
    }

    #[test]
    fn rfc7422_subscribers_follow_one_another() {
        let ranges = Ranges::of(&pool(4, &["100.64.0.0/24", "10.0.0.0/30"], 504)).unwrap();
        assert_eq!(ranges.ratio(), 128);
        let outside = |text: &str| ranges.outside(text.parse().unwrap());
        assert_eq!(outside("100.64.0.0"), Some((0, 1024..=1527)));
        assert_eq!(outside("100.64.0.1"), Some((0, 1528..=2031)));
        assert_eq!(outside("100.64.0.128"), Some((1, 1024..=1527)));
        assert_eq!(outside("10.0.0.3"), Some((2, 2536..=3039)));
        assert_eq!(outside("10.0.0.4"), None);
        assert_eq!(ranges.inside(2, 3039), Some(Ipv4Addr::new(10, 0, 0, 3)));
        assert_eq!(
            [ranges.inside(2, 3040), ranges.inside(0, 1023), ranges.inside(0, 65535)],
            [None, None, Some(Ipv4Addr::new(100, 64, 0, 127))]
        );
    }

    proptest! {
        #[test]
        fn rfc7422_the_way_back_is_the_inverse(
            lens in prop::collection::vec(22u8..=32, 1..5),
            size in 16u16..2000,
            port in any::<u16>(),
            place in 0usize..300,
        ) {
            let inside: Vec<String> = lens.iter().enumerate().map(|(nth, len)| format!("10.{nth}.0.0/{len}")).collect();
            let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
            let pool = pool(300, &inside, size);
            let ranges = Ranges::of(&pool).unwrap();
            let mut taken = std::collections::BTreeSet::new();
            for host in pool.deterministic.as_ref().unwrap().hosts() {
                let (place, ports) = ranges.outside(host).unwrap();
                prop_assert!(taken.insert((place, *ports.start())), "two have the same");
                prop_assert_eq!(ranges.inside(place, *ports.start()), Some(host));
                prop_assert_eq!(ranges.inside(place, *ports.end()), Some(host));
            }
            if let Some(host) = ranges.inside(place, port) {
                let (back, ports) = ranges.outside(host).unwrap();
                prop_assert!(back == place && ports.contains(&port));
            }
        }
    }
}
