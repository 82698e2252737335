//! How full a pool is.

/// How full a shard's part of a pool is, for one protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Ports that mappings use.
    pub used: u32,
    /// Ports that rest after their use.
    pub held: u32,
    /// Ports in all.
    pub total: u32,
}
