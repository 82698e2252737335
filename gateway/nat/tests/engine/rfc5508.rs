//! RFC 5508: ICMP queries and errors.

use natgw_nat::{
    Direction, DropReason, EmbeddedChecksum, Endpoint, Filtering, Protocol, Refuse, RuleAction, Static,
    Verdict,
};
use natgw_wire::icmpv4::message;
use natgw_wire::tcp::Flags;

use crate::packet::{Body, Packet, Seen, at_port, ep};
use crate::sim::{Gateway, Outcome, rule, settings};

const HOST: &str = "10.64.0.5:4000";
const REMOTE: &str = "198.51.100.7:7000";
const ROUTER: &str = "192.0.2.254";

/// A flow that left, and the packet as the outside saw it.
fn sent(protocol: Protocol) -> (Gateway, Seen) {
    let mut gateway = Gateway::changed(|_| {});
    let seen = gateway.outbound(Packet::first(protocol, ep(HOST), ep(REMOTE))).out();
    (gateway, seen)
}

/// The flow's remote, as packets of this protocol name it.
fn remote(protocol: Protocol) -> Endpoint {
    if protocol == Protocol::Icmp { at_port(ep(REMOTE), 0) } else { ep(REMOTE) }
}

#[test]
fn rfc5508_req1_queries_pass_by_identifier_whatever_the_remote() {
    let mut gateway = Gateway::changed(|_| {});
    let mapped = gateway.open(Protocol::Icmp, ep(HOST), ep(REMOTE));
    assert_eq!(gateway.open(Protocol::Icmp, ep(HOST), ep("192.0.2.1:0")), mapped);
    let second = gateway.open(Protocol::Icmp, ep("10.64.0.6:4000"), ep(REMOTE));
    assert_ne!(second, mapped, "two hosts with one identifier have two outside ones");
    for (remote, external, host) in
        [(REMOTE, mapped, HOST), ("192.0.2.1:0", mapped, HOST), (REMOTE, second, "10.64.0.6:4000")]
    {
        let seen = gateway.inbound(Packet::pong(ep(remote), external)).delivered();
        assert_eq!(seen.destination, ep(host));
    }
}

#[test]
fn rfc5508_req1_every_kind_of_query_and_its_reply_pass() {
    for ty in [message::ECHO, message::TIMESTAMP, message::INFORMATION, message::MASK] {
        let reply = if ty == message::ECHO { message::ECHO_REPLY } else { ty + 1 };
        let mut gateway = Gateway::changed(|_| {});
        let seen = gateway.outbound(Packet::query(ep(HOST), at_port(ep(REMOTE), 0), ty)).out();
        let answer = Packet::query(at_port(ep(REMOTE), 0), seen.source, reply);
        assert_eq!(gateway.inbound(answer).delivered().destination, ep(HOST));
    }
}

#[test]
fn rfc5508_req1_an_unsolicited_reply_makes_no_session() {
    let mut gateway = Gateway::changed(|_| {});
    for ident in [0, 4000] {
        let reply = Packet::pong(ep(HOST), at_port(ep(REMOTE), ident));
        assert_eq!(gateway.outbound(reply).reason(), DropReason::NoMapping, "identifier {ident}");
    }
    let unasked = Packet::pong(ep(REMOTE), ep("203.0.113.10:4000"));
    assert_eq!(gateway.inbound(unasked).reason(), DropReason::NoMapping);
}

/// An all-zero reply is the one message whose checksum is 0xffff: RFC 1624 alone would make it 0.
/// A query names no identifier of its receiver, a reply none of its sender: that is not the identifier 0, which hosts use.
#[test]
fn rfc5508_req1_an_unsolicited_reply_is_not_of_the_mapping_of_identifier_0() {
    for ident in [0, 4660] {
        for ty in [message::ECHO_REPLY, message::TIMESTAMP + 1, message::MASK + 1] {
            let mut gateway = Gateway::changed(|_| {});
            gateway.open(Protocol::Icmp, ep("10.64.0.5:0"), ep(REMOTE));
            for remote in [REMOTE, "192.0.2.1:0"] {
                let reply = Packet::query(ep("10.64.0.5:0"), at_port(ep(remote), ident), ty);
                assert_eq!(gateway.outbound(reply).reason(), DropReason::NoMapping, "{ty} {ident} {remote}");
            }
        }
    }
}

