//! The routes.
//!
//! The thread that runs them never blocks: whatever asks the gateway runs on a thread of the blocking pool, with a
//! deadline. Listings that wait for workers may hold [`LISTINGS_MAX`] of those threads, so that however slow they
//! are, `/metrics` and `/readyz` still find one.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as UrlQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::access::Access;
use super::metrics::{self, Metrics};
use super::snapshot::{Cursor, Drops, InterfaceStatus, Protocols, Query, Question, Status};
use super::{DELETION_TIMEOUT, Gateway, LISTING_TIMEOUT, Problem, Unavailable, page};
use crate::config::{Token, Whose};
use crate::nat::Filter;

/// Threads of the blocking pool.
pub(super) const BLOCKING_THREADS: usize = LISTINGS_MAX + 4;

/// Listings at once; more wait for their turn until [`LISTING_TIMEOUT`].
const LISTINGS_MAX: usize = 2;

/// After this long the gateway's answer is no longer waited for. Above [`LISTING_TIMEOUT`], so that the gateway's
/// own reason is heard.
const ANSWER_TIMEOUT: Duration = LISTING_TIMEOUT.saturating_add(GRACE);
/// As [`ANSWER_TIMEOUT`], for a deletion.
const DELETED_TIMEOUT: Duration = DELETION_TIMEOUT.saturating_add(GRACE);
const GRACE: Duration = Duration::from_millis(500);

/// What every handler has at hand.
#[derive(Clone)]
struct App {
    gateway: Arc<dyn Gateway>,
    access: Access,
    metrics: Metrics,
    listings: Arc<Semaphore>,
}

/// All routes of `gateway`, for clients of TCP, who may change things with `token`, and for those of the unix socket.
pub(super) fn routers(
    gateway: Arc<dyn Gateway>,
    token: Option<Token>,
) -> Result<[Router; 2], prometheus::Error> {
    let metrics = Metrics::new(Arc::clone(&gateway))?;
    let listings = Arc::new(Semaphore::new(LISTINGS_MAX));
    let app = App { gateway, access: Access::Tcp(token), metrics, listings };
    Ok([app.clone(), App { access: Access::Socket, ..app }].map(router))
}

fn router(app: App) -> Router {
    let api = Router::new()
        .route("/status", show(Status::of))
        .route("/interfaces", show(InterfaceStatus::all))
        .route("/neighbors", show(|gateway| gateway.neighbors()))
        .route("/routes", show(|gateway| gateway.routes()))
        .route("/pools", show(|gateway| gateway.pools()))
        .route("/forwards", show(|gateway| gateway.forwards()))
        .route("/counters", show(metrics::counters))
        .route("/drops", show(|gateway| Drops::of(&gateway.workers())))
        .route("/config", show(|gateway| gateway.config()))
        .route("/subscribers", get(subscribers))
        .route("/whose", get(whose))
        .route("/mappings", get(mappings))
        .route("/sessions", get(sessions).delete(delete_sessions))
        .route("/explain", post(explain))
        .route("/flush", post(flush))
        .route("/reload", post(reload));
    Router::new()
        .route("/", page::page())
        .route("/page.css", page::style())
        .route("/page.js", page::script())
        .route("/metrics", get(scrape))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .nest("/api/v1", api)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

impl App {
    /// Asks the gateway on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        self.ask_within(ANSWER_TIMEOUT, question).await
    }

    async fn ask_within<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&App) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = self.clone();
        let answer = tokio::task::spawn_blocking(move || question(&app));
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panicked)) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, panicked.to_string())),
            Err(_) => Err(busy()),
        }
    }

    /// Asks the gateway for what the workers must be asked for.
    async fn ask_workers<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&dyn Gateway) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = tokio::time::timeout(LISTING_TIMEOUT, Arc::clone(&self.listings).acquire_owned());
        let Ok(Ok(permit)) = permit.await else { return Err(busy()) };
        self.ask_within(patience, move |app| {
            // Given back when the question is answered, not when its caller stops waiting.
            let _permit = permit;
            Ok(question(&*app.gateway)?)
        })
        .await
    }

    async fn delete(&self, filter: Filter) -> Answer {
        self.ask_workers(DELETED_TIMEOUT, move |gateway| gateway.delete_sessions(&filter)).await.map(json)
    }
}

