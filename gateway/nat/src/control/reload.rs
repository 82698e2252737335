//! A running shard under new settings.
//!
//! Management makes [`Changes`] for every shard. They hold only what differs. A reload goes
//! through each shard in three parts, between bursts, in bounded steps that neither allocate nor free:
//!
//! 1. [`Shard::adopt`] retires what the new settings do not give out any more, and puts in force what nobody had before.
//! 2. [`Shard::sweep`] looks through sessions, mappings, port blocks and subscribers: it ends the sessions that could not
//!    begin any more, and whatever stands on what was retired. The others never notice. Where a change cannot end anything,
//!    nothing is looked through.
//! 3. [`Shard::enforce`], when *all* shards are through with their sweeps, puts in force what was somebody else's before.
//!
//! So no outside endpoint is ever two mappings', neither in a shard nor across shards (`grant`). What was in force before is
//! in the changes afterwards.
//!
//! A mapping knows its pool and its address by their places. So pools and addresses stay where they are: one that goes
//! leaves its place empty; one that is new stands behind the others or in a place that was empty before this reload.

use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use hashbrown::{HashMap, HashSet};

use crate::ids::SessionId;
use crate::lifecycle::expiry::SWEPT_AHEAD;
use crate::mapping::Kind;
use crate::mapping::filter::Pair;
use crate::mapping::redirect::Redirects;
use crate::mapping::static_mappings::StaticMappings;
use crate::packet::endpoint::Endpoint;
use crate::packet::verdict::{DeleteReason, Protocol};
use crate::policy::Policy;
use crate::policy::address_check::Addresses;
use crate::pool::grants::GrantState;
use crate::pool::port_bitmap::Allowed;
use crate::pool::{self, Address, PoolEdit, PortsEdit, ShardPool};
use crate::settings::{Pool, PortForward, Settings, Share};
use crate::setup;
use crate::shard::{Shard, Swept};
use crate::table::memory::Pages;
use crate::table::time::Time;

/// See the module.
pub struct Changes {
    policy: Option<Policy>,
    permanent: Option<Both<StaticMappings>>,
    addresses: Option<Both<Addresses>>,
    redirects: Option<Redirects>,
    /// Outside addresses that other shards send from as well.
    shared: Option<Both<HashSet<u32>>>,
    filters_by_address: bool,
    /// Room for all pools, as long as it is empty.
    room: Vec<ShardPool>,
    pools: Vec<PoolChange>,
    /// Outside endpoints that gain or lose a forward, or whose forward leads elsewhere.
    touched: Vec<(Protocol, Endpoint)>,
    /// Whether anything may have to end that does not stand on those.
    ends: bool,
    step: Step,
}

/// What is in force as soon as it can be, and what is in the end.
struct Both<T> {
    now: T,
    then: T,
}

/// What becomes of the pool at a place.
enum PoolChange {
    /// Nothing.
    Same,
    /// Another pool comes where none is left, with these places pending.
    New(Box<Option<ShardPool>>, Vec<u16>),
    /// Addresses, ports or ways of handing them out are different.
    Changed(Box<PoolEdit>),
}

/// Where the shard is with its changes: at which pool, and which of its places.
#[derive(Clone, Copy)]
enum Step {
    Pools,
    Add(usize, usize),
    Retire(usize, usize),
    Ports(usize, usize),
    Touched(usize),
    Rest,
    Settle(usize, usize),
    Then(usize, usize),
    Last,
}

/// Addresses that come, or forwarded endpoints that are looked at, in a step.
const EACH_STEP: usize = 16;

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
    /// With this port block of a pool.
    Blocks(usize, u32),
    /// With this line of the subscriber table.
    Subscribers(u32),
}

impl Sweep {
    /// The beginning.
    pub const START: Sweep = Sweep::Sessions(0);
}

/// What is the same in two settings, as far as a shard can be told anew.
struct Same {
    policy: bool,
    /// What decides whether a session may go on, besides the grants.
    rules: bool,
    addresses: bool,
    permanent: bool,
    pools: bool,
}

