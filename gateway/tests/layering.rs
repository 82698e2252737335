//! The repository's own rules: which module may use which, where `unsafe` may stand, what the packet engine must not
//! touch, and what no source file may contain. Each rule is shown to bite in [`bites`].

mod source;

use std::collections::BTreeSet;

use source::{Source, Token};

/// Who uses whom. A module may use whatever is below it, directly or not; a new arrow is a change of design.
///
/// ```text
/// main, natctl → start → management, worker → nat, steer, neighbor → wire
///                        start, worker      → dpdk → dpdk-sys
/// nat-trafficgen → trafficgen → dpdk, wire
/// ```
const ARROWS: &[(&str, &[&str])] = &[
    ("bin/nat-gateway", &["cli", "start"]),
    ("bin/nat-trafficgen", &["trafficgen"]),
    ("bin/natctl", &["natctl"]),
    ("cli", &["config", "log"]),
    ("config", &["log", "nat", "neighbor"]),
    ("counters", &["nat"]),
    ("dpdk", &[]),
    ("log", &[]),
    ("management", &["config", "counters", "nat", "neighbor", "steer"]),
    ("nat", &["wire"]),
    ("natctl", &["management"]),
    ("neighbor", &["wire"]),
    ("start", &["cli", "dpdk", "management", "worker"]),
    ("steer", &["nat", "wire"]),
    ("trafficgen", &["dpdk", "wire"]),
    ("wire", &[]),
    ("worker", &["counters", "dpdk", "nat", "neighbor", "steer"]),
];

/// Modules that know no thread, clock, log or lock: what they need to know is an argument.
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
    &["dpdk-sys/", "gateway/src/dpdk/", "gateway/src/nat/cpu.rs", "gateway/tests/", "gateway/benches/"];

const LINES_MAX: usize = 1000;

#[test]
fn the_repository_keeps_its_rules() {
    let sources = source::read_repository();
    assert!(sources.len() > 20, "only {} sources found", sources.len());
    let found = violations(&sources);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn the_drawing_has_no_circle() {
    for (module, _) in ARROWS {
        assert!(!below(module).contains(module), "{module} is below itself");
    }
}

/// Every broken rule, one line each: `FILE:LINE: what`.
fn violations(sources: &[Source]) -> Vec<String> {
    let rules = [arrows, dpdk_sys, unsafe_code, purity, left_behind, length];
    let each = sources.iter().flat_map(|source| rules.into_iter().flat_map(|rule| rule(source)));
    each.chain(dead_files(sources)).collect()
}

fn below(module: &str) -> BTreeSet<&'static str> {
    let arrows = ARROWS.iter().find(|(from, _)| *from == module).map_or(&[][..], |(_, to)| to);
    arrows.iter().flat_map(|to| below(to).into_iter().chain([*to])).collect()
}

fn arrows(source: &Source) -> Vec<String> {
    let Some(module) = source.top_module() else { return Vec::new() };
    let drawn = |module: &str| ARROWS.iter().any(|(from, _)| *from == module);
    if !drawn(&module) {
        return vec![format!("{}:1: the module {module} is not in the drawing", source.path)];
    }
    let below = below(&module);
    let uses = source.uses_of_the_crate().into_iter();
    uses.filter(|(_, to)| *to != module && drawn(to) && !below.contains(to.as_str()))
        .map(|(line, to)| format!("{}:{line}: {module} uses {to}, which is not below it", source.path))
        .collect()
}

fn dpdk_sys(source: &Source) -> Vec<String> {
    let outside = source.path.starts_with("gateway/src/") && !source.path.starts_with("gateway/src/dpdk/");
    let found = source.tokens.iter().filter(|token| outside && token.text == "dpdk_sys");
    found.map(|token| format!("{}:{}: dpdk-sys is used outside dpdk", source.path, token.line)).collect()
}

fn unsafe_code(source: &Source) -> Vec<String> {
    let allowed = UNSAFE.iter().any(|place| source.path.starts_with(place));
    let found = source.tokens.iter().filter(|token| !allowed && token.text == "unsafe");
    found.map(|token| format!("{}:{}: unsafe", source.path, token.line)).collect()
}

