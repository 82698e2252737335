//! The engine's settings: pools, rules, forwards, limits and timeouts, already checked.
//!
//! The configuration file's parser fills these; a program that uses the engine as a library fills them by hand.

pub(crate) mod block_config;
pub(crate) mod deterministic;

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use hashbrown::HashSet;
use ipnet::Ipv4Net;

use crate::packet::ip_protocol::OtherProtocols;
use crate::packet::verdict::Protocol;
use crate::settings::block_config::{BlockGrid, PortBlocks};
use crate::settings::deterministic::Deterministic;

/// Which remotes may reach a mapping from outside (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// Any remote.
    EndpointIndependent,
    /// Remotes whose address the inside endpoint has sent to.
    AddressDependent,
    /// Remotes whose address and port the inside endpoint has sent to.
    AddressAndPortDependent,
}

impl Filtering {
    /// The word of configuration files and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Filtering::EndpointIndependent => "endpoint-independent",
            Filtering::AddressDependent => "address-dependent",
            Filtering::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

/// How outside endpoints are chosen (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingMode {
    /// One outside endpoint for an inside endpoint, whatever the destination.
    EndpointIndependent,
    /// One outside endpoint for each destination; mappings to different destinations share ports (RFC 7857 section 3).
    AddressAndPortDependent,
}

/// Outside addresses and ports that subscribers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Name in configuration, metrics and listings.
    pub name: String,
    /// The addresses, each once.
    pub addresses: Vec<Ipv4Addr>,
    /// Ports and query identifiers handed out.
    pub ports: RangeInclusive<u16>,
    /// How outside endpoints are chosen.
    pub mapping: MappingMode,
    /// Who may answer, where the protocol has no filtering of its own.
    pub filtering: Filtering,
    /// Who may answer over TCP (RFC 5382 REQ-3).
    pub filtering_tcp: Option<Filtering>,
    /// Who may answer over UDP (RFC 4787 REQ-8).
    pub filtering_udp: Option<Filtering>,
    /// Whether an even UDP port stays even and an odd one odd (RFC 4787 REQ-4).
    pub port_parity: bool,
    /// Whether an inside port that is free outside stays as it is.
    pub port_preservation: bool,
    /// Whether ports are handed out in blocks, and how. Shares are of whole blocks then, and mapping is
    /// endpoint-independent.
    pub port_blocks: Option<PortBlocks>,
    /// Whether each subscriber has ports of its own, and who has. There are no blocks then, shares are of subscribers' ports,
    /// and mapping is endpoint-independent.
    pub deterministic: Option<Deterministic>,
    /// Protocols beyond UDP, TCP and ICMP that are translated, by addresses alone.
    pub other_protocols: OtherProtocols,
    /// Whether the gateway answers pings of its addresses: they are [`Verdict::Local`](crate::Verdict::Local), as far as no
    /// mapping takes them.
    pub ping: bool,
}

impl Pool {
    /// Where on each address lie the ports that a subscriber has to itself: port blocks, or ranges by deterministic mapping.
    pub fn block_grid(&self) -> Option<BlockGrid> {
        let blocks = self.port_blocks.as_ref().map(|blocks| blocks.size);
        let size = blocks.or(self.deterministic.as_ref().map(|deterministic| deterministic.size))?;
        Some(BlockGrid::new(&self.ports, size))
    }

    /// Whether only its place is left: its addresses are in use no more.
    pub fn is_removed(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Whether each of its ports is for one mapping, of any subscriber.
    pub fn is_plain(&self) -> bool {
        self.mapping == MappingMode::EndpointIndependent
            && self.port_blocks.is_none()
            && self.deterministic.is_none()
    }

    /// Whether a running gateway can make it `new`.
    ///
    /// # Errors
    /// The key that it cannot change while mappings stand on what it says.
    pub fn can_become(&self, new: &Pool) -> Result<(), &'static str> {
        if new.is_removed() {
            return Ok(());
        }
        let keys = [
            ("mapping", self.mapping == new.mapping),
            ("port_block_size", self.port_blocks == new.port_blocks),
            ("deterministic", self.deterministic == new.deterministic),
            ("ports", self.is_plain() || self.ports == new.ports),
            ("addresses", self.deterministic.is_none() || self.addresses == new.addresses),
        ];
        keys.into_iter().find(|(_, possible)| !possible).map_or(Ok(()), |(key, _)| Err(key))
    }

