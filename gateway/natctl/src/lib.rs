//! `natctl`: a running gateway's state on the command line.
//!
//! It asks the HTTP API and shows the answer as a table, or with `--json` as it is. Exit codes: 0 done, 1 refused
//! by the gateway, 2 wrong usage, 3 no gateway there.
//!
//! # Example
//! ```
//! use clap::CommandFactory;
//!
//! let command = natctl::Natctl::command();
//! assert!(command.get_subcommands().any(|command| command.get_name() == "sessions"));
//! ```

mod capture;
mod client;
mod explain;
mod show;
mod table;
mod top;

use std::io::{self, ErrorKind, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::client::{Client, Failure, Url};
use natgw_api::types::{
    Counters, Deleted, Drain, Drops, Explanation, Forward, Holder, InterfaceStatus, Mapping, Neighbor,
    NewForward, Page, Pool, Protocols, Query, Reloaded, Route, Session, Status, Subscriber, Whose,
};

const DEFAULT_SOCKET: &str = "/run/nat-gateway/control.sock";

/// Shows the state of a running NAT gateway.
#[derive(Debug, Parser)]
#[command(name = "natctl", version, max_term_width = 100)]
pub struct Natctl {
    /// Unix socket of the gateway.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,

    /// HTTP address of the gateway, such as http://127.0.0.1:9464, instead of the socket.
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket")]
    url: Option<Url>,

    /// Print the API's JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What is running, whether it is ready, and what each worker does.
    Status,
    /// Interfaces with their links and counters.
    Interfaces,
    /// Neighbours (ARP).
    Neighbors,
    /// Routes.
    Routes,
    /// Outside address pools and their use.
    Pools,
    /// Port forwards and 1:1 mappings.
    Forwards {
        #[command(subcommand)]
        action: Option<ForwardsAction>,
    },
    /// The subscribers with the most sessions.
    Subscribers {
        /// How many.
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one)]
        top: usize,
    },
    /// Which outside ports a subscriber has to itself, or whose an outside endpoint is (port blocks, deterministic mapping).
    Whose {
        /// An inside address, or an outside address with a port.
        #[arg(value_name = "ADDRESS[:PORT]")]
        of: Whose,
    },
    /// Mappings of inside to outside endpoints.
    Mappings(Selection),
    /// Sessions.
    #[command(args_conflicts_with_subcommands = true)]
    Sessions {
        #[command(subcommand)]
        action: Option<SessionsAction>,
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        remote: Remote,
    },
    /// What would become of a packet: rule, pool, mapping, session, route, or why it is dropped. Sends nothing.
    Explain(explain::Asked),
    /// Frames into a pcapng file for Wireshark or tshark, with drop reasons and sessions as comments.
    #[command(group(ArgGroup::new("frames").multiple(true).required(true).args(["inside", "outside", "dropped"])))]
    Capture(capture::Asked),
    /// End all sessions.
    Flush(Authorization),
    /// Everything counted that is not zero.
    Counters {
        /// Show zeros too.
        #[arg(long)]
        all: bool,
    },
    /// Packets dropped, by reason and direction.
    Drops {
        /// Show reasons that never struck too.
        #[arg(long)]
        all: bool,
    },
    /// Interfaces, workers, pools, drops and subscribers on the terminal, with rates, anew each second.
    Top(top::Asked),
    /// Read the configuration file again and put it in force; a wrong file changes nothing.
    Reload {
        /// Do not wait until the sessions have ended that are not allowed any more.
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        authorization: Authorization,
    },
    /// Begin no session any more, and end the gateway with the last one: before maintenance, while another takes over.
    Drain {
        /// End it after so many seconds, whatever sessions it has then.
        #[arg(long, value_name = "SECONDS", conflicts_with = "stop")]
        timeout: Option<u32>,
        /// Let sessions begin again.
        #[arg(long)]
        stop: bool,
        #[command(flatten)]
        authorization: Authorization,
    },
    /// A completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
enum ForwardsAction {
    /// Show them all, as without a word.
    List,
    /// Put another port forward in force, until it is deleted or the gateway ends.
    Add {
        /// Protocol.
        #[arg(value_name = "PROTO", value_parser = ["udp", "tcp"])]
        protocol: String,
        /// Outside endpoint, or ADDRESS:FIRST-LAST.
        #[arg(value_name = "OUTSIDE:PORT")]
        external: String,
        /// Inside endpoint, or ADDRESS:FIRST-LAST.
        #[arg(value_name = "INSIDE:PORT")]
        internal: String,
        /// What the inside host sees as source: remote, or gateway (a redirect).
        #[arg(long, value_name = "WHO", value_parser = ["remote", "gateway"])]
        source: Option<String>,
        #[command(flatten)]
        authorization: Authorization,
    },
    /// Take a forward away that was added.
    Delete {
        /// As the list names it.
        #[arg(value_name = "ID", value_parser = forward_id)]
        id: String,
        #[command(flatten)]
        authorization: Authorization,
    },
}

