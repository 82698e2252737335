//! The TCP state table (RFC 7857 section 2, after RFC 6146 section 3.5.2).
//!
//! The gateway follows a connection only as far as its timers need: opening, established, closing. Sequence
//! numbers are not looked at, so windows and reordering cannot break a connection.

use super::session::Timeout;
use super::verdict::Direction;

/// Flag bits of the TCP header's byte 13.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// The inside host sent a SYN.
    SynSent = 0,
    /// Both sides sent a SYN; the handshake is not acknowledged yet.
    SynBoth = 1,
    /// Open.
    Established = 2,
    /// The inside host sent a FIN.
    FinInside = 3,
    /// The remote sent a FIN.
    FinRemote = 4,
    /// Both sides sent a FIN.
    FinBoth = 5,
    /// Reset by either side.
    Reset = 6,
    /// Not TCP: nothing changes it.
    None = 7,
}

const STATES: usize = 8;
/// What a segment means for the state: its strongest flag.
const EVENTS: usize = 4;
const SEGMENT: usize = 0;
const SYN_SEEN: usize = 1;
const FIN_SEEN: usize = 2;
const RST_SEEN: usize = 3;

impl State {
    const ALL: [State; STATES] = [
        State::SynSent,
        State::SynBoth,
        State::Established,
        State::FinInside,
        State::FinRemote,
        State::FinBoth,
        State::Reset,
        State::None,
    ];

    pub(crate) const fn from_index(index: u8) -> State {
        State::ALL[index as usize]
    }

    /// The label in listings.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            State::SynSent => "syn-sent",
            State::SynBoth => "syn-both",
            State::Established => "established",
            State::FinInside => "fin-inside",
            State::FinRemote => "fin-remote",
            State::FinBoth => "fin-both",
            State::Reset => "reset",
            State::None => "none",
        }
    }

    /// Half-closed connections may rest as long as open ones; the others are in transition (RFC 5382 REQ-5), opening or
    /// closing (RFC 7857 section 2.1). After a RST as much time is left as for a close, for it may be lost on its way to
    /// the host, or forged (section 2.2).
    pub(crate) const fn timeout(self) -> Timeout {
        match self {
            State::Established | State::FinInside | State::FinRemote => Timeout::TcpEstablished,
            State::SynSent | State::SynBoth => Timeout::TcpOpening,
            State::FinBoth | State::Reset | State::None => Timeout::TcpClosing,
        }
    }

    /// Whether the end was seen, so that the port needs no rest (RFC 6888 REQ-8).
    pub(crate) const fn is_closed(self) -> bool {
        matches!(self, State::FinBoth | State::Reset)
    }
}

use State::{
    Established as Est, FinBoth, FinInside as FinIn, FinRemote as FinRem, None as Not, Reset, SynBoth,
    SynSent,
};

/// `NEXT[direction][state][event]`.
const NEXT: [[[State; EVENTS]; STATES]; 2] = [
    [
        // from the inside host: a plain segment, SYN, FIN, RST
        [SynSent, SynSent, SynSent, Reset], // SYN-sent: the handshake is not answered yet
        [Est, SynBoth, FinIn, Reset],       // both SYNs: the acknowledgement opens it
        [Est, Est, FinIn, Reset],           // established
        [FinIn, FinIn, FinIn, Reset],       // half closed by the inside host
        [FinRem, FinRem, FinBoth, Reset],   // half closed by the remote: now both
        [FinBoth, SynSent, FinBoth, Reset], // closed: a SYN begins anew on the same ports
        [Est, SynSent, Reset, Reset],       // reset: data shows that the peer took it for forged
        [Not, Not, Not, Not],               // not TCP
    ],
    [
        // from the remote
        [SynSent, SynBoth, SynSent, Reset], // a SYN, with or without ACK: three-way or simultaneous open
        [Est, SynBoth, FinRem, Reset],      // both SYNs
        [Est, Est, FinRem, Reset],          // established
        [FinIn, FinIn, FinBoth, Reset],     // half closed by the inside host: now both
        [FinRem, FinRem, FinRem, Reset],    // half closed by the remote
        [FinBoth, FinBoth, FinBoth, Reset], // closed
        [Est, Reset, Reset, Reset],         // reset
        [Not, Not, Not, Not],               // not TCP
    ],
];

/// `EVENT[flags & 7]`: RST outweighs FIN, FIN outweighs SYN.
const EVENT: [u8; 8] = {
    let mut event = [SEGMENT as u8; 8];
    let mut flags = 0;
    while flags < 8 {
        event[flags] = if flags as u8 & RST != 0 {
            RST_SEEN as u8
        } else if flags as u8 & FIN != 0 {
            FIN_SEEN as u8
        } else if flags as u8 & SYN != 0 {
            SYN_SEEN as u8
        } else {
            SEGMENT as u8
        };
        flags += 1;
    }
    event
};

/// The state after a segment with these flags.
#[inline(always)]
pub(crate) fn step(state: u8, flags: u8, direction: Direction) -> State {
    let event = EVENT[usize::from(flags & 7)];
    NEXT[direction as usize][usize::from(state) & (STATES - 1)][usize::from(event) & (EVENTS - 1)]
}