impl Same {
    fn new(old: &Settings, new: &Settings) -> Same {
        // Every field is named, so that a new one is thought of.
        let Settings {
            inside,
            inside_routed,
            outside,
            pools,
            rules,
            port_forwards,
            statics,
            twice,
            limits,
            timeouts,
            refuse,
            tcp_pickup,
            unsolicited_syn,
            mss_clamp,
            class_e,
            source_route,
            icmp_embedded_checksum,
        } = new;
        let class_e = old.class_e == *class_e;
        let interfaces = old.inside == *inside && old.outside == *outside;
        let permanent = interfaces && old.port_forwards == *port_forwards && old.statics == *statics;
        let same_rules = old.rules == *rules;
        let pools = old.pools == *pools;
        Same {
            policy: same_rules
                && old.limits == *limits
                && old.timeouts == *timeouts
                && old.refuse == *refuse
                && old.tcp_pickup == *tcp_pickup
                && old.unsolicited_syn == *unsolicited_syn
                && old.mss_clamp == *mss_clamp
                && old.source_route == *source_route
                && old.icmp_embedded_checksum == *icmp_embedded_checksum,
            rules: same_rules
                && old.timeouts == *timeouts
                && old.twice == *twice
                && interfaces
                && class_e
                && old.inside_routed == *inside_routed,
            addresses: permanent
                && class_e
                && old.twice == *twice
                && old.inside_routed == *inside_routed
                && pools,
            permanent,
            pools,
        }
    }
}

impl Changes {
    /// What makes a shard with room for so many `sessions` and `subscribers` that stands as `before` one that stands as `after`.
    /// Pools and addresses keep their places, and what [`Pool::can_become`] asks for is so.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn new(before: Parts<'_>, after: Parts<'_>, sessions: u32) -> io::Result<Changes> {
        let (old, settings) = (before.settings, after.settings);
        let same = Same::new(old, settings);
        let mut touched = Vec::new();
        let mut ends = !same.rules;
        let mut permanent = None;
        let mut pools = Vec::new();
        if !same.permanent || !same.pools {
            let known = old.externals();
            let [was, then] = [old, settings].map(StaticMappings::new);
            was.differing(&then, |protocol, external| touched.push((protocol, external)));
            ends |= was.loses_statics(&then);
            let now = then.without_others(&was, |address| known.contains(&address));
            permanent = Some(Both { now, then });
            let forwards = Forwards::new(old, settings, &touched);
            for index in 0..settings.pools.len() {
                let (change, is_swept) = pool_change(index, before, after, sessions, &known, &forwards)?;
                ends |= is_swept;
                pools.push(change);
            }
        }
        let shared = (!same.pools || !same.permanent).then(|| {
            let [was, then] =
                [before, after].map(|parts| crate::fragment::shared_addresses(parts.settings, parts.shares));
            Both { now: was.union(&then).copied().collect(), then }
        });
        Ok(Changes {
            policy: (!same.policy).then(|| Policy::new(settings)),
            addresses: (!same.addresses).then(|| Both {
                now: Addresses::with_externals_of(settings, old),
                then: Addresses::new(settings),
            }),
            redirects: (!same.permanent).then(|| Redirects::new(settings)),
            shared,
            filters_by_address: setup::filters_by_address(settings),
            room: Vec::with_capacity(pools.len()),
            permanent,
            pools,
            touched,
            ends,
            step: Step::Pools,
        })
    }
}

/// Forwards on the outside addresses that the change is about.
struct Forwards<'a> {
    old: HashMap<u32, Vec<&'a PortForward>>,
    new: HashMap<u32, Vec<&'a PortForward>>,
    touched: HashSet<u32>,
}

impl<'a> Forwards<'a> {
    fn new(old: &'a Settings, new: &'a Settings, touched: &[(Protocol, Endpoint)]) -> Forwards<'a> {
        let by_address = |settings: &'a Settings| {
            let mut forwards: HashMap<u32, Vec<&PortForward>> = HashMap::new();
            for forward in &settings.port_forwards {
                forwards.entry(forward.external.to_bits()).or_default().push(forward);
            }
            forwards
        };
        Forwards {
            old: by_address(old),
            new: by_address(new),
            touched: touched.iter().map(|(_, external)| external.address).collect(),
        }
    }

    /// What may be handed out of an address whose `parts` of a range are the shard's: for as long as others may have what was
    /// theirs, and afterwards.
    fn edit(
        &self,
        place: u16,
        address: Ipv4Addr,
        range: &RangeInclusive<u16>,
        parts: &[RangeInclusive<u16>],
    ) -> PortsEdit {
        let of = |forwards: &HashMap<u32, Vec<&'a PortForward>>, protocol: Protocol| {
            let all = forwards.get(&address.to_bits()).into_iter().flatten();
            let own = all.filter(|forward| forward.protocol == protocol);
            own.map(|forward| forward.external_ports.clone()).collect::<Vec<_>>()
        };
        let allowed =
            |withheld: Vec<RangeInclusive<u16>>| Allowed::new(range.clone(), parts, withheld.into_iter());
        let then = Protocol::WITH_PORTS.map(|protocol| allowed(of(&self.new, protocol)));
        let now = Protocol::WITH_PORTS.map(|protocol| {
            allowed(of(&self.new, protocol).into_iter().chain(of(&self.old, protocol)).collect())
        });
        let ports = parts.iter().map(|part| part.len() as u32 - u32::from(part.contains(&0)));
        PortsEdit { place, total: ports.sum(), now, then }
    }
}

