//! Where a listing goes on, as text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a listing goes on: a place in a worker's table. Users see an opaque string.
///
/// A table changes between two pages: what is new may be missed, and nothing shows twice that kept its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The worker to ask next.
    pub worker: u16,
    /// The first place in its table that has not been looked at.
    pub position: u32,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.worker, self.position)
    }
}

/// A string that no page gave out as its cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this gateway")]
pub struct BadCursor;

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Cursor, BadCursor> {
        let (worker, position) = text.split_once('-').ok_or(BadCursor)?;
        let cursor = Cursor {
            worker: u16::from_str_radix(worker, 16).map_err(|_| BadCursor)?,
            position: u32::from_str_radix(position, 16).map_err(|_| BadCursor)?,
        };
        if cursor.to_string() == text { Ok(cursor) } else { Err(BadCursor) }
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cursor, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor { worker: 300, position: u32::MAX };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "-", "1", "1-", "x-1", "10000-0", "0-100000000", "1-2-3", "+1-0", "A-0", "01-0"] {
            assert_eq!(bad.parse::<Cursor>(), Err(BadCursor), "{bad}");
        }
    }
}
