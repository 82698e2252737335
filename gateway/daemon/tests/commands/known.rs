//! Which programs the documents may run, and with which arguments.

use std::fs;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use nat_gateway::cli::Cli;
use nat_trafficgen::args::Cli as Trafficgen;
use natctl::Natctl;

use crate::pages::{files, root};

/// Programs that are not of this repository. Their options are theirs; files of the repository among their arguments exist.
const FOREIGN: &[&str] = &[
    "cmp",
    "curl",
    "dig",
    "docker",
    "ethtool",
    "grep",
    "ip",
    "jq",
    "ping",
    "prometheus",
    "promtool",
    "python3",
    "sudo",
    "tshark",
    "xargs",
];

/// Where the API listens in the documents, over TCP and over the socket.
const API: [&str; 2] = ["http://127.0.0.1:9464", "http://gateway"];

/// What a call is of.
pub(crate) enum Called<'a> {
    /// `nat-gateway`, with this command line.
    Gateway(&'a [String]),
    Other,
}

/// A call whose arguments its program knows, or why not.
pub(crate) fn call(call: &[String]) -> Result<Called<'_>, String> {
    let name = call[0].strip_prefix("target/release/").unwrap_or(&call[0]);
    match name {
        "nat-gateway" => return parse::<Cli>(call).map(|()| Called::Gateway(call)),
        "natctl" => parse::<Natctl>(call)?,
        "nat-trafficgen" => parse::<Trafficgen>(call)?,
        "cargo" => cargo(call)?,
        _ if name.starts_with("scripts/") => script(name, &call[1..])?,
        _ if FOREIGN.contains(&name) => {
            if let Some(inner) = inner(call) {
                return self::call(inner);
            }
            if name == "curl" {
                curl(&call[1..])?;
            }
            files_exist(call)?;
        }
        _ => return Err("no program that the documents may run".into()),
    }
    Ok(Called::Other)
}

/// The command that another one runs.
fn inner(call: &[String]) -> Option<&[String]> {
    let words: Vec<&str> = call.iter().map(String::as_str).collect();
    let skipped = match words[..] {
        ["sudo", ..] => 1,
        ["ip", "netns", "exec", _, ..] => 4,
        ["docker", ..] => words.iter().position(|&word| word == "exec")? + 2,
        _ => return None,
    };
    call.get(skipped..).filter(|inner| !inner.is_empty())
}

fn parse<T: Parser>(call: &[String]) -> Result<(), String> {
    match T::try_parse_from(call) {
        Err(error) if !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Err(error.to_string())
        }
        _ => Ok(()),
    }
}

/// Every option stands in the script's own code, where its arguments are read.
fn script(name: &str, arguments: &[String]) -> Result<(), String> {
    let text = fs::read_to_string(root().join(name)).map_err(|error| error.to_string())?;
    let patterns =
        text.lines().filter_map(|line| line.trim_start().split_once(')')).map(|(pattern, _)| pattern);
    let known: Vec<&str> = patterns.flat_map(|pattern| pattern.split('|')).map(str::trim).collect();
    match arguments.iter().find(|argument| argument.starts_with('-') && !known.contains(&argument.as_str())) {
        Some(unknown) => Err(format!("no option {unknown}")),
        None => Ok(()),
    }
}

fn cargo(call: &[String]) -> Result<(), String> {
    for pair in call.windows(2).take_while(|pair| pair[0] != "--") {
        let [option, name] = pair else { unreachable!("two") };
        let folder = match option.as_str() {
            "--test" => "tests",
            "--example" => "examples",
            "--bench" => "benches",
            "--package" | "-p" => {
                let line = format!("name = \"{name}\"");
                let manifests = files("", "toml").into_iter().filter(|path| path.ends_with("/Cargo.toml"));
                let mut texts =
                    manifests.map(|path| fs::read_to_string(root().join(path)).expect("a manifest"));
                if !texts.any(|text| text.lines().any(|own| own == line)) {
                    return Err(format!("no package {name}"));
                }
                continue;
            }
            _ => continue,
        };
        let ends = ["", "/main"].map(|end| format!("/{folder}/{name}{end}.rs"));
        if !files("gateway", "rs").iter().any(|path| ends.iter().any(|end| path.ends_with(end))) {
            return Err(format!("nothing is named {name} in {folder}"));
        }
    }
    Ok(())
}

