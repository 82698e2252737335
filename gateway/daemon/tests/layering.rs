//! The repository's own rules, beyond what the compiler holds: which crate may depend on which, where `unsafe` may stand, what
//! the packet engine must not touch, and what no source file may contain. Each rule is shown to bite in [`bites`].

mod source;

use std::collections::BTreeSet;
use std::fs;

use source::{Source, Token};

/// The crates under `gateway/`, and all that each depends on outside its tests. A new dependency is a change of design; a circle
/// is refused by Cargo.
///
/// ```text
/// daemon                              natctl
///   ├─► management ───────────────────► api ─► nat
///   │      └────► config, counters
///   ├─► worker ─► nat, steer, neighbor ─► wire
///   └─► dpdk ◄─ trafficgen
/// ```
const DEPENDENCIES: &[(&str, &[&str])] = &[
    ("api", &["natgw-nat"]),
    ("config", &["natgw-nat", "natgw-wire"]),
    ("counters", &["natgw-nat", "natgw-wire"]),
    (
        "daemon",
        &[
            "natgw-api",
            "natgw-config",
            "natgw-counters",
            "natgw-dpdk",
            "natgw-management",
            "natgw-nat",
            "natgw-neighbor",
            "natgw-steer",
            "natgw-wire",
            "natgw-worker",
        ],
    ),
    ("dpdk", &["dpdk-sys"]),
    ("management", &["natgw-api", "natgw-config", "natgw-counters", "natgw-nat", "natgw-neighbor"]),
    ("nat", &["natgw-wire"]),
    ("natctl", &["natgw-api", "natgw-nat"]),
    ("neighbor", &["natgw-wire"]),
    ("steer", &["natgw-nat", "natgw-wire"]),
    ("trafficgen", &["natgw-dpdk", "natgw-wire"]),
    ("wire", &[]),
    ("worker", &["natgw-counters", "natgw-nat", "natgw-neighbor", "natgw-steer", "natgw-wire"]),
];

/// What the crates that other programs may use depend on besides.
const OTHERS: &[(&str, &[&str])] = &[
    ("nat", &["arrayvec", "bytemuck", "hashbrown", "ipnet", "memmap2", "serde", "thiserror"]),
    ("wire", &["arrayvec", "thiserror"]),
];

/// Crates that know no thread, clock, log or lock: what they need to know is an argument.
const PURE: &[&str] = &["nat", "neighbor", "steer", "wire"];
const IMPURE: &[&str] = &[
    "Condvar",
    "Instant",
    "Mutex",
    "RwLock",
    "SystemTime",
    "atomic",
    "eprintln",
    "print",
    "println",
    "tracing",
];

/// Where `unsafe` may stand.
const UNSAFE: &[&str] =
    &["dpdk-sys/", "gateway/dpdk/", "gateway/nat/src/table/cpu.rs", "/tests/", "/benches/"];

const LINES_MAX: usize = 1000;

