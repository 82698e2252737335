//! The subscribers of a pool whose mapping is deterministic (RFC 7422).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Who has ports of their own in a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deterministic {
    /// The subscribers: every address of these prefixes, none of which overlap.
    pub inside: Vec<Ipv4Net>,
    /// Ports of each.
    pub size: u16,
}

impl Deterministic {
    /// How many subscribers there are.
    pub fn subscribers(&self) -> u64 {
        self.inside.iter().map(count).sum()
    }

    /// Their addresses, in order.
    pub fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.inside
            .iter()
            .flat_map(|net| u32::from(net.network())..=u32::from(net.broadcast()))
            .map(Into::into)
    }

    /// Which subscriber has an inside address.
    pub(crate) fn nth(&self, inside: Ipv4Addr) -> Option<u64> {
        let mut before = 0;
        for net in &self.inside {
            if net.contains(&inside) {
                return Some(before + u64::from(u32::from(inside) - u32::from(net.network())));
            }
            before += count(net);
        }
        None
    }

    /// The inside address of a subscriber.
    pub(crate) fn host(&self, mut nth: u64) -> Option<Ipv4Addr> {
        for net in &self.inside {
            if nth < count(net) {
                return Some((u32::from(net.network()) + nth as u32).into());
            }
            nth -= count(net);
        }
        None
    }
}

fn count(net: &Ipv4Net) -> u64 {
    1 << (32 - net.prefix_len())
}
