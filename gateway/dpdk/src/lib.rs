//! The safe interface to DPDK: the only `unsafe` code of the gateway.
//!
//! Ownership follows the life of DPDK's objects:
//!
//! ```text
//! Eal ──► Mempool ──► Port<Stopped> ──start──► Port<Started> ──take──► RxQueue, TxQueue
//!  │         └──────► Mbuf ◄──► Burst ◄── receive / send ──► RxQueue, TxQueue, Consumer, Producer
//!  └────► launch ──► Worker<T> (a thread of DPDK's on its CPU)
//! ```
//!
//! # Example
//! DPDK without huge pages, privileges or devices, and a buffer of its pool:
//!
//! ```no_run
//! use natgw_dpdk::{Burst, Eal, EalArgs, Memory, Mempool};
//!
//! let eal = Eal::init(&EalArgs { memory: Memory::NoHuge, memory_mib: 128, ..EalArgs::default() })?;
//! let pool = Mempool::new(&eal, "packets", 255, 0, Mempool::DATA_ROOM)?;
//! let mut burst = Burst::new();
//! assert_eq!(pool.alloc_bulk(&mut burst, 1), 1);
//! # Ok::<(), natgw_dpdk::Error>(())
//! ```
//!
//! # Invariants
//! What the `SAFETY` arguments rest on:
//! - A value keeps everything it needs alive: a queue its port, a port its pools, all of them the [`Eal`]. So no order
//!   of drops is wrong; the port is stopped, closed and detached when its last handle goes.
//! - An [`Mbuf`] is the only handle to its buffer and returns it on drop. Drivers hand out each buffer once, and a
//!   transmit takes exactly those it counts: the rest stays in the [`Burst`].
//! - An [`Mbuf`] holds no reference to its pool, for that would cost a shared counter a packet. Instead a pool whose
//!   buffers are not all back is never freed, nor is DPDK then cleaned up.
//! - Between bursts of a net_memif its driver may take away what they use: no burst runs while it does
//!   (`interrupts`).
//! - A queue or an end of a [`ring`](fn@ring) exists once, is `Send`, not `Sync`, and is used through `&mut self`: DPDK forbids two
//!   threads in one queue.

mod args;
mod attach;
mod burst;
mod clock;
mod device;
mod eal;
mod error;
mod gate;
mod interrupts;
mod lcore;
mod log;
mod mbuf;
mod memif;
mod memory;
mod mempool;
mod port;
mod queue;
mod reconnect;
mod ring;
mod rss;
mod start;
mod stats;
mod stdout;
mod tap;

pub use args::{EalArgs, Memory, is_pci};
pub use attach::WITHOUT_VFIO;
pub use burst::{BURST, Burst};
pub use clock::{Clock, pause};
pub use device::PortInfo;
pub use eal::Eal;
pub use error::Error;
pub use lcore::{LcoreId, Worker, current_lcore, current_node, launch};
pub use mbuf::Mbuf;
pub use mempool::Mempool;
pub use port::{Port, Started, Stopped};
pub use queue::{RxQueue, TxQueue};
pub use reconnect::Reconnector;
pub use ring::{Consumer, Producer, ring};
pub use rss::{RssConfig, RssReport, softrss};
pub use start::PortConfig;
pub use stats::{Link, PortStats};

const _: () = {
    const fn send<T: Send>() {}
    const fn send_and_sync<T: Send + Sync>() {}
    send::<RxQueue>();
    send::<TxQueue>();
    send::<Producer>();
    send::<Consumer>();
    send::<Mbuf>();
    send::<Burst>();
    send_and_sync::<Eal>();
    send_and_sync::<Mempool>();
    send_and_sync::<Port<Started>>();
};
