//! The routers of the server: what is at which path, for each way that clients come.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};

use super::access::Access;
use super::api;
use super::app::App;
use super::gateway::Gateway;
use natgw_api::Problem;
use natgw_config::Token;

/// Largest body of a request, bytes.
const BODY_SIZE_MAX: usize = 16 * 1024;

/// All routes of `gateway`, for clients of TCP, who may change things with `token`, and for those of the unix socket.
///
/// # Errors
/// The OpenAPI document cannot be written, or the metrics cannot be registered.
pub(super) fn routers(
    gateway: Arc<dyn Gateway>,
    token: Option<Token>,
) -> Result<[Router; 2], prometheus::Error> {
    let document = api::document().to_json().map_err(|error| prometheus::Error::Msg(error.to_string()))?;
    let over_tcp = App::new(gateway, Access::Tcp(token), document)?;
    let over_unix = over_tcp.with_access(Access::Socket);
    Ok([over_tcp, over_unix].map(router))
}

fn router(app: App) -> Router {
    let (router, _) = api::routes().split_for_parts();
    let router = router.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    router.layer(DefaultBodyLimit::max(BODY_SIZE_MAX)).with_state(app)
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("nothing is at {}", uri.path()))
}

async fn method_not_allowed(uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take this method", uri.path()))
}
