//! Sessions: one cache line for everything that an established packet touches.
//!
//! ```text
//!  0 flow of outbound packets as they arrive      (12)   (a:p -> r:q)
//! 12 flow of inbound packets as they arrive       (12)   (r:q -> X:P)
//! 24 protocol, TCP state, timeout class, flags     (4)
//! 28 checksum deltas of the outbound rewrite       (4)   IPv4 header, layer 4
//! 32 expiry, low 32 bits of the engine's time      (4)
//! 36 mapping                                       (4)
//! 40 next hop of outbound and inbound packets      (8)
//! 48 packets out and in                            (8)
//! 56 creation, low 32 bits of the engine's time    (4)
//! 60 whether its subscriber's half-open budget counts it (2)
//! 62 whether its remote is noted for address-dependent filtering (2)
//! ```
//!
//! A packet that arrives in direction `d` matches `flows[d]` and leaves as `flows[!d]` reversed; so nothing here
//! asks which direction it is. The inbound checksum deltas are the complements of the outbound ones (RFC 1624).

pub(crate) mod closed;
pub(crate) mod flow_table;
pub(crate) mod tcp_state;

use std::hint::select_unpredictable;

use bytemuck::{Pod, Zeroable};

use crate::ids::MappingId;
use crate::packet::endpoint::{Endpoint, Flow};
use crate::packet::parse::Parsed;
use crate::packet::rewrite::Rewrite;
use crate::packet::verdict::{Direction, Protocol};
use crate::settings::Timeouts;
use crate::table::time::{Time, is_past};
use natgw_wire::checksum::Delta;

/// One session; the layout is the module's drawing.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Session {
    pub(crate) flows: [Flow; 2],
    pub(crate) protocol: u8,
    pub(crate) tcp_state: u8,
    pub(crate) timeout: u8,
    pub(crate) flags: u8,
    pub(crate) ip_delta: u16,
    pub(crate) l4_delta: u16,
    pub(crate) expires: u32,
    pub(crate) mapping: MappingId,
    pub(crate) next_hops: [u32; 2],
    pub(crate) packets: [u32; 2],
    pub(crate) created: u32,
    pub(crate) half_open: u16,
    pub(crate) permits: u8,
    /// 1: the inside host sees a port of the gateway's in the place of the remote (`redirect`).
    pub(crate) stand_in: u8,
}
const _: () = assert!(size_of::<Session>() == 64 && align_of::<Session>() == 64);

/// The session is live.
pub(crate) const LIVE: u8 = 1;
/// Its remote is an outside endpoint of this gateway: outbound packets hairpin.
pub(crate) const HAIRPIN: u8 = 2;
/// The remote began it, and it is not sure that the remote is there (`redirect`).
pub(crate) const HALF_OPEN: u8 = 4;

impl Session {
    pub(crate) fn protocol(&self) -> Protocol {
        Protocol::ALL[usize::from(self.protocol)]
    }

    #[inline(always)]
    pub(crate) fn matches(&self, flow: &Flow, protocol: Protocol, direction: Direction) -> bool {
        self.flows[direction] == *flow && self.protocol == protocol as u8 && self.flags & LIVE != 0
    }

    /// Whether a packet of this flow and with these TCP flags just passes: the session is live, in time and no hairpin, and
    /// its TCP state stays.
    #[inline(always)]
    pub(crate) fn passes(&self, parsed: &Parsed, direction: Direction, now: Time) -> bool {
        self.flows[direction] == parsed.flow
            && self.protocol == parsed.protocol as u8
            && self.flags == LIVE
            && tcp_state::stays(self.tcp_state, parsed.flags, direction)
            && !is_past(self.expires, now)
    }

    /// Notes a packet that just passes. RFC 4787 REQ-6 is about UDP: an inbound packet refreshes nothing; an open TCP connection
    /// is idle when neither side speaks, and no other just passes.
    #[inline(always)]
    pub(crate) fn touch(&mut self, direction: Direction, due: &Due) {
        let refreshed = due.of(self.timeout);
        let refreshes = direction == Direction::Outbound || self.protocol == Protocol::Tcp as u8;
        self.expires = select_unpredictable(refreshes, refreshed, self.expires);
        self.count(direction);
    }

    /// As [`Session::touch`], of a packet that does not just pass. What the remote alone sends keeps no connection that is
    /// opening, and nothing keeps one that is closing: its time is up when late segments cannot come any more, whoever
    /// goes on to send.
    #[inline(always)]
    pub(crate) fn touch_slowly(&mut self, direction: Direction, timeouts: &TimeoutTable, now: Time) {
        let refreshes = match direction {
            Direction::Outbound => self.timeout != Timeout::TcpClosing as u8,
            Direction::Inbound => self.timeout == Timeout::TcpEstablished as u8,
        };
        if refreshes {
            self.expires = now.low().wrapping_add(timeouts.of(self.timeout));
        }
        self.count(direction);
    }

