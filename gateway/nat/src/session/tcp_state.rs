//! The TCP state table (RFC 7857 section 2, after RFC 6146 section 3.5.2).
//!
//! The gateway follows a connection only as far as its timers need: opening, established, closing. Sequence
//! numbers are not looked at, so windows and reordering cannot break a connection.

use crate::packet::tcp_flags::{ACK, FIN, RST, SYN};
use crate::packet::verdict::Direction;
use crate::session::Timeout;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// The inside host sent a SYN.
    SynSent = 0,
    /// Both sides sent a SYN; the inside host has not acknowledged the remote's yet.
    SynBoth = 1,
    /// As [`State::SynBoth`], and the remote sent a FIN already (RFC 7413).
    SynFin = 2,
    /// The inside host sent in the middle of a connection; the remote has not been heard.
    Unanswered = 3,
    /// As [`State::Unanswered`], and the inside host sent a FIN.
    UnansweredFin = 4,
    /// Open.
    Established = 5,
    /// The inside host sent a FIN.
    FinInside = 6,
    /// The remote sent a FIN.
    FinRemote = 7,
    /// Both sides sent a FIN; the inside host has to acknowledge the second one.
    LastAckInside = 8,
    /// Both sides sent a FIN; the remote has to acknowledge the second one.
    LastAckRemote = 9,
    /// Both sides sent a FIN, and the second one is acknowledged.
    Closed = 10,
    /// Reset by either side.
    Reset = 11,
    /// Reset, and the remote has sent since.
    ResetRemote = 12,
    /// Over, and the inside host has sent since: data after a reset, or the answer to a new SYN.
    Reopening = 13,
    /// Not TCP: nothing changes it.
    None = 14,
}

/// A power of two, so that a masked index needs no check.
const STATES: usize = 16;
/// What a segment means for the state: its strongest flag.
const EVENTS: usize = 5;
const SEGMENT: usize = 0;
const SYN_SEEN: usize = 1;
const SYN_ACK_SEEN: usize = 2;
const FIN_SEEN: usize = 3;
const RST_SEEN: usize = 4;

impl State {
    const ALL: [State; STATES] = [
        State::SynSent,
        State::SynBoth,
        State::SynFin,
        State::Unanswered,
        State::UnansweredFin,
        State::Established,
        State::FinInside,
        State::FinRemote,
        State::LastAckInside,
        State::LastAckRemote,
        State::Closed,
        State::Reset,
        State::ResetRemote,
        State::Reopening,
        State::None,
        State::None,
    ];

    pub(crate) const fn from_index(index: u8) -> State {
        State::ALL[index as usize & (STATES - 1)]
    }

    /// The label in listings.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            State::SynSent => "syn-sent",
            State::SynBoth | State::SynFin => "syn-both",
            State::Unanswered | State::UnansweredFin => "unanswered",
            State::Established => "established",
            State::FinInside => "fin-inside",
            State::FinRemote => "fin-remote",
            State::LastAckInside | State::LastAckRemote => "fin-both",
            State::Closed => "closed",
            State::Reset | State::ResetRemote | State::Reopening => "reset",
            State::None => "none",
        }
    }

    /// Half-closed connections may rest as long as open ones; the others are in transition (RFC 5382 REQ-5), opening or
    /// closing (RFC 7857 section 2.1). After a RST as much time is left as for a close, for it may be lost on its way to
    /// the host, or forged (section 2.2).
    pub(crate) const fn timeout(self) -> Timeout {
        match self {
            State::Established | State::FinInside | State::FinRemote => Timeout::TcpEstablished,
            State::SynSent | State::SynBoth | State::SynFin | State::Unanswered | State::UnansweredFin => {
                Timeout::TcpOpening
            }
            State::LastAckInside
            | State::LastAckRemote
            | State::Closed
            | State::Reset
            | State::ResetRemote
            | State::Reopening
            | State::None => Timeout::TcpClosing,
        }
    }

    /// Whether the end was seen, so that the port needs no rest (RFC 6888 REQ-8).
    pub(crate) const fn is_closed(self) -> bool {
        matches!(self, State::LastAckInside | State::LastAckRemote) || self.is_over()
    }

    /// Whether nothing is left to be said: the session only waits for segments that are late, or for data that shows a RST
    /// to be forged. Its own subscriber may have its port for another connection before that.
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, State::Closed | State::Reset | State::ResetRemote)
    }

    /// Whether both sides have been heard: it is no half-open connection any more.
    pub(crate) const fn was_open(self) -> bool {
        matches!(
            self,
            State::Established
                | State::FinInside
                | State::FinRemote
                | State::LastAckInside
                | State::LastAckRemote
                | State::Closed
        )
    }
}

