//! One HTTP request over the gateway's unix socket or over TCP.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};

use natgw_api::{CHANGE_TIMEOUT, Problem};

/// How long an answer may take, and that to a change; the gateway itself gives up earlier.
const TIMEOUT: Duration = Duration::from_secs(10);
const CHANGE_PATIENCE: Duration = CHANGE_TIMEOUT.saturating_add(TIMEOUT);
/// Largest answer read, bytes.
const BODY_SIZE_MAX: usize = 64 << 20;

/// How to reach the gateway.
#[derive(Clone, Debug)]
pub(super) enum Client {
    Unix(PathBuf),
    Tcp(Url),
}

/// Host and port of an `http://` address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    authority: String,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The gateway answered with a problem document.
    #[error("{}{}", .0.detail, .0.mistakes.iter().map(|line| format!("\n{line}")).collect::<String>())]
    Refused(Problem),
    /// Nothing answers there, or not like a gateway.
    #[error("{0}")]
    NoGateway(String),
    /// There is no terminal to draw on; what to do instead.
    #[error("standard input and output are no terminal; {0}")]
    NoTerminal(&'static str),
    /// The command has no JSON; what has.
    #[error("no JSON here; {0}")]
    NoJson(&'static str),
    /// The answer cannot be written out.
    #[error("cannot write: {0}")]
    Output(io::Error),
    /// The token cannot be read.
    #[error("cannot read the token in {}: {source}", file.display())]
    Token {
        /// Where it should be.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Failure {
    /// The program's exit code.
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Failure::Refused(_) | Failure::Output(_) | Failure::Token { .. } => 1,
            Failure::NoTerminal(_) | Failure::NoJson(_) => 2,
            Failure::NoGateway(_) => 3,
        }
    }
}

impl Client {
    /// The body at `path` below `/api/v1/`.
    pub(super) fn get(&self, path: &str) -> Result<Bytes, Failure> {
        self.ask(Method::GET, path, None, Bytes::new())
    }

    /// The answer to a change.
    pub(super) fn post(&self, path: &str, token: Option<&str>) -> Result<Bytes, Failure> {
        self.ask(Method::POST, path, token, Bytes::new())
    }

    /// The answer to an addition.
    pub(super) fn add(
        &self,
        path: &str,
        new: &impl Serialize,
        token: Option<&str>,
    ) -> Result<Bytes, Failure> {
        let body = serde_json::to_vec(new).map_err(|error| Failure::Output(error.into()))?;
        self.ask(Method::POST, path, token, body.into())
    }

    /// The answer to a removal.
    pub(super) fn delete(&self, path: &str, token: Option<&str>) -> Result<Bytes, Failure> {
        self.ask(Method::DELETE, path, token, Bytes::new())
    }

    /// The body at `path`, piece by piece as it arrives, until `take` has enough or the user interrupts.
    pub(super) fn stream(
        &self,
        path: &str,
        token: Option<&str>,
        mut take: impl FnMut(&[u8]) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        self.run(async {
            let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
            let mut response =
                self.within(TIMEOUT, self.send(Method::GET, path, token, Bytes::new())).await?;
            if !response.status().is_success() {
                return self.within(TIMEOUT, self.whole(response)).await.map(drop);
            }
            loop {
                let frame = tokio::select! {
                    frame = response.frame() => frame,
                    _ = interrupt.recv() => return Ok(()),
                    _ = terminate.recv() => return Ok(()),
                };
                let Some(frame) = frame else { return Ok(()) };
                let frame = frame.map_err(|error| self.no_gateway(error))?;
                if let Some(bytes) = frame.data_ref()
                    && !take(bytes)?
                {
                    return Ok(());
                }
            }
        })
    }

    fn ask(&self, method: Method, path: &str, token: Option<&str>, body: Bytes) -> Result<Bytes, Failure> {
        let patience = if method == Method::GET { TIMEOUT } else { CHANGE_PATIENCE };
        let answer = async { self.whole(self.send(method, path, token, body).await?).await };
        self.run(self.within(patience, answer))
    }

    fn run<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| Failure::NoGateway(error.to_string()))?.block_on(work)
    }

    async fn within<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let late = || self.no_gateway(format!("no answer within {} s", patience.as_secs()));
        tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(late()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        match self {
            Client::Unix(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| self.no_gateway(error))?;
                self.send_over(stream, "localhost", request, body).await
            }
            Client::Tcp(url) => {
                let stream = TcpStream::connect(&url.authority).await;
                self.send_over(stream.map_err(|error| self.no_gateway(error))?, &url.authority, request, body)
                    .await
            }
        }
    }

    async fn send_over<S>(
        &self,
        stream: S,
        host: &str,
        request: Builder,
        body: Bytes,
    ) -> Result<Answer, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let request = request
            .header(header::HOST, host)
            .body(Full::new(body))
            .map_err(|error| self.no_gateway(error))?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.no_gateway(error))?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.no_gateway(error))
    }

    async fn whole(&self, response: Answer) -> Result<Bytes, Failure> {
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_SIZE_MAX).collect().await;
        let body = body.map_err(|error| self.no_gateway(error))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(Failure::Refused(problem)),
            Err(_) => Err(self.no_gateway(format!("not a gateway's answer: status {status}"))),
        }
    }

    fn no_gateway(&self, why: impl fmt::Display) -> Failure {
        match self {
            Client::Unix(socket) => Failure::NoGateway(format!("no gateway at {}: {why}", socket.display())),
            Client::Tcp(url) => Failure::NoGateway(format!("no gateway at http://{}: {why}", url.authority)),
        }
    }
}

type Answer = Response<Incoming>;

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(Failure::Output)
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        let (Some("http"), Some(host), "/", None) = (uri.scheme_str(), uri.host(), uri.path(), uri.query())
        else {
            return Err("http://HOST:PORT is allowed".into());
        };
        Ok(Url { authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        let authority = |text: &str| text.parse::<Url>().map(|url| url.authority);
        assert_eq!(authority("http://127.0.0.1:9464").as_deref(), Ok("127.0.0.1:9464"));
        assert_eq!(authority("http://[::1]:9464/").as_deref(), Ok("[::1]:9464"));
        assert_eq!(authority("http://gateway").as_deref(), Ok("gateway:80"));
        for bad in ["", "127.0.0.1:9464", "https://gateway", "http://gateway/metrics", "http://gateway/?a=b"]
        {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }
}
