//! What the HTTP API of nat-gateway answers: the server writes these types, and clients read them.
//!
//! | module | what it has |
//! |---|---|
//! | [`types`] | the bodies of answers and requests |
//! | [`pcapng`] | the blocks of captures |
//!
//! A client that reads a status:
//!
//! ```
//! use natgw_api::Problem;
//!
//! let body = r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no such forward"}"#;
//! let problem: Problem = serde_json::from_str(body)?;
//! assert_eq!((problem.status, problem.detail.as_str()), (404, "there is no such forward"));
//! # Ok::<(), serde_json::Error>(())
//! ```

mod capture;
pub mod pcapng;
mod problem;
pub mod types;

use std::time::Duration;

pub use capture::{CaptureRequest, Frames, UnknownFrames};
pub use problem::Problem;

/// How long a listing waits for the workers; after that the answer is 503 with `Retry-After`.
pub const LISTING_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a deletion may take: tables are long, and a worker looks at a bounded piece between bursts.
pub const DELETION_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a change of the configuration may take until workers are through with the sessions that it ends: the largest tables
/// on one worker under full load need less. Below how long a connection lasts.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(50);
