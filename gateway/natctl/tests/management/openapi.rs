//! The OpenAPI document and the server say the same.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::client::{Response, change, get, get_unix, request};
use crate::{TOKEN, start, start_with, token};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

struct Document(Value);

impl Document {
    fn read() -> Document {
        Document(serde_json::to_value(natgw_management::openapi()).unwrap())
    }

    /// Every path with a method that it takes.
    fn operations(&self) -> Vec<(&str, String)> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        let methods = |item: &Value| item.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        paths
            .flat_map(|(path, item)| methods(item).into_iter().map(move |method| (path.as_str(), method)))
            .collect()
    }

    /// What is wrong with an answer of this operation; nothing, if the document knows it.
    fn mistake(&self, method: &str, path: &str, response: &Response) -> Option<String> {
        let known = &self.0["paths"][path][method.to_lowercase()]["responses"][response.status.to_string()];
        let media = response.content_type().split(';').next().unwrap();
        let schema = &known["content"][media]["schema"];
        if schema.is_null() {
            return Some(format!("{method} {path}: {} of {media} is not in the document", response.status));
        }
        let schema = json!({ "allOf": [schema], "components": self.0["components"] });
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let body = if media.ends_with("json") { response.json() } else { response.body.clone().into() };
        validator.validate(&body).err().map(|error| format!("{method} {path}: {error} in {body}"))
    }
}

#[test]
fn the_document_is_served() {
    let server = start();
    let served = get(server.address, "/api/v1/openapi.json");
    assert_eq!((served.status, served.content_type()), (200, "application/json"));
    let document = Document::read();
    assert_eq!(served.json(), document.0);
    assert!(document.0["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_eq!(document.0["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn every_reference_leads_somewhere() {
    fn follow<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|value| follow(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| follow(value, found)),
            _ => {}
        }
    }
    let (document, mut found) = (Document::read().0, Vec::new());
    follow(&document, &mut found);
    assert!(found.len() > 50, "{found:?}");
    let leads_nowhere = |reference: &&str| document.pointer(&reference[1..]).is_none();
    assert_eq!(found.into_iter().filter(leads_nowhere).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn every_route_is_in_the_document_and_no_other() {
    let sources =
        [include_str!("../../../management/src/http.rs"), include_str!("../../../management/src/api/mod.rs")];
    for source in sources {
        assert!(!source.contains(".route("), "a route that the document does not know");
    }
    let server = start();
    let (document, server) = (Document::read(), server.address);
    let operations = document.operations();
    assert!(operations.len() > 20, "{operations:?}");
    for (path, _) in &operations {
        for method in METHODS {
            let known = operations.contains(&(path, method.to_lowercase()));
            let status = request(server, method, path).status;
            assert!(status != 404 && (status != 405) == known, "{method} {path}: {status}");
        }
    }
}

#[test]
fn answers_are_as_the_document_says() {
    let server = start_with(Some(token()));
    let document = Document::read();
    let whole = [
        "/",
        "/page.css",
        "/page.js",
        "/metrics",
        "/healthz",
        "/readyz",
        "/api/v1/openapi.json",
        "/api/v1/status",
        "/api/v1/interfaces",
        "/api/v1/neighbors",
        "/api/v1/routes",
        "/api/v1/pools",
        "/api/v1/forwards",
        "/api/v1/counters",
        "/api/v1/drops",
        "/api/v1/config",
        "/api/v1/subscribers?top=3",
        "/api/v1/whose?of=10.64.0.10",
        "/api/v1/mappings",
        "/api/v1/sessions?limit=1000&protocol=tcp",
    ];
    let asked = |method: &str, path: &str, authorization: Option<&str>, expected: u16| {
        let response = change(server.address, method, path, authorization);
        assert_eq!(response.status, expected, "{method} {path}: {}", response.body);
        assert_eq!(document.mistake(method, path.split('?').next().unwrap(), &response), None);
    };
    whole.iter().for_each(|path| asked("GET", path, None, 200));
    let listed: BTreeSet<&str> = whole.iter().map(|path| path.split('?').next().unwrap()).collect();
    let known = document.operations().into_iter();
    // A capture is no whole answer, and not JSON.
    let is_whole = |(path, method): &(&str, String)| method == "get" && *path != "/api/v1/capture";
    assert_eq!(listed, known.filter(is_whole).map(|(path, _)| path).collect());
    asked("GET", "/api/v1/capture?frames=inside", None, 401);

    let (bearer, explain) =
        (format!("Bearer {TOKEN}"), "protocol=tcp&source=10.64.0.1:1&destination=1.1.1.1:2");
    asked("POST", &format!("/api/v1/explain?{explain}"), None, 200);
    asked("POST", "/api/v1/explain", None, 400);
    asked("GET", "/api/v1/sessions?limit=0", None, 400);
    asked("GET", "/api/v1/sessions?protocol=gre&port=5", None, 422);
    asked("GET", "/api/v1/capture", Some(&bearer), 400);
    asked("GET", "/api/v1/capture?frames=inside&protocol=gre&port=5", Some(&bearer), 422);
    asked("DELETE", "/api/v1/sessions?port=1007", None, 401);
    asked("DELETE", "/api/v1/sessions", Some(&bearer), 422);
    asked("DELETE", "/api/v1/sessions?port=1007", Some(&bearer), 200);
    asked("POST", "/api/v1/flush", Some(&bearer), 200);
    asked("POST", "/api/v1/reload", Some(&bearer), 200);
    server.gateway.file_is_wrong.store(true, Ordering::Relaxed);
    asked("POST", "/api/v1/reload", Some(&bearer), 422);
    server.gateway.workers_hang.store(true, Ordering::Relaxed);
    asked("GET", "/api/v1/mappings", None, 503);
    server.gateway.not_ready.store(true, Ordering::Relaxed);
    asked("GET", "/readyz", None, 503);
}

#[test]
fn an_answer_that_the_document_does_not_know_is_found() {
    let server = start();
    let (mut document, response) = (Document::read(), get_unix(&server.socket, "/api/v1/drops"));
    assert_eq!(document.mistake("GET", "/api/v1/drops", &response), None);
    assert!(document.mistake("GET", "/api/v1/routes", &response).is_some());
    document.0["components"]["schemas"]["Drop"]["properties"]["inbound"]["type"] = "string".into();
    assert!(document.mistake("GET", "/api/v1/drops", &response).is_some());
}
