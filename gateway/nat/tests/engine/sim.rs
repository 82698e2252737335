//! A whole gateway without its NICs: shards, owners, a clock, and hairpinned packets going around.
//!
//! Owners are those that `natgw_steer` names. Packets are carried from shard to shard here, because tests look at the verdict of
//! each step; the workers that do so in the program are tested over `natgw_worker::simulation`.
//!
//! Every packet that passes is checked: all checksums right, TTL down by exactly one, nothing changed that translation does
//! not change. A packet that is refused stays as it was.

use std::net::Ipv4Addr;

use natgw_nat::{
    Changes, Direction, DropReason, Endpoint, Filter, ForwardSource, IcmpReply, MappingView, Part, Parts,
    Pool, PortForward, Protocol, Rule, RuleAction, Secret, SessionView, Settings, Shard, ShardOptions, Share,
    Sweep, Time, Verdict,
};
use natgw_steer::{Nic, Steering, SteeringError, WorkerId};

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
    /// Who owns what.
    pub steering: Steering,
    reload: Option<Reload>,
    /// Packets given to each shard, and those that it answered with [`Verdict::Reply`] or [`Verdict::Local`].
    pub given: Vec<u64>,
    pub not_forwarded: Vec<u64>,
}

/// A reload that is not through yet.
struct Reload {
    /// Who owns what when it is.
    steering: Steering,
    /// By shard: what it puts in force, and where its sweep stands.
    shards: Vec<(Changes, Option<Sweep>)>,
}

/// Who owns what among so many shards, in every gateway with these settings.
pub(crate) fn steering(settings: &Settings, shards: usize) -> Steering {
    // The smallest table that serves: keys for it are drawn in no time, and every trial makes a gateway.
    let nic = Nic { reta_size: shards.next_power_of_two().max(*Nic::RETA_SIZES.start()), key_len: 40 };
    Steering::new(settings, shards as u16, SEED, nic, nic).expect("owners")
}

const SEED: u64 = 7;

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
        let steering = steering(&settings, count);
        Gateway::with_steering(settings, steering, sessions)
    }

    /// As [`Gateway::with_shards`], with these owners, and as a start makes it: without the places of addresses that went.
    pub(crate) fn with_steering(settings: Settings, steering: Steering, sessions: u32) -> Gateway {
        let now = Time::from_s(1_000_000);
        let of = steering.workers();
        let shards = (0..of)
            .map(|index| {
                let is_open = |share: &&Share| !share.is_closed();
                let pools = steering.shares(WorkerId(index)).iter();
                let shares: Vec<Vec<Share>> =
                    pools.map(|pool| pool.iter().filter(is_open).cloned().collect()).collect();
                let secret = Secret::new([u64::from(index) + 1, 2, 3, 4]);
                let part = Part { index, of };
                Shard::new(&ShardOptions {
                    settings: &settings,
                    shares: &shares,
                    sessions,
                    part,
                    secret,
                    now,
                })
            })
            .collect::<Result<_, _>>()
            .expect("memory");
        Gateway {
            settings,
            now,
            shards,
            steering,
            reload: None,
            given: vec![0; of.into()],
            not_forwarded: vec![0; of.into()],
        }
    }

    /// A packet arrives on the inside.
    #[track_caller]
    pub(crate) fn outbound(&mut self, packet: Packet) -> Outcome {
        let bytes = packet.bytes();
        let shard = self.steering.outbound(&bytes).index();
        self.carry(bytes, shard, Direction::Outbound)
    }

    /// A packet arrives on the outside.
    #[track_caller]
    pub(crate) fn inbound(&mut self, packet: Packet) -> Outcome {
        let bytes = packet.bytes();
        let shard = self.steering.inbound(&bytes).index();
        self.carry(bytes, shard, Direction::Inbound)
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
        let shard = self.steering.inbound(&bytes).index();
        let mut burst = [bytes];
        let mut verdicts = [Verdict::Local];
        self.given[shard] += 1;
        self.shards[shard].translate_hairpinned(&mut burst[..], self.now, &mut verdicts);
        match verdicts[0] {
            Verdict::Forward(_) => Outcome::In(passed(original, &burst[0])),
            other => {
                if matches!(other, Verdict::Local | Verdict::Reject(_)) {
                    let owner = self.steering.sender_owner_of(&burst[0]).index();
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
            verdict => panic!("{verdict:?}: fragments are sent by `crate::fragment_sim`"),
        }
    }

    /// Changes what a running gateway lets change, and lets every shard look through its sessions.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        self.begin_reload(change);
        self.finish_reload();
    }

    /// Puts what can be in force at once, and sweeps nothing yet.
    #[track_caller]
    pub(crate) fn begin_reload(&mut self, change: impl FnOnce(&mut Settings)) {
        self.try_reload(change).expect("owners stay");
    }

    /// As [`Gateway::begin_reload`].
    ///
    /// # Errors
    /// When an owner would change: nothing does then.
    pub(crate) fn try_reload(&mut self, change: impl FnOnce(&mut Settings)) -> Result<(), SteeringError> {
        self.finish_reload();
        let mut settings = self.settings.clone();
        change(&mut settings);
        let steering = self.steering.under(&self.settings, &settings)?;
        let mut shards = Vec::new();
        for (id, shard) in (0..).map(WorkerId).zip(&mut self.shards) {
            let before = Parts { settings: &self.settings, shares: self.steering.shares(id) };
            let after = Parts { settings: &settings, shares: steering.shares(id) };
            let mut changes = Changes::new(before, after, 1024).expect("memory");
            while !shard.adopt(&mut changes) {}
            shards.push((changes, Some(Sweep::START)));
        }
        self.settings = settings;
        self.steering = self.steering.until(&steering);
        self.reload = Some(Reload { steering, shards });
        Ok(())
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
            self.steering = reload.steering.clone();
            self.reload = None;
        }
        is_through
    }

    /// Lets a reload come to its end.
    pub(crate) fn finish_reload(&mut self) {
        while !self.sweep(100) {}
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
        self.steering.outbound_owner(address).index()
    }

    /// As [`Gateway::owner_of_inside`], over a protocol.
    pub(crate) fn owner_over(&self, protocol: Protocol, address: u32) -> usize {
        self.steering.inside_owner(address, protocol).index()
    }

    /// Which shard an outside endpoint belongs to.
    pub(crate) fn owner_of_outside(&self, protocol: Protocol, external: Endpoint) -> usize {
        self.steering.inbound_owner(external.address, protocol, external.port).index()
    }
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
