//! What the engine decides about a packet, and why a packet is dropped.
//!
//! Every packet ends in exactly one [`Verdict`]; every drop names one [`DropReason`], and each reason is one
//! counter, so that received = transmitted + dropped + consumed + handed over holds to the packet.

use crate::table::enum_index::enum_index;

/// Where a packet came from, seen from the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Direction {
    /// From an inside host towards the outside.
    Outbound = 0,
    /// From the outside towards an inside host.
    Inbound = 1,
}

impl Direction {
    /// Both directions, in index order.
    pub const ALL: [Direction; 2] = [Direction::Outbound, Direction::Inbound];

    /// The label used in metrics and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Outbound => "outbound",
            Direction::Inbound => "inbound",
        }
    }

    /// The other direction.
    #[must_use]
    pub const fn flip(self) -> Direction {
        match self {
            Direction::Outbound => Direction::Inbound,
            Direction::Inbound => Direction::Outbound,
        }
    }
}

/// What the engine tells apart: protocols that it translates by port or by query identifier, and all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Protocol {
    /// RFC 768.
    Udp = 0,
    /// RFC 9293.
    Tcp = 1,
    /// RFC 792 queries, by identifier.
    Icmp = 2,
    /// Every other protocol, translated by its addresses; its number stands in the place of both ports.
    #[serde(skip_deserializing)]
    Other = 3,
}

impl Protocol {
    /// How many there are.
    pub const COUNT: usize = 4;
    /// Every one, in index order.
    pub const ALL: [Protocol; Self::COUNT] = [Protocol::Udp, Protocol::Tcp, Protocol::Icmp, Protocol::Other];
    /// Those with ports or query identifiers, in index order, before the others.
    pub const WITH_PORTS: [Protocol; 3] = [Protocol::Udp, Protocol::Tcp, Protocol::Icmp];

    /// The label used in configuration, metrics and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Icmp => "icmp",
            Protocol::Other => "other",
        }
    }

    /// Whether its endpoints have ports or query identifiers.
    pub const fn has_ports(self) -> bool {
        !matches!(self, Protocol::Other)
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Translated in place; send it on. Carries the session that translated it, where there is one.
    Forward(Option<crate::ids::SessionId>),
    /// Translated in place and addressed to an outside endpoint of this gateway: it comes back as an inbound packet.
    Hairpin,
    /// Not forwarded; the sender is due this ICMP error, which quotes the packet as it stands, untranslated.
    Reply(IcmpReply),
    /// Not for translation: addressed to the gateway itself. A hairpinned packet was translated once: the shard that did so is
    /// to take it back ([`Shard::take_back`](crate::Shard::take_back)).
    Local,
    /// A new session that is refused: counted as a drop for this reason. The sender is due an ICMP error that says so
    /// (RFC 5508 REQ-8), which quotes the packet as it stands, untranslated; a hairpinned one as it was before
    /// ([`Shard::restore`](crate::Shard::restore)).
    Reject(DropReason),
    /// A TCP segment from inside, of no connection that is known: counted as a drop for this reason. The sender is due a RST,
    /// so that it need not wait in vain (RFC 9293 section 3.10.7.1); the segment is as it came.
    Reset(DropReason),
    /// A fragment: left as it is, for [`Shard::translate_fragment`](crate::Shard::translate_fragment) to decide.
    Fragment,
    /// Counted and freed.
    Drop(DropReason),
}

