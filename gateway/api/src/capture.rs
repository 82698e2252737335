//! Captures: what may be asked for.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use natgw_nat::Filter;

/// What to capture, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureRequest {
    /// Which frames.
    pub frames: Frames,
    /// Of which packets; where it names anything, ARP and what cannot be read are left out.
    pub filter: Filter,
    /// Most frames a second.
    pub rate: u32,
    /// Most frames in all.
    pub count: u32,
    /// Longest time.
    pub seconds: u32,
    /// Octets of each frame; all of them where it has fewer.
    pub snap_len: u32,
}

impl CaptureRequest {
    /// Frames a second, unless told otherwise.
    pub const RATE_DEFAULT: u32 = 1000;
    /// The highest rate.
    pub const RATE_MAX: u32 = 100_000;
    /// The most frames in all, and as many unless told otherwise.
    pub const COUNT_MAX: u32 = 1_000_000_000;
    /// The longest snap length, and as long unless told otherwise.
    pub const SNAP_LEN_MAX: u32 = 65_535;
    /// Seconds, unless told otherwise.
    pub const SECONDS_DEFAULT: u32 = 60;
    /// The longest time.
    pub const SECONDS_MAX: u32 = 3600;
}

/// Which frames a capture is of; at least one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Frames {
    /// What inside interfaces receive and send.
    pub inside: bool,
    /// What outside interfaces receive and send.
    pub outside: bool,
    /// What is dropped.
    pub dropped: bool,
}

/// Not a list of kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one or more of inside, outside and dropped, with commas between them, are allowed")]
pub struct UnknownFrames;

impl FromStr for Frames {
    type Err = UnknownFrames;

    fn from_str(text: &str) -> Result<Frames, UnknownFrames> {
        text.split(',').try_fold(Frames::default(), |frames, word| match word {
            "inside" => Ok(Frames { inside: true, ..frames }),
            "outside" => Ok(Frames { outside: true, ..frames }),
            "dropped" => Ok(Frames { dropped: true, ..frames }),
            _ => Err(UnknownFrames),
        })
    }
}

impl TryFrom<String> for Frames {
    type Error = String;

    fn try_from(text: String) -> Result<Frames, String> {
        text.parse().map_err(|error: UnknownFrames| format!("`{text}`: {error}"))
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [(self.inside, "inside"), (self.outside, "outside"), (self.dropped, "dropped")];
        let named: Vec<&str> = kinds.iter().filter(|(wanted, _)| *wanted).map(|&(_, name)| name).collect();
        f.write_str(&named.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_are_written() {
        for text in ["inside", "outside", "dropped", "inside,outside", "inside,outside,dropped"] {
            assert_eq!(text.parse::<Frames>().map(|frames| frames.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "inside,", "both", "inside outside", "Inside"] {
            assert_eq!(text.parse::<Frames>(), Err(UnknownFrames), "{text}");
        }
    }
}
