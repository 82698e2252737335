//! A TCP connection as the model follows it.

use natgw_wire::tcp::Flags;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tcp {
    SynSent,
    /// Both sides sent a SYN; did the remote send a FIN, too?
    SynBoth(bool),
    /// Begun in the middle by the inside host, and the remote not heard; did the inside host send a FIN?
    Unanswered(bool),
    Established,
    /// Half closed; by the inside host?
    Fin(bool),
    /// Closed by both; has the inside host to acknowledge that?
    LastAck(bool),
    Closed,
    /// Reset; has the remote sent since?
    Reset(bool),
    /// Reset or closed, and the inside host has sent since, not the remote.
    Reopening,
}

impl Tcp {
    /// What a segment makes of it.
    pub(crate) fn after(self, flags: Flags, outbound: bool) -> Tcp {
        let has = |flag| flags.contains(flag);
        let (syn, fin) = (has(Flags::SYN), has(Flags::FIN));
        let plain = !syn && !fin;
        let closed = matches!(self, Tcp::LastAck(_) | Tcp::Closed);
        match self {
            _ if has(Flags::RST) => {
                if closed {
                    Tcp::Closed
                } else {
                    Tcp::Reset(false)
                }
            }
            _ if self.begins_anew(flags, outbound) => Tcp::SynSent,
            Tcp::SynSent if syn && !outbound => Tcp::SynBoth(false),
            Tcp::SynBoth(_) if fin && !outbound => Tcp::SynBoth(true),
            Tcp::SynBoth(true) if plain && outbound => Tcp::Fin(false),
            Tcp::SynBoth(true) if fin => Tcp::LastAck(false),
            Tcp::SynBoth(false) if plain && outbound => Tcp::Established,
            Tcp::SynBoth(false) if fin => Tcp::Fin(true),
            Tcp::Unanswered(_) if fin && outbound => Tcp::Unanswered(true),
            Tcp::Unanswered(false) if plain && !outbound => Tcp::Established,
            Tcp::Unanswered(false) if fin && !outbound => Tcp::Fin(false),
            Tcp::Unanswered(true) if plain && !outbound => Tcp::Fin(true),
            Tcp::Unanswered(true) if fin && !outbound => Tcp::LastAck(true),
            Tcp::Established if fin => Tcp::Fin(outbound),
            Tcp::Fin(by_inside) if fin && by_inside != outbound => Tcp::LastAck(by_inside),
            Tcp::LastAck(inside) if plain && inside == outbound => Tcp::Closed,
            Tcp::LastAck(_) | Tcp::Closed | Tcp::Reset(_) if syn && outbound => Tcp::Reopening,
            Tcp::Reset(true) | Tcp::Reopening if plain && outbound == (self != Tcp::Reopening) => {
                Tcp::Established
            }
            Tcp::Reset(_) if plain => {
                if outbound {
                    Tcp::Reopening
                } else {
                    Tcp::Reset(true)
                }
            }
            same => same,
        }
    }

    /// Whether a segment begins a connection in the place of one that is over, or of one that the remote never answered.
    pub(crate) fn begins_anew(self, flags: Flags, outbound: bool) -> bool {
        let open = matches!(self, Tcp::SynSent | Tcp::SynBoth(_) | Tcp::Established | Tcp::Fin(_));
        outbound && flags == Flags::SYN && !open
    }

    /// Whether the step to `next` begins or ends a handshake.
    pub(crate) fn is_half_open_as(self, next: Tcp) -> Option<bool> {
        match next {
            Tcp::Established | Tcp::Fin(_) | Tcp::LastAck(_) | Tcp::Closed => Some(false),
            Tcp::SynSent if self != next => Some(true),
            _ => None,
        }
    }

    /// Whether its end was seen.
    pub(crate) fn is_closed(self) -> bool {
        matches!(self, Tcp::LastAck(_)) || self.is_over()
    }

    /// Whether its subscriber may have the port for another.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Tcp::Closed | Tcp::Reset(_))
    }
}
