//! An HTTP server of a few lines, and the bytes that it serves and expects: the same ones for everybody, so that
//! either side can tell when one is wrong.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::namespace::Namespace;
use crate::tcp_server::TcpServer;

/// Serves `GET /` with [`contents`] and compares what is `PUT` with them: 204, or 409 where they differ.
pub(crate) struct HttpServer {
    _server: TcpServer,
}

/// What is downloaded and uploaded: 20 MB without a period.
pub(crate) fn contents() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..20_000_000 / 8).flat_map(|_| word()).collect()
}

impl HttpServer {
    pub(crate) fn new(namespace: &Namespace, port: u16) -> HttpServer {
        let contents = contents();
        HttpServer { _server: TcpServer::new(namespace, port, move |stream, _| answer(stream, &contents)) }
    }
}

fn answer(mut stream: TcpStream, contents: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut method = String::new();
    reader.read_line(&mut method)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap_or(0);
            }
            Some((name, _)) if name.eq_ignore_ascii_case("expect") => {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            Some(_) => {}
            None => break,
        }
    }
    if method.starts_with("PUT") {
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let status = if body == contents { "204 No Content" } else { "409 Conflict" };
        return write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
    }
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", contents.len())?;
    stream.write_all(contents)
}
