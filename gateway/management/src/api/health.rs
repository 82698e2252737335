//! For those who watch: metrics, liveness, readiness.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use super::problem::Unanswered;
use crate::app::{Answer, App};
use crate::metrics as prometheus_text;
use natgw_api::Problem;
use natgw_api::types::Readiness;

/// Metrics, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, body = String, content_type = "text/plain"), Unanswered))]
pub(super) async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Problem> {
    let text = |app: &App| {
        app.metrics.text().map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
    };
    app.ask(text).await.map(|text| ([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text))
}

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether traffic passes: workers poll, links are up, the routes' gateways are resolved.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = Readiness), Unanswered))]
pub(super) async fn readyz(State(app): State<App>) -> Answer<Readiness> {
    let readiness = app.ask(|app| Ok(app.gateway().readiness())).await?;
    match readiness.ready {
        true => Ok(Json(readiness)),
        false => Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, readiness.reasons.join("; "))),
    }
}
