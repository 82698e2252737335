//! Packet buffers, the pool that they belong to, and bursts of them.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;

use arrayvec::ArrayVec;
use natgw_nat::BURST;

use super::super::io;
use super::Simulation;

/// A fixed number of packet buffers. A clone is another handle to the same pool.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Buffers>);

#[derive(Debug)]
struct Buffers {
    count: usize,
    free: RefCell<Vec<Box<[u8]>>>,
}

impl Pool {
    /// Octets in front of a fresh frame, as DPDK keeps them free.
    pub const HEADROOM: usize = 128;

    /// A pool of `count` buffers, each of which has room for a frame of `frame_len` octets.
    pub fn new(count: usize, frame_len: usize) -> Pool {
        let buffer = || vec![0; Pool::HEADROOM + frame_len].into_boxed_slice();
        let free = RefCell::new((0..count).map(|_| buffer()).collect());
        Pool(Rc::new(Buffers { count, free }))
    }

    /// Buffers that are not free.
    pub fn in_use(&self) -> usize {
        self.0.count - self.0.free.borrow().len()
    }
}

impl io::Pool<Simulation> for Pool {
    fn alloc(&self) -> Option<Packet> {
        let buffer = self.0.free.borrow_mut().pop()?;
        Some(Packet { buffer, start: Pool::HEADROOM, len: 0, further_len: 0, tag: 0, pool: self.clone() })
    }
}

/// A packet buffer with a frame. On drop the buffer returns to its pool.
#[derive(Debug)]
pub struct Packet {
    buffer: Box<[u8]>,
    start: usize,
    len: usize,
    further_len: usize,
    tag: u32,
    pool: Pool,
}

impl Packet {
    /// Makes the frame a segmented one, which goes on for so many octets elsewhere. With zero it is in one piece again.
    pub fn set_further_len(&mut self, len: usize) {
        self.further_len = len;
    }
}

impl io::Packet<Simulation> for Packet {
    fn data(&self) -> &[u8] {
        &self.buffer[self.start..][..self.len]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..][..self.len]
    }

    fn len(&self) -> usize {
        self.len
    }

    fn frame_len(&self) -> usize {
        self.len + self.further_len
    }

    fn is_segmented(&self) -> bool {
        self.further_len > 0
    }

    fn set_len(&mut self, len: usize) -> bool {
        let fits = len <= self.len + self.tailroom() && !self.is_segmented();
        if fits {
            let old = mem::replace(&mut self.len, len);
            if len > old {
                self.data_mut()[old..].fill(0);
            }
        }
        fits
    }

    fn tailroom(&self) -> usize {
        self.buffer.len() - self.start - self.len
    }

    fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        self.start = self.start.checked_sub(count)?;
        self.len += count;
        Some(&mut self.data_mut()[..count])
    }

    fn trim_front(&mut self, count: usize) -> bool {
        let fits = count <= self.len;
        if fits {
            self.start += count;
            self.len -= count;
        }
        fits
    }

    fn tag(&self) -> u32 {
        self.tag
    }

    fn set_tag(&mut self, tag: u32) {
        self.tag = tag;
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        self.pool.0.free.borrow_mut().push(mem::take(&mut self.buffer));
    }
}

/// Up to [`BURST`] packets.
#[derive(Debug, Default)]
pub struct Burst(ArrayVec<Packet, BURST>);

impl io::Burst<Simulation> for Burst {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        self.0.try_push(packet).map_err(|full| full.element())
    }

    fn as_slice(&self) -> &[Packet] {
        &self.0
    }

    fn as_mut_slice(&mut self) -> &mut [Packet] {
        &mut self.0
    }

    fn drain(&mut self) -> impl ExactSizeIterator<Item = Packet> {
        self.0.drain(..)
    }

    fn free(&mut self) {
        self.0.clear();
    }
}

impl Burst {
    /// Takes the first `count` packets out.
    pub(super) fn take(&mut self, count: usize) -> impl Iterator<Item = Packet> {
        self.0.drain(..count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::io::{Packet as _, Pool as _};
    use super::*;

    #[test]
    fn a_frame_grows_and_shrinks_within_its_buffer() {
        let pool = Pool::new(1, 64);
        let mut packet = pool.alloc().unwrap();
        assert!(packet.is_empty() && packet.tailroom() == 64 && pool.alloc().is_none());
        assert!(packet.set_len(4));
        packet.data_mut().copy_from_slice(&[1, 2, 3, 4]);
        packet.prepend(2).unwrap().copy_from_slice(&[8, 9]);
        assert!(packet.trim_front(3) && !packet.trim_front(4));
        assert!(packet.set_len(2) && packet.set_len(4));
        assert_eq!(packet.data(), [2, 3, 0, 0], "the tail is not what was there before");
        let most = packet.len() + packet.tailroom();
        assert!(!packet.set_len(most + 1) && packet.prepend(Pool::HEADROOM + 2).is_none());
        packet.set_further_len(100);
        assert!(packet.is_segmented() && packet.frame_len() == 104 && !packet.set_len(2));
        drop(packet);
        assert_eq!(pool.in_use(), 0);
    }
}
