//! What is wrong with a configuration file, and where.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

use toml::de::DeTable;

use super::added::AddedForward;

/// One thing wrong with a configuration file, or worth a warning: `FILE:LINE: what, found X, allowed Y`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// The file, as it was named.
    pub file: String,
    /// Line in the file, from 1; 0 where it is of no file.
    pub line: usize,
    /// The key or the relation between keys that is wrong.
    pub what: String,
    /// What stands there.
    pub found: Option<String>,
    /// What may stand there.
    pub allowed: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what)?,
            line => write!(f, "{}:{line}: {}", self.file, self.what)?,
        }
        if let Some(found) = &self.found {
            write!(f, ", found {found}")?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, ", allowed {allowed}")?;
        }
        Ok(())
    }
}

/// A value and the line it stands on.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) line: usize,
    pub(super) value: T,
}

/// Collects every mistake of one file, so that the reader never has to stop at the first.
///
/// A file with syntax errors is *damaged*: what could still be read is checked, but nothing is called missing, since
/// the parser may have lost it.
pub(super) struct Report {
    file: String,
    line_starts: Vec<usize>,
    damaged_lines: Vec<usize>,
    /// Tables that are not of the file, with their names: each stands on a line of its own behind it.
    added: Vec<(String, DeTable<'static>)>,
    mistakes: RefCell<Vec<Diagnostic>>,
    warnings: RefCell<Vec<Diagnostic>>,
}

impl Report {
    /// For `text`, which was read from `file`, with the syntax errors that its parser met.
    pub(super) fn new(file: &str, text: &str, syntax_errors: &[toml::de::Error]) -> Report {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let mut report = Report {
            file: file.to_owned(),
            line_starts: std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect(),
            damaged_lines: Vec::new(),
            added: Vec::new(),
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
        };
        for error in syntax_errors {
            let span = error.span().unwrap_or_default();
            let line = report.line(&span);
            // The parser stumbles on: the first error of a line is the one that helps.
            if !report.damaged_lines.contains(&line) {
                report.damaged_lines.push(line);
                // Only a key is quoted: other text may be a secret.
                let found = (error.message() == "duplicate key").then(|| text.get(span)).flatten();
                report.push(line, format!("syntax: {}", error.message()), found.map(str::to_owned), None);
            }
        }
        report
    }

    /// With tables beside those of the file.
    pub(super) fn with_added(self, added: &[AddedForward]) -> Report {
        let added = added.iter().map(|forward| (format!("forward {}", forward.id()), forward.table()));
        Report { added: added.collect(), ..self }
    }

    /// The tables beside those of the file, and where they stand.
    pub(super) fn added(&self) -> impl Iterator<Item = (usize, &DeTable<'static>)> {
        (self.line_starts.len() + 1..).zip(self.added.iter().map(|(_, table)| table))
    }

    /// The name of what stands on a line that is not of the file.
    fn added_on(&self, line: usize) -> Option<&str> {
        let nth = line.checked_sub(self.line_starts.len() + 1)?;
        self.added.get(nth).map(|(name, _)| name.as_str())
    }

    /// A line, or what stands there, as a message refers to it.
    pub(super) fn place(&self, line: usize) -> String {
        self.added_on(line).map_or_else(|| format!("line {line}"), str::to_owned)
    }

    /// The line on which a span of the text begins.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|start| *start <= span.start).max(1)
    }

    /// `what` is wrong: this was found, that is allowed.
    pub(super) fn wrong(
        &self,
        line: usize,
        what: &str,
        found: impl fmt::Display,
        allowed: impl fmt::Display,
    ) {
        if !self.damaged_lines.contains(&line) {
            self.push(line, what.to_owned(), Some(found.to_string()), Some(allowed.to_string()));
        }
    }

    /// `what` is not there, and has to be.
    pub(super) fn missing(&self, line: usize, what: &str) {
        if !self.is_damaged() {
            self.push(line, format!("{what} is missing"), None, None);
        }
    }

    /// `what` is allowed, but hardly meant.
    pub(super) fn warn(&self, line: usize, what: &str, found: impl fmt::Display, advice: impl fmt::Display) {
        let (found, allowed) = (Some(found.to_string()), Some(advice.to_string()));
        self.warnings.borrow_mut().push(self.mistake(line, what.to_owned(), found, allowed));
    }

    /// Whether syntax errors may have hidden parts of the file.
    pub(super) fn is_damaged(&self) -> bool {
        !self.damaged_lines.is_empty()
    }

    /// Every mistake and every warning, by line.
    pub(super) fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let (mut mistakes, mut warnings) = (self.mistakes.into_inner(), self.warnings.into_inner());
        // What is of no file comes behind it.
        mistakes.sort_by_key(|mistake| mistake.line.wrapping_sub(1));
        warnings.sort_by_key(|warning| warning.line);
        (mistakes, warnings)
    }

    fn push(&self, line: usize, what: String, found: Option<String>, allowed: Option<String>) {
        self.mistakes.borrow_mut().push(self.mistake(line, what, found, allowed));
    }

    fn mistake(
        &self,
        line: usize,
        what: String,
        found: Option<String>,
        allowed: Option<String>,
    ) -> Diagnostic {
        let (file, line) = match self.added_on(line) {
            Some(name) => (name.to_owned(), 0),
            None => (self.file.clone(), line),
        };
        Diagnostic { file, line, what, found, allowed }
    }
}
