//! The frames that a queue offers, in a file as net_pcap reads it.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use natgw_nat::Direction;
use natgw_wire::{ethernet, ipv4, udp};

use super::mac_of_port;

/// Inside hosts, each with an outside address of its own.
pub(crate) const HOSTS: u32 = 128;
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const REMOTE_PORT: u16 = 9;
/// A frame without its check sequence: IPv4, UDP and 18 octets.
const FRAME: usize = 60;

pub(crate) fn host(nth: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 1, 0).to_bits() + nth)
}

pub(crate) fn outside(nth: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(203, 0, 113, 10).to_bits() + nth)
}

/// Frames for a port.
pub(crate) struct Frames {
    side: Direction,
    count: u32,
}

impl Frames {
    pub(crate) fn new(side: Direction, count: u32) -> Frames {
        Frames { side, count }
    }

    /// Writes `count` frames of different flows of the hosts that `is_for` names, one host after the other.
    pub(crate) fn write(&self, file: &Path, is_for: impl Fn(Ipv4Addr) -> bool) -> Result<()> {
        let hosts: Vec<u32> = (0..HOSTS).filter(|&nth| is_for(host(nth))).collect();
        let mut file = BufWriter::new(File::create(file)?);
        // Magic number, version 2.4, time zone, accuracy, longest frame, Ethernet.
        for word in [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1_u32] {
            file.write_all(&word.to_ne_bytes())?;
        }
        for nth in 0..self.count {
            let host = hosts[nth as usize % hosts.len()];
            let frame = self.frame(host, 1024 + (nth as usize / hosts.len()) as u16);
            for word in [0, 0, FRAME as u32, FRAME as u32] {
                file.write_all(&word.to_ne_bytes())?;
            }
            file.write_all(&frame)?;
        }
        file.flush()
    }

    fn frame(&self, nth: u32, port: u16) -> [u8; FRAME] {
        let (from, to) = match self.side {
            Direction::Outbound => ((host(nth), port), (REMOTE, REMOTE_PORT)),
            Direction::Inbound => ((REMOTE, REMOTE_PORT), (outside(nth), port)),
        };
        let mut frame = [0; FRAME];
        let station = ethernet::Mac([2, 0, 0, 0, 9, 9]);
        ethernet::emit(&mut frame, mac_of_port(self.side), station, None, ethernet::IPV4).expect("room");
        let mut packet = ipv4::Packet::new_unchecked(&mut frame[ethernet::HEADER_LEN..]);
        packet.set_header_len(ipv4::HEADER_LEN);
        packet.set_total_len((FRAME - ethernet::HEADER_LEN) as u16);
        packet.set_ttl(64);
        packet.set_protocol(ipv4::UDP);
        packet.set_src_bits(from.0.to_bits());
        packet.set_dst_bits(to.0.to_bits());
        packet.fill_checksum();
        let mut datagram = udp::Packet::new_unchecked(packet.payload_mut());
        datagram.set_src_port(from.1);
        datagram.set_dst_port(to.1);
        datagram.set_len((FRAME - ethernet::HEADER_LEN - ipv4::HEADER_LEN) as u16);
        frame
    }
}
