//! Who has which outside ports, as far as the configuration alone tells (RFC 7422).

use std::fmt::{self, Display};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::Config;
use super::value::Ports;
use natgw_nat::{Pool, Ranges};

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The outside ports of a subscriber.
    Subscriber(Ipv4Addr),
    /// The subscriber of an outside endpoint.
    Endpoint(SocketAddrV4),
}

impl Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whose::Subscriber(inside) => inside.fmt(f),
            Whose::Endpoint(outside) => outside.fmt(f),
        }
    }
}

impl FromStr for Whose {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Whose, Self::Err> {
        let endpoint = || text.parse().map(Whose::Endpoint);
        text.parse().map(Whose::Subscriber).or_else(|_| endpoint()).map_err(
            |_| "an inside address like 100.64.1.7, or an outside address with a port like 203.0.113.10:5000",
        )
    }
}

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
    /// What the configuration alone gives a subscriber, or whom it gives an outside endpoint: one for each pool that has it.
    pub fn whose(&self, whose: Whose) -> Vec<Holding> {
        let holding = |pool: &Pool| {
            let ranges = Ranges::of(pool)?;
            let inside = match whose {
                Whose::Subscriber(inside) => inside,
                Whose::Endpoint(outside) => {
                    let place = pool.addresses.iter().position(|address| address == outside.ip())?;
                    ranges.inside(place, outside.port())?
                }
            };
            let (place, ports) = ranges.outside(inside)?;
            Some(Holding { inside, outside: *pool.addresses.get(place)?, ports, pool: pool.name.clone() })
        };
        self.settings.pools.iter().filter_map(holding).collect()
    }
}
