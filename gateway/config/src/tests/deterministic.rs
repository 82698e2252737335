//! Rules and the ranges of deterministic pools.

use super::{example_with, lines, parse};

/// The warnings of the example with these rules in front, and a pool whose mapping is deterministic for these prefixes.
fn warnings(prefixes: &str, rules: &str) -> String {
    let pool = format!(
        "[[nat.pools]]\nname = \"fixed\"\naddresses = [\"203.0.113.64/28\"]\ndeterministic = [{prefixes}]\n{rules}\n"
    );
    lines(&parse(&example_with("[[nat.rules]] ", &format!("{pool}[[nat.rules]] "))).warnings)
}

fn rule(source: &str, keys: &str) -> String {
    format!("[[nat.rules]]\nsource = \"{source}\"\n{keys}\n")
}

#[test]
fn rfc7422_a_rule_for_hosts_without_ports_is_warned_of() {
    let to_fixed = |source: &str| rule(source, "pool = \"fixed\"");
    let to_main = |source: &str, keys: &str| rule(source, &format!("pool = \"main\"\n{keys}"));
    for (prefixes, rules, without) in [
        ("\"10.64.0.0/24\"", to_fixed("10.64.0.0/24"), None),
        ("\"10.64.0.0/24\"", to_fixed("10.64.0.9"), None),
        ("\"10.64.0.128/25\", \"10.64.0.0/25\"", to_fixed("10.64.0.0/24"), None),
        // No host lives beyond the inside prefix.
        ("\"10.64.0.0/24\"", to_fixed("0.0.0.0/0"), None),
        ("\"10.64.0.0/25\"", to_fixed("10.64.0.0/24"), Some("10.64.0.128/25")),
        ("\"10.64.0.0/25\"", to_fixed("10.64.0.200"), Some("10.64.0.200/32")),
        ("\"10.64.0.0/25\"", to_main("10.64.0.128/25", "") + &to_fixed("10.64.0.0/24"), None),
        (
            "\"10.64.0.0/25\"",
            to_main("10.64.0.128/25", "protocol = \"udp\"") + &to_fixed("10.64.0.0/24"),
            Some("10.64.0.128/25"),
        ),
    ] {
        let said = warnings(prefixes, &rules);
        let expected = without.map(|hosts| format!("found {hosts}, for which pool \"fixed\" has no ports"));
        let found = said.lines().filter(|line| line.contains("has no ports")).count();
        assert_eq!(found, usize::from(expected.is_some()), "{prefixes} {rules}: {said}");
        assert!(said.contains(&expected.unwrap_or_default()), "{prefixes} {rules}: {said}");
    }
}
