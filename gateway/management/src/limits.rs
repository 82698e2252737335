//! What a client may take of the server, so that none takes it from the others.

use std::time::Duration;

/// Limits of the management server. What a route may take of the gateway is bounded apart
/// ([`LISTING_TIMEOUT`](natgw_api::LISTING_TIMEOUT)).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once, at least 1, for each listener of its own: a crowd on TCP does not lock the operator out of the
    /// unix socket. Those beyond wait until one ends.
    pub connections: usize,
    /// How long a client may take to send a request's head; also how long a connection may lie idle.
    pub head_timeout: Duration,
    /// Largest request head, bytes; at least 8192.
    pub head_size: usize,
    /// After this long a connection ends with the response that it is at, which may be a capture.
    pub connection_time: Duration,
    /// How long a connection that ends may still take for that response.
    pub close_timeout: Duration,
}

impl Limits {
    /// Those of a gateway.
    pub const DEFAULT: Limits = Limits {
        connections: 64,
        head_timeout: Duration::from_secs(10),
        head_size: 16 * 1024,
        connection_time: Duration::from_secs(60),
        close_timeout: Duration::from_secs(3),
    };
}