/// What becomes of the pool at a place, and whether mappings may end by it.
fn pool_change(
    index: usize,
    before: Parts<'_>,
    after: Parts<'_>,
    sessions: u32,
    known: &HashSet<u32>,
    forwards: &Forwards<'_>,
) -> io::Result<(PoolChange, bool)> {
    let (pool, shares) = (&after.settings.pools[index], &after.shares[index]);
    let subscribers = setup::subscribers(&after.settings.limits, sessions);
    let old = before.settings.pools.get(index).zip(before.shares.get(index));
    let Some((old, old_shares)) = old.filter(|(old, _)| old.is_succeeded_by(pool)) else {
        let mut made = ShardPool::in_blocks(pool, shares, subscribers, Pages::default())?;
        let mut pending = Vec::new();
        for (place, address, range, parts) in lines(pool, shares) {
            let mut edit = forwards.edit(place, address, &range, &parts);
            made.allow(place, edit.total, &mut edit.now);
            if known.contains(&address.to_bits()) {
                made.set_state(place, GrantState::Pending);
                pending.push(place);
            }
        }
        return Ok((PoolChange::New(Box::new(Some(made)), pending), pool.ping));
    };
    let is_touched = || {
        !forwards.touched.is_empty()
            && pool.addresses.iter().any(|address| forwards.touched.contains(&address.to_bits()))
    };
    if old == pool && old_shares == shares && !is_touched() {
        return Ok((PoolChange::Same, false));
    }
    let new_lines: Vec<_> = lines(pool, shares).collect();
    let places = new_lines.last().map_or(0, |(place, ..)| usize::from(*place) + 1);
    let old_places = if old.deterministic.is_some() { old.addresses.len() } else { old_shares.len() };
    let mut edit = PoolEdit::new(pool, places.max(old_places));
    if old_places < places
        && let Some(blocks) = pool::blocks(pool, shares, subscribers, Pages::default())?
    {
        edit = edit.with_blocks(blocks);
    }
    let mut was: HashMap<u16, (Ipv4Addr, Vec<RangeInclusive<u16>>)> = HashMap::new();
    was.extend(lines(old, old_shares).map(|(place, address, _, parts)| (place, (address, parts))));
    let mut narrows = false;
    for (place, address, range, parts) in new_lines {
        match was.remove(&place) {
            Some((_, old_parts)) => {
                let other_ports = old.ports != pool.ports || old_parts != parts;
                if other_ports || forwards.touched.contains(&address.to_bits()) {
                    narrows |= other_ports;
                    edit.ports.push(forwards.edit(place, address, &range, &parts));
                }
            }
            None => {
                let mut new = Address::new(address, &range, &parts);
                new.allow(&mut forwards.edit(place, address, &range, &parts).then);
                if known.contains(&address.to_bits()) {
                    new.hold_back();
                }
                edit.added.push((place, Some(new)));
            }
        }
    }
    edit.retired.extend(was.into_keys());
    edit.retired.sort_unstable();
    let filters_otherwise = Protocol::ALL.iter().any(|&of| old.filtering_of(of) != pool.filtering_of(of));
    let translates_fewer = old.other_protocols != pool.other_protocols;
    // Inside hosts' pings of these addresses may have sessions, which would go on without an answer.
    let answers_more = pool.ping && (!old.ping || old.addresses != pool.addresses);
    let ends = narrows || filters_otherwise || translates_fewer || answers_more || !edit.retired.is_empty();
    Ok((PoolChange::Changed(Box::new(edit)), ends))
}

type Line = (u16, Ipv4Addr, RangeInclusive<u16>, Vec<RangeInclusive<u16>>);

