//! What is wrong with a frame that is not what was expected.
//!
//! Every returned frame is compared with the expected one word by word, checksums included
//! ([`Template::matches`]); this is where those end that differ, so it may take its time and looks at the bytes anew.

use std::fmt;
use std::net::Ipv4Addr;

use super::flow::{Endpoint, Externals};
use super::template::{Head, Mark, Template};
use natgw_wire::{Error, ethernet, ipv4, tcp, udp};

/// Why a returned frame is not the one that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Fault {
    /// Neither IPv4 nor ARP, or not of the protocol that is sent.
    Foreign,
    /// Cut off, or lengths that contradict each other.
    Length,
    /// The IPv4 header's checksum is wrong.
    HeaderChecksum,
    /// The UDP or TCP checksum is wrong.
    Checksum,
    /// A flow that does not exist, in the payload.
    Flow,
    /// From outside the pool.
    NotInPool,
    /// From another outside endpoint than the flow had before.
    ExternalChanged,
    /// From another address or port than it was sent from, where that may not be translated.
    Source,
    /// To another address or port than the flow's.
    Destination,
    /// TTL not one less than it was, MAC address not ours, or anything else in the header.
    Header,
}

impl Fault {
    /// All of them, in the order of their numbers.
    pub const ALL: [Fault; 10] = [
        Fault::Foreign,
        Fault::Length,
        Fault::HeaderChecksum,
        Fault::Checksum,
        Fault::Flow,
        Fault::NotInPool,
        Fault::ExternalChanged,
        Fault::Source,
        Fault::Destination,
        Fault::Header,
    ];

    /// `external-changed`.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Foreign => "foreign",
            Fault::Length => "length",
            Fault::HeaderChecksum => "header-checksum",
            Fault::Checksum => "checksum",
            Fault::Flow => "flow",
            Fault::NotInPool => "not-in-pool",
            Fault::ExternalChanged => "external-changed",
            Fault::Source => "source",
            Fault::Destination => "destination",
            Fault::Header => "header",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a frame is that does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Right, and the first of its flow: the outside endpoint is learnt.
    Learnt(Mark),
    /// Right, but from an earlier pass.
    Late,
    /// An ARP message.
    Arp,
    /// Wrong.
    Wrong(Fault),
}

/// Addresses and ports as they stand in a frame that is whole.
fn endpoints(frame: &[u8], is_tcp: bool) -> Result<(Endpoint, Endpoint), Fault> {
    let packet = ipv4::Packet::new_verified(&frame[ethernet::HEADER_LEN..]).map_err(|error| match error {
        Error::IpChecksum => Fault::HeaderChecksum,
        _ => Fault::Length,
    })?;
    let (src, dst) = (packet.src(), packet.dst());
    let ends = |from: u16, to: u16| (end(src, from), end(dst, to));
    match (packet.protocol(), is_tcp) {
        (ipv4::UDP, false) => {
            let datagram = udp::Packet::new_checked(packet.payload()).map_err(|_| Fault::Length)?;
            let right = datagram.checksum() != 0 && datagram.is_checksum_right(src, dst);
            right.then(|| ends(datagram.src_port(), datagram.dst_port())).ok_or(Fault::Checksum)
        }
        (ipv4::TCP, true) => {
            let segment = tcp::Packet::new_checked(packet.payload()).map_err(|_| Fault::Length)?;
            let right = segment.is_checksum_right(src, dst);
            right.then(|| ends(segment.src_port(), segment.dst_port())).ok_or(Fault::Checksum)
        }
        _ => Err(Fault::Foreign),
    }
}

fn end(address: Ipv4Addr, port: u16) -> Endpoint {
    Endpoint { address: address.to_bits(), port }
}

/// What a frame ought to have been.
#[derive(Debug)]
pub struct Expected<'a> {
    /// The template whose length it has, if there is one.
    pub template: Option<&'a Template>,
    /// The source; `None` where the flow's outside endpoint is still to be learnt.
    pub src: Option<Endpoint>,
    /// The destination.
    pub dst: Option<Endpoint>,
    /// True if the source is an outside endpoint that the gateway chooses.
    pub translated: bool,
    /// Whether TCP is sent.
    pub is_tcp: bool,
    /// What the frame is marked with.
    pub mark: Mark,
    /// Flows are below this.
    pub flows: u32,
}