/// A route that shows what is at hand.
fn show<T: Serialize + Send + 'static>(read: fn(&dyn Gateway) -> T) -> MethodRouter<App> {
    get(async move |State(app): State<App>| app.ask(move |app| Ok(read(&*app.gateway))).await.map(json))
}

type Answer = Result<Response, Problem>;

fn json(body: impl Serialize) -> Response {
    Json(body).into_response()
}

type Parameters<T> = Result<UrlQuery<T>, QueryRejection>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParameters {
    inside: Option<Ipv4Addr>,
    outside: Option<Ipv4Addr>,
    remote: Option<Ipv4Addr>,
    protocol: Option<Protocols>,
    port: Option<u16>,
    limit: Option<usize>,
    cursor: Option<Cursor>,
}

impl ListParameters {
    fn query(self) -> Result<Query, Problem> {
        let filter = Filter {
            inside: self.inside,
            outside: self.outside,
            remote: self.remote,
            protocol: None,
            port: self.port,
        };
        let filter = match self.protocol {
            Some(protocols) => protocols
                .narrow(filter)
                .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?,
            None => filter,
        };
        Ok(Query { filter, limit: rows(self.limit)?, cursor: self.cursor })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopParameters {
    top: Option<usize>,
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

async fn subscribers(State(app): State<App>, parameters: Parameters<TopParameters>) -> Answer {
    let top = rows(parameters?.0.top)?;
    app.ask_workers(ANSWER_TIMEOUT, move |gateway| gateway.subscribers(top)).await.map(json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhoseParameters {
    of: String,
}

async fn whose(State(app): State<App>, parameters: Parameters<WhoseParameters>) -> Answer {
    let whose: Whose = parameters?
        .0
        .of
        .parse()
        .map_err(|allowed| Problem::new(StatusCode::BAD_REQUEST, format!("of: {allowed}")))?;
    app.ask(move |app| Ok(app.gateway.whose(whose))).await.map(json)
}

async fn mappings(State(app): State<App>, parameters: Parameters<ListParameters>) -> Answer {
    let query = parameters?.0.query()?;
    if query.filter.remote.is_some() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "remote: a mapping has none; ask for sessions"));
    }
    app.ask_workers(ANSWER_TIMEOUT, move |gateway| gateway.mappings(&query)).await.map(json)
}

async fn sessions(State(app): State<App>, parameters: Parameters<ListParameters>) -> Answer {
    let query = parameters?.0.query()?;
    app.ask_workers(ANSWER_TIMEOUT, move |gateway| gateway.sessions(&query)).await.map(json)
}

async fn delete_sessions(
    State(app): State<App>,
    headers: HeaderMap,
    parameters: Parameters<ListParameters>,
) -> Answer {
    app.access.may_change(&headers)?;
    let parameters = parameters?.0;
    if parameters.limit.is_some() || parameters.cursor.is_some() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "limit, cursor: a deletion takes filters alone"));
    }
    let Query { filter, .. } = parameters.query()?;
    if filter == Filter::default() {
        let detail = "no filter; POST /api/v1/flush ends all sessions";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    app.delete(filter).await
}

async fn explain(State(app): State<App>, parameters: Parameters<Question>) -> Answer {
    let question = parameters?.0;
    question.check().map_err(|wrong| Problem::new(StatusCode::BAD_REQUEST, wrong.to_string()))?;
    app.ask_workers(ANSWER_TIMEOUT, move |gateway| gateway.explain(&question)).await.map(json)
}

async fn flush(State(app): State<App>, headers: HeaderMap) -> Answer {
    app.access.may_change(&headers)?;
    app.delete(Filter::default()).await
}

async fn reload(State(app): State<App>, headers: HeaderMap) -> Answer {
    app.access.may_change(&headers)?;
    app.ask(|app| Ok(app.gateway.reload()?)).await.map(json)
}

async fn scrape(State(app): State<App>) -> Answer {
    let text = |app: &App| {
        app.metrics.text().map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    };
    app.ask(text).await.map(|text| ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn readyz(State(app): State<App>) -> Answer {
    let readiness = app.ask(|app| Ok(app.gateway.readiness())).await?;
    if readiness.ready {
        Ok(Json(readiness).into_response())
    } else {
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, readiness.reasons.join("; ")))
    }
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("nothing is at {}", uri.path()))
}

async fn method_not_allowed(uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take this method", uri.path()))
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway did not answer in time; try again")
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}
