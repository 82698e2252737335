//! Forwards that come and go while the gateway runs.

use crate::client::{change, delete, get, natctl, post, post_json};
use crate::{TOKEN, start, start_with, token};

const FORWARDS: &str = "/api/v1/forwards";
const NEW: &str = r#"{"protocol": "tcp", "external": "203.0.113.13:9090", "internal": "10.64.0.12:90"}"#;

#[test]
fn over_tcp_adding_and_deleting_need_the_token() {
    let server = start_with(Some(token()));
    assert_eq!(post_json(server.address, FORWARDS, "Bearer 0123", NEW).status, 401);
    assert_eq!(post(server.address, FORWARDS, None).status, 401);
    assert_eq!(delete(server.address, &format!("{FORWARDS}/tcp-203.0.113.13-8080"), None).status, 401);
    assert!(server.gateway.added.lock().unwrap().is_empty());
    assert_eq!(post(start().address, FORWARDS, None).status, 403);
}

#[test]
fn a_forward_is_added_and_deleted_by_its_id() {
    let server = start_with(Some(token()));
    let bearer = format!("Bearer {TOKEN}");
    let add = |body: &str| post_json(server.address, FORWARDS, &bearer, body);
    let added = add(NEW);
    assert_eq!((added.status, &added.json()["origin"]), (201, &"api".into()));
    let id = added.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(get(server.address, FORWARDS).json()[1]["id"], *id);
    assert_eq!(add(NEW).status, 409, "there is one already");
    let gone = |id: &str| change(server.address, "DELETE", &format!("{FORWARDS}/{id}"), Some(&bearer)).status;
    assert_eq!([gone(&id), gone(&id), gone("tcp-203.0.113.13-8080")], [204, 404, 409]);
    assert_eq!(get(server.address, FORWARDS).json().as_array().unwrap().len(), 1);
}

#[test]
fn what_is_no_forward_is_refused_with_the_reason() {
    let server = start_with(Some(token()));
    let bearer = format!("Bearer {TOKEN}");
    let add = |body: &str| post_json(server.address, FORWARDS, &bearer, body);
    let wrong = add(&NEW.replace("10.64.0.12:90", "here"));
    assert_eq!((wrong.status, wrong.content_type()), (422, "application/problem+json"));
    assert!(wrong.json()["mistakes"][0].as_str().unwrap().contains("internal"));
    let large = format!("{{\"protocol\": \"{}\"}}", "x".repeat(20_000));
    for (body, status) in [("", 400), ("{", 400), ("{}", 422), ("[7]", 422), (large.as_str(), 413)] {
        let refused = add(body);
        assert_eq!(
            (refused.status, refused.content_type()),
            (status, "application/problem+json"),
            "{body:.9}"
        );
    }
    assert_eq!(change(server.address, "POST", FORWARDS, Some(&bearer)).status, 415);
    assert!(server.gateway.added.lock().unwrap().is_empty());
}

#[test]
fn natctl_adds_and_deletes_forwards() {
    let server = start();
    let added = natctl(&server, &["forwards", "add", "tcp", "203.0.113.13:9090", "10.64.0.12:90"]);
    assert_eq!(String::from_utf8_lossy(&added.stdout), "tcp-203.0.113.13-9090 is in force\n");
    let again = natctl(&server, &["forwards", "add", "tcp", "203.0.113.13:9090", "10.64.0.12:90"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(again.stderr, b"natctl: there is such a forward: tcp-203.0.113.13-9090\n");
    let gone = natctl(&server, &["forwards", "delete", "tcp-203.0.113.13-9090"]);
    assert_eq!(String::from_utf8_lossy(&gone.stdout), "tcp-203.0.113.13-9090 is gone\n");
    let of_file = natctl(&server, &["forwards", "delete", "tcp-203.0.113.13-8080"]);
    assert_eq!(of_file.status.code(), Some(1));
    for wrong in [&["forwards", "delete", "a/b"][..], &["forwards", "add", "gre", "a", "b"]] {
        assert_eq!(natctl(&server, wrong).status.code(), Some(2), "{wrong:?}");
    }
}
