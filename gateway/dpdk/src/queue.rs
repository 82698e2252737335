//! A port's receive and transmit queues, as a worker holds them.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::Burst;
use super::device::Device;
use super::gate::{Entrance, Inside};

/// A receive queue. There is one value for it; it keeps the port running. It moves to a worker, and two threads cannot
/// share it:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<natgw_dpdk::RxQueue>();
/// ```
#[derive(Debug)]
pub struct RxQueue(Queue);

/// A transmit queue. There is one value for it; it keeps the port running. As with [`RxQueue`], two threads cannot
/// share it:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<natgw_dpdk::TxQueue>();
/// ```
#[derive(Debug)]
pub struct TxQueue(Queue);

#[derive(Debug)]
struct Queue {
    port: u16,
    index: u16,
    /// Where the driver needs a gate.
    entrance: Option<Entrance>,
    _device: Arc<Device>,
    /// Not `Sync`: DPDK allows one thread in a queue.
    _one_thread: PhantomData<Cell<()>>,
}

impl Queue {
    fn new(device: Arc<Device>, index: u16) -> Queue {
        let entrance = device.gate().map(|gate| gate.entrance());
        Queue { port: device.id(), index, entrance, _device: device, _one_thread: PhantomData }
    }

    /// For one burst: `None` if there may be none now.
    #[inline]
    fn enter(&self) -> Option<Option<Inside<'_>>> {
        match &self.entrance {
            None => Some(None),
            Some(entrance) => entrance.enter().map(Some),
        }
    }
}

impl RxQueue {
    /// Only for [`Port::take_rx_queue`](super::Port::take_rx_queue), which makes it once.
    pub(super) fn new(device: Arc<Device>, index: u16) -> RxQueue {
        RxQueue(Queue::new(device, index))
    }

    /// Appends what has arrived, as far as `burst` has room, and returns how many. Some drivers give nothing to a
    /// burst with room for fewer than four: hand in an empty one.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        let Some(_inside) = self.0.enter() else { return 0 };
        let (spare, room) = burst.spare();
        // SAFETY: the port is started, unless its gate is closed, and the queue set up while `_device` lives; this is the queue's only handle and
        // borrowed mutably, so no other thread is in it. The driver fills at most `room` entries with frames that
        // are ours from now on, and returns how many.
        unsafe {
            let count = dpdk_sys::shim_eth_rx_burst(self.0.port, self.0.index, spare, room);
            burst.appended(count)
        }
    }

    /// DPDK's number of the port.
    #[inline]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// The queue's number in its port.
    #[inline]
    pub fn index(&self) -> u16 {
        self.0.index
    }
}

impl TxQueue {
    /// Only for [`Port::take_tx_queue`](super::Port::take_tx_queue), which makes it once.
    pub(super) fn new(device: Arc<Device>, index: u16) -> TxQueue {
        TxQueue(Queue::new(device, index))
    }

    /// Sends from the front of `burst` and returns how many the port took; the rest stays in it, in order. Offloads
    /// are not asked for: the frames leave with the checksums they have.
    #[inline]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        let Some(_inside) = self.0.enter() else { return 0 };
        for mbuf in burst.as_mut_slice() {
            mbuf.clear_offloads();
        }
        let count = burst.len() as u16;
        // SAFETY: the port is started and the queue set up, and no other thread is in the queue, as in `receive`. The driver owns the frames that it counts, from the first on, and only those.
        unsafe {
            let sent = dpdk_sys::shim_eth_tx_burst(self.0.port, self.0.index, burst.as_raw(), count);
            burst.given_away(usize::from(sent))
        }
    }

    /// DPDK's number of the port.
    #[inline]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// The queue's number in its port.
    #[inline]
    pub fn index(&self) -> u16 {
        self.0.index
    }
}
