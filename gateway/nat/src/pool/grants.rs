//! Grants: what the configuration gave out, and whether it still counts.
//!
//! A grant is an address of a pool with the shard's ports of it, a port forward, a 1:1 mapping, a redirect or an
//! exemption. A mapping stands on one. A grant that a reload takes back is *retired*: it gives nothing out, wakes nothing
//! and is found by no packet that has no session, while the sessions on it go on until the sweep ends them. What the reload
//! gives out over an endpoint that was somebody's is *pending* until the sweeps of all shards are through. So no outside
//! endpoint is ever two hosts', whatever the order of packets, steps of a reload and sweeps.
//!
//! ```text
//! vacant ──► in force ──► retired ──► vacant       an address of a pool
//!    └──► pending ──► in force
//! ```
//!
//! Invariants:
//! - Outside a reload every mapping stands on a live grant. So the question costs a packet one flag.
//! - The place of an address in its pool is its id, and is not used again before no mapping, no port block and no subscriber
//!   names it: the sweep makes sure of that before it is through, and the next reload waits for it.
//! - Forwards, 1:1 mappings and redirects are told apart by what they say. One that goes and comes back is the same again;
//!   there is no mapping on it in between.

/// How an address of a pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantState {
    /// Its place is empty.
    Vacant,
    /// It waits until nobody has its endpoints any more.
    Pending,
    /// It gives out ports.
    InForce,
    /// It gives nothing out any more, and mappings may stand on it still.
    Retired,
}
