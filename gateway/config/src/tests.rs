//! The parser against the specification's example, the shipped files and a table of mistakes.

mod added;
mod additions;
mod deterministic;
mod impossible;
mod limits;
mod mistakes;
mod mutations;
mod protocols;
mod shipped;

use super::*;
use natgw_nat::{
    Filtering, ForwardSource, MappingMode, PortForward, Protocol, Rule, RuleAction, Static, Twice,
};
use natgw_wire::ethernet::Mac;

/// The example of the specification, as it stands there.
const EXAMPLE: &str = include_str!("../../fixtures/example.toml");

/// The file with every key that there is.
const REFERENCE: &str = include_str!("../../../config/gateway.toml");

/// Whether the reference has this table or key.
pub(super) fn stands_in_the_reference(key: &str) -> bool {
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let heads = [format!("[{key}]"), format!("[[{key}]]")];
    let is_table = heads.iter().any(|head| REFERENCE.lines().any(|line| line.trim() == head));
    let mut part = "";
    let is_key = REFERENCE.lines().any(|line| {
        if line.starts_with('[') {
            part = line.trim_matches(['[', ']']);
        }
        let line = line.trim_start_matches('#');
        part == table && line.split_once(" =").is_some_and(|(of, _)| of == name)
    });
    is_table || is_key
}

/// Parses what has to be right.
fn parse(text: &str) -> Config {
    Config::parse(text, "gateway.toml").unwrap_or_else(|mistakes| panic!("{}", lines(&mistakes)))
}

/// The example with one piece of its text replaced.
fn example_with(from: &str, to: &str) -> String {
    assert_eq!(EXAMPLE.matches(from).count(), 1, "{from:?} stands once in the example");
    EXAMPLE.replacen(from, to, 1)
}

/// The example with more tables at its end.
fn example_and(tables: &str) -> String {
    format!("{EXAMPLE}\n{tables}\n")
}

#[test]
fn example_of_the_specification_works() {
    let config = parse(EXAMPLE);
    assert_eq!(config.warnings, []);
    assert_eq!(config.dpdk.worker_lcores, [1]);
    assert_eq!(config.interfaces[0].device, Device::Vdev("net_tap0,iface=tap-in".to_owned()));
    assert_eq!(config.interfaces[1].role, Role::Outside);
    assert_eq!(config.routes[0].interface, 1);
    let settings = &config.settings;
    assert_eq!(settings.inside, ["10.64.0.1/24".parse().unwrap()]);
    assert_eq!(settings.outside, ["203.0.113.2/24".parse().unwrap()]);
    let pool = &settings.pools[0];
    assert_eq!(pool.addresses, [10, 11, 12].map(|host| Ipv4Addr::new(203, 0, 113, host)));
    assert_eq!(pool.ports, 1024..=65535);
    assert_eq!(pool.mapping, MappingMode::EndpointIndependent);
    assert_eq!(pool.filtering, Filtering::AddressDependent);
    let rule =
        Rule { source: "10.64.0.0/24".parse().unwrap(), action: RuleAction::Pool(0), ..Rule::default() };
    assert_eq!(settings.rules, [rule]);
    let forward = PortForward {
        protocol: Protocol::Tcp,
        external: Ipv4Addr::new(203, 0, 113, 13),
        external_ports: 8080..=8080,
        internal: Ipv4Addr::new(10, 64, 0, 12),
        internal_port: 80,
        source: ForwardSource::Remote,
    };
    assert_eq!(settings.port_forwards, [forward]);
    let mapping = Static {
        external: Ipv4Addr::new(203, 0, 113, 20).into(),
        internal: Ipv4Addr::new(10, 64, 0, 20).into(),
    };
    assert_eq!(settings.statics, [mapping]);
    assert_eq!(config.management.listen.to_string(), "127.0.0.1:9464");
    let socket = &config.management.socket;
    assert_eq!((socket.mode, &socket.group), (0o660, &None));
}

