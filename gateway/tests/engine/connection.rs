//! A TCP connection as the model follows it.

use gateway::wire::tcp::Flags;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tcp {
    SynSent,
    SynBoth,
    Established,
    /// Half closed; by the inside host?
    Fin(bool),
    Closed,
    Reset,
}

impl Tcp {
    /// What a segment makes of it.
    pub(crate) fn after(self, flags: Flags, outbound: bool) -> Tcp {
        let has = |flag| flags.contains(flag);
        let plain = !has(Flags::SYN) && !has(Flags::FIN);
        match self {
            _ if has(Flags::RST) => Tcp::Reset,
            Tcp::SynSent if has(Flags::SYN) && !outbound => Tcp::SynBoth,
            Tcp::SynBoth | Tcp::Established if has(Flags::FIN) => Tcp::Fin(outbound),
            Tcp::SynBoth | Tcp::Reset if plain => Tcp::Established,
            Tcp::Fin(by_inside) if has(Flags::FIN) && by_inside != outbound => Tcp::Closed,
            Tcp::Closed | Tcp::Reset if has(Flags::SYN) && outbound => Tcp::SynSent,
            same => same,
        }
    }

    /// Whether the step to `next` begins or ends a handshake.
    pub(crate) fn is_half_open_as(self, next: Tcp) -> Option<bool> {
        match (self, next) {
            (Tcp::SynBoth, Tcp::Established | Tcp::Fin(_)) => Some(false),
            (_, Tcp::SynSent) => Some(true),
            _ => None,
        }
    }
}
