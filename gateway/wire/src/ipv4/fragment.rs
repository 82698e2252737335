//! Cutting a packet to the size of a link (RFC 791 section 3.2).
//!
//! Every fragment but the last carries a multiple of eight octets; all carry the packet's identification, and those
//! behind the first only the options that are to be copied. What is cut may be a fragment itself: its own offset and its
//! "more fragments" go on in the pieces.

use std::ops::Range;

use arrayvec::ArrayVec;

use super::{BLOCK, HEADER_LEN, Packet};

/// Octets of the longest header.
pub const HEADER_LEN_MAX: usize = 60;

/// One piece of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Its header, checksum and all.
    pub header: ArrayVec<u8, HEADER_LEN_MAX>,
    /// Which octets of the packet follow that.
    pub octets: Range<usize>,
}

/// The fragments of a packet, in order.
#[derive(Clone, Debug)]
pub struct Fragments {
    /// The header that the next fragment gets, but for what differs from one to the next.
    header: ArrayVec<u8, HEADER_LEN_MAX>,
    /// The octets of the packet that are left.
    rest: Range<usize>,
    /// Where they belong in the datagram.
    offset: usize,
    more_frags: bool,
    mtu: usize,
}

impl Fragments {
    /// Cuts the packet at the front of `packet` for a link whose packets have up to `mtu` octets.
    ///
    /// `None` where it must not be cut ("don't fragment"), where eight octets do not fit behind its header, where it
    /// reaches beyond what a datagram can be, and where it is no IPv4 packet.
    pub fn new(packet: &[u8], mtu: u16) -> Option<Fragments> {
        let whole = Packet::new_checked(packet).ok()?;
        let (header_len, mtu) = (whole.header_len(), usize::from(mtu));
        let rest = header_len..usize::from(whole.total_len());
        let offset = usize::from(whole.frag_offset());
        let is_possible = header_len + rest.len() + offset <= usize::from(u16::MAX);
        if whole.dont_frag() || mtu < header_len + BLOCK || !is_possible {
            return None;
        }
        let header = packet[..header_len].iter().copied().collect();
        Some(Fragments { header, rest, offset, more_frags: whole.more_frags(), mtu })
    }
}

impl Iterator for Fragments {
    type Item = Fragment;

    fn next(&mut self) -> Option<Fragment> {
        if self.rest.is_empty() {
            return None;
        }
        let room = self.mtu - self.header.len();
        let is_last = self.rest.len() <= room;
        let len = if is_last { self.rest.len() } else { room / BLOCK * BLOCK };
        let octets = self.rest.start..self.rest.start + len;
        let mut header = self.header.clone();
        let mut packet = Packet::new_unchecked(&mut header[..]);
        packet.set_total_len((self.header.len() + len) as u16);
        packet.set_frag_offset(self.offset as u16);
        packet.set_more_frags(self.more_frags || !is_last);
        packet.fill_checksum();
        self.header = without_first_options(&header);
        self.rest.start = octets.end;
        self.offset += len;
        Some(Fragment { header, octets })
    }
}

/// The header of fragments behind the first: with the options whose copied flag is set, filled up to whole words.
fn without_first_options(header: &[u8]) -> ArrayVec<u8, HEADER_LEN_MAX> {
    let (fixed, mut options) = header.split_at(HEADER_LEN);
    let mut copied: ArrayVec<u8, HEADER_LEN_MAX> = fixed.iter().copied().collect();
    loop {
        options = match *options {
            [NO_OPERATION, ref rest @ ..] => rest,
            [kind, len, ..] if kind != END && (2..=options.len()).contains(&usize::from(len)) => {
                let (option, rest) = options.split_at(len.into());
                if kind & COPIED != 0 {
                    copied.extend(option.iter().copied());
                }
                rest
            }
            // The list ends here, or cannot be read any further.
            _ => break,
        };
    }
    while !copied.len().is_multiple_of(4) {
        copied.push(END);
    }
    let header_len = copied.len();
    Packet::new_unchecked(&mut copied[..]).set_header_len(header_len);
    copied
}

