//! Port blocks: runs of ports of equal length, one after another on an outside address, each for one subscriber at a time
//! (RFC 6888 REQ-12 to 15). A block is of ports of every protocol.

use std::ops::RangeInclusive;

/// How a pool hands out its ports in blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortBlocks {
    /// Ports of a block.
    pub size: u16,
    /// Most blocks of one subscriber.
    pub per_subscriber: u8,
}

impl PortBlocks {
    /// The most that [`PortBlocks::per_subscriber`] may be.
    pub const PER_SUBSCRIBER_MAX: u8 = 32;
}

/// Where the blocks of an address lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockGrid {
    first: u16,
    size: u16,
    count: u16,
}

impl BlockGrid {
    /// Blocks of `size` ports from the first of `ports` on, as many as there is room for. Ports behind the last are in none.
    pub fn new(ports: &RangeInclusive<u16>, size: u16) -> BlockGrid {
        BlockGrid { first: *ports.start(), size, count: (ports.len() / usize::from(size)) as u16 }
    }

    /// How many blocks there are.
    pub fn count(self) -> u16 {
        self.count
    }

    /// The block that a port is in.
    pub fn block_of(self, port: u16) -> Option<u16> {
        let block = port.checked_sub(self.first)? / self.size;
        (block < self.count).then_some(block)
    }

    /// The ports of a block.
    ///
    /// # Panics
    /// When there is no such block.
    pub fn ports(self, block: u16) -> RangeInclusive<u16> {
        assert!(block < self.count);
        let first = self.first + block * self.size;
        first..=first + (self.size - 1)
    }

    /// The ports of the block that a port is in.
    pub fn ports_around(self, port: u16) -> Option<RangeInclusive<u16>> {
        self.block_of(port).map(|block| self.ports(block))
    }

    /// The ports of all blocks from `start` on and before `end`.
    ///
    /// # Panics
    /// When there are none.
    pub fn run(self, start: u16, end: u16) -> RangeInclusive<u16> {
        *self.ports(start).start()..=*self.ports(end - 1).end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_port_is_in_the_block_that_has_it(
            (first, last) in (1u16.., 1u16..).prop_map(|(a, b)| (a.min(b), a.max(b))),
            size in 1u16..5000,
            port in any::<u16>(),
        ) {
            let grid = BlockGrid::new(&(first..=last), size);
            match grid.block_of(port) {
                Some(block) => prop_assert!(grid.ports(block).contains(&port) && grid.ports(block).len() == usize::from(size)),
                None => {
                    let end = u32::from(first) + u32::from(grid.count()) * u32::from(size);
                    prop_assert!(port < first || u32::from(port) >= end);
                    prop_assert!(u32::from(last) + 1 - end < u32::from(size));
                }
            }
        }
    }
}
