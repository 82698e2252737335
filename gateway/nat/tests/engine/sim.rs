//! A whole gateway without its NICs: shards, owners, a clock, and hairpinned packets going around.
//!
//! Every packet that passes is checked: all checksums right, TTL down by exactly one, nothing changed that translation does
//! not change. A packet that is refused stays as it was.

use std::net::Ipv4Addr;

use natgw_nat::{
    Changes, Direction, DropReason, Endpoint, Filter, ForwardSource, IcmpReply, IpProtocol, MappingView,
    Part, Parts, Pool, PortForward, Protocol, Ranges, Rule, RuleAction, Secret, SessionView, Settings, Shard,
    ShardOptions, Share, Static, Sweep, Time, Verdict,
};

use crate::packet::{Packet, Seen, ep, unchanging};

/// A gateway with 10.64.0.0/24 inside, and three outside addresses of which all ports from 1024 on are a pool.
pub(crate) fn settings() -> Settings {
    let addresses = (10..=12).map(|host| Ipv4Addr::new(203, 0, 113, host)).collect();
    Settings {
        inside: vec!["10.64.0.1/24".parse().expect("prefix")],
        outside: vec!["203.0.113.2/24".parse().expect("prefix")],
        pools: vec![Pool { name: "main".into(), addresses, ..Pool::default() }],
        rules: vec![rule("10.64.0.0/24", "0.0.0.0/0", RuleAction::Pool(0))],
        ..Settings::default()
    }
}

/// A rule for all protocols and ports.
pub(crate) fn rule(source: &str, destination: &str, action: RuleAction) -> Rule {
    Rule {
        source: source.parse().expect("prefix"),
        destination: destination.parse().expect("prefix"),
        action,
        ..Rule::default()
    }
}

/// A forward of one outside port, which shows the inside host the remotes.
pub(crate) fn forward(protocol: Protocol, external: &str, internal: &str) -> PortForward {
    let (external, internal) = (ep(external), ep(internal));
    PortForward {
        protocol,
        external: external.address.into(),
        external_ports: external.port..=external.port,
        internal: internal.address.into(),
        internal_port: internal.port,
        source: ForwardSource::Remote,
    }
}

/// The same as a redirect: the inside host sees the gateway in the place of the remote.
pub(crate) fn redirect(protocol: Protocol, external: &str, internal: &str) -> PortForward {
    PortForward { source: ForwardSource::Gateway, ..forward(protocol, external, internal) }
}

/// What became of a packet in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Left on the outside.
    Out(Seen),
    /// Left on the inside.
    In(Seen),
    Reply(IcmpReply),
    Local,
    /// Dropped, and the sender is to be told.
    Reject(DropReason),
    /// Dropped, and the sender is due a RST.
    Reset(DropReason),
    Drop(DropReason),
}

impl Outcome {
    /// The packet as it left on the outside.
    #[track_caller]
    pub(crate) fn out(self) -> Seen {
        match self {
            Outcome::Out(seen) => seen,
            other => panic!("not sent out: {other:?}"),
        }
    }

    /// The packet as it left on the inside.
    #[track_caller]
    pub(crate) fn delivered(self) -> Seen {
        match self {
            Outcome::In(seen) => seen,
            other => panic!("not delivered inside: {other:?}"),
        }
    }

    /// The packet, where it left on the outside.
    pub(crate) fn sent(self) -> Option<Seen> {
        match self {
            Outcome::Out(seen) => Some(seen),
            _ => None,
        }
    }

    /// Whether it left on the inside.
    pub(crate) fn is_delivered(&self) -> bool {
        matches!(self, Outcome::In(_))
    }

    /// Why it was dropped.
    #[track_caller]
    pub(crate) fn reason(self) -> DropReason {
        match self {
            Outcome::Drop(reason) | Outcome::Reject(reason) | Outcome::Reset(reason) => reason,
            other => panic!("not dropped: {other:?}"),
        }
    }
}

pub(crate) struct Gateway {
    pub settings: Settings,
    pub now: Time,
    pub shards: Vec<Shard>,
    shares: Vec<Vec<Vec<Share>>>,
    reload: Option<Reload>,
    divide: Divide,
    /// Packets given to each shard, and those that it answered with [`Verdict::Reply`] or [`Verdict::Local`].
    pub given: Vec<u64>,
    pub not_forwarded: Vec<u64>,
}