    /// Whether `new`, at its place, is this pool with changes, and not another one.
    pub(crate) fn is_succeeded_by(&self, new: &Pool) -> bool {
        self.name == new.name && self.can_become(new).is_ok() || new.is_removed()
    }

    /// The ports of the whole blocks that these are, where it hands out ports in blocks.
    pub(crate) fn whole_blocks_of(&self, ports: &RangeInclusive<u16>) -> RangeInclusive<u16> {
        match &self.port_blocks {
            Some(blocks) if !ports.is_empty() => {
                let grid = BlockGrid::new(ports, blocks.size);
                grid.run(0, grid.count())
            }
            _ => ports.clone(),
        }
    }

    /// Whether a port serves several mappings, each towards another remote.
    pub fn shares_ports(&self) -> bool {
        self.mapping == MappingMode::AddressAndPortDependent
    }

    /// Who may answer over `protocol`: where mappings share ports, or there are none, nobody but the remote that a session
    /// is with.
    pub fn filtering_of(&self, protocol: Protocol) -> Filtering {
        if self.shares_ports() || !protocol.has_ports() {
            return Filtering::AddressAndPortDependent;
        }
        let own = match protocol {
            Protocol::Tcp => self.filtering_tcp,
            Protocol::Udp => self.filtering_udp,
            Protocol::Icmp | Protocol::Other => None,
        };
        own.unwrap_or(self.filtering)
    }
}

/// The configuration file's defaults, without a name and without addresses.
impl Default for Pool {
    fn default() -> Pool {
        Pool {
            name: String::new(),
            addresses: Vec::new(),
            ports: 1024..=65535,
            mapping: MappingMode::EndpointIndependent,
            filtering: Filtering::AddressDependent,
            filtering_tcp: None,
            filtering_udp: None,
            port_parity: true,
            port_preservation: true,
            port_blocks: None,
            deterministic: None,
            other_protocols: OtherProtocols::NONE,
            ping: false,
        }
    }
}

/// A part of a pool that one shard hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The outside address.
    pub address: Ipv4Addr,
    /// The ports of it that are this shard's.
    pub ports: RangeInclusive<u16>,
}

impl Share {
    /// Whether the address is in the pool no more; only its place is left.
    pub fn is_closed(&self) -> bool {
        self.ports.is_empty()
    }

    /// `new` shares at the places of the `old` ones: an address stands where it stood, one that is gone leaves its place, and
    /// one that comes takes a place that was empty before, or one behind the others.
    pub fn at_places_of(old: &[Share], new: &[Share]) -> Vec<Share> {
        let mut places: Vec<Share> = old.to_vec();
        let mut empty: Vec<usize> = (0..old.len()).rev().filter(|&place| old[place].is_closed()).collect();
        places.iter_mut().for_each(|place| place.ports = CLOSED);
        for share in new {
            let stood = old.iter().position(|place| place.address == share.address && !place.is_closed());
            match stood.or_else(|| empty.pop()) {
                Some(place) => places[place] = share.clone(),
                None => places.push(share.clone()),
            }
        }
        places
    }
}

#[allow(clippy::reversed_empty_ranges)]
const CLOSED: RangeInclusive<u16> = 1..=0;

/// What a rule does with the new sessions that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Translate from this pool (index into [`Settings::pools`]).
    Pool(usize),
    /// Forward without translation (RFC 6888 REQ-6).
    Exempt,
    /// Drop, and tell the sender (ICMP administratively prohibited).
    Reject,
    /// Drop.
    Drop,
}

/// How a packet is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Refuse {
    /// An ICMP error.
    #[default]
    Reject,
    /// Nothing.
    Drop,
}

/// One rule; the first that matches a new outbound session decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Inside source.
    pub source: Ipv4Net,
    /// Destination; `0.0.0.0/0` matches all.
    pub destination: Ipv4Net,
    /// Protocol; `None` matches all.
    pub protocol: Option<Protocol>,
    /// Source ports (TCP, UDP); the full range matches all protocols.
    pub source_ports: RangeInclusive<u16>,
    /// Destination ports, likewise; of [`Protocol::Other`] the number of the protocol.
    pub ports: RangeInclusive<u16>,
    /// Types of ICMP messages; with none of them all match, and other protocols too.
    pub icmp_types: Vec<u8>,
    /// What to do.
    pub action: RuleAction,
}

