//! Sessions: one cache line for everything that an established packet touches.
//!
//! ```text
//!  0 tuple of outbound packets as they arrive     (12)   (a:p -> r:q)
//! 12 tuple of inbound packets as they arrive      (12)   (r:q -> X:P)
//! 24 protocol, TCP state, timeout class, flags     (4)
//! 28 checksum deltas of the outbound rewrite       (4)   IPv4 header, layer 4
//! 32 expiry, low 32 bits of the engine's time      (4)
//! 36 mapping                                       (4)
//! 40 next hop of outbound and inbound packets      (8)
//! 48 packets out and in                            (8)
//! 56 creation, low 32 bits of the engine's time    (4)
//! 60 spare                                          (4)
//! ```
//!
//! A packet that arrives in direction `d` matches `tuples[d]` and leaves as `tuples[!d]` reversed; so nothing here
//! asks which direction it is. The inbound checksum deltas are the complements of the outbound ones (RFC 1624).

use bytemuck::{Pod, Zeroable};

use super::endpoint::Tuple;
use super::settings::Timeouts;
use super::tcp;
use super::verdict::{Direction, Protocol};

/// One session; the layout is the module's drawing.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(crate) struct Session {
    pub(crate) tuples: [Tuple; 2],
    pub(crate) protocol: u8,
    pub(crate) tcp_state: u8,
    pub(crate) timeout: u8,
    pub(crate) flags: u8,
    pub(crate) ip_delta: u16,
    pub(crate) l4_delta: u16,
    pub(crate) expires: u32,
    pub(crate) mapping: u32,
    pub(crate) next_hops: [u32; 2],
    pub(crate) packets: [u32; 2],
    pub(crate) created: u32,
    pub(crate) spare: u32,
}
const _: () = assert!(size_of::<Session>() == 64 && align_of::<Session>() == 64);

/// The session is live.
pub(crate) const LIVE: u8 = 1;
/// Its remote is an outside endpoint of this gateway: outbound packets hairpin.
pub(crate) const HAIRPIN: u8 = 2;

impl Session {
    pub(crate) fn protocol(&self) -> Protocol {
        Protocol::ALL[usize::from(self.protocol)]
    }

    #[inline(always)]
    pub(crate) fn matches(&self, tuple: &Tuple, protocol: Protocol, direction: Direction) -> bool {
        self.tuples[direction as usize] == *tuple && self.protocol == protocol as u8 && self.flags & LIVE != 0
    }
}

/// Which idle timeout a session is under; an index into [`TimeoutTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Timeout {
    Udp = 0,
    UdpDns = 1,
    TcpEstablished = 2,
    TcpTransitory = 3,
    Icmp = 4,
}

/// RFC 4787 REQ-5a lets well-known destination ports have a shorter timeout; DNS is the one that does.
const DNS: u16 = 53;

impl Timeout {
    /// The timeout of a new session.
    pub(crate) fn initial(protocol: Protocol, remote_port: u16) -> Timeout {
        match protocol {
            Protocol::Udp if remote_port == DNS => Timeout::UdpDns,
            Protocol::Udp => Timeout::Udp,
            Protocol::Tcp => Timeout::TcpTransitory,
            Protocol::Icmp => Timeout::Icmp,
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
        ms[Timeout::TcpTransitory as usize] = timeouts.tcp_transitory_s;
        ms[Timeout::Icmp as usize] = timeouts.icmp_s;
        // Moments are compared over 24 days (`Time`); no timeout comes near.
        TimeoutTable { ms: ms.map(|s| s.min(TIMEOUT_MAX_S) * 1000) }
    }

    #[inline(always)]
    pub(crate) fn of(&self, timeout: u8) -> u32 {
        self.ms[usize::from(timeout) & 7]
    }
}

/// Longer timeouts are cut to this, seconds (20 days).
pub(crate) const TIMEOUT_MAX_S: u32 = 20 * 24 * 3600;

/// How a session stands, for listings.
pub(crate) fn state_name(session: &Session) -> &'static str {
    match session.protocol() {
        Protocol::Tcp => tcp::State::from_index(session.tcp_state).name(),
        Protocol::Udp | Protocol::Icmp => "active",
    }
}
