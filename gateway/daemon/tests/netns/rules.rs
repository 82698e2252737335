//! Rules, tried by real hosts.

use std::time::Duration;

use crate::lab::{Lab, Options, SERVER, in_a_lab};
use crate::reflector::{UdpReflector, ask, try_ask};

/// Host A may not send from ports below 1024; host B may not ping.
const PORTS_AND_TYPES: Options = Options {
    rules: r#"
[[nat.rules]]
source = "10.64.0.11"
protocol = "udp"
source_ports = "1-1023"
action = "drop"

[[nat.rules]]
source = "10.64.0.12"
protocol = "icmp"
icmp_types = [8]
action = "drop"
"#,
    ..Options::DEFAULT
};

in_a_lab!(rules_by_source_port_and_icmp_type, PORTS_AND_TYPES);
fn rules_by_source_port_and_icmp_type(lab: &mut Lab) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    ask(&lab.a.udp(1024), reflector.address);
    let refused = lab.a.udp(1023);
    refused.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    assert!(try_ask(&refused, reflector.address).is_err(), "from a port that a rule drops");
    ask(&lab.b.udp(1023), reflector.address);
    lab.a.exec("ping -q -c 1 -W 2 198.51.100.10");
    assert!(!lab.b.try_exec("ping -q -c 1 -W 1 198.51.100.10").status.success(), "a ping that a rule drops");
    assert!(lab.gateway.settled().dropped("rule-drop") >= 2);
}