impl Expected<'_> {
    /// Says what `frame` is, and learns from it.
    #[cold]
    pub fn find(&self, head: &Head<'_>, externals: &mut Externals) -> Finding {
        let frame = head.frame();
        match ethernet::parse(frame).map(|layer2| layer2.ethertype) {
            Ok(ethernet::ARP) => return Finding::Arp,
            Ok(ethernet::IPV4) => {}
            _ => return Finding::Wrong(Fault::Foreign),
        }
        match self.judge(head, externals) {
            Ok(finding) => finding,
            Err(fault) => Finding::Wrong(fault),
        }
    }

    fn judge(&self, head: &Head<'_>, externals: &mut Externals) -> Result<Finding, Fault> {
        let (src, dst) = endpoints(head.frame(), self.is_tcp)?;
        let template = self.template.ok_or(Fault::Length)?;
        if self.mark.flow >= self.flows {
            return Err(Fault::Flow);
        }
        if self.dst != Some(dst) {
            return Err(Fault::Destination);
        }
        match self.src {
            Some(expected) if expected == src => {
                if template.is_of_another_run(head) {
                    Ok(Finding::Late)
                } else {
                    Err(Fault::Header)
                }
            }
            Some(_) if self.translated => Err(Fault::ExternalChanged),
            Some(_) => Err(Fault::Source),
            None if template.is_of_another_run(head) => Ok(Finding::Late),
            None if !template.matches(head, src, dst, self.mark) => Err(Fault::Header),
            None if !externals.learn(self.mark.flow, src) => Err(Fault::NotInPool),
            None => Ok(Finding::Learnt(self.mark)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Kind;
    use natgw_wire::ethernet::Mac;

    const POOL: u32 = 0x6440_0000;
    const INSIDE: Endpoint = Endpoint { address: 0x0a00_0001, port: 1024 };
    const EXTERNAL: Endpoint = Endpoint { address: POOL + 5, port: 40_000 };
    const REMOTE: Endpoint = Endpoint { address: 0xc612_0001, port: 0x4000 };
    const MARK: Mark = Mark { flow: 7, stamp: 0 };

    fn template(ttl: u8, run: u16) -> Template {
        Template::new(&Kind { dst: Mac([2; 6]), src: Mac([4; 6]), ttl, len: 60, run, segment: None })
    }

    fn frame(template: &Template, src: Endpoint, dst: Endpoint, mark: Mark) -> Vec<u8> {
        let mut frame = vec![0; 60];
        template.write(&mut frame, src, dst, mark);
        frame
    }

    /// What an outbound frame is found to be; `src` is what had been learnt of its flow.
    fn find(frame: &[u8], src: Option<Endpoint>, externals: &mut Externals) -> Finding {
        let template = template(63, 1);
        let head = Head::new(frame).unwrap();
        let mark = template.mark(&head);
        let (dst, translated) = (Some(REMOTE), true);
        Expected { template: Some(&template), src, dst, translated, is_tcp: false, mark, flows: 100 }
            .find(&head, externals)
    }

    #[test]
    fn learns_a_flow_from_its_first_packet() {
        let mut externals = Externals::new(100, POOL).unwrap();
        let right = frame(&template(63, 1), EXTERNAL, REMOTE, MARK);
        assert_eq!(find(&right, None, &mut externals), Finding::Learnt(MARK));
        assert_eq!(externals.get(7), Some(EXTERNAL));
    }

    #[test]
    fn every_fault_has_its_name() {
        let wrong = |frame: &[u8], src, expected| {
            let mut externals = Externals::new(100, POOL).unwrap();
            assert_eq!(find(frame, src, &mut externals), Finding::Wrong(expected));
            assert_eq!(externals.get(7), None, "nothing is learnt from a wrong frame");
        };
        let right = frame(&template(63, 1), EXTERNAL, REMOTE, MARK);
        let with = |at: usize, octet: u8| {
            let mut frame = right.clone();
            frame[at] ^= octet;
            frame
        };
        wrong(&with(24, 1), None, Fault::HeaderChecksum);
        wrong(&with(40, 1), None, Fault::Checksum);
        wrong(&with(59, 1), None, Fault::Checksum);
        wrong(&with(38, 1), None, Fault::Length);
        wrong(&with(12, 0x80), None, Fault::Foreign);
        wrong(&with(0, 2), None, Fault::Header);
        wrong(&frame(&template(62, 1), EXTERNAL, REMOTE, MARK), None, Fault::Header);
        wrong(&frame(&template(63, 1), EXTERNAL, REMOTE, Mark { flow: 100, stamp: 0 }), None, Fault::Flow);
        wrong(&frame(&template(63, 1), INSIDE, REMOTE, MARK), None, Fault::NotInPool);
        let other_port = Endpoint { port: 40_001, ..EXTERNAL };
        wrong(&frame(&template(63, 1), other_port, REMOTE, MARK), Some(EXTERNAL), Fault::ExternalChanged);
        let other = Endpoint { port: 1, ..REMOTE };
        wrong(&frame(&template(63, 1), EXTERNAL, other, MARK), Some(EXTERNAL), Fault::Destination);
    }

    #[test]
    fn late_frames_and_arp_are_no_faults() {
        let mut externals = Externals::new(100, POOL).unwrap();
        let late = frame(&template(63, 2), EXTERNAL, REMOTE, MARK);
        assert_eq!(find(&late, Some(EXTERNAL), &mut externals), Finding::Late);
        assert_eq!(find(&late, None, &mut externals), Finding::Late);
        let mut arp = late.clone();
        arp[12..14].copy_from_slice(&ethernet::ARP.to_be_bytes());
        assert_eq!(find(&arp, None, &mut externals), Finding::Arp);
    }
}
