//! The parts of pages that the code says: metrics, drop reasons, routes and keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use natgw_management::metrics::family;
use natgw_nat::{DeleteReason, DropReason, FragmentEvent, SessionFailure, UnsolicitedSyn};
use serde_json::{Map, Value};

use super::pages::{Page, root};

#[test]
fn the_page_of_metrics_is_what_the_code_says() {
    let page = Page::read("gateway/docs/metrics.md");
    let generated =
        page.with("families", &families()).with("events", &events()).with("drop reasons", &drop_reasons());
    page.assert_is(&generated.text);
}

#[test]
fn the_page_of_the_http_api_is_what_the_code_says() {
    let page = Page::read("gateway/docs/http-api.md");
    let api = Api::new();
    let generated = page
        .with("routes", &api.routes())
        .with("parameters", &api.parameters())
        .with("refusals", &api.refusals())
        .with("answers", &api.answers());
    page.assert_is(&generated.text);
}

#[test]
fn the_page_of_configuration_is_what_the_commented_file_says() {
    let page = Page::read("gateway/docs/configuration.md");
    let file = fs::read_to_string(root().join("config/gateway.toml")).expect("every option");
    page.assert_is(&page.with("keys", &keys(&file)).text);
}

#[test]
fn keys_are_read_with_their_comments() {
    let file = "# The file.\n\n# Section\n# one.\n[one]\n# What a is.\na = 1  # default\n# For b_x\n# or not.\n#b_x = \"|\"\n#b_y = 2\n\n\
                # None.\n[[two]]\nc = 3    # required\n[[two]]\nc = 4    # required\nd = [5]  # example\n";
    let expected = [
        "### `[one]`\n\nSection one.\n",
        "| key | default | meaning |\n|---|---|---|",
        "| `a` | `1` | What a is. |",
        "| `b_x`, `b_y` | none, or as `\"\\|\"` | For b_x or not. |",
        "\n### `[[two]]`\n\nNone.\n",
        "| key | default | meaning |\n|---|---|---|",
        "| `c` | required, as `3` | |",
        "| `d` | none, or as `[5]` | |",
    ];
    assert_eq!(keys(file), expected.join("\n"));
}

fn families() -> String {
    let rows = family::ALL.iter().map(|family| {
        let labels = family.labels.join(", ");
        let kind = format!("{:?}", family.kind).to_lowercase();
        row(&[&format!("`{}{}`", family::PREFIX, family.name), &kind, &labels, family.help])
    });
    table(&["metric", "type", "labels", "meaning"], rows)
}

fn events() -> String {
    let mut rows = Vec::new();
    let mut all = |metric: &str, label: &str, values: Vec<(&str, &str)>| {
        let label = format!("`{}{metric}`, {label}", family::PREFIX);
        rows.extend(values.iter().map(|(name, meaning)| row(&[&label, &format!("`{name}`"), meaning])));
    };
    let reasons = DeleteReason::ALL.iter().map(|reason| (reason.name(), reason.meaning()));
    all("sessions_deleted_total", "reason", reasons.collect());
    let events = FragmentEvent::ALL.iter().map(|event| (event.name(), event.meaning()));
    all("fragments_total", "event", events.collect());
    let events = UnsolicitedSyn::ALL.iter().map(|event| (event.name(), event.meaning()));
    all("unsolicited_syns_total", "event", events.collect());
    let reasons = SessionFailure::ALL.iter().map(|reason| (reason.name(), reason.meaning()));
    all("session_failures_total", "reason", reasons.collect());
    table(&["metric, label", "value", "meaning"], rows.into_iter())
}

fn drop_reasons() -> String {
    let rows = DropReason::ALL.iter().map(|reason| row(&[&format!("`{}`", reason.name()), reason.meaning()]));
    table(&["reason", "meaning"], rows)
}

/// The OpenAPI document.
struct Api {
    operations: Vec<Operation>,
    schemas: Map<String, Value>,
}

/// One method of one path.
struct Operation {
    route: String,
    said: Value,
}

