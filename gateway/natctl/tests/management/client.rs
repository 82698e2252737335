//! An HTTP client that shows the bytes of an answer.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use crate::Running;

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn content_type(&self) -> &str {
        self.headers.get("content-type").map_or("", String::as_str)
    }
}

pub(crate) fn get(server: SocketAddr, path: &str) -> Response {
    exchange(TcpStream::connect(server).unwrap(), "GET", path)
}

pub(crate) fn request(server: SocketAddr, method: &str, path: &str) -> Response {
    exchange(TcpStream::connect(server).unwrap(), method, path)
}

pub(crate) fn get_unix(socket: &Path, path: &str) -> Response {
    exchange(UnixStream::connect(socket).unwrap(), "GET", path)
}

pub(crate) fn post(server: SocketAddr, path: &str, authorization: Option<&str>) -> Response {
    change(server, "POST", path, authorization)
}

pub(crate) fn delete(server: SocketAddr, path: &str, authorization: Option<&str>) -> Response {
    change(server, "DELETE", path, authorization)
}

/// As [`post`], with a body in JSON.
pub(crate) fn post_json(server: SocketAddr, path: &str, authorization: &str, body: &str) -> Response {
    let length = body.len();
    let headers = format!(
        "Authorization: {authorization}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    );
    exchange_with(TcpStream::connect(server).unwrap(), "POST", path, &headers, body)
}

pub(crate) fn change(server: SocketAddr, method: &str, path: &str, authorization: Option<&str>) -> Response {
    let header = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    exchange_with(TcpStream::connect(server).unwrap(), method, path, &header, "")
}

fn exchange(stream: impl Read + Write, method: &str, path: &str) -> Response {
    exchange_with(stream, method, path, "", "")
}

fn exchange_with(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Response {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\n{headers}Connection: close\r\n\r\n{body}")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let response = Response { status, headers, body: body.to_owned() };
    // What has no content (204) has no length.
    let length = response.headers.get("content-length").map_or("0", String::as_str);
    assert_eq!(length, body.len().to_string(), "{path}");
    response
}

/// What `natctl` does over the server's socket.
pub(crate) fn natctl(server: &Running, arguments: &[&str]) -> Output {
    let mut natctl = Command::new(env!("CARGO_BIN_EXE_natctl"));
    natctl.arg("--socket").arg(&server.socket).args(arguments).output().unwrap()
}
