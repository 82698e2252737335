//! Workers without DPDK: packets, queues and rings in memory, a clock that the program moves, and faults from a seed.
//!
//! [`Simulation`] is the [`Io`], so that what runs is the workers' own loop and not a copy of it. A [`Gateway`] puts workers
//! together as the program `nat-gateway` does, and runs them one after the other in one thread. The same seed gives the same run,
//! to the packet, except where inside hosts share a bucket of
//! [`HostBuckets`](natgw_neighbor::HostBuckets): its hash is drawn anew each time.
//!
//! ```text
//! send ─► faults ─► rx queues ─► workers ─► tx queues ─► take
//!                                 │    ▲
//!                                 └rings┘
//! ```
//!
//! - A [`Pool`] has a fixed number of buffers: one that is lost is missing at the end.
//! - A [`Queue`] is any queue or ring. It is bounded, and can be told to take only a part of each burst.
//! - [`Faults`] says how often a frame is lost, late or doubled, a queue or ring takes less, a worker stalls or the clock jumps.

mod clock;
mod faults;
mod gateway;
mod packet;
mod queue;

pub use clock::Clock;
pub use faults::{Faults, Random};
pub use gateway::{Gateway, GatewayOptions};
pub use packet::{Burst, Packet, Pool};
pub use queue::Queue;

use super::io::Io;

/// Memory, as a worker's packets and queues.
#[derive(Clone, Copy, Debug)]
pub struct Simulation;

impl Io for Simulation {
    type Packet = Packet;
    type Burst = Burst;
    type RxQueue = Queue;
    type TxQueue = Queue;
    type Producer = Queue;
    type Consumer = Queue;
    type Pool = Pool;
    type Clock = Clock;
}
