//! Debian's Prometheus scrapes a gateway, with the shipped configuration, rules and alerts, only more often. What it
//! has counted is what was sent, and every query of the rules and of the dashboard finds data.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::{self, Lab, Options, SERVER};
use crate::namespace::Server;
use crate::reflector::{UdpReflector, ask};

/// How long Prometheus may take to see what has happened.
const PATIENCE: Duration = Duration::from_secs(20);

const TWO_WORKERS: Options = Options { workers: 2, ..Options::DEFAULT };

/// Everything that there are metrics of.
const WITH_BLOCKS: Options = Options { pool: "port_block_size = 512", ..TWO_WORKERS };

/// A pool address that no test host is given before it is out of others, and a port there.
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 12), 4000);

/// The gateway as the shipped configuration names it.
const GATEWAY: &str = "127.0.0.1:9464";

/// A running Prometheus beside the gateway, killed on drop.
struct Prometheus<'a> {
    lab: &'a Lab,
    _server: Server,
}

impl Prometheus<'_> {
    fn start(lab: &Lab) -> Prometheus<'_> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/prometheus");
        for file in ["prometheus.yml", "rules.yml", "alerts.yml"] {
            let text = fs::read_to_string(shipped.join(file)).expect("a shipped file");
            fs::write(lab.work.path().join(file), text.replace("_interval: 15s", "_interval: 1s"))
                .expect("a copy");
        }
        let work = lab.work.path().display();
        let server = lab.middle.spawn(&format!(
            "prometheus --config.file={work}/prometheus.yml --storage.tsdb.path={work}/data \
             --web.listen-address=127.0.0.1:9090"
        ));
        let prometheus = Prometheus { lab, _server: server };
        prometheus.wait_for("up{job=\"nat-gateway\"}", 1.0);
        prometheus
    }

    /// What its API answers; `None` while it does not.
    fn try_get(&self, path: &str, query: &str) -> Option<Value> {
        let mut curl = self.lab.middle.command("curl");
        curl.args(["-sS", "--get", "--data-urlencode", &format!("query={query}")]);
        let output = curl.arg(format!("http://127.0.0.1:9090/api/v1/{path}")).output().expect("curl runs");
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The values of all series that a query finds; panics on one that is no PromQL.
    fn query(&self, query: &str) -> Vec<f64> {
        let Some(answer) = self.try_get("query", query) else { return Vec::new() };
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().expect("a vector");
        let value = |series: &Value| series["value"][1].as_str().and_then(|text| text.parse().ok());
        series.iter().map(|series| value(series).expect("a number")).collect()
    }

    fn wait_for(&self, query: &str, value: f64) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.query(query);
            if found == [value] {
                return;
            }
            assert!(Instant::now() < until, "{query} is {found:?}, not {value}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn wait_for_data(&self, query: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.query(query).iter().any(|value| value.is_finite()) {
            assert!(Instant::now() < until, "{query} finds nothing");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The rules of a kind, "recording" or "alerting", as PromQL; all of them must be in good health.
    fn rules(&self, kind: &str) -> Vec<String> {
        let answer = self.try_get("rules", "").expect("the rules");
        let groups = answer["data"]["groups"].as_array().expect("groups");
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
        let of_kind = rules.filter(|rule| rule["type"] == kind);
        let query = |rule: &Value| {
            assert_eq!(rule["health"], "ok", "{rule}");
            rule["query"].as_str().expect("a query").to_owned()
        };
        of_kind.map(query).collect()
    }
}

#[test]
fn prometheus_counts_what_was_sent() {
    lab::run(TWO_WORKERS, |lab| {
        let reflector = UdpReflector::new(&lab.server, SERVER, 7);
        let prometheus = Prometheus::start(lab);
        lab.a.exec("ping -q -c 20 -i 0.02 -W 2 198.51.100.10");
        let flows: Vec<_> = (0..30).map(|_| lab.b.udp(0)).collect();
        for flow in &flows {
            ask(flow, reflector.address);
        }
        let stranger = lab.server.udp(0);
        for _ in 0..7 {
            stranger.send_to(b"nobody is there", NOBODY).expect("sent");
        }
        for (query, value) in [
            (
                "sum by (direction) (natgw_translated_packets_total{direction='outbound',protocol='icmp'})",
                20.0,
            ),
            (
                "sum by (direction) (natgw_translated_packets_total{direction='inbound',protocol='icmp'})",
                20.0,
            ),
            ("sum(natgw_translated_packets_total{direction='outbound',protocol='udp'})", 30.0),
            ("sum(natgw_translated_packets_total{direction='inbound',protocol='udp'})", 30.0),
            ("sum(natgw_sessions{protocol='icmp'})", 1.0),
            ("sum(natgw_sessions{protocol='udp'})", 30.0),
            ("natgw_sessions_created_total", 31.0),
            ("natgw_subscribers", 2.0),
            ("natgw_pool_ports_used{pool='main',protocol='udp'}", 30.0),
            ("sum(natgw_dropped_packets_total{reason='no-mapping',direction='inbound'})", 7.0),
            ("natgw_ready", 1.0),
            ("natgw_sessions_limit * instance:natgw_sessions:used_ratio", 31.0),
        ] {
            prometheus.wait_for(query, value);
        }
    });
}

#[test]
fn every_query_finds_data_and_no_alert_is_raised() {
    lab::run(WITH_BLOCKS, |lab| {
        let prometheus = Prometheus::start(lab);
        let _pings = [&lab.a, &lab.b].map(|host| host.spawn("ping -q -i 0.01 198.51.100.10"));
        let _strangers = lab.server.spawn("ping -q -i 0.2 203.0.113.12");
        let (panels, annotations) = dashboard();
        assert!(panels.len() > 40, "only {panels:?}");
        for query in panels.iter().chain(&prometheus.rules("recording")) {
            prometheus.wait_for_data(query);
        }
        // These find something when all is not well; what they look at must be there all the same.
        for query in annotations.iter().chain(&prometheus.rules("alerting")) {
            prometheus.query(query);
            for selector in selectors(query) {
                prometheus.wait_for_data(selector);
            }
        }
        assert_eq!(prometheus.query("ALERTS{alertname!='NatGatewayAbsent'}"), [0.0; 0]);
    });
}

#[test]
fn alerts_are_raised() {
    let mut lab = Lab::new(TWO_WORKERS);
    {
        let prometheus = Prometheus::start(&lab);
        let raised = |alert: &str| prometheus.wait_for_data(&format!("ALERTS{{alertname='{alert}'}}"));
        let config = lab.work.path().join("gateway.toml");
        let text = fs::read_to_string(&config).expect("the configuration");
        fs::write(&config, text.replace("role = \"outside\"", "rolle = \"outside\"")).expect("a file");
        prometheus.wait_for("natgw_config_reloads_total{result='refused'}", 0.0);
        lab.gateway.signal(Signal::SIGHUP);
        raised("NatConfigurationRefused");
        lab.middle.ip("link set tap-out down");
        raised("NatLinkDown");
        raised("NatGatewayNotReady");
        lab.gateway.signal(Signal::SIGTERM);
        raised("NatGatewayDown");
    }
    assert_eq!(lab.gateway.end_on(Signal::SIGTERM).code(), Some(0));
}

/// The queries of the dashboard's panels, and of its annotations, with the gateway chosen.
fn dashboard() -> (Vec<String>, Vec<String>) {
    let dashboard = include_str!("../../../../config/grafana/nat-gateway.json");
    let dashboard: Value = serde_json::from_str(dashboard).expect("JSON");
    let query = |holder: &Value| {
        let query = holder["expr"].as_str().expect("a query");
        query.replace("$__rate_interval", "5s").replace("$instance", GATEWAY)
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let targets = list(&dashboard["panels"]).into_iter().flat_map(|panel| list(&panel["targets"]));
    let annotations = list(&dashboard["annotations"]["list"]);
    (targets.map(|target| query(&target)).collect(), annotations.iter().map(query).collect())
}

/// The series that a query looks at: `name{label="value"}`.
fn selectors(query: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(start) = rest.find(is_name) {
        let text = &rest[start..];
        let mut end = text.find(|c| !is_name(c)).unwrap_or(text.len());
        let is_metric = text[..end].contains("natgw_") || &text[..end] == "up";
        if text[end..].starts_with('{') {
            end += text[end..].find('}').map_or(0, |length| length + 1);
        }
        if is_metric {
            found.push(&text[..end]);
        }
        rest = &text[end..];
    }
    found
}