#[test]
fn rfc5508_req1_a_static_host_answers_pings_whatever_identifiers_it_uses_itself() {
    let mut gateway = Gateway::changed(|settings| {
        settings.statics.push(Static {
            external: "203.0.113.20/32".parse().expect("prefix"),
            internal: "10.64.0.5/32".parse().expect("prefix"),
        });
    });
    gateway.open(Protocol::Icmp, ep("10.64.0.5:0"), ep(REMOTE));
    for ident in [0, 4660] {
        let ping = Packet::ping(at_port(ep(REMOTE), ident), ep("203.0.113.20:0"));
        let asked = gateway.inbound(ping).delivered();
        assert_eq!(asked.source, at_port(ep(REMOTE), ident));
        let answer = gateway.outbound(Packet::pong(ep("10.64.0.5:0"), asked.source)).out();
        assert_eq!((answer.source, answer.destination), (ep("203.0.113.20:0"), asked.source));
        let about = Packet::error("10.64.0.5", message::UNREACHABLE, 1, &asked.bytes);
        assert_eq!(gateway.outbound(about).out().embedded().source, asked.source);
    }
}

/// An error about a packet that names no identifier of the host's is not about the host's flow of identifier 0.
#[test]
fn rfc5508_req5_an_error_about_a_ping_is_not_about_the_flow_of_identifier_0() {
    let mut gateway = Gateway::changed(|_| {});
    gateway.open(Protocol::Icmp, ep("10.64.0.5:0"), ep(REMOTE));
    for ident in [0, 4660] {
        let ping = Packet::ping(at_port(ep(REMOTE), ident), ep("10.64.0.5:0")).bytes();
        let about = Packet::error("10.64.0.5", message::UNREACHABLE, 1, &ping);
        assert_eq!(gateway.outbound(about).reason(), DropReason::IcmpNoSession, "{ident}");
    }
}

#[test]
fn rfc5508_req1_a_reply_of_all_zeros_keeps_a_right_checksum() {
    for padding in [0, 18] {
        let mut gateway = Gateway::changed(|_| {});
        let query = |ty| Body::Query { ty, seq: 0, payload: vec![0; 16] };
        let (host, remote) = (at_port(ep(HOST), 0), at_port(ep(REMOTE), 0));
        let asked = gateway.outbound(Packet::new(host, remote, query(message::ECHO))).out();
        let reply = Packet::new(remote, asked.source, query(message::ECHO_REPLY)).padding(padding);
        assert_eq!(gateway.inbound(reply).delivered().destination, host);
    }
}

#[test]
fn rfc5508_req2_query_mappings_last_60_s() {
    let (mut gateway, seen) = sent(Protocol::Icmp);
    let reply = Packet::pong(ep(REMOTE), seen.source);
    gateway.pass_ms(59_999);
    gateway.inbound(reply.clone()).delivered();
    gateway.pass_ms(1);
    assert_eq!(gateway.inbound(reply).reason(), DropReason::NoMapping);
}

#[test]
fn rfc5508_req3a_drops_an_error_with_a_bad_checksum() {
    let (mut gateway, seen) = sent(Protocol::Udp);
    let mut bytes = Packet::error(ROUTER, 3, 1, &seen.bytes).bytes();
    for at in [22, bytes.len() - 1] {
        bytes[at] ^= 0x01;
        assert_eq!(gateway.raw(&bytes, Direction::Inbound).reason(), DropReason::IcmpChecksum);
        bytes[at] ^= 0x01;
    }
    gateway.raw(&bytes, Direction::Inbound).delivered();
}

#[test]
fn rfc5508_req3a_drops_an_error_whose_embedded_header_checksum_is_bad_where_configured() {
    let mut gateway = Gateway::changed(|settings| settings.icmp_embedded_checksum = EmbeddedChecksum::Drop);
    let mut about = gateway.outbound(Packet::first(Protocol::Udp, ep(HOST), ep(REMOTE))).out().bytes;
    gateway.inbound(Packet::error(ROUTER, 3, 1, &about)).delivered();
    about[10] ^= 0x01;
    let error = Packet::error(ROUTER, 3, 1, &about);
    assert_eq!(gateway.inbound(error).reason(), DropReason::IcmpEmbedded);
}

