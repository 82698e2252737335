//! Rate limits of the ICMP messages that the gateway makes itself (RFC 1812 section 4.3.2.8), by kind, and within a kind by
//! host.
//!
//! Each kind has a budget of its own, so that none starves another: a flood of expired TTLs does not suppress
//! "fragmentation needed". Within a kind one host gets a part at most, so that a single host does not starve the others.
//! A keyed hash spreads the hosts over [`HOSTS`] places; two hosts of one place share its part.

use super::TokenBucket;

/// A kind of ICMP message that the gateway sends of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// Replies to pings.
    EchoReply,
    /// Time exceeded.
    TimeExceeded,
    /// Fragmentation needed: without it a connection hangs (RFC 1191).
    FragmentationNeeded,
    /// No route to a destination, or its next hop does not answer.
    Unreachable,
    /// A session from inside that rules or limits refuse.
    Refused,
    /// Port unreachable: for a port of the gateway itself, or one whose filtering does not admit the remote.
    PortUnreachable,
}

impl AnswerKind {
    /// Every kind, in the order of its number.
    pub const ALL: [AnswerKind; 6] = [
        AnswerKind::EchoReply,
        AnswerKind::TimeExceeded,
        AnswerKind::FragmentationNeeded,
        AnswerKind::Unreachable,
        AnswerKind::Refused,
        AnswerKind::PortUnreachable,
    ];

    /// The label used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            AnswerKind::EchoReply => "echo-reply",
            AnswerKind::TimeExceeded => "time-exceeded",
            AnswerKind::FragmentationNeeded => "fragmentation-needed",
            AnswerKind::Unreachable => "unreachable",
            AnswerKind::Refused => "refused",
            AnswerKind::PortUnreachable => "port-unreachable",
        }
    }

    /// Messages a second, and at once: of the kind, and to one host.
    pub const fn rates_per_s(self) -> (u32, u32) {
        match self {
            AnswerKind::FragmentationNeeded => (10_000, 1000),
            AnswerKind::EchoReply => (1000, 500),
            _ => (1000, 250),
        }
    }
}

/// The budgets of one worker towards one side.
#[derive(Clone, Debug)]
pub struct AnswerBudgets {
    kinds: [Budget; AnswerKind::ALL.len()],
    seed: u32,
}

#[derive(Clone, Debug)]
struct Budget {
    all: TokenBucket,
    hosts: Box<[TokenBucket]>,
}

impl AnswerBudgets {
    /// Full ones. `seed` keys the hash of hosts.
    pub fn new(seed: u32, now_ms: u32) -> AnswerBudgets {
        let kinds = AnswerKind::ALL.map(|kind| {
            let (all, host) = kind.rates_per_s();
            Budget {
                all: TokenBucket::new(all, all, now_ms),
                hosts: vec![TokenBucket::new(host, host, now_ms); HOSTS].into(),
            }
        });
        AnswerBudgets { kinds, seed }
    }

    /// Whether a message of this kind may go to `host` now; takes it out of the budget.
    #[must_use]
    pub fn take(&mut self, kind: AnswerKind, host: u32, now_ms: u32) -> bool {
        let place = ((host ^ self.seed).wrapping_mul(0x9e37_79b1) >> (u32::BITS - HOSTS.ilog2())) as usize;
        let budget = &mut self.kinds[kind as usize];
        budget.hosts[place].take(now_ms) && budget.all.take(now_ms)
    }
}

/// Places for the hosts of one kind.
const HOSTS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: u32 = 0x0a40_0002;

    fn sent(budgets: &mut AnswerBudgets, kind: AnswerKind, hosts: std::ops::Range<u32>, each: u32) -> u32 {
        hosts.map(|host| (0..each).map(|_| u32::from(budgets.take(kind, HOST + host, 0))).sum::<u32>()).sum()
    }

    #[test]
    fn rfc1812_no_kind_starves_another() {
        let mut budgets = AnswerBudgets::new(7, 0);
        for flood in AnswerKind::ALL {
            // 20,000 a second from many hosts, of every kind but one.
            let mut needed = 0;
            let mut budgets = AnswerBudgets::new(7, 0);
            for ms in 0..10_000_u32 {
                for nth in 0..20 {
                    let _ = budgets.take(flood, nth * 77, ms);
                }
                if flood != AnswerKind::FragmentationNeeded {
                    needed += u32::from(budgets.take(AnswerKind::FragmentationNeeded, HOST, ms));
                }
            }
            assert!(
                flood == AnswerKind::FragmentationNeeded || needed == 10_000,
                "{needed} beside {flood:?}"
            );
        }
        for (nth, kind) in AnswerKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, nth);
            assert!(budgets.take(kind, HOST, 0));
        }
    }

    #[test]
    fn one_host_does_not_starve_the_others() {
        for kind in AnswerKind::ALL {
            let (all, host) = kind.rates_per_s();
            let mut budgets = AnswerBudgets::new(7, 0);
            assert_eq!(sent(&mut budgets, kind, 0..1, 20_000), host);
            assert_eq!(sent(&mut budgets, kind, 1..2, 10), 10);
            assert_eq!(sent(&mut budgets, kind, 2..1000, 100), all - host - 10);
        }
    }
}
