//! The owner of an address, an endpoint, a packet.

use std::net::Ipv4Addr;

use hashbrown::{HashMap, HashSet};
use ipnet::Ipv4Net;

use super::pool_partition::{Division, External};
use super::toeplitz::Random;
use super::whole_address_map::WholeAddresses;
use super::{Nic, Rss, WorkerId};
use natgw_nat::IpProtocol;
use natgw_nat::Protocol;
use natgw_nat::settings::{PortForward, RuleAction, Settings, Share, Static};
use natgw_wire::{icmpv4, ipv4, ports};

/// Why the workers cannot divide what the settings give them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SteeringError {
    /// No worker at all, or more than a redirection table can name.
    #[error("{workers} workers; a redirection table of {entries} entries serves 1 to {entries}")]
    Workers {
        /// How many workers.
        workers: u16,
        /// The smaller of both tables.
        entries: usize,
    },
    /// A redirection table that no key can be drawn for.
    #[error("a redirection table of {0} entries; a power of two from 16 to 2048 is needed")]
    RetaSize(usize),
    /// A pool of which some worker would get nothing.
    #[error(
        "pool \"{name}\": {parts} {} for {workers} workers; each needs one at least",
        if *blocks { "port blocks" } else { "ports" }
    )]
    PoolTooSmall {
        /// The pool.
        name: String,
        /// Its ports or port blocks (of each address).
        parts: usize,
        /// Whether it has blocks.
        blocks: bool,
        /// How many workers.
        workers: u16,
    },
    /// An outside address that stands in two pools, or in a pool and a 1:1 mapping.
    #[error("outside address {0} is in use twice")]
    AddressTwice(Ipv4Addr),
    /// A pool of a running gateway that would have no address for a worker.
    #[error(
        "pool \"{pool}\": worker {} would have no address left; a restart divides it anew",
        worker.0
    )]
    WorkerWithout {
        /// The pool.
        pool: String,
        /// The worker.
        worker: WorkerId,
    },
    /// A pool of a running gateway whose ports would be divided otherwise.
    #[error(
        "pool \"{0}\": its workers share each address, and other ports would change hands; a restart divides it anew"
    )]
    PortsChangeHands(String),
    /// A pool of a running gateway that is the first to be divided by ports.
    #[error(
        "pool \"{0}\" has fewer addresses than there are workers, and other protocols are translated: they would \
         change hands; a restart is needed"
    )]
    ProtocolsChangeHands(String),
    /// A pool of a running gateway of which too many addresses change at once.
    #[error(
        "pool \"{0}\": a worker would have more than 65536 addresses while those that go are still in use; change it in two \
         reloads"
    )]
    TooManyPlaces(String),
    /// Port forwards that overlap.
    #[error("outside port {0}:{1} is forwarded twice")]
    ForwardTwice(Ipv4Addr, u16),
}

/// The owners of addresses and endpoints. The same in every worker; it changes only by [`Steering::set_forwards`] and
/// [`Steering::under`].
#[derive(Clone, Debug)]
pub struct Steering {
    pub(super) workers: u16,
    pub(super) inside: Rss,
    pub(super) outside: Rss,
    /// Every address of pools, forwards and 1:1 mappings.
    pub(super) externals: HashMap<u32, External>,
    /// Those of them that have one owner.
    pub(super) whole: WholeAddresses,
    /// Where addresses are inside addresses also when they come as destinations from outside (RFC 6888 REQ-6).
    pub(super) inside_prefixes: Vec<Ipv4Net>,
    pub(super) shares: Vec<Vec<Vec<Share>>>,
    pub(super) unsteered: usize,
    /// Where pools are divided by ports: the hosts with 1:1 mappings, whose protocols without ports stay with their owners.
    pub(super) without_ports: Option<HashSet<u32>>,
}

impl Steering {
    /// The one owner of protocols without ports, where pools are divided by ports: any worker could choose the outside
    /// address, but the answer has no port that names the worker.
    pub const WITHOUT_PORTS: WorkerId = WorkerId(0);
    /// The worker that drops frames without an IPv4 header: NICs put frames that they cannot hash into queue 0.
    pub const MALFORMED: WorkerId = WorkerId(0);

