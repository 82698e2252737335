//! Frames from a template: what differs from flow to flow is composed in registers and written with whole words.
//!
//! ```text
//! octets  0      8      16     24     32     40     48     56
//! word    0      1      2      3      4      5      6      tail
//! UDP     Ethernet, IPv4 ──────┬──────┬ addresses, ports, checksum
//!                              │      └─ 42 flow, 46 stamp, 50 run, zeros
//! TCP                          └ ...     38 sequence = flow, 42 acknowledgement = stamp, 48 window = run, zeros
//! ```
//!
//! The same words, with what the gateway ought to have made of them, are what a returned frame is compared with: both
//! checksums included, for they follow from the rest.

use super::flow::Endpoint;
use natgw_wire::ethernet::{self, Mac};
use natgw_wire::{ipv4, tcp};

/// The shortest and the longest frame, without its check sequence.
pub const LEN_MIN: usize = 60;
/// The longest.
pub const LEN_MAX: usize = 1514;
/// Octets that are written in words.
const HEAD: usize = 56;
/// IPv4 payload of a TCP segment without data.
const BARE: usize = ipv4::HEADER_LEN + tcp::HEADER_LEN;

/// What is the same in all frames of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Destination; in a frame that is expected, our own.
    pub dst: Mac,
    /// Source; not compared.
    pub src: Mac,
    /// IPv4's time to live.
    pub ttl: u8,
    /// Octets, without the frame check sequence.
    pub len: usize,
    /// Tells frames of this pass from late ones of an earlier.
    pub run: u16,
    /// The segment, or UDP.
    pub segment: Option<Segment>,
}

/// A segment of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// SYN, ACK, FIN.
    pub flags: tcp::Flags,
    /// Carries data: as much as the frame's length leaves.
    pub data: bool,
}

/// What differs from frame to frame in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The flow's number.
    pub flow: u32,
    /// When it was sent, or 0.
    pub stamp: u32,
}

/// A kind of frame, ready to be filled in.
#[derive(Clone, Debug)]
pub struct Template {
    words: [u64; HEAD / 8],
    tail: Vec<u8>,
    tcp: bool,
    /// Sums of what is the same in all frames (RFC 1071), carries and all.
    ip_sum: u64,
    l4_sum: u64,
    /// The bits of the last word that are compared: Ethernet's padding is not.
    last_mask: u64,
}

type Words = [u64; HEAD / 8];

