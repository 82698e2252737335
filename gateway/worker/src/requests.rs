//! Requests of management that need more than one look at a table: a bounded queue, with room for all of it made at start.
//!
//! Each request has an id, and stays in the queue until it is answered or cancelled; none takes the place of another. The
//! one in front gets a bounded piece of work and goes behind the others, so that a long one does not hold up a short one.
//! Each is answered on its own channel, once, so that no answer goes to anybody else, and with all that management gave for
//! it, so that the worker frees nothing.

use std::collections::VecDeque;

use super::Worker;
use super::io::Io;
use super::message::{Deleted, Deletion, Listing, Page, RequestId, Rows};

/// Requests that a worker takes at once.
pub const REQUESTS_MAX: usize = 64;
/// Table lines looked at for a listing in a piece.
const LISTED_LINES: u32 = 64;
/// Lines of the session table looked at for a deletion in a piece.
const DELETED_LINES: u32 = 16;

/// A request in the queue.
pub(super) enum Request {
    List(Listing),
    Delete(Deletion),
}

/// See the module.
pub(super) struct Requests {
    queue: VecDeque<Request>,
}

impl Requests {
    pub(super) fn new() -> Requests {
        Requests { queue: VecDeque::with_capacity(REQUESTS_MAX) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Puts a request behind the others; gives it back where there is no room.
    fn push(&mut self, request: Request) -> Result<(), Request> {
        if self.queue.len() == REQUESTS_MAX {
            return Err(request);
        }
        self.queue.push_back(request);
        Ok(())
    }

    /// The request whose turn it is. What is left of it goes behind the others, where it has room still.
    fn pop(&mut self) -> Option<Request> {
        self.queue.pop_front()
    }

    fn remove(&mut self, id: RequestId) -> Option<Request> {
        let place = self.queue.iter().position(|request| request.id() == id)?;
        self.queue.remove(place)
    }
}

impl Request {
    fn id(&self) -> RequestId {
        match self {
            Request::List(listing) => listing.id,
            Request::Delete(deletion) => deletion.id,
        }
    }
}

impl<I: Io> Worker<I> {
    /// Puts a request behind the others, or refuses it at once.
    pub(super) fn enqueue(&mut self, request: Request) {
        match self.requests.push(request) {
            Ok(()) => {}
            Err(Request::List(listing)) => self.give_page(listing, None, true),
            Err(Request::Delete(deletion)) => drop(deletion.answer.try_send(Deleted::Refused)),
        }
    }

    /// Nobody waits for this request any more.
    pub(super) fn cancel(&mut self, id: RequestId) {
        // The rows go back, to be freed there.
        if let Some(Request::List(listing)) = self.requests.remove(id) {
            self.give_page(listing, None, false);
        }
    }

    /// Does a piece of the request in front.
    pub(super) fn serve_request(&mut self) {
        match self.requests.pop() {
            Some(Request::List(listing)) => self.list(listing),
            Some(Request::Delete(deletion)) => self.delete(deletion),
            None => {}
        }
    }

    /// Answers when the page is full, its lines have been looked at or the table is through.
    fn list(&mut self, mut listing: Listing) {
        let Listing { filter, from, lines, .. } = listing;
        let step = lines.min(LISTED_LINES);
        let next = match &mut listing.rows {
            Rows::Sessions(rows) => self.shard.list_sessions(from, step, &filter, self.now, rows),
            Rows::Mappings(rows) => self.shard.list_mappings(from, step, &filter, self.now, rows),
        };
        let full = match &listing.rows {
            Rows::Sessions(rows) => rows.len() == rows.capacity(),
            Rows::Mappings(rows) => rows.len() == rows.capacity(),
        };
        match next {
            Some(next) if !full && step < lines => {
                self.enqueue(Request::List(Listing { from: next, lines: lines - step, ..listing }));
            }
            next => self.give_page(listing, next, false),
        }
    }

    fn give_page(&self, listing: Listing, next: Option<u32>, refused: bool) {
        // The asker may have given up.
        drop(listing.answer.try_send(Page { worker: self.id, rows: listing.rows, next, refused }));
    }

    /// Answers when the table is through.
    fn delete(&mut self, mut deletion: Deletion) {
        let Deletion { filter, from, .. } = &deletion;
        let deleted = self.shard.delete_sessions(*from, DELETED_LINES, filter, self.now);
        deletion.sessions += u64::from(deleted.sessions);
        match deleted.next {
            Some(next) => self.enqueue(Request::Delete(Deletion { from: next, ..deletion })),
            None => drop(deletion.answer.try_send(Deleted::All(deletion.sessions))),
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use natgw_nat::Filter;

    fn deletion() -> (RequestId, Request) {
        let (id, (answer, _)) = (RequestId::next(), bounded(1));
        (id, Request::Delete(Deletion { id, filter: Filter::default(), from: 0, sessions: 0, answer }))
    }

    /// As many requests as there may be, and their names.
    fn full() -> (Requests, Vec<RequestId>) {
        let mut requests = Requests::new();
        let ids = std::iter::repeat_with(deletion).take(REQUESTS_MAX).map(|(id, request)| {
            assert!(requests.push(request).is_ok());
            id
        });
        let ids = ids.collect();
        (requests, ids)
    }

    #[test]
    fn requests_take_turns_and_none_takes_anothers_place() {
        let (mut requests, ids) = full();
        let (refused, request) = deletion();
        assert!(requests.push(request).is_err_and(|back| back.id() == refused));
        // The first one is long: each other has its turn before it has another.
        for id in ids.iter().chain(&ids[..1]) {
            let turn = requests.pop().unwrap();
            assert_eq!(turn.id(), *id);
            assert!(requests.push(turn).is_ok());
        }
    }

    #[test]
    fn a_request_that_is_cancelled_leaves_its_room_to_another() {
        let (mut requests, ids) = full();
        assert!(requests.remove(ids[3]).is_some());
        assert!(requests.remove(ids[3]).is_none());
        assert!(requests.push(deletion().1).is_ok());
        let left: Vec<RequestId> =
            std::iter::from_fn(|| requests.pop()).map(|request| request.id()).collect();
        assert!(requests.is_empty() && left.len() == REQUESTS_MAX && !left.contains(&ids[3]));
    }
}
