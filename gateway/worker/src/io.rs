//! What a worker needs of its packets and queues. DPDK's mbufs, queues and rings are one implementation, the
//! [`simulation`](super::simulation) is another; nothing else in this crate knows which one it runs on.
//!
//! An [`Io`] names the types that belong together, and a worker is generic over it: every call is dispatched statically and
//! inlined. Each trait has the `Io` as its parameter, because packets, bursts and queues of one do not go with those of
//! another. The parameter is also what lets a program implement these traits for types of another crate: the `Io` is the
//! program's own type, which is all that Rust's orphan rule asks for.
//!
//! # Ownership
//! - A packet has one owner at any time. On drop its buffer returns to its pool, with all its segments.
//! - [`rx_burst`](RxQueue::rx_burst), [`dequeue_burst`](Consumer::dequeue_burst) and [`alloc`](Pool::alloc) give packets to
//!   the caller, each once.
//! - [`tx_burst`](TxQueue::tx_burst) and [`enqueue_burst`](Producer::enqueue_burst) take packets from the front of a burst,
//!   exactly as many as they return. The rest stays in the burst, in order, and is the caller's.
//! - A burst that is dropped drops its packets.
//!
//! # Panics
//! No function panics, whatever it is given, and none blocks. A worker relies on that: a panic would take its shard with it.
//! What cannot be done is said by `false`, `None`, `Err` or a smaller count.

use natgw_nat::Time;

/// The packets, queues, rings, pools and clock of a worker.
pub trait Io: Sized + 'static {
    /// A packet buffer with a frame in it.
    type Packet: Packet<Self>;
    /// Packets that are handled together.
    type Burst: Burst<Self>;
    /// A receive queue of a port.
    type RxQueue: RxQueue<Self>;
    /// A transmit queue of a port.
    type TxQueue: TxQueue<Self>;
    /// The end of a ring that packets go into.
    type Producer: Producer<Self>;
    /// The end of a ring that packets come out of.
    type Consumer: Consumer<Self>;
    /// A pool of packet buffers.
    type Pool: Pool<Self>;
    /// A cycle counter.
    type Clock: Clock<Self>;
}

/// A frame in a buffer that its owner may change. Of a frame in several segments only the first one is seen.
pub trait Packet<I: Io> {
    /// The frame, from its first octet on the wire; of a segmented one the first segment.
    fn data(&self) -> &[u8];

    /// As [`data`](Packet::data), to be changed in place.
    fn data_mut(&mut self) -> &mut [u8];

    /// Octets of the first segment.
    fn len(&self) -> usize;

    /// Whether the frame has no octet, as in a fresh buffer.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Octets of the whole frame.
    fn frame_len(&self) -> usize;

    /// Whether the frame goes on in further segments.
    fn is_segmented(&self) -> bool;

    /// Cuts the frame's tail, or extends it with zeros; false, and nothing is changed, where the buffer is too small or the
    /// frame is segmented.
    fn set_len(&mut self, len: usize) -> bool;

    /// Octets by which the frame can grow at its end.
    fn tailroom(&self) -> usize;

    /// Makes room for `count` octets in front of the frame and returns them; what they hold is undefined. `None`, and nothing
    /// is changed, where the headroom is too small.
    fn prepend(&mut self, count: usize) -> Option<&mut [u8]>;

    /// Takes `count` octets off the front; false, and nothing is changed, where the first segment has fewer.
    fn trim_front(&mut self, count: usize) -> bool;

    /// What [`set_tag`](Packet::set_tag) set last; undefined before.
    fn tag(&self) -> u32;

    /// Sets a number that travels with the buffer through rings.
    fn set_tag(&mut self, tag: u32);

    /// Prefetches what [`prefetch`](Packet::prefetch) reads to find the frame.
    fn prefetch_header(&self) {}

    /// Prefetches the frame's first cache line.
    fn prefetch(&self) {}
}

/// Up to [`BURST`](natgw_nat::BURST) packets, owned and in order.
pub trait Burst<I: Io>: Default {
    /// Packets in it.
    fn len(&self) -> usize;

    /// Whether it has no packet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has [`BURST`](natgw_nat::BURST) packets.
    fn is_full(&self) -> bool {
        self.len() == natgw_nat::BURST
    }

    /// Appends a packet; a full burst gives it back.
    fn push(&mut self, packet: I::Packet) -> Result<(), I::Packet>;

    /// The packets.
    fn as_slice(&self) -> &[I::Packet];

    /// The packets, to be changed in place.
    fn as_mut_slice(&mut self) -> &mut [I::Packet];

    /// Takes all packets out, first to last. What the iterator does not yield is dropped.
    fn drain(&mut self) -> impl ExactSizeIterator<Item = I::Packet>;

    /// Drops all packets at once.
    fn free(&mut self);

    /// Prefetches every packet's own header, which another lcore wrote last: without it nothing of the frame can be read.
    fn prefetch_headers(&self) {
        self.as_slice().iter().for_each(Packet::prefetch_header);
    }

    /// Prefetches the first cache line of every frame.
    fn prefetch(&self) {
        self.as_slice().iter().for_each(Packet::prefetch);
    }
}

/// A receive queue, which one worker polls.
pub trait RxQueue<I: Io> {
    /// Appends what has arrived, as far as `burst` has room, and returns how many packets that are. Some drivers give nothing
    /// to a burst with little room: a worker hands in an empty one.
    fn rx_burst(&mut self, burst: &mut I::Burst) -> usize;
}

/// A transmit queue, which one worker fills.
pub trait TxQueue<I: Io> {
    /// Takes packets from the front of `burst`, as many as it has descriptors for, and returns how many. Frames leave with the
    /// checksums that they have: what the receiving NIC noted in a buffer asks for no offload.
    fn tx_burst(&mut self, burst: &mut I::Burst) -> usize;
}

/// The end of a single-producer single-consumer ring that packets go into. Packets come out in the order in which they went in.
pub trait Producer<I: Io> {
    /// Takes packets from the front of `burst`, as many as there is room for, and returns how many.
    fn enqueue_burst(&mut self, burst: &mut I::Burst) -> usize;

    /// Packets in the ring, at most: the consumer may just be taking some.
    fn len(&self) -> usize;

    /// Whether the consumer has taken everything.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Packets that the ring holds at most.
    fn capacity(&self) -> usize;
}

/// The end of a single-producer single-consumer ring that packets come out of.
pub trait Consumer<I: Io> {
    /// Appends what is in the ring, as far as `burst` has room, and returns how many packets that are.
    fn dequeue_burst(&mut self, burst: &mut I::Burst) -> usize;
}

/// A pool of packet buffers.
pub trait Pool<I: Io> {
    /// A buffer with an empty frame; `None` where all are in use.
    fn alloc(&self) -> Option<I::Packet>;
}

/// A cycle counter that all workers share. It never goes back.
pub trait Clock<I: Io>: Clone {
    /// The counter now.
    fn tsc(&self) -> u64;

    /// Cycles a second.
    fn hz(&self) -> u64;

    /// Cycles a millisecond, at least one.
    fn cycles_per_ms(&self) -> u64 {
        (self.hz() / 1000).max(1)
    }

    /// The engine's time now.
    fn now(&self) -> Time {
        Time(self.tsc() / self.cycles_per_ms())
    }
}