/// A router that wrote its address into a record-route option quotes the packet with the checksum that it came with, as Linux
/// does. The host gets that checksum as its own packet would have had it: wrong by the same amount.
#[test]
fn rfc5508_req3a_an_embedded_header_whose_checksum_is_wrong_stays_so_by_the_same_amount() {
    let options = [&[7, 11, 4][..], &[0; 8], &[0]].concat();
    let carried = |packet: &[u8]| {
        let header = &packet[..usize::from(packet[0] & 0xf) * 4];
        let sum = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum::<u32>();
        sum % 0xffff
    };
    for protocol in Protocol::WITH_PORTS {
        let mut gateway = Gateway::changed(|_| {});
        let first = Packet::first(protocol, ep(HOST), ep(REMOTE)).options(&options);
        let mut about = gateway.outbound(first.clone()).out().bytes;
        about[22] = 8;
        about[23..27].copy_from_slice(&[192, 0, 2, 254]);
        let off = carried(&about);
        assert_ne!(off, 0);
        let shard = &mut gateway.shards[0];
        let mut burst = [Packet::error(ROUTER, 11, 0, &about).bytes()];
        let mut verdicts = [Verdict::Local];
        shard.translate(&mut burst[..], Direction::Inbound, gateway.now, &mut verdicts);
        assert_eq!(verdicts, [Verdict::Forward(None)]);
        let embedded = &burst[0][28..];
        assert_eq!(carried(embedded), off, "{protocol:?}");
        assert_eq!(embedded[12..16], ep(HOST).address.to_be_bytes());
        assert_eq!(embedded[20..32], about[20..32], "options stay as they came");
        let is_right = burst[0][20..]
            .chunks(2)
            .fold(0, |sum, word| sum + u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)])));
        assert_eq!(is_right % 0xffff, 0, "the message's own checksum is right");
    }
}

#[test]
fn rfc5508_req3b_does_not_look_at_the_embedded_layer_4_checksum() {
    let (mut gateway, seen) = sent(Protocol::Udp);
    let mut about = seen.bytes;
    about[26] ^= 0x01;
    let error = Packet::error(ROUTER, 3, 1, &about).bytes();
    // The quoted checksum stays as wrong as it was; that of the whole message is right.
    let mut burst = [error];
    let mut verdicts = [natgw_nat::Verdict::Local];
    gateway.shards[0].translate(&mut burst[..], Direction::Inbound, gateway.now, &mut verdicts);
    assert_eq!(verdicts, [natgw_nat::Verdict::Forward(None)]);
    burst[0][28 + 26] ^= 0x01;
    let whole = Packet::error(ROUTER, 3, 1, &burst[0][28..]).bytes();
    assert_eq!(burst[0][28..], whole[28..]);
}

#[test]
fn rfc5508_req3c_steps_over_embedded_options() {
    let mut gateway = Gateway::changed(|_| {});
    // Router alert, then the rest of forty octets of no-operation.
    let options = [&[0x94, 4, 0, 0][..], &[1; 36]].concat();
    for protocol in Protocol::WITH_PORTS {
        let first = Packet::first(protocol, ep(HOST), ep(REMOTE)).options(&options);
        let seen = gateway.outbound(first).out();
        let back = gateway.inbound(Packet::error(ROUTER, 11, 0, &seen.bytes).options(&options)).delivered();
        assert_eq!(back.embedded().source, ep(HOST));
    }
}

/// RFC 4884: the length says where the quoted packet ends; what follows is not the gateway's business.
#[test]
fn rfc5508_req3d_leaves_extensions_intact() {
    let (mut gateway, seen) = sent(Protocol::Udp);
    let mut quoted = seen.bytes;
    quoted.resize(128, 0);
    let extension = *b"\x20\x00\x12\x34\x00\x08\x01\x01\x00\x01\x02\x03";
    for ty in [3, 11, 12] {
        let mut error = Packet::error(ROUTER, ty, 0, &[&quoted[..], &extension].concat());
        if let Body::Error { rest, .. } = &mut error.body {
            *rest = (128 / 4) << 16;
        }
        let back = gateway.inbound(error).delivered();
        assert_eq!(back.embedded().source, ep(HOST));
        assert!(back.bytes.ends_with(&extension));
    }
}

