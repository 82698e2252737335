//! What management and workers tell one another. Everything is of fixed size or made by management, so that a worker
//! allocates nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Sender;

use super::capture::{CaptureId, Tap};
use natgw_counters::{PoolCounters, Published};
use natgw_nat::{BlockRecord, Changes, Explanation, Filter, MappingView, Question, SessionView};
use natgw_neighbor::arp::FRAME_LEN;
use natgw_neighbor::{Binding, InterfaceId, Learn, OwnAddresses, RouteTable};
use natgw_steer::{Steering, WorkerId};

/// A request's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(u64);

impl RequestId {
    /// One that no other request has.
    pub fn next() -> RequestId {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        RequestId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// From management to a worker.
#[non_exhaustive]
pub enum Command {
    /// A neighbour's MAC address.
    Learn(Binding),
    /// A neighbour is gone, or never answered.
    Forget(InterfaceId, u32),
    /// Management asks for this neighbour: what it says is news, whichever worker receives it.
    Expect(InterfaceId, u32),
    /// Send this frame.
    Transmit(InterfaceId, [u8; FRAME_LEN]),
    /// List a part of a table, in turn with other requests.
    List(Listing),
    /// Say what would become of a packet.
    Explain(Question, Sender<Explanation>),
    /// End sessions, in turn with other requests. The answer comes when the worker has been through its table.
    Delete(Deletion),
    /// Nobody waits for this listing or deletion any more.
    Cancel(RequestId),
    /// Capture frames, until told to end, until the tap's time is over or for as long as the worker runs.
    Capture(Box<Tap>),
    /// End a capture. Its tap goes back.
    EndCapture(CaptureId),
    /// Owners are these from now on. Those before go back.
    Steer(Box<Steering>, Sender<Box<Steering>>),
    /// Put this in force, step by step between bursts, as far as it was nobody's before, and look through the sessions. One
    /// change at a time: another is refused. There is room for two words of progress.
    Adopt(Box<ConfigUpdate>, Sender<Progress>),
    /// Put the rest of it in force: every worker is through with its sessions.
    Enforce(Box<ConfigUpdate>, Sender<Progress>),
    /// Begin no session from now on, or begin them again. The answer comes when the counters are as of then.
    Drain(bool, Sender<()>),
    /// End.
    Stop,
}

/// What a configuration changes in a running worker.
pub struct ConfigUpdate {
    /// For its shard.
    pub changes: Changes,
    /// Routes.
    pub routes: RouteTable,
    /// By interface: what it answers ARP for.
    pub own: Vec<OwnAddresses>,
    /// By pool: where its use is shown.
    pub pools: Vec<Arc<Published<PoolCounters>>>,
}

/// How far a worker is with an [`ConfigUpdate`].
pub enum Progress {
    /// It is in force.
    InForce,
    /// The worker has done it; of an [`Adopt`](Command::Adopt), it has looked through its tables, and ended what is not allowed
    /// any more. It goes back, with what was in force before, for a worker frees nothing.
    Through(Box<ConfigUpdate>, Ended),
    /// The one before it is not through.
    Refused(Box<ConfigUpdate>),
}

/// What a change of the configuration has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Sessions.
    pub sessions: u64,
    /// Mappings that were in use.
    pub mappings: u64,
}

/// From a worker to management.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A neighbour was heard of.
    Learned(Binding, Learn),
    /// Packets wait for this neighbour.
    Needed(InterfaceId, u32),
    /// Another station claims an address of ours.
    Conflict(Binding),
    /// A port block changed hands.
    PortBlock(BlockRecord),
}

/// A part of a table that management wants. The worker looks at it in bounded steps between bursts.
pub struct Listing {
    /// Its name.
    pub id: RequestId,
    /// What is wanted.
    pub filter: Filter,
    /// Where in the worker's table to begin.
    pub from: u32,
    /// Lines of the table to look at, at most: the page may be short, or empty.
    pub lines: u32,
    /// The rows so far; its capacity bounds the page.
    pub rows: Rows,
    /// Where the page goes.
    pub answer: Sender<Page>,
}

/// Sessions that management wants ended. The worker looks through its table in bounded steps between bursts.
pub struct Deletion {
    /// Its name.
    pub id: RequestId,
    /// Which.
    pub filter: Filter,
    /// Where in the worker's table to go on.
    pub from: u32,
    /// How many have been ended.
    pub sessions: u64,
    /// Where the outcome goes.
    pub answer: Sender<Deleted>,
}

/// A worker's answer to a [`Deletion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// The table has been looked through, and so many sessions are ended.
    All(u64),
    /// The worker has as many requests as it takes; none is ended.
    Refused,
}

/// Rows of one table.
#[derive(Debug)]
pub enum Rows {
    /// Sessions.
    Sessions(Vec<SessionView>),
    /// Mappings.
    Mappings(Vec<MappingView>),
}

/// A worker's answer to a [`Listing`].
#[derive(Debug)]
pub struct Page {
    /// Who answers.
    pub worker: WorkerId,
    /// The rows.
    pub rows: Rows,
    /// Where to go on; `None` at the end of the worker's table.
    pub next: Option<u32>,
    /// The worker has as many requests as it takes; nothing was looked at.
    pub refused: bool,
}