/// The part of a pool that is a shard's, one of so many.
type Divide = fn(&Pool, usize, usize) -> Vec<Share>;

/// A reload that is not through yet.
struct Reload {
    /// What was before: contested endpoints have their owners by it.
    settings: Settings,
    shares: Vec<Vec<Vec<Share>>>,
    /// By shard: what it puts in force, and where its sweep stands.
    shards: Vec<(Changes, Option<Sweep>)>,
}

impl Gateway {
    /// One shard with room for a thousand sessions.
    pub(crate) fn new(settings: Settings) -> Gateway {
        Gateway::with_shards(settings, 1, 1024)
    }

    /// As [`settings`], with changes.
    pub(crate) fn changed(change: impl FnOnce(&mut Settings)) -> Gateway {
        let mut settings = settings();
        change(&mut settings);
        Gateway::new(settings)
    }

    /// `count` shards with room for `sessions` sessions each.
    pub(crate) fn with_shards(settings: Settings, count: usize, sessions: u32) -> Gateway {
        Gateway::divided(settings, count, sessions, share)
    }

    /// As [`Gateway::with_shards`], with pools whose addresses keep their owners whatever a reload adds or takes out.
    pub(crate) fn with_table(settings: Settings, count: usize, sessions: u32) -> Gateway {
        Gateway::divided(settings, count, sessions, share_by_table)
    }

    fn divided(settings: Settings, count: usize, sessions: u32, divide: Divide) -> Gateway {
        let now = Time::from_s(1_000_000);
        let shares: Vec<Vec<Vec<Share>>> = (0..count)
            .map(|shard| settings.pools.iter().map(|pool| divide(pool, shard, count)).collect())
            .collect();
        let shards = shares
            .iter()
            .zip(0..)
            .map(|(shares, index)| {
                let secret = Secret::new([u64::from(index) + 1, 2, 3, 4]);
                let part = Part { index, of: count as u16 };
                Shard::new(&ShardOptions { settings: &settings, shares, sessions, part, secret, now })
            })
            .collect::<Result<_, _>>()
            .expect("memory");
        Gateway {
            settings,
            now,
            shards,
            shares,
            reload: None,
            divide,
            given: vec![0; count],
            not_forwarded: vec![0; count],
        }
    }

    /// A packet arrives on the inside.
    #[track_caller]
    pub(crate) fn outbound(&mut self, packet: Packet) -> Outcome {
        let shard = self.owner_of_outbound(&packet);
        self.carry(packet.bytes(), shard, Direction::Outbound)
    }

    /// A packet arrives on the outside.
    #[track_caller]
    pub(crate) fn inbound(&mut self, packet: Packet) -> Outcome {
        let shard = self.owner_of_inbound(&packet.bytes());
        self.carry(packet.bytes(), shard, Direction::Inbound)
    }

    /// Bytes arrive that are perhaps no packet at all; the first shard gets them.
    #[track_caller]
    pub(crate) fn raw(&mut self, bytes: &[u8], direction: Direction) -> Outcome {
        self.carry(bytes.to_vec(), 0, direction)
    }

    #[track_caller]
    fn carry(&mut self, bytes: Vec<u8>, shard: usize, direction: Direction) -> Outcome {
        let mut burst = [bytes.clone()];
        let mut verdicts = [Verdict::Local];
        self.given[shard] += 1;
        self.shards[shard].translate(&mut burst[..], direction, self.now, &mut verdicts);
        let [after] = burst;
        match verdicts[0] {
            Verdict::Forward(_) => {
                let seen = passed(&bytes, &after);
                if direction == Direction::Outbound { Outcome::Out(seen) } else { Outcome::In(seen) }
            }
            Verdict::Hairpin => {
                passed(&bytes, &after);
                self.carry_hairpinned(&bytes, after)
            }
            other => {
                assert_eq!(bytes, after, "{other:?} left its mark on the packet");
                self.refused(other, shard)
            }
        }
    }