/// Where the quoted part ends before the segment's checksum would come, the extension's octets are not taken for it.
#[test]
fn rfc5508_req3d_takes_no_extension_for_a_part_of_the_embedded_packet() {
    let (mut gateway, seen) = sent(Protocol::Tcp);
    let extension = *b"\x20\x00\x12\x34\x00\x08\x01\x01\x00\x01\x02\x03";
    let mut error = Packet::error(ROUTER, 3, 0, &[&seen.bytes[..28], &extension].concat());
    if let Body::Error { rest, .. } = &mut error.body {
        *rest = (28 / 4) << 16;
    }
    assert!(gateway.inbound(error).delivered().bytes.ends_with(&extension));
}

#[test]
fn rfc5508_req4_errors_from_outside_are_translated_inside_and_out() {
    for protocol in Protocol::WITH_PORTS {
        for from in ["198.51.100.7", ROUTER] {
            let (mut gateway, seen) = sent(protocol);
            let back = gateway.inbound(Packet::error(from, 3, 3, &seen.bytes)).delivered();
            assert_eq!((back.source, back.destination), (ep(&format!("{from}:0")), at_port(ep(HOST), 0)));
            assert_eq!((back.embedded().source, back.embedded().destination), (ep(HOST), remote(protocol)));
            assert_eq!(gateway.shards[0].counters().icmp_errors_translated, [0, 1]);
        }
    }
}

#[test]
fn rfc5508_req4_eight_octets_of_the_embedded_packet_suffice() {
    for protocol in Protocol::WITH_PORTS {
        for octets in [8, 12, 17, 18] {
            let (mut gateway, seen) = sent(protocol);
            let back = gateway.inbound(Packet::error(ROUTER, 3, 3, &seen.bytes[..20 + octets])).delivered();
            assert_eq!((back.embedded().source, back.embedded().destination), (ep(HOST), remote(protocol)));
        }
        let (mut gateway, seen) = sent(protocol);
        for octets in 0..28 {
            let cut = Packet::new(
                ep("192.0.2.254:0"),
                at_port(seen.source, 0),
                Body::Error { ty: 3, code: 3, rest: 0, payload: seen.bytes[..octets].to_vec() },
            );
            let outcome = gateway.raw(&cut.bytes(), Direction::Inbound);
            assert_eq!(outcome.reason(), DropReason::IcmpEmbedded, "{octets} octets");
        }
    }
}

#[test]
fn rfc5508_req4_an_error_about_nothing_known_is_dropped() {
    let (mut gateway, seen) = sent(Protocol::Udp);
    let strange = Packet::udp(at_port(seen.source, seen.source.port ^ 1), ep(REMOTE)).bytes();
    let error = Packet::error(ROUTER, 3, 3, &strange);
    assert_eq!(gateway.inbound(error).reason(), DropReason::IcmpNoSession);
    gateway.pass_ms(300_000 + 128);
    let late = Packet::error(ROUTER, 3, 3, &seen.bytes);
    assert_eq!(gateway.inbound(late).reason(), DropReason::IcmpNoSession);
}

#[test]
fn rfc5508_req5_errors_from_inside_are_translated_inside_and_out() {
    for protocol in Protocol::WITH_PORTS {
        // The host itself, or a router between it and the gateway: outside both are the host's outside address.
        for from in ["10.64.0.5", "10.64.0.99"] {
            let (mut gateway, seen) = sent(protocol);
            let answer = Packet::answer(protocol, ep(REMOTE), seen.source);
            let delivered = gateway.inbound(answer).delivered();
            let error = gateway.outbound(Packet::error(from, 3, 3, &delivered.bytes)).out();
            assert_eq!((error.source, error.destination), (at_port(seen.source, 0), at_port(ep(REMOTE), 0)));
            assert_eq!(error.embedded().destination, seen.source);
            assert_eq!(error.embedded().source, remote(protocol));
        }
    }
}

