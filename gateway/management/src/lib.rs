//! What the gateway shows of itself: an HTTP API, Prometheus metrics and a page for people, over TCP and a unix
//! socket.
//!
//! It owns one thread. What it shows comes from a [`Gateway`], which the daemon implements. No call of the server ever waits
//! on the packet path: counters are read in place ([`natgw_counters::Published`]), and
//! listings ask the workers for bounded pages and give up after [`LISTING_TIMEOUT`](natgw_api::LISTING_TIMEOUT).
//!
//! # Example
//! The OpenAPI document of all routes needs no gateway:
//!
//! ```
//! let document = natgw_management::openapi();
//! assert!(document.paths.paths.contains_key("/api/v1/sessions"));
//! ```

mod access;
mod api;
mod app;
mod capture;
pub mod convert;
mod error;
mod gateway;
mod http;
mod limits;
pub mod metrics;
mod page;
mod server;
mod socket;
mod stream_deadline;

pub use api::document as openapi;
pub use capture::{CAPTURES_MAX, Capture};
pub use error::{ForwardError, ReloadError, Unavailable};
pub use gateway::{ControlCounts, Gateway, LinkChanges, Mempool, Nic, Until, WorkerSnapshot};
pub use limits::Limits;
pub use server::{BindError, Handle, Server};
