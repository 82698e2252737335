//! Text that, behind the example, makes exactly one mistake: on the marked line, with these fragments.

pub(super) const ADDITIONS: &[(&str, &[&str])] = &[
    (
        "[[nat.pools]]\nname = \"main\" #!\naddresses = [\"198.51.100.1\"]",
        &["nat.pools.name, found \"main\", allowed each once"],
    ),
    (
        "[[nat.pools]]\nname = \"b\"\naddresses = [\"203.0.113.12\"] #!",
        &["found 203.0.113.12 of pool b, allowed what pool main (line 28) does not use"],
    ),
    (
        "[[nat.pools]]\nname = \"b\"\ninterface = \"outside\"\n[[nat.pools]]\nname = \"c\"\ninterface = \"outside\" #!",
        &["nat.pools.addresses, found 203.0.113.2 of pool c"],
    ),
    ("[[nat.pools]] #!\nname = \"b\"", &["nat.pools.addresses is missing"]),
    ("[[nat.rules]] #!\nsource = \"10.64.0.0/24\"", &["nat.rules.pool (or action) is missing"]),
    (
        "[[nat.rules]] #!\nsource = \"10.64.0.0/24\"\npool = \"main\"\naction = \"drop\"",
        &["either pool or action"],
    ),
    (
        "[[nat.rules]]\nsource = \"10.64.0.0/24\"\naction = \"drop\"\nprotocol = \"icmp\"\nsource_ports = 5 #!",
        &["nat.rules.source_ports, found 5, allowed ports with protocol tcp, udp or none"],
    ),
    (
        "[[nat.rules]]\nsource = \"10.64.0.0/24\"\naction = \"drop\"\nprotocol = \"udp\"\nicmp_types = [8] #!",
        &["nat.rules.icmp_types, found 8, allowed types with protocol icmp"],
    ),
    (
        "[[nat.rules]]\nsource = \"10.64.0.0/24\"\naction = \"drop\"\nprotocol = \"icmp\"\nicmp_types = [3] #!",
        &[
            "nat.rules.icmp_types, found 3, allowed a question, 8 (echo), 13 (timestamp), 15 or 17, or an answer",
        ],
    ),
    (
        "[[nat.port_forwards]]\nprotocol = \"tcp\"\nexternal = \"203.0.113.13:8000-8100\" #!\ninternal = \"10.64.0.12:8000-8100\"",
        &[
            "nat.port_forwards.external, found 203.0.113.13 of port forward tcp 203.0.113.13:8000-8100, allowed what port forward tcp 203.0.113.13:8080 (line",
        ],
    ),
    (
        "[[nat.port_forwards]]\nprotocol = \"tcp\"\nexternal = \"203.0.113.13:81\"\ninternal = \"10.64.0.13:80\"\nsource = \"gatway\" #!",
        &["nat.port_forwards.source, found \"gatway\", allowed gateway (nearest), remote"],
    ),
    (
        "[[nat.static]]\nexternal = \"203.0.113.21\"\ninternal = \"10.64.0.20\" #!",
        &["nat.static.internal, found 10.64.0.20, allowed each host once; it stands on line"],
    ),
    (
        "[[nat.static]]\nexternal = \"203.0.113.64/28\"\ninternal = \"10.64.0.16/28\" #!",
        &["nat.static.internal, found 10.64.0.20, allowed each host once; it stands on line"],
    ),
    (
        "[[nat.static]]\nexternal = \"203.0.113.64/28\"\ninternal = \"10.64.0.64/29\" #!",
        &[
            "nat.static.internal, found 10.64.0.64/29 for 203.0.113.64/28, allowed a prefix as long as external's",
        ],
    ),
    (
        "[[nat.static]]\nexternal = \"203.0.113.64/28\"\ninternal = \"10.64.9.0/28\" #!",
        &["nat.static.internal, found 10.64.9.0/28, allowed hosts that are reached through an inside"],
    ),
    (
        "[[nat.static]]\nexternal = \"203.0.113.10/31\" #!\ninternal = \"10.64.0.64/31\"",
        &["nat.static.external, found 203.0.113.10-203.0.113.11 of static", "allowed what pool main"],
    ),
    (
        "[[nat.port_forwards]]\nprotocol = \"udp\"\nexternal = \"203.0.113.67:53\"\ninternal = \"10.64.0.13:53\"\n\
         [[nat.static]]\nexternal = \"203.0.113.64/30\" #!\ninternal = \"10.64.0.64/30\"",
        &["found 203.0.113.64-203.0.113.67 of static", "allowed what port forward udp 203.0.113.67:53"],
    ),
    (
        "[[nat.twice]]\nexternal = \"10.64.0.0/24\"\ninternal = \"10.64.0.128/25\" #!",
        &[
            "nat.twice.internal, found 10.64.0.128/25 for 10.64.0.0/24, allowed a prefix as long as external's",
        ],
    ),
    (
        "[[nat.twice]]\nexternal = \"192.0.2.0/25\"\ninternal = \"10.64.0.128/25\" #!",
        &[
            "nat.twice.internal, found 10.64.0.128/25, allowed addresses apart from the inside prefix 10.64.0.0/24",
        ],
    ),
    (
        "[[nat.twice]]\nexternal = \"203.0.113.12\" #!\ninternal = \"10.99.0.1\"",
        &["nat.twice.external, found 203.0.113.12, allowed addresses apart from pool main, line"],
    ),
    (
        "[[nat.twice]]\nexternal = \"192.0.2.0/25\"\ninternal = \"10.99.0.0/25\"\n\
         [[nat.twice]]\nexternal = \"192.0.2.1\" #!\ninternal = \"10.99.1.1\"",
        &["nat.twice.external, found 192.0.2.1, allowed addresses apart from those of line"],
    ),
    (
        "[[nat.twice]]\nexternal = \"192.0.2.0/25\"\ninternal = \"10.99.0.0/25\"\n\
         [[nat.twice]]\nexternal = \"198.18.0.1\"\ninternal = \"10.99.0.1\" #!",
        &["nat.twice.internal, found 10.99.0.1, allowed addresses apart from those of line"],
    ),
    (
        "[[neighbors]]\naddress = \"203.0.113.99\"\nmac = \"02:00:00:00:00:09\"\ninterface = \"outsid\" #!",
        &["neighbors.interface, found \"outsid\", allowed an interface: outside (nearest), inside"],
    ),
    (
        "[[neighbors]]\naddress = \"10.64.0.9\" #!\nmac = \"02:00:00:00:00:09\"\ninterface = \"outside\"",
        &[
            "neighbors.address, found 10.64.0.9, allowed another host's address in 203.0.113.0/24, the prefix of outside",
        ],
    ),
    (
        "[[neighbors]]\naddress = \"203.0.113.2\" #!\nmac = \"02:00:00:00:00:09\"\ninterface = \"outside\"",
        &["neighbors.address, found 203.0.113.2, allowed another host's address"],
    ),
    (
        "[[neighbors]]\naddress = \"203.0.113.255\" #!\nmac = \"02:00:00:00:00:09\"\ninterface = \"outside\"",
        &["neighbors.address, found 203.0.113.255, allowed another host's address"],
    ),
    (
        "[[neighbors]]\naddress = \"203.0.113.99\"\nmac = \"ff:ff:ff:ff:ff:ff\" #!\ninterface = \"outside\"",
        &["neighbors.mac, found \"ff:ff:ff:ff:ff:ff\", allowed a station's MAC address"],
    ),
    ("[[neighbors]] #!\naddress = \"203.0.113.99\"\ninterface = \"outside\"", &["neighbors.mac is missing"]),
    (
        "[[neighbors]]\naddress = \"203.0.113.99\"\nmac = \"02:00:00:00:00:09\"\ninterface = \"outside\"\n\
         [[neighbors]]\naddress = \"203.0.113.99\" #!\nmac = \"02:00:00:00:00:0a\"\ninterface = \"outside\"",
        &["neighbors.address, found \"203.0.113.99\", allowed each once"],
    ),
    (
        "[[routes]]\nprefix = \"0.0.0.0/0\" #!\nvia = \"203.0.113.3\"",
        &["routes.prefix, found \"0.0.0.0/0\", allowed each once"],
    ),
];
