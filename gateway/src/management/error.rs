//! Errors as the API tells them: problem documents (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A listing that cannot be given now, with the reason: a worker did not answer in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Why a configuration did not come into force; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The file is wrong: at least one mistake, a line each.
    #[error("{}", .0.join("\n"))]
    Wrong(Vec<String>),
    /// It cannot come into force in this gateway, as it runs.
    #[error("{0}")]
    Refused(String),
    /// The gateway is stopping, or a worker does not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a forward is not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// There is no such forward.
    #[error("there is no such forward")]
    Unknown,
    /// It would be there again at the next start.
    #[error("the configuration file has it: take it out there, and reload")]
    InFile,
    /// The gateway cannot change its forwards now.
    #[error(transparent)]
    Reload(#[from] ReloadError),
}

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

    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            r#type: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Unknown").into(),
            status: status.as_u16(),
            detail: detail.into(),
            mistakes: Vec::new(),
        }
    }
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, unavailable.0)
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Problem {
        match error {
            ReloadError::Wrong(mistakes) => {
                let detail = format!("{} in the configuration; nothing was changed", count(mistakes.len()));
                Problem { mistakes, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
            }
            ReloadError::Refused(detail) => Problem::new(StatusCode::CONFLICT, detail),
            ReloadError::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

impl From<ForwardError> for Problem {
    fn from(error: ForwardError) -> Problem {
        match error {
            ForwardError::Unknown => Problem::new(StatusCode::NOT_FOUND, error.to_string()),
            ForwardError::InFile => Problem::new(StatusCode::CONFLICT, error.to_string()),
            ForwardError::Reload(error) => error.into(),
        }
    }
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".into() } else { format!("{mistakes} mistakes") }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(Problem::CONTENT_TYPE));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_has_the_members_of_rfc_9457() {
        let problem = Problem::from(Unavailable("worker 1 did not answer".into()));
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            serde_json::json!({
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "worker 1 did not answer",
            })
        );
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::CONTENT_TYPE], Problem::CONTENT_TYPE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
