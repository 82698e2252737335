//! One kind of queue for everything that a worker receives from and sends to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use natgw_nat::BURST;

use super::super::io::{self, Burst as _};
use super::{Burst, Packet, Simulation};

/// A bounded first-in first-out queue. A clone is another handle to it: a worker holds one end, the program or another worker
/// the other.
#[derive(Clone, Debug)]
pub struct Queue(Rc<State>);

#[derive(Debug)]
struct State {
    packets: RefCell<VecDeque<Packet>>,
    capacity: usize,
    throttle: Cell<usize>,
}

impl Queue {
    /// An empty queue for `capacity` packets.
    pub fn new(capacity: usize) -> Queue {
        Queue(Rc::new(State { packets: RefCell::default(), capacity, throttle: Cell::new(BURST) }))
    }

    /// From now on it takes so many packets of a burst at most.
    pub fn throttle(&self, packets: usize) {
        self.0.throttle.set(packets);
    }

    /// Puts a packet in; a full queue gives it back.
    pub fn push(&self, packet: Packet) -> Result<(), Packet> {
        if self.len() == self.0.capacity {
            return Err(packet);
        }
        self.0.packets.borrow_mut().push_back(packet);
        Ok(())
    }

    /// Takes the packet that has waited longest.
    pub fn pop(&self) -> Option<Packet> {
        self.0.packets.borrow_mut().pop_front()
    }

    /// Packets in it.
    pub fn len(&self) -> usize {
        self.0.packets.borrow().len()
    }

    /// Whether it has no packet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves packets out, as far as `burst` has room.
    fn give(&self, burst: &mut Burst) -> usize {
        let mut packets = self.0.packets.borrow_mut();
        let count = packets.len().min(BURST - burst.len());
        packets.drain(..count).filter_map(|packet| burst.push(packet).err()).for_each(drop);
        count
    }

    /// Moves packets in, from the front of `burst`.
    fn take(&self, burst: &mut Burst) -> usize {
        let room = self.0.capacity - self.len();
        let count = burst.len().min(room).min(self.0.throttle.get());
        self.0.packets.borrow_mut().extend(burst.take(count));
        count
    }
}

impl io::RxQueue<Simulation> for Queue {
    fn rx_burst(&mut self, burst: &mut Burst) -> usize {
        self.give(burst)
    }
}

impl io::TxQueue<Simulation> for Queue {
    fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        self.take(burst)
    }
}

impl io::Producer<Simulation> for Queue {
    fn enqueue_burst(&mut self, burst: &mut Burst) -> usize {
        self.take(burst)
    }

    fn len(&self) -> usize {
        Queue::len(self)
    }

    fn capacity(&self) -> usize {
        self.0.capacity
    }
}

impl io::Consumer<Simulation> for Queue {
    fn dequeue_burst(&mut self, burst: &mut Burst) -> usize {
        self.give(burst)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::io::{Consumer, Packet as _, Pool as _, Producer};
    use super::super::Pool;
    use super::*;

    #[test]
    fn what_is_not_taken_stays_in_the_burst_in_order() {
        let pool = Pool::new(BURST, 64);
        let mut queue = Queue::new(20);
        let mut burst = Burst::default();
        for tag in 0..BURST as u32 {
            let mut packet = pool.alloc().unwrap();
            packet.set_tag(tag);
            burst.push(packet).unwrap();
        }
        queue.throttle(3);
        assert_eq!((queue.enqueue_burst(&mut burst), burst.len()), (3, BURST - 3));
        queue.throttle(BURST);
        assert_eq!((queue.enqueue_burst(&mut burst), queue.enqueue_burst(&mut burst)), (17, 0), "20 fit");
        assert_eq!(burst.as_slice()[0].tag(), 20);
        let mut out = Burst::default();
        assert_eq!(queue.dequeue_burst(&mut out), 20);
        assert!(out.as_slice().iter().map(|packet| packet.tag()).eq(0..20));
        drop((burst, out));
        assert_eq!(pool.in_use(), 0);
    }
}