impl Default for Rule {
    /// Matches everything, and drops it.
    fn default() -> Rule {
        Rule {
            source: Ipv4Net::default(),
            destination: Ipv4Net::default(),
            protocol: None,
            source_ports: 0..=u16::MAX,
            ports: 0..=u16::MAX,
            icmp_types: Vec::new(),
            action: RuleAction::Drop,
        }
    }
}

/// The source that an inside host sees of what a port forward lets in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardSource {
    /// The remote's own endpoint.
    #[default]
    Remote,
    /// An endpoint of the gateway on the inside: a redirect. Answers come back through the gateway whatever the host's
    /// routes.
    Gateway,
}

/// A permanent mapping of outside ports to an inside host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortForward {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// Outside address.
    pub external: Ipv4Addr,
    /// Outside ports.
    pub external_ports: RangeInclusive<u16>,
    /// Inside host.
    pub internal: Ipv4Addr,
    /// Inside port of the first outside port; the rest follow in order.
    pub internal_port: u16,
    /// What the inside host sees as source.
    pub source: ForwardSource,
}

/// A permanent mapping of whole outside addresses to inside hosts, one to one and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Static {
    /// Outside addresses.
    pub external: Ipv4Net,
    /// As many inside hosts.
    pub internal: Ipv4Net,
}

impl Static {
    /// Each outside address with its inside host.
    pub fn pairs(&self) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> + use<> {
        let (external, internal) = (self.external.network().to_bits(), self.internal.network().to_bits());
        let last = self.external.hostmask().to_bits().min(self.internal.hostmask().to_bits());
        (0..=last).map(move |host| ((external | host).into(), (internal | host).into()))
    }
}

/// An outside network whose hosts have other addresses inside, one to one and in order (RFC 2663 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twice {
    /// The hosts' own addresses; they may be inside addresses, too.
    pub external: Ipv4Net,
    /// By what inside hosts reach them.
    pub internal: Ipv4Net,
}

/// How much state there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions over all workers.
    pub sessions: u32,
    /// Subscribers over all workers. More than there are sessions are of no use.
    pub subscribers: u32,
    /// Outside ports for one subscriber and protocol, at most 65535.
    pub ports_per_subscriber: u32,
    /// The same for protocols that have a limit of their own, by [`Protocol`].
    pub protocol_ports_per_subscriber: [Option<u32>; Protocol::WITH_PORTS.len()],
    /// Sessions for one subscriber; `u32::MAX` is none.
    pub sessions_per_subscriber: u32,
    /// Sessions for one subscriber, by [`Protocol`]; `u32::MAX` is none.
    pub protocol_sessions_per_subscriber: [u32; Protocol::COUNT],
    /// TCP connections of one subscriber that are not open yet; from 65535 on none.
    pub half_open_per_subscriber: u32,
    /// New sessions a second for one subscriber; bursts of one second's worth are let through.
    pub new_sessions_per_subscriber_per_s: u32,
    /// The same by [`Protocol`], within the rate of all; `u32::MAX` is none.
    pub protocol_new_sessions_per_subscriber_per_s: [u32; Protocol::COUNT],
    /// Datagrams in fragments that are on their way at once, over all workers.
    pub fragments: u32,
    /// As many for one subscriber.
    pub fragments_per_subscriber: u32,
    /// Sessions that remotes begin through redirects, over all workers; a part of [`Limits::sessions`].
    pub redirected_sessions: u32,
}

/// Idle timeouts, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// RFC 4787 REQ-5.
    pub udp_s: u32,
    /// Sessions to UDP port 53 (RFC 4787 REQ-5a).
    pub udp_dns_s: u32,
    /// RFC 5382 REQ-5.
    pub tcp_established_s: u32,
    /// Connections whose handshake is not over (RFC 5382 REQ-5, RFC 7857 section 2.1).
    pub tcp_opening_s: u32,
    /// Connections that both sides closed, or that were reset (RFC 5382 REQ-5, RFC 7857 sections 2.1 and 2.2).
    pub tcp_closing_s: u32,
    /// How long a SYN that is not let in stays unanswered (RFC 5382 REQ-4).
    pub tcp_unsolicited_syn_s: u32,
    /// Queries (RFC 5508 REQ-2).
    pub icmp_s: u32,
    /// Redirected sessions that the inside host has not answered.
    pub redirect_half_open_s: u32,
    /// Sessions of protocols without ports.
    pub other_s: u32,
    /// How long a freed outside port rests (RFC 6888 REQ-8).
    pub port_hold_s: u32,
    /// How long the rest of a datagram in fragments is waited for (RFC 791 section 3.2).
    pub fragment_s: u32,
}

