//! A running shard under new settings.
//!
//! [`Changes`] are made by whoever has time and memory, for every shard its own. [`Shard::adopt`] puts them in force between
//! bursts, in bounded steps that neither allocate nor free, and leaves in them what was in force before. [`Shard::sweep`] then
//! looks through the sessions, a bounded number at a time, and ends those that could not begin any more; the others never
//! notice.
//!
//! A mapping knows its pool and its address by their places. So pools and addresses stay where they are: what goes leaves its
//! place empty, what comes stands behind the others or where nothing is left. A port that goes is not handed out from its
//! step on, and one that is in use is not free before its mapping is gone, so no outside endpoint is ever two mappings'.

use std::io;

use hashbrown::HashSet;

use super::addresses::Addresses;
use super::filter::Pair;
use super::mapping::Kind;
use super::memory::Pages;
use super::policy::Policy;
use super::pool::ShardPool;
use super::redirect::Redirects;
use super::rule::Permanent;
use super::session::LIVE;
use super::settings::{Settings, Share};
use super::setup;
use super::shard::Shard;
use super::time::Time;
use super::verdict::DeleteReason;

/// See the module.
pub struct Changes {
    policy: Policy,
    permanent: Permanent,
    addresses: Addresses,
    redirects: Redirects,
    /// Outside addresses that other shards send from as well.
    shared: HashSet<u32>,
    filters_by_address: bool,
    /// Room for all pools, as long as it is empty.
    room: Vec<ShardPool>,
    pools: Vec<PoolChange>,
    step: Step,
}

/// What becomes of the pool at a place.
enum PoolChange {
    /// Nothing.
    Same,
    /// Another pool comes where none is left.
    New(ShardPool),
    /// Addresses, ports or ways of handing them out are different.
    Changed(ShardPool),
}

/// Where the shard is with its changes.
#[derive(Clone, Copy)]
enum Step {
    Pools,
    /// The address of the pool that is next.
    Ports(usize, usize),
    Rest,
}

/// Settings, and a shard's part of each of their pools.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// The whole gateway's settings.
    pub settings: &'a Settings,
    /// By pool, in the settings' order; by place, where an address that is gone has none of its ports.
    pub shares: &'a [Vec<Share>],
}

/// Where a sweep through a shard's tables goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// With this line of the session table.
    Sessions(u32),
    /// With this line of the mapping table.
    Mappings(u32),
}

impl Sweep {
    /// The beginning.
    pub const START: Sweep = Sweep::Sessions(0);
}

impl Changes {
    /// What makes a shard with room for `sessions` that stands as `before` one that stands as `after`. Pools and addresses keep
    /// their places, and what [`Pool::can_become`](super::Pool::can_become) asks for is so.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn new(before: Parts<'_>, after: Parts<'_>, sessions: u32) -> io::Result<Changes> {
        let Parts { settings, shares } = after;
        let permanent = Permanent::new(settings);
        let mut pools = Vec::new();
        for (index, (pool, share)) in settings.pools.iter().zip(shares).enumerate() {
            let make = || {
                let subscribers = setup::subscribers(sessions);
                let mut made = ShardPool::in_blocks(pool, share, subscribers, Pages::default())?;
                made.keep_within();
                permanent.reserve_in(&mut made);
                io::Result::Ok(made)
            };
            let same_forwards = before.settings.forwards_of(pool).eq(settings.forwards_of(pool));
            let old = before.settings.pools.get(index).zip(before.shares.get(index));
            pools.push(match old.filter(|(old, _)| old.name == pool.name) {
                None => PoolChange::New(make()?),
                Some((old, old_share)) if old == pool && old_share == share && same_forwards => {
                    PoolChange::Same
                }
                Some((old, _)) if pool.is_removed() && !old.is_plain() => PoolChange::Same,
                Some(_) => PoolChange::Changed(make()?),
            });
        }
        Ok(Changes {
            policy: Policy::new(settings),
            addresses: Addresses::new(settings),
            redirects: Redirects::new(settings),
            shared: super::fragment::shared_addresses(settings, shares),
            filters_by_address: setup::filters_by_address(settings),
            room: Vec::with_capacity(pools.len()),
            permanent,
            pools,
            step: Step::Pools,
        })
    }
}

