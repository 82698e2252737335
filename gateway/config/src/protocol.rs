//! Protocols as the configuration file names them.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::value::{self, ALL_PORTS, Refusal};
use natgw_nat::{IpProtocol, OtherProtocols, Protocol, Rule};

/// The packets of one protocol, as a rule names them.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) protocol: Protocol,
    /// [`ALL_PORTS`]; of [`Protocol::Other`], which protocol.
    pub(super) ports: RangeInclusive<u16>,
}

/// A rule's `protocol`: a name or a number.
pub(super) fn named(value: &DeValue<'_>) -> Result<Named, Refusal> {
    if value.as_str() == Some(Protocol::Other.name()) {
        return Ok(Named { protocol: Protocol::Other, ports: ALL_PORTS });
    }
    let known = number(value).and_then(|number| Some((number, number.translated_as().ok()?)));
    match known {
        Some((number, Protocol::Other)) => {
            let number = number.0.into();
            Ok(Named { protocol: Protocol::Other, ports: number..=number })
        }
        Some((_, protocol)) => Ok(Named { protocol, ports: ALL_PORTS }),
        None => {
            let names = ["udp", "tcp", "icmp", "gre", "esp", "sctp", "udp-lite", "dccp", "other"];
            let nearest = value::nearest_of(value.as_str().unwrap_or_default(), &names);
            Err(Refusal::of(value, format_args!("{nearest}, or a number, but not {AH}")))
        }
    }
}

/// A pool's `other_protocols`: "all", or an array of names and numbers.
pub(super) fn other_protocols(value: &DeValue<'_>) -> Result<OtherProtocols, Refusal> {
    if value.as_str() == Some("all") {
        return Ok(OtherProtocols::ALL);
    }
    let allowed = format!(
        "\"all\", or an array of gre, esp, sctp, udp-lite, dccp and numbers, but not 1 (icmp), 6 (tcp), 17 (udp) or {AH}"
    );
    let Some(array) = value.as_array() else { return Err(Refusal::of(value, allowed)) };
    let mut all = OtherProtocols::NONE;
    for item in array.iter() {
        let known = number(item.get_ref()).filter(|number| number.translated_as() == Ok(Protocol::Other));
        match known {
            Some(protocol) => all = all.with(protocol),
            None => return Err(Refusal::of(item.get_ref(), allowed)),
        }
    }
    Ok(all)
}

/// As people read it: `gre, sctp, 99`.
pub(super) fn list(protocols: OtherProtocols) -> String {
    if protocols == OtherProtocols::ALL {
        return "every other protocol".to_owned();
    }
    let names: Vec<String> = protocols.iter().map(|protocol| protocol.to_string()).collect();
    names.join(", ")
}

/// Which packets a rule for [`Protocol::Other`] is about.
pub(super) fn name_of_rule(rule: &Rule) -> String {
    match u8::try_from(*rule.ports.end()) {
        Ok(number) => IpProtocol(number).to_string(),
        Err(_) => "all but udp, tcp and icmp".to_owned(),
    }
}

fn number(value: &DeValue<'_>) -> Option<IpProtocol> {
    match value.as_str() {
        Some(name) => name.parse().ok(),
        None => value::integer(0..=u8::MAX)(value).ok().map(IpProtocol),
    }
}

const AH: &str = "51 (ah), whose packets cannot be translated";
