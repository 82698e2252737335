//! Who has which outside ports, as far as the configuration alone tells (RFC 7422).

use std::fmt::{self, Display};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

use super::Config;
use super::value::Ports;
use natgw_nat::{Pool, Ranges};

/// Outside ports that one subscriber has to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Its inside address.
    pub inside: Ipv4Addr,
    /// The outside address.
    pub outside: Ipv4Addr,
    /// The ports, of every protocol.
    pub ports: RangeInclusive<u16>,
    /// The pool's name.
    pub pool: String,
}

impl Display for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holding { inside, outside, ports, pool } = self;
        write!(f, "{inside} has {outside} ports {} in pool {pool}", Ports(ports))
    }
}

impl Config {
    /// The ports that the configuration alone gives a subscriber, in each pool that has ports for it.
    pub fn deterministic_ports(&self, inside: Ipv4Addr) -> Vec<Holding> {
        self.settings.pools.iter().filter_map(|pool| holding(pool, &Ranges::of(pool)?, inside)).collect()
    }

    /// The ports around an outside endpoint that the configuration alone gives one subscriber, in each pool that has them.
    pub fn deterministic_owner(&self, outside: SocketAddrV4) -> Vec<Holding> {
        let owned = |pool: &Pool| {
            let ranges = Ranges::of(pool)?;
            let place = pool.addresses.iter().position(|address| address == outside.ip())?;
            holding(pool, &ranges, ranges.inside(place, outside.port())?)
        };
        self.settings.pools.iter().filter_map(owned).collect()
    }
}

fn holding(pool: &Pool, ranges: &Ranges, inside: Ipv4Addr) -> Option<Holding> {
    let (place, ports) = ranges.outside(inside)?;
    Some(Holding { inside, outside: *pool.addresses.get(place)?, ports, pool: pool.name.clone() })
}
