//! Memif clients find their server again.
//!
//! A server's driver takes one peer after another by itself. A client's connects when the port is started and at no other
//! time: a [`Reconnector`] starts the port, again and again while no server is there.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::device::Device;
use super::port::{Port, Started};
use super::{log, stats};

/// Connects memif clients whose port is not started or whose server has left, until dropped.
///
/// In a thread of its own: a server that listens and does not accept keeps the driver in connect(2).
#[derive(Debug)]
pub struct Reconnector {
    stop: Option<Sender<()>>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Reconnector {
    /// For those of `ports` that are clients; `None` without one.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start<'a>(ports: impl Iterator<Item = &'a Port<Started>>) -> std::io::Result<Option<Reconnector>> {
        let client = |port: &Port<Started>| {
            port.device.memif()?.is_client().then(|| Client::new(Arc::clone(&port.device)))
        };
        let mut clients: Vec<Client> = ports.filter_map(client).collect();
        if clients.is_empty() {
            return Ok(None);
        }
        let (stop, stopped) = channel();
        let (end, ended) = channel::<()>();
        let thread = thread::Builder::new().name("memif".into()).spawn(move || {
            let _end = end;
            loop {
                clients.iter_mut().for_each(Client::look);
                if stopped.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Some(Reconnector { stop: Some(stop), ended, thread: Some(thread) }))
    }
}

impl Drop for Reconnector {
    /// A thread that is stuck in connect(2) is left: the process is about to end.
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected)
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// A port of the [`Reconnector`].
struct Client {
    device: Arc<Device>,
    due: Instant,
    pause: Duration,
    told: bool,
}

impl Client {
    fn new(device: Arc<Device>) -> Client {
        Client { device, due: Instant::now(), pause: PAUSE_MIN, told: false }
    }

    fn look(&mut self) {
        let Some(memif) = self.device.memif() else { return };
        if memif.is_connected() {
            if stats::read_link(&self.device).is_ok_and(|link| link.up) {
                (self.pause, self.told) = (PAUSE_MIN, false);
            }
            return;
        }
        if Instant::now() < self.due {
            return;
        }
        // The driver complains each time.
        let _setting_up = log::SettingUp::begin();
        if self.device.is_started() {
            self.device.stop(memif);
        }
        log::forget();
        if let Err(error) = self.device.start()
            && !std::mem::replace(&mut self.told, true)
        {
            let device = self.device.name();
            tracing::debug!(device, %error, "a memif client does not connect");
            tracing::info!(device, "no memif server: the port connects as soon as there is one");
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.due = Instant::now() + self.pause;
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between two attempts; doubled after each one that fails.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// For the thread to end.
const PATIENCE: Duration = Duration::from_secs(2);
