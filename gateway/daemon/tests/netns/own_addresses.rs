//! What hosts hear that speak to the gateway itself.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use crate::lab::{Lab, Options, in_a_lab};
use crate::namespace::Namespace;
use crate::reload::{natctl_reload, rewrite};

const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// As people type it, and of 20 in a row none is lost.
#[track_caller]
fn assert_answered(host: &Namespace, address: Ipv4Addr, octets: usize) {
    let answer = host.exec(&format!("ping -q -c 20 -i 0.02 -W 2 -s {octets} {address}"));
    assert!(answer.contains(" 20 received"), "{octets} octets: {answer}");
}

fn is_answered(host: &Namespace, address: Ipv4Addr) -> bool {
    host.try_exec(&format!("ping -q -c 1 -W 1 {address}")).status.success()
}

in_a_lab!(pings_larger_than_the_mtu_are_answered);
fn pings_larger_than_the_mtu_are_answered(lab: &mut Lab) {
    for octets in [3000, 8972] {
        for (host, address) in
            [(&lab.a, INSIDE), (&lab.b, OUTSIDE), (&lab.router, OUTSIDE), (&lab.server, OUTSIDE)]
        {
            assert_answered(host, address, octets);
        }
    }
    let metrics = lab.gateway.settled();
    assert_eq!(metrics.sum("icmp_generated_total", &[("type", "echo-reply")]), 2 * 4 * 20);
    // Three fragments of 3008 octets, and seven of 8980.
    assert_eq!(metrics.sum("fragments_total", &[("event", "assembled")]), 4 * 20 * (3 + 7));
    assert_eq!(metrics.sum("held_packets", &[]), 0);
}

const NARROW: Options = Options { inside: "mtu = 1400", ..Options::DEFAULT };

in_a_lab!(replies_are_cut_for_the_link_that_they_leave_by, NARROW);
fn replies_are_cut_for_the_link_that_they_leave_by(lab: &mut Lab) {
    lab.a.ip("link set eth0 mtu 1400");
    assert_answered(&lab.a, INSIDE, 8972);
    assert_answered(&lab.router, OUTSIDE, 8972);
}

in_a_lab!(pools_answer_pings_when_a_reload_says_so);
fn pools_answer_pings_when_a_reload_says_so(lab: &mut Lab) {
    for host in [&lab.a, &lab.router] {
        assert!(!is_answered(host, POOL));
    }
    let filtering = "filtering = ";
    rewrite(lab, |text| text.replacen(filtering, &format!("ping = true\n{filtering}"), 1));
    assert!(natctl_reload(lab).status.success());
    for host in [&lab.a, &lab.router, &lab.server] {
        for octets in [56, 3000, 8972] {
            assert_answered(host, POOL, octets);
        }
    }
    // Hosts that ping through the pool hear their own answers, and a static host answers itself.
    for octets in [56, 3000] {
        assert_answered(&lab.a, Ipv4Addr::new(198, 51, 100, 10), octets);
        assert_answered(&lab.server, Ipv4Addr::new(203, 0, 113, 20), octets);
    }
    rewrite(lab, |text| text.replacen("ping = true\n", "", 1));
    assert!(natctl_reload(lab).status.success());
    assert!(!is_answered(&lab.a, POOL));
    assert!(!is_answered(&lab.router, POOL));
}

in_a_lab!(a_connection_to_the_gateway_itself_is_refused_at_once);
fn a_connection_to_the_gateway_itself_is_refused_at_once(lab: &mut Lab) {
    for (port, address) in (22..).zip([INSIDE, OUTSIDE, INSIDE]) {
        let start = Instant::now();
        let error = lab.a.tcp(SocketAddrV4::new(address, port)).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    // Outside hosts learn nothing of ports.
    let outside = SocketAddrV4::new(OUTSIDE, 22);
    let error = lab.router.tcp_timeout(outside, Duration::from_secs(2)).expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    let metrics = lab.gateway.settled();
    assert_eq!(metrics.sum("tcp_resets_total", &[]), 3);
    assert!(metrics.dropped("local-no-service") >= 1);
}

const SILENT: Options = Options { nat: "refuse = \"drop\"", ..Options::DEFAULT };

in_a_lab!(a_gateway_that_refuses_silently_refuses_no_connection, SILENT);
fn a_gateway_that_refuses_silently_refuses_no_connection(lab: &mut Lab) {
    let error = lab.a.tcp_timeout(SocketAddrV4::new(INSIDE, 22), Duration::from_secs(2));
    assert_eq!(error.expect_err("nobody answers").kind(), ErrorKind::TimedOut);
}
