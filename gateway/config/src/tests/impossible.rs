//! What is well written and can never work: refused, or warned of, before anything is started.

use std::net::Ipv4Addr;

use super::mistakes::assert_refused;
use super::{example_and, example_with, lines, parse};

const OUTSIDE: &str = "device = \"net_tap1,iface=tap-out\"";

/// The example with another outside device.
fn with_device(device: &str) -> String {
    example_with(OUTSIDE, &format!("device = \"{device}\" #!"))
}

fn warnings(text: &str) -> String {
    lines(&parse(text).warnings)
}

#[test]
fn rfc1122_prefixes_without_any_host_are_refused() {
    for (prefix, block) in [
        ("0.0.0.0/8", "0.0.0.0/8 (this network)"),
        ("0.1.2.3", "0.0.0.0/8 (this network)"),
        ("127.0.0.0/8", "127.0.0.0/8 (loopback)"),
        ("127.0.0.1", "127.0.0.0/8 (loopback)"),
        ("169.254.0.0/16", "169.254.0.0/16 (link-local)"),
        ("224.0.0.0/4", "224.0.0.0/4 (multicast)"),
        ("224.0.0.0/3", "224.0.0.0/4 (multicast)"),
        ("239.1.0.0/16", "224.0.0.0/4 (multicast)"),
        ("255.255.255.255", "255.255.255.255 (broadcast)"),
        ("240.0.0.0/4", "240.0.0.0/4 (reserved; inside, with class_e = true in [nat])"),
        ("250.1.2.0/24", "240.0.0.0/4 (reserved; inside, with class_e = true in [nat])"),
    ] {
        let route = format!("[[routes]]\nprefix = \"{prefix}\" #!\nvia = \"10.64.0.9\"");
        let outward = format!("[[routes]]\nprefix = \"{prefix}\" #!\nvia = \"203.0.113.9\"");
        let rule = format!("[[nat.rules]]\nsource = \"{prefix}\" #!\naction = \"drop\"");
        let to = format!(
            "[[nat.rules]]\nsource = \"10.64.0.0/24\"\ndestination = \"{prefix}\" #!\naction = \"drop\""
        );
        for (text, key) in [
            (route, "routes.prefix"),
            (outward, "routes.prefix"),
            (rule, "nat.rules.source"),
            (to, "nat.rules.destination"),
        ] {
            let said = format!("{key}, found \"{prefix}\", allowed a prefix with hosts, not in {block}");
            assert_refused(&example_and(&text), &[&said]);
        }
    }
    // What has hosts beside is no mistake.
    let text = "[[routes]]\nprefix = \"168.0.0.0/6\"\nvia = \"203.0.113.9\"\n\
                [[nat.rules]]\nsource = \"0.0.0.0/0\"\ndestination = \"128.0.0.0/1\"\naction = \"drop\"";
    parse(&example_and(text));
}

#[test]
fn rfc1112_class_e_is_an_insides_where_the_key_says_so() {
    let inside = example_with("addresses = [\"10.64.0.1/24\"]", "addresses = [\"10.64.0.1/24\", \"240.0.0.1/24\"]")
        .replace(
            "[[nat.pools]]",
            "[[routes]]\nprefix = \"241.0.0.0/8\"\nvia = \"240.0.0.9\"\n\
             [[nat.port_forwards]]\nprotocol = \"udp\"\nexternal = \"203.0.113.14:80\"\ninternal = \"241.0.0.7:80\"\n\
             [[nat.static]]\nexternal = \"203.0.113.21\"\ninternal = \"240.0.0.7\"\n\
             [[nat.rules]]\nsource = \"240.0.0.0/4\"\npool = \"main\"\n[[nat.pools]]",
        );
    let allowed = |text: &str| format!("{text}\n[nat]\nclass_e = true\n");
    let config = parse(&allowed(&inside));
    assert!(config.settings.class_e);
    assert_eq!(config.settings.statics[0].internal.addr(), Ipv4Addr::new(240, 0, 0, 7));
    assert!(!parse(super::EXAMPLE).settings.class_e);
    assert_eq!(crate::Config::parse(&inside, "").unwrap_err()[0].line, 12);

    let pool = example_with(
        "[[nat.rules]] ",
        "[[nat.pools]]\nname = \"e\"\naddresses = [\"240.0.0.7\"] #!\n[[nat.rules]]",
    );
    assert_refused(&allowed(&pool), &["nat.pools.addresses, found \"240.0.0.7\""]);
    let outward = example_and("[[routes]]\nprefix = \"250.0.0.0/8\" #!\nvia = \"203.0.113.9\"");
    assert_refused(
        &allowed(&outward),
        &["routes.prefix, found 250.0.0.0/8, allowed through an outside router"],
    );
    let own = example_with(
        "addresses = [\"203.0.113.2/24\"]",
        "addresses = [\"203.0.113.2/24\", \"240.0.0.1/24\"] #!",
    );
    assert_refused(&allowed(&own), &["interfaces.addresses, found \"240.0.0.1/24\""]);
    assert_refused(&example_and("[nat]\nclass_e = 1 #!"), &["nat.class_e, found 1, allowed true or false"]);
}