use State::{
    Closed, Established as Est, FinInside as FinIn, FinRemote as FinRem, LastAckInside as AckIn,
    LastAckRemote as AckRem, None as Not, Reopening as Reopen, Reset, ResetRemote as RstRem, SynBoth, SynFin,
    SynSent, Unanswered as Unans, UnansweredFin as UnFin,
};

/// `NEXT[direction][state][event]`.
const NEXT: [[[State; EVENTS]; STATES]; 2] = [
    [
        // from the inside host: a plain segment, SYN, SYN with ACK, FIN, RST
        [SynSent, SynSent, SynSent, SynSent, Reset], // SYN-sent: the handshake is not answered yet
        [Est, SynBoth, SynBoth, FinIn, Reset],       // both SYNs: the acknowledgement opens it
        [FinRem, SynFin, SynFin, AckRem, Reset],     // likewise, half closed by the remote at once
        [Unans, SynSent, Unans, UnFin, Reset],       // in mid-stream, while the remote says nothing
        [UnFin, SynSent, UnFin, UnFin, Reset],       // likewise, after a FIN
        [Est, Est, Est, FinIn, Reset],               // established
        [FinIn, FinIn, FinIn, FinIn, Reset],         // half closed by the inside host
        [FinRem, FinRem, FinRem, AckRem, Reset],     // half closed by the remote: now both
        [Closed, SynSent, Reopen, AckIn, Closed],    // the acknowledgement of the remote's FIN
        [AckRem, SynSent, Reopen, AckRem, Closed],   // its own FIN again
        [Closed, SynSent, Reopen, Closed, Closed],   // closed: a SYN begins anew on the same ports
        [Reopen, SynSent, Reopen, Reset, Reset],     // reset: data, as of one who takes it for forged
        [Est, SynSent, Reopen, RstRem, Reset],       // reset, and now both sides have sent data
        [Reopen, SynSent, Reopen, Reopen, Reset],    // the remote has not answered that yet
        [Not, Not, Not, Not, Not],                   // not TCP
        [Not, Not, Not, Not, Not],
    ],
    [
        // from the remote
        [SynSent, SynBoth, SynBoth, SynSent, Reset], // a SYN, with or without ACK: three-way or simultaneous open
        [SynBoth, SynBoth, SynBoth, SynFin, Reset],  // both SYNs: the remote alone opens nothing
        [SynFin, SynFin, SynFin, SynFin, Reset],     // likewise, half closed by the remote at once
        [Est, Unans, Unans, FinRem, Reset],          // in mid-stream: the remote is there
        [FinIn, UnFin, UnFin, AckIn, Reset],         // likewise, after a FIN of the inside host
        [Est, Est, Est, FinRem, Reset],              // established
        [FinIn, FinIn, FinIn, AckIn, Reset],         // half closed by the inside host: now both
        [FinRem, FinRem, FinRem, FinRem, Reset],     // half closed by the remote
        [AckIn, AckIn, AckIn, AckIn, Closed],        // its own FIN again
        [Closed, AckRem, AckRem, AckRem, Closed],    // the acknowledgement of the inside host's FIN
        [Closed, Closed, Closed, Closed, Closed],    // closed: its SYN has to be answered first
        [RstRem, Reset, Reset, Reset, Reset],        // reset: data
        [RstRem, RstRem, RstRem, RstRem, Reset],     // reset, and it has sent data before
        [Est, Reopen, Reopen, Reopen, Reset],        // both sides have sent data, or a handshake is over
        [Not, Not, Not, Not, Not],                   // not TCP
        [Not, Not, Not, Not, Not],
    ],
];