impl Shard {
    /// Takes a step with `changes`; whether all of them are in force.
    pub fn adopt(&mut self, changes: &mut Changes) -> bool {
        self.forget_draws();
        match changes.step {
            Step::Pools => {
                self.adopt_pools(changes);
                changes.step = Step::Ports(0, 0);
            }
            Step::Ports(pool, address) => changes.step = self.adopt_ports(changes, pool, address),
            Step::Rest => {
                std::mem::swap(&mut self.policy, &mut changes.policy);
                std::mem::swap(&mut self.permanent, &mut changes.permanent);
                std::mem::swap(&mut self.addresses, &mut changes.addresses);
                self.redirects.adopt(&mut changes.redirects);
                self.fragments.adopt(&mut changes.shared);
                self.filters_by_address |= changes.filters_by_address;
                return true;
            }
        }
        false
    }

    fn adopt_pools(&mut self, changes: &mut Changes) {
        if changes.pools.len() > self.pools.len() {
            changes.room.append(&mut self.pools);
            std::mem::swap(&mut self.pools, &mut changes.room);
        }
        for (index, change) in changes.pools.iter_mut().enumerate() {
            match change {
                PoolChange::Same => {}
                PoolChange::Changed(new) => self.pools[index].adopt(new),
                PoolChange::New(_) => {
                    let PoolChange::New(new) = std::mem::replace(change, PoolChange::Same) else { continue };
                    if index == self.pools.len() {
                        self.pools.push(new);
                    } else {
                        *change = PoolChange::New(std::mem::replace(&mut self.pools[index], new));
                    }
                }
            }
        }
    }

    /// One address: its ports are as many as a bitmap of 64 Kibit has.
    fn adopt_ports(&mut self, changes: &mut Changes, pool: usize, address: usize) -> Step {
        match changes.pools.get_mut(pool) {
            None => Step::Rest,
            Some(PoolChange::Changed(new)) => {
                let here = &mut self.pools[pool];
                let more = !here.shares_ports() && here.replace(address, new);
                if more { Step::Ports(pool, address + 1) } else { Step::Ports(pool + 1, 0) }
            }
            Some(_) => Step::Ports(pool + 1, 0),
        }
    }

    /// Looks at `lines` lines of a table: ends the sessions that are not allowed any more, and brings forward the end of
    /// those that may idle for less than is left to them; then ends what rests though its port is nobody's. Where to go on,
    /// `None` at the end.
    pub fn sweep(&mut self, from: Sweep, lines: u32, now: Time) -> Option<Sweep> {
        match from {
            Sweep::Sessions(from) => {
                let capacity = self.sessions.as_slice().len() as u32;
                let to = from.saturating_add(lines).min(capacity);
                (from..to).for_each(|id| self.sweep_session(id, now));
                Some(if to < capacity { Sweep::Sessions(to) } else { Sweep::Mappings(0) })
            }
            Sweep::Mappings(from) => {
                let capacity = self.mappings.lines.as_slice().len() as u32;
                let to = from.saturating_add(lines).min(capacity);
                (from..to).for_each(|id| self.sweep_mapping(id, now));
                (to < capacity).then_some(Sweep::Mappings(to))
            }
        }
    }

    fn sweep_session(&mut self, id: u32, now: Time) {
        if self.sessions[id].flags & LIVE == 0 {
            return;
        }
        if self.is_allowed(id) {
            self.shorten(id, now);
            self.permit(id);
        } else {
            self.idle.stop(id);
            self.end_session(id, Some(DeleteReason::Reload), now);
        }
    }

    fn shorten(&mut self, id: u32, now: Time) {
        let session = &mut self.sessions[id];
        let latest = now.plus_ms(u64::from(self.policy.timeouts.of(session.timeout)));
        if latest < now.near(session.expires) {
            session.expires = latest.low();
            self.idle.stop(id);
            self.idle.start(id, latest);
        }
    }

    /// Notes a session's remote address where the pool's filtering asks for it now and did not when the session began.
    fn permit(&mut self, id: u32) {
        let session = &self.sessions[id];
        let mapping = &self.mappings.lines[session.mapping];
        if session.permits == 0 && self.is_filtered_by_address(mapping) {
            let remote = session.flows[1].tuple().source;
            let pair = Pair { mapping: session.mapping, internal: mapping.internal(), remote };
            // There is room for every session.
            let permitted = self.permissions.add(pair, id, self.sessions.as_slice()).is_ok();
            self.sessions[id].permits = permitted.into();
        }
    }

    fn sweep_mapping(&mut self, id: u32, now: Time) {
        let mapping = &self.mappings.lines[id];
        if mapping.is_resting() && mapping.kind() == Kind::Pool && !self.is_in_pool(mapping) {
            let subscriber = mapping.subscriber;
            self.mappings.rest.stop(id);
            self.end_rest(id, now);
            self.subscribers.remove_if_idle(subscriber);
        }
    }
}
