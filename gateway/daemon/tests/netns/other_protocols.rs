//! Protocols without ports that the gateway knows: tunnels and raw sockets of real kernels.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use crate::lab::{HOST_A, Lab, Options, POOL, SERVER, STATIC, in_a_lab};
use crate::management::natctl;
use crate::namespace::{Namespace, Server};

const OPTIONS: Options = Options { pool: "other_protocols = \"all\"", ..Options::DEFAULT };

/// Every worker has ports of the one address; without ports, one worker has all of it.
const ONE_ADDRESS: Options = Options {
    rules: r#"
[[nat.pools]]
name = "one"
addresses = ["203.0.113.14"]
other_protocols = ["gre"]

[[nat.rules]]
source = "10.64.0.0/24"
protocol = "gre"
pool = "one"
"#,
    pool: "",
    ..OPTIONS
};

/// A tunnel whose ends are a host's address and the one at which it sees the other end.
fn tunnel(lab: &Lab, host: &Namespace, local: Ipv4Addr, remote: Ipv4Addr, inner: &str) -> Server {
    let script = lab.work.path().join("gre.py");
    fs::write(&script, GRE).expect("a script");
    let end = host.spawn(&format!("python3 {} {local} {remote} {inner}", script.display()));
    let is_up = || {
        let shown = host.try_exec("ip -brief address show dev gre-test up").stdout;
        String::from_utf8_lossy(&shown).contains(inner)
    };
    assert!(
        (0..50).any(|_| is_up() || {
            thread::sleep(Duration::from_millis(100));
            false
        }),
        "no tunnel"
    );
    end
}

/// The end of a GRE tunnel (RFC 2784): packets of a TUN device behind four octets of header. Not every kernel has its own.
const GRE: &str = "import fcntl, os, select, socket, struct, subprocess, sys
local, remote, inner = sys.argv[1:]
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH', b'gre-test', 0x1001))
subprocess.run(['ip', 'address', 'add', inner + '/24', 'dev', 'gre-test'], check=True)
subprocess.run(['ip', 'link', 'set', 'gre-test', 'mtu', '1476', 'up'], check=True)
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
s.bind((local, 0))
while True:
    ready = select.select([tun, s], [], [])[0]
    if tun in ready:
        s.sendto(b'\\0\\0\\x08\\0' + os.read(tun, 2000), (remote, 0))
    if s in ready:
        data, sender = s.recvfrom(2000)
        if sender[0] == remote:
            os.write(tun, data[24:])
";

/// The address that the server sees a host's tunnel packets come from.
fn seen_from(lab: &Lab) -> Ipv4Addr {
    let sessions = natctl(lab, &["sessions", "--protocol", "gre", "--json"]);
    let sessions: serde_json::Value = serde_json::from_str(&sessions).expect("JSON");
    let session = &sessions["items"][0];
    assert_eq!((&session["protocol"], &session["inside"]), (&"gre".into(), &HOST_A.to_string().into()));
    session["outside"].as_str().and_then(|address| address.parse().ok()).expect("an address without a port")
}

fn a_gre_tunnel_carries_pings_both_ways(lab: &mut Lab) {
    let _inside = tunnel(lab, &lab.a, HOST_A, SERVER, "172.16.0.1");
    // The inside end speaks first: nothing is let in before.
    lab.a.try_exec("ping -q -c 1 -W 1 172.16.0.2");
    let outside = seen_from(lab);
    let _outside = tunnel(lab, &lab.server, SERVER, outside, "172.16.0.2");
    let pings = lab.a.exec("ping -q -c 20 -i 0.05 -W 2 -s 1200 172.16.0.2");
    assert!(pings.contains(" 20 received"), "{pings}");
    let pings = lab.server.exec("ping -q -c 20 -i 0.05 -W 2 172.16.0.1");
    assert!(pings.contains(" 20 received"), "{pings}");
    let metrics = lab.gateway.settled();
    assert_eq!(metrics.sum("sessions", &[("protocol", "other")]), 1);
    assert!(metrics.sum("translated_packets_total", &[("protocol", "other")]) > 80);
    assert_eq!(metrics.sum("pool_ports_used", &[]), 0);
}

in_a_lab!(a_gre_tunnel_passes, OPTIONS);
fn a_gre_tunnel_passes(lab: &mut Lab) {
    a_gre_tunnel_carries_pings_both_ways(lab);
}

in_a_lab!(a_gre_tunnel_passes_where_workers_share_an_address, ONE_ADDRESS);
fn a_gre_tunnel_passes_where_workers_share_an_address(lab: &mut Lab) {
    a_gre_tunnel_carries_pings_both_ways(lab);
}

in_a_lab!(a_gre_tunnel_reaches_a_static_host_unsolicited);
fn a_gre_tunnel_reaches_a_static_host_unsolicited(lab: &mut Lab) {
    let _inside = tunnel(lab, &lab.c, Ipv4Addr::new(10, 64, 0, 20), SERVER, "172.16.0.1");
    let _outside = tunnel(lab, &lab.server, SERVER, STATIC, "172.16.0.2");
    let pings = lab.server.exec("ping -q -c 5 -i 0.1 -W 2 172.16.0.1");
    assert!(pings.contains(" 5 received"), "{pings}");
}

/// Answers every packet to its source; socket type, protocol and address are the arguments.
const ECHO: &str = "import socket, sys
kind, protocol, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
s = socket.socket(socket.AF_INET, kind, protocol)
s.bind((address, 7777))
s.settimeout(20)
while True:
    data, sender = s.recvfrom(2000)
    if kind == socket.SOCK_RAW:
        data = data[20:]
    s.sendto(data[:100] + b' ' + sender[0].encode(), sender if kind == socket.SOCK_DGRAM else (sender[0], 0))
";

/// Asks, and prints the answer.
const ASK: &str = "import socket, sys
kind, protocol, address = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
s = socket.socket(socket.AF_INET, kind, protocol)
s.settimeout(1)
for attempt in range(10):
    s.sendto(b'from inside', (address, 7777 if kind == socket.SOCK_DGRAM else 0))
    try:
        data = s.recvfrom(2000)[0]
        print((data[20:] if kind == socket.SOCK_RAW else data).decode())
        break
    except socket.timeout:
        pass
";

in_a_lab!(real_sockets_of_other_protocols_are_answered, OPTIONS);
fn real_sockets_of_other_protocols_are_answered(lab: &mut Lab) {
    const DATAGRAM: u8 = 2;
    const RAW: u8 = 3;
    for (name, script) in [("echo.py", ECHO), ("ask.py", ASK)] {
        fs::write(lab.work.path().join(name), script).expect("a script");
    }
    let line = |name: &str, kind, protocol: u8| {
        format!("python3 {} {kind} {protocol} {SERVER}", lab.work.path().join(name).display())
    };
    // The kernels check UDP-Lite's checksum themselves.
    for (kind, protocol) in [(DATAGRAM, 136), (RAW, 50), (RAW, 132), (RAW, 99)] {
        let _echo = lab.server.spawn(&line("echo.py", kind, protocol));
        let answer = lab.a.exec(&line("ask.py", kind, protocol));
        let (said, outside) =
            answer.trim().rsplit_once(' ').unwrap_or_else(|| panic!("protocol {protocol}: {answer:?}"));
        assert_eq!(said, "from inside", "protocol {protocol}");
        assert!(
            POOL.contains(&outside.parse::<Ipv4Addr>().expect("an address")),
            "protocol {protocol}: {outside}"
        );
    }
    assert_eq!(lab.gateway.settled().sum("sessions", &[("protocol", "other")]), 4);
}