/// The event of a segment with these flags: RST outweighs FIN, FIN outweighs SYN.
const fn event(flags: u8) -> usize {
    match flags {
        _ if flags & RST != 0 => RST_SEEN,
        _ if flags & FIN != 0 => FIN_SEEN,
        _ if flags & SYN != 0 && flags & ACK != 0 => SYN_ACK_SEEN,
        _ if flags & SYN != 0 => SYN_SEEN,
        _ => SEGMENT,
    }
}

/// The state after a segment with these flags.
#[inline(always)]
pub(crate) fn step(state: u8, flags: u8, direction: Direction) -> State {
    NEXT[direction][usize::from(state) & (STATES - 1)][event(flags)]
}

/// Bit `flags & 7` of `STAYS[direction][state]` is set where a segment with these flags changes nothing, refreshes the
/// session as every packet does and is no SYN: never of a connection that is opening or closing.
const STAYS: [[u8; STATES]; 2] = {
    let mut stays = [[0; STATES]; 2];
    let mut state = 0;
    while state < STATES {
        let is_steady = matches!(State::ALL[state], Est | FinIn | FinRem | Not);
        let mut flags = 0;
        while flags < 8 {
            let mut direction = 0;
            while direction < 2 {
                let next = NEXT[direction][state][event(flags)] as usize;
                if is_steady && flags & SYN == 0 && next == State::ALL[state] as usize {
                    stays[direction][state] |= 1 << flags;
                }
                direction += 1;
            }
            flags += 1;
        }
        state += 1;
    }
    stays
};

/// Whether a segment may just pass: [`step`] leads back to `state`, as nearly always, the packet refreshes the session, and
/// there is nothing in its options that the gateway looks at, as in those of a SYN.
#[inline(always)]
pub(crate) fn stays(state: u8, flags: u8, direction: Direction) -> bool {
    STAYS[direction][usize::from(state) & (STATES - 1)] >> (flags & 7) & 1 != 0
}

/// The state of a session that this outbound segment begins: with a SYN of the inside host's own, or in the middle of a
/// connection whose handshake passed through a mapping without one. `None` where the segment begins nothing.
pub(crate) fn opening(flags: u8) -> Option<State> {
    match flags & (SYN | ACK | FIN | RST) {
        SYN => Some(State::SynSent),
        ACK => Some(State::Unanswered),
        _ => None,
    }
}