#[test]
fn forwards_and_static_hosts_at_network_and_broadcast_addresses_are_refused() {
    for edge in ["10.64.0.0", "10.64.0.255"] {
        let forward = format!(
            "[[nat.port_forwards]]\nprotocol = \"tcp\"\nexternal = \"203.0.113.14:80\"\ninternal = \"{edge}:80\" #!"
        );
        let fixed = format!("[[nat.static]]\nexternal = \"203.0.113.21\"\ninternal = \"{edge}\" #!");
        for (text, key) in [(forward, "nat.port_forwards.internal"), (fixed, "nat.static.internal")] {
            let said = format!(
                "{key}, found {edge}, allowed a host's address, neither network nor broadcast of 10.64.0.0/24"
            );
            assert_refused(&example_and(&text), &[&said]);
        }
    }
    for edge in ["203.0.113.0", "203.0.113.255"] {
        let fixed = format!("[[nat.static]]\nexternal = \"{edge}\" #!\ninternal = \"10.64.0.21\"");
        assert_refused(&example_and(&fixed), &[&format!("apart from the network's own {edge}")]);
    }
    // A link of two hosts has neither (RFC 3021).
    let narrow = example_with("10.64.0.1/24", "10.64.0.1/24\", \"10.65.0.1/31")
        + "[[nat.static]]\nexternal = \"203.0.113.21\"\ninternal = \"10.65.0.0\"";
    parse(&narrow);
}

#[test]
fn two_vdevs_never_open_one_network_device() {
    for device in [
        "net_tap1,iface=tap-in",
        "net_af_packet0,iface=tap-in",
        "net_af_xdp0,start_queue=0,iface=tap-in",
        "net_virtio_user0,path=/dev/vhost-net,iface=tap-in",
    ] {
        assert_refused(
            &with_device(device),
            &["interfaces.device, found \"iface=tap-in\", allowed each once; it stands on line 10"],
        );
    }
    let memifs = |second: &str| {
        example_with("net_tap0,iface=tap-in", "net_memif0,socket=/run/a.sock,id=1")
            .replace("net_tap1,iface=tap-out\"", &format!("net_memif1,{second}\" #!"))
    };
    assert_refused(&memifs("socket=/run/a.sock,id=1"), &["found \"socket=/run/a.sock,id=1,role=client\""]);
    parse(&memifs("socket=/run/a.sock,id=2"));
    let queues = example_with("net_tap0,iface=tap-in", "net_af_xdp0,iface=eth0")
        .replace("net_tap1,iface=tap-out", "net_af_xdp1,iface=eth0,start_queue=1");
    parse(&queues);
}

