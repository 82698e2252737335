//! The rules, the alerts and the dashboard of `config/`, as far as they can be checked without a gateway: every alert is
//! shown to fire and not to, and what they ask for exists. `promtool` runs those tests. `netns` asks a running one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use natgw_management::metrics::family::{ALL, PREFIX};
use natgw_nat::{DropReason, SessionFailure};

const ALERTS: &str = include_str!("../../../config/prometheus/alerts.yml");
const RULES: &str = include_str!("../../../config/prometheus/rules.yml");
const DASHBOARD: &str = include_str!("../../../config/grafana/nat-gateway.json");

#[test]
fn every_alert_fires_and_does_not() {
    let text: String =
        tests().iter().map(|path| std::fs::read_to_string(path).expect("a readable file")).collect();
    for alert in alerts() {
        let expectation = |case: &str| {
            let (_, rest) = case.split_once("exp_alerts:")?;
            case.lines().next().is_some_and(|name| name == alert).then(|| rest.trim_start().starts_with("[]"))
        };
        let fires: BTreeSet<bool> =
            text.split("- alertname: ").filter_map(expectation).map(|silent| !silent).collect();
        assert_eq!(fires, [false, true].into(), "{alert} is not tested both ways");
    }
}

#[test]
fn every_alert_has_a_severity_and_says_what_to_do() {
    for (alert, rule) in alerts().iter().zip(ALERTS.split("- alert: ").skip(1)) {
        assert!(
            ["critical", "warning", "info"].iter().any(|word| rule.contains(&format!("severity: {word}"))),
            "{alert}"
        );
        for annotation in ["summary: ", "description: "] {
            assert!(rule.contains(annotation), "{alert} has no {annotation}");
        }
    }
}

#[test]
fn every_metric_that_is_asked_for_exists() {
    let known: BTreeSet<String> = ALL.iter().map(|family| format!("{PREFIX}{}", family.name)).collect();
    let recorded: BTreeSet<&str> = RULES.split("- record: ").skip(1).filter_map(first_word).collect();
    for name in [ALERTS, RULES, DASHBOARD].into_iter().flat_map(names) {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let found = match name.contains(':') {
            true => recorded.contains(name),
            false => known.contains(histogram.unwrap_or(name)),
        };
        assert!(found, "there is no {name}");
    }
}

#[test]
fn every_reason_that_an_alert_names_exists() {
    let known: BTreeSet<&str> = DropReason::ALL
        .iter()
        .map(|reason| reason.name())
        .chain(SessionFailure::ALL.iter().map(|reason| reason.name()))
        .collect();
    let named = ALERTS.split("{reason=").skip(1).filter_map(|rest| rest.split('"').nth(1));
    let mut count = 0;
    for reason in named.flat_map(|reasons| reasons.split('|')) {
        let found = match reason.strip_suffix(".*") {
            Some(start) => known.iter().any(|known| known.starts_with(start)),
            None => known.contains(reason),
        };
        assert!(found, "there is no {reason}");
        count += 1;
    }
    assert!(count > 10, "only {count} reasons");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/prometheus")
}

fn tests() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder().join("tests")).expect("the tests of the rules");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn alerts() -> Vec<&'static str> {
    let alerts: Vec<&str> = ALERTS.split("- alert: ").skip(1).filter_map(first_word).collect();
    assert!(alerts.len() > 20, "only {alerts:?}");
    alerts
}

fn first_word(text: &'static str) -> Option<&'static str> {
    text.split_whitespace().next()
}

/// The names of metrics, the gateway's own and recorded ones.
fn names(text: &'static str) -> impl Iterator<Item = &'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(move |c| !is_name(c)).filter(|word| word.starts_with(PREFIX) || word.contains(":natgw_"))
}
