//! Rust sources as far as the rules need them: tokens without comments and literals, and module paths.

use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub(crate) struct Source {
    /// From the repository's root, such as `gateway/src/nat/mod.rs`.
    pub(crate) path: String,
    pub(crate) lines: usize,
    pub(crate) tokens: Vec<Token>,
}

/// An identifier or keyword, or one character of punctuation.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// Where the repository is.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace")
}

/// Every Rust file of all crates.
pub(crate) fn read_repository() -> Vec<Source> {
    let root = root();
    let mut sources = Vec::new();
    let mut directories = vec![root.join("gateway"), root.join("dpdk-sys")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a readable directory") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("a path below the root").display().to_string();
                sources.push(Source::new(&name, &fs::read_to_string(&path).expect("a readable file")));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), lines: text.lines().count(), tokens: tokens(text) }
    }

    /// `nat` for `gateway/nat/src/shard.rs`; of tests, benches and examples none.
    pub(crate) fn krate(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("gateway/")?.split_once('/')?;
        rest.starts_with("src/").then_some(name)
    }

    /// `["fragment", "table"]` for `gateway/nat/src/fragment/table.rs`; empty for a crate's root and what is part of none.
    pub(crate) fn module_path(&self) -> Vec<String> {
        let inside = self.krate().and_then(|_| self.path.split_once("/src/")).map(|(_, inside)| inside);
        let stem = inside.and_then(|path| path.strip_suffix(".rs")).unwrap_or_default();
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        let is_root = matches!(stem, "lib" | "main");
        stem.split('/').filter(|part| !part.is_empty() && !is_root).map(str::to_owned).collect()
    }

    /// The files that this one's `mod name;` declarations may mean.
    pub(crate) fn declared_files(&self) -> Vec<String> {
        let mut files = Vec::new();
        self.walk(|at, modules| {
            if let [keyword, name, end, ..] = &self.tokens[at..]
                && (keyword.text.as_str(), end.text.as_str()) == ("mod", ";")
            {
                let path = [self.module_path(), modules.to_vec(), vec![name.text.clone()]].concat().join("/");
                let root = self.krate().map_or(String::new(), |name| format!("gateway/{name}/src/"));
                files.extend([format!("{root}{path}.rs"), format!("{root}{path}/mod.rs")]);
            }
        });
        files
    }

    /// What its `use` declarations name of its own crate, as paths from the crate's root; `modules` are those of the crate.
    pub(crate) fn imports(&self, modules: &[Vec<String>]) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        self.walk(|at, inline| {
            // `use<'a>` in a type declares nothing.
            if self.tokens[at].text == "use" && self.tokens[at + 1].text != "<" {
                let tree = self.tokens[at + 1..].split(|token| token.text == ";").next().unwrap_or_default();
                let here = [&self.module_path(), inline].concat();
                let mut named = Vec::new();
                use_tree(tree, &[], &mut named);
                paths.extend(named.iter().filter_map(|path| absolute(&here, path, modules)));
            }
        });
        paths
    }

    /// Visits every token with the names of the inline modules around it.
    fn walk(&self, mut visit: impl FnMut(usize, &[String])) {
        let mut braces: Vec<bool> = Vec::new();
        let mut modules: Vec<String> = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            match token.text.as_str() {
                "{" => {
                    let is_module = at >= 2 && self.tokens[at - 2].text == "mod";
                    if is_module {
                        modules.push(self.tokens[at - 1].text.clone());
                    }
                    braces.push(is_module);
                }
                "}" if braces.pop() == Some(true) => drop(modules.pop()),
                _ => visit(at, &modules),
            }
        }
    }
}

/// The paths that a `use` tree names, each with this prefix.
fn use_tree(tree: &[Token], prefix: &[String], paths: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    let mut at = 0;
    while let Some(token) = tree.get(at) {
        match token.text.as_str() {
            "{" => {
                let mut depth = 0;
                let end = tree[at..].iter().position(|token| {
                    depth += i32::from(token.text == "{") - i32::from(token.text == "}");
                    depth == 0
                });
                let end = at + end.expect("a brace for each");
                use_tree(&tree[at + 1..end], &path, paths);
                at = end;
            }
            "," => paths.push(std::mem::replace(&mut path, prefix.to_vec())),
            // The other name.
            "as" => at += 1,
            ":" | "*" => {}
            name => path.push(name.to_owned()),
        }
        at += 1;
    }
    paths.push(path);
}

/// A path that is written in the module `here`, from the crate's root; `None` where it leads to another crate.
fn absolute(here: &[String], path: &[String], modules: &[Vec<String>]) -> Option<Vec<String>> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let first = path.first()?;
    match first.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([here, &path[1..]].concat()),
        "super" => Some([&here[..here.len().checked_sub(ups)?], &path[ups..]].concat()),
        name => {
            let child = [here, &[name.to_owned()]].concat();
            modules.contains(&child).then(|| [here, path].concat())
        }
    }
}

/// Leaves comments, strings and characters out.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let len = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            '\'' => character(rest),
            'r' | 'b' | 'c' if is_raw_string(&rest[word..], &rest[..word]) => {
                word + raw_string(&rest[word..])
            }
            _ if word > 0 => {
                tokens.push(Token { text: rest[..word].to_owned(), line });
                word
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token { text: first.to_string(), line });
                }
                first.len_utf8()
            }
        };
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    tokens
}

fn block_comment(text: &str) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 && at < text.len() {
        let rest = &text.as_bytes()[at..];
        depth = if rest.starts_with(b"/*") {
            depth + 1
        } else if rest.starts_with(b"*/") {
            depth - 1
        } else {
            depth
        };
        at += if rest.starts_with(b"/*") || rest.starts_with(b"*/") { 2 } else { 1 };
    }
    (at..).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len())
}

fn string(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// A character literal; of a lifetime, the quote alone.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            from + text[from..].find('\'').map_or(0, |end| end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

fn is_raw_string(rest: &str, word: &str) -> bool {
    matches!(word, "r" | "br" | "cr") && rest.trim_start_matches('#').starts_with('"')
}

fn raw_string(text: &str) -> usize {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    text[hashes + 1..].find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len())
}