#[test]
fn rfc5508_req5_an_error_about_an_admitted_packet_is_translated_by_its_mapping() {
    let mut gateway =
        Gateway::changed(|settings| settings.pools[0].filtering = Filtering::EndpointIndependent);
    let external = gateway.open(Protocol::Udp, ep(HOST), ep(REMOTE));
    let delivered = gateway.inbound(Packet::udp(ep("192.0.2.1:9"), external)).delivered();
    let error = gateway.outbound(Packet::error("10.64.0.5", 3, 3, &delivered.bytes)).out();
    assert_eq!((error.source, error.embedded().destination), (at_port(external, 0), external));
}

#[test]
fn rfc5508_req5_an_error_about_nothing_known_is_dropped() {
    let (mut gateway, _) = sent(Protocol::Udp);
    let strange = Packet::udp(ep(REMOTE), ep("10.64.0.5:4001")).bytes();
    let error = Packet::error("10.64.0.5", 3, 3, &strange);
    assert_eq!(gateway.outbound(error).reason(), DropReason::IcmpNoSession);
}

#[test]
fn rfc5508_req6_errors_neither_refresh_nor_end_a_session() {
    for protocol in Protocol::WITH_PORTS {
        let (mut gateway, seen) = sent(protocol);
        let before = gateway.sessions()[0];
        gateway.pass_s(20);
        gateway.inbound(Packet::error(ROUTER, 3, 3, &seen.bytes)).delivered();
        let delivered = Packet::answer(protocol, remote(protocol), ep(HOST)).bytes();
        gateway.outbound(Packet::error("10.64.0.5", 3, 3, &delivered)).out();
        let after = gateway.sessions()[0];
        assert_eq!((after.state, after.expires_in_ms), (before.state, before.expires_in_ms - 20_000));
    }
}

#[test]
fn rfc5508_req7_errors_hairpin() {
    for shards in [1, 2] {
        let mut settings = settings();
        settings.pools[0].filtering = Filtering::EndpointIndependent;
        settings.statics.push(Static {
            external: "203.0.113.20/32".parse().expect("prefix"),
            internal: "10.64.0.8/32".parse().expect("prefix"),
        });
        let mut gateway = Gateway::with_shards(settings, shards, 1024);
        let (caller, target, of_target) = (ep(HOST), ep("10.64.0.8:5000"), ep("203.0.113.20:5000"));
        for protocol in Protocol::WITH_PORTS {
            let seen = gateway.outbound(Packet::first(protocol, caller, of_target)).delivered();
            assert_eq!(seen.destination.address, target.address);
            // (T -> X1) about (X1:p1 -> t:p) becomes (X2 -> a) about (a:p1 -> X2:p2).
            let error = gateway.outbound(Packet::error("10.64.0.8", 3, 3, &seen.bytes)).delivered();
            assert_eq!((error.source, error.destination), (at_port(of_target, 0), at_port(caller, 0)));
            let about = if protocol == Protocol::Icmp { at_port(of_target, 0) } else { of_target };
            assert_eq!((error.embedded().source, error.embedded().destination), (caller, about));
        }
        let of_target = gateway.open(Protocol::Udp, ep("10.64.0.9:5000"), ep(REMOTE));
        let seen = gateway.outbound(Packet::udp(caller, of_target)).delivered();
        let error = gateway.outbound(Packet::error("10.64.0.9", 3, 3, &seen.bytes)).delivered();
        assert_eq!((error.embedded().source, error.embedded().destination), (caller, of_target));
    }
}

#[test]
fn rfc5508_req9_other_messages_are_dropped() {
    let (mut gateway, seen) = sent(Protocol::Icmp);
    for ty in [1, 2, 5, 6, 7, 9, 10, 19, 30, 40, 255] {
        let body = Body::Error { ty, code: 0, rest: 0, payload: seen.bytes.clone() };
        let outward = Packet::new(at_port(ep(HOST), 0), ep(REMOTE), body.clone()).bytes();
        assert_eq!(gateway.raw(&outward, Direction::Outbound).reason(), DropReason::IcmpType, "type {ty}");
        let inward = Packet::new(ep(REMOTE), at_port(seen.source, 0), body).bytes();
        assert_eq!(gateway.raw(&inward, Direction::Inbound).reason(), DropReason::IcmpType, "type {ty}");
    }
}

