//! Packets as a capture on a link sees them: their endpoints, and their session. Nothing is checked, counted or
//! changed.

use std::net::Ipv4Addr;

use crate::control::listing::{Filter, SessionView};
use crate::packet::embedded::embedded;
use crate::packet::endpoint::{Endpoint, Flow, Tuple};
use crate::packet::ip_protocol::IpProtocol;
use crate::packet::parse::channel;
use crate::packet::verdict::{Direction, Protocol};
use crate::shard::Shard;
use crate::table::time::Time;
use natgw_wire::{icmpv4, ipv4};

/// A packet on a link of the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Of the flow that it belongs to: of an ICMP error that is the flow of the packet inside.
    pub protocol: Protocol,
    /// Of the packet itself.
    pub carrier: Protocol,
    /// The flow's endpoints, as they stand in packets that arrive by this link. Ports of later fragments are 0.
    pub tuple: Tuple,
    /// Where packets go that arrive by this link.
    pub direction: Direction,
}

impl Sight {
    /// An IPv4 packet that arrives by a link; `None` where it is too short to be one.
    pub fn arriving(packet: &[u8], direction: Direction) -> Option<Sight> {
        let ip = ipv4::Packet::new_header(packet).ok()?;
        let number = IpProtocol(ip.protocol());
        let carrier = number.translated_as().unwrap_or(Protocol::Other);
        let l4 = if ip.frag_offset() == 0 { &packet[ip.header_len()..] } else { &[] };
        if carrier == Protocol::Icmp
            && let Some((head, about)) = l4.split_first_chunk::<{ icmpv4::HEADER_LEN }>()
            && icmpv4::is_error(head[0])
            && let Ok(about) = embedded(about)
        {
            return Some(Sight {
                protocol: about.protocol,
                carrier,
                tuple: about.ends.reversed().tuple(),
                direction,
            });
        }
        let (source, destination) = (ip.src_bits(), ip.dst_bits());
        let tuple = match channel(number, l4) {
            Ok((_, channel)) => channel.between(source, destination).tuple(),
            Err(_) => Tuple { source, destination, ..Tuple::default() },
        };
        Some(Sight { protocol: carrier, carrier, tuple, direction })
    }

    /// As [`Sight::arriving`], of a packet that leaves by a link from which others go in `direction`.
    pub fn leaving(packet: &[u8], direction: Direction) -> Option<Sight> {
        let sight = Sight::arriving(packet, direction)?;
        Some(Sight { tuple: sight.tuple.reversed(), ..sight })
    }

    /// Inside, outside and remote endpoint, as far as they can be seen here.
    fn endpoints(&self) -> [Option<Endpoint>; 3] {
        let (from, to) = (self.tuple.from(), self.tuple.to());
        match self.direction {
            Direction::Outbound => [Some(from), None, Some(to)],
            Direction::Inbound => [None, Some(to), Some(from)],
        }
    }
}

impl Filter {
    /// Whether a packet is of what is asked for: by what can be seen of it, or else by its session.
    pub fn accepts_packet(&self, sight: &Sight, session: impl FnOnce() -> Option<SessionView>) -> bool {
        if self.protocol.is_some_and(|wanted| wanted != sight.protocol && wanted != sight.carrier) {
            return false;
        }
        let endpoints = sight.endpoints();
        let is = |endpoint: Endpoint, wanted: Ipv4Addr| endpoint.address == wanted.to_bits();
        let (mut shown, mut denied) = (true, false);
        for (wanted, endpoint) in [self.inside, self.outside, self.remote].into_iter().zip(endpoints) {
            let Some(wanted) = wanted else { continue };
            shown &= endpoint.is_some_and(|endpoint| is(endpoint, wanted));
            denied |= endpoint.is_some_and(|endpoint| !is(endpoint, wanted));
        }
        shown &= self.port.is_none_or(|port| endpoints.iter().flatten().any(|seen| seen.port == port));
        // Twice translated, the remote has another address inside.
        let is_renamed = sight.direction == Direction::Outbound && self.remote.is_some();
        let of_flow = Filter { protocol: None, ..*self };
        shown || (!denied || is_renamed) && session().is_some_and(|session| of_flow.accepts_view(&session))
    }
}

impl Shard {
    /// The session that a packet belongs to, where there is one now.
    pub fn session_seen(&self, sight: &Sight, now: Time) -> Option<SessionView> {
        let id =
            self.sessions.find_in_time(&Flow::from(&sight.tuple), sight.protocol, sight.direction, now)?;
        Some(self.view_session(id, now))
    }
}
