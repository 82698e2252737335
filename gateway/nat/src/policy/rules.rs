//! The rules as new sessions ask them: the first match of very many, without walking them.
//!
//! Rules whose prefixes are of the same two lengths form a group, in which a hash finds those of one pair of prefixes
//! (tuple space search). A group is asked only while it may hold an earlier rule than the best so far. So the cost is
//! one lookup a group, of which real rule sets have few, and a walk over rules that differ in protocol and ports alone.

use hashbrown::HashMap;

use crate::packet::endpoint::Tuple;
use crate::packet::parse::Parsed;
use crate::packet::verdict::Protocol;
use crate::settings::{Rule, RuleAction};

/// What rules are asked about a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuleKey {
    source: u32,
    destination: u32,
    source_port: u16,
    /// Of an ICMP message its type.
    destination_port: u16,
}

impl RuleKey {
    /// A packet; of ICMP the message.
    pub(crate) fn of(parsed: &Parsed, packet: &[u8]) -> RuleKey {
        if parsed.protocol != Protocol::Icmp {
            return RuleKey::flow(&parsed.tuple());
        }
        let ty = packet.get(usize::from(parsed.header_len)).copied().unwrap_or_default();
        RuleKey::message(&parsed.tuple(), ty)
    }

    /// The first packet of a flow, whose ports, or number of a protocol without ports, the tuple has.
    #[inline(always)]
    pub(crate) fn flow(tuple: &Tuple) -> RuleKey {
        let Tuple { source, destination, source_port, destination_port } = *tuple;
        RuleKey { source, destination, source_port, destination_port }
    }

    /// An ICMP message.
    #[inline(always)]
    pub(crate) fn message(tuple: &Tuple, ty: u8) -> RuleKey {
        RuleKey { source_port: 0, destination_port: ty.into(), ..RuleKey::flow(tuple) }
    }
}

/// All rules of a configuration, ready to be asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classifier {
    /// In the order of their first rules.
    groups: Vec<Group>,
    names_icmp_types: bool,
}

#[derive(Clone, Debug)]
struct Group {
    source_mask: u32,
    destination_mask: u32,
    first: u32,
    /// By source and destination prefix, in the rules' order.
    rules: HashMap<(u32, u32), Vec<Line>>,
}

#[derive(Clone, Debug)]
struct Line {
    /// The rule's place among all.
    place: u32,
    /// It matches whatever the protocol, ports and type.
    matches_all: bool,
    /// Bit `n` is set for [`Protocol`] `n`.
    protocols: u8,
    source_ports: (u16, u16),
    ports: (u16, u16),
    /// Bit `n % 32` for messages of type `n`; of other protocols, for ports: all of them.
    icmp_types: u32,
    action: RuleAction,
}

impl Classifier {
    pub(crate) fn new(rules: &[Rule]) -> Classifier {
        let mut groups: Vec<Group> = Vec::new();
        for (place, rule) in rules.iter().enumerate() {
            let (source, destination) = (rule.source.trunc(), rule.destination.trunc());
            let masks = (source.netmask().to_bits(), destination.netmask().to_bits());
            let place = place as u32;
            let known = groups.iter().position(|group| (group.source_mask, group.destination_mask) == masks);
            let index = known.unwrap_or_else(|| {
                let (source_mask, destination_mask) = masks;
                groups.push(Group { source_mask, destination_mask, first: place, rules: HashMap::new() });
                groups.len() - 1
            });
            let line = Line::new(place, rule);
            let prefixes = (source.addr().to_bits(), destination.addr().to_bits());
            groups[index].rules.entry(prefixes).or_default().push(line);
        }
        let names_icmp_types = rules.iter().any(|rule| !rule.icmp_types.is_empty());
        Classifier { groups, names_icmp_types }
    }

    /// Whether any rule asks for the type of ICMP messages.
    pub(crate) fn names_icmp_types(&self) -> bool {
        self.names_icmp_types
    }

    /// The action of the first rule that matches an outbound packet; `None` where none does.
    pub(crate) fn first_match(&self, key: &RuleKey, protocol: Protocol) -> Option<RuleAction> {
        self.first_line(key, protocol).map(|line| line.action)
    }

    /// The place of that rule among all.
    pub(crate) fn first_place(&self, key: &RuleKey, protocol: Protocol) -> Option<u32> {
        self.first_line(key, protocol).map(|line| line.place)
    }

    #[inline(always)]
    fn first_line(&self, key: &RuleKey, protocol: Protocol) -> Option<&Line> {
        let mut best: Option<&Line> = None;
        for group in &self.groups {
            if best.is_some_and(|best| best.place < group.first) {
                break;
            }
            let prefixes = (key.source & group.source_mask, key.destination & group.destination_mask);
            let Some(lines) = group.rules.get(&prefixes) else { continue };
            let found = lines
                .iter()
                .take_while(|line| best.is_none_or(|best| line.place < best.place))
                .find(|line| line.matches(key, protocol));
            best = found.or(best);
        }
        best
    }
}

