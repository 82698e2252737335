//! The gateway as a whole, and its workers.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is running, and since when.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct About {
    /// This program's version.
    pub version: String,
    /// DPDK's version, as the library reports it.
    pub dpdk: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the workers started.
    pub uptime_s: u64,
    /// Configuration file.
    pub config_file: String,
    /// How many configurations have come into force, the first counted.
    pub config_generation: u64,
    /// What became of the requests to reload.
    pub config_reloads: Reloads,
    /// What became of the requests to add and to delete port forwards.
    pub forward_changes: Reloads,
    /// While the gateway drains.
    pub drain: Option<Drain>,
    /// Where packet buffers lie: `hugepages` or `no-huge`.
    pub memory: String,
    /// Where the workers' tables lie: `1024 MiB in reserved huge pages; 267 bytes a session`.
    pub tables: String,
    /// What a worker does without packets: `poll` or `backoff`.
    pub idle: String,
    /// Sessions that fit, over all workers.
    pub sessions_limit: u64,
    /// Subscribers that fit, over all workers.
    pub subscribers_limit: u64,
    /// Cycles a second of the clock by which workers count how long they are busy.
    pub tsc_hz: u64,
}

/// Requests to change what is in force, by result.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Reloads {
    /// The change came into force.
    pub applied: u64,
    /// It was wrong or could not be, and nothing changed.
    pub refused: u64,
}

/// A drain: no session begins, and the gateway ends with the last one, or when the time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drain {
    /// Sessions that are left.
    pub sessions: u64,
    /// Seconds until the gateway ends with whatever sessions it has then; `null` without a limit.
    pub ends_in_s: Option<u64>,
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "draining: the gateway ends with the last of {} sessions", self.sessions)?;
        self.ends_in_s.map_or(Ok(()), |left| write!(f, ", or in {left} s"))
    }
}

/// What a reload brought into force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// How many configurations have come into force, the first counted.
    pub config_generation: u64,
    /// Parts of the file that are other than what runs, and come into force by a restart.
    pub needs_restart: Vec<String>,
    /// What the file allows but hardly means, a line each.
    pub warnings: Vec<String>,
    /// What the change has ended; `null` while workers still look through their tables.
    pub swept: Option<Swept>,
}

/// What a change of the configuration has ended, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Swept {
    /// Sessions that are not allowed any more.
    pub sessions_ended: u64,
    /// Mappings that were in use.
    pub mappings_ended: u64,
}

/// Whether traffic passes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// No reason stands against it.
    pub ready: bool,
    /// What stands against it, one sentence each.
    pub reasons: Vec<String>,
}

/// The gateway as a whole.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// What is running.
    #[serde(flatten)]
    pub about: About,
    /// Whether traffic passes.
    pub readiness: Readiness,
    /// Live sessions.
    pub sessions: u64,
    /// Live and permanent mappings.
    pub mappings: u64,
    /// Subscribers with at least one mapping.
    pub subscribers: u64,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
}

/// One worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WorkerStatus {
    /// Its number.
    pub worker: u16,
    /// The CPU it runs on.
    pub cpu: u32,
    /// Its live sessions.
    pub sessions: u64,
    /// Packets received on all interfaces.
    pub rx_packets: u64,
    /// Packets transmitted on all interfaces.
    pub tx_packets: u64,
    /// Rounds of its loop.
    pub polls: u64,
    /// Rounds that found no packet.
    pub empty_polls: u64,
    /// Cycles of the time-stamp counter spent in rounds that found packets.
    pub busy_cycles: u64,
}