impl Template {
    /// A template for frames of this kind.
    pub fn new(kind: &Kind) -> Template {
        assert!((LEN_MIN..=LEN_MAX).contains(&kind.len), "a frame of {} octets", kind.len);
        let padded = kind.segment.is_some_and(|segment| !segment.data);
        let total = if padded { BARE } else { kind.len - ethernet::HEADER_LEN };
        let protocol = if kind.segment.is_some() { ipv4::TCP } else { ipv4::UDP };
        let mut frame = vec![0; kind.len];
        frame[..6].copy_from_slice(&kind.dst.0);
        frame[6..12].copy_from_slice(&kind.src.0);
        frame[12..14].copy_from_slice(&ethernet::IPV4.to_be_bytes());
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&(total as u16).to_be_bytes());
        frame[22] = kind.ttl;
        frame[23] = protocol;
        let l4_len = total - ipv4::HEADER_LEN;
        match kind.segment {
            None => {
                frame[38..40].copy_from_slice(&(l4_len as u16).to_be_bytes());
                frame[50..52].copy_from_slice(&kind.run.to_be_bytes());
            }
            Some(segment) => {
                frame[46] = 5 << 4;
                frame[47] = segment.flags.0;
                frame[48..50].copy_from_slice(&kind.run.to_be_bytes());
            }
        }
        let sum = |bytes: &[u8]| -> u64 {
            bytes
                .chunks(2)
                .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u64::from(low)))
                .sum()
        };
        let mut words = [0; HEAD / 8];
        for (word, bytes) in words.iter_mut().zip(frame.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        Template {
            words,
            ip_sum: sum(&frame[14..34]),
            l4_sum: sum(&frame[34..]) + u64::from(protocol) + l4_len as u64,
            tail: frame[HEAD..].to_vec(),
            tcp: kind.segment.is_some(),
            last_mask: if padded { !0xffff } else { !0 },
        }
    }

    /// Octets of a frame.
    pub fn frame_len(&self) -> usize {
        HEAD + self.tail.len()
    }

    /// Writes `(src -> dst)` into a buffer of [`frame_len`](Template::frame_len) octets.
    #[inline(always)]
    pub fn write(&self, frame: &mut [u8], src: Endpoint, dst: Endpoint, mark: Mark) {
        let words = self.words(src, dst, mark);
        let (head, tail) = frame.split_first_chunk_mut::<HEAD>().expect("as long as the template");
        for (bytes, word) in head.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_be_bytes();
        }
        // A call for four octets would cost more than the rest.
        match (<&mut [u8; 4]>::try_from(&mut *tail), self.tail.first_chunk()) {
            (Ok(tail), Some(padding)) => *tail = *padding,
            _ => tail.copy_from_slice(&self.tail),
        }
    }

    /// Whether `frame` is exactly what this template makes of `(src -> dst)`, source MAC and padding apart. Its payload
    /// behind the first words is covered by the checksum of the sender, not looked at.
    #[inline(always)]
    pub fn matches(&self, frame: &Head<'_>, src: Endpoint, dst: Endpoint, mark: Mark) -> bool {
        let words = self.words(src, dst, mark);
        let found = &frame.words;
        let mut differ = (words[0] ^ found[0]) & !0xffff;
        differ |= (words[1] ^ found[1]) & 0xffff_ffff;
        for index in 2..6 {
            differ |= words[index] ^ found[index];
        }
        differ |= (words[6] ^ found[6]) & self.last_mask;
        differ == 0 && frame.len == self.frame_len()
    }

    /// What a frame of this protocol is marked with.
    #[inline(always)]
    pub fn mark(&self, frame: &Head<'_>) -> Mark {
        let [.., w4, w5, w6] = frame.words;
        if self.tcp {
            Mark { flow: (w4 << 16 | w5 >> 48) as u32, stamp: (w5 >> 16) as u32 }
        } else {
            Mark { flow: (w5 >> 16) as u32, stamp: (w5 << 16 | w6 >> 48) as u32 }
        }
    }

    /// Whether it was sent in another pass.
    pub fn is_of_another_run(&self, frame: &Head<'_>) -> bool {
        let run = |words: &Words| if self.tcp { words[6] >> 48 } else { words[6] >> 32 & 0xffff };
        run(&self.words) != run(&frame.words)
    }

    #[inline(always)]
    fn words(&self, src: Endpoint, dst: Endpoint, mark: Mark) -> Words {
        let addresses = u64::from(src.address) + u64::from(dst.address);
        let ports = u64::from(src.port) << 16 | u64::from(dst.port);
        let (flow, stamp) = (u64::from(mark.flow), u64::from(mark.stamp));
        let ip_checksum = u64::from(!fold(self.ip_sum + addresses));
        let l4_checksum = !fold(self.l4_sum + addresses + ports + flow + stamp);
        let mut words = self.words;
        words[3] = ip_checksum << 48 | u64::from(src.address) << 16 | u64::from(dst.address >> 16);
        words[4] |= u64::from(dst.address) << 48 | ports << 16;
        if self.tcp {
            words[4] |= flow >> 16;
            words[5] |= flow << 48 | stamp << 16;
            words[6] |= u64::from(l4_checksum) << 32;
        } else {
            let checksum = if l4_checksum == 0 { 0xffff } else { u64::from(l4_checksum) };
            words[5] |= checksum << 48 | flow << 16 | stamp >> 16;
            words[6] |= stamp << 48;
        }
        words
    }
}

/// The sum with its carries added back in.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The start of a received frame, in words.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    words: Words,
    len: usize,
    frame: &'a [u8],
}