/// The route of a request to the gateway's API is one of its OpenAPI document, its parameters too.
fn curl(arguments: &[String]) -> Result<(), String> {
    let Some(target) =
        arguments.iter().find_map(|argument| API.iter().find_map(|api| argument.strip_prefix(api)))
    else {
        return Ok(());
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let behind =
        |option| arguments.windows(2).find(|pair| pair[0] == option).map(|pair| pair[1].to_lowercase());
    let has_body = behind("--json").or(behind("--data")).is_some();
    let method = behind("-X").unwrap_or_else(|| if has_body { "post" } else { "get" }.into());
    let document = serde_json::to_value(natgw_management::openapi()).expect("a document");
    let is_route = |route: &str| {
        let (route, path): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
        let same = |(part, own): (&&str, &&str)| part == own || part.starts_with('{') && !own.is_empty();
        route.len() == path.len() && route.iter().zip(&path).all(same)
    };
    let mut routes = document["paths"].as_object().expect("paths").iter();
    let operation = routes.find(|(route, _)| is_route(route)).and_then(|(_, methods)| methods.get(&method));
    let operation = operation.ok_or_else(|| format!("no route {} {path}", method.to_uppercase()))?;
    let names: Vec<&str> = operation["parameters"]
        .as_array()
        .map_or_else(Vec::new, |all| all.iter().filter_map(|one| one["name"].as_str()).collect());
    let asked = query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty());
    match asked.into_iter().find(|name| !names.contains(name)) {
        Some(unknown) => Err(format!("no parameter {unknown} of {path}")),
        None => Ok(()),
    }
}

fn files_exist(call: &[String]) -> Result<(), String> {
    let values = call.iter().map(|word| word.rsplit('=').next().expect("a value"));
    let mut paths = values
        .filter(|value| ["config/", "docker/", "gateway/"].iter().any(|start| value.starts_with(start)));
    paths.find(|path| !root().join(path).exists()).map_or(Ok(()), |path| Err(format!("no file {path}")))
}

/// The words of a command line of this repository, without the signs of what may be left out; of other code nothing.
pub(crate) fn words_of_ours(span: &str) -> Option<Vec<&str>> {
    let signs = |c: char| "[]|\\".contains(c) || c.is_whitespace();
    let words: Vec<&str> = span.split(signs).filter(|word| !word.is_empty() && *word != "...").collect();
    let name = *words.first()?;
    let is_ours = ["nat-gateway", "natctl", "nat-trafficgen"].contains(&name) || name.starts_with("scripts/");
    (is_ours && words.len() > 1).then_some(words)
}

/// The first word that the program does not have: a command, or an option. Values are placeholders as often as not.
pub(crate) fn usage_mistake(words: &[&str]) -> Option<String> {
    let mut command = match words[0] {
        "nat-gateway" => Cli::command(),
        "natctl" => Natctl::command(),
        "nat-trafficgen" => Trafficgen::command(),
        name => {
            return script(name, &words[1..].iter().map(|&word| word.to_owned()).collect::<Vec<_>>()).err();
        }
    };
    command.build();
    let mut command = &command;
    let mut rest = words[1..].iter().copied();
    while let Some(word) = rest.next() {
        if word.starts_with('-') {
            let is_named = |argument: &&clap::Arg| {
                let (long, short) = (argument.get_long(), argument.get_short());
                long.is_some_and(|long| word == format!("--{long}"))
                    || short.is_some_and(|short| word == format!("-{short}"))
            };
            let Some(argument) = command.get_arguments().find(is_named) else {
                return Some(format!("no option {word} of {}", command.get_name()));
            };
            if argument.get_action().takes_values() {
                rest.next();
            }
        } else if let Some(next) = command.find_subcommand(word) {
            command = next;
        } else if command.has_subcommands() && !word.contains(|c: char| c.is_ascii_uppercase()) {
            return Some(format!("no command {word} of {}", command.get_name()));
        }
    }
    None
}