    /// Divides subscribers, pools, forwards and 1:1 mappings among `workers`. The keys come from `seed`, which is to
    /// be secret; the same arguments give the same owners.
    ///
    /// # Errors
    /// See [`SteeringError`].
    pub fn new(
        settings: &Settings,
        workers: u16,
        seed: u64,
        inside: Nic,
        outside: Nic,
    ) -> Result<Steering, SteeringError> {
        for nic in [inside, outside] {
            if !nic.is_usable() {
                return Err(SteeringError::RetaSize(nic.reta_size));
            }
        }
        let entries = inside.reta_size.min(outside.reta_size);
        if workers == 0 || usize::from(workers) > entries {
            return Err(SteeringError::Workers { workers, entries });
        }
        let mut random = Random::new(seed);
        let inside = Rss::by_source(inside, workers, &mut random);
        let mut best = Steering::divide(settings, workers, &inside, outside, &mut random)?;
        for _ in 1..DRAWS {
            if best.unsteered == 0 {
                break;
            }
            let other = Steering::divide(settings, workers, &inside, outside, &mut random)?;
            if other.unsteered < best.unsteered {
                best = other;
            }
        }
        best.set_forwards(&settings.port_forwards)?;
        Ok(best)
    }

    fn divide(
        settings: &Settings,
        workers: u16,
        inside: &Rss,
        nic: Nic,
        random: &mut Random,
    ) -> Result<Steering, SteeringError> {
        let mut outside = Rss::by_destination(nic, workers, random);
        let mut division = Division::new(&mut outside, nic.reta_size, workers);
        for pool in &settings.pools {
            division.add_pool(pool, inside)?;
        }
        for (external, internal) in settings.statics.iter().flat_map(Static::pairs) {
            division.add_whole(external, inside.owner(internal.into()))?;
        }
        for forward in &settings.port_forwards {
            division.claim(forward.external, inside.owner(forward.internal.into()));
        }
        let Division { externals, shares, unsteered, .. } = division;
        Ok(Steering {
            workers,
            inside: inside.clone(),
            outside,
            whole: whole(&externals),
            externals,
            inside_prefixes: inside_prefixes(settings),
            shares,
            unsteered,
            without_ports: without_ports(settings, workers),
        })
    }

    /// Puts these port forwards in the place of all others. Subscribers and pools keep their owners.
    ///
    /// # Errors
    /// [`SteeringError::ForwardTwice`]; some of the forwards are in place then.
    pub fn set_forwards(&mut self, forwards: &[PortForward]) -> Result<(), SteeringError> {
        self.externals.values_mut().for_each(External::clear_forwards);
        let added = forwards.iter().try_for_each(|forward| {
            let owner = self.inside.owner(forward.internal.into());
            let address = u32::from(forward.external);
            let home = self.outside.owner(address);
            self.externals.entry(address).or_insert(External::whole(home)).add_forward(forward, owner)
        });
        self.whole = whole(&self.externals);
        added
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        self.workers
    }

    /// Steering of the inside port.
    pub fn inside(&self) -> &Rss {
        &self.inside
    }

    /// Steering of the outside port.
    pub fn outside(&self) -> &Rss {
        &self.outside
    }

    /// Outside addresses of pools and 1:1 mappings whose packets the redirection table cannot bring to their owner,
    /// or not all of them.
    pub fn unsteered_addresses(&self) -> usize {
        self.unsteered
    }

    /// A worker's part of each pool, in the settings' order. Forwarded ports are still in it; they belong to the
    /// owner of the inside host, and no pool hands them out.
    pub fn shares(&self, worker: WorkerId) -> &[Vec<Share>] {
        self.shares.get(worker.index()).map_or(&[], Vec::as_slice)
    }

    /// The owner of a subscriber.
    #[inline]
    pub fn outbound_owner(&self, src: u32) -> WorkerId {
        self.inside.owner(src)
    }

    /// The owner of an outside endpoint: port or query identifier `channel` of `dst`. Of an inside address, which
    /// untranslated traffic has as destination, the subscriber's.
    #[inline]
    pub fn inbound_owner(&self, dst: u32, protocol: Protocol, channel: u16) -> WorkerId {
        match self.externals.get(&dst) {
            Some(external) => external.owner(protocol, channel),
            None => self.other_owner(dst, protocol),
        }
    }

