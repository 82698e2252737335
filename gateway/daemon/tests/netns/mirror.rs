//! A web server that tells who it sees.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::namespace::Namespace;
use crate::tcp_server::TcpServer;

/// Answers every request with `you are ADDRESS`.
pub(crate) struct Mirror {
    _server: TcpServer,
}

impl Mirror {
    pub(crate) fn new(namespace: &Namespace, port: u16) -> Mirror {
        let serve = |stream, from: SocketAddr| answer(stream, &from.ip().to_string());
        Mirror { _server: TcpServer::new(namespace, port, serve) }
    }
}

fn answer(mut stream: TcpStream, from: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&chunk[..length]),
        }
    }
    let text = format!("you are {from}\n");
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
}