#[test]
fn optional_pool_keys_are_taken() {
    let keys = "filtering_tcp = \"endpoint-independent\"\nfiltering_udp = \"address-and-port-dependent\"\n\
                port_parity = false\nport_preservation = false\n";
    let config = parse(&example_with("ports = \"1024-65535\"", &format!("{keys}ports = \"1024-65535\"")));
    let pool = &config.settings.pools[0];
    let filtering = Protocol::WITH_PORTS.map(|protocol| pool.filtering_of(protocol));
    use Filtering::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    assert_eq!(filtering, [AddressAndPortDependent, EndpointIndependent, AddressDependent]);
    assert_eq!((pool.port_parity, pool.port_preservation), (false, false));
    assert!(config.explain().contains(
        "address-dependent filtering, endpoint-independent for tcp, address-and-port-dependent for udp; \
         parity is not kept; inside ports are not preserved"
    ));
}

#[test]
fn filtering_of_a_pool_that_shares_ports_is_warned_of() {
    let text =
        example_with("mapping = \"endpoint-independent\" ", "mapping = \"address-and-port-dependent\" ");
    let config = parse(&text);
    assert_eq!(config.warnings.len(), 1);
    assert!(
        config.warnings[0].to_string().contains("nat.pools.filtering, found \"address-dependent\", allowed")
    );
    assert_eq!(config.settings.pools[0].filtering_of(Protocol::Udp), Filtering::AddressAndPortDependent);
    let text =
        text.replace("filtering = \"address-dependent\" ", "filtering = \"address-and-port-dependent\" ");
    assert_eq!(parse(&text).warnings, []);
}

#[test]
fn worker_lcores_may_be_a_string() {
    let config = parse(&example_with("worker_lcores = [1] ", "worker_lcores = \"1-3, 3,0\" "));
    assert_eq!(config.dpdk.worker_lcores, [1, 2, 3, 3, 0]);
}

#[test]
fn optional_interface_keys_are_taken() {
    let keys = "mac = \"02:00:5e:10:00:fF\"\nvlan = 100\nrx_queue_size = 512\ntx_queue_size = 256\npromiscuous = true\n";
    let config = parse(&example_with("role = \"outside\"\n", &format!("role = \"outside\"\n{keys}")));
    let outside = &config.interfaces[1];
    assert_eq!(outside.mac, Some(Mac([0x02, 0, 0x5e, 0x10, 0, 0xff])));
    assert_eq!(outside.vlan, Some(100));
    assert_eq!((outside.rx_queue_size, outside.tx_queue_size), (512, 256));
    assert!(outside.promiscuous);
}

#[test]
fn pci_addresses_get_their_domain() {
    let device =
        |text: &str| parse(&example_with("net_tap1,iface=tap-out", text)).interfaces[1].device.clone();
    assert_eq!(device("3B:00.1"), Device::Pci("0000:3b:00.1".to_owned()));
    assert_eq!(device("0001:3b:00.0"), Device::Pci("0001:3b:00.0".to_owned()));
}

#[test]
fn masquerade_takes_the_interface_address() {
    let text = example_with("addresses = [\"203.0.113.10-203.0.113.12\"] ", "interface = \"outside\" ");
    assert_eq!(parse(&text).settings.pools[0].addresses, [Ipv4Addr::new(203, 0, 113, 2)]);
}

#[test]
fn rules_take_destination_protocol_ports_and_action() {
    let config = parse(&example_with(
        "[[nat.rules]] ",
        "[[nat.rules]]\nsource = \"10.64.0.7\"\ndestination = \"198.51.100.0/24\"\nprotocol = \"tcp\"\nports = 25\n\
         action = \"drop\"\n[[nat.rules]]\nsource = \"10.64.0.0/25\"\nports = \"6000-7000\"\naction = \"exempt\"\n\
         [[nat.rules]] ",
    ));
    let [first, second, _] = config.settings.rules.as_slice() else { panic!("three rules") };
    assert_eq!(
        (first.source.prefix_len(), first.protocol, &first.ports),
        (32, Some(Protocol::Tcp), &(25..=25))
    );
    assert_eq!((first.action, second.action), (RuleAction::Drop, RuleAction::Exempt));
    assert_eq!(second.ports, 6000..=7000);
}

