//! Listeners and connections: one thread, a bounded number of connections, each with a deadline.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, sleep_until, timeout};

use super::gateway::Gateway;
use super::limits::Limits;
use super::socket::{self, SocketFile};
use super::stream_deadline::StreamDeadline;
use super::{app, http};
use natgw_config::{Socket, Token};

/// Pause after a failed accept (no file descriptor free).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the server could not be set up; says which configuration key is concerned.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The TCP address cannot be listened on.
    #[error("management.listen {address}: {}", reason(.source))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The unix socket cannot be listened on.
    #[error("management.socket {path}: {}", reason(.source))]
    Socket {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The thread's runtime cannot be made.
    #[error("management: {}", reason(.0))]
    Runtime(#[source] io::Error),
}

/// The operating system's words without their number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// A server whose listeners are bound, so that nothing about them fails later, and that answers nothing yet.
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    tcp: Option<TcpListener>,
    unix: Option<(UnixListener, SocketFile)>,
    limits: Limits,
}

impl Server {
    /// Listens on `listen` and on the unix socket `socket`, where given; with [`Limits::DEFAULT`].
    pub fn bind(listen: Option<SocketAddr>, socket: Option<&Socket>) -> Result<Server, BindError> {
        let bind = |address: SocketAddr| {
            let bound = TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            bound.map_err(|source| BindError::Listen { address, source })
        };
        let tcp = listen.map(bind).transpose()?;
        let listen = |socket: &Socket| {
            let bound = socket::listen(socket).and_then(|(listener, file)| {
                listener.set_nonblocking(true)?;
                Ok((listener, file))
            });
            bound.map_err(|source| BindError::Socket { path: socket.path.display().to_string(), source })
        };
        let unix = socket.map(listen).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(app::BLOCKING_THREADS)
            .thread_name("management ask")
            .build()
            .map_err(BindError::Runtime)?;
        Ok(Server { runtime, tcp, unix, limits: Limits::DEFAULT })
    }

    /// With other limits than [`Limits::DEFAULT`].
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Server {
        Server { limits, ..self }
    }

    /// The TCP address listened on, with the port that the system chose where none was given.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Starts the thread that answers for `gateway`. Clients of TCP may change things who have `token`.
    pub fn spawn(self, gateway: Arc<dyn Gateway>, token: Option<Token>) -> io::Result<Handle> {
        let routers = http::routers(gateway, token).map_err(io::Error::other)?;
        let (stop, stopped) = watch::channel(());
        let thread = thread::Builder::new().name("management http".into()).spawn(move || {
            let Server { runtime, tcp, unix, limits } = self;
            let (unix, _file) = unix.unzip();
            if let Err(error) = runtime.block_on(serve(routers, tcp, unix, limits, stopped)) {
                tracing::error!(%error, "the management server ends");
            }
            runtime.shutdown_timeout(limits.close_timeout);
        })?;
        Ok(Handle { stop: Some(stop), thread: Some(thread) })
    }
}

/// A server that answers; stops when dropped.
#[derive(Debug)]
pub struct Handle {
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Lets requests under way finish for a moment, closes all connections, removes the unix socket and joins the
    /// thread.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the management server's thread panicked");
        }
    }
}

/// Serves until the sender of `stopped` is gone.
async fn serve(
    [for_tcp, for_unix]: [Router; 2],
    tcp: Option<TcpListener>,
    unix: Option<UnixListener>,
    limits: Limits,
    stopped: watch::Receiver<()>,
) -> io::Result<()> {
    let tcp = tcp.map(tokio::net::TcpListener::from_std).transpose()?;
    let unix = unix.map(tokio::net::UnixListener::from_std).transpose()?;
    let over_tcp = async {
        if let Some(listener) = &tcp {
            accept(async || Ok(listener.accept().await?.0), &for_tcp, limits, &stopped).await;
        }
    };
    let over_unix = async {
        if let Some(listener) = &unix {
            accept(async || Ok(listener.accept().await?.0), &for_unix, limits, &stopped).await;
        }
    };
    tokio::join!(over_tcp, over_unix);
    Ok(())
}

/// Takes connections from one listener; returns when the last of them has ended after the stop.
async fn accept<S>(
    next: impl AsyncFn() -> io::Result<S>,
    router: &Router,
    limits: Limits,
    stopped: &watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(limits.connections));
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            match next().await {
                Ok(stream) => {
                    let connection = connection(stream, router.clone(), limits, stopped.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a management connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop(stopped.clone()) => {}
    }
    let _all_ended = slots.acquire_many(limits.connections as u32).await;
}

async fn connection<S>(stream: S, router: Router, limits: Limits, stopped: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let deadline = StreamDeadline::new(stopped.clone());
    let router = router.layer(Extension(deadline.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_size)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // How a connection ended concerns its client alone.
        _ = connection.as_mut() => return,
        () = stop(stopped.clone()) => {}
        () = sleep(limits.connection_time) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop(stopped) => {}
        () = sleep_until(deadline.until()) => {}
    }
    let _ = timeout(limits.close_timeout, connection).await;
}

async fn stop(mut stopped: watch::Receiver<()>) {
    while stopped.changed().await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_named_with_its_key() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Server::bind(Some(address), None).unwrap_err();
        assert_eq!(error.to_string(), format!("management.listen {address}: Address already in use"));
    }

    #[test]
    fn a_socket_path_that_cannot_be_is_named_with_its_key() {
        let socket =
            Socket { path: "/proc/none/control.sock".into(), mode: Socket::MODE_DEFAULT, group: None };
        let error = Server::bind(None, Some(&socket)).unwrap_err();
        assert_eq!(error.to_string(), "management.socket /proc/none/control.sock: No such file or directory");
    }
}
