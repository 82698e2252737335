//! `/metrics`, parsed, and the law that every packet is accounted for.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads Prometheus text format; the label values of this gateway hold neither quotes nor commas.
    pub(crate) fn parse(text: &str) -> Metrics {
        Metrics(text.lines().filter(|line| !line.starts_with('#')).filter_map(Sample::parse).collect())
    }

    /// The sum over all series of `natgw_NAME` that carry these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let matches = |sample: &&Sample| {
            sample.name.strip_prefix("natgw_") == Some(name)
                && labels.iter().all(|&(label, value)| sample.labels.get(label).is_some_and(|v| v == value))
        };
        self.0.iter().filter(matches).map(|sample| sample.value).sum::<f64>() as u64
    }

    /// Packets dropped for `reason`.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.sum("dropped_packets_total", &[("reason", reason)])
    }

    /// Drop reasons that were met, with their counts.
    pub(crate) fn drops(&self) -> BTreeMap<&str, u64> {
        let dropped = self.0.iter().filter(|s| s.name == "natgw_dropped_packets_total" && s.value > 0.0);
        let mut drops = BTreeMap::new();
        for sample in dropped {
            *drops.entry(sample.labels["reason"].as_str()).or_default() += sample.value as u64;
        }
        drops
    }

    /// All packets that came in and went out.
    pub(crate) fn packets(&self) -> u64 {
        self.sum("packets_total", &[])
    }

    /// Received + taken over + generated = transmitted + dropped + consumed + handed over + held, for each worker; the
    /// difference as text where it does not hold.
    pub(crate) fn unaccounted(&self) -> Option<String> {
        let workers: BTreeSet<_> = self.0.iter().filter_map(|s| s.labels.get("worker")).collect();
        assert!(!workers.is_empty(), "no worker in the metrics");
        workers.into_iter().find_map(|worker| self.unaccounted_by(worker))
    }

    fn unaccounted_by(&self, worker: &str) -> Option<String> {
        let count = |name, label: (&str, &str)| self.sum(name, &[("worker", worker), label]);
        let all = |name| self.sum(name, &[("worker", worker)]);
        let came = [
            ("received", count("packets_total", ("direction", "rx"))),
            ("taken over", count("handoff_packets_total", ("event", "received"))),
            ("generated", all("generated_packets_total")),
        ];
        let went = [
            ("transmitted", count("packets_total", ("direction", "tx"))),
            ("dropped", all("dropped_packets_total")),
            ("consumed", all("consumed_packets_total")),
            ("handed over", count("handoff_packets_total", ("event", "sent"))),
            ("held", all("held_packets")),
        ];
        let total = |side: &[(&str, u64)]| side.iter().map(|(_, count)| count).sum::<u64>();
        (total(&came) != total(&went)).then(|| {
            format!(
                "worker {worker}: {} came and {} went: {came:?} {went:?} {:?}",
                total(&came),
                total(&went),
                self.drops()
            )
        })
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Sample> {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let label = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            Some((name.into(), value.trim_matches('"').into()))
        };
        let labels = labels.trim_end_matches('}').split(',').filter_map(label).collect();
        Some(Sample { name: name.into(), labels, value: value.parse().ok()? })
    }
}
