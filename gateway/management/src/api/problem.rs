//! The problem documents (RFC 9457) that a route may answer with, as the OpenAPI document lists them.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Content, Ref, RefOr};

use natgw_api::Problem;

/// A problem document of this status.
fn problem(status: u16, description: &str) -> (String, RefOr<Response>) {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    let response = ResponseBuilder::new().description(description).content(Problem::CONTENT_TYPE, content);
    (status.to_string(), response.build().into())
}

/// The gateway is asked, and may not answer in time.
pub(super) struct Unanswered;

impl IntoResponses for Unanswered {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [problem(503, "The gateway is stopping, or a worker did not answer in time.")].into()
    }
}

/// Parameters are read.
pub(super) struct BadParameters;

impl IntoResponses for BadParameters {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [problem(400, "A parameter is unknown, missing, or not of its kind.")].into()
    }
}

/// Parameters may contradict one another.
pub(super) struct Contradiction;

impl IntoResponses for Contradiction {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [problem(422, "Each parameter is right, but not all of them together.")].into()
    }
}

/// Over TCP, a token is needed.
pub(super) struct Unauthorized;

impl IntoResponses for Unauthorized {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [
            problem(401, "Over TCP, without the token or with another."),
            problem(403, "Over TCP, and the gateway has no token."),
        ]
        .into()
    }
}

/// A body is read.
pub(super) struct BadBody;

impl IntoResponses for BadBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [
            problem(400, "The body is no JSON."),
            problem(408, "The body did not come in time."),
            problem(413, "The body is too large."),
            problem(415, "The body is not said to be JSON."),
        ]
        .into()
    }
}

/// A forward is added.
pub(super) struct WrongForward;

impl IntoResponses for WrongForward {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [
            problem(409, "There is such a forward already, or it cannot come into force in this gateway."),
            problem(422, "It is no forward, or collides with something; `mistakes` says with what."),
        ]
        .into()
    }
}

/// A forward is taken away.
pub(super) struct NotDeleted;

impl IntoResponses for NotDeleted {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [
            problem(404, "There is no such forward."),
            problem(409, "The configuration file has it, or it cannot go in this gateway."),
            problem(422, "The configuration without it is wrong; `mistakes` has a line for each mistake."),
        ]
        .into()
    }
}

/// A configuration is read.
pub(super) struct WrongFile;

impl IntoResponses for WrongFile {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        [
            problem(409, "The file is right, but cannot come into force in this gateway."),
            problem(422, "The file is wrong; `mistakes` has a line for each mistake. Nothing was changed."),
        ]
        .into()
    }
}
