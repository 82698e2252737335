//! A shard, the flows through it, and the packets of those flows.

use std::hint::black_box;

use arrayvec::ArrayVec;
use natgw_nat::{BURST, Direction, Endpoint, Filtering, Pages, Shard, Time, Verdict};
use natgw_wire::tcp::{self, Flags};
use natgw_wire::{ipv4, udp};

use crate::cycles::{self, Random};
use crate::fixture;

/// IPv4, UDP and 18 octets: the shortest frame that Ethernet carries.
pub(crate) const LEN: usize = 46;
/// Packets that are made, and then measured, together: with their verdicts they stay in the first-level cache.
pub(crate) const CHUNK: usize = 8 * BURST;

/// A packet at the start of cache lines of its own, as in a driver's buffer.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Buffer(pub(crate) [u8; LEN]);

/// Flows of one subscriber.
const PORTS: u32 = 64;
/// Flows of one outside address, of its 64,512 ports: port 1024 and above are drawn, and the table is never quite full.
const FLOWS_PER_ADDRESS: u32 = 40_000;
pub(crate) const REMOTE: Endpoint = Endpoint { address: 0xc633_640a, port: 9 };

/// The inside endpoint of a flow.
pub(crate) fn internal(flow: u32) -> Endpoint {
    Endpoint { address: 0x0a00_0100 + flow / PORTS, port: 10_000 + (flow % PORTS) as u16 }
}

/// A shard with room for that many sessions.
pub(crate) fn shard(sessions: u32, pages: Pages) -> Shard {
    let addresses = sessions.div_ceil(FLOWS_PER_ADDRESS);
    fixture::shard(sessions, 0xcb00_7100, addresses, Filtering::EndpointIndependent, pages)
}

/// What flows through the shard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    Udp,
    /// Every other flow is a TCP connection, so that no branch predictor knows what comes next.
    UdpAndTcp,
}

impl Traffic {
    fn protocol(self, flow: u32) -> u8 {
        match self {
            Traffic::UdpAndTcp if flow % 2 == 1 => ipv4::TCP,
            Traffic::Udp | Traffic::UdpAndTcp => ipv4::UDP,
        }
    }
}

/// A packet without payload worth the name; UDP takes no notice of the flags.
fn packet(protocol: u8, flags: Flags, from: Endpoint, to: Endpoint) -> Buffer {
    let mut bytes = [0; LEN];
    let mut packet = ipv4::Packet::new_unchecked(&mut bytes[..]);
    packet.set_header_len(ipv4::HEADER_LEN);
    packet.set_total_len(LEN as u16);
    packet.set_ttl(64);
    packet.set_protocol(protocol);
    packet.set_src_bits(from.address);
    packet.set_dst_bits(to.address);
    packet.fill_checksum();
    if protocol == ipv4::TCP {
        let mut segment = tcp::Packet::new_unchecked(packet.payload_mut());
        segment.set_src_port(from.port);
        segment.set_dst_port(to.port);
        segment.set_header_len(tcp::HEADER_LEN);
        segment.set_flags(flags);
        segment.fill_checksum(from.address.into(), to.address.into());
    } else {
        let mut datagram = udp::Packet::new_unchecked(packet.payload_mut());
        datagram.set_src_port(from.port);
        datagram.set_dst_port(to.port);
        datagram.set_len((LEN - ipv4::HEADER_LEN) as u16);
        datagram.fill_checksum(from.address.into(), to.address.into());
    }
    Buffer(bytes)
}

/// Who sent a packet, by itself.
pub(crate) fn sender(packet: &Buffer) -> Endpoint {
    let header = ipv4::Packet::new_unchecked(&packet.0);
    Endpoint { address: header.src_bits(), port: udp::Packet::new_unchecked(header.payload()).src_port() }
}

/// Who it is for.
pub(crate) fn receiver(packet: &Buffer) -> Endpoint {
    let header = ipv4::Packet::new_unchecked(&packet.0);
    Endpoint { address: header.dst_bits(), port: udp::Packet::new_unchecked(header.payload()).dst_port() }
}

/// A chunk of packets with what became of them.
pub(crate) struct Chunk {
    traffic: Traffic,
    pub(crate) packets: [Buffer; CHUNK],
    verdicts: [Verdict; CHUNK],
    directions: [Direction; CHUNK / BURST],
    flows: [u32; CHUNK],
}