#[test]
fn the_repository_keeps_its_rules() {
    let sources = source::read_repository();
    assert!(sources.len() > 20, "only {} sources found", sources.len());
    let found = violations(&sources);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_crate_depends_on_what_is_drawn_and_nothing_else() {
    let crates = source::root().join("gateway");
    let folders =
        fs::read_dir(&crates).expect("a readable directory").map(|entry| entry.expect("an entry").path());
    let mut manifests: Vec<(String, String)> = folders
        .filter_map(|folder| {
            let text = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
            Some((folder.file_name()?.to_str()?.to_owned(), text))
        })
        .collect();
    manifests.sort();
    let drawn: Vec<&str> = DEPENDENCIES.iter().map(|(name, _)| *name).collect();
    assert_eq!(manifests.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), drawn);
    let found: Vec<String> = manifests.iter().flat_map(|(name, text)| dependencies(name, text)).collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// A fresh clone's `cargo test` builds exactly the crates that get along without DPDK, their tests included.
#[test]
fn what_is_built_by_default_is_all_that_needs_no_dpdk() {
    let read = |path: &str| -> toml::Table {
        let text = fs::read_to_string(source::root().join(path).join("Cargo.toml")).expect("a manifest");
        text.parse().expect("TOML")
    };
    let workspace = read(".");
    let listed = |key: &str| -> BTreeSet<&str> {
        let paths = workspace["workspace"][key].as_array().expect("paths").iter();
        paths.map(|path| path.as_str().expect("a path")).collect()
    };
    let manifests: Vec<(&str, toml::Table)> =
        listed("members").into_iter().map(|path| (path, read(path))).collect();
    let uses = |manifest: &toml::Table, name: &str| {
        let sections = ["dependencies", "dev-dependencies"].map(|section| manifest.get(section));
        sections.into_iter().flatten().any(|section| section.get(name).is_some())
    };
    let mut need = BTreeSet::from(["dpdk-sys"]);
    while let Some(name) = manifests.iter().find_map(|(_, manifest)| {
        let name = manifest["package"]["name"].as_str().expect("a name");
        (!need.contains(name) && need.iter().any(|needed| uses(manifest, needed))).then_some(name)
    }) {
        need.insert(name);
    }
    let is_free =
        |manifest: &toml::Table| !need.contains(manifest["package"]["name"].as_str().expect("a name"));
    let free = manifests.iter().filter(|(_, manifest)| is_free(manifest)).map(|(path, _)| *path);
    assert_eq!(listed("default-members"), free.collect());
}

/// Where a manifest's dependencies are not those that are drawn.
fn dependencies(name: &str, manifest: &str) -> Vec<String> {
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let section = manifest.get("dependencies").and_then(toml::Value::as_table);
    let all: BTreeSet<&str> = section.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let (ours, others): (BTreeSet<&str>, BTreeSet<&str>) = all.into_iter().partition(|name| {
        name.starts_with("natgw-") || ["dpdk-sys", "natctl", "nat-trafficgen"].contains(name)
    });
    let listed = |table: &[(&str, &'static [&'static str])]| {
        let row = table.iter().find(|(of, _)| *of == name);
        row.map(|(_, names)| names.iter().copied().collect::<BTreeSet<&str>>())
    };
    let differ = |found: &BTreeSet<&str>, drawn: Option<BTreeSet<&str>>| {
        let drawn = drawn.filter(|drawn| drawn != found)?;
        Some(format!("gateway/{name}/Cargo.toml: depends on {found:?}, drawn are {drawn:?}"))
    };
    [differ(&ours, listed(DEPENDENCIES)), differ(&others, listed(OTHERS))].into_iter().flatten().collect()
}

/// Every broken rule, one line each: `FILE:LINE: what`.
fn violations(sources: &[Source]) -> Vec<String> {
    let rules = [unsafe_code, purity, left_behind, length];
    let each = sources.iter().flat_map(|source| rules.into_iter().flat_map(|rule| rule(source)));
    each.chain(dead_files(sources)).chain(circles(sources)).collect()
}

fn unsafe_code(source: &Source) -> Vec<String> {
    let allowed = UNSAFE.iter().any(|place| match place.strip_prefix('/') {
        Some(_) => source.path.contains(place),
        None => source.path.starts_with(place),
    });
    let found = source.tokens.iter().filter(|token| !allowed && token.text == "unsafe");
    found.map(|token| format!("{}:{}: unsafe", source.path, token.line)).collect()
}

fn purity(source: &Source) -> Vec<String> {
    if source.krate().is_none_or(|name| !PURE.contains(&name)) {
        return Vec::new();
    }
    let is_impure = |text: &str| IMPURE.contains(&text) || text.starts_with("Atomic");
    let named = source.tokens.iter().filter(|token| is_impure(&token.text));
    let found = named.chain(find(&source.tokens, &["std", ":", ":", "thread"]));
    found.map(|token| format!("{}:{}: {} in a pure crate", source.path, token.line, token.text)).collect()
}

fn left_behind(source: &Source) -> Vec<String> {
    let patterns: [&[&str]; 4] =
        [&["todo", "!"], &["unimplemented", "!"], &["dbg", "!"], &["#", "[", "ignore"]];
    let places = |pattern| find(&source.tokens, pattern).map(|token| (token.line, pattern.concat()));
    let found = patterns.into_iter().flat_map(places);
    found.map(|(line, pattern)| format!("{}:{line}: {pattern}", source.path)).collect()
}

fn length(source: &Source) -> Vec<String> {
    let found = (source.lines > LINES_MAX).then_some(source.lines);
    found.iter().map(|lines| format!("{}:{lines}: more than {LINES_MAX} lines", source.path)).collect()
}