    /// The owner of an inbound packet to `dst` that names no port, as fragments do.
    #[inline]
    pub fn inbound_home(&self, dst: u32) -> WorkerId {
        match self.externals.get(&dst) {
            Some(external) => external.home,
            None => self.other_owner(dst, Protocol::Udp),
        }
    }

    /// The owner of an IPv4 packet from inside: of its source, or of the host that an ICMP error is about, which may
    /// come from any router. What is no IPv4 header belongs to [`Steering::MALFORMED`], who drops it.
    #[inline(always)]
    pub fn outbound(&self, packet: &[u8]) -> WorkerId {
        match Plain::of(packet) {
            Some(Plain { src, .. }) => self.outbound_owner(src),
            None => self.outbound_closely(packet),
        }
    }

    #[cold]
    pub(super) fn outbound_closely(&self, packet: &[u8]) -> WorkerId {
        let Ok(packet) = ipv4::Packet::new_header(packet) else { return Steering::MALFORMED };
        let (inside, number) = match embedded(packet) {
            Some(embedded) => (embedded.dst_bits(), embedded.protocol()),
            None => (packet.src_bits(), packet.protocol()),
        };
        match IpProtocol(number).translated_as() {
            Ok(protocol) => self.inside_owner(inside, protocol),
            Err(_) => self.outbound_owner(inside),
        }
    }

    /// The owner of what an inside host sends and gets over a protocol.
    pub fn inside_owner(&self, inside: u32, protocol: Protocol) -> WorkerId {
        match &self.without_ports {
            Some(statics) if !protocol.has_ports() && !statics.contains(&inside) => Steering::WITHOUT_PORTS,
            _ => self.inside.owner(inside),
        }
    }

    /// The owner of an IPv4 packet from outside: of the endpoint that it is for, or that an ICMP error is about. All
    /// fragments go to the home of the address, the first one too, which alone could tell the endpoint.
    /// What is no IPv4 header belongs to [`Steering::MALFORMED`], who drops it.
    #[inline(always)]
    pub fn inbound(&self, packet: &[u8]) -> WorkerId {
        let owner = Plain::of(packet).and_then(|Plain { dst, .. }| self.whole.owner(dst));
        owner.unwrap_or_else(|| self.inbound_closely(packet))
    }

    #[inline(never)]
    pub(super) fn inbound_closely(&self, packet: &[u8]) -> WorkerId {
        let Ok(packet) = ipv4::Packet::new_header(packet) else { return Steering::MALFORMED };
        match embedded(packet) {
            Some(embedded) => self.endpoint_owner(embedded.src_bits(), channel(embedded, End::Source)),
            None if packet.is_fragment() => self.inbound_home(packet.dst_bits()),
            None => self.endpoint_owner(packet.dst_bits(), channel(packet, End::Destination)),
        }
    }

    /// The owner of the endpoint that the first fragment of a datagram from outside is for, which alone names it; of any
    /// other fragment as [`Steering::inbound`].
    pub fn endpoint_owner_of(&self, packet: &[u8]) -> WorkerId {
        let Ok(packet) = ipv4::Packet::new_header(packet) else { return Steering::MALFORMED };
        self.endpoint_owner(packet.dst_bits(), channel(packet, End::Destination))
    }

    /// The owner of the outside endpoint that a packet which was translated outbound comes from.
    pub fn sender_owner_of(&self, packet: &[u8]) -> WorkerId {
        let Ok(packet) = ipv4::Packet::new_header(packet) else { return Steering::MALFORMED };
        self.endpoint_owner(packet.src_bits(), channel(packet, End::Source))
    }

    fn endpoint_owner(&self, address: u32, channel: Option<(Protocol, u16)>) -> WorkerId {
        match channel {
            Some((protocol, channel)) => self.inbound_owner(address, protocol, channel),
            None => self.inbound_home(address),
        }
    }

