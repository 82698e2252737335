//! ARP messages (RFC 826, RFC 5227): what to answer, what to learn, and the messages that the gateway sends itself.
//!
//! The answers need no state, so every worker gives them for whatever arrives at its queue.

use super::{Binding, Learn, OwnAddresses};
use natgw_wire::arp::{self, Operation, Repr};
use natgw_wire::ethernet::{self, Mac};

/// Octets of a message as it is sent: the shortest that Ethernet carries, without its check sequence.
pub const FRAME_LEN: usize = 60;

/// The outcome of an ARP frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A message that teaches a neighbour, is answered, or both.
    Taken {
        /// The sender, to be learnt.
        learned: Option<(Binding, Learn)>,
        /// The frame is now the answer, of that many octets, and leaves by the interface that it came from.
        reply: Option<usize>,
    },
    /// Another station claims an address that the gateway answers for. It is neither believed nor answered.
    Conflict(Binding),
    /// Nothing in it concerns the gateway.
    Ignored,
    /// No Ethernet/IPv4 request or reply, or the sender's MAC address is no station's.
    Malformed,
}

/// Answers a request in place, and says what is to be learnt of its sender.
///
/// A sender is learnt (the merge of RFC 826) if it may be a host of the interface's prefixes, and added only if it asks
/// for an address that the gateway answers for. A probe, which has no sender's address (RFC 5227 section 2.1.1), is
/// answered and teaches nothing.
pub fn respond(frame: &mut [u8], own: &OwnAddresses, mac: Mac) -> Outcome {
    let Ok(layer2) = ethernet::parse(frame) else { return Outcome::Malformed };
    let Ok(message) = Repr::parse(&frame[layer2.header_len..]) else { return Outcome::Malformed };
    if layer2.ethertype != ethernet::ARP || !message.sha.is_station() {
        return Outcome::Malformed;
    }
    if message.sha == mac || layer2.dst != mac && !layer2.dst.is_multicast() {
        return Outcome::Ignored;
    }
    let sender = Binding { interface: own.interface(), ip: message.spa.into(), mac: message.sha };
    if own.answers_for(sender.ip) {
        return Outcome::Conflict(sender);
    }
    let asks = message.op == Operation::Request && own.answers_for(message.tpa.into());
    let learn = if asks { Learn::Add } else { Learn::Merge };
    let learned = own.may_be_neighbor(sender.ip).then_some((sender, learn));
    let reply = asks.then(|| {
        let mut ethernet = ethernet::Frame::new_unchecked(&mut *frame);
        ethernet.set_dst(message.sha);
        ethernet.set_src(mac);
        finish(frame, layer2.header_len, &message.reply(mac))
    });
    if learned.is_none() && reply.is_none() { Outcome::Ignored } else { Outcome::Taken { learned, reply } }
}

/// The sender of a message that the gateway makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The interface's MAC address.
    pub mac: Mac,
    /// The interface's VLAN.
    pub vlan: Option<u16>,
    /// The gateway's address that is announced or asks.
    pub ip: u32,
}

/// An ARP request for `target`: to [`Mac::BROADCAST`], or as a unicast poll to the station that had it last (RFC 1122
/// section 2.3.2.1).
pub fn request(from: Sender, target: u32, to: Mac) -> [u8; FRAME_LEN] {
    let mut frame = [0; FRAME_LEN];
    let header_len = ethernet::header_len(from.vlan);
    let emitted = ethernet::emit(&mut frame, to, from.mac, from.vlan, ethernet::ARP);
    debug_assert_eq!(emitted, Ok(()));
    finish(&mut frame, header_len, &Repr::request(from.mac, from.ip.into(), target.into()));
    frame
}

/// The announcement that the sender has its address (RFC 5227 section 3).
pub fn gratuitous(from: Sender) -> [u8; FRAME_LEN] {
    request(from, from.ip, Mac::BROADCAST)
}

