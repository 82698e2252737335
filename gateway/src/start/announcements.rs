//! When interfaces say who has which address: as their link comes up, at start and later, and once more two seconds after
//! (RFC 5227 section 2.3). Neighbours that remember another station under these addresses learn better.

/// The announcements of every interface.
pub(super) struct Announcements(Vec<Link>);

#[derive(Clone, Copy, Default)]
struct Link {
    up: bool,
    left: u32,
    due_ms: u64,
}

impl Announcements {
    /// Of so many interfaces, whose links have not been looked at yet.
    pub(super) fn new(interfaces: usize) -> Announcements {
        Announcements(vec![Link::default(); interfaces])
    }

    /// An interface has other addresses.
    pub(super) fn begin_anew(&mut self, interface: usize, now_ms: u64) {
        if let Some(link) = self.0.get_mut(interface) {
            (link.left, link.due_ms) = (ANNOUNCE_NUM, now_ms);
        }
    }

    /// Takes note of an interface's link. Whether the interface is to announce its addresses now.
    pub(super) fn look(&mut self, interface: usize, up: bool, now_ms: u64) -> bool {
        let Some(link) = self.0.get_mut(interface) else { return false };
        if up && !link.up {
            (link.left, link.due_ms) = (ANNOUNCE_NUM, now_ms);
        }
        link.up = up;
        let is_due = up && link.left > 0 && now_ms >= link.due_ms;
        if is_due {
            link.left -= 1;
            link.due_ms = now_ms + ANNOUNCE_INTERVAL_MS;
        }
        is_due
    }
}

/// RFC 5227 section 1.1.
const ANNOUNCE_NUM: u32 = 2;
const ANNOUNCE_INTERVAL_MS: u64 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    fn told(announcements: &mut Announcements, up: bool, seconds: std::ops::Range<u64>) -> Vec<u64> {
        seconds.filter(|second| announcements.look(0, up, second * 1000)).collect()
    }

    #[test]
    fn twice_two_seconds_apart_whenever_the_link_comes_up() {
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
        assert!(!announcements.look(1, true, 0), "there is one interface");
    }
}