/// An ICMP error that a packet earns its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IcmpReply {
    /// TTL ran out (type 11 code 0).
    TimeExceeded,
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])* $variant:ident = $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum $name { $($(#[doc = $doc])* $variant,)* }

        impl $name {
            /// Every variant, in counter order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label used in metrics and listings.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $label,)* }
            }

            /// What it means: its documentation, which the page of metrics prints.
            pub const fn meaning(self) -> &'static str {
                match self { $($name::$variant => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

/// The failures of new sessions, which are drop reasons too: both lists come from the one below.
macro_rules! failures_and_drops {
    ({ $($failures:tt)* }, $(#[$drop:meta])* { $($before:tt)* } and { $($after:tt)* }) => {
        reasons! {
            /// Why a session could not be made: `natgw_session_failures_total{reason}`.
            SessionFailure { $($failures)* }
        }
        reasons! {
            $(#[$drop])*
            DropReason { $($before)* $($failures)* $($after)* }
        }
        drops_by_failure! { $($failures)* }
    };
}

/// A session that could not be made drops its packet for the reason of the same name.
macro_rules! drops_by_failure {
    ($($(#[doc = $doc:literal])* $variant:ident = $label:literal,)*) => {
        impl From<SessionFailure> for DropReason {
            fn from(failure: SessionFailure) -> DropReason {
                match failure { $(SessionFailure::$variant => DropReason::$variant,)* }
            }
        }
    };
}

failures_and_drops! {
    {
        /// The session table is full.
        SessionsFull = "sessions-full",
        /// The mapping table is full.
        MappingsFull = "mappings-full",
        /// The subscriber table is full.
        SubscribersFull = "subscribers-full",
        /// No outside port is free for this subscriber.
        PortsExhausted = "ports-exhausted",
        /// No port block is free for this subscriber.
        PortBlocksExhausted = "port-blocks-exhausted",
        /// The subscriber's port blocks, or its ports by deterministic mapping, are all taken, and it may have no more.
        SubscriberPortBlocks = "subscriber-port-blocks",
        /// The pool's mapping is deterministic, and it has no ports for this subscriber.
        NoPortRange = "no-port-range",
        /// Over a protocol without ports, another host has every outside address towards this remote that is to be had.
        AddressTaken = "address-taken",
        /// The subscriber holds as many ports as it may.
        SubscriberPorts = "subscriber-ports",
        /// The subscriber has as many sessions as it may, in all or of this protocol.
        SubscriberSessions = "subscriber-sessions",
        /// The subscriber has as many TCP connections half open as it may.
        SubscriberHalfOpen = "subscriber-half-open",
        /// The subscriber makes sessions faster than it may.
        SubscriberRate = "subscriber-rate",
        /// Remotes have begun as many redirected sessions as they may.
        RedirectsFull = "redirects-full",
        /// The remote has a session with the inside endpoint through another outside endpoint.
        RemoteTaken = "remote-taken",
        /// The gateway is to end, and begins no session any more.
        Draining = "draining",
    },
    /// Why a packet was dropped. One counter each: `natgw_dropped_packets_total{reason}`.
    {
        /// Shorter than the headers that it claims to carry.
        Truncated = "truncated",
        /// Not IPv4 and not ARP.
        EtherType = "ethertype",
        /// A VLAN tag that this interface does not carry, or more than one.
        Vlan = "vlan",
        /// The frame is addressed to another station.
        NotForUs = "not-for-us",
        /// ARP that is not Ethernet/IPv4, or lies about its lengths.
        ArpMalformed = "arp-malformed",
        /// IP version other than 4.
        IpVersion = "ip-version",
        /// IHL below 5 or beyond the packet.
        IpHeaderLength = "ip-header-length",
        /// Total length below the header's or beyond the frame.
        IpTotalLength = "ip-total-length",
        /// IPv4 header checksum wrong (RFC 1812 section 5.2.2).
        IpChecksum = "ip-checksum",
        /// IPv4 options that name routers to pass, loosely or strictly (RFC 7126 sections 4.3 and 4.4).
        SourceRoute = "source-route",
        /// UDP length below 8 or beyond the packet.
        UdpLength = "udp-length",
        /// TCP data offset below 5 or beyond the packet.
        TcpDataOffset = "tcp-data-offset",
        /// TCP flags that no sequence can contain (none at all, SYN with FIN, SYN with RST).
        TcpFlags = "tcp-flags",
        /// ICMP checksum wrong (RFC 5508 REQ-3).
        IcmpChecksum = "icmp-checksum",
        /// ICMP error whose embedded packet is cut short or is no IPv4 header, or, where `icmp_embedded_checksum` says so, has a
        /// wrong header checksum.
        IcmpEmbedded = "icmp-embedded",
        /// ICMP that is neither query nor error (RFC 5508 REQ-9 to 11).
        IcmpType = "icmp-type",
        /// ICMP error about a packet that no session or mapping explains (RFC 5508 REQ-4, 5).
        IcmpNoSession = "icmp-no-session",
        /// A fragment that no honest sender makes: empty, not a multiple of eight octets though others follow, ending
        /// behind the largest datagram; or an ICMP error in fragments, whose checksum cannot be checked.
        FragmentMalformed = "fragment-malformed",
        /// A fragment that overlaps another, and the later ones of its datagram (RFC 1858, RFC 3128).
        FragmentOverlap = "fragment-overlap",
        /// A fragment that has passed already.
        FragmentDuplicate = "fragment-duplicate",
        /// The first fragment of its datagram did not come in time.
        FragmentOrphan = "fragment-orphan",
        /// Of a ping in fragments for the gateway itself: the rest did not come in time, or others took its place.
        FragmentIncomplete = "fragment-incomplete",
        /// More datagrams in fragments than may be on their way at once, or more fragments that wait.
        FragmentsFull = "fragments-full",
        /// The subscriber has as many datagrams in fragments on their way as it may.
        SubscriberFragments = "subscriber-fragments",
        /// A protocol beyond UDP, TCP and ICMP that its pool does not translate.
        Protocol = "protocol",
        /// An IPsec authentication header, which no translation gets through (RFC 3715 section 2.1).
        AuthenticationHeader = "authentication-header",
        /// Source in 0.0.0.0/8: this network, or none (RFC 1122 section 3.2.1.3).
        SourceZero = "source-zero",
        /// Source in 127.0.0.0/8.
        SourceLoopback = "source-loopback",
        /// Source in 169.254.0.0/16 (RFC 3927 section 2.7).
        SourceLinkLocal = "source-link-local",
        /// Source in 224.0.0.0/4.
        SourceMulticast = "source-multicast",
        /// Source 255.255.255.255.
        SourceBroadcast = "source-broadcast",
        /// Source that is the network or broadcast address of a connected prefix.
        SourceDirectedBroadcast = "source-directed-broadcast",
        /// Source in the rest of what no host has: 240.0.0.0/4, reserved (RFC 1112 section 4).
        SourceAddress = "source-address",
        /// Destination in 0.0.0.0/8.
        DestinationZero = "destination-zero",
        /// Destination in 127.0.0.0/8.
        DestinationLoopback = "destination-loopback",
        /// Destination in 169.254.0.0/16.
        DestinationLinkLocal = "destination-link-local",
        /// Destination in 224.0.0.0/4.
        DestinationMulticast = "destination-multicast",
        /// Destination 255.255.255.255.
        DestinationBroadcast = "destination-broadcast",
        /// Destination that is the network or broadcast address of a connected prefix (RFC 2644).
        DestinationDirectedBroadcast = "destination-directed-broadcast",
        /// Destination in the rest of what no host has: 240.0.0.0/4, reserved.
        DestinationAddress = "destination-address",
        /// Inside source that is not reached through an inside interface.
        SpoofedInside = "spoofed-inside",
        /// From outside with an inside source address.
        SpoofedOutside = "spoofed-outside",
        /// Source that is the gateway's own: an interface's address or, from outside, one that it translates to.
        SpoofedGateway = "spoofed-gateway",
        /// From outside, addressed to an inside address.
        InsideFromOutside = "inside-from-outside",
        /// Inbound with no mapping.
        NoMapping = "no-mapping",
        /// Inbound to a mapping whose filtering refuses this remote (RFC 4787 REQ-8).
        Filtered = "filtered",
        /// No rule matches.
        NoRule = "no-rule",
        /// A reject rule matches.
        RuleReject = "rule-reject",
        /// A drop rule matches.
        RuleDrop = "rule-drop",
        /// TTL ran out; answered by ICMP time exceeded where the limit allows.
        TtlExceeded = "ttl-exceeded",
    } and {
        /// TCP packet without SYN and without session.
        TcpNoSession = "tcp-no-session",
        /// No route to the destination.
        NoRoute = "no-route",
        /// The next hop did not answer ARP, or its hold queue is full.
        NextHopUnresolved = "next-hop-unresolved",
        /// Addressed to the gateway itself, and nothing there takes it.
        LocalNoService = "local-no-service",
        /// Larger than the way out allows, where it may be neither answered nor cut.
        TooBig = "too-big",
        /// The ring to the owning worker was full.
        HandoffFull = "handoff-full",
        /// A packet came back to a worker that does not own it.
        HandoffLoop = "handoff-loop",
        /// The port did not take it.
        TransmitFull = "transmit-full",
        /// No packet buffer was free.
        NoBuffer = "no-buffer",
        /// An answer of the gateway's own was held back by its rate limit.
        ReplyLimited = "reply-limited",
        /// The packet spans several buffers.
        Segmented = "segmented",
    }
}

reasons! {
    /// What happens to fragments: `natgw_fragments_total{event}`. What is dropped has its [`DropReason`].
    FragmentEvent {
        /// Came in.
        Received = "received",
        /// Translated.
        Translated = "translated",
        /// Held until the first one of its datagram comes.
        Held = "held",
        /// Left to the worker that owns the endpoint.
        HandedOver = "handed-over",
        /// Made of a packet that was too large for its way out.
        Created = "created",
        /// Put together to a ping of the gateway itself.
        Assembled = "assembled",
    }
}

reasons! {
    /// Why a session ended: `natgw_sessions_deleted_total{reason}`.
    DeleteReason {
        /// Idle for its timeout.
        Idle = "idle",
        /// TCP closed by both sides or reset, and its waiting time over.
        Closed = "closed",
        /// TCP closed by both sides or reset; its own subscriber needed the port or the room before the waiting time was
        /// over.
        Reused = "reused",
        /// A new configuration does not allow it.
        Reload = "reload",
        /// An operator ended it.
        Deleted = "deleted",
        /// The packet that made it was for the gateway itself.
        Withdrawn = "withdrawn",
    }
}

reasons! {
    /// What became of SYNs from outside that were not let in (RFC 5382 REQ-4): `natgw_unsolicited_syns_total{event}`.
    UnsolicitedSyn {
        /// Kept for a while, the sender is not told yet.
        Held = "held",
        /// The inside host sent a SYN for the same connection meanwhile.
        Crossed = "crossed",
        /// It did not: the sender is due an answer.
        Expired = "expired",
        /// Not kept: there was no room.
        Full = "full",
    }
}

enum_index!(Direction, Protocol, DropReason, SessionFailure, DeleteReason, FragmentEvent, UnsolicitedSyn);