/// Writes the message behind the header, and zeros behind the message. Returns the frame's length, padded as far as the
/// buffer goes.
fn finish(frame: &mut [u8], header_len: usize, message: &Repr) -> usize {
    let end = header_len + arp::LEN;
    let len = frame.len().clamp(end, FRAME_LEN);
    frame[header_len..end].copy_from_slice(&message.emit());
    frame[end..len].fill(0);
    len
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::super::InterfaceId;
    use super::*;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn ip(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    fn own() -> OwnAddresses {
        let pool = ip("203.0.113.10")..=ip("203.0.113.12");
        OwnAddresses::new(InterfaceId(1), &["203.0.113.2/24".parse().unwrap()], [pool])
    }

    fn them(address: &str) -> Sender {
        Sender { mac: THEIRS, vlan: None, ip: ip(address) }
    }

    fn binding(address: &str) -> Binding {
        Binding { interface: InterfaceId(1), ip: ip(address), mac: THEIRS }
    }

    fn reply_from(address: &str, to: &str) -> [u8; FRAME_LEN] {
        let mut frame = request(them(address), ip(to), OURS);
        frame[21] = 2;
        frame
    }

    fn taken(frame: &mut [u8]) -> (Option<(Binding, Learn)>, Option<usize>) {
        match respond(frame, &own(), OURS) {
            Outcome::Taken { learned, reply } => (learned, reply),
            outcome => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn answers_for_own_and_proxy_addresses_and_learns_the_asker() {
        for target in ["203.0.113.2", "203.0.113.11"] {
            let mut frame = request(them("203.0.113.1"), ip(target), Mac::BROADCAST);
            assert_eq!(taken(&mut frame), (Some((binding("203.0.113.1"), Learn::Add)), Some(60)));
            let layer2 = ethernet::parse(&frame).unwrap();
            assert_eq!((layer2.dst, layer2.src, layer2.ethertype), (THEIRS, OURS, ethernet::ARP));
            let reply = Repr::parse(&frame[14..]).unwrap();
            let expected = Repr {
                op: Operation::Reply,
                sha: OURS,
                spa: target.parse().unwrap(),
                tha: THEIRS,
                tpa: [203, 0, 113, 1].into(),
            };
            assert_eq!(reply, expected);
        }
    }

    #[test]
    fn never_answers_for_others() {
        for target in ["203.0.113.1", "203.0.113.9", "203.0.113.13", "203.0.113.255", "0.0.0.0", "10.64.0.1"]
        {
            let mut frame = request(them("203.0.113.77"), ip(target), Mac::BROADCAST);
            let before = frame;
            assert_eq!(taken(&mut frame), (Some((binding("203.0.113.77"), Learn::Merge)), None), "{target}");
            assert_eq!(frame, before);
        }
    }

    #[test]
    fn rfc5227_a_probe_is_answered_and_teaches_nothing() {
        let mut frame = request(them("0.0.0.0"), ip("203.0.113.2"), Mac::BROADCAST);
        assert_eq!(taken(&mut frame), (None, Some(60)));
        assert_eq!(Repr::parse(&frame[14..]).unwrap().tpa, Ipv4Addr::UNSPECIFIED);
    }

    #[test]
    fn replies_and_announcements_add_no_neighbour() {
        let merge = (Some((binding("203.0.113.1"), Learn::Merge)), None);
        assert_eq!(taken(&mut reply_from("203.0.113.1", "203.0.113.2")), merge);
        assert_eq!(taken(&mut gratuitous(them("203.0.113.1"))), merge);
    }

    #[test]
    fn strangers_are_answered_but_not_learnt() {
        for stranger in ["198.51.100.1", "203.0.113.255", "203.0.113.0", "255.255.255.255"] {
            let mut frame = request(them(stranger), ip("203.0.113.2"), Mac::BROADCAST);
            assert_eq!(taken(&mut frame), (None, Some(60)), "{stranger}");
            let mut silent = request(them(stranger), ip("203.0.113.1"), Mac::BROADCAST);
            assert_eq!(respond(&mut silent, &own(), OURS), Outcome::Ignored);
        }
    }

    #[test]
    fn a_claim_to_our_address_is_a_conflict() {
        for address in ["203.0.113.2", "203.0.113.11"] {
            assert_eq!(
                respond(&mut gratuitous(them(address)), &own(), OURS),
                Outcome::Conflict(binding(address))
            );
            let mut reply = reply_from(address, "203.0.113.1");
            assert_eq!(respond(&mut reply, &own(), OURS), Outcome::Conflict(binding(address)));
        }
    }

    #[test]
    fn our_own_messages_and_those_to_other_stations_are_ignored() {
        let ours = Sender { mac: OURS, vlan: None, ip: ip("203.0.113.2") };
        assert_eq!(respond(&mut gratuitous(ours), &own(), OURS), Outcome::Ignored);
        let mut other = request(them("203.0.113.1"), ip("203.0.113.2"), Mac([2, 0, 0, 0, 0, 7]));
        assert_eq!(respond(&mut other, &own(), OURS), Outcome::Ignored);
    }

    #[test]
    fn a_tagged_request_gets_a_tagged_answer() {
        let tagged = Sender { vlan: Some(42), ..them("203.0.113.1") };
        let mut frame = request(tagged, ip("203.0.113.2"), Mac::BROADCAST);
        assert_eq!(taken(&mut frame).1, Some(60));
        let layer2 = ethernet::parse(&frame).unwrap();
        assert_eq!((layer2.vlan, layer2.ethertype, layer2.dst), (Some(42), ethernet::ARP, THEIRS));
    }

    #[test]
    fn the_answer_is_as_long_as_the_buffer_allows_and_carries_no_foreign_octets() {
        let whole = request(them("203.0.113.1"), ip("203.0.113.2"), Mac::BROADCAST);
        let mut short = whole[..42].to_vec();
        assert_eq!(taken(&mut short).1, Some(42));
        let mut long = whole.to_vec();
        long[42..].fill(0xee);
        long.resize(1500, 0xee);
        assert_eq!(taken(&mut long).1, Some(60));
        assert!(long[42..60].iter().all(|&octet| octet == 0));
    }

    #[test]
    fn malformed_messages_have_an_error_each() {
        let whole = request(them("203.0.113.1"), ip("203.0.113.2"), Mac::BROADCAST);
        for (at, value) in [(13, 0), (15, 2), (18, 5), (21, 3), (22, 0xff)] {
            let mut frame = whole;
            frame[at] = value;
            assert_eq!(respond(&mut frame, &own(), OURS), Outcome::Malformed, "octet {at}");
        }
        assert_eq!(respond(&mut whole[..41].to_vec(), &own(), OURS), Outcome::Malformed);
    }

    proptest! {
        #[test]
        fn no_frame_panics_or_is_answered_for_another(mut frame in prop::collection::vec(any::<u8>(), 0..80), arp: bool) {
            if arp && frame.len() >= 22 {
                frame[..22].copy_from_slice(&request(them("203.0.113.1"), 0, Mac::BROADCAST)[..22]);
            }
            if let Outcome::Taken { reply: Some(len), .. } = respond(&mut frame, &own(), OURS) {
                prop_assert!(len <= frame.len());
                let header_len = ethernet::parse(&frame).unwrap().header_len;
                prop_assert!(own().answers_for(Repr::parse(&frame[header_len..]).unwrap().spa.into()));
            }
        }
    }
}
