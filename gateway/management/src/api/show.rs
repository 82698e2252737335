//! What is at hand: the gateway answers at once, and no worker is asked.

use axum::extract::State;

use super::problem::Unanswered;
use crate::app::{Answer, App};
use crate::convert;
use crate::gateway::Gateway;
use crate::metrics;
use natgw_api::types::{Counters, Drops, Forward, InterfaceStatus, Neighbor, Pool, Route, Status};

/// What is running, whether it is ready, and what each worker does.
#[utoipa::path(get, path = "/status", tag = "state", responses((status = 200, body = Status), Unanswered))]
pub(super) async fn status(State(app): State<App>) -> Answer<Status> {
    app.show(status_of).await
}

/// Interfaces with their links and counters.
#[utoipa::path(get, path = "/interfaces", tag = "state", responses((status = 200, body = Vec<InterfaceStatus>), Unanswered))]
pub(super) async fn interfaces(State(app): State<App>) -> Answer<Vec<InterfaceStatus>> {
    app.show(interfaces_of).await
}

/// Neighbours (RFC 826).
#[utoipa::path(get, path = "/neighbors", tag = "state", responses((status = 200, body = Vec<Neighbor>), Unanswered))]
pub(super) async fn neighbors(State(app): State<App>) -> Answer<Vec<Neighbor>> {
    app.show(|gateway| gateway.neighbors()).await
}

/// Connected prefixes and static routes, longest prefix first.
#[utoipa::path(get, path = "/routes", tag = "state", responses((status = 200, body = Vec<Route>), Unanswered))]
pub(super) async fn routes(State(app): State<App>) -> Answer<Vec<Route>> {
    app.show(|gateway| gateway.routes()).await
}

/// Outside address pools and their use.
#[utoipa::path(get, path = "/pools", tag = "state", responses((status = 200, body = Vec<Pool>), Unanswered))]
pub(super) async fn pools(State(app): State<App>) -> Answer<Vec<Pool>> {
    app.show(|gateway| gateway.pools()).await
}

/// Port forwards and 1:1 mappings.
#[utoipa::path(get, path = "/forwards", tag = "state", responses((status = 200, body = Vec<Forward>), Unanswered))]
pub(super) async fn forwards(State(app): State<App>) -> Answer<Vec<Forward>> {
    app.show(|gateway| gateway.forwards()).await
}

/// Everything counted, with the drivers' own counters.
#[utoipa::path(get, path = "/counters", tag = "state", responses((status = 200, body = Counters), Unanswered))]
pub(super) async fn counters(State(app): State<App>) -> Answer<Counters> {
    app.show(metrics::counters).await
}

/// Packets dropped, by reason and direction.
#[utoipa::path(get, path = "/drops", tag = "state", responses((status = 200, body = Drops), Unanswered))]
pub(super) async fn drops(State(app): State<App>) -> Answer<Drops> {
    app.show(|gateway| convert::drops(&gateway.workers())).await
}

/// The configuration in force, in words.
#[utoipa::path(get, path = "/config", tag = "state", responses((status = 200, body = serde_json::Value), Unanswered))]
pub(super) async fn config(State(app): State<App>) -> Answer<serde_json::Value> {
    app.show(|gateway| gateway.config()).await
}

fn status_of(gateway: &dyn Gateway) -> Status {
    let workers = gateway.workers();
    let sum = |count: fn(&natgw_nat::Counters) -> u64| workers.iter().map(|w| count(&w.counters.nat)).sum();
    Status {
        about: gateway.about(),
        readiness: gateway.readiness(),
        sessions: sum(|nat| nat.sessions.iter().sum()),
        mappings: sum(|nat| nat.mappings),
        subscribers: sum(|nat| nat.subscribers),
        workers: workers.iter().map(convert::worker_status).collect(),
    }
}

/// All interfaces, with what the workers have counted on them.
fn interfaces_of(gateway: &dyn Gateway) -> Vec<InterfaceStatus> {
    let workers = gateway.workers();
    let rows = gateway.interfaces().into_iter().zip(gateway.nics()).enumerate();
    rows.map(|(index, (interface, nic))| {
        let mut row = InterfaceStatus {
            interface,
            link: nic.link,
            nic: nic.stats,
            rx_packets: 0,
            rx_bytes: 0,
            tx_packets: 0,
            tx_bytes: 0,
        };
        for counted in workers.iter().filter_map(|worker| worker.counters.interfaces.get(index)) {
            row.rx_packets += counted.rx_packets;
            row.rx_bytes += counted.rx_bytes;
            row.tx_packets += counted.tx_packets;
            row.tx_bytes += counted.tx_bytes;
        }
        row
    })
    .collect()
}