#[test]
fn arguments_that_a_vdev_does_not_have_are_refused() {
    for (device, fragment) in [
        (
            "net_tap1,ifcae=tap-out",
            "found \"ifcae\", allowed of net_tap: iface (nearest), mac, persist, remote",
        ),
        (
            "net_af_packet0,iface=a,qpair=2",
            "found \"qpair\", allowed of net_af_packet: qpairs (nearest), iface",
        ),
        ("net_af_xdp0,iface=a,queues=2", "found \"queues\", allowed of net_af_xdp: iface, start_queue"),
        (
            "net_memif0,role=client,sokcet=/run/a",
            "found \"sokcet\", allowed of net_memif: socket (nearest), id",
        ),
        ("net_ring0,iface=a", "found \"iface\", allowed of net_ring: nodeaction"),
        ("net_null0,copys=1", "found \"copys\", allowed of net_null: copy (nearest), size, no-rx"),
        ("net_pcap0,rxpcap=/tmp/a", "found \"rxpcap\", allowed of net_pcap: rx_pcap (nearest)"),
        (
            "net_virtio_user0,path=/run/a,queue=2",
            "found \"queue\", allowed of net_virtio_user: queues (nearest)",
        ),
        ("net_bonding0,mode=4,slaves=0", "found \"slaves\", allowed of net_bonding: slave (nearest), member"),
        (
            "net_vhost0,iface=/run/a-socket-that-is-long,clients=1",
            "found \"clients\", allowed of net_vhost: client (nearest)",
        ),
        ("net_tap1,iface=a,iface=b", "found \"iface=b\", allowed iface once"),
        (
            "net_tap1,iface=a-name-too-long-",
            "found \"a-name-too-long-\", allowed as iface a network device's name",
        ),
        ("net_af_packet0", "allowed net_af_packet with iface=, without which it makes no device"),
        ("net_virtio_user0,queues=1", "allowed net_virtio_user with path="),
    ] {
        assert_refused(&with_device(device), &["interfaces.device, ", fragment]);
    }
    // Nothing is known of these, or several may stand.
    for device in [
        "net_softnic0,firmware=a",
        "net_pcap0,rx_pcap=/a,rx_pcap=/b,tx_pcap=/c",
        "net_bonding0,mode=1,member=1,member=2",
    ] {
        parse(&with_device(device).replace(" #!", ""));
    }
}

#[test]
fn a_mac_address_stands_in_one_place() {
    let with = |device: &str| {
        example_with("role = \"outside\"", "role = \"outside\"\nmac = \"02:00:00:00:00:07\" #!")
            .replace("net_tap1,iface=tap-out", device)
    };
    for own in ["02:00:00:00:00:08", "fixed"] {
        let device = format!("net_tap1,iface=tap-out,mac={own}");
        let said = format!(
            "interfaces.mac, found 02:00:00:00:00:07, allowed either it or mac={own} in device (line 17)"
        );
        assert_refused(&with(&device), &[&said]);
    }
    let devargs = |device: &str| parse(&with(device)).interfaces[1].devargs();
    assert_eq!(devargs("net_memif0,id=3"), "net_memif0,id=3,mac=02:00:00:00:00:07");
    assert_eq!(devargs("net_tap1,mac=02:00:00:00:00:07"), "net_tap1,mac=02:00:00:00:00:07");
    assert_eq!(devargs("3b:00.0"), "0000:3b:00.0");
}

#[test]
fn an_mtu_beyond_the_drivers_is_refused_or_warned_of() {
    let with = |device: &str, mtu: u16| {
        example_with("mtu = 1500                         # optional", &format!("mtu = {mtu} #!\n#"))
            .replace("net_tap1,iface=tap-out", device)
    };
    for (device, most, name) in [
        ("net_memif0", 1500, "net_memif"),
        ("net_af_packet0,iface=a", 1500, "net_af_packet"),
        #[cfg(target_arch = "x86_64")]
        ("net_af_xdp0,iface=a", 3542, "net_af_xdp"),
    ] {
        let said =
            format!("interfaces.mtu, found {}, allowed at most {most}, which is what {name} takes", most + 1);
        assert_refused(&with(device, most + 1), &[&said]);
        assert_eq!(warnings(&with(device, most)), "");
    }
    assert_eq!(warnings(&with("net_tap1", 1504)), "");
    let said = "interfaces.mtu, found 1505, allowed at most 1504 with DPDK before 23.03, whose net_tap takes no more";
    assert!(warnings(&with("net_tap1", 1505)).ends_with(said));
    assert_eq!(warnings(&with("net_null0", 9216)) + &warnings(&with("3b:00.0", 9216)), "");
}

