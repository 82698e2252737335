//! Links between documents: each leads to a file of the repository and, behind `#`, to a heading of it, by the rules that
//! GitHub makes anchors of headings by.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::pages::{Page, root};

/// The links of a page that lead nowhere, each with its line.
pub(crate) fn broken(page: &Page) -> Vec<String> {
    let prose = prose(&page.text);
    let found = targets(&prose).into_iter().filter_map(|(at, target)| {
        let why = why_broken(page, target)?;
        let line = prose[..at].matches('\n').count() + 1;
        Some(format!("{}:{line}: {target}: {why}", page.path))
    });
    found.collect()
}

fn why_broken(page: &Page, target: &str) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let file = if path.is_empty() { Some(page.path.clone().into()) } else { resolved(&page.path, path) };
    let Some(file) = file else { return Some("leads out of the repository".into()) };
    if !path.is_empty() && !root().join(&file).exists() {
        return Some("no such file".into());
    }
    let anchor = anchor?;
    if file.extension().is_none_or(|extension| extension != "md") {
        return Some("an anchor in a file without headings".into());
    }
    let known = if path.is_empty() { anchors(&page.text) } else { anchors(&Page::read(file.to_str()?).text) };
    (!known.contains(anchor)).then(|| "no such heading".into())
}

/// A link's path from the root on, or nothing where it leads above it.
fn resolved(page: &str, path: &str) -> Option<PathBuf> {
    let mut resolved = Path::new(page).parent()?.to_owned();
    for component in Path::new(path).components() {
        match component {
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

/// The text with blanks in place of code, so that lines and places stay.
fn prose(text: &str) -> String {
    let mut fence = None;
    let lines = text.split_inclusive('\n').map(|line| {
        let start = line.trim_start();
        let ticks = start.len() - start.trim_start_matches('`').len();
        match fence {
            Some(open) if ticks >= open => fence = None,
            None if ticks >= 3 => fence = Some(ticks),
            None => return without_code(line),
            Some(_) => {}
        }
        blank(line)
    });
    lines.collect()
}

/// A line with blanks in place of what stands between backticks.
fn without_code(line: &str) -> String {
    let pieces = line.split('`').enumerate();
    pieces
        .map(|(nth, piece)| if nth % 2 == 0 { piece.to_owned() } else { blank(piece) })
        .collect::<Vec<_>>()
        .join("`")
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { ' ' }).collect()
}

/// What the links and pictures of a text lead to, and where that stands.
fn targets(prose: &str) -> Vec<(usize, &str)> {
    let inline = [("](", ')'), ("src=\"", '"'), ("href=\"", '"')].into_iter().flat_map(|(start, end)| {
        prose.match_indices(start).map(move |(at, _)| (at + start.len(), end)).collect::<Vec<_>>()
    });
    let inline = inline.map(|(at, end)| (at, prose[at..].split([end, ' ', '\n']).next().expect("a target")));
    // [name]: target
    let named = prose.match_indices("]: ").filter(|(at, _)| {
        let line = prose[..*at].rsplit('\n').next().unwrap_or_default();
        line.starts_with('[') && !line[1..].contains(['[', ']'])
    });
    let named = named.map(|(at, _)| (at + 3, prose[at + 3..].split_whitespace().next().unwrap_or_default()));
    inline.chain(named).collect()
}

/// The anchors of a page's headings.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let mut anchors = BTreeSet::new();
    for (plain, line) in prose.lines().zip(text.lines()) {
        let level = plain.len() - plain.trim_start_matches('#').len();
        if !(1..=6).contains(&level) || !plain[level..].starts_with(' ') {
            continue;
        }
        let anchor = anchor(line[level..].trim());
        let numbered = (1..).map(|nth| format!("{anchor}-{nth}"));
        let free = [anchor.clone()].into_iter().chain(numbered).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

/// Lower case, no punctuation, hyphens for blanks; of a link its text.
fn anchor(heading: &str) -> String {
    let mut text = String::new();
    let mut rest = heading;
    while let Some((before, (_, after))) =
        rest.split_once("](").and_then(|(before, after)| Some((before, after.split_once(')')?)))
    {
        text.push_str(before);
        rest = after;
    }
    text.push_str(rest);
    let lower = text.to_lowercase();
    let kept = lower.chars().filter(|&c| c.is_alphanumeric() || c == ' ' || c == '-' || c == '_');
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn anchors_are_those_of_github() {
    let text = "# A: b, `c_d` (e)!\n## [Link](x.md) - and RFC 4787\n```sh\n# no heading\n```\n#none\n## Twice\n## Twice\n";
    let expected = ["a-b-c_d-e", "link---and-rfc-4787", "twice", "twice-1"];
    assert_eq!(anchors(text), expected.map(String::from).into());
}

#[test]
fn each_kind_of_broken_link_is_found() {
    let of = |text: &str| broken(&Page { path: "gateway/docs/page.md".into(), text: text.into() });
    for right in [
        "# Here\n[a](#here) [b](https://example.org/x#y)",
        "[a](install.md) [b](../../README.md#licence) [c](../docs)",
        "[a\nb](install.md) ![picture](../pictures/architecture.svg)",
        "`[a](gone.md)` and\n```text\n[a](gone.md)\n```\n",
        "[`code`](install.md)",
    ] {
        assert_eq!(of(right), [""; 0], "{right}");
    }
    for wrong in [
        "[a](gone.md)",
        "[a](#gone)",
        "[a](install.md#gone)",
        "[a](../pictures/architecture.svg#gone)",
        "[a](../../../passwd)",
        "[a](/etc/passwd)",
        "![picture](gone.png)",
        "[`code`](gone.md)",
        "[a]\n\n[a]: gone.md",
        "<img src=\"gone.png\">",
        "[a\nb](gone.md)",
    ] {
        assert_eq!(of(wrong).len(), 1, "{wrong}");
    }
    assert_eq!(of("x\ny [a](gone.md)"), ["gateway/docs/page.md:2: gone.md: no such file"]);
}
