//! Protocols beyond UDP, TCP and ICMP, in pools and in rules; pings of pools.

use super::mistakes::assert_refused;
use super::*;
use natgw_nat::{IpProtocol, OtherProtocols};

/// The example, whose pool has these other protocols.
fn with_pool(protocols: &str) -> String {
    example_with("mapping = ", &format!("other_protocols = {protocols} #!\nmapping = "))
}

fn with_rule(keys: &str) -> String {
    let rule = format!("[[nat.rules]]\nsource = \"10.64.0.7\"\naction = \"drop\"\n{keys}\n");
    example_with("[[nat.rules]] ", &format!("{rule}[[nat.rules]] "))
}

#[test]
fn a_pool_names_protocols_or_all() {
    let of = |protocols: &str| parse(&with_pool(protocols)).settings.pools[0].other_protocols;
    assert_eq!(parse(EXAMPLE).settings.pools[0].other_protocols, OtherProtocols::NONE);
    assert_eq!(of("[]"), OtherProtocols::NONE);
    assert_eq!(of("\"all\""), OtherProtocols::ALL);
    let some = [IpProtocol::GRE, IpProtocol::UDP_LITE, IpProtocol(99)];
    let some = some.into_iter().fold(OtherProtocols::NONE, OtherProtocols::with);
    assert_eq!(of("[\"gre\", \"udp-lite\", 99]"), some);
    let text = parse(&with_pool("[99, \"gre\"]")).explain();
    assert!(text.contains("; also gre, 99 by address"), "{text}");
    assert!(parse(&with_pool("\"all\"")).explain().contains("; also every other protocol by address"));
}

#[test]
fn a_pool_answers_pings_where_it_says_so() {
    let of = |keys: &str| parse(&example_with("mapping = ", &format!("{keys}mapping = ")));
    assert!(!of("").settings.pools[0].ping && !of("").explain().contains("pings of it"));
    let answering = of("ping = true\n");
    assert!(answering.settings.pools[0].ping && answering.warnings.is_empty());
    assert!(answering.explain().contains("; pings of it are answered"));
    let text = example_with("mapping = ", "ping = \"yes\" #!\nmapping = ");
    assert_refused(&text, &["nat.pools.ping, found \"yes\", allowed true or false"]);
    let reloaded = parse(EXAMPLE).reloaded(answering.clone()).unwrap();
    assert_eq!((reloaded.config, reloaded.needs_restart), (answering, Vec::new()));
}

#[test]
fn a_rule_names_a_protocol_or_all_others() {
    for (protocol, ports, text) in [
        ("\"gre\"", 47..=47, "gre: drop"),
        ("99", 99..=99, "99: drop"),
        ("\"other\"", 0..=65535, "all but udp, tcp and icmp: drop"),
    ] {
        let config = parse(&with_rule(&format!("protocol = {protocol}")));
        let rule = &config.settings.rules[0];
        assert_eq!((rule.protocol, &rule.ports), (Some(Protocol::Other), &ports));
        assert!(config.explain().contains(&format!("1. 10.64.0.7/32 to anywhere, {text}")));
        assert_eq!(config.warnings, []);
    }
    assert_eq!(parse(&with_rule("protocol = 17")).settings.rules[0].protocol, Some(Protocol::Udp));
}

#[test]
fn what_cannot_be_translated_so_is_refused() {
    for protocols in ["[\"gre\", \"tcp\"]", "[51]", "[\"ah\"]", "[256]", "\"gre\"", "[\"ipsec\"]"] {
        assert_refused(&with_pool(protocols), &["nat.pools.other_protocols", "allowed \"all\", or an array"]);
    }
    assert_refused(&with_rule("protocol = \"ah\" #!"), &["nat.rules.protocol, found \"ah\", allowed"]);
    assert_refused(&with_rule("protocol = \"gree\" #!"), &["found \"gree\", allowed gre (nearest)"]);
    assert_refused(&with_rule("protocol = \"gre\"\nports = 47 #!"), &["nat.rules.ports, found 47"]);
}

#[test]
fn a_range_of_ports_shadows_no_other_protocol() {
    let rules = |first: &str, second: &str| {
        let rule = |keys: &str| format!("[[nat.rules]]\nsource = \"10.64.0.7\"\naction = \"drop\"\n{keys}\n");
        parse(&example_with("[[nat.rules]] ", &format!("{}{}[[nat.rules]] ", rule(first), rule(second))))
            .warnings
            .len()
    };
    assert_eq!(rules("ports = \"1-100\"", "protocol = \"gre\""), 0);
    assert_eq!(rules("protocol = \"other\"", "protocol = \"gre\""), 1);
    assert_eq!(rules("", "protocol = \"gre\""), 1);
    assert_eq!(rules("protocol = \"esp\"", "protocol = \"gre\""), 0);
}