    #[cold]
    fn other_owner(&self, dst: u32, protocol: Protocol) -> WorkerId {
        let address = Ipv4Addr::from(dst);
        if self.inside_prefixes.iter().any(|prefix| prefix.contains(&address)) {
            self.inside_owner(dst, protocol)
        } else {
            self.outside.owner(dst)
        }
    }
}

/// Those of the outside addresses that belong to one worker.
pub(super) fn whole(externals: &HashMap<u32, External>) -> WholeAddresses {
    WholeAddresses::new(
        externals.iter().filter_map(|(&address, external)| Some((address, external.only_owner()?))),
    )
}

/// The addresses of a packet that is for one of its endpoints, as nearly all are: UDP or TCP, and with a header without
/// options.
#[derive(Clone, Copy)]
struct Plain {
    src: u32,
    dst: u32,
}

impl Plain {
    #[inline(always)]
    fn of(packet: &[u8]) -> Option<Plain> {
        let head: &[u8; ipv4::HEADER_LEN] = packet.first_chunk()?;
        let ip = ipv4::Packet::new_unchecked(head);
        let has_ports = ip.protocol() < 32 && WITH_PORTS >> ip.protocol() & 1 != 0;
        (head[0] == WITHOUT_OPTIONS && has_ports).then(|| Plain { src: ip.src_bits(), dst: ip.dst_bits() })
    }
}

/// Bit `number` is set for the protocols whose packets go by their addresses and ports, whatever else they say.
const WITH_PORTS: u32 = 1 << ipv4::UDP | 1 << ipv4::TCP;

/// Version 4, five words.
const WITHOUT_OPTIONS: u8 = 0x45;

/// Where inside addresses are: behind inside interfaces, and wherever exempt traffic comes from.
pub(super) fn inside_prefixes(settings: &Settings) -> Vec<Ipv4Net> {
    let exempt =
        settings.rules.iter().filter(|rule| rule.action == RuleAction::Exempt).map(|rule| rule.source);
    Ipv4Net::aggregate(&settings.inside.iter().copied().chain(exempt).collect())
}

/// See [`Steering::without_ports`].
pub(super) fn without_ports(settings: &Settings, workers: u16) -> Option<HashSet<u32>> {
    let mut pools = settings.pools.iter().filter(|pool| !pool.is_removed());
    let by_ports = pools.any(|pool| pool.addresses.len() < usize::from(workers));
    let hosts = settings.statics.iter().flat_map(Static::pairs).map(|(_, internal)| internal.to_bits());
    by_ports.then(|| hosts.collect())
}

/// Which end's port names the outside endpoint.
enum End {
    Source,
    Destination,
}

/// The packet that an ICMP error embeds.
#[inline]
fn embedded(packet: ipv4::Packet<&[u8]>) -> Option<ipv4::Packet<&[u8]>> {
    if packet.protocol() != ipv4::ICMP || packet.is_fragment() {
        return None;
    }
    let message = icmpv4::Packet::new_checked(packet.into_payload()).ok()?;
    if icmpv4::is_error(message.ty()) { ipv4::Packet::new_header(message.into_embedded()).ok() } else { None }
}

/// Protocol and port or query identifier, where the packet shows them; where there is neither, the protocol's number.
#[inline]
fn channel(packet: ipv4::Packet<&[u8]>, end: End) -> Option<(Protocol, u16)> {
    if packet.frag_offset() != 0 {
        return None;
    }
    let protocol = IpProtocol(packet.protocol()).translated_as().ok()?;
    let channel = match protocol {
        Protocol::Udp | Protocol::Tcp => {
            let ports = ports::Packet::new_checked(packet.payload()).ok()?;
            match end {
                End::Source => ports.src_port(),
                End::Destination => ports.dst_port(),
            }
        }
        Protocol::Icmp => {
            let message = icmpv4::Packet::new_checked(packet.payload()).ok()?;
            // The identifier stands for a port of the asking host.
            let is_ours = match end {
                End::Source => icmpv4::is_request(message.ty()),
                End::Destination => icmpv4::is_reply(message.ty()),
            };
            if is_ours { message.ident() } else { return None }
        }
        Protocol::Other => packet.protocol().into(),
    };
    Some((protocol, channel))
}

/// Keys to try for one whose table can name the owner of every outside address.
const DRAWS: u32 = 16;
