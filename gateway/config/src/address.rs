//! Ranges of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Addresses from `first` to `last`, both included; `first` is never above `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AddressRange {
    first: u32,
    last: u32,
}

impl AddressRange {
    /// Reads an address, `first-last` or a prefix.
    pub(super) fn parse(text: &str) -> Option<AddressRange> {
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) =
                (first.trim().parse::<Ipv4Addr>().ok()?, last.trim().parse::<Ipv4Addr>().ok()?);
            return (first <= last).then(|| AddressRange { first: first.into(), last: last.into() });
        }
        if text.contains('/') {
            let net = text.parse::<Ipv4Net>().ok()?;
            return (net.trunc() == net).then(|| net.into());
        }
        text.parse::<Ipv4Addr>().ok().map(AddressRange::from)
    }

    /// How many addresses.
    pub(super) fn count(self) -> u64 {
        u64::from(self.last - self.first) + 1
    }

    /// The lowest address.
    pub(super) fn first(self) -> Ipv4Addr {
        self.first.into()
    }

    /// The highest address.
    pub(super) fn last(self) -> Ipv4Addr {
        self.last.into()
    }

    /// Each address, lowest first.
    pub(super) fn iter(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.first..=self.last).map(Ipv4Addr::from)
    }

    /// Whether the address is among them.
    pub(super) fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address.into())
    }

    /// Whether any address is in both.
    pub(super) fn overlaps(self, other: AddressRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The block of addresses, none of which a host may have, that this range reaches into
    /// (RFC 1122 section 3.2.1.3, RFC 3927, RFC 1112 section 4).
    pub(super) fn unusable(self) -> Option<&'static str> {
        self.unusable_where(ClassE::Reserved)
    }

    /// As [`AddressRange::unusable`], where class E may be hosts'.
    pub(super) fn unusable_where(self, class_e: ClassE) -> Option<&'static str> {
        let reaches = |(block, _): &&(AddressRange, &'static str)| self.overlaps(*block);
        not_hosts(class_e).find(reaches).map(|(_, name)| *name)
    }

    /// The block that this range begins in, where no host has any address of the whole range: no packet comes from there,
    /// and none gets there.
    pub(super) fn dead(self, class_e: ClassE) -> Option<&'static str> {
        let block_at = |address| not_hosts(class_e).find(|(block, _)| block.contains(address));
        let (block, name) = block_at(self.first())?;
        let mut last = block.last;
        while last < self.last {
            last = block_at(Ipv4Addr::from(last + 1))?.0.last;
        }
        Some(name)
    }
}

impl From<Ipv4Addr> for AddressRange {
    fn from(address: Ipv4Addr) -> AddressRange {
        AddressRange { first: address.into(), last: address.into() }
    }
}

impl From<Ipv4Net> for AddressRange {
    fn from(net: Ipv4Net) -> AddressRange {
        AddressRange { first: net.network().into(), last: net.broadcast().into() }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first())?;
        if self.first != self.last { write!(f, "-{}", self.last()) } else { Ok(()) }
    }
}

/// Network and broadcast address of a prefix that has them (RFC 3021: one of 31 or 32 bits has none).
pub(super) fn reserved(net: Ipv4Net) -> Option<[Ipv4Addr; 2]> {
    (net.prefix_len() < 31).then(|| [net.network(), net.broadcast()])
}

/// Whether 240.0.0.0/4 is reserved (RFC 1112 section 4), or `[nat] class_e` allows it inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClassE {
    /// No host has such an address.
    Reserved,
    /// Hosts inside may have one.
    Inside,
}

fn not_hosts(class_e: ClassE) -> impl Iterator<Item = &'static (AddressRange, &'static str)> {
    let is_allowed = move |name: &str| class_e == ClassE::Inside && name == CLASS_E;
    NOT_HOSTS.iter().filter(move |(_, name)| !is_allowed(name))
}

const CLASS_E: &str = "240.0.0.0/4 (reserved; inside, with class_e = true in [nat])";
const NOT_HOSTS: [(AddressRange, &str); 6] = [
    (block(0x0000_0000, 0x00ff_ffff), "0.0.0.0/8 (this network)"),
    (block(0x7f00_0000, 0x7fff_ffff), "127.0.0.0/8 (loopback)"),
    (block(0xa9fe_0000, 0xa9fe_ffff), "169.254.0.0/16 (link-local)"),
    (block(0xe000_0000, 0xefff_ffff), "224.0.0.0/4 (multicast)"),
    (block(0xffff_ffff, 0xffff_ffff), "255.255.255.255 (broadcast)"),
    (block(0xf000_0000, 0xffff_ffff), CLASS_E),
];

const fn block(first: u32, last: u32) -> AddressRange {
    AddressRange { first, last }
}