impl Chunk {
    pub(crate) fn new(traffic: Traffic) -> Chunk {
        Chunk {
            traffic,
            packets: [Buffer([0; LEN]); CHUNK],
            verdicts: [Verdict::Local; CHUNK],
            directions: [Direction::Outbound; CHUNK / BURST],
            flows: [0; CHUNK],
        }
    }

    /// Bursts of random directions; `external` has the outside endpoints of all flows.
    pub(crate) fn fill(&mut self, random: &mut Random, external: &[Endpoint]) {
        for slot in 0..CHUNK {
            if slot % BURST == 0 {
                self.directions[slot / BURST] = Direction::ALL[random.below(2) as usize];
            }
            let flow = random.below(external.len() as u32);
            self.flows[slot] = flow;
            let (from, to) = match self.directions[slot / BURST] {
                Direction::Outbound => (internal(flow), REMOTE),
                Direction::Inbound => (REMOTE, external[flow as usize]),
            };
            self.packets[slot] = packet(self.traffic.protocol(flow), Flags::ACK, from, to);
        }
    }

    /// A packet of each of these flows, at most [`CHUNK`] of them; a SYN makes its session.
    pub(crate) fn fill_from_inside(&mut self, flows: &[u32], flags: Flags) {
        self.directions.fill(Direction::Outbound);
        for (slot, &flow) in flows.iter().enumerate() {
            self.flows[slot] = flow;
            self.packets[slot] = packet(self.traffic.protocol(flow), flags, internal(flow), REMOTE);
        }
    }

    /// Answers to [`Chunk::fill_from_inside`]'s packets, to `external`.
    pub(crate) fn fill_answers(&mut self, flows: &[u32], external: &[Endpoint]) {
        self.directions.fill(Direction::Inbound);
        for (slot, &flow) in flows.iter().enumerate() {
            self.flows[slot] = flow;
            let protocol = self.traffic.protocol(flow);
            self.packets[slot] = packet(protocol, Flags::SYN | Flags::ACK, REMOTE, external[flow as usize]);
        }
    }

    /// Cycles that the shard takes for the first `count` packets, `size` at a time.
    pub(crate) fn measure(&mut self, shard: &mut Shard, count: usize, size: usize, now: Time) -> u64 {
        self.each_burst(count, size, |packets, direction, verdicts| {
            shard.translate(packets, direction, now, verdicts);
        })
    }

    /// As [`Chunk::measure`], with counters for the stages.
    #[cfg(feature = "stage-cycles")]
    pub(crate) fn measure_stages(
        &mut self,
        shard: &mut Shard,
        now: Time,
        watch: &mut impl natgw_nat::Stopwatch,
    ) {
        self.each_burst(CHUNK, BURST, |packets, direction, verdicts| {
            shard.translate_watched(packets, direction, now, verdicts, watch);
        });
    }

    /// Cycles that all calls take together. Workers hand packets over as slices, and so does this.
    #[inline(always)]
    fn each_burst(
        &mut self,
        count: usize,
        size: usize,
        mut each: impl FnMut(&mut [&mut [u8]], Direction, &mut [Verdict]),
    ) -> u64 {
        let mut packets: ArrayVec<&mut [u8], CHUNK> =
            self.packets[..count].iter_mut().map(|packet| &mut packet.0[..]).collect();
        let packets = black_box(&mut packets[..]).chunks_mut(size);
        let verdicts = self.verdicts[..count].chunks_mut(size);
        let start = cycles::now();
        for (burst, (packets, verdicts)) in packets.zip(verdicts).enumerate() {
            each(packets, self.directions[burst * size / BURST], verdicts);
        }
        cycles::now() - start
    }

    /// Flow and outside endpoint of each outbound packet among the first `count`.
    ///
    /// # Panics
    /// When one of them was not forwarded, or an inbound one to another host than its flow's.
    pub(crate) fn translated(&self, count: usize) -> impl Iterator<Item = (u32, Endpoint)> + '_ {
        (0..count).filter_map(|slot| {
            let (flow, packet) = (self.flows[slot], &self.packets[slot]);
            assert!(matches!(self.verdicts[slot], Verdict::Forward(Some(_))), "{:?}", self.verdicts[slot]);
            match self.directions[slot / BURST] {
                Direction::Outbound => Some((flow, sender(packet))),
                Direction::Inbound => {
                    assert_eq!(receiver(packet), internal(flow));
                    None
                }
            }
        })
    }
}
