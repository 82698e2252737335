//! When interfaces say who has which address: as their link comes up, at start and later, and once more two seconds after
//! (RFC 5227 section 2.3); and when another station claims one (section 2.4). Neighbours that remember another station
//! under these addresses learn better.
//!
//! All addresses are announced, however many: a paced piece at a time.

use std::collections::HashMap;

use natgw_neighbor::{InterfaceId, TokenBucket};

/// The announcements of every interface.
pub(super) struct Announcements {
    links: Vec<Link>,
    /// When an address was defended last.
    defended_ms: HashMap<(InterfaceId, u32), u64>,
}

struct Link {
    /// Not known before the first look.
    up: Option<bool>,
    rounds_left: u32,
    /// When the next round begins.
    due_ms: u64,
    /// The place of the next address of the round that is under way.
    at: Option<usize>,
    pace: TokenBucket,
}

impl Announcements {
    /// Of so many interfaces, whose links have not been looked at yet.
    pub(super) fn new(interfaces: usize) -> Announcements {
        let link = || Link {
            up: None,
            rounds_left: 0,
            due_ms: 0,
            at: None,
            pace: TokenBucket::new(ANNOUNCED_PER_S, ANNOUNCED_AT_ONCE, 0),
        };
        Announcements { links: (0..interfaces).map(|_| link()).collect(), defended_ms: HashMap::new() }
    }

    /// An interface has other addresses.
    pub(super) fn begin_anew(&mut self, interface: usize, now_ms: u64) {
        if let Some(link) = self.links.get_mut(interface) {
            (link.rounds_left, link.due_ms, link.at) = (ANNOUNCE_NUM, now_ms, None);
        }
    }

    /// Takes note of an interface's link; whether it changed.
    pub(super) fn look(&mut self, interface: usize, up: bool, now_ms: u64) -> bool {
        let Some(link) = self.links.get_mut(interface) else { return false };
        let changed = link.up.replace(up) != Some(up);
        if changed && up {
            self.begin_anew(interface, now_ms);
        }
        changed
    }

    /// Which of the interface's addresses are to be announced now, by their places.
    pub(super) fn due(&mut self, interface: usize, addresses: usize, now_ms: u64) -> std::ops::Range<usize> {
        let Some(link) = self.links.get_mut(interface).filter(|link| link.up == Some(true)) else {
            return 0..0;
        };
        if link.at.is_none() && link.rounds_left > 0 && now_ms >= link.due_ms {
            link.rounds_left -= 1;
            link.due_ms = now_ms + ANNOUNCE_INTERVAL_MS;
            link.at = Some(0);
        }
        let Some(first) = link.at else { return 0..0 };
        let mut at = first;
        while at < addresses && link.pace.take(now_ms as u32) {
            at += 1;
        }
        link.at = (at < addresses).then_some(at);
        first..at
    }

    /// Whether an address that another station claims is to be announced now.
    pub(super) fn defends(&mut self, interface: InterfaceId, ip: u32, now_ms: u64) -> bool {
        let is_recent = |at_ms: u64| now_ms < at_ms + DEFEND_INTERVAL_MS;
        if self.defended_ms.get(&(interface, ip)).is_some_and(|&at_ms| is_recent(at_ms)) {
            return false;
        }
        if self.defended_ms.len() >= DEFENDED_MAX {
            self.defended_ms.retain(|_, at_ms| is_recent(*at_ms));
        }
        self.defended_ms.insert((interface, ip), now_ms);
        true
    }
}

/// RFC 5227 section 1.1.
const ANNOUNCE_NUM: u32 = 2;
const ANNOUNCE_INTERVAL_MS: u64 = 2000;
const DEFEND_INTERVAL_MS: u64 = 10_000;

/// Announcements of one interface a second, and at once: 511 addresses take a second.
const ANNOUNCED_PER_S: u32 = 500;
const ANNOUNCED_AT_ONCE: u32 = 64;
/// Defences that are remembered before old ones are forgotten. Workers tell of ten claims a second on a link, so that few
/// are recent.
const DEFENDED_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(announcements: &mut Announcements, up: bool, seconds: std::ops::Range<u64>) -> Vec<u64> {
        let is_told = |second: &u64| {
            announcements.look(0, up, second * 1000);
            announcements.due(0, 3, second * 1000) == (0..3)
        };
        seconds.filter(is_told).collect()
    }

    #[test]
    fn rfc5227_twice_two_seconds_apart_whenever_the_link_comes_up() {
        let mut announcements = Announcements::new(1);
        assert_eq!(told(&mut announcements, false, 0..5), [0; 0]);
        assert_eq!(told(&mut announcements, true, 5..20), [5, 7]);
        assert_eq!(told(&mut announcements, false, 20..30), [0; 0]);
        assert_eq!(told(&mut announcements, true, 30..31), [30]);
        // A link that flaps begins anew.
        assert_eq!(told(&mut announcements, false, 31..32), [0; 0]);
        assert_eq!(told(&mut announcements, true, 32..40), [32, 34]);
        // So does one that has other addresses.
        announcements.begin_anew(0, 40_000);
        assert_eq!(told(&mut announcements, true, 40..50), [40, 42]);
        assert!(announcements.due(1, 3, 0).is_empty(), "there is one interface");
    }

    #[test]
    fn a_look_says_whether_the_link_changed() {
        let mut announcements = Announcements::new(1);
        let changed = [true, true, false, false, true].map(|up| announcements.look(0, up, 0));
        assert_eq!(changed, [true, false, true, false, true]);
        let mut down = Announcements::new(1);
        assert_eq!([down.look(0, false, 0), down.look(0, false, 0)], [true, false]);
    }

    #[test]
    fn every_address_is_announced_twice_and_paced() {
        for addresses in [1, 255, 511, 4096] {
            let mut announcements = Announcements::new(1);
            let mut times = vec![Vec::new(); addresses];
            for now_ms in (0..60_000).step_by(50) {
                announcements.look(0, true, now_ms);
                let due = announcements.due(0, addresses, now_ms);
                assert!(due.len() <= ANNOUNCED_AT_ONCE as usize);
                due.for_each(|at| times[at].push(now_ms));
            }
            for (at, times) in times.iter().enumerate() {
                let &[first, second] = &times[..] else { panic!("{at} of {addresses}: {times:?}") };
                assert!(second - first >= ANNOUNCE_INTERVAL_MS - 100, "{at} of {addresses}: {times:?}");
            }
        }
    }

    #[test]
    fn rfc5227_an_address_is_defended_once_in_ten_seconds() {
        let mut announcements = Announcements::new(1);
        let mut defends = |ip, now_ms| announcements.defends(InterfaceId(0), ip, now_ms);
        assert_eq!(
            [defends(1, 0), defends(1, 9_999), defends(2, 9_999), defends(1, 10_000)],
            [true, false, true, true]
        );
        (10..5000).for_each(|ip| assert!(defends(ip, 10_000)));
        assert!(!defends(1, 10_001));
        assert!(defends(7000, 30_000) && announcements.defended_ms.len() < 100, "old ones are forgotten");
    }
}