#[test]
fn forwards_that_take_every_port_of_a_masquerade_are_refused() {
    let forward = |protocol: &str, ports: &str, host: u8, mark: &str| {
        format!(
            "[[nat.port_forwards]]\nprotocol = \"{protocol}\"\nexternal = \"203.0.113.2:{ports}\"{mark}\n\
             internal = \"10.64.0.{host}:{ports}\"\n"
        )
    };
    let masquerade = |forwards: &str| {
        example_with("addresses = [\"203.0.113.10-203.0.113.12\"] ", "interface = \"outside\" ") + forwards
    };
    let all = masquerade(&forward("tcp", "1-65535", 50, " #!"));
    let said = "nat.port_forwards.external, found port forward tcp 203.0.113.2:1-65535, allowed one that leaves other hosts \
                a port for tcp in pool main (1024-65535)";
    assert_refused(&all, &[said]);
    let halves = forward("udp", "1-40000", 50, "") + &forward("udp", "40001-65535", 51, " #!");
    assert_refused(&masquerade(&halves), &["found port forward udp 203.0.113.2:40001-65535"]);

    parse(&masquerade(&forward("tcp", "1-65534", 50, "")));
    let gap = forward("udp", "1-40000", 50, "") + &forward("udp", "40002-65535", 51, "");
    parse(&masquerade(&(gap + &forward("tcp", "40001", 51, ""))));
    // A pool of several addresses has others left; and who shares with nobody lacks nothing.
    parse(&example_and(&forward("tcp", "1-65535", 50, "").replace("203.0.113.2:", "203.0.113.10:")));
    parse(&all.replace("source = \"10.64.0.0/24\"", "source = \"10.64.0.50\""));
}

#[test]
fn pools_of_an_uplink_that_the_routes_do_not_use_are_warned_of() {
    let second = "[[interfaces]]\nname = \"wan2\"\ndevice = \"net_tap2,iface=tap-2\"\nrole = \"outside\"\n\
                  addresses = [\"198.51.100.2/24\"]\n";
    let pool = "[[nat.pools]]\nname = \"second\"\ninterface = \"wan2\"\n";
    let rule = |to: &str| {
        format!("[[nat.rules]]\nsource = \"10.64.0.0/25\"\ndestination = \"{to}\"\npool = \"second\"\n")
    };
    let with = |rules: &str, routes: &str| {
        warnings(&example_with("[[nat.rules]] ", &format!("{second}{routes}{pool}{rules}[[nat.rules]] ")))
    };
    let route = |prefix: &str| format!("[[routes]]\nprefix = \"{prefix}\"\nvia = \"198.51.100.1\"\n");

    let warning = with(&rule("0.0.0.0/0"), "");
    let said = "nat.pools, found 198.51.100.2 of second, an address of wan2, allowed addresses of outside, by which the \
                routes let it leave, or a route through wan2";
    assert!(warning.contains(said) && warning.lines().count() == 1, "{warning}");
    assert!(with(&rule("192.0.2.0/24"), &route("192.0.3.0/24")).contains(said));
    // Somewhere, a route leads there.
    assert_eq!(with(&rule("0.0.0.0/0"), &route("192.0.2.0/24")), "");
    assert_eq!(with(&rule("192.0.2.128/25"), &route("192.0.2.0/24")), "");
    assert_eq!(with(&rule("198.51.100.0/24"), ""), "");
    assert_eq!(with(&(rule("192.0.3.0/24") + &rule("192.0.2.0/24")), &route("192.0.2.0/24")), "");
    // Addresses of no link are for the routers outside to send here.
    let far = with(&rule("0.0.0.0/0"), "").replace("interface = \"wan2\"", "addresses = [\"192.0.2.1\"]");
    assert!(!far.contains("192.0.2.1"));
}
