//! The folders of the engine: imports and calls of [`natgw_nat::Shard`]'s methods point from higher ones to lower ones, and files
//! form no circle.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

/// From the ground up. `lib` names all of them.
const FOLDERS: [&str; 16] = [
    "table",
    "ids",
    "packet",
    "settings",
    "counters",
    "session",
    "policy",
    "pool",
    "mapping",
    "fragment",
    "shard",
    "setup",
    "lifecycle",
    "pipeline",
    "control",
    "lib",
];

/// The engine's files without their tests, by path.
fn files() -> HashMap<String, String> {
    fn walk(dir: &Path, root: &Path, files: &mut HashMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, files);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
                files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), code);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = HashMap::new();
    walk(&root, &root, &mut files);
    files
}

fn folder(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

fn floor(folder: &str) -> usize {
    FOLDERS
        .iter()
        .position(|&name| name == folder)
        .unwrap_or_else(|| panic!("{folder} is not among the folders"))
}

/// The word at the start of a text.
fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
}

/// What code imports or names of the crate, as files: `crate::pool::grants` is `pool/grants.rs` or `pool/mod.rs`.
fn imports(code: &str, files: &HashMap<String, String>) -> HashSet<String> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let paths = lines.flat_map(|line| line.split("crate::").skip(1));
    let file_of = |path: &str| {
        let first = word(path);
        let second = path[first.len()..].strip_prefix("::").map_or("", word);
        [format!("{first}/{second}.rs"), format!("{first}/mod.rs"), format!("{first}.rs")]
            .into_iter()
            .find(|file| files.contains_key(file))
    };
    paths.filter_map(file_of).collect()
}

/// Which file has which method of `Shard`.
fn methods(files: &HashMap<String, String>) -> HashMap<String, String> {
    let mut methods = HashMap::new();
    for (path, code) in files {
        for block in code.split("\nimpl Shard {").skip(1) {
            let block = block.split("\n}\n").next().unwrap();
            for name in block.lines().filter_map(|line| line.split("fn ").nth(1)).map(word) {
                methods.insert(name.to_owned(), path.clone());
            }
        }
    }
    methods
}

/// The arrows of the engine: from a file to those that it imports or whose methods of `Shard` it calls.
fn arrows() -> HashMap<String, HashSet<String>> {
    let files = files();
    let methods = methods(&files);
    assert!(methods.len() > 100, "only {} methods of Shard were found", methods.len());
    let arrow = |(path, code): (&String, &String)| {
        let mut to = imports(code, &files);
        if code.contains("impl Shard {") {
            let called = code.split("self").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('.'));
            to.extend(called.filter_map(|rest| methods.get(word(rest)).cloned()));
        }
        to.remove(path);
        (path.clone(), to)
    };
    files.iter().map(arrow).collect()
}

#[test]
fn arrows_point_down() {
    let mut up = Vec::new();
    for (from, to) in arrows() {
        up.extend(
            to.into_iter()
                .filter(|to| floor(folder(to)) > floor(folder(&from)))
                .map(|to| format!("{from} -> {to}")),
        );
    }
    up.sort();
    assert!(up.is_empty(), "these arrows point up:\n{}", up.join("\n"));
}

#[test]
fn files_form_no_circle() {
    let mut arrows = arrows();
    // What no arrow leads to or from is in no circle; what is left in the end is in one, or on the way between two.
    loop {
        let pointed: HashSet<String> = arrows.values().flatten().cloned().collect();
        let before = arrows.len();
        arrows.retain(|file, to| pointed.contains(file) && !to.is_empty());
        let left: HashSet<String> = arrows.keys().cloned().collect();
        arrows.values_mut().for_each(|to| to.retain(|file| left.contains(file)));
        if arrows.len() == before {
            break;
        }
    }
    let mut circle: Vec<_> = arrows.iter().map(|(from, to)| format!("{from} -> {to:?}")).collect();
    circle.sort();
    assert!(circle.is_empty(), "these files form a circle:\n{}", circle.join("\n"));
}
