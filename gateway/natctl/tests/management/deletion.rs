//! Who may end sessions, and which ones they name.

use crate::client::{delete, natctl, post, request};
use crate::{TOKEN, start, start_with, token};

const FLUSH: &str = "/api/v1/flush";

#[test]
fn over_tcp_a_deletion_needs_the_token() {
    let server = start();
    for authorization in [None, Some("Bearer "), Some(TOKEN)] {
        for response in [
            post(server.address, FLUSH, authorization),
            delete(server.address, "/api/v1/sessions?protocol=tcp", authorization),
        ] {
            assert_eq!((response.status, response.content_type()), (403, "application/problem+json"));
        }
    }
    let server = start_with(Some(token()));
    let refused = post(server.address, FLUSH, Some("Bearer 0123"));
    assert_eq!((refused.status, refused.headers["www-authenticate"].as_str()), (401, "Bearer"));
    assert_eq!(delete(server.address, "/api/v1/sessions?protocol=tcp", None).status, 401);
    assert_eq!(*server.gateway.deleted.lock().unwrap(), 0);
}

#[test]
fn over_tcp_the_token_deletes_what_the_filter_names() {
    let server = start_with(Some(token()));
    let bearer = format!("Bearer {TOKEN}");
    let of = |query: &str| delete(server.address, &format!("/api/v1/sessions?{query}"), Some(&bearer));
    assert_eq!(of("protocol=tcp").json(), serde_json::json!({ "sessions": 125 }));
    assert_eq!(of("port=1007&inside=10.64.0.10").json()["sessions"], 1);
    assert_eq!(of("remote=198.51.100.2").json()["sessions"], 0);
    assert_eq!(*server.gateway.deleted.lock().unwrap(), 126);
    for refused in ["limit=5&port=1007", "port=1007&cursor=0-0", "colour=blue", "port=70000"] {
        assert_eq!(of(refused).status, 400, "{refused}");
    }
    assert_eq!(of("").status, 422);
    assert_eq!(post(server.address, FLUSH, Some(&bearer)).json()["sessions"], 250);
    assert_eq!(request(server.address, "GET", FLUSH).status, 405);
}

#[test]
fn natctl_deletes_what_the_conditions_name() {
    let server = start();
    let said = |arguments: &[&str]| {
        let output = natctl(&server, arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["sessions", "delete", "--protocol", "udp"]), "125 sessions ended\n");
    assert_eq!(
        said(&["sessions", "delete", "--remote", "198.51.100.1", "--port", "1003"]),
        "1 sessions ended\n"
    );
    assert_eq!(said(&["flush"]), "250 sessions ended\n");
    assert_eq!(said(&["flush", "--json"]), "{\n  \"sessions\": 250\n}\n");
}

#[test]
fn natctl_wants_a_condition_before_it_deletes() {
    let server = start();
    for wrong in [&["sessions", "delete"][..], &["sessions", "--port", "5", "delete", "--port", "5"]] {
        assert_eq!(natctl(&server, wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(*server.gateway.deleted.lock().unwrap(), 0);
}
