//! Names that may stand once only.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::table_reader::Section;
use super::value;

/// The names met so far, with the line of each.
#[derive(Default)]
pub(super) struct Unique(HashMap<String, usize>);

impl Unique {
    /// Takes the name, or reports that it is taken already.
    pub(super) fn claim(&mut self, section: &Section<'_>, key: &str, line: usize, name: String) {
        match self.0.entry(name) {
            Entry::Vacant(free) => {
                free.insert(line);
            }
            Entry::Occupied(taken) => {
                let allowed = format!("each once; it stands on line {} already", taken.get());
                section.wrong(line, key, value::quote(taken.key()), allowed);
            }
        }
    }
}
