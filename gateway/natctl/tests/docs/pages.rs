//! The repository's documents, and the ways to look into them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What writes the generated parts of all pages anew.
pub(crate) const REGENERATE: &str = "UPDATE_DOCS=1 cargo test --test docs";

/// The pages' folder.
pub(crate) const FOLDER: &str = "gateway/docs";

/// A Markdown file.
#[derive(Debug)]
pub(crate) struct Page {
    /// From the repository's root on.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A fenced block of a page.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    pub(crate) language: &'a str,
    /// The number of its first line.
    pub(crate) line: usize,
    pub(crate) text: &'a str,
}

impl Page {
    pub(crate) fn read(path: &str) -> Page {
        let text = fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        Page { path: path.to_owned(), text }
    }

    /// The fenced blocks.
    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let (mut rest, mut line) = (&*self.text, 1);
        while let Some((before, fenced)) = rest.split_once("```") {
            let (language, fenced) = fenced.split_once('\n').expect("the opening's line ends");
            let (text, after) =
                fenced.split_once("```").unwrap_or_else(|| panic!("{}: no end of a block", self.path));
            line += before.matches('\n').count() + 1;
            blocks.push(Block { language, line, text });
            line += text.matches('\n').count();
            rest = after;
        }
        blocks
    }

    /// The page as it has to be, or a panic that says where it is not. With `UPDATE_DOCS` the file is written.
    pub(crate) fn assert_is(&self, wanted: &str) {
        if self.text == wanted {
            return;
        }
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(root().join(&self.path), wanted).expect("the page is written");
            return;
        }
        let (there, wanted) = (self.text.lines(), wanted.lines().chain(["the end"]));
        let differs =
            there.chain(["the end"]).zip(wanted).enumerate().find(|(_, (there, wanted))| there != wanted);
        let (line, (there, wanted)) = differs.expect("a line that differs");
        panic!(
            "{}:{}: found\n  {there}\nwhere the code says\n  {wanted}\nTo write the page anew: {REGENERATE}",
            self.path,
            line + 1
        );
    }

    /// Its text with `part` between the markers `<!-- generated: name -->` and `<!-- end of name -->`.
    pub(crate) fn with(&self, name: &str, part: &str) -> Page {
        let [start, end] = [format!("<!-- generated: {name} -->\n"), format!("<!-- end of {name} -->\n")];
        let (before, rest) =
            self.text.split_once(&start).unwrap_or_else(|| panic!("{}: no {start}", self.path));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{}: no {end}", self.path));
        Page { path: self.path.clone(), text: format!("{before}{start}\n{part}\n{end}{after}") }
    }
}

/// The folder with README.md and scripts.
pub(crate) fn root() -> PathBuf {
    let is_root = |folder: &&Path| folder.join("README.md").is_file() && folder.join("scripts").is_dir();
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find(is_root).expect("the repository").to_owned()
}

/// Every file with this extension below a folder of the repository, from the root on, sorted.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut places = vec![root().join(folder)];
    while let Some(place) = places.pop() {
        let name = place.file_name().unwrap_or_default();
        if place.is_dir() {
            if name != "target" && name != ".git" {
                let entries = fs::read_dir(place).expect("a folder");
                places.extend(entries.map(|entry| entry.expect("an entry").path()));
            }
        } else if place.extension().is_some_and(|its| its == extension) {
            found.push(
                place.strip_prefix(root()).expect("below the root").to_str().expect("a name").to_owned(),
            );
        }
    }
    found.sort();
    found
}

/// Every Markdown file of the repository.
pub(crate) fn documents() -> Vec<Page> {
    files("", "md").iter().map(|path| Page::read(path)).collect()
}

/// What follows each `start`, as far as `belongs` says.
pub(crate) fn words_after<'a>(
    text: &'a str,
    start: &'a str,
    belongs: impl Fn(char) -> bool + Copy + 'a,
) -> impl Iterator<Item = &'a str> + 'a {
    let end = move |rest: &'a str| &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())];
    text.split(start).skip(1).map(end).filter(|word| !word.is_empty())
}

pub(crate) fn assert_same(what: &str, known: &BTreeSet<String>, named: &BTreeSet<String>) {
    let missing: Vec<_> = known.difference(named).collect();
    let invented: Vec<_> = named.difference(known).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{what}: {missing:?} are not told, {invented:?} do not exist"
    );
}
