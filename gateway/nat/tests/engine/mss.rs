//! TCP MSS clamping: what SYNs offer in either direction, and that nothing else is touched.

use natgw_nat::Direction::{self, Inbound, Outbound};
use natgw_nat::{Protocol, Verdict};
use natgw_wire::tcp::{self, Flags};

use crate::packet::{Body, Packet, Seen, ep};
use crate::sim::{Gateway, forward};

const HOST: &str = "10.64.0.5:4000";
const REMOTE: &str = "198.51.100.7:443";
const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

fn offering(packet: Packet, mss: u16) -> Packet {
    let Body::Tcp { flags, payload, .. } = packet.body else { panic!("no segment") };
    let [high, low] = mss.to_be_bytes();
    Packet { body: Body::Tcp { flags, options: vec![1, 2, 4, high, low, 0, 0, 0], payload }, ..packet }
}

fn clamping(mss: Option<u16>) -> Gateway {
    Gateway::changed(|settings| {
        settings.mss_clamp = mss;
        settings.port_forwards.push(forward(Protocol::Tcp, "203.0.113.10:80", "10.64.0.9:80"));
    })
}

/// What a segment offers when it has passed, all checksums right.
#[track_caller]
fn offered(gateway: &mut Gateway, direction: Direction, packet: &Packet) -> u16 {
    let mut burst = [packet.bytes()];
    let mut verdicts = [Verdict::Local];
    gateway.shards[0].translate(&mut burst[..], direction, gateway.now, &mut verdicts);
    if verdicts == [Verdict::Hairpin] {
        gateway.shards[0].translate_hairpinned(&mut burst[..], gateway.now, &mut verdicts);
    }
    assert!(matches!(verdicts[0], Verdict::Forward(_)), "{verdicts:?}");
    Seen::read(&burst[0]).expect("every checksum is right");
    let segment = tcp::Packet::new_checked(&burst[0][20..]).expect("a segment");
    u16::from_be_bytes([segment.options()[3], segment.options()[4]])
}

#[test]
fn mss_is_clamped_in_syns_of_both_directions() {
    let mut gateway = clamping(Some(1360));
    let syn = offering(Packet::tcp(ep(HOST), ep(REMOTE), Flags::SYN), 1460);
    assert_eq!(offered(&mut gateway, Outbound, &syn), 1360);
    // The session is there now.
    assert_eq!(offered(&mut gateway, Outbound, &syn), 1360);
    let external = gateway.sessions()[0].external;
    let answer = Packet::tcp(ep(REMOTE), external, SYN_ACK);
    assert_eq!(offered(&mut gateway, Inbound, &offering(answer.clone(), 1460)), 1360);
    assert_eq!(offered(&mut gateway, Inbound, &offering(answer, 1200)), 1200);
    assert_eq!(offered(&mut gateway, Outbound, &offering(syn.clone(), 1361)), 1360);
    assert_eq!(offered(&mut gateway, Outbound, &offering(syn, 1360)), 1360);
}

#[test]
fn mss_is_clamped_where_a_forward_lets_a_syn_in_and_for_its_answer() {
    let mut gateway = clamping(Some(1000));
    let (server, forward) = (ep("10.64.0.9:80"), ep("203.0.113.10:80"));
    for client in [ep(REMOTE), ep(HOST)] {
        let direction = if client == ep(REMOTE) { Inbound } else { Outbound };
        let syn = offering(Packet::tcp(client, forward, Flags::SYN), 1460);
        assert_eq!(offered(&mut gateway, direction, &syn), 1000);
    }
    let answer = offering(Packet::tcp(server, ep(REMOTE), SYN_ACK), 1460);
    assert_eq!(offered(&mut gateway, Outbound, &answer), 1000);
}

#[test]
fn mss_stays_where_clamping_is_off_and_in_all_but_syns() {
    let syn = |flags| offering(Packet::tcp(ep(HOST), ep(REMOTE), flags), 1460);
    let mut off = clamping(None);
    assert_eq!(offered(&mut off, Outbound, &syn(Flags::SYN)), 1460);
    let mut on = clamping(Some(1000));
    offered(&mut on, Outbound, &syn(Flags::SYN));
    for flags in [Flags::ACK, Flags::FIN | Flags::ACK, Flags::RST] {
        assert_eq!(offered(&mut on, Outbound, &syn(flags)), 1460);
    }
    on.reload(|settings| settings.mss_clamp = None);
    assert_eq!(offered(&mut on, Outbound, &syn(Flags::SYN)), 1460);
}
