//! Nothing that a file may hold makes the parser panic, and a refusal always says why.

use proptest::prelude::*;

use super::EXAMPLE;
use crate::Config;

/// Pieces that mean something to the parser, to be put where they do not belong.
const PIECES: &[&str] = &[
    "\"",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "#",
    "'''",
    "-",
    "0",
    "\\u",
    "\u{e9}",
    "\r",
    "nat",
    "[nat]",
    "[[nat.pools]]",
    "[interfaces]",
    "999999999999999999999",
    "0x",
    "1e9",
    "true",
    "1979-05-27",
    "0.0.0.0/0",
    "255.255.255.255",
];

fn refusal_has_reasons(text: &str) {
    if let Err(mistakes) = Config::parse(text, "f") {
        assert!(!mistakes.is_empty(), "refused without a reason:\n{text}");
        let lines = text.lines().count().max(1);
        for mistake in mistakes {
            assert!((1..=lines + 1).contains(&mistake.line), "{mistake} of {lines} lines");
            assert!(!mistake.to_string().contains('\n'), "{mistake:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        refusal_has_reasons(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_mutated_example_is_survived(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..40_usize, 0..PIECES.len()), 1..6),
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (place, removed, piece) in edits {
            let start = place.index(text.len() + 1);
            let end = (start + removed / 4 * (removed % 4)).min(text.len());
            text.splice(start..end, PIECES[piece].chars());
        }
        refusal_has_reasons(&text.into_iter().collect::<String>());
    }

    #[test]
    fn swapped_lines_are_survived(swaps in proptest::collection::vec(any::<[prop::sample::Index; 2]>(), 1..8)) {
        let mut lines: Vec<&str> = EXAMPLE.lines().collect();
        for [one, other] in swaps {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        refusal_has_reasons(&lines.join("\n"));
    }
}
