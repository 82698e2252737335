//! A TCP server for as long as a test wants it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::namespace::Namespace;

/// Listens until it is dropped.
pub(crate) struct TcpServer {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TcpServer {
    /// Gives every connection to `serve`, each in a thread of its own. A client that leaves does not disturb the
    /// others.
    pub(crate) fn new<S>(namespace: &Namespace, port: u16, serve: S) -> TcpServer
    where
        S: Fn(TcpStream, SocketAddr) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = namespace.tcp_listener(port);
        listener.set_nonblocking(true).expect("non-blocking");
        let ended = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ended = Arc::clone(&ended);
            move || listen(&listener, &ended, &Arc::new(serve))
        });
        TcpServer { ended, thread: Some(thread) }
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn listen<S>(listener: &TcpListener, ended: &AtomicBool, serve: &Arc<S>)
where
    S: Fn(TcpStream, SocketAddr) -> io::Result<()> + Send + Sync + 'static,
{
    while !ended.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, from)) => {
                let serve = Arc::clone(serve);
                thread::spawn(move || stream.set_nonblocking(false).and_then(|()| serve(stream, from)));
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}