/// An error about an error is never sent (RFC 1122 section 3.2.2), so none is translated.
#[test]
fn rfc5508_req4_an_error_about_an_error_is_dropped() {
    let (mut gateway, seen) = sent(Protocol::Udp);
    let inner = Packet::error("203.0.113.10", 3, 3, &seen.bytes).bytes();
    let outer = Packet::new(
        ep("192.0.2.254:0"),
        at_port(seen.source, 0),
        Body::Error { ty: 3, code: 3, rest: 0, payload: inner },
    );
    assert_eq!(gateway.inbound(outer).reason(), DropReason::IcmpEmbedded);
}

#[test]
fn rfc5382_req9_an_embedded_segment_without_room_for_its_checksum_passes() {
    let mut gateway = Gateway::changed(|_| {});
    let seen = gateway.outbound(Packet::tcp(ep(HOST), ep(REMOTE), Flags::SYN)).out();
    for octets in 28..40 {
        let back = gateway.inbound(Packet::error(ROUTER, 3, 4, &seen.bytes[..octets])).delivered();
        assert_eq!(back.embedded().source, ep(HOST));
    }
}

/// Otherwise an inside host could send any packet to any remote as an error, past rules and limits.
#[test]
fn rfc5508_req4_and_5_an_error_goes_to_the_sender_of_the_embedded_packet_alone() {
    let mut gateway = Gateway::changed(|_| {});
    let sent = gateway.outbound(Packet::udp(ep(HOST), ep(REMOTE))).out();
    let back = gateway.inbound(Packet::udp(ep(REMOTE), sent.source)).delivered();
    for (about, outbound) in [(&back.bytes, true), (&sent.bytes, false)] {
        let mut bytes =
            Packet::error(if outbound { "10.64.0.5" } else { "192.0.2.254" }, 3, 3, about).bytes();
        let mut header = natgw_wire::ipv4::Packet::new_unchecked(&mut bytes[..]);
        header.set_dst("203.0.113.12".parse().expect("address"));
        header.fill_checksum();
        let direction = if outbound { natgw_nat::Direction::Outbound } else { natgw_nat::Direction::Inbound };
        assert_eq!(gateway.raw(&bytes, direction).reason(), DropReason::IcmpEmbedded);
    }
}

#[test]
fn rfc5508_req8_sessions_that_rules_forbid_are_answered_by_icmp() {
    let mut gateway = Gateway::changed(|settings| {
        settings.rules.insert(0, rule("10.64.0.0/24", "192.0.2.1/32", RuleAction::Drop));
        settings.rules.insert(0, rule("10.64.0.0/24", "192.0.2.2/32", RuleAction::Reject));
        settings.rules.last_mut().expect("a rule").destination = "198.51.100.0/24".parse().expect("prefix");
    });
    let cases = [
        ("192.0.2.1:7", Outcome::Drop(DropReason::RuleDrop), Outcome::Drop(DropReason::RuleDrop)),
        ("192.0.2.2:7", Outcome::Reject(DropReason::RuleReject), Outcome::Reject(DropReason::RuleReject)),
        ("192.0.2.3:7", Outcome::Reject(DropReason::NoRule), Outcome::Drop(DropReason::NoRule)),
    ];
    for refuse in [Refuse::Reject, Refuse::Drop] {
        gateway.reload(|settings| settings.refuse = refuse);
        for protocol in Protocol::WITH_PORTS {
            for (remote, told, untold) in &cases {
                let outcome = gateway.outbound(Packet::first(protocol, ep(HOST), ep(remote)));
                assert_eq!(&outcome, if refuse == Refuse::Reject { told } else { untold });
            }
        }
    }
    let dropped = gateway.shards[0].counters().dropped;
    for reason in [DropReason::RuleDrop, DropReason::RuleReject, DropReason::NoRule] {
        assert_eq!(dropped[reason], [6, 0], "told or not, it is counted");
    }
}