/// Files of a crate that no `mod` declaration leads to.
fn dead_files(sources: &[Source]) -> Vec<String> {
    let is_root = |source: &&Source| {
        source.krate().is_some()
            && (source.path.ends_with("/src/lib.rs") || source.path.ends_with("/src/main.rs"))
    };
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut next: Vec<&Source> = sources.iter().filter(is_root).collect();
    while let Some(source) = next.pop() {
        if reached.insert(&source.path) {
            let declared = source.declared_files();
            next.extend(sources.iter().filter(|other| declared.contains(&other.path)));
        }
    }
    let all = sources.iter().filter(|source| source.krate().is_some());
    let dead = all.filter(|source| !reached.contains(source.path.as_str()));
    dead.map(|source| format!("{}:1: no mod declaration leads here", source.path)).collect()
}

/// Imports that lead back to their file. A folder's `mod.rs` and a crate's root compose what is below them: they lead to all of it,
/// and what is below may import from them.
fn circles(sources: &[Source]) -> Vec<String> {
    DEPENDENCIES.iter().flat_map(|(name, _)| circles_of(name, sources)).collect()
}

fn circles_of(name: &str, sources: &[Source]) -> Vec<String> {
    let files: Vec<(&Source, Vec<String>)> = sources
        .iter()
        .filter(|source| source.krate() == Some(name))
        .map(|source| (source, source.module_path()))
        .collect();
    let modules: Vec<Vec<String>> = files.iter().map(|(_, module)| module.clone()).collect();
    let mut arrows: Vec<(&Vec<String>, &Vec<String>)> = Vec::new();
    for (source, from) in &files {
        for path in source.imports(&modules) {
            let named = modules.iter().filter(|module| path.starts_with(module)).max_by_key(|to| to.len());
            arrows.extend(named.filter(|to| !from.starts_with(to)).map(|to| (from, to)));
        }
        let is_below = |to: &&Vec<String>| !from.is_empty() && to.len() > from.len() && to.starts_with(from);
        arrows.extend(modules.iter().filter(is_below).map(|to| (from, to)));
    }
    // What no arrow leads to, and what leads nowhere, is in no circle.
    loop {
        let before = arrows.len();
        let (starts, ends): (BTreeSet<_>, BTreeSet<_>) = arrows.iter().copied().unzip();
        arrows.retain(|(from, to)| ends.contains(from) && starts.contains(to));
        if arrows.len() == before {
            break;
        }
    }
    let file = |module| files.iter().find(|(_, of)| of == module).map_or("", |(source, _)| &source.path);
    let found: BTreeSet<(&str, &str)> = arrows.iter().map(|&(from, to)| (file(from), file(to))).collect();
    found.iter().map(|(from, to)| format!("{from}:1: leads to {to} and back")).collect()
}

/// The first token of each place where this sequence stands.
fn find<'a>(tokens: &'a [Token], pattern: &'a [&str]) -> impl Iterator<Item = &'a Token> {
    let stands =
        move |window: &&[Token]| window.iter().zip(pattern).all(|(token, text)| token.text == **text);
    tokens.windows(pattern.len()).filter(stands).map(|window| &window[0])
}

/// Every rule broken once, and the closest that is allowed.
mod bites {
    use super::*;

    /// The violations of one file, with the declarations that lead to it.
    fn of(path: &str, text: &str) -> Vec<String> {
        let file = Source::new(path, text);
        let module = file.module_path();
        let root = format!("gateway/{}/src", file.krate().expect("a crate's file"));
        let mut sources = vec![file];
        for (depth, name) in module.iter().enumerate() {
            let parent = match depth {
                0 => format!("{root}/lib.rs"),
                _ => format!("{root}/{}/mod.rs", module[..depth].join("/")),
            };
            sources.push(Source::new(&parent, &format!("mod {name};")));
        }
        violations(&sources)
    }

    fn red(path: &str, text: &str, expected: &str) {
        assert_eq!(of(path, text), [format!("{path}:{expected}")], "{text}");
    }

    fn green(path: &str, text: &str) {
        assert_eq!(of(path, text), [""; 0], "{text}");
    }

    #[test]
    fn dependencies_that_are_not_drawn() {
        let drawn = "[dependencies]\nnatgw-wire.workspace = true\n";
        let rest = "arrayvec = \"0\"\nbytemuck = \"1\"\nhashbrown = \"0\"\nipnet = \"2\"\nmemmap2 = \"0\"\nserde = \"1\"\n\
                    thiserror = \"1\"\n[dev-dependencies]\nnatgw-config.workspace = true\n";
        assert_eq!(dependencies("nat", &format!("{drawn}{rest}")), [""; 0]);
        for more in ["natgw-worker.workspace = true\n", "tracing = \"0\"\n"] {
            assert_eq!(dependencies("nat", &format!("{drawn}{more}{rest}")).len(), 1, "{more}");
        }
        assert_eq!(
            dependencies("nat", &format!("[dependencies]\n{rest}")).len(),
            1,
            "one that is drawn is missing"
        );
        assert_eq!(dependencies("worker", drawn).len(), 1);
    }

