//! Schemathesis against a fake gateway that has something to show in every table.

#[path = "../schemathesis/mod.rs"]
mod tool;

use std::process::Command;

use crate::{Running, TOKEN, start_with, token};

fn try_all(server: &Running, authorization: Option<&str>) {
    tool::try_all(Command::new("schemathesis"), server.address, authorization, &[]);
}

#[test]
fn schemathesis_finds_nothing_with_the_token() {
    try_all(&start_with(Some(token())), Some(&format!("Bearer {TOKEN}")));
}

#[test]
fn schemathesis_finds_nothing_without_the_token() {
    try_all(&start_with(Some(token())), None);
}
