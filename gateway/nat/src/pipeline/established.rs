//! Packets of a session that do not just pass: they change its TCP state, open it, or begin its connection anew.

use crate::ids::SessionId;
use crate::packet::arrival::Arrival;
use crate::packet::parse::Parsed;
use crate::packet::tcp_flags;
use crate::packet::verdict::{Direction, Protocol, Verdict};
use crate::session::{self, HALF_OPEN, Timeout, tcp_state};
use crate::shard::Shard;
use crate::table::time::{Time, is_past};

impl Shard {
    /// Forwards a packet of session `id`; `None` where the session is over and nobody has cleared it away yet.
    pub(crate) fn forward(
        &mut self,
        id: SessionId,
        packet: &mut [u8],
        parsed: &Parsed,
        at: Arrival,
        now: Time,
    ) -> Option<Verdict> {
        let session = &self.sessions[id];
        if is_past(session.expires, now) {
            return None;
        }
        if session.flags & session::HALF_OPEN != 0 && !self.opens(id, parsed, at.direction, now) {
            self.sessions[id].count(at.direction);
        } else {
            self.refresh(id, parsed, at.direction, now);
        }
        let session = &self.sessions[id];
        let hairpin = session.flags & session::HAIRPIN != 0 && at.direction == Direction::Outbound;
        let rewrite = session.rewrite(at.direction);
        Some(self.send_on(packet, parsed, &rewrite, at, hairpin, Some(id)))
    }

    #[inline(always)]
    fn refresh(&mut self, id: SessionId, parsed: &Parsed, direction: Direction, now: Time) {
        let session = &self.sessions[id];
        let state = tcp_state::step(session.tcp_state, parsed.flags, direction);
        if state as u8 != session.tcp_state {
            self.change_tcp_state(id, state, now);
        }
        self.sessions[id].touch_slowly(direction, &self.policy.timeouts, now);
    }

    /// A new state of a TCP session.
    #[cold]
    fn change_tcp_state(&mut self, id: SessionId, state: tcp_state::State, now: Time) {
        let was_over = self.is_over(id);
        if was_over && !state.is_over() {
            self.remove_closed(id);
        }
        self.sessions[id].tcp_state = state as u8;
        self.set_timeout(id, state.timeout(), now);
        if state == tcp_state::State::SynSent {
            self.begin_half_open(id);
        } else if state.was_open() {
            self.end_half_open(id);
        }
        if !was_over && self.is_over(id) {
            self.add_closed(id);
        }
    }

    /// What becomes of a SYN of the inside host's on the ports of a connection that is over, where it may not have another
    /// that is half open.
    #[cold]
    pub(crate) fn begin_anew(&mut self, id: SessionId, now: Time) -> Option<Verdict> {
        match self.room_to_begin_anew(id) {
            Ok(given_up) => {
                if let Some(id) = given_up {
                    self.give_up(id, now);
                }
                None
            }
            Err(failure) => {
                self.counters.session_failures[failure] += 1;
                Some(self.refuse(failure.into()))
            }
        }
    }

    /// Puts a session under a timeout. Where it is another, the timer is set anew: a closing session must not wait for the
    /// timer of an open one.
    pub(crate) fn set_timeout(&mut self, id: SessionId, timeout: Timeout, now: Time) {
        let session = &mut self.sessions[id];
        if session.timeout != timeout as u8 {
            session.timeout = timeout as u8;
            let ms = self.policy.timeouts.of(timeout as u8);
            self.sessions.expire_at(id, now.plus_ms(u64::from(ms)));
        }
    }

    /// Whether a packet of session `id` begins a connection on the ports of one that is over.
    pub(crate) fn begins_anew(
        &self,
        id: SessionId,
        parsed: &Parsed,
        direction: Direction,
        now: Time,
    ) -> bool {
        let session = &self.sessions[id];
        parsed.flags & tcp_flags::SYN != 0
            && direction == Direction::Outbound
            && tcp_state::begins_anew(session.tcp_state, parsed.flags)
            && !is_past(session.expires, now)
    }
}

impl Shard {
    /// A packet of a half-open session; whether it opens it.
    #[cold]
    pub(crate) fn opens(&mut self, id: SessionId, parsed: &Parsed, direction: Direction, now: Time) -> bool {
        let session = &mut self.sessions[id];
        let timeout = match (parsed.protocol, direction) {
            (Protocol::Tcp, _) => match tcp_state::handshake(session.tcp_state, parsed.flags, direction) {
                tcp_state::State::Established => {
                    session.tcp_state = tcp_state::State::Established as u8;
                    tcp_state::State::Established.timeout()
                }
                state => {
                    session.tcp_state = state as u8;
                    return false;
                }
            },
            (_, Direction::Inbound) => return false,
            (protocol, Direction::Outbound) => Timeout::initial(protocol, 0),
        };
        session.flags &= !HALF_OPEN;
        self.set_timeout(id, timeout, now);
        true
    }
}