fn purity(source: &Source) -> Vec<String> {
    if !source.top_module().is_some_and(|module| PURE.contains(&module.as_str())) {
        return Vec::new();
    }
    let is_impure = |text: &str| IMPURE.contains(&text) || text.starts_with("Atomic");
    let named = source.tokens.iter().filter(|token| is_impure(&token.text));
    let found = named.chain(find(&source.tokens, &["std", ":", ":", "thread"]));
    found.map(|token| format!("{}:{}: {} in a pure module", source.path, token.line, token.text)).collect()
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

/// Files of gateway/src that no `mod` declaration leads to.
fn dead_files(sources: &[Source]) -> Vec<String> {
    let is_root = |path: &str| path == "gateway/src/lib.rs" || path.starts_with("gateway/src/bin/");
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    let mut next: Vec<&Source> = sources.iter().filter(|source| is_root(&source.path)).collect();
    while let Some(source) = next.pop() {
        if reached.insert(&source.path) {
            let declared = source.declared_files();
            next.extend(sources.iter().filter(|other| declared.contains(&other.path)));
        }
    }
    let all = sources.iter().filter(|source| source.path.starts_with("gateway/src/"));
    let dead = all.filter(|source| !reached.contains(source.path.as_str()));
    dead.map(|source| format!("{}:1: no mod declaration leads here", source.path)).collect()
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
        let mut sources = vec![file];
        for (depth, name) in module.iter().enumerate() {
            let parent = match depth {
                0 => "gateway/src/lib.rs".to_owned(),
                _ => format!("gateway/src/{}/mod.rs", module[..depth].join("/")),
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
    fn arrows_that_point_up_or_sideways() {
        let nat = "gateway/src/nat/shard.rs";
        red(nat, "\nuse crate::worker::Burst;", "2: nat uses worker, which is not below it");
        red(nat, "use crate::{wire, neighbor::NextHops};", "1: nat uses neighbor, which is not below it");
        red(nat, "use super::super::steer;", "1: nat uses steer, which is not below it");
        red(nat, "mod t { use super::super::super::config; }", "1: nat uses config, which is not below it");
        red(nat, "fn f() { crate::management::run() }", "1: nat uses management, which is not below it");
        let natctl = "gateway/src/bin/natctl.rs";
        red(natctl, "use gateway::worker;", "1: bin/natctl uses worker, which is not below it");
    }

    #[test]
    fn but_not_arrows_that_point_down() {
        let nat = "gateway/src/nat/shard.rs";
        green(
            nat,
            "use crate::wire::ipv4; use super::super::wire; use crate::nat::Verdict; use super::config;",
        );
        green(
            nat,
            "// crate::worker\n/* crate::worker /* */ crate::worker */ const A: &str = \"\\\" crate::worker\";",
        );
        green(
            nat,
            "mod t { use super::super::worker; fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' } }",
        );
        green("gateway/src/worker/mod.rs", "use crate::{dpdk::{management, queue}, wire};");
        green("gateway/src/bin/natctl.rs", "use gateway::natctl;");
    }

    #[test]
    fn modules_that_are_not_drawn() {
        red("gateway/src/helpers.rs", "", "1: the module helpers is not in the drawing");
    }

    #[test]
    fn dpdk_outside_its_module() {
        red("gateway/src/worker/mod.rs", "use dpdk_sys as ffi;", "1: dpdk-sys is used outside dpdk");
        green("gateway/src/dpdk/mod.rs", "use dpdk_sys as ffi;");
    }

    #[test]
    fn unsafe_in_the_wrong_place() {
        red("gateway/src/nat/table.rs", "fn f() { unsafe { g() } }", "1: unsafe");
        green(
            "gateway/src/nat/table.rs",
            "#![forbid(unsafe_code)] // unsafe\nconst A: &str = r#\"\" unsafe\"#;",
        );
        green("gateway/src/nat/cpu.rs", "fn f() { unsafe { g() } }");
        green("gateway/src/dpdk/eal.rs", "unsafe impl Send for A {}");
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
            red("gateway/src/wire/tcp.rs", text, &format!("1: {found} in a pure module"));
            green("gateway/src/management/mod.rs", text);
        }
        green("gateway/src/wire/tcp.rs", "use std::time::Duration; const A: u8 = thread;");
    }

    #[test]
    fn what_is_left_behind() {
        for (text, found) in [
            ("fn f() { todo!() }", "todo!"),
            ("fn f() { unimplemented!() }", "unimplemented!"),
            ("fn f() { dbg!(1); }", "dbg!"),
            ("#[test] #[ignore = \"slow\"] fn f() {}", "#[ignore"),
        ] {
            red("gateway/src/wire/tcp.rs", text, &format!("1: {found}"));
        }
        green("gateway/src/wire/tcp.rs", "fn todo() { !ignore } #[must_use] fn dbg() {}");
    }

    #[test]
    fn long_files() {
        let path = "gateway/src/wire/tcp.rs";
        red(path, &"\n".repeat(LINES_MAX + 1), "1001: more than 1000 lines");
        green(path, &"\n".repeat(LINES_MAX));
    }

    #[test]
    fn dead_files_of_every_kind() {
        let dead = |lib: &str| {
            let rest = [("wire/mod.rs", "mod arp;"), ("wire/arp.rs", "mod t;"), ("wire/arp/t.rs", "")];
            let files = rest.into_iter().chain([("lib.rs", lib), ("bin/natctl.rs", "")]);
            let sources: Vec<Source> =
                files.map(|(path, text)| Source::new(&format!("gateway/src/{path}"), text)).collect();
            violations(&sources)
        };
        assert_eq!(dead("#[cfg(x)]\npub mod wire;"), [""; 0]);
        assert_eq!(
            dead("// mod wire;\nmod wire { mod arp; }"),
            ["gateway/src/wire/mod.rs:1: no mod declaration leads here"]
        );
        assert_eq!(dead("").len(), 3);
    }
}
