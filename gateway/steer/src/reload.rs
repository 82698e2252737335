//! Owners in a running gateway whose settings change.
//!
//! Invariant: what stays keeps its owner, and the NICs' keys and tables stay as they are. What cannot be so is refused.

use std::net::Ipv4Addr;

use hashbrown::HashMap;

use super::owner::{inside_prefixes, whole, without_ports};
use super::pool_partition::{Division, External, Split};
use super::{Rss, Steering, SteeringError, WorkerId};
use natgw_nat::OtherProtocols;
use natgw_nat::settings::{Pool, Settings, Share, Static};

/// Addresses that a worker tells apart in a pool, gone ones too: a mapping names its address by 16 bits.
const PLACES_MAX: usize = 1 << 16;

impl Steering {
    /// Who owns what under other settings. Pools stand in them where they stood `before`.
    ///
    /// # Errors
    /// When an owner would have to change.
    pub fn under(&self, before: &Settings, settings: &Settings) -> Result<Steering, SteeringError> {
        let mut outside = self.outside.clone();
        let mut division = Division::settled(&mut outside, self.workers);
        for (index, pool) in settings.pools.iter().enumerate() {
            // One that was gone is divided as a new one.
            let stays = |old: &&Pool| old.name == pool.name && (!old.is_removed() || pool.is_removed());
            match before.pools.get(index).filter(stays) {
                Some(old) => {
                    let places: Vec<&[Share]> = self
                        .shares
                        .iter()
                        .map(|shares| shares.get(index).map_or(&[][..], Vec::as_slice))
                        .collect();
                    division.keep_pool(old, pool, &places, &self.externals)?;
                }
                None => division.add_pool(pool, &self.inside)?,
            }
        }
        for (external, internal) in settings.statics.iter().flat_map(Static::pairs) {
            division.add_whole(external, self.inside.owner(internal.into()))?;
        }
        let Division { externals, shares, unsteered, .. } = division;
        let without_ports = without_ports(settings, self.workers);
        if without_ports.is_some() != self.without_ports.is_some() {
            let translates = |settings: &Settings| {
                settings.pools.iter().find(|pool| pool.other_protocols != OtherProtocols::NONE).cloned()
            };
            if let Some(pool) = translates(before).and(translates(settings)) {
                return Err(SteeringError::ProtocolsChangeHands(pool.name));
            }
        }
        let mut steering = Steering {
            whole: whole(&externals),
            externals,
            shares,
            unsteered,
            without_ports,
            inside_prefixes: inside_prefixes(settings),
            ..self.clone()
        };
        steering.set_forwards(&settings.port_forwards)?;
        Ok(steering)
    }
}

impl Steering {
    /// The owners while a reload that ends with `next` is under way: every outside address that had owners keeps them until
    /// all workers are through with their sweeps, so that no worker begins a session on an endpoint that another still has.
    pub fn until(&self, next: &Steering) -> Steering {
        let mut externals = next.externals.clone();
        externals.extend(self.externals.iter().map(|(&address, external)| (address, external.clone())));
        Steering { whole: whole(&externals), externals, ..next.clone() }
    }
}