    /// Counts a packet.
    #[inline(always)]
    pub(crate) fn count(&mut self, direction: Direction) {
        let packets = &mut self.packets[direction];
        *packets = packets.wrapping_add(1);
    }

    /// Inside, outside and remote endpoint.
    pub(crate) fn endpoints(&self) -> [Endpoint; 3] {
        let [outbound, inbound] = self.flows.map(|flow| flow.tuple());
        [outbound.from(), inbound.to(), inbound.from()]
    }

    /// What a packet of this session that arrives in `direction` becomes.
    #[inline(always)]
    pub(crate) fn rewrite(&self, direction: Direction) -> Rewrite {
        // The way back changes every checksum by the complement.
        let inverse = (direction as u16).wrapping_neg();
        Rewrite {
            to: self.flows[direction.flip()].reversed(),
            ip_delta: Delta::from_bits(self.ip_delta ^ inverse),
            l4_delta: Delta::from_bits(self.l4_delta ^ inverse),
        }
    }
}

/// Which idle timeout a session is under; an index into [`TimeoutTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Timeout {
    Udp = 0,
    UdpDns = 1,
    TcpEstablished = 2,
    TcpOpening = 3,
    TcpClosing = 4,
    Icmp = 5,
    HalfOpen = 6,
    Other = 7,
}

/// RFC 4787 REQ-5a lets well-known destination ports have a shorter timeout; DNS is the one that does.
const DNS: u16 = 53;

impl Timeout {
    /// The timeout of a new session.
    pub(crate) fn initial(protocol: Protocol, remote_port: u16) -> Timeout {
        match protocol {
            Protocol::Udp if remote_port == DNS => Timeout::UdpDns,
            Protocol::Udp => Timeout::Udp,
            Protocol::Tcp => Timeout::TcpOpening,
            Protocol::Icmp => Timeout::Icmp,
            Protocol::Other => Timeout::Other,
        }
    }
}

/// The idle timeouts in milliseconds, by [`Timeout`], and who refreshes them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeoutTable {
    pub(crate) ms: [u32; 8],
}

impl TimeoutTable {
    pub(crate) fn new(timeouts: &Timeouts) -> TimeoutTable {
        let mut ms = [0; 8];
        ms[Timeout::Udp as usize] = timeouts.udp_s;
        ms[Timeout::UdpDns as usize] = timeouts.udp_dns_s;
        ms[Timeout::TcpEstablished as usize] = timeouts.tcp_established_s;
        ms[Timeout::TcpOpening as usize] = timeouts.tcp_opening_s;
        ms[Timeout::TcpClosing as usize] = timeouts.tcp_closing_s;
        ms[Timeout::Icmp as usize] = timeouts.icmp_s;
        ms[Timeout::HalfOpen as usize] = timeouts.redirect_half_open_s;
        ms[Timeout::Other as usize] = timeouts.other_s;
        // Moments are compared over 24 days (`Time`); no timeout comes near.
        TimeoutTable { ms: ms.map(|s| s.min(TIMEOUT_MAX_S) * 1000) }
    }

    #[inline(always)]
    pub(crate) fn of(&self, timeout: u8) -> u32 {
        self.ms[usize::from(timeout) & 7]
    }

    /// Every timeout from now on.
    #[inline(always)]
    pub(crate) fn from(&self, now: Time) -> Due {
        Due(self.ms.map(|ms| now.low().wrapping_add(ms)))
    }
}

/// When a session that is refreshed now expires, by [`Timeout`]: low 32 bits of the engine's time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due([u32; 8]);

impl Due {
    #[inline(always)]
    pub(crate) fn of(&self, timeout: u8) -> u32 {
        self.0[usize::from(timeout) & 7]
    }
}

/// Longer timeouts are cut to this, seconds (20 days).
pub(crate) const TIMEOUT_MAX_S: u32 = 20 * 24 * 3600;

/// How a session stands, for listings.
pub(crate) fn state_name(session: &Session) -> &'static str {
    match session.protocol() {
        _ if session.flags & HALF_OPEN != 0 => "half-open",
        Protocol::Tcp => tcp_state::State::from_index(session.tcp_state).name(),
        Protocol::Udp | Protocol::Icmp | Protocol::Other => "active",
    }
}
