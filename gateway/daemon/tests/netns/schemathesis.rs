//! Schemathesis against the gateway itself, with sessions in its tables.

#[path = "../../../natctl/tests/schemathesis/mod.rs"]
mod tool;

use std::net::{Ipv4Addr, SocketAddr};

use crate::lab::{Lab, Options, SERVER, run};
use crate::reflector::{UdpReflector, ask};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const WITH_TOKEN: Options =
    Options { workers: 2, management: "token = \"0123456789abcdef0123456789abcdef\"", ..Options::DEFAULT };

/// A drain ends the gateway, and a capture of nothing lasts.
const NOT_TRIED: &[&str] = &["/api/v1/drain", "/api/v1/capture"];

#[test]
fn schemathesis_finds_nothing_in_a_running_gateway_with_the_token() {
    run(WITH_TOKEN, |lab| try_all(lab, Some(&format!("Bearer {TOKEN}")), NOT_TRIED));
}

#[test]
fn schemathesis_finds_nothing_in_a_running_gateway_without_the_token() {
    run(WITH_TOKEN, |lab| try_all(lab, None, &[]));
}

fn try_all(lab: &Lab, authorization: Option<&str>, but: &[&str]) {
    let reflector = UdpReflector::new(&lab.server, SERVER, 7);
    let flows = [&lab.a, &lab.b].map(|host| (0..50).map(|nth| host.udp(6000 + nth)).collect::<Vec<_>>());
    for flow in flows.iter().flatten() {
        ask(flow, reflector.address);
    }
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 9464));
    tool::try_all(lab.middle.command("schemathesis"), server, authorization, but);
    // It forwards as before.
    for flow in flows.iter().flatten() {
        ask(flow, reflector.address);
    }
}
