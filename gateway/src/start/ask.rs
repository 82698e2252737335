//! Questions to all workers at once.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::running::Running;
use crate::management::Unavailable;
use crate::worker::Command;

impl Running {
    /// Where each worker takes its commands.
    pub(super) fn commands(&self) -> Result<Vec<Sender<Command>>, Unavailable> {
        self.with(|dataplane| dataplane.workers().iter().map(|worker| worker.commands.clone()).collect())
            .ok_or_else(|| Unavailable("the gateway is stopping".into()))
    }
}

/// Gives every worker a command, and waits for all answers.
///
/// # Errors
/// The number of a worker that does not take it, or does not answer in time; the others may have done it.
pub(super) fn ask_each<T>(
    workers: &[Sender<Command>],
    deadline: Instant,
    command: impl Fn(Sender<T>) -> Command,
) -> Result<Vec<T>, usize> {
    let mut asked = Vec::with_capacity(workers.len());
    for (index, worker) in workers.iter().enumerate() {
        let (answer, answered) = bounded(1);
        worker.send_deadline(command(answer), deadline).map_err(|_| index)?;
        asked.push(answered);
    }
    let answer =
        |(index, answered): (usize, &Receiver<T>)| answered.recv_deadline(deadline).map_err(|_| index);
    asked.iter().enumerate().map(answer).collect()
}
