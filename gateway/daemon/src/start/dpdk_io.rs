//! Workers on DPDK: mbufs, queues and rings of `natgw-dpdk` as what a worker asks of its packets.
//!
//! Every function is the one of the same meaning there and inlined. What the traits promise is what `natgw-dpdk` holds: a
//! buffer has one owner, and a burst keeps what a queue or ring does not take.

use natgw_dpdk::{Burst, Clock, Consumer, Mbuf, Mempool, Producer, RxQueue, TxQueue};
use natgw_nat::Time;
use natgw_worker::Io;

/// DPDK, as a worker's packets and queues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dpdk;

/// A worker on DPDK.
pub(super) type Worker = natgw_worker::Worker<Dpdk>;

impl Io for Dpdk {
    type Packet = Mbuf;
    type Burst = Burst;
    type RxQueue = RxQueue;
    type TxQueue = TxQueue;
    type Producer = Producer;
    type Consumer = Consumer;
    type Pool = Mempool;
    type Clock = Clock;
}

/// The engine's time now, as every worker reads it.
pub fn engine_time() -> Time {
    natgw_worker::Clock::<Dpdk>::now(&Clock)
}

impl natgw_worker::Packet<Dpdk> for Mbuf {
    #[inline]
    fn data(&self) -> &[u8] {
        Mbuf::data(self)
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        Mbuf::data_mut(self)
    }

    #[inline]
    fn len(&self) -> usize {
        Mbuf::len(self)
    }

    #[inline]
    fn frame_len(&self) -> usize {
        Mbuf::frame_len(self)
    }

    #[inline]
    fn is_segmented(&self) -> bool {
        Mbuf::is_segmented(self)
    }

    #[inline]
    fn set_len(&mut self, len: usize) -> bool {
        Mbuf::set_len(self, len)
    }

    #[inline]
    fn tailroom(&self) -> usize {
        Mbuf::tailroom(self)
    }

    #[inline]
    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        Mbuf::prepend(self, count)
    }

    #[inline]
    fn trim_front(&mut self, count: usize) -> bool {
        Mbuf::trim_front(self, count)
    }

    #[inline]
    fn tag(&self) -> u32 {
        Mbuf::tag(self)
    }

    #[inline]
    fn set_tag(&mut self, tag: u32) {
        Mbuf::set_tag(self, tag);
    }

    #[inline]
    fn prefetch_header(&self) {
        Mbuf::prefetch_header(self);
    }

    #[inline]
    fn prefetch(&self) {
        Mbuf::prefetch(self);
    }
}

impl natgw_worker::Burst<Dpdk> for Burst {
    #[inline]
    fn len(&self) -> usize {
        Burst::len(self)
    }

    #[inline]
    fn push(&mut self, packet: Mbuf) -> Result<(), Mbuf> {
        Burst::push(self, packet)
    }

    #[inline]
    fn as_slice(&self) -> &[Mbuf] {
        Burst::as_slice(self)
    }

    #[inline]
    fn as_mut_slice(&mut self) -> &mut [Mbuf] {
        Burst::as_mut_slice(self)
    }

    #[inline]
    fn drain(&mut self) -> impl ExactSizeIterator<Item = Mbuf> {
        Burst::drain(self)
    }

    #[inline]
    fn free(&mut self) {
        Burst::free(self);
    }
}

// A worker fills a burst up to the engine's size and hands it to DPDK.
const _: () = assert!(natgw_dpdk::BURST == natgw_nat::BURST);

impl natgw_worker::RxQueue<Dpdk> for RxQueue {
    #[inline]
    fn rx_burst(&mut self, burst: &mut Burst) -> usize {
        self.receive(burst)
    }
}

impl natgw_worker::TxQueue<Dpdk> for TxQueue {
    #[inline]
    fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        self.send(burst)
    }
}

impl natgw_worker::Producer<Dpdk> for Producer {
    #[inline]
    fn enqueue_burst(&mut self, burst: &mut Burst) -> usize {
        self.send(burst)
    }

    #[inline]
    fn len(&self) -> usize {
        Producer::len(self)
    }

    #[inline]
    fn capacity(&self) -> usize {
        Producer::capacity(self)
    }
}

impl natgw_worker::Consumer<Dpdk> for Consumer {
    #[inline]
    fn dequeue_burst(&mut self, burst: &mut Burst) -> usize {
        self.receive(burst)
    }
}

impl natgw_worker::Pool<Dpdk> for Mempool {
    #[inline]
    fn alloc(&self) -> Option<Mbuf> {
        Mempool::alloc(self)
    }
}

impl natgw_worker::Clock<Dpdk> for Clock {
    #[inline]
    fn tsc(&self) -> u64 {
        Clock::tsc()
    }

    #[inline]
    fn hz(&self) -> u64 {
        Clock::hz()
    }
}
