//! `natctl top`: the running gateway on a terminal, anew each second.
//!
//! One thread asks the gateway, this one draws and reads keys, so that a gateway that answers late holds up no key. The
//! terminal is as it was afterwards, also after a panic and on SIGTERM. A terminal that is gone ends the program.

mod panel;
mod sample;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use crossterm::event::{self, Event, KeyEventKind};
use nix::poll::{PollFd, PollFlags, poll};
use ratatui::buffer::Buffer;
use ratatui::crossterm;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::client::{Client, Failure};
use sample::Sample;
use screen::Screen;

/// How the screen is wanted.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Print all of it once, as text, with the rates of one second.
    #[arg(long)]
    once: bool,
}

/// How often the gateway is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is asked for its subscribers, for which it looks through the workers' tables: each so many times.
const SUBSCRIBERS_EVERY: u64 = 5;
/// How soon a key or a signal is answered.
const KEYS_EVERY: Duration = Duration::from_millis(50);
/// How often the terminal is looked after, milliseconds: nothing wakes for a hangup alone on every kernel.
const TERMINAL_EVERY_MS: u16 = 200;
/// Columns of what is printed once.
const ONCE_WIDTH: u16 = 100;

impl Asked {
    pub(super) fn run(self, client: &Client) -> Result<(), Failure> {
        if self.once {
            return super::print(once(client)?.as_bytes());
        }
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(Failure::NoTerminal("natctl top --once prints one screen"));
        }
        // A gateway that is not there is reported as by the other commands.
        let first = Sample::take(client, None)?;
        let mut screen = Screen::new(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
        screen.take(Ok(first));
        let ended = ended_by_signal().map_err(Failure::Output)?;
        end_with_terminal();
        let answers = ask(client.clone());
        let mut terminal = ratatui::try_init().map_err(Failure::Output)?;
        let shown = watch(&mut terminal, &mut screen, &answers, &ended);
        ratatui::try_restore().and(shown).map_err(Failure::Output)
    }
}

/// Two looks, a second apart, as text.
fn once(client: &Client) -> Result<String, Failure> {
    let mut screen = Screen::new(false);
    let first = Sample::take(client, None)?;
    let subscribers = first.subscribers.clone();
    screen.take(Ok(first));
    thread::sleep(EVERY);
    screen.take(Ok(Sample::take(client, Some(subscribers))?));
    Ok(text(&screen, ONCE_WIDTH))
}

/// All of a screen, without styles.
fn text(screen: &Screen, width: u16) -> String {
    let area = Rect::new(0, 0, width, screen.height());
    let mut buffer = Buffer::empty(area);
    screen.render(area, &mut buffer);
    let line =
        |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..area.height).filter(|&y| y != 1).map(line).collect()
}

/// Set by a signal that ends the program. A thread that is blocked in reading a terminal that is gone never looks at it, so the
/// program ends without that thread.
fn ended_by_signal() -> io::Result<Arc<AtomicBool>> {
    let (ended, mut signals) = (Arc::new(AtomicBool::new(false)), Signals::new([SIGTERM, SIGINT, SIGHUP])?);
    let told = Arc::clone(&ended);
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            told.store(true, Ordering::Relaxed);
            thread::sleep(EVERY);
            ratatui::restore();
            process::exit(0);
        }
    });
    Ok(ended)
}

/// Ends the program when its terminal is gone. SIGHUP is not enough: the kernel sends it to the session's leader alone, which
/// may ignore it (nohup, cron, a service manager). `event::poll` is not enough either: at the end of a terminal it reads
/// again and again, and never returns.
fn end_with_terminal() {
    thread::spawn(|| {
        let stdin = io::stdin();
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        loop {
            let mut terminal = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
            // An interrupted look is repeated.
            let _ = poll(&mut terminal, TERMINAL_EVERY_MS);
            if terminal[0].revents().is_some_and(|events| events.intersects(gone)) {
                process::exit(0);
            }
        }
    });
}

/// Asks each second, until the receiver of the answers is gone.
fn ask(client: Client) -> Receiver<Result<Sample, String>> {
    let (answers, taken) = sync_channel(1);
    thread::spawn(move || {
        let (mut subscribers, mut due) = (None, Instant::now() + EVERY);
        for turn in 0_u64.. {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due = Instant::now() + EVERY;
            let known = if turn.is_multiple_of(SUBSCRIBERS_EVERY) { None } else { subscribers.take() };
            let answer = Sample::take(&client, known);
            subscribers = answer.as_ref().ok().map(|sample| sample.subscribers.clone());
            if answers.send(answer.map_err(|failure| failure.to_string())).is_err() {
                return;
            }
        }
    });
    taken
}

/// Draws until a key or a signal ends it.
fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    screen: &mut Screen,
    answers: &Receiver<Result<Sample, String>>,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mut is_drawn = false;
    while !ended.load(Ordering::Relaxed) {
        if !is_drawn {
            terminal.draw(|frame| frame.render_widget(&*screen, frame.area()))?;
            is_drawn = true;
        }
        if event::poll(KEYS_EVERY)? {
            is_drawn = false;
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release && !screen.press(key) => return Ok(()),
                _ => {}
            }
        }
        if let Ok(answer) = answers.try_recv() {
            screen.take(answer);
            is_drawn = false;
        }
    }
    Ok(())
}
