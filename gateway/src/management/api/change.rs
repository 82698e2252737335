//! What changes something, and therefore is not everybody's.

use std::net::Ipv4Addr;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{BadParameters, Contradiction, Unanswered, Unauthorized, WrongFile};
use super::table::{Parameters, filter};
use crate::management::Problem;
use crate::management::http::{Answer, App, DELETED_TIMEOUT};
use crate::management::snapshot::{Address, Deleted, Protocols, Reloaded};
use crate::nat::Filter;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeletionParameters {
    /// Inside address.
    #[param(value_type = Option<Address>)]
    inside: Option<Ipv4Addr>,
    /// Outside address.
    #[param(value_type = Option<Address>)]
    outside: Option<Ipv4Addr>,
    /// Remote address.
    #[param(value_type = Option<Address>)]
    remote: Option<Ipv4Addr>,
    /// Protocol.
    protocol: Option<Protocols>,
    /// Inside, outside or remote port, or query identifier.
    #[param(maximum = 65535)]
    port: Option<u16>,
}

/// Ends the sessions that all parameters name, of which one at least is given.
#[utoipa::path(delete, path = "/sessions", tag = "changes", params(DeletionParameters), security(("token" = [])),
    responses((status = 200, body = Deleted), BadParameters, Contradiction, Unauthorized, Unanswered))]
pub(super) async fn delete_sessions(
    State(app): State<App>,
    headers: HeaderMap,
    parameters: Parameters<DeletionParameters>,
) -> Answer<Deleted> {
    app.access.may_change(&headers)?;
    let DeletionParameters { inside, outside, remote, protocol, port } = parameters?.0;
    let filter = filter(Filter { inside, outside, remote, port, protocol: None }, protocol)?;
    if filter == Filter::default() {
        let detail = "no filter; POST /api/v1/flush ends all sessions";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    delete(&app, filter).await
}

/// Ends all sessions.
#[utoipa::path(post, path = "/flush", tag = "changes", security(("token" = [])),
    responses((status = 200, body = Deleted), Unauthorized, Unanswered))]
pub(super) async fn flush(State(app): State<App>, headers: HeaderMap) -> Answer<Deleted> {
    app.access.may_change(&headers)?;
    delete(&app, Filter::default()).await
}

async fn delete(app: &App, filter: Filter) -> Answer<Deleted> {
    app.ask_workers_within(DELETED_TIMEOUT, move |gateway| gateway.delete_sessions(&filter)).await
}

/// Reads the configuration file again and puts it in force.
#[utoipa::path(post, path = "/reload", tag = "changes", security(("token" = [])),
    responses((status = 200, body = Reloaded), Unauthorized, WrongFile, Unanswered))]
pub(super) async fn reload(State(app): State<App>, headers: HeaderMap) -> Answer<Reloaded> {
    app.access.may_change(&headers)?;
    app.ask(|app| Ok(app.gateway().reload()?)).await.map(Json)
}
