//! The tables of requirements: every requirement has its row, and every row that claims something links its tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::pages::{FOLDER, Page, files, root, words_after};

const PATH: &str = "gateway/docs/conformance.md";

#[test]
fn every_requirement_that_is_met_names_tests_that_exist() {
    let page = Page::read(PATH);
    assert_eq!(mistakes(&page.text, &tests()), [""; 0]);
    let count = page.text.lines().filter(|line| line.starts_with("| REQ-")).count();
    assert!(count > 40, "only {count} rows");
}

#[test]
fn every_requirement_of_the_rfcs_has_its_row() {
    let page = Page::read(PATH);
    for (rfc, last) in [(4787, 14), (5382, 10), (5508, 11), (6888, 15)] {
        let section = page.text.split(&format!("## RFC {rfc}:")).nth(1).expect("a section");
        let section = section.split("\n## ").next().expect("its rows");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| REQ-")?.split_once(':'));
        let told: BTreeSet<u32> = rows.flat_map(|(numbers, _)| numbers_of(numbers)).collect();
        assert_eq!(told, (1..=last).collect(), "RFC {rfc}");
    }
}

#[test]
fn every_test_that_is_named_is_linked_to_its_file() {
    let page = Page::read(PATH);
    page.assert_is(&linked(&page.text, &tests()));
}

#[test]
fn links_follow_tests_that_move() {
    let tests = |file: &str| BTreeMap::from([("rfc1_holds".to_owned(), BTreeSet::from([file.to_owned()]))]);
    let row = |link: &str| format!("| REQ-1: `x` | yes, with `y` | {link}, and others |\n");
    let [before, after] = [row("[`rfc1_holds`](../old/a.rs)"), row("[`rfc1_holds`](../tests/b.rs)")];
    assert_eq!(linked(&before, &tests("gateway/tests/b.rs")), after);
    assert_eq!(linked(&row("`rfc1_holds`"), &tests("gateway/tests/b.rs")), after);
    assert_eq!(linked(&after, &tests("gateway/tests/b.rs")), after);
}

#[test]
fn each_kind_of_mistake_in_a_row_is_found() {
    let declared = tests_of("#[test]\nfn rfc1_req1_holds() {}\nfn rfc1_req1_is_no_test() {}");
    let known = declared.map(|name| (name, BTreeSet::from(["a.rs".to_owned()]))).collect();
    let found = |row: &str| mistakes(row, &known).len();
    for right in [
        "| requirement | status | shown by |\n|---|---|---|",
        "| REQ-1: x | yes | `rfc1_req1_holds` |",
        "| REQ-1: x | yes | [`rfc1_req1_holds`](a.rs) |",
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

/// Every test by name, with the files that declare one.
type Tests = BTreeMap<String, BTreeSet<String>>;

fn tests() -> Tests {
    let mut tests = Tests::new();
    for file in files("gateway", "rs") {
        for name in tests_of(&fs::read_to_string(root().join(&file)).expect("a source")) {
            tests.entry(name).or_default().insert(file.clone());
        }
    }
    tests
}

/// The tests that a source declares, in a lab or out of it.
fn tests_of(text: &str) -> impl Iterator<Item = String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let plain =
        text.split("#[test]").skip(1).filter_map(move |rest| words_after(rest, "fn ", is_name).next());
    plain.chain(words_after(text, "in_a_lab!(", is_name)).map(str::to_owned)
}

/// The tables with each test of their last column linked to its file.
fn linked(tables: &str, tests: &Tests) -> String {
    let row = |line: &str| {
        let named = |row: Vec<&str>| row.len() == 3 && row[2].contains('`');
        let end = line.rfind(" |\n").filter(|_| named(cells(line.trim_end())))?;
        let start = line[..end].rfind("| ").filter(|_| line.starts_with("| "))? + 2;
        let link = |name: &str| match tests.get(name).and_then(|files| files.first()) {
            Some(file) => format!("[`{name}`]({})", relative(file)),
            None => format!("`{name}`"),
        };
        let plain = unlinked(&line[start..end]);
        let pieces = plain.split('`').enumerate();
        let shown: String =
            pieces.map(|(nth, piece)| if nth % 2 == 0 { piece.into() } else { link(piece) }).collect();
        Some(format!("{}{shown}{}", &line[..start], &line[end..]))
    };
    tables.split_inclusive('\n').map(|line| row(line).unwrap_or_else(|| line.to_owned())).collect()
}

/// A cell with the texts of its links alone.
fn unlinked(cell: &str) -> String {
    let mut parts = cell.split("[`");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        match part.split_once("`](").and_then(|(name, rest)| Some((name, rest.split_once(')')?))) {
            Some((name, (_, rest))) => format!("{text}`{name}`{rest}"),
            None => format!("{text}[`{part}"),
        }
    })
}

/// A file of the repository, seen from the pages' folder.
fn relative(file: &str) -> String {
    let common = FOLDER.split_once('/').expect("a folder in a folder").0;
    match file.strip_prefix(common).and_then(|file| file.strip_prefix('/')) {
        Some(file) => format!("../{file}"),
        None => format!("../../{file}"),
    }
}

fn cells(row: &str) -> Vec<&str> {
    row.trim_matches('|').split('|').map(str::trim).collect()
}

/// What is wrong with the rows of tables of requirements: a status that is none, or a claim without a test.
fn mistakes(tables: &str, tests: &Tests) -> Vec<String> {
    let rows = tables.lines().filter(|line| line.starts_with('|')).map(cells);
    let rows = rows.filter(|row| !row[0].starts_with("---") && row[0] != "requirement");
    rows.filter_map(|row| mistake(&row, tests).map(|mistake| format!("{}: {mistake}", row[0]))).collect()
}

fn mistake(row: &[&str], tests: &Tests) -> Option<String> {
    let [_, status, shown_by] = row[..] else { return Some(format!("{} cells", row.len())) };
    let Some(word) = ["yes", "partly", "not yet"].into_iter().find(|word| status.starts_with(word)) else {
        return Some(format!("what is {status:?}?"));
    };
    let named: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
    if named.is_empty() != (word == "not yet") {
        return Some(format!("{word}, shown by {} tests", named.len()));
    }
    let missing = named.into_iter().find(|&test| !tests.contains_key(test));
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
