//! How the places of a table are shared: each interface has some to itself, and so have the routers of routes. The rest
//! is shared, first come, first served. So no link can take the places of another, or of a router.

use super::InterfaceId;

/// Whose places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The hosts of a link.
    Link(InterfaceId),
    /// The next hops of routes.
    Routers,
}

/// The places of one table.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    taken: [u32; SUBJECTS],
    /// Of each subject.
    own: u32,
    /// Those that all share.
    common: u32,
    common_taken: u32,
}

impl Shares {
    /// So many places, all free.
    pub(super) const fn new(places: u32) -> Shares {
        let own = places / OWN_PART;
        Shares { taken: [0; SUBJECTS], own, common: places - own * SUBJECTS as u32, common_taken: 0 }
    }

    /// Takes a place, if there is one for this subject.
    #[must_use]
    pub(super) fn take(&mut self, subject: Subject) -> bool {
        let taken = &mut self.taken[subject.index()];
        if *taken >= self.own {
            if self.common_taken >= self.common {
                return false;
            }
            self.common_taken += 1;
        }
        *taken += 1;
        true
    }

    /// Gives places back.
    pub(super) fn give(&mut self, subject: Subject, places: u32) {
        let taken = &mut self.taken[subject.index()];
        debug_assert!(*taken >= places, "what was taken is given back");
        let left = taken.saturating_sub(places);
        self.common_taken -= taken.saturating_sub(self.own) - left.saturating_sub(self.own);
        *taken = left;
    }
}

impl Subject {
    fn index(self) -> usize {
        match self {
            Subject::Link(interface) => usize::from(interface.0) % ROUTERS,
            Subject::Routers => ROUTERS,
        }
    }
}

/// Behind the interfaces, of which a configuration has eight at most.
const ROUTERS: usize = 8;
const SUBJECTS: usize = ROUTERS + 1;
/// One place in so many belongs to each subject alone.
const OWN_PART: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: Subject = Subject::Link(InterfaceId(0));
    const OUTSIDE: Subject = Subject::Link(InterfaceId(1));

    #[test]
    fn no_link_takes_anothers_places_or_the_routers() {
        let mut shares = Shares::new(320);
        let taken = (0..1000).filter(|_| shares.take(INSIDE)).count();
        assert_eq!(taken, 320 - 8 * 10);
        for subject in [OUTSIDE, Subject::Routers] {
            assert_eq!((0..1000).filter(|_| shares.take(subject)).count(), 10, "{subject:?}");
        }
        shares.give(INSIDE, 231);
        assert_eq!((0..1000).filter(|_| shares.take(OUTSIDE)).count(), 230);
        assert!(shares.take(INSIDE) && !shares.take(INSIDE), "its own tenth place");
        shares.give(OUTSIDE, 240);
        shares.give(INSIDE, 10);
        assert_eq!((0..1000).filter(|_| shares.take(Subject::Routers)).count(), 230);
    }
}