impl<'a> Head<'a> {
    /// `None` for a frame that is too short to be one of ours.
    #[inline(always)]
    pub fn new(frame: &'a [u8]) -> Option<Head<'a>> {
        let head = frame.first_chunk::<HEAD>()?;
        let mut words = [0; HEAD / 8];
        for (word, bytes) in words.iter_mut().zip(head.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        Some(Head { words, len: frame.len(), frame })
    }

    /// All of it.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use natgw_wire::udp;

    const OURS: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const SYN: Option<Segment> = Some(Segment { flags: tcp::Flags::SYN, data: false });
    const DATA: Option<Segment> = Some(Segment { flags: tcp::Flags::ACK, data: true });

    fn kind(len: usize, segment: Option<Segment>) -> Kind {
        Kind { dst: Mac([2, 0, 0, 0, 0, 9]), src: OURS, ttl: 64, len, run: 0xabcd, segment }
    }

    fn frame(template: &Template, src: Endpoint, dst: Endpoint, mark: Mark) -> Vec<u8> {
        // What an earlier packet left in the buffer must not show.
        let mut frame = vec![0xee; template.frame_len()];
        template.write(&mut frame, src, dst, mark);
        frame
    }

    prop_compose! {
        fn endpoint()(address: u32, port: u16) -> Endpoint {
            Endpoint { address, port }
        }
    }

    fn segment() -> impl Strategy<Value = Option<Segment>> {
        prop_oneof![Just(None), Just(SYN), Just(DATA)]
    }

    proptest! {
        #[test]
        fn writes_frames_that_others_can_read(
            len in LEN_MIN..=LEN_MAX, segment in segment(), src in endpoint(), dst in endpoint(), flow: u32, stamp: u32,
        ) {
            let template = Template::new(&kind(len, segment));
            let frame = frame(&template, src, dst, Mark { flow, stamp });
            prop_assert_eq!(frame.len(), len);
            prop_assert_eq!(ethernet::parse(&frame).unwrap().dst, Mac([2, 0, 0, 0, 0, 9]));
            let packet = ipv4::Packet::new_verified(&frame[14..]).unwrap();
            prop_assert_eq!((packet.src_bits(), packet.dst_bits(), packet.ttl()), (src.address, dst.address, 64));
            let (from, to) = (packet.src(), packet.dst());
            match segment {
                None => {
                    let datagram = udp::Packet::new_checked(packet.payload()).unwrap();
                    prop_assert!(datagram.checksum() != 0 && datagram.is_checksum_right(from, to));
                    prop_assert_eq!((datagram.src_port(), datagram.dst_port()), (src.port, dst.port));
                    prop_assert_eq!(&datagram.payload()[..4], flow.to_be_bytes());
                }
                Some(expected) => {
                    let segment = tcp::Packet::new_checked(packet.payload()).unwrap();
                    prop_assert!(segment.is_checksum_right(from, to));
                    prop_assert_eq!((segment.src_port(), segment.dst_port()), (src.port, dst.port));
                    prop_assert_eq!((segment.seq(), segment.flags()), (flow, expected.flags));
                    prop_assert_eq!(segment.payload().is_empty(), !expected.data);
                }
            }
        }

        #[test]
        fn matches_its_own_frames_and_no_others(
            segment in segment(), src in endpoint(), dst in endpoint(), flow: u32, stamp: u32, octet in 0usize..56, bit in 0u32..8,
        ) {
            let template = Template::new(&kind(60, segment));
            let mark = Mark { flow, stamp };
            let mut frame = frame(&template, src, dst, mark);
            let head = Head::new(&frame).unwrap();
            prop_assert!(template.matches(&head, src, dst, mark));
            prop_assert_eq!(template.mark(&head), mark);
            frame[octet] ^= 1u8 << bit;
            let of_the_neighbour = (6..12).contains(&octet);
            let padding = segment == SYN && octet >= 54;
            let matches = template.matches(&Head::new(&frame).unwrap(), src, dst, mark);
            prop_assert_eq!(matches, of_the_neighbour || padding, "octet {}", octet);
        }
    }

    #[test]
    fn a_longer_frame_does_not_match() {
        let (src, dst, mark) =
            (Endpoint { address: 1, port: 2 }, Endpoint { address: 3, port: 4 }, Mark { flow: 5, stamp: 0 });
        let template = Template::new(&kind(60, None));
        let mut frame = frame(&template, src, dst, mark);
        frame.push(0);
        assert!(!template.matches(&Head::new(&frame).unwrap(), src, dst, mark));
        assert!(Head::new(&frame[..HEAD - 1]).is_none());
    }
}
