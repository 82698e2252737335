//! Twice NAT (RFC 2663 section 4.3): remotes that have one address outside and stand for themselves by another inside.
//!
//! ```text
//! outbound: (a:p -> i:q) becomes (X:P -> r:q)
//! inbound:  (r:q -> X:P) becomes (i:q -> a:p)
//! ```
//!
//! So an outside network may have the addresses of an inside one (RFC 4787 REQ-7). Inside, `i` is the one name of `r`: `r`
//! itself is an inside host there, or nobody.

use ipnet::Ipv4Net;

use crate::settings::Twice;

/// See the module. No two of the prefixes of one side overlap.
#[derive(Default)]
pub(crate) struct Remotes {
    /// In ascending order.
    by_internal: Vec<Range>,
    by_external: Vec<Range>,
}

/// Addresses from `first` to `last`, and what the first one is on the other side.
struct Range {
    first: u32,
    last: u32,
    to: u32,
}

impl Remotes {
    pub(crate) fn new(twice: &[Twice]) -> Remotes {
        let sorted = |pairs: Vec<(Ipv4Net, Ipv4Net)>| {
            let mut ranges: Vec<Range> = pairs.into_iter().map(|(from, to)| Range::new(from, to)).collect();
            ranges.sort_unstable_by_key(|range| range.first);
            ranges
        };
        Remotes {
            by_internal: sorted(twice.iter().map(|one| (one.internal, one.external)).collect()),
            by_external: sorted(twice.iter().map(|one| (one.external, one.internal)).collect()),
        }
    }

    /// The address outside of a remote that has another one inside.
    pub(crate) fn outside(&self, internal: u32) -> Option<u32> {
        other_side(&self.by_internal, internal)
    }

    /// The address inside of a remote that has another one outside.
    pub(crate) fn inside(&self, external: u32) -> Option<u32> {
        other_side(&self.by_external, external)
    }
}

impl Range {
    fn new(from: Ipv4Net, to: Ipv4Net) -> Range {
        Range {
            first: from.network().to_bits(),
            last: from.broadcast().to_bits(),
            to: to.network().to_bits(),
        }
    }
}

fn other_side(ranges: &[Range], address: u32) -> Option<u32> {
    let behind = ranges.partition_point(|range| range.first <= address);
    let range = &ranges[behind.checked_sub(1)?];
    (address <= range.last).then(|| range.to + (address - range.first))
}