impl Limits {
    /// Sessions that each of so many shards has room for.
    pub fn sessions_each(&self, shards: u16) -> u32 {
        self.sessions.div_ceil(u32::from(shards.max(1)))
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions: 1_000_000,
            subscribers: 1_000_000,
            ports_per_subscriber: 8192,
            protocol_ports_per_subscriber: [None; Protocol::WITH_PORTS.len()],
            sessions_per_subscriber: 16_384,
            protocol_sessions_per_subscriber: [u32::MAX; Protocol::COUNT],
            half_open_per_subscriber: 4096,
            new_sessions_per_subscriber_per_s: 20_000,
            protocol_new_sessions_per_subscriber_per_s: [u32::MAX; Protocol::COUNT],
            fragments: 16_384,
            fragments_per_subscriber: 256,
            redirected_sessions: 16_384,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            udp_s: 300,
            udp_dns_s: 30,
            tcp_established_s: 7440,
            tcp_opening_s: 240,
            tcp_closing_s: 240,
            tcp_unsolicited_syn_s: 6,
            icmp_s: 60,
            redirect_half_open_s: 10,
            other_s: 300,
            port_hold_s: 120,
            fragment_s: 15,
        }
    }
}

/// All settings of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Inside interface addresses with their prefixes: own addresses, and where subscribers live.
    pub inside: Vec<Ipv4Net>,
    /// Prefixes reached through inside interfaces by static routes.
    pub inside_routed: Vec<Ipv4Net>,
    /// Outside interface addresses with their prefixes.
    pub outside: Vec<Ipv4Net>,
    /// Pools.
    pub pools: Vec<Pool>,
    /// Rules, in order.
    pub rules: Vec<Rule>,
    /// Port forwards.
    pub port_forwards: Vec<PortForward>,
    /// 1:1 mappings; no outside and no inside address stands in two.
    pub statics: Vec<Static>,
    /// Twice NAT; no two external and no two internal prefixes overlap.
    pub twice: Vec<Twice>,
    /// Limits.
    pub limits: Limits,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// New sessions from inside that no rule allows, or that there is no room for (RFC 5508 REQ-8, RFC 6888 REQ-11), and
    /// TCP segments from inside that belong to no session.
    pub refuse: Refuse,
    /// Whether a TCP segment from inside without SYN may begin a session, in the middle of a connection.
    pub tcp_pickup: bool,
    /// SYNs from outside to an endpoint that has a mapping, whose filtering does not let them in (RFC 5382 REQ-4).
    pub unsolicited_syn: Refuse,
    /// The largest TCP segment that a SYN may offer, octets.
    pub mss_clamp: Option<u16>,
    /// Whether hosts inside may have addresses in 240.0.0.0/4, which RFC 1112 section 4 keeps for later.
    pub class_e: bool,
    /// Packets whose IPv4 options name routers that they are to pass (RFC 7126 sections 4.3 and 4.4).
    pub source_route: SourceRoute,
    /// ICMP errors whose quoted IPv4 header has a wrong checksum (RFC 5508 REQ-3a).
    pub icmp_embedded_checksum: EmbeddedChecksum,
}

/// What becomes of packets with a source route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceRoute {
    /// They are dropped.
    #[default]
    Drop,
    /// They are worked on as if they had none.
    Pass,
}

/// What becomes of ICMP errors whose quoted IPv4 header has a wrong checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmbeddedChecksum {
    /// They are translated, and the checksum stays wrong by the same amount: routers change options and do not compute it
    /// anew.
    #[default]
    Adjust,
    /// They are dropped.
    Drop,
}

impl Settings {
    /// Whether mappings of some pool share their ports.
    pub fn shares_ports(&self) -> bool {
        self.pools.iter().any(Pool::shares_ports)
    }

    /// Every outside address that mappings may use.
    pub(crate) fn externals(&self) -> HashSet<u32> {
        let pools = self.pools.iter().flat_map(|pool| &pool.addresses).copied();
        let forwards = self.port_forwards.iter().map(|forward| forward.external);
        let statics = self.statics.iter().flat_map(Static::pairs).map(|(external, _)| external);
        pools.chain(forwards).chain(statics).map(Ipv4Addr::to_bits).collect()
    }
}

/// One shard among those of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub index: u16,
    /// How many there are.
    pub of: u16,
}

impl Part {
    /// The only one.
    pub const WHOLE: Part = Part { index: 0, of: 1 };
}
