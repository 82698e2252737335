//! The page at `/` and what belongs to it: three files, which ask this server's API and nobody else.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

/// Scripts and styles are this server's own files, never text within a page: a name from the network can start nothing.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// The page.
pub(super) fn page<S: Clone + Send + Sync + 'static>() -> MethodRouter<S> {
    file("text/html; charset=utf-8", include_str!("page/index.html"))
}

/// How it looks.
pub(super) fn style<S: Clone + Send + Sync + 'static>() -> MethodRouter<S> {
    file("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// What it does.
pub(super) fn script<S: Clone + Send + Sync + 'static>() -> MethodRouter<S> {
    file("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

fn file<S: Clone + Send + Sync + 'static>(kind: &'static str, text: &'static str) -> MethodRouter<S> {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The next version of the gateway brings its own.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    get(async move || -> Response { (headers, text).into_response() })
}
