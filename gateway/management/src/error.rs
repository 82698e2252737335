//! Why a request of management cannot be met, and the problem document that says so (RFC 9457).

use axum::http::StatusCode;
use natgw_api::Problem;
use natgw_config::LoadError;

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

impl From<LoadError> for ReloadError {
    fn from(error: LoadError) -> ReloadError {
        match error {
            LoadError::Wrong(mistakes) => {
                ReloadError::Wrong(mistakes.iter().map(ToString::to_string).collect())
            }
            unreadable @ LoadError::Unreadable { .. } => ReloadError::Refused(unreadable.to_string()),
        }
    }
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

#[cfg(test)]
mod tests {
    use axum::http::header;
    use axum::response::IntoResponse;

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
