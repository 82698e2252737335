//! Answers to packets that are addressed to the gateway itself: pings, and for inside hosts an ICMP port unreachable,
//! by which a traceroute to the gateway ends. The gateway runs no other service on its interfaces.

use super::{AnswerBudgets, AnswerKind, RouteTable};
use crate::wire::icmpv4::{self, message, unreachable};
use crate::wire::ipv4;

/// Where a packet came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// By an inside interface.
    Inside,
    /// By an outside interface.
    Outside,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The packet is now an echo reply, of that many octets.
    EchoReply(usize),
    /// The packet is now an ICMP port unreachable, of that many octets.
    PortUnreachable(usize),
    /// Nothing here takes it.
    NoService,
    /// The answer, of this kind, was held back by its rate limit.
    Limited(AnswerKind),
}

/// One worker's answers on one side, and their rate limits.
#[derive(Clone, Debug)]
pub struct Responder {
    budgets: AnswerBudgets,
}

impl Responder {
    /// With these budgets.
    pub const fn new(budgets: AnswerBudgets) -> Responder {
        Responder { budgets }
    }

    /// Answers the IPv4 packet at the front of `buf`, whose destination is an own address, in place. `buf` should
    /// have 28 octets behind the packet for an error to quote all of it. The frame was no link-layer broadcast (RFC
    /// 1122 section 3.2.2). Unless an answer is returned, `buf` holds nothing that should be sent.
    pub fn answer(&mut self, buf: &mut [u8], from: Side, routes: &RouteTable, now_ms: u32) -> Outcome {
        let Ok(packet) = ipv4::Packet::new_checked(&*buf) else { return Outcome::NoService };
        let (src, dst) = (packet.src_bits(), packet.dst());
        if routes.is_broadcast(src) || routes.own(src).is_some() {
            return Outcome::NoService;
        }
        let (kind, answer) = match (packet.protocol(), from) {
            (ipv4::ICMP, _) => (AnswerKind::EchoReply, icmpv4::echo_reply(buf).map(Outcome::EchoReply)),
            (ipv4::UDP, Side::Inside) => {
                let error = icmpv4::error(buf, message::UNREACHABLE, unreachable::PORT, 0, dst);
                (AnswerKind::PortUnreachable, error.map(Outcome::PortUnreachable))
            }
            _ => return Outcome::NoService,
        };
        match answer {
            None => Outcome::NoService,
            Some(answer) if self.may_send(kind, src, now_ms) => answer,
            Some(_) => Outcome::Limited(kind),
        }
    }

    /// Whether a message of this kind may go to a host now; takes it out of the budget.
    #[must_use]
    pub fn may_send(&mut self, kind: AnswerKind, to: u32, now_ms: u32) -> bool {
        self.budgets.take(kind, to, now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Connected, InterfaceId};
    use super::*;

    const OWN: [u8; 4] = [10, 64, 0, 1];
    const HOST: [u8; 4] = [10, 64, 0, 2];

    fn routes() -> RouteTable {
        let inside = Connected { interface: InterfaceId(0), address: "10.64.0.1/24".parse().unwrap() };
        RouteTable::new(&[inside], &[]).unwrap()
    }

    fn responder() -> Responder {
        Responder::new(AnswerBudgets::new(7, 0))
    }

    /// A packet of 12 octets of payload, an echo if the protocol is ICMP, in a buffer with room behind it.
    fn packet(protocol: u8, src: [u8; 4]) -> [u8; 64] {
        let mut buf = [0; 64];
        let mut packet = ipv4::Packet::new_unchecked(&mut buf[..]);
        packet.set_header_len(20);
        packet.set_total_len(32);
        packet.set_ttl(1);
        packet.set_protocol(protocol);
        packet.set_src(src.into());
        packet.set_dst(OWN.into());
        packet.fill_checksum();
        let mut echo = icmpv4::Packet::new_unchecked(packet.payload_mut());
        echo.set_ty(message::ECHO);
        echo.set_ident(7);
        echo.fill_checksum();
        buf
    }

    fn answer(buf: &mut [u8], from: Side) -> Outcome {
        responder().answer(buf, from, &routes(), 0)
    }

    #[test]
    fn a_ping_is_answered_on_both_sides() {
        for from in [Side::Inside, Side::Outside] {
            let mut buf = packet(ipv4::ICMP, HOST);
            assert_eq!(answer(&mut buf, from), Outcome::EchoReply(32));
            let reply = ipv4::Packet::new_verified(&buf[..32]).unwrap();
            assert_eq!((reply.src().octets(), reply.dst().octets(), reply.ttl()), (OWN, HOST, 64));
            let echo = icmpv4::Packet::new_verified(reply.payload()).unwrap();
            assert_eq!((echo.ty(), echo.ident()), (message::ECHO_REPLY, 7));
        }
    }

    #[test]
    fn a_traceroute_from_inside_ends_with_a_port_unreachable() {
        let mut buf = packet(ipv4::UDP, HOST);
        let before = buf;
        assert_eq!(answer(&mut buf, Side::Inside), Outcome::PortUnreachable(60));
        let error = ipv4::Packet::new_verified(&buf[..60]).unwrap();
        assert_eq!((error.src().octets(), error.dst().octets()), (OWN, HOST));
        let message = icmpv4::Packet::new_verified(error.payload()).unwrap();
        assert_eq!((message.ty(), message.code(), message.embedded()), (3, 3, &before[..32]));
    }

    #[test]
    fn outside_hosts_learn_nothing_of_closed_ports_and_tcp_is_silent() {
        assert_eq!(answer(&mut packet(ipv4::UDP, HOST), Side::Outside), Outcome::NoService);
        for from in [Side::Inside, Side::Outside] {
            assert_eq!(answer(&mut packet(ipv4::TCP, HOST), from), Outcome::NoService);
        }
    }

    #[test]
    fn nobody_is_answered_who_cannot_be_a_host() {
        for src in [OWN, [10, 64, 0, 255], [10, 64, 0, 0], [255; 4], [0; 4], [224, 0, 0, 1], [127, 0, 0, 1]] {
            assert_eq!(answer(&mut packet(ipv4::ICMP, src), Side::Inside), Outcome::NoService, "{src:?}");
            assert_eq!(answer(&mut packet(ipv4::UDP, src), Side::Inside), Outcome::NoService, "{src:?}");
        }
    }

    #[test]
    fn broken_packets_are_not_answered() {
        let mut corrupt = packet(ipv4::ICMP, HOST);
        corrupt[31] ^= 1;
        assert_eq!(answer(&mut corrupt, Side::Inside), Outcome::NoService);
        assert_eq!(answer(&mut packet(ipv4::ICMP, HOST)[..31], Side::Inside), Outcome::NoService);
        assert_eq!(answer(&mut [], Side::Inside), Outcome::NoService);
    }

    #[test]
    fn pings_and_errors_are_limited_apart() {
        let (mut responder, routes) = (responder(), routes());
        let mut at = |protocol| responder.answer(&mut packet(protocol, HOST), Side::Inside, &routes, 0);
        let pings: Vec<Outcome> = (0..501).map(|_| at(ipv4::ICMP)).collect();
        assert!(pings[..500].iter().all(|outcome| *outcome == Outcome::EchoReply(32)));
        assert_eq!(pings[500], Outcome::Limited(AnswerKind::EchoReply));
        assert_eq!(at(ipv4::UDP), Outcome::PortUnreachable(60));
        assert_eq!(at(ipv4::TCP), Outcome::NoService);
    }
}
