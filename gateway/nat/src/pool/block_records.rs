//! What is to be told of port blocks that change hands.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use crate::settings::Settings;

/// A block changed hands: all that a log needs to tell which host had an outside endpoint, without naming its remotes
/// (RFC 6888 REQ-12 to 14).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    /// What happened.
    pub event: BlockEvent,
    /// Which pool, by its place in the settings.
    pub pool: u16,
    /// The subscriber.
    pub inside: Ipv4Addr,
    /// The outside address.
    pub outside: Ipv4Addr,
    /// Its first port.
    pub first: u16,
    /// Its last port.
    pub last: u16,
}

/// How a block changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockEvent {
    /// The subscriber has it from now on.
    Taken,
    /// It has it no more.
    GivenBack,
}

/// Records that nobody has fetched yet, oldest first.
pub(crate) struct BlockRecords(VecDeque<BlockRecord>);

/// How many there may be.
const RECORDS_MAX: usize = 1024;

impl BlockRecords {
    /// Room for them, where there will be any.
    pub(crate) fn new(settings: &Settings) -> BlockRecords {
        let any = settings.pools.iter().any(|pool| pool.port_blocks.is_some());
        BlockRecords(VecDeque::with_capacity(if any { RECORDS_MAX } else { 0 }))
    }

    /// Whether there is no room for another.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() == RECORDS_MAX
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes one, for which there is room.
    pub(crate) fn push(&mut self, record: BlockRecord) {
        self.0.push_back(record);
    }

    /// Takes the oldest.
    pub(crate) fn pop(&mut self) -> Option<BlockRecord> {
        self.0.pop_front()
    }
}
