//! `results.json`: every run, as `scripts/bench.sh` saved it.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) engine: Option<Engine>,
    #[serde(default)]
    pub(crate) workers: Vec<Layout>,
    pub(crate) samples: Vec<Sample>,
    #[serde(default)]
    pub(crate) rfc9693: Vec<Measurement>,
}

#[derive(Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: u32,
    pub(crate) hypervisor: String,
    pub(crate) kernel: String,
    pub(crate) dpdk: String,
    pub(crate) rust: String,
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) load: String,
}

/// What benches/engine has found.
#[derive(Deserialize)]
pub(crate) struct Engine {
    pub(crate) unit: String,
    pub(crate) unit_per_second: f64,
    pub(crate) rows: Vec<EngineRow>,
}

/// One case of it, in cycles.
#[derive(Deserialize)]
pub(crate) struct EngineRow {
    pub(crate) case: String,
    pub(crate) flows: u32,
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

/// What benches/workers has found of one layout; rates in ascending order.
#[derive(Deserialize)]
pub(crate) struct Layout {
    pub(crate) layout: String,
    pub(crate) frames: u32,
    pub(crate) mpps: Vec<f64>,
    pub(crate) median: f64,
    pub(crate) ratio: f64,
    pub(crate) dropped: f64,
}

/// One run of the generator.
#[derive(Deserialize)]
pub(crate) struct Sample {
    pub(crate) case: String,
    pub(crate) what: String,
    pub(crate) workers: u32,
    #[serde(flatten)]
    pub(crate) cores: Cores,
    pub(crate) flows: u32,
    pub(crate) tsc_hz: f64,
    pub(crate) received_mpps: f64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) wrong: u64,
    #[serde(default)]
    pub(crate) missed: u64,
    pub(crate) latency: Option<Latency>,
    /// Packets that the gateway had to drop, by reason.
    #[serde(default)]
    pub(crate) drops: BTreeMap<String, u64>,
    /// Sessions that ended within one second, at most.
    pub(crate) expired_per_s: Option<u64>,
    pub(crate) expired: Option<u64>,
    /// Seconds, and sessions that had ended until then.
    #[serde(default)]
    pub(crate) timeline: Vec<(f64, u64)>,
    pub(crate) reloads: Option<u64>,
    #[serde(flatten)]
    pub(crate) listed: Option<Listed>,
    #[serde(flatten)]
    pub(crate) swept: Option<Swept>,
}

/// What came of a change that the gateway looked through all sessions for.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(crate) struct Swept {
    /// From the command until all was through.
    pub(crate) sweep_s: f64,
    pub(crate) sessions_ended: u64,
    /// Packets from outside to where those were.
    pub(crate) ended_packets: u64,
}

impl Swept {
    /// Of both together.
    pub(crate) fn and(self, other: Swept) -> Swept {
        Swept {
            sweep_s: self.sweep_s.max(other.sweep_s),
            sessions_ended: self.sessions_ended + other.sessions_ended,
            ended_packets: self.ended_packets + other.ended_packets,
        }
    }
}

/// What came of listing all sessions again and again.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(crate) struct Listed {
    pub(crate) listings: u64,
    /// Of the shortest listing.
    pub(crate) sessions: u64,
    pub(crate) page_ms_max: u64,
    /// What the gateway's memory grew by meanwhile.
    pub(crate) grown_kib: i64,
}

impl Listed {
    /// Of both together.
    pub(crate) fn and(self, other: Listed) -> Listed {
        Listed {
            listings: self.listings + other.listings,
            sessions: self.sessions.min(other.sessions),
            page_ms_max: self.page_ms_max.max(other.page_ms_max),
            grown_kib: self.grown_kib.max(other.grown_kib),
        }
    }
}

/// One measurement of RFC 9693.
#[derive(Deserialize)]
pub(crate) struct Measurement {
    pub(crate) what: String,
    pub(crate) flows: u32,
    pub(crate) value: f64,
    pub(crate) unit: String,
    #[serde(flatten)]
    pub(crate) cores: Cores,
}

/// What a cache line took between the two CPUs and back.
#[derive(Deserialize)]
pub(crate) struct Cores {
    #[serde(rename = "cores_ns_before")]
    pub(crate) before: f64,
    #[serde(rename = "cores_ns_after")]
    pub(crate) after: f64,
}

#[derive(Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Results, Box<dyn Error>> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}

impl Cores {
    /// The longer of both.
    pub(crate) fn apart_ns(&self) -> f64 {
        self.before.max(self.after)
    }
}