/// Bit `8 * state + (flags & 7)` of `STAYS[direction]` is set where a segment with these flags changes nothing and is no
/// SYN.
const STAYS: [u64; 2] = {
    let mut stays = [0; 2];
    let mut bit = 0;
    while bit < 64 {
        let (state, event) = (bit / 8, EVENT[bit % 8] as usize);
        let mut direction = 0;
        while direction < 2 {
            if event != SYN_SEEN && NEXT[direction][state][event] as usize == state {
                stays[direction] |= 1 << bit;
            }
            direction += 1;
        }
        bit += 1;
    }
    stays
};

/// Whether a segment may just pass: [`step`] leads back to `state`, as nearly always, and there is nothing in its options
/// that the gateway looks at, as in those of a SYN.
#[inline(always)]
pub(crate) fn stays(state: u8, flags: u8, direction: Direction) -> bool {
    STAYS[direction as usize] >> (state << 3 | flags & 7) & 1 != 0
}

/// The state of a session that this outbound segment begins: with a SYN of the inside host's own, or in the middle of a
/// connection whose handshake passed through a mapping without one. `None` where the segment begins nothing.
pub(crate) fn opening(flags: u8) -> Option<State> {
    match flags & (SYN | ACK | FIN | RST) {
        SYN => Some(State::SynSent),
        ACK => Some(State::Established),
        _ => None,
    }
}

/// The state of a connection that the remote began, before it is followed ([`State::None`]): open once the remote has
/// acknowledged what the inside host answered to its SYN.
pub(crate) fn handshake(state: u8, flags: u8, direction: Direction) -> State {
    match (State::from_index(state), direction, flags & (SYN | ACK | FIN | RST)) {
        (State::None, Direction::Outbound, ANSWER) => State::SynBoth,
        (State::SynBoth, Direction::Inbound, ACK) => State::Established,
        (state, ..) => state,
    }
}
const ANSWER: u8 = SYN | ACK;

/// Whether no sequence of RFC 9293 contains these flags.
#[inline(always)]
pub(crate) fn is_nonsense(flags: u8) -> bool {
    NONSENSE >> (flags & 0x1f) & 1 != 0
}

/// Bit `flags & 0x1f` is set where none of SYN, FIN, RST and ACK is, or SYN with FIN or RST.
const NONSENSE: u32 = {
    let mut nonsense = 0;
    let mut flags = 0;
    while flags < 0x20 {
        let none = flags & (SYN | FIN | RST | ACK) == 0;
        if none || flags & SYN != 0 && flags & (FIN | RST) != 0 {
            nonsense |= 1 << flags;
        }
        flags += 1;
    }
    nonsense
};

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{Inbound, Outbound};

    fn run(start: State, segments: &[(Direction, u8)]) -> State {
        segments.iter().fold(start, |state, &(direction, flags)| step(state as u8, flags, direction))
    }

    #[test]
    fn three_way_handshake_establishes() {
        let start = opening(SYN).unwrap();
        assert_eq!(run(start, &[(Inbound, SYN | ACK)]), State::SynBoth);
        assert_eq!(run(start, &[(Inbound, SYN | ACK), (Outbound, ACK)]), State::Established);
    }

    #[test]
    fn simultaneous_open_establishes() {
        let segments = [(Inbound, SYN), (Outbound, SYN | ACK), (Inbound, SYN | ACK), (Outbound, ACK)];
        assert_eq!(run(opening(SYN).unwrap(), &segments), State::Established);
    }

    #[test]
    fn an_answer_to_a_forwarded_syn_begins_nothing_and_what_follows_is_established() {
        assert_eq!((opening(SYN | ACK), opening(ACK)), (None, Some(State::Established)));
        assert_eq!((opening(RST | ACK), opening(FIN | ACK)), (None, None));
    }

    #[test]
    fn half_close_keeps_the_long_timeout_until_both_closed() {
        let half = run(State::Established, &[(Outbound, FIN | ACK), (Inbound, ACK)]);
        assert_eq!((half, half.timeout()), (State::FinInside, Timeout::TcpEstablished));
        let both = run(half, &[(Inbound, FIN | ACK)]);
        assert_eq!((both, both.timeout()), (State::FinBoth, Timeout::TcpClosing));
    }

    #[test]
    fn reset_is_transitory_and_data_after_it_revives() {
        let reset = run(State::Established, &[(Inbound, RST)]);
        assert_eq!((reset, reset.timeout()), (State::Reset, Timeout::TcpClosing));
        assert_eq!(run(reset, &[(Outbound, ACK)]), State::Established);
    }

    #[test]
    fn a_syn_on_a_closed_connection_begins_anew() {
        assert_eq!(run(State::FinBoth, &[(Outbound, SYN)]), State::SynSent);
        assert_eq!(run(State::FinBoth, &[(Inbound, SYN)]), State::FinBoth);
    }

    #[test]
    fn what_stays_is_what_steps_to_itself_without_syn() {
        for (state, flags, direction) in (0..8)
            .flat_map(|state| (0..=255).flat_map(move |flags| Direction::ALL.map(|d| (state, flags, d))))
        {
            let next = step(state, flags, direction) as u8;
            let expected = next == state && EVENT[usize::from(flags & 7)] != SYN_SEEN as u8;
            assert_eq!(stays(state, flags, direction), expected, "{state} {flags:#x} {direction:?}");
        }
    }

    #[test]
    fn nonsense_flags() {
        assert!(is_nonsense(0) && is_nonsense(SYN | FIN) && is_nonsense(SYN | RST) && is_nonsense(0x08));
        assert!(!is_nonsense(SYN) && !is_nonsense(RST) && !is_nonsense(ACK) && !is_nonsense(FIN | ACK));
    }
}