    #[track_caller]
    fn carry_hairpinned(&mut self, original: &[u8], bytes: Vec<u8>) -> Outcome {
        let shard = self.owner_of_inbound(&bytes);
        let mut burst = [bytes];
        let mut verdicts = [Verdict::Local];
        self.given[shard] += 1;
        self.shards[shard].translate_hairpinned(&mut burst[..], self.now, &mut verdicts);
        match verdicts[0] {
            Verdict::Forward(_) => Outcome::In(passed(original, &burst[0])),
            other => {
                if matches!(other, Verdict::Local | Verdict::Reject(_)) {
                    let owner = self.owner_of_sender(&burst[0]);
                    let owner = &mut self.shards[owner];
                    let known = match other {
                        Verdict::Local => owner.take_back(&mut burst[0], self.now),
                        _ => owner.restore(Direction::Outbound, &mut burst[0]),
                    };
                    assert!(known && burst[0] == original, "{other:?}");
                }
                self.refused(other, shard)
            }
        }
    }

    #[track_caller]
    fn refused(&mut self, verdict: Verdict, shard: usize) -> Outcome {
        self.not_forwarded[shard] += u64::from(matches!(verdict, Verdict::Reply(_) | Verdict::Local));
        match verdict {
            Verdict::Reply(refusal) => Outcome::Reply(refusal),
            Verdict::Local => Outcome::Local,
            Verdict::Reject(reason) => Outcome::Reject(reason),
            Verdict::Reset(reason) => Outcome::Reset(reason),
            Verdict::Drop(reason) => Outcome::Drop(reason),
            Verdict::Forward(_) | Verdict::Hairpin => panic!("went around twice: {verdict:?}"),
            Verdict::Fragment => panic!("fragments are sent by `crate::fragment_sim`"),
        }
    }

    /// By shard, by pool.
    pub(crate) fn shares(&self) -> &[Vec<Vec<Share>>] {
        &self.shares
    }

