//! Why the gateway does not do as it is asked, and the problem document that says so (RFC 9457).

use std::error::Error;
use std::io;

use axum::http::StatusCode;

use natgw_api::Problem;
use natgw_config::{LoadError, NotNow};
use natgw_neighbor::RouteError;

/// Why the gateway cannot answer, or cannot do it, now: 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// There are no workers any more.
    #[error("the gateway is stopping")]
    Stopping,
    /// A worker's queue of commands was full for as long as the request may take.
    #[error("worker {worker} does not take commands")]
    NoCommands {
        /// Its number.
        worker: u16,
    },
    /// A worker took the request, and its answer did not come.
    #[error("worker {worker} did not answer in time")]
    NoAnswer {
        /// Its number.
        worker: u16,
    },
    /// A worker has as many requests as it takes.
    #[error("worker {worker} has as many requests as it takes; try again")]
    Busy {
        /// Its number.
        worker: u16,
    },
    /// A worker has not ended all sessions that it was to end.
    #[error("worker {worker} is not through with its sessions; ask again for the rest")]
    SessionsLeft {
        /// Its number.
        worker: u16,
    },
    /// There are more mappings than can be counted in the time that a listing may take.
    #[error("there are too many mappings to count them in time")]
    TooManyMappings,
    /// A worker has not said that it drains, or that it does so no more.
    #[error("worker {worker} did not answer in time; ask again")]
    DrainUnanswered {
        /// Its number.
        worker: u16,
    },
    /// A worker has not taken who owns what.
    #[error("worker {worker} did not take the configuration in time")]
    ConfigUnanswered {
        /// Its number.
        worker: u16,
    },
    /// Workers still look through their sessions for what an earlier change ends.
    #[error("the workers are not through with the change before, {lines} lines are left; try again")]
    Sweeping {
        /// Lines of their tables that are left, over all workers.
        lines: u64,
    },
}

/// Why a configuration did not come into force; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file cannot be read (409), or is wrong (422).
    #[error(transparent)]
    Load(#[from] LoadError),
    /// It cannot come into force without a restart: 409.
    #[error(transparent)]
    NotNow(#[from] NotNow),
    /// The port forwards stand on interfaces that come with a restart: 409.
    #[error("the interfaces of the file are not those that run; restart the gateway first")]
    InterfacesDiffer,
    /// The routes contradict each other: 409.
    #[error(transparent)]
    Routes(#[from] RouteError),
    /// The workers cannot divide the pools: 409.
    #[error(transparent)]
    Steering(Box<dyn Error + Send + Sync>),
    /// There is no memory for the tables of the change: 409.
    #[error("no memory for the new tables: {0}")]
    Tables(io::Error),
    /// The workers do not all go by the same configuration: 409.
    #[error("a worker did not take an earlier change that others have taken; restart the gateway")]
    PartiallyApplied,
    /// The gateway is stopping, or a worker does not answer: 503.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a forward is not added, or not deleted.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// There is one of this protocol and outside endpoint: 409.
    #[error("there is such a forward: {id}")]
    Exists {
        /// What names it.
        id: String,
    },
    /// There is no such forward: 404.
    #[error("there is no such forward")]
    Unknown,
    /// It would be there again at the next start: 409.
    #[error("the configuration file has it: take it out there, and reload")]
    InFile,
    /// The gateway cannot change its forwards now.
    #[error(transparent)]
    Reload(#[from] ReloadError),
}

impl From<Unavailable> for Problem {
    fn from(unavailable: Unavailable) -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, unavailable.to_string())
    }
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Problem {
        match error {
            ReloadError::Load(LoadError::Wrong(mistakes)) => {
                let detail = format!("{} in the configuration; nothing was changed", count(mistakes.len()));
                let mistakes = mistakes.iter().map(ToString::to_string).collect();
                Problem { mistakes, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
            }
            ReloadError::Unavailable(unavailable) => unavailable.into(),
            ReloadError::Load(LoadError::Unreadable { .. })
            | ReloadError::NotNow(_)
            | ReloadError::InterfacesDiffer
            | ReloadError::Routes(_)
            | ReloadError::Steering(_)
            | ReloadError::Tables(_)
            | ReloadError::PartiallyApplied => Problem::new(StatusCode::CONFLICT, error.to_string()),
        }
    }
}

impl From<ForwardError> for Problem {
    fn from(error: ForwardError) -> Problem {
        match error {
            ForwardError::Unknown => Problem::new(StatusCode::NOT_FOUND, error.to_string()),
            ForwardError::Exists { .. } | ForwardError::InFile => {
                Problem::new(StatusCode::CONFLICT, error.to_string())
            }
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
    use natgw_config::Diagnostic;

    #[test]
    fn a_problem_document_has_the_members_of_rfc_9457() {
        let problem = Problem::from(Unavailable::NoAnswer { worker: 1 });
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            serde_json::json!({
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "worker 1 did not answer in time",
            })
        );
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::CONTENT_TYPE], Problem::CONTENT_TYPE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn a_reload_error_has_its_status_and_a_line_for_each_mistake() {
        let mistake = |line| Diagnostic {
            file: "gateway.toml".into(),
            line,
            what: "log.format".into(),
            found: None,
            allowed: None,
        };
        let wrong = |lines: &[usize]| {
            Problem::from(ReloadError::from(LoadError::Wrong(lines.iter().copied().map(mistake).collect())))
        };
        let (one, two) = (wrong(&[7]), wrong(&[3, 7]));
        assert_eq!(one.detail, "1 mistake in the configuration; nothing was changed");
        assert_eq!((two.status, two.mistakes.len()), (422, 2));
        assert_eq!(two.mistakes[0], "gateway.toml:3: log.format");
        let status = |error: ReloadError| Problem::from(error).status;
        let unreadable = LoadError::Unreadable {
            path: "gateway.toml".into(),
            source: std::io::Error::from_raw_os_error(2),
        };
        assert_eq!([status(ReloadError::InterfacesDiffer), status(unreadable.into())], [409, 409]);
        assert_eq!(status(Unavailable::Stopping.into()), 503);
        let nothing_there = Problem::from(ForwardError::Unknown);
        assert_eq!((nothing_there.status, nothing_there.title.as_str()), (404, "Not Found"));
    }
}
