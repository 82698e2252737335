//! Who may drain a gateway, and what is said of it.

use std::sync::atomic::Ordering;

use crate::client::{delete, natctl, post, request};
use crate::{TOKEN, start, start_with, token};

const DRAIN: &str = "/api/v1/drain";

#[test]
fn over_tcp_draining_needs_the_token() {
    let server = start();
    for authorization in [None, Some("Bearer "), Some(TOKEN)] {
        for response in
            [post(server.address, DRAIN, authorization), delete(server.address, DRAIN, authorization)]
        {
            assert_eq!((response.status, response.content_type()), (403, "application/problem+json"));
        }
    }
    let server = start_with(Some(token()));
    assert_eq!(post(server.address, DRAIN, Some("Bearer 0123")).status, 401);
    assert_eq!(*server.gateway.drain.lock().unwrap(), None);
}

#[test]
fn over_tcp_the_token_drains_and_takes_it_back() {
    let server = start_with(Some(token()));
    let bearer = format!("Bearer {TOKEN}");
    let drain = |query: &str| post(server.address, &format!("{DRAIN}{query}"), Some(&bearer));
    assert_eq!(drain("").json(), serde_json::json!({ "sessions": 250, "ends_in_s": null }));
    assert_eq!(drain("?timeout_s=300").json()["ends_in_s"], 300);
    let status = request(server.address, "GET", "/api/v1/status").json();
    assert_eq!(status["drain"], serde_json::json!({ "sessions": 250, "ends_in_s": 300 }));
    assert!(request(server.address, "GET", "/metrics").body.contains("\nnatgw_draining 1\n"));
    assert_eq!(delete(server.address, DRAIN, Some(&bearer)).status, 204);
    assert_eq!(delete(server.address, DRAIN, Some(&bearer)).status, 204, "there is none");
    assert!(request(server.address, "GET", "/api/v1/status").json()["drain"].is_null());
    assert!(request(server.address, "GET", "/metrics").body.contains("\nnatgw_draining 0\n"));
    for wrong in ["?timeout_s=-1", "?timeout_s=4294967296", "?timeout=5", "?timeout_s=soon"] {
        assert_eq!(drain(wrong).status, 400, "{wrong}");
    }
    server.gateway.workers_hang.store(true, Ordering::Relaxed);
    assert_eq!(drain("").status, 503);
}

#[test]
fn natctl_says_when_the_gateway_ends() {
    let server = start();
    let said = |arguments: &[&str]| String::from_utf8(natctl(&server, arguments).stdout).unwrap();
    assert_eq!(said(&["drain"]), "draining: the gateway ends with the last of 250 sessions\n");
    assert_eq!(
        said(&["drain", "--timeout", "300"]),
        "draining: the gateway ends with the last of 250 sessions, or in 300 s\n"
    );
    assert_eq!(said(&["drain", "--stop"]), "sessions begin again\n");
    assert_eq!(natctl(&server, &["drain", "--stop", "--timeout", "1"]).status.code(), Some(2));
}