#[derive(Debug, Subcommand)]
enum SessionsAction {
    /// End the sessions that all conditions hold for.
    #[command(group(ArgGroup::new("any").multiple(true).required(true)
        .args(["inside", "outside", "remote", "protocol", "port"])))]
    Delete {
        #[command(flatten)]
        conditions: Conditions,
        #[command(flatten)]
        remote: Remote,
        #[command(flatten)]
        authorization: Authorization,
    },
}

/// What allows a change.
#[derive(Debug, Args)]
struct Authorization {
    /// A file with the token of management.token, which a change over TCP needs.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Which rows of a table to show.
#[derive(Debug, Args)]
struct Selection {
    #[command(flatten)]
    conditions: Conditions,
    /// Most rows to show.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    limit: usize,
}

/// What rows must be like.
#[derive(Debug, Args)]
struct Conditions {
    /// Inside address.
    #[arg(long, value_name = "A")]
    inside: Option<Ipv4Addr>,
    /// Outside address.
    #[arg(long, value_name = "A")]
    outside: Option<Ipv4Addr>,
    /// Protocol: udp, tcp, icmp, gre, esp, sctp, udp-lite, dccp, a number, or other for all but the first three.
    #[arg(long, value_name = "P", value_parser = protocol)]
    protocol: Option<String>,
    /// Port or query identifier of any endpoint.
    #[arg(long, value_name = "N")]
    port: Option<u16>,
}

/// What only sessions have.
#[derive(Debug, Args)]
struct Remote {
    /// Remote address.
    #[arg(long, value_name = "A")]
    remote: Option<Ipv4Addr>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let Natctl { socket, url, json, command } = Natctl::parse();
    let client = url.map_or(Client::Unix(socket), Client::Tcp);
    match run(&Terminal { client, json }, command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("natctl: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(terminal: &Terminal, command: Command) -> Result<(), Failure> {
    match command {
        Command::Status => terminal.show("status", |status: &Status| show::status(status)),
        Command::Interfaces => {
            terminal.show("interfaces", |rows: &Vec<InterfaceStatus>| show::interfaces(rows))
        }
        Command::Neighbors => terminal.show("neighbors", |rows: &Vec<Neighbor>| show::neighbors(rows)),
        Command::Routes => terminal.show("routes", |rows: &Vec<Route>| show::routes(rows)),
        Command::Pools => terminal.show("pools", |rows: &Vec<Pool>| show::pools(rows)),
        Command::Forwards { action: None | Some(ForwardsAction::List) } => {
            terminal.show("forwards", |rows: &Vec<Forward>| show::forwards(rows))
        }
        Command::Forwards {
            action: Some(ForwardsAction::Add { protocol, external, internal, source, authorization }),
        } => {
            let new = NewForward { protocol, external, internal, source };
            let body = terminal.client.add("forwards", &new, authorization.token()?.as_deref())?;
            terminal.show_body(&body, |added: &Forward| format!("{} is in force\n", added.id))
        }
        Command::Forwards { action: Some(ForwardsAction::Delete { id, authorization }) } => {
            terminal.client.delete(&format!("forwards/{id}"), authorization.token()?.as_deref())?;
            if terminal.json { Ok(()) } else { print(format!("{id} is gone\n").as_bytes()) }
        }
        Command::Subscribers { top } => {
            terminal.show(&format!("subscribers?top={top}"), |rows: &Vec<Subscriber>| show::subscribers(rows))
        }
        Command::Whose { of } => {
            terminal.show(&format!("whose?of={of}"), |rows: &Vec<Holder>| show::holders(rows))
        }
        Command::Mappings(selection) => {
            let path = format!("mappings?{}", selection.conditions.query());
            terminal.list(&path, selection.limit, |rows: &[Mapping]| show::mappings(rows))
        }
        Command::Sessions { action: None, selection, remote } => {
            let path = format!("sessions?{}{}", remote.query(), selection.conditions.query());
            terminal.list(&path, selection.limit, |rows: &[Session]| show::sessions(rows))
        }
        Command::Sessions { action: Some(action), .. } => {
            let SessionsAction::Delete { conditions, remote, authorization } = action;
            let path = format!("sessions?{}{}", remote.query(), conditions.query());
            let body = terminal.client.delete(&path, authorization.token()?.as_deref())?;
            terminal.show_body(&body, |deleted: &Deleted| show::deleted(deleted))
        }
        Command::Explain(asked) => {
            let body = terminal.client.post(&asked.path(), None)?;
            terminal.show_body(&body, |explanation: &Explanation| explain::text(explanation))
        }
        Command::Capture(asked) => asked.run(&terminal.client),
        Command::Flush(authorization) => {
            let body = terminal.client.post("flush", authorization.token()?.as_deref())?;
            terminal.show_body(&body, |deleted: &Deleted| show::deleted(deleted))
        }
        Command::Counters { all } => {
            terminal.show("counters", |counters: &Counters| show::counters(counters, keep(all)))
        }
        Command::Drops { all } => terminal.show("drops", |drops: &Drops| show::drops(drops, keep(all))),
        Command::Top(_) if terminal.json => {
            Err(Failure::NoJson("natctl status, interfaces, pools and drops have it"))
        }
        Command::Top(asked) => asked.run(&terminal.client),
        Command::Reload { no_wait, authorization } => {
            let path = if no_wait { "reload?wait=false" } else { "reload" };
            let body = terminal.client.post(path, authorization.token()?.as_deref())?;
            terminal.show_body(&body, |reloaded: &Reloaded| show::reloaded(reloaded))
        }
        Command::Drain { stop: true, authorization, .. } => {
            terminal.client.delete("drain", authorization.token()?.as_deref())?;
            if terminal.json { Ok(()) } else { print(b"sessions begin again\n") }
        }
        Command::Drain { timeout, authorization, .. } => {
            let limit = timeout.map(|seconds| format!("?timeout_s={seconds}")).unwrap_or_default();
            let body = terminal.client.post(&format!("drain{limit}"), authorization.token()?.as_deref())?;
            terminal.show_body(&body, |drain: &Drain| format!("{drain}\n"))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Natctl::command(), "natctl", &mut script);
            print(&script)
        }
    }
}

/// As it was written, where the gateway knows it.
fn protocol(text: &str) -> Result<String, String> {
    text.parse::<Protocols>().map(|_| text.to_owned()).map_err(|error| format!("{error}, or other"))
}

/// Nothing that would lead elsewhere in a URL.
fn forward_id(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    if text.chars().all(is_plain) { Ok(text.to_owned()) } else { Err("an ID of `natctl forwards`".into()) }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".into()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// Which numbers to show, from the flag `--all`.
fn keep(all: bool) -> fn(u64) -> bool {
    if all { |_| true } else { |number| number != 0 }
}

/// Where the answers come from and how they are shown.
struct Terminal {
    client: Client,
    json: bool,
}

impl Terminal {
    /// Shows one resource.
    fn show<T: DeserializeOwned>(&self, path: &str, text: impl Fn(&T) -> String) -> Result<(), Failure> {
        self.show_body(&self.client.get(path)?, text)
    }

    fn show_body<T: DeserializeOwned>(
        &self,
        body: &[u8],
        text: impl Fn(&T) -> String,
    ) -> Result<(), Failure> {
        if self.json { print_json(&parse::<Value>(body)?) } else { print(text(&parse(body)?).as_bytes()) }
    }

    /// Shows the first `limit` rows of a table, page by page.
    fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        limit: usize,
        text: impl Fn(&[T]) -> String,
    ) -> Result<(), Failure> {
        let mut table = Page { items: Vec::<Value>::new(), next_cursor: None };
        loop {
            let rows = (limit - table.items.len()).min(Query::LIMIT_MAX);
            let cursor = table.next_cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page: Page<Value> = parse(&self.client.get(&format!("{path}limit={rows}{cursor}"))?)?;
            table.items.extend(page.items);
            table.next_cursor = page.next_cursor;
            if table.next_cursor.is_none() || table.items.len() >= limit {
                break;
            }
        }
        if self.json {
            return print_json(&table);
        }
        let more = table.next_cursor.is_some();
        let rows = serde_json::from_value::<Vec<T>>(Value::Array(table.items)).map_err(not_a_gateway)?;
        print(text(&rows).as_bytes())?;
        if more {
            eprintln!("natctl: there may be more than these {limit}; see --limit");
        }
        Ok(())
    }
}

impl Authorization {
    fn token(self) -> Result<Option<String>, Failure> {
        let Some(file) = self.token_file else { return Ok(None) };
        let text = std::fs::read_to_string(&file).map_err(|source| Failure::Token { file, source })?;
        Ok(Some(text.trim().to_owned()))
    }
}

impl Remote {
    /// As [`Conditions::query`].
    fn query(&self) -> String {
        self.remote.map(|remote| format!("remote={remote}&")).unwrap_or_default()
    }
}

impl Conditions {
    /// The conditions as the beginning of a URL's query; a parameter can follow.
    fn query(&self) -> String {
        let condition = |name: &str, value: Option<String>| value.map(|value| format!("{name}={value}&"));
        [
            condition("inside", self.inside.map(|address| address.to_string())),
            condition("outside", self.outside.map(|address| address.to_string())),
            condition("protocol", self.protocol.clone()),
            condition("port", self.port.map(|port| port.to_string())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(not_a_gateway)
}

fn not_a_gateway(error: serde_json::Error) -> Failure {
    Failure::NoGateway(format!("not a gateway's answer: {error}"))
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| Failure::Output(error.into()))?;
    text.push(b'\n');
    print(&text)
}

/// Writes to standard output; a reader that has seen enough is no failure.
fn print(text: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(text).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}
