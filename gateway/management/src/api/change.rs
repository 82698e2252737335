//! Changes: over TCP, only with the token.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{
    BadBody, BadParameters, Contradiction, NotDeleted, Unanswered, Unauthorized, WrongFile, WrongForward,
};
use super::table::{Parameters, filter};
use crate::app::{Answer, App, BODY_TIMEOUT, DELETED_TIMEOUT};
use crate::error::ForwardError;
use crate::gateway::Until;
use natgw_api::Problem;
use natgw_api::types::{Address, Deleted, Drain, Forward, NewForward, Protocols, Reloaded};
use natgw_nat::Filter;

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

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReloadParameters {
    /// Whether the answer comes when the sessions have ended that are not allowed any more, rather than when the new
    /// configuration is in force; `true` by default.
    wait: Option<bool>,
}

/// Reads the configuration file again and puts it in force, when the change before it is through.
#[utoipa::path(post, path = "/reload", tag = "changes", params(ReloadParameters), security(("token" = [])),
    responses((status = 200, body = Reloaded), BadParameters, Unauthorized, WrongFile, Unanswered))]
pub(super) async fn reload(
    State(app): State<App>,
    headers: HeaderMap,
    parameters: Parameters<ReloadParameters>,
) -> Answer<Reloaded> {
    app.access.may_change(&headers)?;
    let until = if parameters?.0.wait == Some(false) { Until::InForce } else { Until::Swept };
    app.change(move |app| Ok(app.gateway().reload(until)?)).await.map(Json)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DrainParameters {
    /// Seconds after which the gateway ends with whatever sessions it has then; without it, it waits for the last one.
    #[param(value_type = Option<u64>, maximum = 4_294_967_295_u64)]
    timeout_s: Option<u32>,
}

/// Lets no session begin any more, turns readiness false, and ends the gateway with the last session.
#[utoipa::path(post, path = "/drain", tag = "changes", params(DrainParameters), security(("token" = [])),
    responses((status = 200, body = Drain), BadParameters, Unauthorized, Unanswered))]
pub(super) async fn drain(
    State(app): State<App>,
    headers: HeaderMap,
    parameters: Parameters<DrainParameters>,
) -> Answer<Drain> {
    app.access.may_change(&headers)?;
    let limit = parameters?.0.timeout_s.map(|seconds| Duration::from_secs(seconds.into()));
    app.ask(move |app| Ok(app.gateway().drain(limit)?)).await.map(Json)
}

/// Lets sessions begin again.
#[utoipa::path(delete, path = "/drain", tag = "changes", security(("token" = [])),
    responses((status = 204), Unauthorized, Unanswered))]
pub(super) async fn stop_drain(State(app): State<App>, headers: HeaderMap) -> Result<StatusCode, Problem> {
    app.access.may_change(&headers)?;
    app.ask(|app| Ok(app.gateway().stop_drain()?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts another port forward in force, until it is deleted or the gateway ends.
#[utoipa::path(post, path = "/forwards", tag = "changes", request_body = NewForward, security(("token" = [])),
    responses((status = 201, body = Forward), BadBody, Unauthorized, WrongForward, Unanswered))]
pub(super) async fn add_forward(
    State(app): State<App>,
    headers: HeaderMap,
    request: Request,
) -> Result<(StatusCode, Json<Forward>), Problem> {
    app.access.may_change(&headers)?;
    let body = tokio::time::timeout(BODY_TIMEOUT, Json::<NewForward>::from_request(request, &()));
    let body = body.await.map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come"))?;
    let Json(new) = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let added = app.change(move |app| {
        let is_same = |old: &Forward| {
            old.external == new.external && old.protocol.is_some_and(|of| of.name() == new.protocol)
        };
        if let Some(old) = app.gateway().forwards().into_iter().find(is_same) {
            return Err(ForwardError::Exists { id: old.id }.into());
        }
        Ok(app.gateway().add_forward(&new)?)
    });
    Ok((StatusCode::CREATED, Json(added.await?)))
}

/// Takes a forward away that was added while the gateway runs. Its sessions end.
#[utoipa::path(delete, path = "/forwards/{id}", tag = "changes", security(("token" = [])),
    params(("id" = String, Path, description = "As listings and the answer to its addition name it.")),
    responses((status = 204), NotDeleted, Unauthorized, Unanswered))]
pub(super) async fn delete_forward(
    State(app): State<App>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    app.access.may_change(&headers)?;
    // What is no text is no ID.
    let Path(id) = id.map_err(|_| Problem::from(ForwardError::Unknown))?;
    app.change(move |app| Ok(app.gateway().delete_forward(&id)?)).await?;
    Ok(StatusCode::NO_CONTENT)
}
