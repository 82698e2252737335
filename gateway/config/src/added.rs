//! Port forwards that are not the file's: they are added while the gateway runs, as data, and read by the same code and under
//! the same checks as those of the file.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// A port forward that was added, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedForward {
    /// `udp` or `tcp`.
    pub protocol: String,
    /// Outside address with `:port` or `:first-last`.
    pub external: String,
    /// Inside address with `:port` or `:first-last`.
    pub internal: String,
    /// What the inside host sees as source: `remote`, which is the default, or `gateway`.
    pub source: Option<String>,
}

impl AddedForward {
    /// What it goes by, as every port forward.
    pub fn id(&self) -> String {
        forward_id(&self.protocol, &self.external)
    }

    /// The keys that a table of the file would have.
    pub(super) fn table(&self) -> DeTable<'static> {
        let keys = [
            ("protocol", Some(&self.protocol)),
            ("external", Some(&self.external)),
            ("internal", Some(&self.internal)),
            ("source", self.source.as_ref()),
        ];
        let entry = |(key, value): (&'static str, Option<&String>)| {
            let value = DeValue::String(DeString::Owned(value?.clone()));
            Some((Spanned::new(0..0, Cow::Borrowed(key)), Spanned::new(0..0, value)))
        };
        keys.into_iter().filter_map(entry).collect()
    }
}

/// What names a forward of a protocol from an outside endpoint.
pub fn forward_id(protocol: &str, external: &str) -> String {
    format!("{protocol}-{}", external.replace(':', "-"))
}
