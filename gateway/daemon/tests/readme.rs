//! The README says what is there, and all of it: metrics, drop reasons, options, commands, routes, tests and files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use natctl::Natctl;
use natgw_config::Config;
use natgw_management::metrics::family;
use natgw_nat::DropReason;

const README: &str = include_str!("../../../README.md");
const COOKBOOK: &str = include_str!("../../../config/cookbook/README.md");
const OPTIONS: &str = include_str!("../../../config/gateway.toml");

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
    let known = natgw_management::openapi().paths.paths.into_keys().collect();
    let methods = ["GET ", "POST ", "DELETE "].map(|method| format!("| `{method}"));
    let named =
        methods.iter().flat_map(|method| words_after(README, method, is_path)).map(str::to_owned).collect();
    assert_same("routes", &known, &named);
}

#[test]
fn every_requirement_that_is_met_names_tests_that_exist() {
    assert_eq!(mistakes(requirements(), &tests()), [""; 0]);
    let count = requirements().lines().filter(|line| line.starts_with("| REQ-")).count();
    assert!(count > 40, "only {count} rows");
}

#[test]
fn every_requirement_of_the_rfcs_has_its_row() {
    for (rfc, last) in [(4787, 14), (5382, 10), (5508, 11), (6888, 15)] {
        let section = requirements().split(&format!("### RFC {rfc}:")).nth(1).expect("a section");
        let section = section.split("\n### ").next().expect("its rows");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| REQ-")?.split_once(':'));
        let told: BTreeSet<u32> = rows.flat_map(|(numbers, _)| numbers_of(numbers)).collect();
        assert_eq!(told, (1..=last).collect(), "RFC {rfc}");
    }
}

#[test]
fn each_kind_of_mistake_in_a_row_is_found() {
    let known = tests_of("#[test]\nfn rfc1_req1_holds() {}\nfn rfc1_req1_is_no_test() {}");
    let found = |row: &'static str| mistakes(row, &known).len();
    for right in [
        "| requirement | status | shown by |\n|---|---|---|",
        "| REQ-1: x | yes | `rfc1_req1_holds` |",
        "| REQ-1: x | partly: y | `rfc1_req1_holds`, and others |",
        "| REQ-1: x | not yet: y | |",
    ] {
        assert_eq!(found(right), 0, "{right}");
    }
    for wrong in [
        "| REQ-1: x | yes | |",
        "| REQ-1: x | yes | the others |",
        "| REQ-1: x | partly: y | |",
        "| REQ-1: x | yes |",
        "| REQ-1: x | perhaps | `rfc1_req1_holds` |",
        "| REQ-1: x | not yet | `rfc1_req1_holds` |",
        "| REQ-1: x | yes | `rfc1_req1_is_gone` |",
        "| REQ-1: x | yes | `rfc1_req1_holds`, `rfc1_req1_is_gone` |",
        "| REQ-1: x | yes | `rfc1_req1_is_no_test` |",
    ] {
        assert_eq!(found(wrong), 1, "{wrong}");
    }
}

#[test]
fn every_file_that_is_linked_exists() {
    for (folder, text) in [("", README), ("config/cookbook", COOKBOOK)] {
        let targets = words_after(text, "](", |c| c != ')' && c != '#').filter(|to| !to.starts_with("http"));
        for target in targets {
            assert!(root().join(folder).join(target).exists(), "{folder}: {target}");
        }
    }
    for script in words_after(README, "scripts/", |c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
        assert!(root().join("scripts").join(script).exists(), "scripts/{script}");
    }
}

#[test]
fn pictures_are_light_enough_for_a_front_door() {
    let is_picture = |name: &&str| name.ends_with(".png") || name.ends_with(".svg");
    let pictures: Vec<&str> = words_after(README, "](", |c| c != ')').filter(is_picture).collect();
    assert!(pictures.len() >= 2, "the architecture and the status page");
    for picture in pictures {
        let bytes = fs::metadata(root().join(picture)).expect(picture).len();
        assert!(bytes < 150_000, "{picture}: {bytes} bytes");
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
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

/// The chapter with the tables of requirements.
fn requirements() -> &'static str {
    README.split("## The RFCs").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the RFCs")
}

/// What is wrong with the rows of tables of requirements: a status that is none, or a claim without a test.
fn mistakes(tables: &'static str, tests: &BTreeSet<String>) -> Vec<String> {
    let rows = tables.lines().filter(|line| line.starts_with('|')).map(cells);
    let rows = rows.filter(|row| !row[0].starts_with("---") && row[0] != "requirement");
    rows.filter_map(|row| mistake(&row, tests).map(|mistake| format!("{}: {mistake}", row[0]))).collect()
}

fn mistake(row: &[&str], tests: &BTreeSet<String>) -> Option<String> {
    let [_, status, shown_by] = row[..] else { return Some(format!("{} cells", row.len())) };
    let Some(word) = ["yes", "partly", "not yet"].into_iter().find(|word| status.starts_with(word)) else {
        return Some(format!("what is {status:?}?"));
    };
    let named: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
    if named.is_empty() != (word == "not yet") {
        return Some(format!("{word}, shown by {} tests", named.len()));
    }
    let missing = named.into_iter().find(|&test| !tests.contains(test));
    missing.map(|test| format!("there is no test {test}"))
}

/// The numbers that "3, a", "7, 8" and "9 to 11" name.
fn numbers_of(text: &str) -> Vec<u32> {
    let is_digit = |c: char| c.is_ascii_digit();
    let numbers = text.split(|c| !is_digit(c)).filter_map(|number| number.parse().ok()).collect::<Vec<u32>>();
    match numbers[..] {
        [first, last] if text.contains(" to ") => (first..=last).collect(),
        _ => numbers,
    }
}

/// The names of all tests in test and library sources.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut places = vec![root().join("gateway")];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places
                .extend(fs::read_dir(place).expect("a folder").map(|entry| entry.expect("an entry").path()));
        } else if place.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests_of(&fs::read_to_string(place).expect("a source")));
        }
    }
    names
}

/// The tests that a source declares, in a lab or out of it.
fn tests_of(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let plain = text.split("#[test]").skip(1).filter_map(|rest| words_after(rest, "fn ", is_name).next());
    plain.chain(words_after(text, "in_a_lab!(", is_name)).map(str::to_owned).collect()
}

fn assert_same(what: &str, known: &BTreeSet<String>, named: &BTreeSet<String>) {
    let missing: Vec<_> = known.difference(named).collect();
    let invented: Vec<_> = named.difference(known).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{what}: {missing:?} are not told, {invented:?} do not exist"
    );
}
