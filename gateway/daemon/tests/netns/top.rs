//! `natctl top` on a terminal.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::gateway::Gateway;
use crate::lab::{Lab, Options, in_a_lab};
use crate::management::natctl;
use crate::namespace::PATIENCE;
use crate::programs;

/// `natctl top` on a pseudo-terminal of 80 columns and 24 lines, and what it has written there.
struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    pieces: Receiver<String>,
    written: String,
    /// What has been waited for ends here.
    at: usize,
}

impl Terminal {
    /// `before` stands in front of the command.
    fn new(lab: &Lab, before: &str) -> Terminal {
        let (natctl, socket) = (programs::path("natctl"), lab.gateway.socket().display());
        let line = format!(
            "stty rows 24 columns 80; stty -g; {before} {natctl} --socket {socket} top; echo \"ended with $?\"; stty -g"
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--command", &line, "/dev/null"]).env("TERM", "xterm-256color");
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = script.spawn().expect("util-linux is installed");
        let keys = child.stdin.take();
        let mut output = child.stdout.take().expect("a pipe");
        let (pieces_in, pieces) = channel();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut piece) {
                let _ = pieces_in.send(String::from_utf8_lossy(&piece[..len]).into_owned());
            }
        });
        Terminal { child, keys, pieces, written: String::new(), at: 0 }
    }

    /// Types.
    fn press(&mut self, keys: &str) {
        let typed = self.keys.as_mut().expect("it has not ended");
        typed.write_all(keys.as_bytes()).and_then(|()| typed.flush()).expect("somebody reads");
    }

    /// Waits until something is written, after what was waited for before.
    fn wait(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.written[self.at..].find(text) {
                self.at += found + text.len();
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            let piece = self.pieces.recv_timeout(left);
            let piece = piece.unwrap_or_else(|_| panic!("{text:?} is not in {:?}", &self.written[self.at..]));
            self.written.push_str(&piece);
        }
    }

    /// Waits for the end. The terminal's settings are what they were, the other screen is left and the cursor is shown.
    fn end(mut self) -> String {
        self.wait("ended with 0");
        drop(self.keys.take());
        self.written.extend(self.pieces.iter());
        self.child.wait().expect("a child of ours");
        let written = std::mem::take(&mut self.written);
        let lines = written.lines().map(str::trim);
        let settings: Vec<&str> = lines.filter(|line| line.matches(':').count() > 20).collect();
        assert!(settings.len() == 2 && settings[0] == settings[1], "{settings:?}");
        let last = |sequence: &str| written.rfind(sequence).expect("it is written");
        assert!(
            last("\x1b[?1049l") > last("\x1b[?1049h") && last("\x1b[?25h") > last("\x1b[?25l"),
            "{written:?}"
        );
        written
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a `natctl` of this lab runs.
fn runs(lab: &Lab) -> bool {
    let socket = lab.gateway.socket().to_str().expect("UTF-8");
    let processes = fs::read_dir("/proc").expect("a directory").flatten();
    let lines = processes.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    lines
        .into_iter()
        .any(|line| line.split('\0').next() == Some(&*programs::path("natctl")) && line.contains(socket))
}

const COLOR: &str = "\x1b[38;5;";

in_a_lab!(top_runs_on_a_terminal_and_leaves_it_as_it_was);
fn top_runs_on_a_terminal_and_leaves_it_as_it_was(lab: &mut Lab) {
    lab.a.exec("ping -q -c 2 -i 0.2 -W 2 198.51.100.10");
    let mut terminal = Terminal::new(lab, "");
    terminal.wait("10.64.0.11");
    terminal.press("\tp");
    terminal.wait("paused");
    terminal.press("q");
    assert!(terminal.end().contains(COLOR));

    let mut terminal = Terminal::new(lab, "NO_COLOR=1 timeout --foreground --preserve-status -s TERM 2");
    terminal.wait("10.64.0.11");
    assert!(!terminal.end().contains(COLOR));

    let once = natctl(lab, &["top", "--once"]);
    for said in ["nat-gateway ", "INTERFACE↓", "inside", "WORKER", "POOL", "DROPPED", "10.64.0.11"] {
        assert!(once.contains(said), "{said}: {once}");
    }
}

#[test]
fn top_tells_that_the_gateway_went_away_and_goes_on_when_it_is_back() {
    let mut lab = Lab::new(Options::DEFAULT);
    let mut terminal = Terminal::new(&lab, "");
    terminal.wait("q quit");
    assert_eq!(lab.gateway.end_on(Signal::SIGTERM).code(), Some(0));
    terminal.wait("trying again: no gateway");
    lab.gateway = Gateway::start(&lab.middle, &lab.work.path().join("gateway.toml"));
    // Its taps hang in the air.
    terminal.wait("NOT READY, up");
    terminal.press("q");
    terminal.end();
}

/// Takes the terminal of a `natctl top` away, in a shell that was given this before.
fn ends_with_its_terminal(before: &str) {
    let lab = Lab::new(Options::DEFAULT);
    let mut terminal = Terminal::new(&lab, before);
    terminal.wait("q quit");
    assert!(runs(&lab));
    drop(terminal);
    let until = Instant::now() + PATIENCE;
    while runs(&lab) {
        assert!(Instant::now() < until, "it goes on without a terminal");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn top_ends_with_its_terminal() {
    ends_with_its_terminal("");
}

/// As under nohup, cron or a service manager: then the shell ignores its own SIGHUP, and `natctl` is sent none.
#[test]
fn top_ends_with_its_terminal_where_sighup_is_ignored() {
    ends_with_its_terminal("trap '' HUP;");
}
