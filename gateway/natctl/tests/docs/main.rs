//! README and pages say what is there, and all of it: metrics, drop reasons, keys, commands, routes, tests and files. What
//! the code says in words is generated, and compared with the pages.

mod conformance;
mod generate;
mod links;
mod pages;

use std::collections::BTreeSet;
use std::fs;

use clap::CommandFactory;
use natctl::Natctl;
use natgw_config::Config;
use natgw_management::metrics::family;

use pages::{Block, FOLDER, Page, assert_same, documents, files, root, words_after};

#[test]
fn the_front_door_is_short() {
    let lines = Page::read("README.md").text.lines().count();
    assert!(lines <= 150, "{lines} lines");
}

#[test]
fn every_page_is_listed_at_the_front_door() {
    let front = Page::read("README.md");
    for page in files(FOLDER, "md") {
        assert!(front.text.contains(&format!("]({page})")), "{page}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let pages = documents();
    assert!(pages.len() > 15, "only {} documents", pages.len());
    let broken: Vec<String> = pages.iter().flat_map(links::broken).collect();
    assert_eq!(broken, [""; 0]);
}

#[test]
fn every_function_of_a_walk_is_in_its_file() {
    let page = Page::read("gateway/docs/architecture.md");
    let (_, walks) = page.text.split_once("\n## Walks\n").expect("the walks");
    let (mut steps, mut lost) = (0, Vec::new());
    for line in walks.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let (file, functions) =
            line.split_once("](../").and_then(|(_, rest)| rest.split_once(')')).expect(line);
        let code = fs::read_to_string(root().join("gateway").join(file)).expect(file);
        let functions = functions.split(", under").next().unwrap_or_default();
        let functions = functions.split(", and").next().unwrap_or_default();
        for function in functions.split('`').skip(1).step_by(2) {
            steps += 1;
            let names =
                code.split("fn ").skip(1).map(|rest| rest.split(['(', '<']).next().unwrap_or_default());
            if !names.into_iter().any(|name| name == function) {
                lost.push(format!("{file}: {function}"));
            }
        }
    }
    assert!(steps > 50, "only {steps} functions");
    assert_eq!(lost, [""; 0]);
}

#[test]
fn every_script_that_is_named_exists() {
    for page in documents() {
        for script in words_after(&page.text, "scripts/", |c| c.is_ascii_alphanumeric() || "._-".contains(c))
        {
            let script = script.trim_end_matches('.');
            assert!(root().join("scripts").join(script).exists(), "{}: scripts/{script}", page.path);
        }
    }
}

#[test]
fn every_metric_is_there_and_no_other() {
    let known = family::ALL.iter().map(|family| format!("{}{}", family::PREFIX, family.name)).collect();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let documents = documents();
    let named = documents.iter().flat_map(|page| {
        let pieces = page.text.split(family::PREFIX).skip(1);
        let names = pieces.map(move |rest| rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len())));
        // Behind a crate's name there is a path.
        let names = names.filter(|(name, rest)| !name.is_empty() && !rest.starts_with("::"));
        names.map(|(name, _)| family::PREFIX.to_owned() + name).collect::<Vec<_>>()
    });
    assert_same("metrics", &known, &named.collect());
}

#[test]
fn every_configuration_works_without_a_warning() {
    let demo = fs::read_to_string(root().join("config/demo.toml")).expect("the demo's configuration");
    let mut count = 0;
    for page in documents() {
        let is_configuration =
            |block: &Block<'_>| block.language == "toml" && !block.text.contains("dependencies]");
        let blocks: Vec<Block<'_>> = page.blocks().into_iter().filter(is_configuration).collect();
        // A block that begins with `[nat]` goes with the network of the page's first one, any other piece with the demo's file.
        let network = blocks.first().and_then(|block| block.text.split_once("[nat]\n"));
        for Block { line, text, .. } in &blocks {
            count += 1;
            let at = format!("{}:{line}", page.path);
            let whole = match network {
                _ if text.contains("interfaces") => (*text).to_owned(),
                Some((network, _)) if text.starts_with("[nat]\n") => format!("{network}{text}"),
                _ => format!("{demo}\n{text}"),
            };
            let config = Config::parse(&whole, "block");
            let config = config.unwrap_or_else(|mistakes| panic!("{at}:\n{text}\n{mistakes:?}"));
            // A piece may be hardly meant beside the demo's own: its rules stand first.
            let is_piece = whole.starts_with(&demo);
            assert!(is_piece || config.warnings.is_empty(), "{at}:\n{text}\n{:?}", config.warnings);
        }
    }
    assert!(count >= 5, "only {count} configurations");
}

#[test]
fn every_option_is_named() {
    let options = fs::read_to_string(root().join("config/gateway.toml")).expect("every option");
    let option = |line: &'_ str| {
        let key = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?.0.to_owned();
        key.chars().all(|c| c.is_ascii_lowercase() || c == '_').then_some(key)
    };
    let page = Page::read("gateway/docs/configuration.md");
    for key in options.lines().filter_map(option) {
        assert!(page.text.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn every_command_is_there_and_no_other() {
    let command = Natctl::command();
    let known = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
    let documents = documents();
    let named =
        documents.iter().flat_map(|page| words_after(&page.text, "`natctl ", is_name)).map(str::to_owned);
    assert_same("commands", &known, &named.filter(|name| !name.starts_with('-')).collect());
}

#[test]
fn every_route_is_there_and_no_other() {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "/-_.{}".contains(c);
    let known: BTreeSet<String> = natgw_management::openapi().paths.paths.into_keys().collect();
    let documents = documents();
    let methods = ["GET ", "POST ", "DELETE "].map(|method| format!("`{method}"));
    let named = documents
        .iter()
        .flat_map(|page| methods.iter().flat_map(|method| words_after(&page.text, method, is_path)));
    assert_same("routes", &known, &named.map(str::to_owned).collect());
}

#[test]
fn pictures_are_light_enough_for_a_front_door() {
    let is_picture = |name: &&str| name.ends_with(".png") || name.ends_with(".svg");
    let front = Page::read("README.md");
    let pictures: Vec<&str> = words_after(&front.text, "](", |c| c != ')').filter(is_picture).collect();
    assert!(pictures.len() >= 2, "the architecture and the status page");
    for picture in pictures {
        let bytes = fs::metadata(root().join(picture)).expect(picture).len();
        assert!(bytes < 150_000, "{picture}: {bytes} bytes");
    }
}