#[test]
fn rules_take_source_ports_and_icmp_types() {
    let config = parse(&example_with(
        "[[nat.rules]] ",
        "[[nat.rules]]\nsource = \"10.64.0.7\"\nprotocol = \"udp\"\nsource_ports = \"500-510\"\naction = \"drop\"\n\
         [[nat.rules]]\nsource = \"10.64.0.7\"\nprotocol = \"icmp\"\nicmp_types = [8, 0]\naction = \"drop\"\n\
         [[nat.rules]] ",
    ));
    let [first, second, _] = config.settings.rules.as_slice() else { panic!("three rules") };
    assert_eq!((&first.source_ports, &first.ports), (&(500..=510), &(0..=65535)));
    assert_eq!((&first.icmp_types, &second.icmp_types), (&vec![], &vec![8, 0]));
    let text = config.explain();
    assert!(text.contains("1. 10.64.0.7/32 to anywhere, udp from port 500-510: drop"), "{text}");
    assert!(text.contains("2. 10.64.0.7/32 to anywhere, icmp of type 8, 0: drop"), "{text}");
}

#[test]
fn forwards_may_share_an_inside_endpoint_and_lead_to_static_hosts() {
    let config = parse(&example_and(
        "[[nat.port_forwards]]\nprotocol = \"tcp\"\nexternal = \"203.0.113.14:80\"\ninternal = \"10.64.0.12:80\"\n\
         [[nat.static]]\nexternal = \"203.0.113.21\"\ninternal = \"10.64.0.12\"\n",
    ));
    let hosts = config.settings.port_forwards.iter().map(|forward| forward.internal.to_string());
    assert_eq!(hosts.collect::<Vec<_>>(), ["10.64.0.12", "10.64.0.12"]);
    assert!(config.settings.statics.iter().any(|one| one.internal.to_string() == "10.64.0.12/32"));
    assert_eq!(config.warnings, []);
}

#[test]
fn redirects_may_share_an_inside_endpoint() {
    let forward = |port: u16| {
        format!(
            "[[nat.port_forwards]]\nprotocol = \"tcp\"\nexternal = \"203.0.113.13:{port}\"\n\
             internal = \"10.64.0.12:80\"\nsource = \"gateway\"\n"
        )
    };
    let config = parse(&example_and(&format!("{}{}", forward(81), forward(82))));
    let sources: Vec<_> = config.settings.port_forwards.iter().map(|forward| forward.source).collect();
    assert_eq!(sources, [ForwardSource::Remote, ForwardSource::Gateway, ForwardSource::Gateway]);
    let text = config.explain();
    assert!(
        text.contains("tcp 203.0.113.13:81 goes to 10.64.0.12:80, which sees the gateway as source"),
        "{text}"
    );
}

#[test]
fn an_outside_network_may_have_the_inside_prefix() {
    let config =
        parse(&example_and("[[nat.twice]]\nexternal = \"10.64.0.0/24\"\ninternal = \"10.99.0.0/24\"\n"));
    let [external, internal] = ["10.64.0.0/24", "10.99.0.0/24"].map(|prefix| prefix.parse().unwrap());
    assert_eq!(config.settings.twice, [Twice { external, internal }]);
    assert!(config.explain().contains("outside hosts 10.64.0.0/24 are 10.99.0.0/24 inside"));
    assert_eq!(config.warnings, []);
}

#[test]
fn a_rule_is_shadowed_only_by_one_that_matches_all_of_it() {
    let rules = |first: &str, second: &str| {
        let rule = |keys: &str| format!("[[nat.rules]]\nsource = \"10.64.0.7\"\naction = \"drop\"\n{keys}\n");
        let text = example_with("[[nat.rules]] ", &format!("{}{}[[nat.rules]] ", rule(first), rule(second)));
        parse(&text).warnings.len()
    };
    let [udp, icmp] = ["udp", "icmp"].map(|protocol| format!("protocol = \"{protocol}\""));
    let with = |protocol: &str, keys: &str| format!("{protocol}\n{keys}");
    for (first, second, shadowed) in [
        (with(&udp, "source_ports = \"1-99\""), with(&udp, "source_ports = 5"), 1),
        (with(&udp, "source_ports = 5"), with(&udp, "source_ports = \"1-99\""), 0),
        (with(&udp, "source_ports = 5"), udp.clone(), 0),
        (with(&icmp, "icmp_types = [8, 13]"), with(&icmp, "icmp_types = [13]"), 1),
        (with(&icmp, "icmp_types = [8]"), with(&icmp, "icmp_types = [8, 13]"), 0),
        (with(&icmp, "icmp_types = [8]"), icmp.clone(), 0),
        (icmp.clone(), with(&icmp, "icmp_types = [8]"), 1),
    ] {
        assert_eq!(rules(&first, &second), shadowed, "{first} before {second}");
    }
}