/// A shard's part of a pool, address by address: place, address, the range that its ports are of and which of it they are.
fn lines<'a>(pool: &'a Pool, shares: &'a [Share]) -> impl Iterator<Item = Line> + 'a {
    let is_deterministic = pool.deterministic.is_some();
    let by_subscriber = is_deterministic.then(|| {
        let addresses = pool.addresses.iter().zip(pool::parts_by_address(pool, shares)).zip(0..=u16::MAX);
        addresses.map(|((&address, parts), place)| (place, address, pool.ports.clone(), parts))
    });
    let by_place = (!is_deterministic).then(|| {
        let open = shares.iter().zip(0..=u16::MAX).filter(|(share, _)| !share.is_closed());
        open.map(|(share, place)| {
            let ports = pool.whole_blocks_of(&share.ports);
            (place, share.address, ports.clone(), vec![ports])
        })
    });
    by_subscriber.into_iter().flatten().chain(by_place.into_iter().flatten())
}

impl Shard {
    /// Takes a step with `changes`; whether this part of the reload is done. [`Shard::sweep`] is next.
    pub fn adopt(&mut self, changes: &mut Changes) -> bool {
        self.rollback();
        changes.step = match changes.step {
            Step::Pools => {
                (self.reloading, self.swept) = (true, Swept::ALL);
                self.adopt_pools(changes);
                Step::Add(0, 0)
            }
            Step::Add(pool, at) => self.add_addresses(changes, pool, at),
            Step::Retire(pool, at) => self.retire_addresses(changes, pool, at),
            Step::Ports(pool, at) => match changes.pools.get_mut(pool) {
                None => Step::Touched(0),
                Some(PoolChange::Changed(edit)) if at < edit.ports.len() => {
                    let PortsEdit { place, total, ref mut now, .. } = edit.ports[at];
                    self.pools[pool].allow(place, total, now);
                    Step::Ports(pool, at + 1)
                }
                Some(_) => Step::Ports(pool + 1, 0),
            },
            Step::Touched(at) if changes.ends || at >= changes.touched.len() => Step::Rest,
            Step::Touched(at) => {
                let some = changes.touched[at..].iter().take(EACH_STEP);
                changes.ends =
                    some.into_iter().any(|&(protocol, external)| self.has_mapping(protocol, external));
                Step::Touched(at + EACH_STEP)
            }
            Step::Rest => {
                swap(&mut self.policy, changes.policy.as_mut());
                swap(&mut self.permanent, changes.permanent.as_mut().map(|both| &mut both.now));
                swap(&mut self.addresses, changes.addresses.as_mut().map(|both| &mut both.now));
                if let Some(redirects) = &mut changes.redirects {
                    self.redirects.adopt(redirects);
                }
                if let Some(shared) = &mut changes.shared {
                    self.fragments.adopt(&mut shared.now);
                }
                self.filters_by_address |= changes.filters_by_address;
                self.reloading = changes.ends;
                self.swept = Swept {
                    sessions: self.sessions.high_water(),
                    mappings: self.mappings.high_water(),
                    subscribers: self.subscribers.high_water(),
                };
                changes.step = Step::Settle(0, 0);
                return true;
            }
            Step::Settle(..) | Step::Then(..) | Step::Last => return true,
        };
        false
    }

    /// Takes a step with the last part of `changes`, when all shards are through with their sweeps; whether the reload is done.
    pub fn enforce(&mut self, changes: &mut Changes) -> bool {
        self.rollback();
        changes.step = match changes.step {
            Step::Settle(pool, at) => self.settle_addresses(changes, pool, at),
            Step::Then(pool, at) => match changes.pools.get_mut(pool) {
                None => Step::Last,
                Some(PoolChange::Changed(edit)) if at < edit.ports.len() => {
                    let PortsEdit { place, total, ref mut then, .. } = edit.ports[at];
                    self.pools[pool].allow(place, total, then);
                    Step::Then(pool, at + 1)
                }
                Some(_) => Step::Then(pool + 1, 0),
            },
            _ => {
                swap(&mut self.permanent, changes.permanent.as_mut().map(|both| &mut both.then));
                swap(&mut self.addresses, changes.addresses.as_mut().map(|both| &mut both.then));
                if let Some(shared) = &mut changes.shared {
                    self.fragments.adopt(&mut shared.then);
                }
                return true;
            }
        };
        false
    }

    fn adopt_pools(&mut self, changes: &mut Changes) {
        if changes.pools.len() > self.pools.len() {
            self.pools.grow(&mut changes.room);
        }
        for (index, change) in changes.pools.iter_mut().enumerate() {
            match change {
                PoolChange::Same => {}
                PoolChange::Changed(edit) => self.pools[index].prepare(edit),
                PoolChange::New(new, _) => {
                    let Some(made) = new.take() else { continue };
                    **new = self.pools.put(index, made);
                }
            }
        }
    }

