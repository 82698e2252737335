//! How sessions, mappings and port blocks begin and end: what takes from several tables of a [`Shard`](crate::Shard) at once.

pub(crate) mod allocation;
pub(crate) mod allowed;
pub(crate) mod block_alloc;
pub(crate) mod expiry;
pub(crate) mod insert;
pub(crate) mod live;
pub(crate) mod over;
pub(crate) mod plan;
pub(crate) mod port_release;
pub(crate) mod portless;
pub(crate) mod remove;
pub(crate) mod request;