impl Api {
    fn new() -> Api {
        let document = serde_json::to_value(natgw_management::openapi()).expect("a document");
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for (method, said) in methods.as_object().expect("methods") {
                let route = format!("{} {path}", method.to_uppercase());
                operations.push(Operation { route, said: said.clone() });
            }
        }
        // By path, and reading before changing.
        let of = |route: &str| {
            route.split_once(' ').map(|(method, path)| (path.to_owned(), method != "GET", method.to_owned()))
        };
        operations.sort_by_key(|operation| of(&operation.route));
        let schemas = document["components"]["schemas"].as_object().expect("schemas").clone();
        Api { operations, schemas }
    }

    fn routes(&self) -> String {
        let rows = self.operations.iter().map(|operation| {
            let summary = text(&operation.said["summary"]);
            let details = text(&operation.said["description"]);
            let meaning = if details.is_empty() { summary } else { format!("{summary} {details}") };
            let token = if operation.said["security"].is_array() { "token" } else { "" };
            let body = schema_name(&operation.said["requestBody"]["content"]);
            let answer = match body.is_empty() {
                true => operation.answer(),
                false => format!("takes {body}; {}", operation.answer()),
            };
            row(&[&format!("`{}`", operation.route), &meaning, &self.linked(&answer), token])
        });
        table(&["route", "meaning", "answer", "over TCP"], rows)
    }

    /// One row for all routes that have the same parameter.
    fn parameters(&self) -> String {
        let mut parameters: Vec<([String; 3], Vec<&str>)> = Vec::new();
        for operation in &self.operations {
            for parameter in operation.said["parameters"].as_array().into_iter().flatten() {
                let name = format!("`{}`", text(&parameter["name"]));
                let said = [name, text(&parameter["description"]), allowed(parameter)];
                match parameters.iter_mut().find(|(known, _)| *known == said) {
                    Some((_, routes)) => routes.push(&operation.route),
                    None => parameters.push((said, vec![&operation.route])),
                }
            }
        }
        let rows = parameters
            .iter()
            .map(|([name, meaning, allowed], routes)| row(&[name, meaning, allowed, &list(routes)]));
        table(&["parameter", "meaning", "allowed", "of"], rows)
    }

    fn refusals(&self) -> String {
        let mut routes: BTreeMap<(String, String), Vec<&str>> = BTreeMap::new();
        for operation in &self.operations {
            for (status, response) in operation.responses().filter(|(status, _)| !status.starts_with('2')) {
                let refusal = (status.clone(), text(&response["description"]));
                routes.entry(refusal).or_default().push(&operation.route);
            }
        }
        let rows = routes.iter().map(|((status, meaning), routes)| row(&[status, meaning, &list(routes)]));
        table(&["status", "meaning", "of"], rows)
    }

    /// A type with its objects' names linked to their tables.
    fn linked(&self, name: &str) -> String {
        let objects = self.schemas.iter().filter(|(_, schema)| !fields(schema).is_empty());
        objects.fold(name.to_owned(), |text, (object, _)| {
            text.replace(&format!("`{object}`"), &format!("[`{object}`](#{})", object.to_lowercase()))
        })
    }

    /// The fields of every object that a route answers with or takes.
    fn answers(&self) -> String {
        let parts = self.schemas.iter().filter_map(|(name, schema)| {
            let properties = fields(schema);
            let required: BTreeSet<&str> = objects(schema)
                .flat_map(|part| part["required"].as_array())
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let rows = properties.iter().map(|(field, schema)| {
                let optional = if required.contains(field.as_str()) { "" } else { ", optional" };
                row(&[
                    &format!("`{field}`"),
                    &format!("{}{optional}", self.linked(&type_name(schema))),
                    &description(schema),
                ])
            });
            let meaning = text(&schema["description"]);
            let fields = table(&["field", "type", "meaning"], rows);
            (!properties.is_empty()).then(|| match meaning.is_empty() {
                true => format!("### {name}\n\n{fields}"),
                false => format!("### {name}\n\n{meaning}\n\n{fields}"),
            })
        });
        parts.collect::<Vec<_>>().join("\n\n")
    }
}

impl Operation {
    fn responses(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.said["responses"].as_object().into_iter().flatten()
    }

