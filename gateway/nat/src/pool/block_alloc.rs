//! Ports of pools in which subscribers have some to themselves: blocks, their way back and what is to be told of both; and
//! deterministic mapping, where there is nothing to tell.

use std::collections::VecDeque;

use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::{Protocol, SessionFailure};
use crate::pool::allocation::{AllocRequest, Allocation};
use crate::pool::block_config::{BlockEvent, BlockRecord};
use crate::pool::grants::GrantId;
use crate::settings::Settings;
use crate::shard::Shard;
use crate::table::time::Time;

/// Records that nobody has fetched yet.
const RECORDS_MAX: usize = 1024;

/// Room for records, where there are any.
pub(crate) fn records(settings: &Settings) -> VecDeque<BlockRecord> {
    let any = settings.pools.iter().any(|pool| pool.port_blocks.is_some());
    VecDeque::with_capacity(if any { RECORDS_MAX } else { 0 })
}

impl Shard {
    /// A port in the subscriber's blocks or, where they have none left, in a further one.
    #[inline(never)]
    pub(crate) fn draw_block_port(&mut self, need: AllocRequest) -> Result<Allocation, SessionFailure> {
        self.rollback();
        if self.pools[usize::from(need.pool)].ranges.is_some() {
            return self.draw_own_port(need);
        }
        if let Some(taken) = self.draw_in_blocks(need) {
            return Ok(taken);
        }
        self.take_block(need)?;
        self.draw_in_blocks(need).ok_or(SessionFailure::PortBlocksExhausted)
    }

    /// A port of those that the configuration gives the subscriber.
    fn draw_own_port(&mut self, need: AllocRequest) -> Result<Allocation, SessionFailure> {
        let inside = self.subscribers.lines[need.subscriber].address;
        let from = &mut self.pools[usize::from(need.pool)];
        let ranges = from.ranges.as_ref().and_then(|ranges| ranges.outside(inside.into()));
        let (index, ports) = ranges.ok_or(SessionFailure::NoPortRange)?;
        let wish = from.wish(need.protocol, need.inside);
        let port = from.take_within(index as u16, need.protocol, &[ports], wish, &mut self.random);
        let port = port.ok_or(SessionFailure::SubscriberPortBlocks)?;
        let (pool, place) = (need.pool, index as u16);
        Ok((Endpoint { address: from.address(place), port }, GrantId { pool, place }))
    }

    /// Whether [`Shard::draw_block_port`] would find a port.
    pub(crate) fn room_in_blocks(
        &self,
        subscriber: Option<u32>,
        pool: u16,
        protocol: Protocol,
        inside: u32,
    ) -> Result<(), SessionFailure> {
        let from = &self.pools[usize::from(pool)];
        if let Some(ranges) = &from.ranges {
            let (index, ports) = ranges.outside(inside.into()).ok_or(SessionFailure::NoPortRange)?;
            let has_port = from.ports(index as u16, protocol).has_free_in(&ports);
            return if has_port { Ok(()) } else { Err(SessionFailure::SubscriberPortBlocks) };
        }
        let blocks = from.blocks.as_ref().ok_or(SessionFailure::PortsExhausted)?;
        let held = subscriber.and_then(|subscriber| blocks.held_by(subscriber));
        let (address, count) = match &held {
            Some((index, ranges)) => {
                let ports = from.ports(*index, protocol);
                if ranges.iter().any(|range| ports.has_free_in(range)) {
                    return Ok(());
                }
                (Some(*index), ranges.len())
            }
            None => (None, 0),
        };
        if !blocks.admits(count) {
            return Err(SessionFailure::SubscriberPortBlocks);
        }
        if blocks.has_free(address) { Ok(()) } else { Err(SessionFailure::PortBlocksExhausted) }
    }

    fn draw_in_blocks(&mut self, need: AllocRequest) -> Option<Allocation> {
        let from = &mut self.pools[usize::from(need.pool)];
        let wish = from.wish(need.protocol, need.inside);
        let (index, port) = from.take_in_blocks(need.subscriber, need.protocol, wish, &mut self.random)?;
        Some((Endpoint { address: from.address(index), port }, GrantId { pool: need.pool, place: index }))
    }

    fn take_block(&mut self, need: AllocRequest) -> Result<(), SessionFailure> {
        let from = &mut self.pools[usize::from(need.pool)];
        let blocks = from.blocks.as_mut().ok_or(SessionFailure::PortsExhausted)?;
        let held = blocks.held_by(need.subscriber).map_or(0, |(_, ranges)| ranges.len());
        if !blocks.admits(held) {
            return Err(SessionFailure::SubscriberPortBlocks);
        }
        let block = blocks.alloc(need.subscriber, need.now, &mut self.random);
        let block = block.ok_or(SessionFailure::PortBlocksExhausted)?;
        // It is the subscriber's as a mapping is.
        self.subscribers.lines[need.subscriber].mappings += 1;
        self.record(BlockEvent::Taken, need.pool, block);
        Ok(())
    }

    /// Gives blocks back that have rested for as long as they must. Each takes one from `budget`.
    #[inline(never)]
    pub(crate) fn give_blocks_back(&mut self, now: Time, budget: &mut u32) {
        for pool in 0..self.pools.len() {
            let hold_ms = self.policy.port_hold_ms;
            while *budget > 0
                && let Some(blocks) = &mut self.pools[pool].blocks
                && let Some(block) = blocks.rested(now, hold_ms)
            {
                *budget -= 1;
                self.give_block_back(pool, block);
            }
        }
    }

    /// Takes a block that rests from its subscriber.
    pub(crate) fn give_block_back(&mut self, pool: usize, block: u32) {
        self.record(BlockEvent::GivenBack, pool as u16, block);
        if let Some(blocks) = &mut self.pools[pool].blocks {
            let subscriber = blocks.subscriber(block);
            blocks.give_back(block);
            self.subscribers.lines[subscriber].mappings -= 1;
            self.subscribers.remove_if_idle(subscriber);
        }
    }

    /// Notes what happens to a block that a subscriber has.
    fn record(&mut self, event: BlockEvent, pool: u16, block: u32) {
        let from = &self.pools[usize::from(pool)];
        let Some(blocks) = &from.blocks else { return };
        if self.records.len() == RECORDS_MAX {
            self.count_lost_record();
            return;
        }
        let (index, ports) = blocks.place(block);
        let inside = self.subscribers.lines[blocks.subscriber(block)].address;
        self.records.push_back(BlockRecord {
            event,
            pool,
            inside: inside.into(),
            outside: from.address(index).into(),
            first: *ports.start(),
            last: *ports.end(),
        });
    }

    /// Whether there are records of blocks that changed hands.
    pub fn has_block_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// The next record of a block that changed hands, oldest first. Whoever runs the shard fetches them before there are too
    /// many.
    pub fn next_block_record(&mut self) -> Option<BlockRecord> {
        self.records.pop_front()
    }

    /// Counts a record that nobody will see.
    pub fn count_lost_record(&mut self) {
        self.counters.block_records_lost += 1;
    }

    /// How many blocks of a pool's part are in use, resting and there; all 0 where it has none.
    ///
    /// # Panics
    /// When there is no such pool.
    pub fn block_usage(&self, pool: usize) -> crate::PoolUsage {
        self.pools[pool].blocks.as_ref().map(|blocks| blocks.usage()).unwrap_or_default()
    }
}
