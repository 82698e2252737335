//! What a shard is made of, and where its memory lies.

use std::io;

use crate::counters::Counters;
use crate::fragment::Fragments;
use crate::mapping::Mappings;
use crate::mapping::filter::Permissions;
use crate::mapping::port_overlap::Overlaps;
use crate::mapping::redirect::Redirects;
use crate::mapping::static_mappings::StaticMappings;
use crate::mapping::unsolicited::UnsolicitedSyns;
use crate::packet::verdict::Protocol;
use crate::policy::Policy;
use crate::policy::address_check::Addresses;
use crate::policy::rate::Rates;
use crate::policy::subscriber::Subscribers;
use crate::pool::block_records::BlockRecords;
use crate::pool::reservation::Reservations;
use crate::pool::{Pools, ShardPool};
use crate::session::closed::ClosedSessions;
use crate::session::flow_table::FlowTable;
use crate::settings::{Filtering, Limits, Part, Pool, Settings, Share};
use crate::shard::{Shard, Swept};
use crate::table::hash::{Random, Secret};
use crate::table::memory::{Pages, Region};
use crate::table::time::Time;

/// What a shard is built from.
pub struct ShardOptions<'a> {
    /// The whole gateway's settings.
    pub settings: &'a Settings,
    /// This shard's part of each pool, in the settings' order.
    pub shares: &'a [Vec<Share>],
    /// Sessions that this shard has room for; its part of [`Limits::sessions`](crate::settings::Limits::sessions).
    pub sessions: u32,
    /// Which of the gateway's shards it is.
    pub part: Part,
    /// Keys every hash and every random choice; drawn at start.
    pub secret: Secret,
    /// The time of the first call.
    pub now: Time,
}

/// Mappings that a shard has room for: one for each session, and those that rest.
fn mappings(sessions: u32) -> u32 {
    sessions.saturating_add(part(sessions, 2))
}

/// Subscribers that a shard with room for `sessions` has room for: as large a part of all. Each has a session, or had one.
pub(crate) fn subscribers(limits: &Limits, sessions: u32) -> u32 {
    let part = u64::from(limits.subscribers) * u64::from(sessions);
    let part = part.div_ceil(u64::from(limits.sessions.max(1)));
    part.clamp(1, u64::from(sessions.max(1))) as u32
}

/// Whether some pool asks who the remotes of its mappings are.
pub(crate) fn filters_by_address(settings: &Settings) -> bool {
    settings.pools.iter().any(|pool| {
        let filtering = Protocol::ALL.map(|protocol| pool.filtering_of(protocol));
        filtering.contains(&Filtering::AddressDependent)
    })
}

/// One for `each` sessions; in a small table one for every session.
fn part(sessions: u32, each: u32) -> u32 {
    (sessions / each).max(sessions.min(SMALL))
}
const SMALL: u32 = 1 << 16;

/// What the tables of a shard take that depends on neither packets nor pools, octets; see [`Shard::footprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Sessions with all that belongs to them: what [`Shard::regions`] come to.
    pub sessions: u64,
    /// Datagrams in fragments.
    pub fragments: u64,
}

impl Footprint {
    /// What each of so many sessions takes with all that belongs to it, octets, rounded.
    pub fn bytes_per_session(self, sessions: u32) -> u64 {
        let sessions = u64::from(sessions.max(1));
        (self.sessions + sessions / 2) / sessions
    }
}

impl Shard {
    /// What the tables of one of so many shards will take, each with room for `sessions`. Indexes have a power of two of
    /// places, so a session takes least where their number is just below one.
    pub fn footprint(settings: &Settings, sessions: u32, shards: u16) -> Footprint {
        let rates = Rates::new(&settings.limits).protocols.is_some();
        let overlaps = if settings.shares_ports() { mappings(sessions) } else { 0 };
        let subscribers = subscribers(&settings.limits, sessions);
        Footprint {
            sessions: FlowTable::bytes(sessions)
                + Mappings::bytes(mappings(sessions))
                + ClosedSessions::bytes(sessions, subscribers)
                + Subscribers::bytes(subscribers, rates)
                + Permissions::bytes(sessions)
                + Overlaps::bytes(overlaps),
            fragments: Fragments::bytes(settings.limits.fragments.div_ceil(shards.into())),
        }
    }

    /// The only shard of a gateway, in ordinary pages: it has all ports of all pools and room for all sessions.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn single(settings: &Settings, secret: Secret, now: Time) -> io::Result<Shard> {
        let all = |pool: &Pool| {
            let shares = pool.addresses.iter().map(|&address| Share { address, ports: pool.ports.clone() });
            shares.collect()
        };
        let shares: Vec<Vec<Share>> = settings.pools.iter().map(all).collect();
        Shard::new(&ShardOptions {
            settings,
            shares: &shares,
            sessions: settings.limits.sessions,
            part: Part::WHOLE,
            secret,
            now,
        })
    }

    /// A shard with all its memory taken, in ordinary pages.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn new(options: &ShardOptions<'_>) -> io::Result<Shard> {
        Shard::with_pages(options, Pages::default())
    }

    /// As [`Shard::new`], in these pages.
    ///
    /// # Errors
    /// When the memory cannot be had.
    pub fn with_pages(options: &ShardOptions<'_>, pages: Pages) -> io::Result<Shard> {
        let ShardOptions { settings, shares, sessions, part, secret, now } = *options;
        let subscribers = subscribers(&settings.limits, sessions);
        let permanent = StaticMappings::new(settings);
        let pools = settings.pools.iter().zip(shares).map(|(pool, share)| {
            let mut made = ShardPool::in_blocks(pool, share, subscribers, pages)?;
            permanent.reserve_in(&mut made);
            Ok(made)
        });
        let pools = pools.collect::<io::Result<_>>()?;
        Ok(Shard {
            counters: Counters::default(),
            sessions: FlowTable::new(sessions, secret, now, pages)?,
            policy: Policy::new(settings),
            secret,
            closed: ClosedSessions::new(sessions, subscribers, pages)?,
            gave_up: false,
            mappings: Mappings::new(mappings(sessions), secret, now, pages)?,
            subscribers: Subscribers::new(subscribers, secret, pages)?,
            permissions: Permissions::new(sessions, secret, pages)?,
            overlaps: Overlaps::new(
                if settings.shares_ports() { mappings(sessions) } else { 0 },
                secret,
                pages,
            )?,
            pools: Pools::new(pools),
            permanent,
            addresses: Addresses::new(settings),
            random: Random::new(secret),
            filters_by_address: filters_by_address(settings),
            reservations: Reservations::default(),
            fragments: Fragments::new(settings, shares, part, secret)?,
            unsolicited: UnsolicitedSyns::new()?,
            redirects: Redirects::new(settings),
            records: BlockRecords::new(settings),
            is_alone: part.of == 1,
            draining: false,
            reloading: false,
            swept: Swept::ALL,
        })
    }

    /// The memory of the tables, to be populated before the first packet.
    pub fn regions(&self) -> Vec<&Region> {
        self.sessions
            .regions()
            .into_iter()
            .chain(self.mappings.regions())
            .chain(self.subscribers.regions())
            .chain(self.closed.regions())
            .chain(self.permissions.regions())
            .chain(self.overlaps.regions())
            .chain(self.policy.rates.protocols.map(|_| self.subscribers.protocol_clocks()))
            .collect()
    }
}
