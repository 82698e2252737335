//! The page at `/` and what belongs to it: three files, which ask this server's API and no other server.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Scripts and styles are this server's own files, never text within a page: a name from the network can start nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// A page for people.
#[utoipa::path(get, path = "/", tag = "page",
    responses((status = 200, body = String, content_type = "text/html")))]
pub(super) async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("page/index.html"))
}

/// How the page looks.
#[utoipa::path(get, path = "/page.css", tag = "page",
    responses((status = 200, body = String, content_type = "text/css")))]
pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// What the page does.
#[utoipa::path(get, path = "/page.js", tag = "page",
    responses((status = 200, body = String, content_type = "text/javascript")))]
pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The next version of the gateway brings its own.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
