//! Who has which outside ports, as far as the configuration alone tells (RFC 7422).

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use super::Config;
use super::value::Ports;
use crate::nat::Ranges;

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The outside ports of a subscriber.
    Subscriber(Ipv4Addr),
    /// The subscriber of an outside endpoint.
    Endpoint(SocketAddrV4),
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

impl Config {
    /// The answer, a line for each pool that has one; empty where none has.
    pub fn whose(&self, whose: Whose) -> String {
        let mut text = String::new();
        for pool in &self.settings.pools {
            let Some(ranges) = Ranges::of(pool) else { continue };
            let subscriber = match whose {
                Whose::Subscriber(inside) => Some(inside),
                Whose::Endpoint(outside) => {
                    let place = pool.addresses.iter().position(|address| address == outside.ip());
                    place.and_then(|place| ranges.inside(place, outside.port()))
                }
            };
            if let Some(inside) = subscriber
                && let Some((place, ports)) = ranges.outside(inside)
            {
                let (outside, ports) = (pool.addresses[place], Ports(&ports));
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{inside} has {outside} ports {ports} in pool {}", pool.name);
            }
        }
        text
    }
}
