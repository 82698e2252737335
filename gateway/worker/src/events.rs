//! What workers tell management, in queues by whom it is about: the next hops of routes, each link, and port blocks. Whatever
//! fills one of them takes nothing from the others.

use crossbeam_channel::{Receiver, Sender, bounded};

use super::message::Event;
use natgw_neighbor::{InterfaceId, TokenBucket};

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventQueue {
    Routers,
    PortBlocks,
    Link(InterfaceId),
}

impl EventQueue {
    fn index(self) -> usize {
        match self {
            EventQueue::Routers => 0,
            EventQueue::PortBlocks => 1,
            EventQueue::Link(interface) => LINKS + usize::from(interface.0),
        }
    }
}

const LINKS: usize = 2;

/// A worker's end.
#[derive(Clone, Debug)]
pub struct EventSender {
    queues: Box<[Sender<Event>]>,
    wake: Sender<()>,
}

/// Management's end.
#[derive(Clone, Debug)]
pub struct EventReceiver {
    queues: Box<[Receiver<Event>]>,
    wake: Receiver<()>,
}

/// The queues of a gateway with so many interfaces, all workers together.
pub fn event_queues(interfaces: usize) -> (EventSender, EventReceiver) {
    let rooms = [ROUTERS_ROOM, PORT_BLOCKS_ROOM].into_iter().chain((0..interfaces).map(|_| LINK_ROOM));
    let (senders, receivers): (Vec<_>, Vec<_>) = rooms.map(bounded).unzip();
    let (wake, woken) = bounded(1);
    (EventSender { queues: senders.into(), wake }, EventReceiver { queues: receivers.into(), wake: woken })
}

impl EventSender {
    /// Whether the event found room.
    pub(super) fn send(&self, queue: EventQueue, event: Event) -> bool {
        let Some(sender) = self.queues.get(queue.index()) else { return false };
        let told = sender.try_send(event).is_ok();
        // Where one waits already, management will come anyway.
        let _ = self.wake.try_send(());
        told
    }

    /// Whether a queue takes another event.
    pub(super) fn has_room(&self, queue: EventQueue) -> bool {
        self.queues.get(queue.index()).is_some_and(|sender| !sender.is_full())
    }
}

impl EventReceiver {
    /// Becomes ready when there is something to take.
    pub fn woken(&self) -> &Receiver<()> {
        &self.wake
    }

    /// Takes up to `each` events from every queue, and says whether there may be more.
    pub fn take(&self, each: usize, mut take: impl FnMut(Event)) -> bool {
        let mut is_more = false;
        for queue in &self.queues {
            let taken = queue.try_iter().take(each).map(&mut take).count();
            is_more |= taken == each;
        }
        is_more
    }

    /// Takes what there is.
    pub fn try_iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.queues.iter().flat_map(|queue| queue.try_iter())
    }
}

/// How often one worker tells management what any station on a link can cause. The next hops of routes are apart.
#[derive(Clone, Debug)]
pub(super) struct LinkBudgets {
    /// Neighbours that the worker does not know.
    pub(super) strangers: TokenBucket,
    /// Next hops of routes that it does not know.
    pub(super) routers: TokenBucket,
    /// Neighbours that it knows, or has packets for; each ten times a second at most.
    pub(super) known: TokenBucket,
    /// Neighbours that it has packets for and no MAC address.
    pub(super) needed: TokenBucket,
    /// Claims of our addresses.
    pub(super) conflicts: TokenBucket,
}

impl LinkBudgets {
    pub(super) fn new(now_ms: u32) -> LinkBudgets {
        let each = |per_s| TokenBucket::new(per_s, per_s, now_ms);
        LinkBudgets {
            strangers: each(500),
            routers: each(100),
            known: each(1000),
            needed: each(1000),
            conflicts: each(10),
        }
    }
}

/// Events that wait for management.
const ROUTERS_ROOM: usize = 1024;
const PORT_BLOCKS_ROOM: usize = 2048;
const LINK_ROOM: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_takes_nothing_from_another() {
        let (sender, receiver) = event_queues(2);
        let inside = Event::Needed(InterfaceId(0), 1);
        let sent = (0..10_000).filter(|_| sender.send(EventQueue::Link(InterfaceId(0)), inside)).count();
        assert_eq!(sent, LINK_ROOM);
        assert!(!sender.has_room(EventQueue::Link(InterfaceId(0))));
        for queue in [EventQueue::Routers, EventQueue::PortBlocks, EventQueue::Link(InterfaceId(1))] {
            assert!(
                sender.has_room(queue) && sender.send(queue, Event::Needed(InterfaceId(1), 2)),
                "{queue:?}"
            );
        }
        assert!(!sender.send(EventQueue::Link(InterfaceId(2)), inside), "there are two");
        // What is taken first is not all of one queue.
        let mut of = [0; 2];
        let is_more = receiver.take(10, |event| {
            if let Event::Needed(interface, _) = event {
                of[usize::from(interface.0)] += 1;
            }
        });
        assert_eq!((of, is_more), ([10, 3], true));
        assert!(receiver.woken().try_recv().is_ok() && receiver.woken().try_recv().is_err());
        assert_eq!(receiver.try_iter().count(), LINK_ROOM - 10);
    }
}
