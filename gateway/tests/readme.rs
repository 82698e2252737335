//! The README says what is there, and all of it: metrics, drop reasons, options, commands, routes, tests and files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use gateway::config::Config;
use gateway::management::metrics::family;
use gateway::nat::DropReason;
use gateway::natctl::Natctl;

const README: &str = include_str!("../../README.md");
const OPTIONS: &str = include_str!("../../config/gateway.toml");
const ROUTES: &str = include_str!("../src/management/http.rs");

#[test]
fn every_metric_is_there_and_no_other() {
    let known = family::ALL.iter().map(|family| format!("{}{}", family::PREFIX, family.name)).collect();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let named =
        words_after(README, family::PREFIX, is_name).map(|name| family::PREFIX.to_owned() + name).collect();
    assert_same("metrics", &known, &named);
}

#[test]
fn every_drop_reason_is_there_and_no_other() {
    let known = DropReason::ALL.iter().map(|reason| reason.name().to_owned()).collect();
    let table = README.split("| reason | meaning |").nth(1).expect("the table of drop reasons");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let named = rows.filter_map(|row| row.split('`').nth(1)).map(str::to_owned).collect();
    assert_same("drop reasons", &known, &named);
}

#[test]
fn the_example_works_without_a_warning() {
    let config = Config::parse(block("toml", "[dpdk]"), "README.md").expect("a configuration");
    assert_eq!(config.warnings, []);
}

#[test]
fn every_option_is_named() {
    let option = |line: &'static str| {
        let key = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?.0;
        key.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(key)
    };
    let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
    let words: BTreeSet<&str> = block("toml", "[dpdk]").split(|c| !is_word(c)).collect();
    for key in OPTIONS.lines().filter_map(option) {
        assert!(words.contains(key) || README.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn every_command_is_there_and_no_other() {
    let command = Natctl::command();
    let known = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
    let named = words_after(README, "`natctl ", is_name).map(str::to_owned).collect();
    assert_same("commands", &known, &named);
}

#[test]
fn every_route_is_there_and_no_other() {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/-_.{}".contains(c);
    let (api, rest) =
        ROUTES.split_once("let api =").and_then(|(_, rest)| rest.split_once(';')).expect("the API");
    let paths = |code: &'static str| words_after(code, ".route(\"", is_path);
    let known =
        paths(api).map(|path| format!("/api/v1{path}")).chain(paths(rest).map(str::to_owned)).collect();
    let methods = ["GET ", "POST ", "DELETE "].map(|method| format!("| `{method}"));
    let named =
        methods.iter().flat_map(|method| words_after(README, method, is_path)).map(str::to_owned).collect();
    assert_same("routes", &known, &named);
}

#[test]
fn every_requirement_that_is_met_names_tests_that_exist() {
    let tests = tests();
    let chapter =
        README.split("## The RFCs").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the RFCs");
    let rows: Vec<Vec<&str>> = chapter.lines().filter(|line| line.starts_with('|')).map(cells).collect();
    let rows = rows.iter().filter(|row| !row[0].starts_with("---") && row[0] != "requirement");
    let mut count = 0;
    for row in rows {
        let [requirement, status, shown_by] = row[..] else { panic!("{row:?}") };
        let named: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        let word = ["yes", "partly", "not yet"].into_iter().find(|word| status.starts_with(word));
        let word = word.unwrap_or_else(|| panic!("{requirement}: {status}"));
        assert_eq!(named.is_empty(), word == "not yet", "{requirement}: {status}, {shown_by}");
        for test in named {
            assert!(tests.contains(test), "{requirement}: there is no test {test}");
        }
        count += 1;
    }
    assert!(count > 35, "only {count} requirements");
}

#[test]
fn every_file_that_is_linked_exists() {
    for target in words_after(README, "](", |c| c != ')').filter(|target| !target.starts_with(['#', 'h'])) {
        assert!(root().join(target).exists(), "{target}");
    }
    for script in words_after(README, "scripts/", |c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        assert!(root().join("scripts").join(script).exists(), "scripts/{script}");
    }
}

#[test]
fn every_chapter_is_listed_at_the_top() {
    let chapters: Vec<&str> = README.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let listed: Vec<&str> = README
        .lines()
        .filter_map(|line| line.split_once(". [")?.1.split_once("](#"))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(listed, chapters);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What follows each `start`, as far as `belongs` says.
fn words_after<'a>(
    text: &'a str,
    start: &'a str,
    belongs: impl Fn(char) -> bool + Copy + 'a,
) -> impl Iterator<Item = &'a str> + 'a {
    let end = move |rest: &'a str| &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())];
    text.split(start).skip(1).map(end).filter(|word| !word.is_empty())
}

/// The fenced block of a language that begins with `start`.
fn block(language: &str, start: &str) -> &'static str {
    let opening = format!("```{language}\n{start}");
    let at = README.find(&opening).expect("the block") + language.len() + 4;
    README[at..].split("```").next().expect("its end")
}

fn cells(row: &'static str) -> Vec<&'static str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// The names of all functions in test and library sources; a name that is no test would be a strange coincidence.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut places = vec![root().join("gateway/tests"), root().join("gateway/src")];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places
                .extend(fs::read_dir(place).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if place.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(place).expect("a source");
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            names.extend(words_after(&text, "fn ", is_name).map(str::to_owned));
        }
    }
    names
}

fn assert_same(what: &str, known: &BTreeSet<String>, named: &BTreeSet<String>) {
    let missing: Vec<_> = known.difference(named).collect();
    let invented: Vec<_> = named.difference(known).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{what}: {missing:?} are not told, {invented:?} do not exist"
    );
}
