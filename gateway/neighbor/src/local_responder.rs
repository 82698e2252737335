//! Answers to packets that are addressed to the gateway itself: pings, and for inside hosts an ICMP port unreachable, by
//! which a traceroute to the gateway ends, and a RST, by which a connection to it fails at once. Outside hosts hear nothing
//! of ports: the gateway runs no service on its interfaces, and a scan is not to learn that it is there.

use super::{AnswerBudgets, AnswerKind, HostBuckets, RouteTable};
use natgw_wire::icmpv4::{self, message, unreachable};
use natgw_wire::{ipv4, tcp};

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
    /// The packet is now a RST, of that many octets.
    Reset(usize),
    /// Nothing here takes it.
    NoService,
    /// The answer, of this kind, was held back by its rate limit.
    Limited(AnswerKind),
    /// The budget of RSTs to this host is used up.
    ResetLimited,
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

    /// Answers the IPv4 packet at the front of `buf`, whose destination is an address that the gateway answers for itself, in
    /// place. `buf` should have 28 octets behind the packet for an error to quote all of it. The frame was no link-layer
    /// broadcast (RFC 1122 section 3.2.2). TCP segments are answered where there are `resets`, a budget for each host.
    /// Unless an answer is returned, `buf` holds nothing that should be sent.
    pub fn answer(
        &mut self,
        buf: &mut [u8],
        from: Side,
        routes: &RouteTable,
        resets: Option<&mut HostBuckets>,
        now_ms: u32,
    ) -> Outcome {
        let Ok(packet) = ipv4::Packet::new_checked(&*buf) else { return Outcome::NoService };
        if routes.own(packet.src_bits()).is_some() {
            return Outcome::NoService;
        }
        self.answer_hairpinned(buf, from, routes, resets, now_ms)
    }

    /// As [`Responder::answer`], to a packet that was translated here already: its source is an outside endpoint, whose
    /// address may be the gateway's own.
    pub fn answer_hairpinned(
        &mut self,
        buf: &mut [u8],
        from: Side,
        routes: &RouteTable,
        resets: Option<&mut HostBuckets>,
        now_ms: u32,
    ) -> Outcome {
        let Ok(packet) = ipv4::Packet::new_checked(&*buf) else { return Outcome::NoService };
        let (src, dst) = (packet.src_bits(), packet.dst());
        if routes.is_broadcast(src) {
            return Outcome::NoService;
        }
        let (kind, answer) = match (packet.protocol(), from, resets) {
            (ipv4::ICMP, ..) => (AnswerKind::EchoReply, icmpv4::echo_reply(buf).map(Outcome::EchoReply)),
            (ipv4::UDP, Side::Inside, _) => {
                let error = icmpv4::error(buf, message::UNREACHABLE, unreachable::PORT, 0, dst);
                (AnswerKind::PortUnreachable, error.map(Outcome::PortUnreachable))
            }
            (ipv4::TCP, Side::Inside, Some(resets)) => {
                return match tcp::reset(buf) {
                    None => Outcome::NoService,
                    Some(len) if resets.take(src, now_ms) => Outcome::Reset(len),
                    Some(_) => Outcome::ResetLimited,
                };
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
        responder().answer(buf, from, &routes(), None, 0)
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

    /// A SYN to port 22.
    fn syn(src: [u8; 4]) -> [u8; 64] {
        let mut buf = packet(ipv4::TCP, src);
        let mut packet = ipv4::Packet::new_unchecked(&mut buf[..]);
        packet.set_total_len(40);
        packet.fill_checksum();
        let mut segment = tcp::Packet::new_unchecked(&mut buf[20..40]);
        segment.set_src_port(4000);
        segment.set_dst_port(22);
        segment.set_seq(7);
        segment.set_header_len(tcp::HEADER_LEN);
        segment.set_flags(tcp::Flags::SYN);
        segment.fill_checksum(src.into(), OWN.into());
        buf
    }

    #[test]
    fn rfc9293_3_5_2_inside_hosts_are_sent_a_rst_each_at_its_own_rate() {
        let (mut responder, routes) = (responder(), routes());
        let mut resets = HostBuckets::new(1, 3, 0);
        let mut at = |src, from, resets: Option<&mut HostBuckets>| {
            let mut buf = syn(src);
            (responder.answer(&mut buf, from, &routes, resets, 0), buf)
        };
        let (outcome, buf) = at(HOST, Side::Inside, Some(&mut resets));
        assert_eq!(outcome, Outcome::Reset(40));
        let reset = ipv4::Packet::new_verified(&buf[..40]).unwrap();
        assert_eq!((reset.src().octets(), reset.dst().octets()), (OWN, HOST));
        let reset = tcp::Packet::new_checked(reset.payload()).unwrap();
        assert_eq!((reset.seq(), reset.ack(), reset.flags()), (0, 8, tcp::Flags::RST | tcp::Flags::ACK));
        assert_eq!((reset.src_port(), reset.dst_port()), (22, 4000));
        // Outside hosts get no RST, and no host does where `refuse` is "drop".
        assert_eq!(at(HOST, Side::Outside, Some(&mut resets)).0, Outcome::NoService);
        assert_eq!(at(HOST, Side::Inside, None).0, Outcome::NoService);
        assert_eq!(at(HOST, Side::Inside, Some(&mut resets)).0, Outcome::Reset(40));
        assert_eq!(at(HOST, Side::Inside, Some(&mut resets)).0, Outcome::Reset(40));
        assert_eq!(at(HOST, Side::Inside, Some(&mut resets)).0, Outcome::ResetLimited);
        assert_eq!(at([10, 64, 0, 3], Side::Inside, Some(&mut resets)).0, Outcome::Reset(40));
    }

    #[test]
    fn what_was_translated_here_may_have_an_own_address_as_source() {
        let (mut responder, routes) = (responder(), routes());
        let mut resets = HostBuckets::new(1, 3, 0);
        let mut answer =
            |buf: &mut [u8]| responder.answer_hairpinned(buf, Side::Inside, &routes, Some(&mut resets), 0);
        assert_eq!(answer(&mut syn(OWN)), Outcome::Reset(40));
        assert_eq!(answer(&mut packet(ipv4::UDP, OWN)), Outcome::PortUnreachable(60));
        assert_eq!(answer(&mut syn([10, 64, 0, 255])), Outcome::NoService);
    }

    #[test]
    fn sources_that_cannot_be_hosts_are_not_answered() {
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
        let mut at = |protocol| responder.answer(&mut packet(protocol, HOST), Side::Inside, &routes, None, 0);
        let pings: Vec<Outcome> = (0..501).map(|_| at(ipv4::ICMP)).collect();
        assert!(pings[..500].iter().all(|outcome| *outcome == Outcome::EchoReply(32)));
        assert_eq!(pings[500], Outcome::Limited(AnswerKind::EchoReply));
        assert_eq!(at(ipv4::UDP), Outcome::PortUnreachable(60));
        assert_eq!(at(ipv4::TCP), Outcome::NoService);
    }
}