    /// Changes what a running gateway lets change, and lets every shard look through its sessions.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        self.begin_reload(change);
        self.finish_reload();
    }

    /// Puts what can be in force at once, and sweeps nothing yet.
    pub(crate) fn begin_reload(&mut self, change: impl FnOnce(&mut Settings)) {
        self.finish_reload();
        let before = (self.settings.clone(), self.shares.clone());
        change(&mut self.settings);
        let count = self.shards.len();
        let mut shards = Vec::new();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let settings = &self.settings;
            for (at, pool) in settings.pools.iter().enumerate() {
                let new = (self.divide)(pool, index, count);
                match self.shares[index].get_mut(at) {
                    Some(old) if pool.deterministic.is_none() => *old = Share::at_places_of(old, &new),
                    Some(_) => {}
                    None => self.shares[index].push(new),
                }
            }
            let before = Parts { settings: &before.0, shares: &before.1[index] };
            let after = Parts { settings, shares: &self.shares[index] };
            let mut changes = Changes::new(before, after, 1024).expect("memory");
            while !shard.adopt(&mut changes) {}
            shards.push((changes, Some(Sweep::START)));
        }
        self.reload = Some(Reload { settings: before.0, shares: before.1, shards });
    }

    /// Lets every shard sweep `lines` lines more, and puts in force what waited for it when all are through. Whether that is
    /// so.
    pub(crate) fn sweep(&mut self, lines: u32) -> bool {
        self.sweep_each(|_| lines)
    }

    /// As [`Gateway::sweep`], so many lines of each shard.
    pub(crate) fn sweep_each(&mut self, lines: impl Fn(usize) -> u32) -> bool {
        let Some(reload) = &mut self.reload else { return true };
        for (index, (shard, (_, at))) in self.shards.iter_mut().zip(&mut reload.shards).enumerate() {
            *at = at.and_then(|from| shard.sweep(from, lines(index), self.now));
        }
        let is_through = reload.shards.iter().all(|(_, at)| at.is_none());
        if is_through {
            for (shard, (changes, _)) in self.shards.iter_mut().zip(&mut reload.shards) {
                while !shard.enforce(changes) {}
            }
            self.reload = None;
        }
        is_through
    }

    /// Lets a reload come to its end.
    pub(crate) fn finish_reload(&mut self) {
        while !self.sweep(100) {}
    }

    /// The settings and shares that give an outside address its owner: while a reload is under way, those before the reload for
    /// an address that they have.
    fn in_force_for(&self, external: u32) -> (&Settings, &[Vec<Vec<Share>>]) {
        let address = Ipv4Addr::from_bits(external);
        match &self.reload {
            Some(Reload { settings, shares, .. }) if knows(settings, address) => (settings, shares),
            _ => (&self.settings, &self.shares),
        }
    }

    /// Ends the sessions that `filter` accepts, a few table lines at a time; how many there were.
    pub(crate) fn delete(&mut self, filter: &Filter) -> u32 {
        let mut sessions = 0;
        for shard in &mut self.shards {
            let mut at = Some(0);
            while let Some(from) = at {
                let deleted = shard.delete_sessions(from, 5, filter, self.now);
                sessions += deleted.sessions;
                at = deleted.next;
            }
        }
        sessions
    }

    /// Time passes, and the housekeeping of every shard sees to it.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        for shard in &mut self.shards {
            assert!(shard.advance(self.now, u32::MAX), "housekeeping without end");
        }
    }

    /// As [`Gateway::pass_ms`].
    pub(crate) fn pass_s(&mut self, seconds: u64) {
        self.pass_ms(seconds * 1000);
    }

    /// Everything times out, and every port has rested, with the timeouts of a trial.
    pub(crate) fn drain(&mut self) {
        (0..40).for_each(|_| self.pass_s(60));
    }

    /// The first packet of a flow, and the outside endpoint that it got.
    #[track_caller]
    pub(crate) fn open(&mut self, protocol: Protocol, from: Endpoint, to: Endpoint) -> Endpoint {
        self.outbound(Packet::first(protocol, from, to)).out().source
    }

    pub(crate) fn sessions(&self) -> Vec<SessionView> {
        self.listed(|shard, from, page| {
            shard.list_sessions(from, u32::MAX, &Filter::default(), self.now, page)
        })
    }

    pub(crate) fn mappings(&self) -> Vec<MappingView> {
        self.listed(|shard, from, page| {
            shard.list_mappings(from, u32::MAX, &Filter::default(), self.now, page)
        })
    }

    /// All that every shard lists, page by page.
    fn listed<T>(&self, list: impl Fn(&Shard, u32, &mut Vec<T>) -> Option<u32>) -> Vec<T> {
        let mut all = Vec::new();
        let mut page = Vec::with_capacity(64);
        for shard in &self.shards {
            let mut at = Some(0);
            while let Some(from) = at {
                at = list(shard, from, &mut page);
                all.append(&mut page);
            }
        }
        all
    }

    /// Which shard an inside address belongs to.
    pub(crate) fn owner_of_inside(&self, address: u32) -> usize {
        address as usize % self.shards.len()
    }

    /// As [`Gateway::owner_of_inside`], over a protocol: where pools are divided by ports, the first shard has those without
    /// ports, but for hosts with 1:1 mappings.
    pub(crate) fn owner_over(&self, protocol: Option<Protocol>, address: u32) -> usize {
        let is_divided = |pool: &Pool| !pool.is_removed() && pool.addresses.len() < self.shards.len();
        let by_ports = self.settings.pools.iter().any(is_divided);
        let mut pairs = self.settings.statics.iter().flat_map(Static::pairs);
        let mut is_static = || pairs.any(|(_, internal)| internal.to_bits() == address);
        if protocol == Some(Protocol::Other) && by_ports && !is_static() {
            return 0;
        }
        self.owner_of_inside(address)
    }

    /// Which shard an outside endpoint belongs to: for permanent mappings its inside host's, else whose share it is.
    pub(crate) fn owner_of_outside(&self, protocol: Option<Protocol>, external: Endpoint) -> usize {
        let address = Ipv4Addr::from_bits(external.address);
        let (settings, shares) = self.in_force_for(external.address);
        let forward = settings.port_forwards.iter().find(|forward| {
            Some(forward.protocol) == protocol
                && forward.external == address
                && forward.external_ports.contains(&external.port)
        });
        let host = forward.map(|forward| forward.internal).or_else(|| {
            let mut pairs = settings.statics.iter().flat_map(Static::pairs);
            pairs.find(|(external, _)| *external == address).map(|(_, internal)| internal)
        });
        if let Some(host) = host {
            return self.owner_of_inside(host.to_bits());
        }
        let has_port =
            |share: &Share| protocol == Some(Protocol::Other) || share.ports.contains(&external.port);
        let has = |share: &Share| share.address == address && has_port(share);
        let owner = shares.iter().position(|pools| pools.iter().flatten().any(has));
        owner.unwrap_or_else(|| self.owner_over(protocol, external.address))
    }

    fn owner_of_outbound(&self, packet: &Packet) -> usize {
        // An error belongs where the packet does that it is about; a router inside may have sent it.
        let Ok(seen) = Seen::read(&packet.bytes()) else {
            return self.owner_of_inside(packet.source.address);
        };
        let (number, inside) = match seen.embedded {
            Some(embedded) => (embedded.protocol, embedded.destination),
            None => (seen.protocol, packet.source),
        };
        self.owner_over(IpProtocol(number).translated_as().ok(), inside.address)
    }

    fn owner_of_sender(&self, bytes: &[u8]) -> usize {
        let seen = Seen::read(bytes).expect("translated right");
        self.owner_of_outside(IpProtocol(seen.protocol).translated_as().ok(), seen.source)
    }

    fn owner_of_inbound(&self, bytes: &[u8]) -> usize {
        let Ok(seen) = Seen::read(bytes) else { return 0 };
        let (protocol, external) = match &seen.embedded {
            Some(embedded) => (embedded.protocol, embedded.source),
            None => (seen.protocol, seen.destination),
        };
        self.owner_of_outside(IpProtocol(protocol).translated_as().ok(), external)
    }
}

