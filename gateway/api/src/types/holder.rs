//! Who has outside ports to itself.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Address;
use natgw_config::Holding;

/// Outside ports of one subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Holder {
    /// Its inside address.
    #[schema(value_type = Address)]
    pub inside: Ipv4Addr,
    /// The outside address.
    #[schema(value_type = Address)]
    pub outside: Ipv4Addr,
    /// The ports, of every protocol, `first-last`.
    pub ports: String,
    /// The pool.
    pub pool: String,
    /// Whence: `block` (taken at run time, RFC 6888) or `deterministic` (by the configuration, RFC 7422).
    pub kind: Cow<'static, str>,
}

impl Holder {
    /// Of a holding of this kind.
    pub fn of(holding: &Holding, kind: &'static str) -> Holder {
        let Holding { inside, outside, ports, pool } = holding;
        Holder {
            inside: *inside,
            outside: *outside,
            ports: format!("{}-{}", ports.start(), ports.end()),
            pool: pool.clone(),
            kind: kind.into(),
        }
    }
}
