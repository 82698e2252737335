//! The management server against a fake gateway, and `natctl` against the server.

mod client;
mod deletion;
mod explain;
mod fake;
mod http;
mod metrics;
mod natctl;
mod openapi;
mod page;
mod reload;
mod schemathesis;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use gateway::config::{Config, Token};
use gateway::management::{Handle, Server};

use fake::Fake;

/// A server on ports of its own.
struct Running {
    gateway: Arc<Fake>,
    address: SocketAddr,
    socket: PathBuf,
    handle: Handle,
    _directory: tempfile::TempDir,
}

fn start() -> Running {
    start_with(None)
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// As a configuration gives it.
fn token() -> Token {
    let text = include_str!("../config/example.toml");
    let text = text.replacen("[management]", &format!("[management]\ntoken = \"{TOKEN}\""), 1);
    Config::parse(&text, "example.toml").unwrap().management.token.unwrap()
}

/// Clients of TCP may change things with this token.
fn start_with(token: Option<Token>) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("run/control.sock");
    let server = Server::bind(Some(([127, 0, 0, 1], 0).into()), Some(&socket)).unwrap();
    let address = server.local_addr().unwrap();
    let gateway = Arc::new(Fake::default());
    let handle = server.spawn(Arc::clone(&gateway) as Arc<_>, token).unwrap();
    Running { gateway, address, socket, handle, _directory: directory }
}
