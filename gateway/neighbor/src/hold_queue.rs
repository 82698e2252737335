//! Packets that wait, for their next hop's MAC address or for another packet: queues threaded through one slab.
//!
//! A packet is in exactly one queue from [`Slab::push`] until [`Slab::pop`] hands it out, or drops it with the slab.

/// Places for a fixed number of packets, shared by all queues.
#[derive(Debug)]
pub struct Slab<P> {
    places: Box<[Place<P>]>,
    free: u32,
    held: u32,
}

#[derive(Debug)]
struct Place<P> {
    packet: Option<P>,
    /// The next place of the same queue, or of the free list.
    next: u32,
}

/// Packets that wait for the same, oldest first. Belongs to the slab that filled it.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    head: u32,
    tail: u32,
    length: u32,
}

impl Queue {
    /// Without packets.
    pub const EMPTY: Queue = Queue { head: END, tail: END, length: 0 };

    pub(super) fn len(&self) -> u32 {
        self.length
    }
}

impl<P> Slab<P> {
    /// So many places.
    pub fn new(places: u32) -> Slab<P> {
        let next = |place| if place + 1 < places { place + 1 } else { END };
        Slab {
            places: (0..places).map(|place| Place { packet: None, next: next(place) }).collect(),
            free: if places == 0 { END } else { 0 },
            held: 0,
        }
    }

    /// How many packets are in all queues.
    pub fn held(&self) -> u32 {
        self.held
    }

    /// Appends a packet.
    ///
    /// # Errors
    /// Gives the packet back when no place is free.
    pub fn push(&mut self, queue: &mut Queue, packet: P) -> Result<(), P> {
        let place = self.free;
        if place == END {
            return Err(packet);
        }
        self.free = self.places[place as usize].next;
        self.places[place as usize] = Place { packet: Some(packet), next: END };
        match queue.tail {
            END => queue.head = place,
            tail => self.places[tail as usize].next = place,
        }
        queue.tail = place;
        queue.length += 1;
        self.held += 1;
        Ok(())
    }

    /// Empties the queue into the sink, oldest packet first.
    pub(super) fn drain(&mut self, queue: &mut Queue, sink: impl FnMut(P)) {
        std::iter::from_fn(|| self.pop(queue)).for_each(sink);
    }

    /// Takes the oldest packet out.
    pub fn pop(&mut self, queue: &mut Queue) -> Option<P> {
        let at = queue.head;
        let place = self.places.get_mut(at as usize)?;
        queue.head = std::mem::replace(&mut place.next, self.free);
        queue.length -= 1;
        if queue.head == END {
            queue.tail = END;
        }
        self.free = at;
        self.held -= 1;
        place.packet.take()
    }
}

const END: u32 = u32::MAX;
