//! What management asks of a shard: reloads, deletions, listings, explanations.

pub(crate) mod deletion;
pub(crate) mod explain;
pub(crate) mod listing;
pub(crate) mod packet_view;
pub(crate) mod reload;