/// Set in the type of an option that goes with every fragment.
const COPIED: u8 = 0x80;
const END: u8 = 0;
const NO_OPERATION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet with these options and so many octets of payload, a different one at each place.
    fn packet(options: &[u8], payload_len: usize) -> Vec<u8> {
        let header_len = HEADER_LEN + options.len();
        let mut bytes = vec![0; HEADER_LEN];
        bytes.extend(options);
        bytes.extend((0..payload_len).map(|at| (at % 251) as u8));
        let total_len = bytes.len() as u16;
        let mut packet = Packet::new_unchecked(&mut bytes[..]);
        packet.set_header_len(header_len);
        packet.set_total_len(total_len);
        packet.set_ident(0x1234);
        packet.set_ttl(64);
        packet.set_src([192, 0, 2, 1].into());
        packet.set_dst([192, 0, 2, 2].into());
        packet.fill_checksum();
        bytes
    }

    /// The fragments as they leave.
    fn cut(packet: &[u8], mtu: u16) -> Vec<Vec<u8>> {
        let fragments = Fragments::new(packet, mtu).unwrap();
        fragments.map(|fragment| [&fragment.header, &packet[fragment.octets]].concat()).collect()
    }

    #[test]
    fn a_packet_of_1500_octets_becomes_two_for_an_mtu_of_1400() {
        let packet = packet(&[], 1480);
        let pieces = cut(&packet, 1400);
        let read: Vec<_> = pieces
            .iter()
            .map(|piece| {
                let piece = Packet::new_verified(&piece[..]).unwrap();
                (piece.total_len(), piece.frag_offset(), piece.more_frags(), piece.ident())
            })
            .collect();
        assert_eq!(read, [(1396, 0, true, 0x1234), (124, 1376, false, 0x1234)]);
        assert_eq!([&pieces[0][20..], &pieces[1][20..]].concat(), packet[20..]);
    }

    #[test]
    fn rfc791_options_go_with_the_first_fragment_and_those_to_be_copied_with_all() {
        // No operation, record route (first only), router alert (copied), end.
        let options = [1, 7, 7, 4, 0, 0, 0, 0, 0x94, 4, 0, 0, 0, 0, 0, 0];
        let packet = packet(&options, 100);
        let pieces = cut(&packet, 84);
        let options_of = |piece: &[u8]| Packet::new_verified(piece).unwrap().options().to_vec();
        assert_eq!(options_of(&pieces[0]), options);
        assert_eq!(
            pieces[1..].iter().map(|piece| options_of(piece)).collect::<Vec<_>>(),
            [[0x94, 4, 0, 0]; 1]
        );
        for broken in [[0x94, 0, 0, 0], [0x94, 1, 0, 0], [0x94, 5, 0, 0], [1, 1, 1, 0x94]] {
            assert_eq!(options_of(&cut(&self::packet(&broken, 100), 84)[1]), [0; 0], "{broken:x?}");
        }
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let good = packet(&[0; 40], 100);
        assert!(Fragments::new(&good, 68).is_some() && Fragments::new(&good, 67).is_none());
        assert!(Fragments::new(&good[..100], 68).is_none());
        let changed = |change: fn(&mut Packet<&mut [u8]>)| {
            let mut bytes = good.clone();
            change(&mut Packet::new_unchecked(&mut bytes[..]));
            Fragments::new(&bytes, 68).is_some()
        };
        assert!(!changed(|packet| packet.set_dont_frag(true)));
        // 65,535 octets are the most that a datagram has.
        assert!(changed(|packet| packet.set_frag_offset(65_368)));
        assert!(!changed(|packet| packet.set_frag_offset(65_376)));
    }

    proptest! {
        /// All fit, all but the last are full in units of eight, and put where they say they make the packet again.
        #[test]
        fn fragments_make_the_packet_again(
            payload_len in 1..4000_usize, mtu in 68..2000_u16, base in 0..100_u16, more_frags: bool,
        ) {
            let mut whole = packet(&[0x94, 4, 0, 0, 7, 3, 4, 0], payload_len);
            let mut head = Packet::new_unchecked(&mut whole[..]);
            head.set_frag_offset(base * 8);
            head.set_more_frags(more_frags);
            let pieces = cut(&whole, mtu);
            let mut payload: Vec<u8> = Vec::new();
            for (nth, piece) in pieces.iter().enumerate() {
                let is_last = nth + 1 == pieces.len();
                prop_assert!(piece.len() <= mtu.into());
                let piece = Packet::new_verified(&piece[..]).unwrap();
                prop_assert_eq!(usize::from(piece.frag_offset()), usize::from(base) * 8 + payload.len());
                prop_assert_eq!(piece.more_frags(), more_frags || !is_last);
                prop_assert!(is_last || piece.payload().len().is_multiple_of(8));
                prop_assert!(is_last || piece.payload().len() + piece.header_len() + 8 > mtu.into());
                payload.extend(piece.payload());
            }
            prop_assert_eq!(&payload[..], &whole[28..]);
        }
    }
}
