//! Port forwards: those of the file, and those that are added and deleted while the gateway runs. The latter are there until they are
//! deleted or the gateway ends; a reload of the file leaves them.

use std::time::Instant;

use super::apply_config::Configuration;
use super::lock::lock;
use super::state::State;
use natgw_api::CHANGE_TIMEOUT;
use natgw_api::types::{Forward, NewForward};
use natgw_config::{Hosts, Reloaded, forward_id};
use natgw_management::{ForwardError, ReloadError, convert};
use natgw_nat::{ForwardSource, PortForward, Static};

impl State {
    /// Every port forward, those of the file first, then every 1:1 mapping.
    pub(super) fn forwards(&self) -> Vec<Forward> {
        let config = self.config();
        let forwards = &config.settings.port_forwards;
        let of_file = forwards.len() - config.added_forwards.min(forwards.len());
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
            id: forward_id(forward.protocol.name(), &external),
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
            id: forward_id("static", &external).replace('/', "-"),
            origin: "file".into(),
            kind: "static".into(),
            protocol: None,
            external,
            internal: Hosts(one.internal).to_string(),
            worker: self.owner(one.internal.network()),
        }
    }
}

impl Configuration {
    /// Puts another forward in force, beside the file's and those that were added before.
    pub(super) fn add_forward(&self, state: &State, new: &NewForward) -> Result<Forward, ForwardError> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let mut in_force = lock(&self.in_force);
        let mut added = in_force.added.clone();
        let new = convert::added_forward(new);
        let id = new.id();
        added.push(new);
        let text = in_force.text.clone();
        let outcome = in_force.apply(state, &self.file, &text, added, deadline);
        let forward =
            outcome.as_ref().ok().and_then(|done| done.config.settings.port_forwards.last().cloned());
        self.report_forward(&id, "added", outcome)?;
        let _ = in_force.settle(state, deadline);
        // What came into force last is what was added.
        forward.map(|forward| state.show_forward(&forward, "api")).ok_or(ForwardError::Unknown)
    }

    /// Takes a forward away that was added.
    pub(super) fn delete_forward(&self, state: &State, id: &str) -> Result<(), ForwardError> {
        let deadline = Instant::now() + CHANGE_TIMEOUT;
        let mut in_force = lock(&self.in_force);
        let known = state.forwards();
        let forward = known.iter().find(|forward| forward.id == id).ok_or(ForwardError::Unknown)?;
        let mut added = in_force.added.clone();
        let place =
            known.iter().filter(|known| known.origin == "api").position(|known| known.id == forward.id);
        match place.filter(|&place| place < added.len()) {
            Some(place) => drop(added.remove(place)),
            None => return Err(ForwardError::InFile),
        }
        let text = in_force.text.clone();
        let outcome = in_force.apply(state, &self.file, &text, added, deadline);
        self.report_forward(id, "deleted", outcome)?;
        let _ = in_force.settle(state, deadline);
        Ok(())
    }

    /// Counts and logs what became of a forward.
    fn report_forward(
        &self,
        id: &str,
        change: &str,
        outcome: Result<Reloaded, ReloadError>,
    ) -> Result<(), ReloadError> {
        let mut changes = lock(&self.forward_changes);
        match &outcome {
            Ok(_) => {
                changes.applied += 1;
                tracing::info!(forward = id, "port forward {change}");
            }
            Err(error) => {
                changes.refused += 1;
                tracing::error!(forward = id, %error, "port forward not {change}");
            }
        }
        outcome.map(drop)
    }
}
