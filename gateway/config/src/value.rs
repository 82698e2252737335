//! Turns single TOML values into what the gateway works with, or says what would have been allowed.

use std::fmt::{self, Display};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use toml::de::DeValue;

use super::address::{AddressRange, ClassE};
use natgw_wire::icmpv4;

/// Why a value is not taken.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) found: String,
    pub(super) allowed: String,
}

impl Refusal {
    /// Of this value, when that is allowed.
    pub(super) fn of(value: &DeValue<'_>, allowed: impl Display) -> Refusal {
        Refusal { found: describe(value), allowed: allowed.to_string() }
    }
}

/// A whole number within a range.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Result<T, Refusal>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    move |value| {
        let number = value.as_integer().and_then(|n| i128::from_str_radix(n.as_str(), n.radix()).ok());
        number
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| Refusal::of(value, format_args!("{}-{}", range.start(), range.end())))
    }
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Refusal> {
    value.as_bool().ok_or_else(|| Refusal::of(value, "true or false"))
}

/// A string that `parse` understands; `allowed` says which.
pub(super) fn text<T>(
    allowed: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> impl Fn(&DeValue<'_>) -> Result<T, Refusal> {
    move |value| value.as_str().and_then(&parse).ok_or_else(|| Refusal::of(value, allowed))
}

/// One of a few words.
pub(super) fn choice<T: Copy>(choices: &[(&'static str, T)]) -> impl Fn(&DeValue<'_>) -> Result<T, Refusal> {
    move |value| {
        let word = value.as_str();
        let chosen = choices.iter().find(|(name, _)| Some(*name) == word);
        chosen.map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            Refusal::of(value, nearest_of(word.unwrap_or_default(), &names))
        })
    }
}

/// A name that can stand in metrics labels and on command lines.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, Refusal> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    text("1 to 32 letters, digits, '-', '_' or '.'", |name| {
        (!name.is_empty() && name.len() <= 32 && name.chars().all(is_plain)).then(|| name.to_owned())
    })(value)
}

/// The address of a host.
pub(super) fn host(class_e: ClassE) -> impl Fn(&DeValue<'_>) -> Result<Ipv4Addr, Refusal> {
    text("a host's IPv4 address like \"192.0.2.1\"", move |text| host_in(text, class_e))
}

/// A prefix, without bits set beyond its length; a lone address is a prefix of 32 bits.
pub(super) fn prefix(value: &DeValue<'_>) -> Result<Ipv4Net, Refusal> {
    let found = value.as_str().and_then(|text| {
        text.parse().ok().or_else(|| text.parse().ok().map(|address| Ipv4Net::new_assert(address, 32)))
    });
    match found {
        Some(net) if net.trunc() == net => Ok(net),
        Some(net) => Err(Refusal::of(value, format_args!("\"{}\", without host bits", net.trunc()))),
        None => Err(Refusal::of(value, "an IPv4 prefix like \"192.0.2.0/24\"")),
    }
}

/// A host's address, or a prefix of hosts.
pub(super) fn hosts(class_e: ClassE) -> impl Fn(&DeValue<'_>) -> Result<Ipv4Net, Refusal> {
    move |value| {
        let net = prefix(value)?;
        match AddressRange::from(net).unusable_where(class_e) {
            None => Ok(net),
            Some(block) => Err(Refusal::of(value, format_args!("addresses of hosts, none of {block}"))),
        }
    }
}

/// A prefix in which some host may be.
pub(super) fn prefix_of_hosts(class_e: ClassE) -> impl Fn(&DeValue<'_>) -> Result<Ipv4Net, Refusal> {
    move |value| {
        let net = prefix(value)?;
        match AddressRange::from(net).dead(class_e) {
            None => Ok(net),
            Some(block) => Err(Refusal::of(value, format_args!("a prefix with hosts, not in {block}"))),
        }
    }
}