    #[test]
    fn unsafe_in_the_wrong_place() {
        red("gateway/nat/src/table.rs", "fn f() { unsafe { g() } }", "1: unsafe");
        green(
            "gateway/nat/src/table.rs",
            "#![forbid(unsafe_code)] // unsafe\nconst A: &str = r#\"\" unsafe\"#;",
        );
        green("gateway/nat/src/table/cpu.rs", "fn f() { unsafe { g() } }");
        green("gateway/dpdk/src/eal.rs", "unsafe impl Send for A {}");
    }

    #[test]
    fn clocks_threads_locks_and_logs_in_the_engine() {
        for (text, found) in [
            ("use std::time::Instant;", "Instant"),
            ("fn f() { std::thread::yield_now() }", "std"),
            ("use std::sync::Mutex;", "Mutex"),
            ("static A: AtomicU64 = B;", "AtomicU64"),
            ("fn f() { tracing::info!(1) }", "tracing"),
            ("fn f() { println!() }", "println"),
        ] {
            red("gateway/wire/src/tcp.rs", text, &format!("1: {found} in a pure crate"));
            green("gateway/management/src/lib.rs", text);
        }
        green("gateway/wire/src/tcp.rs", "use std::time::Duration; const A: u8 = thread;");
    }

    #[test]
    fn what_is_left_behind() {
        for (text, found) in [
            ("fn f() { todo!() }", "todo!"),
            ("fn f() { unimplemented!() }", "unimplemented!"),
            ("fn f() { dbg!(1); }", "dbg!"),
            ("#[test] #[ignore = \"slow\"] fn f() {}", "#[ignore"),
        ] {
            red("gateway/wire/src/tcp.rs", text, &format!("1: {found}"));
        }
        green("gateway/wire/src/tcp.rs", "fn todo() { !ignore } #[must_use] fn dbg() {}");
    }

    #[test]
    fn long_files() {
        let path = "gateway/wire/src/tcp.rs";
        red(path, &"\n".repeat(LINES_MAX + 1), "1001: more than 1000 lines");
        green(path, &"\n".repeat(LINES_MAX));
    }

    #[test]
    fn imports_in_a_circle() {
        let found = |a: &str, b: &str| {
            let files = [
                ("lib", "mod a; mod b; use b::B; pub struct R;"),
                ("a/mod", "mod c; use super::R; pub use c::C;"),
                ("a/c", a),
                ("b", b),
            ];
            let path = |name: &str| format!("gateway/config/src/{name}.rs");
            let sources = files.map(|(name, text)| Source::new(&path(name), text));
            violations(&sources).len()
        };
        let to_b =
            ["use crate::b::B;", "use super::super::b::{self, B};", "use {std::fmt, crate::{R, b as c}};"];
        for a in to_b {
            assert_eq!(found(a, "use std::a::C;"), 0, "{a}");
            assert_eq!(found(a, "use super::R; mod tests { use super::*; }"), 0, "{a}");
            assert!(found(a, "use super::a::C;") > 0, "by the folder: {a}");
            assert!(found(a, "pub(super) use crate::{R, a::{c::*}};") > 0, "{a}");
        }
        assert_eq!(found("use super::super::R;", "use super::a::C;"), 0);
    }

    #[test]
    fn dead_files_of_every_kind() {
        let dead = |lib: &str| {
            let rest = [("arp/mod.rs", "mod entry;"), ("arp/entry.rs", "mod t;"), ("arp/entry/t.rs", "")];
            let files = rest.into_iter().chain([("lib.rs", lib), ("main.rs", "")]);
            let sources: Vec<Source> =
                files.map(|(path, text)| Source::new(&format!("gateway/wire/src/{path}"), text)).collect();
            violations(&sources)
        };
        assert_eq!(dead("#[cfg(x)]\npub mod arp;"), [""; 0]);
        assert_eq!(
            dead("// mod arp;\nmod arp { mod entry; }"),
            ["gateway/wire/src/arp/mod.rs:1: no mod declaration leads here"]
        );
        assert_eq!(dead("").len(), 3);
    }
}
