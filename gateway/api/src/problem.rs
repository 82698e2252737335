//! Errors as the API tells them: problem documents (RFC 9457).

use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A problem document. The type is always `about:blank` (RFC 9457 section 4.2.1): the status says what kind it is,
/// the detail what happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`.
    pub r#type: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, and what to do about it.
    pub detail: String,
    /// Every mistake of a configuration that was refused, a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<String>,
}

impl Problem {
    /// The content type of a problem document.
    pub const CONTENT_TYPE: &str = "application/problem+json";

    /// The document of a status, with what happened.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            r#type: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Unknown").into(),
            status: status.as_u16(),
            detail: detail.into(),
            mistakes: Vec::new(),
        }
    }
}

#[cfg(feature = "axum")]
mod response {
    use axum::extract::rejection::QueryRejection;
    use axum::response::{IntoResponse, Response};
    use http::{HeaderValue, StatusCode, header};

    use super::Problem;

    impl IntoResponse for Problem {
        fn into_response(self) -> Response {
            let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = (status, axum::Json(self)).into_response();
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::CONTENT_TYPE));
            if status == StatusCode::SERVICE_UNAVAILABLE {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S);
            }
            if status == StatusCode::UNAUTHORIZED {
                // RFC 6750 section 3.
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            response
        }
    }

    /// Seconds after which what cannot be had now may be asked for again.
    const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

    impl From<QueryRejection> for Problem {
        fn from(rejection: QueryRejection) -> Problem {
            Problem::new(StatusCode::BAD_REQUEST, rejection.body_text())
        }
    }
}
