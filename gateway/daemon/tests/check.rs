//! `nat-gateway check` as its user sees it: exit codes, and what stands on which stream.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[test]
fn shipped_files_are_accepted_and_explained() {
    let files = toml_files("../../config");
    assert!(files.len() >= 2);
    for file in files {
        let output = check(&file);
        assert_eq!(output.status.code(), Some(0), "{}: {}", file.display(), text(&output.stderr));
        assert!(text(&output.stdout).contains("Rules, the first match decides"));
    }
}

#[test]
fn recipes_are_accepted_without_a_warning() {
    let recipes = toml_files("../../config/cookbook");
    assert!(recipes.len() >= 4);
    for recipe in recipes {
        let output = check(&recipe);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{}", recipe.display());
    }
}

#[test]
fn every_mistake_has_its_line_and_nothing_is_explained() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/ten-mistakes.toml");
    let marked: Vec<usize> = (1..)
        .zip(fs::read_to_string(&file).unwrap().lines())
        .filter(|(_, line)| line.ends_with("#!"))
        .map(|(number, _)| number)
        .collect();
    let output = check(&file);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), marked.len(), "{stderr}");
    for (line, number) in stderr.lines().zip(marked) {
        assert!(line.starts_with(&format!("{}:{number}: ", file.display())), "{line}");
    }
}

#[test]
fn a_wrong_file_does_not_start_the_gateway_either() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/ten-mistakes.toml");
    let output = gateway(&["--config".as_ref(), &file]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stderr).lines().count(), 10);
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary.toml");
    fs::write(&binary, b"[dpdk]\nmain_lcore = \xff\n").unwrap();
    let absent = folder.path().join("absent.toml");
    for (file, reason) in [
        (absent.as_path(), "No such file or directory"),
        (folder.path(), "Is a directory"),
        (&binary, "binary.toml:2: text, found byte 0xff, allowed UTF-8"),
        (Path::new("/dev/zero"), "larger than"),
    ] {
        let output = check(file);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(reason) && stderr.contains(file.to_str().unwrap()), "{stderr}");
    }
}

#[test]
fn a_warning_is_no_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("short.toml");
    fs::write(&file, include_str!("../../fixtures/example.toml").replace("udp = 300", "udp = 5")).unwrap();
    let output = check(&file);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("short.toml:52: nat.timeouts.udp, found 5, allowed 120 or more"));
}

#[test]
fn wrong_usage_is_refused_and_the_version_printed() {
    assert_eq!(gateway(&["chekc".as_ref()]).status.code(), Some(2));
    let version = gateway(&["--version".as_ref()]);
    assert_eq!(text(&version.stdout).trim(), format!("nat-gateway {}", env!("CARGO_PKG_VERSION")));
}

fn toml_files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "toml")).collect()
}

fn check(file: &Path) -> Output {
    gateway(&["check".as_ref(), "--config".as_ref(), file])
}

fn gateway(arguments: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nat-gateway")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