/// Addresses for use outside: one, a range or a prefix.
pub(super) fn addresses(value: &DeValue<'_>) -> Result<AddressRange, Refusal> {
    let range = value.as_str().and_then(AddressRange::parse).ok_or_else(|| {
        Refusal::of(
            value,
            "an IPv4 address, a range \"192.0.2.1-192.0.2.9\", lowest first, or a prefix \"192.0.2.0/28\"",
        )
    })?;
    match range.unusable() {
        None => Ok(range),
        Some(block) => Err(Refusal::of(value, format_args!("addresses of hosts, none of {block}"))),
    }
}

/// One port or a range of ports.
pub(super) fn ports(value: &DeValue<'_>) -> Result<RangeInclusive<u16>, Refusal> {
    let number = value.as_integer().map(|number| number.as_str());
    number.or(value.as_str()).and_then(ports_in).ok_or_else(|| {
        Refusal::of(value, "a port or a range of ports like \"1024-65535\", lowest first, none 0")
    })
}

/// The type of an ICMP question or answer.
pub(super) fn icmp_query(value: &DeValue<'_>) -> Result<u8, Refusal> {
    let number =
        integer(0..=u8::MAX)(value).ok().filter(|&ty| icmpv4::is_request(ty) || icmpv4::is_reply(ty));
    number.ok_or_else(|| {
        Refusal::of(value, "a question, 8 (echo), 13 (timestamp), 15 or 17, or an answer, 0, 14, 16 or 18")
    })
}

/// An address with a port or a range of ports.
pub(super) fn endpoint(
    class_e: ClassE,
) -> impl Fn(&DeValue<'_>) -> Result<(Ipv4Addr, RangeInclusive<u16>), Refusal> {
    text(
        "a host's address with a port or ports, lowest first and none 0, like \"192.0.2.1:9000-9009\"",
        move |text| {
            let (address, ports) = text.split_once(':')?;
            Some((host_in(address, class_e)?, ports_in(ports)?))
        },
    )
}

/// What stands in the file, short enough for one line.
pub(super) fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quote(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A string in quotes, control characters escaped, cut when long.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

/// The names that may stand in place of `found`, the nearest first if any is near.
pub(super) fn nearest_of(found: &str, names: &[impl AsRef<str>]) -> String {
    let likeness = |name: &str| strsim::damerau_levenshtein(found, name);
    let nearest = names.iter().map(AsRef::as_ref).min_by_key(|name| likeness(name));
    let nearest = nearest.filter(|name| likeness(name) <= name.len().div_ceil(3));
    let others = names.iter().map(AsRef::as_ref).filter(|name| Some(*name) != nearest);
    let mut list: Vec<String> = nearest.iter().map(|name| format!("{name} (nearest)")).collect();
    list.extend(others.map(str::to_owned));
    if list.is_empty() { "nothing".to_owned() } else { list.join(", ") }
}

/// No restriction, whether it was written as every port or not at all: the engine matches protocols without ports too.
pub(super) const ALL_PORTS: RangeInclusive<u16> = 0..=65535;

/// A range of ports as it is written.
pub(super) struct Ports<'a>(pub(super) &'a RangeInclusive<u16>);

impl Display for Ports<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// Hosts as they are written: a prefix, or one address.
pub struct Hosts(pub Ipv4Net);

impl Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hosts(net) = self;
        if net.prefix_len() == 32 { write!(f, "{}", net.addr()) } else { write!(f, "{net}") }
    }
}

fn host_in(text: &str, class_e: ClassE) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = text.parse().ok()?;
    AddressRange::from(address).unusable_where(class_e).is_none().then_some(address)
}

fn ports_in(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (digits(first)?, digits(last)?);
    (0 < first && first <= last).then_some(first..=last)
}

/// Plain digits: `str::parse` alone would take a sign too.
pub(super) fn digits(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Longest text that is quoted back whole.
const QUOTED_CHARS_MAX: usize = 60;