impl<'a> Division<'a> {
    /// As [`Division::new`], of addresses that come while the NICs steer by the table: it stays as it is.
    fn settled(rss: &'a mut Rss, workers: u16) -> Division<'a> {
        let entries = rss.entries();
        Division { claimed: vec![true; entries], ..Division::new(rss, entries, workers) }
    }

    /// Gives every worker its part of a pool that was divided before into these `places`, by worker. Addresses that stay keep
    /// their owners; new ones belong to whom the table names, or are divided by ports where the others are.
    ///
    /// # Errors
    /// When a worker would be left without an address, or ports would change hands.
    fn keep_pool(
        &mut self,
        old: &Pool,
        pool: &Pool,
        places: &[&[Share]],
        externals: &HashMap<u32, External>,
    ) -> Result<(), SteeringError> {
        self.shares.iter_mut().for_each(|shares| shares.push(Vec::new()));
        let (staying, added): (Vec<Ipv4Addr>, _) =
            pool.addresses.iter().partition(|&address| old.addresses.contains(address));
        let known = |address: Ipv4Addr| externals.get(&u32::from(address));
        let is_split = match staying.first() {
            Some(&first) => known(first).is_some_and(External::is_split),
            None => pool.addresses.len() < usize::from(self.workers),
        };
        if is_split && old.ports != pool.ports {
            return Err(SteeringError::PortsChangeHands(pool.name.clone()));
        }
        for address in staying.iter().copied() {
            let mut external = known(address).cloned().ok_or(SteeringError::AddressTwice(address))?;
            external.clear_forwards();
            self.unsteered += usize::from(external.is_split());
            self.add(address, external)?;
        }
        let added = Pool { addresses: added, ..pool.clone() };
        match (is_split, staying.is_empty()) {
            _ if pool.deterministic.is_some() => {}
            (true, _) => self.divide_by_ports(&added, &Split::new(pool, self.workers))?,
            (false, true) => self.divide_by_address(&added)?,
            (false, false) => {
                for address in added.addresses {
                    let owner = self.rss.owner(address.into());
                    self.add_whole(address, owner)?;
                    self.share(owner, Share { address, ports: pool.ports.clone() });
                }
            }
        }
        for (worker, old) in (0..self.workers).map(WorkerId).zip(places) {
            let new = self.shares[worker.index()].pop().unwrap_or_default();
            let kept = old.iter().filter(|place| !place.is_closed() && staying.contains(&place.address));
            let ports = |place: &Share| if is_split { place.ports.clone() } else { pool.ports.clone() };
            let kept = kept.map(|place| Share { address: place.address, ports: ports(place) });
            let all: Vec<Share> = kept.chain(new).collect();
            if all.is_empty() && !pool.is_removed() {
                return Err(SteeringError::WorkerWithout { pool: pool.name.clone(), worker });
            }
            let placed = match pool.deterministic {
                Some(_) => old.to_vec(),
                None => Share::at_places_of(old, &all),
            };
            if placed.len() > PLACES_MAX && pool.deterministic.is_none() {
                return Err(SteeringError::TooManyPlaces(pool.name.clone()));
            }
            self.shares[worker.index()].push(placed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Nic;
    use super::*;
    use natgw_nat::Protocol;

    fn pool(name: &str, addresses: impl IntoIterator<Item = u8>) -> Pool {
        let addresses = addresses.into_iter().map(|host| Ipv4Addr::new(203, 0, 113, host)).collect();
        Pool { name: name.into(), addresses, ..Pool::default() }
    }

    fn settings(pools: &[Pool]) -> Settings {
        Settings { pools: pools.to_vec(), ..Settings::default() }
    }

    fn steering(settings: &Settings, workers: u16) -> Steering {
        Steering::new(settings, workers, 1, Nic::default(), Nic::default()).unwrap()
    }

    fn owner(steering: &Steering, host: u8, port: u16) -> WorkerId {
        steering.inbound_owner(Ipv4Addr::new(203, 0, 113, host).into(), Protocol::Udp, port)
    }

    proptest! {
        /// Whatever comes and goes: what stays has its owner still and stands where it stood, every open share is of the
        /// endpoint's owner, and the tables of the NICs are as they were.
        #[test]
        fn what_stays_keeps_its_owner_and_its_place(
            workers in 1u16..5,
            before in prop::collection::btree_set(1u8..100, 1..20),
            after in prop::collection::btree_set(1u8..100, 1..20),
            comes in prop::collection::btree_set(101u8..120, 0..10),
        ) {
            let old = settings(&[pool("main", before.iter().copied())]);
            let mut pools = vec![pool("main", after.iter().copied())];
            pools.extend((!comes.is_empty()).then(|| pool("other", comes.iter().copied())));
            let new = settings(&pools);
            let first = steering(&old, workers);
            let Ok(second) = first.under(&old, &new) else {
                prop_assert!(workers > 1, "one worker has everything");
                return Ok(());
            };
            let reta = |of: &Steering| of.outside().reta(512).collect::<Vec<_>>();
            prop_assert_eq!(reta(&first), reta(&second));
            for &host in before.intersection(&after) {
                for port in [1024, 30_000, 65_535] {
                    prop_assert_eq!(owner(&first, host, port), owner(&second, host, port));
                }
            }
            for worker in (0..workers).map(WorkerId) {
                let (old, new) = (&first.shares(worker)[0], second.shares(worker));
                for (place, share) in old.iter().enumerate() {
                    let stays = after.contains(&share.address.octets()[3]);
                    prop_assert_eq!(new[0][place].address, share.address);
                    prop_assert_eq!(new[0][place].is_closed(), !stays);
                }
                for share in new.iter().flatten().filter(|share| !share.is_closed()) {
                    for port in [*share.ports.start(), *share.ports.end()] {
                        prop_assert_eq!(owner(&second, share.address.octets()[3], port), worker);
                    }
                }
            }
            let endpoints = |pool: usize| -> usize {
                let shares = (0..workers).flat_map(|worker| &second.shares(WorkerId(worker))[pool]);
                shares.map(|share| share.ports.len()).sum()
            };
            for (index, pool) in new.pools.iter().enumerate() {
                prop_assert_eq!(endpoints(index), pool.addresses.len() * pool.ports.len());
            }
        }
    }

    #[test]
    fn an_empty_place_is_taken_again() {
        let all = [[10, 11, 12].to_vec(), [10, 12].to_vec(), [10, 12, 13].to_vec()];
        let all = all.map(|hosts| settings(&[pool("main", hosts)]));
        let mut steering = steering(&all[0], 1);
        for pair in all.windows(2) {
            steering = steering.under(&pair[0], &pair[1]).unwrap();
        }
        let places = steering.shares(WorkerId(0))[0].iter().map(|share| share.address.octets()[3]);
        assert_eq!(places.collect::<Vec<_>>(), [10, 13, 12]);
    }

    #[test]
    fn what_would_change_hands_is_refused() {
        let four = settings(&[pool("main", 10..14)]);
        let steered = steering(&four, 4);
        let one = settings(&[pool("main", [10])]);
        assert!(matches!(steered.under(&four, &one), Err(SteeringError::WorkerWithout { .. })));
        let shared = steering(&one, 2);
        let fewer = Pool { ports: 1024..=9999, ..pool("main", [10]) };
        assert!(matches!(shared.under(&one, &settings(&[fewer])), Err(SteeringError::PortsChangeHands(_))));
        let translating = Pool { other_protocols: OtherProtocols::ALL, ..pool("main", 10..14) };
        let before = settings(std::slice::from_ref(&translating));
        let after = settings(&[translating, pool("other", [20])]);
        assert!(matches!(
            steering(&before, 4).under(&before, &after),
            Err(SteeringError::ProtocolsChangeHands(_))
        ));
    }
}
