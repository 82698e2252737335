//! Prometheus metrics, read from the gateway at the moment of the scrape.
//!
//! Nothing is counted here. A metric has no label with a value per subscriber or session, so the number of series
//! depends on the configuration alone; every series is there from the start, at zero.

pub mod family;
mod sample;

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};

use self::family::{Family, PREFIX};
use self::sample::{Sample, Samples, Value};
use super::gateway::Gateway;
use natgw_api::types;
use natgw_counters::BurstSizes;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics of one gateway.
#[derive(Clone, Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// The metrics of `gateway`.
    pub fn new(gateway: Arc<dyn Gateway>) -> Result<Metrics, prometheus::Error> {
        let describe = |family: &Family| {
            let labels = family.labels.iter().map(ToString::to_string).collect();
            Desc::new(full_name(family), family.help.into(), labels, Default::default())
        };
        let descriptions = family::ALL.iter().map(describe).collect::<Result<_, _>>()?;
        let registry = Registry::new();
        registry.register(Box::new(GatewayCollector { gateway, descriptions }))?;
        Ok(Metrics(registry))
    }

    /// Prometheus text format 0.0.4.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }
}

/// Every metric that counts, as numbers: a histogram becomes its count and sum.
pub fn counters(gateway: &dyn Gateway) -> types::Counters {
    let mut counters = Vec::new();
    for (family, samples) in Samples::of(gateway).0 {
        if family.kind != MetricType::GAUGE {
            samples.iter().for_each(|sample| append_counters(&mut counters, family, sample));
        }
    }
    let mut xstats = Vec::new();
    for (interface, nic) in gateway.interfaces().into_iter().zip(gateway.nics()) {
        xstats.extend(nic.xstats.into_iter().map(|(name, value)| types::Counter {
            name: name.into(),
            labels: [("interface".into(), interface.name.clone())].into(),
            value,
        }));
    }
    types::Counters { counters, xstats }
}

fn append_counters(counters: &mut Vec<types::Counter>, family: &Family, sample: &Sample) {
    let mut append = |name, value| {
        let names = family.labels.iter().map(|&name| name.into());
        let labels = names.zip(sample.labels.iter().cloned()).collect();
        counters.push(types::Counter { name, labels, value });
    };
    match sample.value {
        Value::Number(number) => append(family.name.into(), number),
        Value::Histogram(sizes) => {
            append(format!("{}_count", family.name).into(), sizes.count);
            append(format!("{}_sum", family.name).into(), sizes.sum);
        }
    }
}

struct GatewayCollector {
    gateway: Arc<dyn Gateway>,
    descriptions: Vec<Desc>,
}

impl Collector for GatewayCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let samples = Samples::of(&*self.gateway);
        samples.0.into_iter().map(|(family, samples)| metric_family(family, samples)).collect()
    }
}

fn full_name(family: &Family) -> String {
    format!("{PREFIX}{}", family.name)
}

fn metric_family(family: &Family, samples: Vec<Sample>) -> MetricFamily {
    let mut metrics = MetricFamily::default();
    metrics.set_name(full_name(family));
    metrics.set_help(family.help.into());
    metrics.set_field_type(family.kind);
    metrics.set_metric(samples.into_iter().map(|sample| metric(family, sample)).collect());
    metrics
}

fn metric(family: &Family, sample: Sample) -> Metric {
    let pair = |(&name, value): (&&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.into());
        pair.set_value(value);
        pair
    };
    let mut metric = Metric::from_label(family.labels.iter().zip(sample.labels).map(pair).collect());
    match sample.value {
        Value::Number(number) if family.kind == MetricType::COUNTER => {
            let mut counter = Counter::default();
            counter.set_value(number as f64);
            metric.set_counter(counter);
        }
        Value::Number(number) => {
            let mut gauge = Gauge::default();
            gauge.set_value(number as f64);
            metric.set_gauge(gauge);
        }
        Value::Histogram(sizes) => metric.set_histogram(histogram(&sizes)),
    }
    metric
}

fn histogram(sizes: &BurstSizes) -> Histogram {
    let mut cumulative = 0;
    let buckets = BurstSizes::BOUNDS.iter().zip(&sizes.buckets).map(|(&bound, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound as f64);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    // A count read a moment before the buckets must not be below them.
    histogram.set_sample_count(sizes.count.max(cumulative));
    histogram.set_sample_sum(sizes.sum as f64);
    histogram
}
