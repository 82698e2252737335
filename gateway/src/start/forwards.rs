//! Port forwards: those of the file, and those that are added and deleted while the gateway runs. The latter are there until they are
//! deleted or the gateway ends; a reload of the file leaves them.

use std::sync::atomic::Ordering;

use super::running::{Running, lock};
use crate::config::{Hosts, Mistake};
use crate::management::snapshot::{Forward, NewForward};
use crate::management::{ForwardError, ReloadError};
use crate::nat::{ForwardSource, PortForward, Static};

/// A forward that is not in the file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Added {
    /// As whoever added it wrote it.
    name: String,
    /// As the file would have it.
    section: String,
}

/// The lines of a forward's section.
const SECTION_LINES: usize = 5;

impl Added {
    fn new(forward: &NewForward) -> Added {
        // A string of JSON is one of TOML.
        let text = |value: &str| serde_json::Value::from(value).to_string();
        let NewForward { protocol, external, internal, source } = forward;
        let source = source.as_deref().unwrap_or("remote");
        let section = format!(
            "[[nat.port_forwards]]\nprotocol = {}\nexternal = {}\ninternal = {}\nsource = {}\n",
            text(protocol),
            text(external),
            text(internal),
            text(source)
        );
        Added { name: id(protocol, external), section }
    }
}

/// What names a forward.
fn id(protocol: &str, external: &str) -> String {
    format!("{protocol}-{}", external.replace(':', "-"))
}

/// The text of the file with the added forwards behind it.
pub(super) fn with_added(file: &str, added: &[Added]) -> String {
    let end = if file.ends_with('\n') { "" } else { "\n" };
    let sections = added.iter().map(|added| added.section.as_str());
    [file, end].into_iter().chain(sections).collect()
}

/// A mistake in what [`with_added`] made, as whoever knows the file alone understands it.
pub(super) fn explain_mistake(mistake: &Mistake, file: &str, added: &[Added]) -> String {
    let behind = mistake.line.checked_sub(file.lines().count() + 1);
    let forward = behind.and_then(|line| added.get(line / SECTION_LINES));
    match forward {
        Some(added) => {
            Mistake { file: format!("forward {}", added.name), line: 0, ..mistake.clone() }.to_string()
        }
        None => mistake.to_string(),
    }
}

impl Running {
    /// Every port forward, those of the file first, then every 1:1 mapping.
    pub(super) fn list_forwards(&self) -> Vec<Forward> {
        let config = self.config();
        let forwards = &config.settings.port_forwards;
        let of_file = forwards.len() - self.added_forwards.load(Ordering::Relaxed).min(forwards.len());
        let forwards = forwards.iter().enumerate().map(|(at, forward)| {
            let origin = if at < of_file { "file" } else { "api" };
            self.show_forward(forward, origin)
        });
        let statics = config.settings.statics.iter().map(|one| self.show_static(one));
        forwards.chain(statics).collect()
    }

    fn show_forward(&self, forward: &PortForward, origin: &'static str) -> Forward {
        let (first, last) = (*forward.external_ports.start(), *forward.external_ports.end());
        let ports = |start: u16| {
            let end = start.saturating_add(last - first);
            if start == end { start.to_string() } else { format!("{start}-{end}") }
        };
        let external = format!("{}:{}", forward.external, ports(first));
        Forward {
            id: id(forward.protocol.name(), &external),
            origin: origin.into(),
            kind: match forward.source {
                ForwardSource::Remote => "port-forward".into(),
                ForwardSource::Gateway => "redirect".into(),
            },
            protocol: Some(forward.protocol),
            external,
            internal: format!("{}:{}", forward.internal, ports(forward.internal_port)),
            worker: self.owner(forward.internal),
        }
    }

    fn show_static(&self, one: &Static) -> Forward {
        let external = Hosts(one.external).to_string();
        Forward {
            id: id("static", &external).replace('/', "-"),
            origin: "file".into(),
            kind: "static".into(),
            protocol: None,
            external,
            internal: Hosts(one.internal).to_string(),
            worker: self.owner(one.internal.network()),
        }
    }

    /// Puts another forward in force, beside the file's and those that were added before.
    pub(super) fn put_forward(&self, new: &NewForward) -> Result<Forward, ReloadError> {
        let mut in_force = lock(&self.in_force);
        let mut added = in_force.added.clone();
        added.push(Added::new(new));
        let text = in_force.text.clone();
        let outcome = self.put_in_force(&mut in_force, &text, added);
        let forward =
            outcome.as_ref().ok().and_then(|done| done.config.settings.port_forwards.last().cloned());
        self.report(outcome)?;
        // What came into force last is what was added.
        let gone = || ReloadError::Refused("the forward is not there".into());
        forward.map(|forward| self.show_forward(&forward, "api")).ok_or_else(gone)
    }

    /// Takes a forward away that was added.
    pub(super) fn remove_forward(&self, id: &str) -> Result<(), ForwardError> {
        let mut in_force = lock(&self.in_force);
        let known = self.list_forwards();
        let forward = known.iter().find(|forward| forward.id == id).ok_or(ForwardError::Unknown)?;
        let mut added = in_force.added.clone();
        let place =
            known.iter().filter(|known| known.origin == "api").position(|known| known.id == forward.id);
        match place.filter(|&place| place < added.len()) {
            Some(place) => drop(added.remove(place)),
            None => return Err(ForwardError::InFile),
        }
        let text = in_force.text.clone();
        let outcome = self.put_in_force(&mut in_force, &text, added);
        self.report(outcome)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[log]\nlevel = \"info\"";

    fn added(external: &str) -> Added {
        let (protocol, internal) = ("tcp".to_owned(), "10.64.0.12:80".to_owned());
        Added::new(&NewForward { protocol, external: external.into(), internal, source: None })
    }

    #[test]
    fn a_mistake_behind_the_file_names_the_forward() {
        let all = [added("203.0.113.13:8080"), added("203.0.113.13:90\"\n")];
        let text = with_added(FILE, &all);
        assert_eq!(text.lines().count(), FILE.lines().count() + all.len() * SECTION_LINES, "{text}");
        let mistake = |line| Mistake {
            file: "gateway.toml".into(),
            line,
            what: "external".into(),
            found: Some("\"?\"".into()),
            allowed: None,
        };
        let named = |line| explain_mistake(&mistake(line), FILE, &all);
        assert_eq!(named(2), "gateway.toml:2: external, found \"?\"");
        assert_eq!(named(5), "forward tcp-203.0.113.13-8080: external, found \"?\"");
        assert!(named(9).starts_with("forward tcp-203.0.113.13-90"), "{}", named(9));
    }
}