    fn add_addresses(&mut self, changes: &mut Changes, pool: usize, at: usize) -> Step {
        match changes.pools.get_mut(pool) {
            None => Step::Retire(0, 0),
            Some(PoolChange::Changed(edit)) if at < edit.added.len() => {
                for (place, address) in edit.added.iter_mut().skip(at).take(EACH_STEP) {
                    self.pools[pool].add_address(*place, address);
                }
                Step::Add(pool, at + EACH_STEP)
            }
            Some(_) => Step::Add(pool + 1, 0),
        }
    }

    fn retire_addresses(&mut self, changes: &mut Changes, pool: usize, at: usize) -> Step {
        match changes.pools.get(pool) {
            None => Step::Ports(0, 0),
            Some(PoolChange::Changed(edit)) if at < edit.retired.len() => {
                for &place in edit.retired.iter().skip(at).take(EACH_STEP) {
                    self.pools[pool].set_state(place, GrantState::Retired);
                }
                Step::Retire(pool, at + EACH_STEP)
            }
            Some(_) => Step::Retire(pool + 1, 0),
        }
    }

    /// Places of retired addresses are empty from now on, and addresses that were pending are in force.
    fn settle_addresses(&mut self, changes: &Changes, pool: usize, at: usize) -> Step {
        let (added, retired): (&[_], &[u16]) = match changes.pools.get(pool) {
            None => return Step::Then(0, 0),
            Some(PoolChange::Same) => (&[], &[]),
            Some(PoolChange::New(_, pending)) => (&[], pending),
            Some(PoolChange::Changed(edit)) => (&edit.added, &edit.retired),
        };
        let mut places = added.iter().map(|(place, _)| *place).chain(retired.iter().copied()).skip(at);
        let mut settled = 0;
        for place in places.by_ref().take(EACH_STEP) {
            let is_settled = self.pools[pool].settle(place);
            debug_assert!(is_settled, "a mapping stands on a retired address after the sweep");
            settled += 1;
        }
        if settled < EACH_STEP { Step::Settle(pool + 1, 0) } else { Step::Settle(pool, at + EACH_STEP) }
    }

    /// Whether any mapping has an outside endpoint.
    fn has_mapping(&self, protocol: Protocol, external: Endpoint) -> bool {
        let found = self.mappings.by_external(protocol, external, |_| true);
        found.is_some() || self.overlaps.is_shared(protocol, external, &self.mappings)
    }

    /// Looks at `lines` lines of a table: ends the sessions that are not allowed any more, and brings forward the end of
    /// those that may idle for less than is left to them; then ends what rests on what was retired, gives back its port
    /// blocks, and lets subscribers forget its addresses. Where to go on, `None` at the end.
    pub fn sweep(&mut self, from: Sweep, lines: u32, now: Time) -> Option<Sweep> {
        if !self.reloading {
            return None;
        }
        let (at, end) = (from.line(), self.end_of(from));
        let to = at.saturating_add(lines).min(end);
        match from {
            Sweep::Sessions(_) => {
                for first in (at..to).step_by(SWEPT_AHEAD as usize) {
                    let some = first..to.min(first + SWEPT_AHEAD);
                    self.prefetch_swept(some.clone());
                    some.for_each(|line| self.sweep_session(line, now));
                }
            }
            Sweep::Mappings(_) => (at..to).for_each(|line| self.sweep_mapping(line, now)),
            Sweep::Blocks(pool, _) => (at..to).for_each(|block| self.sweep_block(pool, block)),
            Sweep::Subscribers(_) => (at..to).for_each(|line| self.sweep_subscriber(line)),
        }
        if to < end {
            return Some(from.at(to));
        }
        match from {
            Sweep::Sessions(_) => Some(Sweep::Mappings(0)),
            Sweep::Mappings(_) => Some(Sweep::Blocks(0, 0)),
            Sweep::Blocks(pool, _) if pool + 1 < self.pools.len() => Some(Sweep::Blocks(pool + 1, 0)),
            Sweep::Blocks(..) => Some(Sweep::Subscribers(0)),
            // It cannot be, and must not be.
            Sweep::Subscribers(_) if self.pools.iter().any(ShardPool::has_retired_mappings) => {
                Some(Sweep::START)
            }
            Sweep::Subscribers(_) => {
                self.reloading = false;
                None
            }
        }
    }

