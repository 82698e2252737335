//! Names of lines in a shard's tables. An id is good for as long as its line is in use: who keeps one knows that it is.

use bytemuck::{Pod, Zeroable};

use crate::table::free_list::NIL;

/// A session's line in its shard's flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);

/// A mapping's line in its shard's table.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct MappingId(pub(crate) u32);

impl MappingId {
    /// No mapping.
    pub(crate) const NONE: MappingId = MappingId(NIL);
}

/// A subscriber's line in its shard's table.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct SubscriberId(pub(crate) u32);

/// An address of a pool, by the places of both ([`crate::pool::grants`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub(crate) struct GrantId {
    pub(crate) pool: u16,
    pub(crate) place: u16,
}

impl GrantId {
    /// Of mappings that no pool gave.
    pub(crate) const NONE: GrantId = GrantId { pool: u16::MAX, place: 0 };
}
