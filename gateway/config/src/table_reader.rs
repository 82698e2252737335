//! Reads one table of the file, key by key, and goes on after a mistake.
//!
//! A key that was never asked for is unknown: the list of known keys is the list of keys that the code reads.

use std::fmt::Display;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{At, Report};
use super::value::{self, Refusal};

/// One table of the file. An absent table is an empty one: every key has its default.
pub(super) struct Section<'a> {
    report: &'a Report,
    table: Option<&'a DeTable<'a>>,
    path: String,
    line: usize,
    /// Of an added table, which has one place.
    is_added: bool,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Reads the whole file with `read`.
    pub(super) fn root<T>(
        report: &'a Report,
        table: &'a DeTable<'a>,
        read: impl FnOnce(&mut Section<'a>) -> T,
    ) -> T {
        Section::new(report, Some(table), String::new(), 1).read(read)
    }

    /// Where mistakes go that are seen only with several keys in view.
    pub(super) fn report(&self) -> &'a Report {
        self.report
    }

    /// The line of the table's header.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The full name of a key of this table.
    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reads the table `[key]`.
    pub(super) fn table<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        let (mut table, mut line) = (None, self.line);
        if let Some((at, value)) = self.lookup(key) {
            line = at;
            table = value.as_table();
            if table.is_none() {
                self.wrong(at, key, value::describe(value), format_args!("a table [{}]", self.path(key)));
            }
        }
        Section::new(self.report, table, self.path(key), line).read(read)
    }

    /// As [`Section::tables`], and then each table that was added beside the file.
    pub(super) fn tables_and_added<T>(
        &mut self,
        key: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Section<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut items = self.tables(key, max, &mut read);
        let of_file = items.as_ref().map_or(0, Vec::len);
        for (nth, (line, table)) in self.report.added().enumerate() {
            if of_file + nth == max {
                self.wrong(line, key, of_file + nth + 1, format_args!("at most {max}"));
                return None;
            }
            let section = Section::new(self.report, Some(table), self.path(key), line);
            let item = Section { is_added: true, ..section }.read(&mut read);
            items = items.zip(item).map(|(mut items, item)| {
                items.push(item);
                items
            });
        }
        items
    }

    /// Reads each table `[[key]]`; `None` if any of them is not whole or there are more than `max`.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        max: usize,
        mut read: impl FnMut(&mut Section<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Some((line, value)) = self.lookup(key) else { return Some(Vec::new()) };
        let allowed = format!("tables [[{}]]", self.path(key));
        let Some(array) = value.as_array() else {
            self.wrong(line, key, value::describe(value), allowed);
            return None;
        };
        let mut whole = true;
        let mut items = Vec::new();
        for (nth, item) in array.iter().enumerate() {
            let line = self.report.line(&item.span());
            if nth == max {
                self.wrong(line, key, array.len(), format_args!("at most {max}"));
                return None;
            }
            let read = match item.get_ref().as_table() {
                Some(table) => Section::new(self.report, Some(table), self.path(key), line).read(&mut read),
                None => {
                    self.wrong(line, key, value::describe(item.get_ref()), &allowed);
                    None
                }
            };
            whole &= read.is_some();
            items.extend(read);
        }
        whole.then_some(items)
    }

    /// The value of a key that may be left out. `None` too if it is wrong.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<At<T>> {
        let (line, value) = self.lookup(key)?;
        match parse(value) {
            Ok(value) => Some(At { line, value }),
            Err(refusal) => {
                self.wrong(line, key, refusal.found, refusal.allowed);
                None
            }
        }
    }

    /// The value of a key, or its default.
    pub(super) fn or<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> At<T> {
        self.optional(key, parse).unwrap_or(At { line: self.line, value: default })
    }

    /// The value of a key that has to be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<At<T>> {
        self.demand(key);
        self.optional(key, parse)
    }

    /// The elements of an array that may be left out, each with its own line; `None` if any of them is wrong.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<At<T>>> {
        let Some((line, value)) = self.lookup(key) else { return Some(Vec::new()) };
        let Some(array) = value.as_array() else {
            self.wrong(line, key, value::describe(value), "an array [...]");
            return None;
        };
        let mut whole = true;
        let mut items = Vec::new();
        for item in array.iter() {
            let line = self.report.line(&item.span());
            match parse(item.get_ref()) {
                Ok(value) => items.push(At { line, value }),
                Err(refusal) => {
                    self.wrong(line, key, refusal.found, refusal.allowed);
                    whole = false;
                }
            }
        }
        whole.then_some(items)
    }

    /// The elements of an array that has to be there and not empty.
    pub(super) fn required_list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&DeValue<'_>) -> Result<T, Refusal>,
    ) -> Option<Vec<At<T>>> {
        self.demand(key);
        let items = self.list(key, parse)?;
        if items.is_empty() {
            if let Some((line, _)) = self.lookup(key) {
                self.wrong(line, key, "an empty array", "at least one");
            }
            return None;
        }
        Some(items)
    }

    /// Whether the key stands in the file.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether `key` of the table `[table]` is true. That table is read, and what is wrong with it reported, later.
    pub(super) fn is_set_in(&self, table: &str, key: &str) -> bool {
        let value = self.table.and_then(|whole| whole.get(table)?.get_ref().as_table()?.get(key));
        value.and_then(|value| value.get_ref().as_bool()) == Some(true)
    }

    /// Reports a mistake of this table's `key`.
    pub(super) fn wrong(&self, line: usize, key: &str, found: impl Display, allowed: impl Display) {
        self.report.wrong(line, &self.path(key), found, allowed);
    }

    fn new(report: &'a Report, table: Option<&'a DeTable<'a>>, path: String, line: usize) -> Section<'a> {
        Section { report, table, path, line, is_added: false, known: Vec::new() }
    }

    fn read<T>(mut self, read: impl FnOnce(&mut Section<'a>) -> T) -> T {
        let value = read(&mut self);
        self.refuse_unknown();
        value
    }

    fn lookup(&mut self, key: &'static str) -> Option<(usize, &'a DeValue<'a>)> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let (name, value) = self.table?.get_key_value(key)?;
        if self.is_added {
            return Some((self.line, value.get_ref()));
        }
        // What stands in for a value that could not be parsed has no span of its own.
        let span = if value.span().is_empty() { name.span() } else { value.span() };
        Some((self.report.line(&span), value.get_ref()))
    }

    fn demand(&self, key: &str) {
        if !self.has(key) {
            self.report.missing(self.line, &self.path(key));
        }
    }

    fn refuse_unknown(&self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let what = match self.path.as_str() {
                    "" => "unknown key".to_owned(),
                    path => format!("unknown key in {path}"),
                };
                let line = self.report.line(&key.span());
                self.report.wrong(line, &what, value::quote(name), value::nearest_of(name, &self.known));
            }
        }
    }
}