impl Line {
    fn new(place: u32, rule: &Rule) -> Line {
        const ICMP: u8 = 1 << Protocol::Icmp as u8;
        const OTHER: u8 = 1 << Protocol::Other as u8;
        let mut protocols = rule.protocol.map_or(u8::MAX, |protocol| 1 << protocol as u8);
        let [source_ports, ports] = [&rule.source_ports, &rule.ports].map(|ports| {
            if [0..=u16::MAX, 1..=u16::MAX].contains(ports) {
                return (0, u16::MAX);
            }
            // In place of other protocols' ports stands their number, which a rule for them alone means.
            protocols &= !if rule.protocol.is_none() { ICMP | OTHER } else { ICMP };
            (*ports.start(), *ports.end())
        });
        let mut icmp_types = u32::MAX;
        if !rule.icmp_types.is_empty() {
            protocols &= ICMP;
            let bits = rule.icmp_types.iter().filter_map(|&ty| 1_u32.checked_shl(ty.into()));
            icmp_types = bits.fold(0, |all, bit| all | bit);
        }
        let all = (u8::MAX, (0, u16::MAX), (0, u16::MAX), u32::MAX);
        let matches_all = (protocols, source_ports, ports, icmp_types) == all;
        Line { place, matches_all, protocols, source_ports, ports, icmp_types, action: rule.action }
    }

    #[inline(always)]
    fn matches(&self, key: &RuleKey, protocol: Protocol) -> bool {
        let within = |(first, last): (u16, u16), port: u16| first <= port && port <= last;
        self.matches_all
            || self.protocols >> protocol as u8 & 1 != 0
                && within(self.ports, key.destination_port)
                && within(self.source_ports, key.source_port)
                && self.icmp_types >> (key.destination_port & 31) & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::ops::RangeInclusive;

    use ipnet::Ipv4Net;
    use proptest::prelude::*;

    use super::*;

    /// Rule after rule, as a person reads them.
    fn model(rules: &[Rule], tuple: &Tuple, protocol: Protocol) -> Option<RuleAction> {
        let (source, destination) =
            (Ipv4Addr::from_bits(tuple.source), Ipv4Addr::from_bits(tuple.destination));
        let is_icmp = protocol == Protocol::Icmp;
        let port = |rule: &Rule, ports: &RangeInclusive<u16>, port: u16| {
            let named = !is_icmp && (protocol != Protocol::Other || rule.protocol == Some(protocol));
            *ports == (0..=u16::MAX) || *ports == (1..=u16::MAX) || named && ports.contains(&port)
        };
        rules
            .iter()
            .find(|rule| {
                rule.source.contains(&source)
                    && rule.destination.contains(&destination)
                    && rule.protocol.is_none_or(|wanted| wanted == protocol)
                    && port(rule, &rule.source_ports, tuple.source_port)
                    && port(rule, &rule.ports, tuple.destination_port)
                    && (rule.icmp_types.is_empty()
                        || is_icmp && rule.icmp_types.contains(&(tuple.destination_port as u8)))
            })
            .map(|rule| rule.action)
    }

    fn protocol() -> impl Strategy<Value = Protocol> {
        prop::sample::select(Protocol::ALL.to_vec())
    }

    /// Few addresses and few lengths, so that prefixes meet.
    fn prefix() -> impl Strategy<Value = Ipv4Net> {
        let lengths = prop::sample::select(vec![0, 8, 30, 31, 32]);
        (0_u32..8, lengths).prop_map(|(host, len)| Ipv4Net::new((0x0a00_0000 | host).into(), len).unwrap())
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let ports = || prop::sample::select(vec![0..=65535, 1..=65535, 0..=0, 1..=2, 2..=3, 3..=3]);
        let types = prop::sample::select(vec![vec![], vec![], vec![3], vec![0, 2], vec![200]]);
        let action = prop::sample::select(vec![
            RuleAction::Drop,
            RuleAction::Exempt,
            RuleAction::Pool(0),
            RuleAction::Pool(1),
        ]);
        (prefix(), prefix(), prop::option::of(protocol()), ports(), ports(), types, action).prop_map(
            |(source, destination, protocol, source_ports, ports, icmp_types, action)| Rule {
                source,
                destination,
                protocol,
                source_ports,
                ports,
                icmp_types,
                action,
            },
        )
    }

    proptest! {
        #[test]
        fn finds_what_a_walk_finds(
            rules in prop::collection::vec(rule(), 0..40),
            asked in prop::collection::vec((0_u32..9, 0_u32..9, (0_u16..5, 0_u16..5), protocol()), 1..40),
        ) {
            let classifier = Classifier::new(&rules);
            for (source, destination, (source_port, destination_port), protocol) in asked {
                let tuple = Tuple {
                    source: 0x0a00_0000 | source,
                    destination: 0x0a00_0000 | destination,
                    source_port,
                    destination_port,
                };
                prop_assert_eq!(
                    classifier.first_match(&RuleKey::flow(&tuple), protocol),
                    model(&rules, &tuple, protocol),
                    "{:?} {:?}", tuple, protocol
                );
            }
        }
    }

    #[test]
    fn a_hundred_thousand_rules_are_few_lookups() {
        let drop = |host: u32| Rule {
            source: "10.0.0.0/8".parse().unwrap(),
            destination: Ipv4Net::new((0xc600_0000 + host).into(), 32).unwrap(),
            action: RuleAction::Drop,
            ..Rule::default()
        };
        let last = Rule { destination: Ipv4Net::default(), action: RuleAction::Pool(0), ..drop(0) };
        let rules: Vec<Rule> = (0..100_000).map(drop).chain([last]).collect();
        let classifier = Classifier::new(&rules);
        assert_eq!(classifier.groups.len(), 2);
        assert_eq!(classifier.groups.iter().map(|group| group.rules.len()).collect::<Vec<_>>(), [100_000, 1]);
        assert!(
            classifier.groups.iter().flat_map(|group| group.rules.values()).all(|lines| lines.len() == 1)
        );
    }
}
