//! Requests to workers, and their answers.
//!
//! Each request has a channel of its own, so that a late answer never reaches another request. A request that is given up is
//! cancelled. Its channel is kept until the worker has dropped its end, for a worker frees nothing.

use std::sync::Mutex;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};

use super::lock::lock;
use natgw_management::Unavailable;
use natgw_worker::{Command, RequestId};

/// Channels that a worker may still hold the other end of.
#[derive(Default)]
pub(super) struct Channels(Mutex<Vec<Box<dyn Channel>>>);

trait Channel: Send {
    /// Whether nothing comes any more.
    fn is_over(&self) -> bool;
}

impl<T: Send> Channel for Receiver<T> {
    fn is_over(&self) -> bool {
        loop {
            match self.try_recv() {
                Ok(late) => drop(late),
                Err(error) => return error == TryRecvError::Disconnected,
            }
        }
    }
}

impl Channels {
    fn keep(&self, channel: Box<dyn Channel>) {
        let mut kept = lock(&self.0);
        kept.retain(|channel| !channel.is_over());
        kept.push(channel);
    }
}

/// A request that waits for its answer.
struct Asked<'a, T: Send + 'static> {
    id: RequestId,
    worker: &'a Sender<Command>,
    answered: Option<Receiver<T>>,
    channels: &'a Channels,
}

impl<'a, T: Send + 'static> Asked<'a, T> {
    /// Gives a worker a command; `None` where it does not take it by the deadline.
    fn new(
        channels: &'a Channels,
        worker: &'a Sender<Command>,
        deadline: Instant,
        command: impl FnOnce(RequestId, Sender<T>) -> Command,
    ) -> Option<Asked<'a, T>> {
        let (id, (answer, answered)) = (RequestId::next(), bounded(1));
        worker.send_deadline(command(id, answer), deadline).ok()?;
        Some(Asked { id, worker, answered: Some(answered), channels })
    }

    fn wait(&mut self, deadline: Instant) -> Option<T> {
        let answered = self.answered.as_ref()?;
        let answer = answered.recv_deadline(deadline).ok();
        if answer.is_none() {
            // A worker that takes no commands does none either.
            let _ = self.worker.try_send(Command::Cancel(self.id));
        }
        answer
    }
}

impl<T: Send + 'static> Drop for Asked<'_, T> {
    fn drop(&mut self) {
        if let Some(answered) = self.answered.take() {
            self.channels.keep(Box::new(answered));
        }
    }
}

impl Channels {
    /// Asks one worker, and waits for its answer.
    ///
    /// # Errors
    /// It does not take the command, or does not answer in time.
    pub(super) fn request<T: Send + 'static>(
        &self,
        worker: u16,
        commands: &Sender<Command>,
        deadline: Instant,
        command: impl FnOnce(RequestId, Sender<T>) -> Command,
    ) -> Result<T, Unavailable> {
        let mut asked =
            Asked::new(self, commands, deadline, command).ok_or(Unavailable::NoCommands { worker })?;
        asked.wait(deadline).ok_or(Unavailable::NoAnswer { worker })
    }

    /// Gives every worker a command, and waits for all answers.
    ///
    /// # Errors
    /// The number of a worker that does not take it, or does not answer in time; the others may have done it.
    pub(super) fn broadcast<T: Send + 'static>(
        &self,
        workers: &[Sender<Command>],
        deadline: Instant,
        command: impl Fn(RequestId, Sender<T>) -> Command,
    ) -> Result<Vec<T>, u16> {
        let ask = |(index, worker)| Asked::new(self, worker, deadline, &command).ok_or(index);
        let mut asked = (0..).zip(workers).map(ask).collect::<Result<Vec<_>, u16>>()?;
        // All are waited for, so that every late one is cancelled.
        let answers: Vec<Option<T>> = asked.iter_mut().map(|asked| asked.wait(deadline)).collect();
        (0..).zip(answers).map(|(index, answer)| answer.ok_or(index)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_gives_up_cancels_and_its_late_answer_goes_to_nobody() {
        let channels = Channels::default();
        let (worker, commands) = bounded(8);
        let soon = || Instant::now() + Duration::from_millis(10);
        let ask = |_: RequestId, answer: Sender<()>| Command::Drain(true, answer);
        let mut late = Asked::new(&channels, &worker, soon(), ask).unwrap();
        assert!(late.wait(soon()).is_none());
        let id = late.id;
        drop(late);
        let Ok(Command::Drain(_, late)) = commands.try_recv() else { panic!("no command") };
        assert!(matches!(commands.try_recv(), Ok(Command::Cancel(cancelled)) if cancelled == id));

        let mut next = Asked::new(&channels, &worker, soon(), ask).unwrap();
        late.try_send(()).unwrap();
        assert!(next.wait(soon()).is_none());
        drop((late, next));
        // What the worker has let go of is let go of here as well.
        let kept = |channels: &Channels| channels.0.lock().unwrap().len();
        assert_eq!(kept(&channels), 1);
        while commands.try_recv().is_ok() {}
        drop(Asked::<()> { id, worker: &worker, answered: Some(bounded(1).1), channels: &channels });
        assert_eq!(kept(&channels), 1);
    }
}
