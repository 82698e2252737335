//! The commands that README and pages print. A shell reads each; what it would have run is held to the program that is meant:
//! the command line of ours, the options of a script, the targets of Cargo, the routes of the API. `nat-gateway check` and
//! `nat-gateway whose` touch no device, so they run, and their answers are compared.
//!
//! The cookbook's commands run in `netns/cookbook.rs` besides.

#[path = "../console/mod.rs"]
mod console;
mod known;
#[allow(dead_code, reason = "the tests of the documents use the rest")]
#[path = "../../../natctl/tests/docs/pages.rs"]
mod pages;
mod shell;

use std::process::Command;

use clap::Parser;
use nat_gateway::cli::{self, Cli};

use console::{Step, differs};
use known::Called;
use pages::{Page, documents, root};
use shell::Shell;

#[test]
fn every_command_of_a_block_can_be_run() {
    let shell = Shell::new();
    let mut count = 0;
    let mut mistakes = Vec::new();
    for page in documents() {
        for block in page.blocks() {
            for step in steps(block.language, block.text) {
                count += 1;
                let found = mistakes_of(&shell, &step).into_iter();
                mistakes.extend(found.map(|mistake| format!("{}:{}: {mistake}", page.path, block.line)));
            }
        }
    }
    assert!(count > 50, "only {count} commands");
    assert_eq!(mistakes, [""; 0]);
}

#[test]
fn every_command_in_a_sentence_has_its_options() {
    let mut count = 0;
    for page in documents() {
        for span in spans(&page) {
            let Some(words) = known::words_of_ours(span) else { continue };
            count += 1;
            assert_eq!(known::usage_mistake(&words), None, "{}: `{span}`", page.path);
        }
    }
    assert!(count > 50, "only {count} commands");
}

#[test]
fn the_language_of_a_block_says_what_is_in_it() {
    for page in documents() {
        for block in page.blocks() {
            let at = format!("{}:{}", page.path, block.line);
            assert!(LANGUAGES.contains(&block.language), "{at}: ```{}", block.language);
            assert!(
                block.language != "console" || !steps("console", block.text).is_empty(),
                "{at}: no prompt"
            );
        }
    }
}

#[test]
fn each_kind_of_mistake_in_a_command_is_found() {
    let shell = Shell::new();
    let found = |command: &str, answer: &str| {
        let answer = answer.lines().map(str::to_owned).collect();
        mistakes_of(&shell, &Step { host: String::new(), command: command.into(), answer })
    };
    let campus = "nat-gateway --config config/cookbook/campus.toml";
    for right in [
        "natctl sessions --protocol udp | grep x >list 2>/dev/null && echo \"$TOKEN\"  # a comment",
        "for name in a b; do natctl whose 10.0.0.$name || true; done; UPDATE_DOCS=1 cargo test --test docs",
        "nat-gateway check --config config/demo.toml",
        "sudo ip netns exec host target/release/nat-gateway --config FILE --log-format json &",
        "scripts/demo.sh --workers 2 --hold",
        "docker compose -f docker/compose.yaml exec gateway natctl --json status",
        "curl -s -X DELETE 'http://127.0.0.1:9464/api/v1/sessions?inside=10.0.0.1'",
        "curl -s http://gateway/api/v1/forwards/7 -X DELETE && curl --json '{}' http://gateway/api/v1/forwards",
        "curl -s http://198.51.100.10/any",
        "promtool test rules config/prometheus/tests/*.yml",
    ] {
        let right = right.replace("10.0.0.$name", "10.0.0.1");
        assert_eq!(found(&right, ""), [""; 0], "{right}");
    }
    assert_eq!(found(&format!("{campus} whose 10.20.0.11"), "10.20.0.11 has * in pool campus"), [""; 0]);
    for wrong in [
        "natctl sesions",
        "natctl sessions --inner 10.0.0.1",
        "natctl sessions --protocol tpc",
        "true | sudo natctl flush now | true",
        "ip netns exec host natctl flush now",
        "docker compose -f docker/compose.yaml exec gateway natctl stat",
        "nat-gateway chekc --config FILE",
        "nat-gateway check --config gateway/fixtures/ten-mistakes.toml",
        "nat-trafficgen loud",
        "scripts/gone.sh",
        "scripts/demo.sh --worker 2",
        "cargo test --test gone",
        "cargo run --example gone",
        "cargo doc --package gone",
        "cargo bench --bench gone",
        "curl -s http://gateway/api/v1/gone",
        "curl -s -X PUT http://gateway/api/v1/forwards",
        "curl -s http://127.0.0.1:9464/api/v1/sessions?inner=10.0.0.1",
        "promtool check config config/gone.yml",
        "unheard-of --option",
        "if natctl status; then",
        "echo 1 >/proc/sys/vm/nr_hugepages",
    ] {
        assert_eq!(found(wrong, "").len(), 1, "{wrong}: {:?}", found(wrong, ""));
    }
    assert_eq!(found(&format!("{campus} whose 10.20.0.11"), "10.20.0.12 has * in pool campus").len(), 1);
}