/// Whether mappings may use an outside address.
fn knows(settings: &Settings, address: Ipv4Addr) -> bool {
    settings.pools.iter().any(|pool| pool.addresses.contains(&address))
        || settings.port_forwards.iter().any(|forward| forward.external == address)
        || settings.statics.iter().flat_map(Static::pairs).any(|(external, _)| external == address)
}

/// As [`share`], as a redirection table would have it: an address that stays has its owner still, whatever comes and goes. Each
/// shard has one.
fn share_by_table(pool: &Pool, shard: usize, count: usize) -> Vec<Share> {
    let mine = pool.addresses.iter().filter(|address| address.to_bits() as usize % count == shard);
    mine.map(|&address| Share { address, ports: pool.ports.clone() }).collect()
}

/// The part of a pool that one of `count` shards hands out: whole addresses where there are enough of them.
fn share(pool: &Pool, shard: usize, count: usize) -> Vec<Share> {
    if let (Some(deterministic), Some(ranges)) = (&pool.deterministic, Ranges::of(pool)) {
        let mine = deterministic.hosts().filter(|host| host.to_bits() as usize % count == shard);
        let outside = mine.filter_map(|host| ranges.outside(host));
        return outside.map(|(place, ports)| Share { address: pool.addresses[place], ports }).collect();
    }
    if pool.addresses.len() >= count {
        let mine = pool.addresses.iter().skip(shard).step_by(count);
        return mine.map(|&address| Share { address, ports: pool.ports.clone() }).collect();
    }
    // Blocks stay whole.
    let unit = pool.port_blocks.as_ref().map_or(1, |blocks| usize::from(blocks.size));
    let units = pool.ports.len() / unit;
    let edge = |shard: usize| usize::from(*pool.ports.start()) + units * shard / count * unit;
    let ports = edge(shard) as u16..=(edge(shard + 1) - 1) as u16;
    pool.addresses.iter().map(|&address| Share { address, ports: ports.clone() }).collect()
}

/// A packet before and after its translation.
#[track_caller]
fn passed(before: &[u8], after: &[u8]) -> Seen {
    assert_eq!(unchanging(before), unchanging(after), "more changed than translation is about");
    let seen = match (Seen::read(before), Seen::read(after)) {
        (Ok(_), Ok(seen)) => seen,
        (Ok(_), Err(wrong)) => panic!("translation spoilt the packet: {wrong}"),
        (Err(wrong), _) => panic!("passed though it was no good: {wrong}"),
    };
    assert_eq!(seen.ttl + 1, before[8], "TTL");
    seen
}
