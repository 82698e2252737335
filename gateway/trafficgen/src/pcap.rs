//! Capture files to be replayed by DPDK's net_pcap inside the gateway's own process: no second core, so no cache line
//! goes from one to another, and what is measured is the worker alone.
//!
//! Replays know no outside endpoints, so only outbound packets can be made. The outside file holds one frame, the ARP
//! reply of the next hop.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use super::flow::{FlowSpace, Permutation};
use super::template::{Kind, LEN_MIN, Mark, Template};
use natgw_wire::arp::{self, Operation};
use natgw_wire::ethernet::{self, Mac};

/// The MAC address of a process's first and second net_pcap port.
pub const PORT_MACS: [Mac; 2] = [Mac(*b"\x02pcap\x00"), Mac(*b"\x02pcap\x01")];
/// The MAC address of the peer.
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// An outbound frame of each flow, shuffled, for the gateway's first net_pcap port.
pub fn write_outbound(out: &mut impl Write, space: &FlowSpace, len: usize) -> io::Result<()> {
    write_header(out)?;
    let template =
        Template::new(&Kind { dst: PORT_MACS[0], src: ROUTER, ttl: 64, len, run: 1, segment: None });
    let mut frame = vec![0; len];
    for flow in Permutation::new(space.flows) {
        template.write(&mut frame, space.inside(flow), space.remote(flow), Mark { flow, stamp: 0 });
        write_frame(out, &frame)?;
    }
    out.flush()
}

/// The ARP reply by which the gateway's second net_pcap port learns where `next_hop` is.
pub fn write_arp_reply(out: &mut impl Write, next_hop: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<()> {
    write_header(out)?;
    let reply =
        arp::Repr { op: Operation::Reply, sha: ROUTER, spa: next_hop, tha: PORT_MACS[1], tpa: gateway };
    let mut frame = [0; LEN_MIN];
    frame[..6].copy_from_slice(&PORT_MACS[1].0);
    frame[6..12].copy_from_slice(&ROUTER.0);
    frame[12..14].copy_from_slice(&ethernet::ARP.to_be_bytes());
    frame[ethernet::HEADER_LEN..][..arp::LEN].copy_from_slice(&reply.emit());
    write_frame(out, &frame)?;
    out.flush()
}

/// Version 2.4, no time zone, frames up to 64 KiB, Ethernet.
fn write_header(out: &mut impl Write) -> io::Result<()> {
    let words: [u32; 6] = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 0xffff, 1];
    words.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))
}

fn write_frame(out: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let len = frame.len() as u32;
    [0, 0, len, len].iter().try_for_each(|word: &u32| out.write_all(&word.to_le_bytes()))?;
    out.write_all(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use natgw_wire::ipv4;

    /// The frames of a file.
    fn frames(mut file: &[u8]) -> Vec<&[u8]> {
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((word(file, 0), word(file, 20)), (0xa1b2_c3d4, 1));
        file = &file[24..];
        let mut frames = Vec::new();
        while !file.is_empty() {
            let len = word(file, 8) as usize;
            frames.push(&file[16..16 + len]);
            file = &file[16 + len..];
        }
        frames
    }

    #[test]
    fn has_every_flow_once() {
        let space =
            FlowSpace { flows: 500, first_host: 0x0a00_0001, host_shift: 6, first_remote: 0xc612_0000 };
        let mut file = Vec::new();
        write_outbound(&mut file, &space, 60).unwrap();
        let ends = |frame: &[u8]| {
            let packet = ipv4::Packet::new_verified(&frame[14..60]).unwrap();
            (packet.src_bits(), u16::from_be_bytes([frame[34], frame[35]]))
        };
        let seen: std::collections::BTreeSet<_> = frames(&file).into_iter().map(ends).collect();
        assert_eq!((seen.len(), frames(&file).len()), (500, 500));
    }

    #[test]
    fn tells_where_the_next_hop_is() {
        let (mut file, next_hop) = (Vec::new(), Ipv4Addr::new(172, 16, 1, 2));
        write_arp_reply(&mut file, next_hop, Ipv4Addr::new(172, 16, 1, 1)).unwrap();
        let frames = frames(&file);
        let reply = arp::Repr::parse(&frames[0][14..]).unwrap();
        assert_eq!((frames.len(), reply.spa, reply.sha), (1, next_hop, ROUTER));
    }
}
