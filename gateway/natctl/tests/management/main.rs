//! The management server against a fake gateway, and `natctl` against the server.

mod capture;
mod client;
mod deletion;
mod drain;
mod explain;
mod fake;
mod forwards;
mod http;
mod limits;
mod metrics;
mod natctl;
mod openapi;
#[cfg(feature = "tools")]
mod page;
#[cfg(feature = "tools")]
mod promtool;
mod reload;
mod rfc6888;
#[cfg(feature = "tools")]
mod schemathesis;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use natgw_config::{Config, Socket, Token};
use natgw_management::{Handle, Limits, Server};

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
    let text = include_str!("../../../fixtures/example.toml");
    let text = text.replacen("[management]", &format!("[management]\ntoken = \"{TOKEN}\""), 1);
    Config::parse(&text, "example.toml").unwrap().management.token.unwrap()
}

/// Clients of TCP may change things with this token.
fn start_with(token: Option<Token>) -> Running {
    start_within(Limits::DEFAULT, token)
}

fn at(socket: &Path) -> Socket {
    Socket { path: socket.into(), mode: Socket::MODE_DEFAULT, group: None }
}

fn start_within(limits: Limits, token: Option<Token>) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("run/control.sock");
    let server = Server::bind(Some(([127, 0, 0, 1], 0).into()), Some(&at(&socket))).unwrap();
    let server = server.with_limits(limits);
    let address = server.local_addr().unwrap();
    let gateway = Arc::new(Fake::default());
    let handle = server.spawn(Arc::clone(&gateway) as Arc<_>, token).unwrap();
    Running { gateway, address, socket, handle, _directory: directory }
}
