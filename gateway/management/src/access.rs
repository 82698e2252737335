//! Who may change things, and who may see what subscribers say.

use axum::http::{HeaderMap, StatusCode, header};

use natgw_api::Problem;
use natgw_config::Token;

/// How a client came, as far as it matters for what it may do.
#[derive(Clone, Debug)]
pub(super) enum Access {
    /// By the unix socket, whose file says who may.
    Socket,
    /// By TCP: with the token, where there is one (RFC 6750).
    Tcp(Option<Token>),
}

impl Access {
    /// Whether a request with these headers may change anything.
    ///
    /// # Errors
    /// What the client is told.
    pub(super) fn may_change(&self, headers: &HeaderMap) -> Result<(), Problem> {
        self.may(headers, "changes")
    }

    /// Whether a request with these headers may see what subscribers send and receive.
    ///
    /// # Errors
    /// What the client is told.
    pub(super) fn may_capture(&self, headers: &HeaderMap) -> Result<(), Problem> {
        self.may(headers, "captures")
    }

    fn may(&self, headers: &HeaderMap, what: &str) -> Result<(), Problem> {
        let Access::Tcp(token) = self else { return Ok(()) };
        let Some(token) = token else {
            let detail = format!("without management.token only the unix socket takes {what}");
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        };
        // The scheme's name is of either case (RFC 9110 section 11.1).
        let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let presented = presented.and_then(|value| value.split_once(' '));
        match presented {
            Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") && token.matches(given.trim()) => {
                Ok(())
            }
            _ => {
                let detail = format!("{what} need the token of management.token");
                Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
            }
        }
    }
}