#[test]
fn inside_routers_extend_where_subscribers_live() {
    let text = example_and(
        "[[routes]]\nprefix = \"10.65.0.0/16\"\nvia = \"10.64.0.254\"\n\
         [[nat.rules]]\nsource = \"10.65.1.0/24\"\npool = \"main\"\n\
         [[nat.static]]\nexternal = \"203.0.113.21\"\ninternal = \"10.65.0.1\"",
    );
    assert_eq!(parse(&text).settings.inside_routed, ["10.65.0.0/16".parse().unwrap()]);
}

#[test]
fn a_port_forward_may_use_a_port_of_a_pool() {
    let forward = "[[nat.port_forwards]]\nprotocol = \"udp\"\nexternal = \"203.0.113.10:9000-9009\"\n\
                   internal = \"10.64.0.12:7000-7009\"";
    assert_eq!(parse(&example_and(forward)).settings.port_forwards[1].external_ports, 9000..=9009);
}

#[test]
fn a_token_opens_the_listener_and_is_never_shown() {
    let text =
        example_with("listen = \"127.0.0.1:9464\" ", "token = \"correct-horse\"\nlisten = \"[::]:9464\" ");
    let config = parse(&text);
    let token = config.management.token.as_ref().unwrap();
    assert!(token.matches("correct-horse") && !token.matches("correct-house") && !token.matches(""));
    assert!(!format!("{config:?}").contains("horse") && !config.explain().contains("horse"));
}

#[test]
fn short_timeouts_unused_pools_and_shadowed_rules_are_warned_of() {
    let text = example_with("udp = 300", "udp = 2")
        + "\n[[nat.pools]]\nname = \"spare\"\naddresses = [\"198.51.100.0/28\"]\n\
           [[nat.rules]]\nsource = \"10.64.0.0/25\"\naction = \"drop\"\n";
    let warnings = lines(&parse(&text).warnings);
    for fragment in ["nat.timeouts.udp, found 2, allowed 120 or more", "found \"spare\"", "never matches"] {
        assert!(warnings.contains(fragment), "{fragment:?} in:\n{warnings}");
    }
}

#[test]
fn proxied_addresses_are_those_on_the_outside_link() {
    let text = example_and("[[nat.pools]]\nname = \"far\"\naddresses = [\"198.51.100.0/30\"]");
    let config = parse(&text);
    let hosts: Vec<u8> = config.proxied_addresses(&config.interfaces[1]).map(|ip| ip.octets()[3]).collect();
    assert_eq!(hosts, [10, 11, 12, 13, 20]);
    assert_eq!(config.proxied_addresses(&config.interfaces[0]).count(), 0);
}

#[test]
fn explain_says_what_the_example_means() {
    let text = parse(EXAMPLE).explain();
    for line in [
        "CPUs: management on 0, 1 worker on 1",
        "  inside faces inside: vdev net_tap0,iface=tap-in, 10.64.0.1/24, MTU 1500",
        "  0.0.0.0/0 via 203.0.113.1 on outside",
        "  main: 3 addresses (203.0.113.10 to 203.0.113.12), ports 1024-65535: 193,536 ports per protocol; \
         endpoint-independent mapping, address-dependent filtering",
        "  1. 10.64.0.0/24 to anywhere, everything: translate from pool main",
        "  tcp 203.0.113.13:8080 goes to 10.64.0.12:80",
        "  10.64.0.20 is 203.0.113.20 outside",
        "  1,000,000 sessions, 1,000,000 subscribers and 16,384 datagrams in fragments in all",
    ] {
        assert!(text.lines().any(|own| own == line), "{line:?} in:\n{text}");
    }
}