/// Whether this outbound segment begins a connection on the ports of another.
pub(crate) fn begins_anew(state: u8, flags: u8) -> bool {
    State::from_index(state) != State::SynSent && step(state, flags, Direction::Outbound) == State::SynSent
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
    fn the_remote_alone_opens_nothing() {
        let flags = [0, ACK, SYN, SYN | ACK, FIN, FIN | ACK];
        for (first, second, third) in flags
            .into_iter()
            .flat_map(|a| flags.into_iter().flat_map(move |b| flags.into_iter().map(move |c| (a, b, c))))
        {
            let state = run(State::SynSent, &[(Inbound, first), (Inbound, second), (Inbound, third)]);
            assert_eq!(state.timeout(), Timeout::TcpOpening, "{first:#x} {second:#x} {third:#x}");
        }
    }

    #[test]
    fn an_early_fin_of_the_remote_is_not_forgotten() {
        let early = run(State::SynSent, &[(Inbound, SYN | ACK), (Inbound, ACK), (Inbound, FIN | ACK)]);
        assert_eq!(run(early, &[(Outbound, ACK)]), State::FinRemote);
        assert_eq!(run(early, &[(Outbound, FIN | ACK), (Inbound, ACK)]), State::Closed);
    }

    #[test]
    fn an_answer_to_a_forwarded_syn_begins_nothing_and_what_follows_waits_for_the_remote() {
        assert_eq!((opening(SYN | ACK), opening(ACK)), (None, Some(State::Unanswered)));
        assert_eq!((opening(RST | ACK), opening(FIN | ACK)), (None, None));
        let start = opening(ACK).unwrap();
        assert_eq!(run(start, &[(Outbound, ACK), (Outbound, ACK)]).timeout(), Timeout::TcpOpening);
        assert_eq!(run(start, &[(Inbound, ACK)]), State::Established);
        assert_eq!(run(start, &[(Outbound, FIN | ACK), (Inbound, ACK)]), State::FinInside);
        assert_eq!(run(start, &[(Outbound, FIN | ACK), (Inbound, FIN | ACK)]), State::LastAckInside);
    }

    #[test]
    fn half_close_keeps_the_long_timeout_until_both_closed() {
        let half = run(State::Established, &[(Outbound, FIN | ACK), (Inbound, ACK)]);
        assert_eq!((half, half.timeout()), (State::FinInside, Timeout::TcpEstablished));
        let both = run(half, &[(Inbound, FIN | ACK)]);
        assert_eq!((both, both.timeout()), (State::LastAckInside, Timeout::TcpClosing));
    }

    #[test]
    fn a_connection_is_over_when_the_second_fin_is_acknowledged() {
        for first in Direction::ALL {
            let second = first.flip();
            let both = run(State::Established, &[(first, FIN | ACK), (second, ACK), (second, FIN | ACK)]);
            assert!(both.is_closed() && !both.is_over(), "{both:?}");
            assert_eq!(run(both, &[(second, FIN | ACK), (second, ACK)]), both, "again");
            assert_eq!(run(both, &[(first, ACK)]), State::Closed);
            assert_eq!(run(both, &[(first, ACK), (Inbound, RST), (Outbound, ACK), (Inbound, ACK)]), Closed);
        }
    }

    #[test]
    fn reset_is_transitory_and_data_of_both_sides_after_it_revives() {
        for from in Direction::ALL {
            let reset = run(State::Established, &[(from, RST)]);
            assert_eq!((reset, reset.timeout()), (State::Reset, Timeout::TcpClosing));
            for first in Direction::ALL {
                let one = run(reset, &[(first, ACK), (first, ACK)]);
                assert_eq!(one.timeout(), Timeout::TcpClosing);
                assert_eq!(run(one, &[(first, RST)]), State::Reset);
                assert_eq!(run(one, &[(first.flip(), ACK)]), State::Established);
            }
        }
    }

    #[test]
    fn a_syn_on_a_closed_connection_begins_anew() {
        for closed in [State::LastAckInside, State::LastAckRemote, State::Closed, State::Reset] {
            assert_eq!(run(closed, &[(Outbound, SYN)]), State::SynSent);
            assert!(begins_anew(closed as u8, SYN) && !begins_anew(closed as u8, SYN | ACK));
            // The remote's has to be answered, and the answer acknowledged.
            assert_eq!(run(closed, &[(Inbound, SYN)]), closed);
            let answered = run(closed, &[(Inbound, SYN), (Outbound, SYN | ACK), (Inbound, SYN)]);
            assert_eq!((answered, answered.timeout()), (State::Reopening, Timeout::TcpClosing));
            assert_eq!(run(answered, &[(Inbound, ACK)]), State::Established);
        }
        assert!(!begins_anew(State::SynSent as u8, SYN) && !begins_anew(State::Established as u8, SYN));
    }

    #[test]
    fn what_stays_is_what_steps_to_itself_in_a_steady_state_without_syn() {
        for (state, flags, direction) in (0..15)
            .flat_map(|state| (0..=255).flat_map(move |flags| Direction::ALL.map(|d| (state, flags, d))))
        {
            let next = step(state, flags, direction) as u8;
            let steady = matches!(State::from_index(state), Est | FinIn | FinRem | Not);
            let expected = steady && next == state && flags & SYN == 0;
            assert_eq!(stays(state, flags, direction), expected, "{state} {flags:#x} {direction:?}");
        }
    }
}