    fn answer(&self) -> String {
        let good = self.responses().filter(|(status, _)| status.starts_with('2'));
        let told = good.map(|(status, response)| {
            let name = schema_name(&response["content"]);
            if name.is_empty() { status.clone() } else { format!("{status}, {name}") }
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

/// Routes by name, or how many they are.
fn list(routes: &[&str]) -> String {
    match routes.len() {
        ..=5 => routes.iter().map(|route| format!("`{route}`")).collect::<Vec<_>>().join(", "),
        many => format!("{many} routes"),
    }
}

/// What a parameter may be.
fn allowed(parameter: &Value) -> String {
    let schema = &parameter["schema"];
    let mut allowed = Vec::new();
    if let Some(maximum) = schema["maximum"].as_u64() {
        allowed.push(format!("{}-{maximum}", schema["minimum"].as_u64().unwrap_or(0)));
    }
    if !schema["default"].is_null() {
        allowed.push(format!("default {}", schema["default"]));
    }
    if parameter["required"] == true {
        allowed.push("required".into());
    }
    allowed.join(", ")
}

/// The type of a body: of its first media type.
fn schema_name(content: &Value) -> String {
    let Some((media, content)) = content.as_object().and_then(|content| content.iter().next()) else {
        return String::new();
    };
    if media.contains("json") { type_name(&content["schema"]) } else { format!("`{media}`") }
}

/// A schema in a word or two; one with a name by a link to it.
fn type_name(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("`{name}`");
    }
    if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        return choices.iter().map(type_name).collect::<Vec<_>>().join(" or ");
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
    }
    let of = |kind: &str| match kind {
        "array" => format!("array of {}", type_name(&schema["items"])),
        kind => kind.to_owned(),
    };
    match &schema["type"] {
        Value::String(kind) => of(kind),
        Value::Array(kinds) => {
            kinds.iter().filter_map(Value::as_str).map(of).collect::<Vec<_>>().join(" or ")
        }
        _ => "JSON".into(),
    }
}

/// A schema, and those that it is made of.
fn objects(schema: &Value) -> impl Iterator<Item = &Value> {
    [schema].into_iter().chain(schema["allOf"].as_array().into_iter().flatten())
}

fn fields(schema: &Value) -> Vec<(String, Value)> {
    let properties = objects(schema).filter_map(|part| part["properties"].as_object()).flatten();
    properties.map(|(name, schema)| (name.clone(), schema.clone())).collect()
}

/// What a field says of itself, or in the choice that is not null.
fn description(schema: &Value) -> String {
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    [schema]
        .into_iter()
        .chain(choices)
        .map(|said| text(&said["description"]))
        .find(|said| !said.is_empty())
        .unwrap_or_default()
}

/// A text on one line.
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A table a section of the commented configuration: its keys, what each is when it is left out, and its comment.
fn keys(file: &str) -> String {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for line in file.lines() {
        let said = std::mem::take(&mut comment);
        if let Some(more) = line.strip_prefix("# ") {
            comment = said;
            comment.push(more);
        } else if line.starts_with('[') {
            if !sections.iter().any(|section| section.name == line) {
                sections.push(Section { name: line, meaning: said.join(" "), keys: Vec::new() });
            }
            // A section that stands there again goes on with its first one.
            let again = sections.iter().position(|section| section.name == line).expect("it is there");
            let section = sections.remove(again);
            sections.push(section);
        } else if let (Some(key), Some(section)) = (Key::of(line, said.join(" ")), sections.last_mut()) {
            section.add(key);
        }
    }
    sections.sort_by_key(|section| file.find(&format!("\n{}\n", section.name)));
    sections.iter().map(Section::table).collect::<Vec<_>>().join("\n\n")
}

struct Section<'a> {
    name: &'a str,
    meaning: String,
    keys: Vec<Key<'a>>,
}

struct Key<'a> {
    names: Vec<&'a str>,
    kind: &'a str,
    default: String,
    meaning: String,
}

impl<'a> Key<'a> {
    fn of(line: &'a str, meaning: String) -> Option<Key<'a>> {
        let (name, value) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?;
        let (value, kind) = value.rsplit_once(" # ").unwrap_or((value, "off"));
        let value = format!("`{}`", value.trim());
        let default = match kind {
            "default" => value,
            "required" => format!("required, as {value}"),
            _ => format!("none, or as {value}"),
        };
        Some(Key { names: vec![name], kind, default, meaning })
    }

    /// Whether two keys are one for different things: `rx_queue_size` and `tx_queue_size`, `filtering_tcp` and `filtering_udp`.
    fn is_like(&self, other: &Key<'_>) -> bool {
        let [own, others] = [self.names[0], other.names[0]];
        let tails = [own, others].map(|name| name.split_once('_').map(|(_, tail)| tail));
        let heads = [own, others].map(|name| name.rsplit_once('_').map(|(head, _)| head));
        let is_like = |[own, other]: [Option<&str>; 2]| own.is_some() && own == other;
        self.kind == other.kind && (is_like(tails) || is_like(heads))
    }
}

impl<'a> Section<'a> {
    fn add(&mut self, key: Key<'a>) {
        if self.keys.iter().any(|known| known.names.contains(&key.names[0])) {
            return;
        }
        match self.keys.last_mut() {
            Some(last) if key.meaning.is_empty() && last.is_like(&key) => last.names.extend(key.names),
            _ => self.keys.push(key),
        }
    }

    fn table(&self) -> String {
        let rows = self.keys.iter().map(|key| {
            let names = key.names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            row(&[&names, &key.default, &key.meaning])
        });
        let table = table(&["key", "default", "meaning"], rows);
        match self.meaning.as_str() {
            "" => format!("### `{}`\n\n{table}", self.name),
            meaning => format!("### `{}`\n\n{meaning}\n\n{table}", self.name),
        }
    }
}

fn table(head: &[&str], rows: impl Iterator<Item = String>) -> String {
    let rule = format!("|{}", "---|".repeat(head.len()));
    [row(head), rule].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

fn row(cells: &[&str]) -> String {
    let cells = cells.iter().map(|cell| match *cell {
        "" => " |".to_owned(),
        cell => format!(" {} |", cell.replace('|', "\\|")),
    });
    format!("|{}", cells.collect::<String>())
}
