//! Commands with their answers, as documents print them.

/// A command, and the lines that it answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// What stands before the prompt: the host that runs the command, or nothing.
    pub(crate) host: String,
    pub(crate) command: String,
    pub(crate) answer: Vec<String>,
}

/// The commands of a block. A prompt is `$` behind the name of a host or alone, and `>` where a command goes on.
pub(crate) fn steps(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        let is_host = |host: &str| host.chars().all(|c| c.is_ascii_lowercase());
        if let Some((host, command)) = line.split_once("$ ").filter(|(host, _)| is_host(host)) {
            steps.push(Step { host: host.into(), command: command.into(), answer: Vec::new() });
            continue;
        }
        let Some(step) = steps.last_mut() else { continue };
        match line.strip_prefix("> ").filter(|_| step.command.ends_with(['\\', '|'])) {
            Some(more) => step.command = format!("{}\n{more}", step.command),
            None => step.answer.push(line.into()),
        }
    }
    steps
}

/// The first line of an expected answer that is not there. Blanks count as one; `*` is anything, `...` any lines.
pub(crate) fn differs(expected: &[String], said: &str) -> Option<String> {
    let mut rest = said.lines();
    let mut anywhere = false;
    for line in expected {
        if line == "..." {
            anywhere = true;
            continue;
        }
        let found = if anywhere {
            rest.any(|own| matches(line, own))
        } else {
            rest.next().is_some_and(|own| matches(line, own))
        };
        if !found {
            return Some(line.clone());
        }
        anywhere = false;
    }
    let more = rest.next().filter(|_| !anywhere && !expected.is_empty());
    more.map(|line| format!("{line} (and no such line is expected)"))
}

fn matches(pattern: &str, line: &str) -> bool {
    let [pattern, line] = [pattern, line].map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let parts: Vec<&str> = pattern.split('*').collect();
    let (first, last) = (parts[0], parts[parts.len() - 1]);
    if parts.len() == 1 {
        return pattern == line;
    }
    let Some(mut rest) = line.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    parts[1..parts.len() - 1].iter().all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

#[test]
fn answers_are_compared_line_by_line() {
    let differ = |expected: &str, said: &str| {
        differs(&expected.lines().map(str::to_owned).collect::<Vec<_>>(), said).is_some()
    };
    for (expected, said) in [
        ("a b", "a   b\n"),
        ("a*c", "a b c"),
        ("*", ""),
        ("...\nc", "a\nb\nc"),
        ("a\n...", "a\nb"),
        ("", "any"),
    ] {
        assert_eq!(differ(expected, said), expected == "*", "{expected:?}, {said:?}");
    }
    for (expected, said) in
        [("a b", "a c"), ("a*c", "a b d"), ("a", "a\nb"), ("a\nb", "a"), ("...\nd", "a\nb\nc")]
    {
        assert!(differ(expected, said), "{expected:?}, {said:?}");
    }
}

#[test]
fn a_command_goes_on_behind_a_second_prompt() {
    let step = |host: &str, command: &str, answer: &[&str]| Step {
        host: host.into(),
        command: command.into(),
        answer: answer.iter().map(|&line| line.into()).collect(),
    };
    let block = "output\na$ b c\nd $ e\n$ f \\\n>  g |\n> h\n> i\n";
    assert_eq!(steps(block), [step("a", "b c", &["d $ e"]), step("", "f \\\n g |\nh", &["> i"])]);
}
