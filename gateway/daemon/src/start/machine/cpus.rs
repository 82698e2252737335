//! Sets of CPUs as the kernel writes them: `0-3,8`.

use std::collections::BTreeSet;
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// CPU numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cpus(BTreeSet<u16>);

impl Cpus {
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, cpu: u16) -> bool {
        self.0.contains(&cpu)
    }

    /// Those of these that are not in `other`.
    pub(super) fn without(&self, other: &Cpus) -> Cpus {
        self.iter().filter(|&cpu| !other.contains(cpu)).collect()
    }

    /// Those of these that are in `other`.
    pub(super) fn shared_with(&self, other: &Cpus) -> Cpus {
        self.iter().filter(|&cpu| other.contains(cpu)).collect()
    }

    /// `lcore 1` or `lcores 1-8`, with a verb that fits.
    pub(super) fn named(&self, one: &str, several: &str) -> String {
        match self.0.len() {
            1 => format!("lcore {self} {one}"),
            _ => format!("lcores {self} {several}"),
        }
    }
}

impl FromIterator<u16> for Cpus {
    fn from_iter<I: IntoIterator<Item = u16>>(cpus: I) -> Cpus {
        Cpus(cpus.into_iter().collect())
    }
}

impl FromStr for Cpus {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Cpus, ParseIntError> {
        let mut cpus = BTreeSet::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            cpus.extend(first.parse::<u16>()?..=last.parse()?);
        }
        Ok(Cpus(cpus))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|&next| next == last + 1) {
                last = next;
            }
            match last - first {
                0 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}
