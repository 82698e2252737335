//! What would become of a packet: the worker that would own it explains it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use super::lock::lock;
use super::state::State;
use crate::start::Dataplane;
use natgw_api::LISTING_TIMEOUT;
use natgw_api::types::{Explanation, Question, Whose};
use natgw_config::Role;
use natgw_management::{Unavailable, convert};
use natgw_nat::{Direction, DropReason, Endpoint, IpProtocol, Protocol, Tuple};
use natgw_neighbor::{InterfaceId, RouteEntry};
use natgw_steer::WorkerId;
use natgw_worker::Command;

impl State {
    /// As [`natgw_management::Gateway::explain`].
    pub(super) fn explain(&self, asked: &Question) -> Result<Explanation, Unavailable> {
        let deadline = Instant::now() + LISTING_TIMEOUT;
        let direction = asked.direction.unwrap_or_else(|| self.side_of(asked.source.address));
        let protocol = match asked.protocol.translated_as() {
            Ok(protocol) => protocol,
            Err(reason) => return Ok(self.untranslated(asked, direction, reason)),
        };
        let tuple = tuple(asked, protocol, direction);
        let question = natgw_nat::Question { protocol, tuple, direction, hairpinned: false };
        let (mut explanation, view) = self.request_explanation(&question, deadline)?;
        if let Some(around) = view.around(&question) {
            let then = match view.to_itself(&question) {
                Some(view) => self.explanation(&around, &view, explanation.worker),
                None => self.request_explanation(&around, deadline)?.0,
            };
            explanation.then = Some(Box::new(match view.source {
                Some(_) => then,
                None => Explanation { source: None, ..then },
            }));
        }
        Ok(explanation)
    }

    /// The explanation of a packet whose protocol no worker translates.
    fn untranslated(&self, asked: &Question, direction: Direction, reason: DropReason) -> Explanation {
        let tuple = tuple(asked, Protocol::Other, direction);
        let question = natgw_nat::Question { protocol: Protocol::Other, tuple, direction, hairpinned: false };
        let worker = self.with(|dataplane| owner(dataplane, &question).0).unwrap_or(0);
        self.explanation(&question, &natgw_nat::Explanation::dropped(reason), worker)
    }

    /// Asks the worker that owns the packet.
    fn request_explanation(
        &self,
        question: &natgw_nat::Question,
        deadline: Instant,
    ) -> Result<(Explanation, natgw_nat::Explanation), Unavailable> {
        let WorkerId(worker) =
            self.with(|dataplane| owner(dataplane, question)).ok_or(Unavailable::Stopping)?;
        let commands = self.commands_of(worker)?.ok_or(Unavailable::Stopping)?;
        let command = |_, answer| Command::Explain(*question, answer);
        let view = self.channels.request(worker, &commands, deadline, command)?;
        Ok((self.explanation(question, &view, worker), view))
    }

    /// A worker's answer, and where the packet would go from there.
    fn explanation(
        &self,
        question: &natgw_nat::Question,
        view: &natgw_nat::Explanation,
        worker: u16,
    ) -> Explanation {
        let mut explanation = convert::explanation(question, view, worker, &self.pool_names());
        let Tuple { source, destination, destination_port, .. } = question.tuple;
        explanation.holders = self.whose(match question.direction {
            Direction::Outbound => Whose::Subscriber(source.into()),
            Direction::Inbound => Whose::Endpoint(SocketAddrV4::new(destination.into(), destination_port)),
        });
        if let Some(destination) = view.destination
            && explanation.is_forwarded()
            && !view.hairpins
        {
            self.route(&mut explanation, question.protocol, destination, view.for_outside);
        }
        explanation
    }

    fn route(
        &self,
        explanation: &mut Explanation,
        protocol: Protocol,
        destination: Endpoint,
        for_outside: bool,
    ) {
        let config = self.config();
        let accepts = |id: InterfaceId| {
            let interface = config.interfaces.get(usize::from(id.0));
            !for_outside || interface.is_some_and(|interface| interface.role == Role::Outside)
        };
        let found = self.with(|dataplane| {
            let route = dataplane.routes.lookup_by(destination.address, accepts)?;
            let is_it = |entry: &RouteEntry| {
                entry.interface == route.interface
                    && entry.prefix.contains(&Ipv4Addr::from_bits(destination.address))
            };
            Some((route, dataplane.routes.entries().into_iter().find(is_it)))
        });
        let Some((route, entry)) = found.flatten() else {
            return convert::refuse(explanation, DropReason::NoRoute, protocol);
        };
        let name = self.interface_name(route.interface);
        explanation.route = entry.map(|entry| convert::route(&entry, &name));
        explanation.next_hop = Some(route.next_hop.into());
        let neighbors = lock(&self.neighbors).list();
        let neighbor =
            neighbors.iter().find(|one| (one.interface, one.ip) == (route.interface, route.next_hop));
        explanation.neighbor = neighbor.map(|neighbor| convert::neighbor(neighbor, &name));
    }

    /// The side that packets from an address come from.
    fn side_of(&self, source: Ipv4Addr) -> Direction {
        let config = self.config();
        let route = self.with(|dataplane| dataplane.routes.lookup(source.to_bits())).flatten();
        let interface = route.and_then(|route| config.interfaces.get(usize::from(route.interface.0)));
        match interface.map(|interface| interface.role) {
            Some(Role::Inside) => Direction::Outbound,
            Some(Role::Outside) | None => Direction::Inbound,
        }
    }
}

/// Whose the packet is.
fn owner(dataplane: &Dataplane, question: &natgw_nat::Question) -> WorkerId {
    let Tuple { source, destination, destination_port, .. } = question.tuple;
    match question.direction {
        Direction::Outbound => dataplane.steering.inside_owner(source, question.protocol),
        Direction::Inbound => {
            dataplane.steering.inbound_owner(destination, question.protocol, destination_port)
        }
    }
}

/// The endpoints as the engine reads them: an ICMP message has one identifier, on the side of who asks, and a protocol
/// without ports has its number there.
fn tuple(asked: &Question, protocol: Protocol, direction: Direction) -> Tuple {
    let IpProtocol(number) = asked.protocol;
    let [mut from, mut to] = [asked.source, asked.destination].map(|end| {
        let port = if protocol.has_ports() { end.port.unwrap_or(0) } else { number.into() };
        Endpoint::new(end.address, port)
    });
    match (protocol, direction) {
        (Protocol::Icmp, Direction::Outbound) => {
            from.port = if from.port == 0 { to.port } else { from.port };
            to.port = 0;
        }
        (Protocol::Icmp, Direction::Inbound) if to.port != 0 => from.port = 0,
        _ => {}
    }
    Tuple::new(from, to)
}
