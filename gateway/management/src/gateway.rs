//! A running gateway as the server sees it: what it is asked, and what it has counted. What the API shows of that has its
//! types in `natgw-api`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::capture::Capture;
use super::error::{ForwardError, ReloadError, Unavailable};
use natgw_api::CaptureRequest;
use natgw_api::types::{
    About, Deleted, Drain, Explanation, Forward, Holder, Interface, Link, Mapping, Neighbor, NewForward,
    NicStats, Page, Pool, Query, Question, Readiness, Reloaded, Route, Session, Subscriber, Whose,
};
use natgw_counters::WorkerCounters;
use natgw_nat::Filter;
use natgw_neighbor::NeighborCounts;

/// A running gateway, seen from outside.
///
/// Any thread calls, several at once. Every method returns within [`LISTING_TIMEOUT`], a deletion within [`DELETION_TIMEOUT`], a
/// change of the configuration within [`CHANGE_TIMEOUT`] after the one before it; those that return a plain value take what is
/// at hand and don't wait for a worker.
///
/// [`LISTING_TIMEOUT`]: natgw_api::LISTING_TIMEOUT
/// [`DELETION_TIMEOUT`]: natgw_api::DELETION_TIMEOUT
/// [`CHANGE_TIMEOUT`]: natgw_api::CHANGE_TIMEOUT
pub trait Gateway: Send + Sync {
    /// What is running, and since when.
    fn about(&self) -> About;

    /// Whether traffic passes: workers polling, links up, gateway resolved.
    fn readiness(&self) -> Readiness;

    /// The configuration in force, with defaults filled in.
    fn config(&self) -> serde_json::Value;

    /// The interfaces, in the order of the configuration.
    fn interfaces(&self) -> Vec<Interface>;

    /// Link and hardware counters, in the order of [`Gateway::interfaces`].
    fn nics(&self) -> Vec<Nic>;

    /// What management has counted itself.
    fn control_counts(&self) -> ControlCounts;

    /// Packet buffer pools.
    fn mempools(&self) -> Vec<Mempool>;

    /// Neighbours known or being resolved (RFC 826).
    fn neighbors(&self) -> Vec<Neighbor>;

    /// Connected prefixes and static routes, longest prefix first.
    fn routes(&self) -> Vec<Route>;

    /// Pools with their use, in the order of the configuration.
    fn pools(&self) -> Vec<Pool>;

    /// Port forwards and 1:1 mappings.
    fn forwards(&self) -> Vec<Forward>;

    /// What each worker has counted, in the order of their numbers.
    fn workers(&self) -> Vec<WorkerSnapshot>;

    /// The `top` subscribers with the most sessions, most first.
    fn subscribers(&self, top: usize) -> Result<Vec<Subscriber>, Unavailable>;

    /// Who has outside ports to itself: a subscriber, or the one that an outside endpoint belongs to.
    fn whose(&self, whose: Whose) -> Vec<Holder>;

    /// One page of mappings.
    fn mappings(&self, query: &Query) -> Result<Page<Mapping>, Unavailable>;

    /// One page of sessions.
    fn sessions(&self, query: &Query) -> Result<Page<Session>, Unavailable>;

    /// What would become of a packet now. Nothing is sent and nothing changes.
    fn explain(&self, question: &Question) -> Result<Explanation, Unavailable>;

    /// Begins to capture frames.
    fn capture(&self, request: &CaptureRequest) -> Result<Box<dyn Capture>, Unavailable>;

    /// Ends the sessions that the filter names; all of them where it names none. Sessions made meanwhile may stay.
    fn delete_sessions(&self, filter: &Filter) -> Result<Deleted, Unavailable>;

    /// Puts another port forward in force, as long as the gateway runs or until it is deleted.
    ///
    /// # Errors
    /// Why not; nothing was changed then.
    fn add_forward(&self, forward: &NewForward) -> Result<Forward, ForwardError>;

    /// Takes away a forward that [`Gateway::add_forward`] put in force.
    ///
    /// # Errors
    /// Why not; nothing was changed then.
    fn delete_forward(&self, id: &str) -> Result<(), ForwardError>;

    /// Reads the configuration file again and puts what it says in force, when the change before it is through.
    ///
    /// # Errors
    /// Why not; nothing was changed then.
    fn reload(&self, until: Until) -> Result<Reloaded, ReloadError>;

    /// Lets no session begin from now on; the gateway ends with the last one, or after `limit`. Asked again, the new limit
    /// holds.
    fn drain(&self, limit: Option<Duration>) -> Result<Drain, Unavailable>;

    /// Lets sessions begin again, where they could not.
    fn stop_drain(&self) -> Result<(), Unavailable>;
}

/// What a change of the configuration is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It is in force.
    InForce,
    /// All sessions that it ends have ended.
    Swept,
}

/// What one worker has counted. `/api/v1/counters` shows it under the metrics' names.
#[derive(Clone, Debug)]
pub struct WorkerSnapshot {
    /// The worker's number.
    pub worker: u16,
    /// The CPU it runs on.
    pub cpu: u32,
    /// Its counters.
    pub counters: WorkerCounters,
}

/// Link and hardware counters of one interface.
#[derive(Clone, Debug, Default)]
pub struct Nic {
    /// The link.
    pub link: Link,
    /// `rte_eth_stats`.
    pub stats: NicStats,
    /// The driver's own counters, by the driver's names.
    pub xstats: BTreeMap<String, u64>,
}

/// How often a link came up and went down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkChanges {
    /// Came up.
    pub ups: u64,
    /// Went down.
    pub downs: u64,
}

/// What management has counted itself. `/api/v1/counters` shows it.
#[derive(Clone, Debug, Default)]
pub struct ControlCounts {
    /// By interface.
    pub links: Vec<LinkChanges>,
    /// What happened to neighbours.
    pub neighbors: NeighborCounts,
    /// News of neighbours for workers, and questions for neighbours, that found no room among a worker's commands.
    pub delayed: u64,
}

/// A pool of packet buffers. `/api/v1/counters` shows it.
#[derive(Clone, Debug, Default)]
pub struct Mempool {
    /// Its name.
    pub name: String,
    /// Buffers that can be had.
    pub available: u64,
    /// Buffers in use.
    pub in_use: u64,
}