    /// How many lines of all tables a sweep that stands here has still to look at.
    pub fn left_to_sweep(&self, from: Sweep) -> u64 {
        let pools = self.pools.len();
        let first_pool = if let Sweep::Blocks(pool, _) = from { pool } else { 0 };
        let blocks = (first_pool..pools).map(|pool| Sweep::Blocks(pool, 0));
        let tables =
            [Sweep::Sessions(0), Sweep::Mappings(0)].into_iter().chain(blocks).chain([Sweep::Subscribers(0)]);
        let ends: u64 = tables
            .filter(|table| table.order() >= from.order())
            .map(|table| u64::from(self.end_of(table)))
            .sum();
        ends.saturating_sub(from.line().into())
    }

    /// Lines of a table that were ever in use when the sweep began.
    fn end_of(&self, table: Sweep) -> u32 {
        match table {
            Sweep::Sessions(_) => self.sessions.high_water().min(self.swept.sessions),
            Sweep::Mappings(_) => self.mappings.high_water().min(self.swept.mappings),
            Sweep::Blocks(pool, _) => {
                self.pools.get(pool).and_then(ShardPool::blocks).map_or(0, |blocks| blocks.len())
            }
            Sweep::Subscribers(_) => self.subscribers.high_water().min(self.swept.subscribers),
        }
    }

    fn sweep_session(&mut self, line: u32, now: Time) {
        let Some(id) = self.sessions.at(line) else { return };
        if self.is_allowed(id) {
            self.shorten(id, now);
            self.permit(id);
        } else {
            self.end_now(id, DeleteReason::Reload, now);
        }
    }

    fn shorten(&mut self, id: SessionId, now: Time) {
        let session = &self.sessions[id];
        let latest = now.plus_ms(u64::from(self.policy.timeouts.of(session.timeout)));
        if latest < now.near(session.expires) {
            self.sessions.expire_at(id, latest);
        }
    }

    /// Notes a session's remote address where the pool's filtering asks for it now and did not when the session began.
    fn permit(&mut self, id: SessionId) {
        let session = &self.sessions[id];
        let mapping = &self.mappings[session.mapping];
        if session.permits == 0 && self.is_filtered_by_address(mapping) {
            let remote = session.flows[1].tuple().source;
            let pair = Pair { mapping: session.mapping, internal: mapping.internal(), remote };
            // There is room for every session.
            let permitted = self.permissions.add(pair, id, &self.sessions).is_ok();
            self.sessions[id].permits = permitted.into();
        }
    }

    fn sweep_mapping(&mut self, line: u32, now: Time) {
        let Some(id) = self.mappings.at(line) else { return };
        let mapping = self.mappings[id];
        if mapping.is_resting() && mapping.kind() == Kind::Pool && !self.is_granted(&mapping) {
            self.mappings.stop_rest(id);
            self.end_rest(id, now);
            self.subscribers.remove_if_idle(mapping.subscriber);
        }
    }

    fn sweep_block(&mut self, pool: usize, block: u32) {
        let blocks = self.pools[pool].blocks();
        if blocks.is_some_and(|blocks| blocks.is_retired(block) && !blocks.is_used(block)) {
            self.give_block_back(pool, block);
        }
    }

    fn sweep_subscriber(&mut self, line: u32) {
        let (pools, id) = (&self.pools, self.subscribers.at(line));
        self.subscribers[id].retain_pairs(|pool, place| {
            pools.get(usize::from(pool)).is_some_and(|pool| pool.is_in_force(place))
        });
    }
}

impl Sweep {
    fn line(self) -> u32 {
        match self {
            Sweep::Sessions(line)
            | Sweep::Mappings(line)
            | Sweep::Blocks(_, line)
            | Sweep::Subscribers(line) => line,
        }
    }

    fn at(self, line: u32) -> Sweep {
        match self {
            Sweep::Sessions(_) => Sweep::Sessions(line),
            Sweep::Mappings(_) => Sweep::Mappings(line),
            Sweep::Blocks(pool, _) => Sweep::Blocks(pool, line),
            Sweep::Subscribers(_) => Sweep::Subscribers(line),
        }
    }

    fn order(self) -> u8 {
        match self {
            Sweep::Sessions(_) => 0,
            Sweep::Mappings(_) => 1,
            Sweep::Blocks(..) => 2,
            Sweep::Subscribers(_) => 3,
        }
    }
}

fn swap<T>(here: &mut T, new: Option<&mut T>) {
    if let Some(new) = new {
        std::mem::swap(here, new);
    }
}
