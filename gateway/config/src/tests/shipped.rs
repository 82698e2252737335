//! The files under `config/`: what `gateway.toml` says of an option is what the code does.

use super::{REFERENCE, parse};
use crate::Config;

const BARE_METAL: &str = include_str!("../../../../config/example-bare-metal.toml");

#[test]
fn examples_work_without_a_warning() {
    for text in [REFERENCE, BARE_METAL] {
        assert_eq!(parse(text).warnings, []);
    }
}

#[test]
fn what_is_called_default_is_what_the_code_takes() {
    let said = |line: &&str| line.ends_with("# default");
    assert!(REFERENCE.lines().filter(said).count() > 20);
    let without: Vec<&str> = REFERENCE.lines().filter(|line| !said(line)).collect();
    assert_eq!(parse(&without.join("\n")), parse(REFERENCE));
}

#[test]
fn what_is_called_required_cannot_be_left_out() {
    for (nth, line) in REFERENCE.lines().enumerate().filter(|(_, line)| line.ends_with("# required")) {
        let without: Vec<&str> =
            REFERENCE.lines().enumerate().filter(|(other, _)| *other != nth).map(|(_, line)| line).collect();
        assert!(Config::parse(&without.join("\n"), "gateway.toml").is_err(), "{line}");
    }
}

#[test]
fn every_option_is_explained() {
    for header in REFERENCE.lines().filter(|line| line.starts_with('[')).chain([""]) {
        let text = match header {
            "" => format!("nonsense = 1\n{REFERENCE}"),
            _ => REFERENCE.replacen(&format!("\n{header}"), &format!("\n{header}\nnonsense = 1"), 1),
        };
        let mistakes = Config::parse(&text, "gateway.toml").unwrap_err();
        let unknown = mistakes.iter().find(|mistake| mistake.found.as_deref() == Some("\"nonsense\""));
        let known = unknown.and_then(|mistake| mistake.allowed.as_deref()).unwrap();
        let section = header.trim_matches(['[', ']']);
        for key in known.split(", ") {
            assert!(explains(section, key), "{key} of [{section}]");
        }
    }
}

#[test]
fn options_that_are_off_work_when_they_are_on() {
    let is_off = |line: &str| {
        line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    assert_eq!(REFERENCE.lines().filter(|line| is_off(line)).count(), 19);
    for line in REFERENCE.lines().filter(|line| is_off(line)) {
        let config = parse(&REFERENCE.replacen(line, &line[1..], 1));
        assert_ne!(config, parse(REFERENCE), "{line}");
    }
}

#[test]
fn every_value_says_how_free_it_is() {
    let is_key = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase());
    for line in REFERENCE.lines().filter(is_key) {
        assert!(["# default", "# required", "# example"].iter().any(|word| line.ends_with(word)), "{line}");
    }
}

/// Whether a table of this name has the key, on or off, or the key is a table itself.
fn explains(section: &str, key: &str) -> bool {
    let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
    let mut current = "";
    REFERENCE.lines().any(|line| {
        if let Some(header) = line.strip_prefix('[') {
            current = header.split(']').next().unwrap_or_default().trim_start_matches('[');
        }
        let line = line.strip_prefix('#').unwrap_or(line);
        let has_key = current == section && line.split_once(" = ").is_some_and(|(name, _)| name == key);
        has_key || current == path || current.starts_with(&format!("{path}."))
    })
}
