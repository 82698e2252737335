//! Who may reload, and what is said of it.

use std::process::Command;
use std::sync::atomic::Ordering;

use crate::client::{natctl, post, request};
use crate::{TOKEN, start, start_with, token};

const RELOAD: &str = "/api/v1/reload";

#[test]
fn over_tcp_a_reload_needs_the_token() {
    let server = start();
    for authorization in [None, Some("Bearer "), Some(TOKEN)] {
        let response = post(server.address, RELOAD, authorization);
        assert_eq!((response.status, response.content_type()), (403, "application/problem+json"));
    }
}

#[test]
fn over_tcp_the_token_reloads() {
    let server = start_with(Some(token()));
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(post(server.address, RELOAD, Some(&bearer)).json()["config_generation"], 2);
    assert_eq!(post(server.address, RELOAD, Some(&bearer.replacen('B', "b", 1))).status, 200);
    for wrong in [None, Some(TOKEN), Some("Bearer 0123"), Some("Basic x"), Some(&bearer[..bearer.len() - 1])]
    {
        assert_eq!(post(server.address, RELOAD, wrong).status, 401, "{wrong:?}");
    }
    assert_eq!(request(server.address, "GET", RELOAD).status, 405);
    let answer = |query: &str| post(server.address, &format!("{RELOAD}{query}"), Some(&bearer));
    assert_eq!(answer("").json()["swept"]["sessions_ended"], 12);
    assert_eq!(answer("?wait=true").json()["swept"]["mappings_ended"], 3);
    assert!(answer("?wait=false").json()["swept"].is_null());
    assert_eq!(answer("?wait=no").status, 400);
}

#[test]
fn natctl_says_what_came_into_force_and_what_did_not() {
    let server = start();
    let output = natctl(&server, &["reload"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "configuration generation 2 is in force\n\
         as before until a restart: interfaces, nat.pools\n\
         warning: gateway.toml:9: hardly meant\n\
         12 sessions and 3 mappings ended\n"
    );
    let output = natctl(&server, &["reload", "--no-wait"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("workers still look through their sessions"));
    server.gateway.file_is_wrong.store(true, Ordering::Relaxed);
    let output = natctl(&server, &["reload"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "natctl: 2 mistakes in the configuration; nothing was changed\n\
         gateway.toml:3: first\n\
         gateway.toml:7: second\n"
    );
}

#[test]
fn natctl_reads_the_token_from_a_file() {
    let server = start_with(Some(token()));
    let file = server.socket.with_file_name("token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let url = format!("http://{}", server.address);
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_natctl")).args(["--url", &url]).args(arguments).output().unwrap()
    };
    assert_eq!(run(&["reload"]).status.code(), Some(1));
    let file = file.to_str().unwrap();
    assert_eq!(run(&["reload", "--token-file", file]).status.code(), Some(0));
    let missing = run(&["reload", "--token-file", "/nonexistent/token"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/token"), "{missing:?}");
}
