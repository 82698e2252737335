//! What workers are asked for: tables in pages, and what would become of a packet.

use std::net::Ipv4Addr;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as UrlQuery, State};
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::{BadParameters, Contradiction, Unanswered};
use crate::app::{Answer, App};
use natgw_api::Problem;
use natgw_api::types::{
    Address, Cursor, Endpoint, Explanation, Holder, Mapping, Page, Protocols, Query, Question, Session,
    Subscriber, Whose,
};
use natgw_nat::Filter;

/// What stands behind the question mark.
pub(super) type Parameters<T> = Result<UrlQuery<T>, QueryRejection>;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopParameters {
    /// How many.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    top: Option<usize>,
}

/// The subscribers with the most sessions, most first.
#[utoipa::path(get, path = "/subscribers", tag = "tables", params(TopParameters),
    responses((status = 200, body = Vec<Subscriber>), BadParameters, Unanswered))]
pub(super) async fn subscribers(
    State(app): State<App>,
    parameters: Parameters<TopParameters>,
) -> Answer<Vec<Subscriber>> {
    let top = rows(parameters?.0.top)?;
    app.ask_workers(move |gateway| gateway.subscribers(top)).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhoseParameters {
    /// An inside address, or an outside address with a port.
    #[param(value_type = Endpoint)]
    of: String,
}

/// Which outside ports a subscriber has to itself, or whose an outside endpoint is.
#[utoipa::path(get, path = "/whose", tag = "tables", params(WhoseParameters),
    responses((status = 200, body = Vec<Holder>), BadParameters, Unanswered))]
pub(super) async fn whose(
    State(app): State<App>,
    parameters: Parameters<WhoseParameters>,
) -> Answer<Vec<Holder>> {
    let whose: Whose = parameters?
        .0
        .of
        .parse()
        .map_err(|allowed| Problem::new(StatusCode::BAD_REQUEST, format!("of: {allowed}")))?;
    app.ask(move |app| Ok(app.gateway().whose(whose))).await.map(Json)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MappingParameters {
    /// Inside address.
    #[param(value_type = Option<Address>)]
    inside: Option<Ipv4Addr>,
    /// Outside address.
    #[param(value_type = Option<Address>)]
    outside: Option<Ipv4Addr>,
    /// Protocol.
    protocol: Option<Protocols>,
    /// Inside or outside port, or query identifier.
    #[param(maximum = 65535)]
    port: Option<u16>,
    /// Most rows on the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// A page of the mappings of inside to outside endpoints.
#[utoipa::path(get, path = "/mappings", tag = "tables", params(MappingParameters),
    responses((status = 200, body = Page<Mapping>), BadParameters, Contradiction, Unanswered))]
pub(super) async fn mappings(
    State(app): State<App>,
    parameters: Parameters<MappingParameters>,
) -> Answer<Page<Mapping>> {
    let MappingParameters { inside, outside, protocol, port, limit, cursor } = parameters?.0;
    let filter = filter(Filter { inside, outside, port, ..Filter::default() }, protocol)?;
    let query = Query { filter, limit: rows(limit)?, cursor };
    app.ask_workers(move |gateway| gateway.mappings(&query)).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SessionParameters {
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
    /// Most rows on the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// A page of the sessions.
#[utoipa::path(get, path = "/sessions", tag = "tables", params(SessionParameters),
    responses((status = 200, body = Page<Session>), BadParameters, Contradiction, Unanswered))]
pub(super) async fn sessions(
    State(app): State<App>,
    parameters: Parameters<SessionParameters>,
) -> Answer<Page<Session>> {
    let SessionParameters { inside, outside, remote, protocol, port, limit, cursor } = parameters?.0;
    let filter = filter(Filter { inside, outside, remote, port, protocol: None }, protocol)?;
    let query = Query { filter, limit: rows(limit)?, cursor };
    app.ask_workers(move |gateway| gateway.sessions(&query)).await
}

/// What would become of the first packet of a flow. Nothing is sent and nothing changes.
#[utoipa::path(post, path = "/explain", tag = "tables", params(Question),
    responses((status = 200, body = Explanation), BadParameters, Contradiction, Unanswered))]
pub(super) async fn explain(State(app): State<App>, question: Parameters<Question>) -> Answer<Explanation> {
    let question = question?.0;
    question.check().map_err(|wrong| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, wrong.to_string()))?;
    app.ask_workers(move |gateway| gateway.explain(&question)).await
}

/// The filter, narrowed to `protocol`.
pub(super) fn filter(filter: Filter, protocol: Option<Protocols>) -> Result<Filter, Problem> {
    let Some(protocols) = protocol else { return Ok(filter) };
    let narrowed = protocols.narrow(filter);
    narrowed.map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}

/// How many rows to give, from what was asked for.
fn rows(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(Query::LIMIT_DEFAULT) {
        rows @ 1..=Query::LIMIT_MAX => Ok(rows),
        rows => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("{rows} rows asked for; 1 to {} are given", Query::LIMIT_MAX),
        )),
    }
}
