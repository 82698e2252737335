//! Rust sources as far as the rules need them: tokens without comments and literals, and module paths.

use std::fs;
use std::path::Path;

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

/// Every Rust file of both crates.
pub(crate) fn read_repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut sources = Vec::new();
    let mut directories = vec![root.join("gateway"), root.join("dpdk-sys")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a readable directory") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("a path below the root").display().to_string();
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

    /// `["nat", "shard"]` for `gateway/src/nat/shard.rs`; empty for the crate's root and what is no part of it.
    pub(crate) fn module_path(&self) -> Vec<String> {
        let inside = self
            .path
            .strip_prefix("gateway/src/")
            .filter(|path| !path.starts_with("bin/") && *path != "lib.rs");
        let stem = inside.and_then(|path| path.strip_suffix(".rs")).unwrap_or_default();
        let stem = stem.strip_suffix("/mod").unwrap_or(stem);
        stem.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// `nat`, or `bin/natctl` for a binary.
    pub(crate) fn top_module(&self) -> Option<String> {
        let bin = self
            .path
            .strip_prefix("gateway/src/bin/")
            .map(|path| path.split(['/', '.']).next().unwrap_or_default());
        bin.map(|name| format!("bin/{name}")).or_else(|| self.module_path().into_iter().next())
    }

    /// The names after `crate::`, `gateway::` and as many `super::` as lead to the root, with their lines.
    pub(crate) fn uses_of_the_crate(&self) -> Vec<(usize, String)> {
        let mut uses = Vec::new();
        self.walk(|at, modules| {
            let depth = self.module_path().len() + modules.len();
            let text = |at: usize| self.tokens.get(at).map_or("", |token| &token.text);
            let starts = at < 2 || text(at - 1) != ":";
            let root = match text(at) {
                "crate" | "gateway" if starts && self.is_path(at) => Some(at + 3),
                "super" if starts => {
                    let supers =
                        (0..).take_while(|n| text(at + 3 * n) == "super" && self.is_path(at + 3 * n)).count();
                    (supers == depth).then_some(at + 3 * supers)
                }
                _ => None,
            };
            if let Some(first) = root {
                uses.extend(self.names(first).map(|at| (self.tokens[at].line, text(at).to_owned())));
            }
        });
        uses
    }

    /// The files that this one's `mod name;` declarations may mean.
    pub(crate) fn declared_files(&self) -> Vec<String> {
        let mut files = Vec::new();
        self.walk(|at, modules| {
            if let [keyword, name, end, ..] = &self.tokens[at..]
                && (keyword.text.as_str(), end.text.as_str()) == ("mod", ";")
            {
                let path = [self.module_path(), modules.to_vec(), vec![name.text.clone()]].concat().join("/");
                files.extend([format!("gateway/src/{path}.rs"), format!("gateway/src/{path}/mod.rs")]);
            }
        });
        files
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

    /// Whether `::` follows.
    fn is_path(&self, at: usize) -> bool {
        matches!(self.tokens.get(at + 1..at + 3), Some([a, b]) if a.text == ":" && b.text == ":")
    }

    /// The name at `first`, or those of the group that opens there, one level deep.
    fn names(&self, first: usize) -> impl Iterator<Item = usize> {
        let mut names = vec![first];
        if self.tokens.get(first).is_some_and(|token| token.text == "{") {
            names.clear();
            let mut depth = 0;
            for at in first..self.tokens.len() {
                match self.tokens[at].text.as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ if depth == 1 && matches!(self.tokens[at - 1].text.as_str(), "{" | ",") => {
                        names.push(at)
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        }
        let len = self.tokens.len();
        names.into_iter().filter(move |&at| at < len)
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
