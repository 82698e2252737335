//! `natctl capture`: frames from the gateway into a pcapng file, until there are enough or the user interrupts.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;

use super::Authorization;
use super::client::{Client, Failure};
use natgw_api::pcapng::Blocks;
use natgw_api::types::Protocols;
use natgw_api::{CaptureRequest, Frames};

/// What to capture, and where to.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Frames that inside interfaces receive and send.
    #[arg(long)]
    inside: bool,
    /// Frames that outside interfaces receive and send.
    #[arg(long)]
    outside: bool,
    /// Frames that are dropped, each with its reason.
    #[arg(long)]
    dropped: bool,
    /// Only packets that all conditions hold for: inside=A, outside=A, remote=A, protocol=P, port=N.
    #[arg(value_name = "CONDITION", value_parser = condition)]
    conditions: Vec<Condition>,
    /// The file to write; - for standard output, into tshark -r - or the like.
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,
    /// Most frames a second.
    #[arg(long, value_name = "N", default_value_t = CaptureRequest::RATE_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=CaptureRequest::RATE_MAX.into()))]
    rate: u32,
    /// Most frames in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=CaptureRequest::COUNT_MAX.into()))]
    count: Option<u32>,
    /// Longest time.
    #[arg(long, value_name = "S", default_value_t = CaptureRequest::SECONDS_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=CaptureRequest::SECONDS_MAX.into()))]
    seconds: u32,
    /// Octets of each frame, where it has more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=CaptureRequest::SNAP_LEN_MAX.into()))]
    snap_len: Option<u32>,
    #[command(flatten)]
    authorization: Authorization,
}

/// A part of the URL's query.
#[derive(Clone, Debug)]
struct Condition(String);

/// A condition that the gateway will understand.
fn condition(text: &str) -> Result<Condition, String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE, such as inside=10.64.0.11")?;
    let understood = match name {
        "inside" | "outside" | "remote" => value.parse::<Ipv4Addr>().map(drop).map_err(|e| e.to_string()),
        "protocol" => {
            value.parse::<Protocols>().map(drop).map_err(|error| format!("expected {error}, or other"))
        }
        "port" => value.parse::<u16>().map(drop).map_err(|error| error.to_string()),
        _ => Err("inside, outside, remote, protocol and port are allowed".into()),
    };
    understood.map(|()| Condition(text.to_owned()))
}

impl Asked {
    fn path(&self) -> String {
        let Asked { inside, outside, dropped, rate, seconds, .. } = *self;
        let frames = Frames { inside, outside, dropped };
        let mut path = format!("capture?frames={frames}&rate={rate}&seconds={seconds}");
        let limits = [("count", self.count), ("snap_len", self.snap_len)];
        for (name, limit) in limits.into_iter().filter_map(|(name, limit)| Some((name, limit?))) {
            path += &format!("&{name}={limit}");
        }
        self.conditions.iter().for_each(|condition| path += &format!("&{}", condition.0));
        path
    }

    /// Captures, and prints the counts on standard error.
    pub(super) fn run(self, client: &Client) -> Result<(), Failure> {
        let (path, is_pipe) = (self.path(), self.write.as_os_str() == "-");
        if is_pipe && io::stdout().is_terminal() {
            return Err(Failure::Output(io::Error::other("standard output is a terminal; name a file")));
        }
        let token = self.authorization.token()?;
        let (file, mut out, mut blocks) = (self.write, None::<Box<dyn Write>>, Blocks::default());
        let ended = client.stream(&path, token.as_deref(), |bytes| {
            let whole = blocks
                .take(bytes)
                .map_err(|error| Failure::NoGateway(format!("not a gateway's answer: {error}")))?;
            // Not before the gateway has agreed.
            let out = match &mut out {
                Some(out) => out,
                None if is_pipe => out.insert(Box::new(io::stdout())),
                None => out.insert(Box::new(File::create(&file).map_err(Failure::Output)?)),
            };
            match out.write_all(&whole).and_then(|()| out.flush()) {
                Ok(()) => Ok(true),
                // The reader has seen enough.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
                Err(error) => Err(Failure::Output(error)),
            }
        });
        if out.is_some() {
            eprintln!("natctl: {} frames captured, {} missed", blocks.frames(), blocks.missed());
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_understood_or_says_what_is_allowed() {
        for right in ["inside=10.64.0.11", "remote=198.51.100.7", "protocol=gre", "protocol=17", "port=53"] {
            assert_eq!(condition(right).unwrap().0, right);
        }
        for (wrong, said) in [
            ("port", "not NAME=VALUE"),
            ("host=10.0.0.1", "inside, outside, remote, protocol and port"),
            ("inside=here", "invalid IPv4"),
            ("port=70000", "too large"),
            ("protocol=ipsec", "or other"),
        ] {
            let error = condition(wrong).unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }
}