#[test]
fn each_kind_of_mistake_in_a_usage_is_found() {
    let mistake = |span: &str| known::usage_mistake(&known::words_of_ours(span).expect("a command"));
    for right in [
        "natctl [--socket PATH | --url URL] [--json] COMMAND",
        "natctl forwards [list]",
        "natctl forwards add PROTO OUTSIDE:PORT INSIDE:PORT [--source gateway] [--token-file FILE]",
        "natctl capture [--inside] [CONDITION]... -w FILE [--rate N]",
        "nat-gateway check",
        "nat-gateway --config FILE whose 10.0.0.1",
        "scripts/bind-nic.sh --dry-run 0000:3b:00.0",
    ] {
        assert_eq!(mistake(right), None, "{right}");
    }
    for wrong in [
        "natctl sesions",
        "natctl forwards [lost]",
        "natctl forwards add PROTO [--origin gateway]",
        "natctl capture -x FILE",
        "nat-gateway chekc",
        "scripts/bind-nic.sh --dry",
    ] {
        assert!(mistake(wrong).is_some(), "{wrong}");
    }
}

/// What a block of the documents may be: commands, commands with answers, text (with commands behind `$`, or none), and
/// programs and configurations, which other tests run.
const LANGUAGES: [&str; 5] = ["sh", "console", "text", "rust", "toml"];

/// The commands of a block.
fn steps(language: &str, text: &str) -> Vec<Step> {
    match language {
        "sh" => vec![Step { host: String::new(), command: text.to_owned(), answer: Vec::new() }],
        "console" | "text" => console::steps(text),
        _ => Vec::new(),
    }
}

/// The pieces of code in a page's sentences.
fn spans(page: &Page) -> impl Iterator<Item = &str> {
    let lines = page.text.split("```").step_by(2).flat_map(str::lines);
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

fn mistakes_of(shell: &Shell, step: &Step) -> Vec<String> {
    let calls = match shell.read(&step.command) {
        Ok(calls) => calls,
        Err(mistake) => return vec![format!("{}: {mistake}", step.command)],
    };
    let found = calls.iter().filter_map(|call| {
        let mistake = match known::call(call) {
            Ok(Called::Gateway(arguments)) => answer_mistake(arguments, &step.answer),
            Ok(Called::Other) => None,
            Err(mistake) => Some(mistake),
        };
        mistake.map(|mistake| format!("{}: {}", call.join(" "), mistake.trim_end()))
    });
    found.collect()
}

/// Runs `nat-gateway` where it does no more than read a file of the repository.
fn answer_mistake(arguments: &[String], answer: &[String]) -> Option<String> {
    let cli = Cli::parse_from(arguments);
    let only_reads = matches!(cli.command, Some(cli::Command::Check | cli::Command::Whose { .. }));
    if !only_reads || !root().join(&cli.config).is_file() {
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_nat-gateway"));
    let output = command.args(&arguments[1..]).current_dir(root()).output().expect("it starts");
    if !output.status.success() {
        return Some(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    differs(answer, &String::from_utf8_lossy(&output.stdout)).map(|line| format!("not answered: {line:?}"))
}
