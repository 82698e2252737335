//! The routes, and the OpenAPI document made of them.
//!
//! A route comes into the router by its `utoipa::path` alone, so none is missing in the document, and the document names
//! none that there is not.

mod capture;
mod change;
mod health;
mod problem;
mod show;
mod table;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{self, ComponentsBuilder, Info, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::page;
use natgw_api::types::Protocols;
use natgw_api::types::text::Direction;
use natgw_api::{Frames, Problem};

/// The name of the security scheme, a token by RFC 6750.
const TOKEN: &str = "token";

const DESCRIPTION: &str = "What a NAT gateway shows of itself, and what can be changed while it runs. The same is served \
    over TCP and on the gateway's unix socket. Whatever changes something needs, over TCP, the token of \
    `management.token`; the unix socket's file permissions say who may use it, without a token.";

/// The OpenAPI document of all routes.
pub fn document() -> openapi::OpenApi {
    routes().into_openapi()
}

/// All routes.
pub(super) fn routes() -> OpenApiRouter<App> {
    let api = OpenApiRouter::default()
        .routes(routes!(openapi))
        .routes(routes!(show::status))
        .routes(routes!(show::interfaces))
        .routes(routes!(show::neighbors))
        .routes(routes!(show::routes))
        .routes(routes!(show::pools))
        .routes(routes!(show::forwards, change::add_forward))
        .routes(routes!(show::counters))
        .routes(routes!(show::drops))
        .routes(routes!(show::config))
        .routes(routes!(table::subscribers))
        .routes(routes!(table::whose))
        .routes(routes!(table::mappings))
        .routes(routes!(table::sessions, change::delete_sessions))
        .routes(routes!(table::explain))
        .routes(routes!(change::delete_forward))
        .routes(routes!(capture::capture))
        .routes(routes!(change::flush))
        .routes(routes!(change::drain, change::stop_drain))
        .routes(routes!(change::reload));
    OpenApiRouter::with_openapi(frame())
        .routes(routes!(page::page))
        .routes(routes!(page::style))
        .routes(routes!(page::script))
        .routes(routes!(health::metrics))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .nest("/api/v1", api)
}

/// What the document says of all routes.
fn frame() -> openapi::OpenApi {
    let mut info = Info::new("nat-gateway", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.into());
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let token = token.description(Some("The token of `management.token` (RFC 6750)."));
    let components = ComponentsBuilder::new()
        .schema_from::<Problem>()
        // Those that parameters alone refer to are not found of themselves.
        .schema_from::<Direction>()
        .schema_from::<Frames>()
        .schema_from::<Protocols>()
        .security_scheme(TOKEN, SecurityScheme::Http(token.build()))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "API", responses((status = 200, body = serde_json::Value)))]
async fn openapi(State(app): State<App>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], app.document.to_string())
}
