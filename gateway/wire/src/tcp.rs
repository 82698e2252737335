//! TCP headers (RFC 9293 section 3.1).

use std::net::Ipv4Addr;
use std::ops::BitOr;

use super::checksum::{self, Delta};
use super::fields::{read, write};
use super::{Error, ipv4};

mod answer;

pub use answer::reset;

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;

/// The control bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgment number means something.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer means something.
    pub const URG: Flags = Flags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Flags = Flags(0x80);

    /// Are all of `flags` set?
    #[inline]
    pub const fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Is one of `flags` set?
    #[inline]
    pub const fn intersects(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// A view over a segment.
#[derive(Clone, Copy, Debug)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view over any buffer; see the panic contract of [`super`].
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Packet<T> {
        Packet(buffer)
    }

    /// A view over a buffer that holds the whole header with its options.
    ///
    /// # Errors
    /// [`Error::Truncated`], or [`Error::TcpDataOffset`] when the data offset is below 5 or beyond the buffer.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    fn check_len(&self) -> Result<(), Error> {
        let len = self.0.as_ref().len();
        if len < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if self.header_len() < HEADER_LEN || self.header_len() > len {
            return Err(Error::TcpDataOffset);
        }
        Ok(())
    }

    /// Octets of header and options: data offset times 4.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.0.as_ref()[field::DATA_OFFSET] >> 4) * 4
    }

    /// Control bits.
    #[inline]
    pub fn flags(&self) -> Flags {
        Flags(self.0.as_ref()[field::FLAGS])
    }

    /// The options.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// The payload: all that follows the header.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[self.header_len()..]
    }

    /// Does the checksum belong to this whole segment between these addresses?
    #[inline]
    pub fn is_checksum_right(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        self.sum(src, dst) == 0xffff
    }

    fn sum(&self, src: Ipv4Addr, dst: Ipv4Addr) -> u16 {
        let bytes = self.0.as_ref();
        let pseudo_header = checksum::pseudo_header(src, dst, ipv4::TCP, bytes.len() as u16);
        checksum::add(pseudo_header, checksum::sum(bytes))
    }
}

fields! {
    Packet:
    /// Source port.
    src_port, set_src_port: u16 = field::SRC_PORT;
    /// Destination port.
    dst_port, set_dst_port: u16 = field::DST_PORT;
    /// Sequence number.
    seq, set_seq: u32 = field::SEQ;
    /// Acknowledgment number.
    ack, set_ack: u32 = field::ACK;
    /// Window, unscaled.
    window, set_window: u16 = field::WINDOW;
    /// Checksum.
    checksum, set_checksum: u16 = field::CHECKSUM;
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the octets of header and options, a multiple of 4; clears the reserved bits.
    #[inline]
    pub fn set_header_len(&mut self, header_len: usize) {
        self.0.as_mut()[field::DATA_OFFSET] = ((header_len / 4) as u8) << 4;
    }

    /// Sets the control bits.
    #[inline]
    pub fn set_flags(&mut self, flags: Flags) {
        self.0.as_mut()[field::FLAGS] = flags.0;
    }

    /// The options.
    #[inline]
    pub fn options_mut(&mut self) -> &mut [u8] {
        let header_len = self.header_len();
        &mut self.0.as_mut()[HEADER_LEN..header_len]
    }

    /// Computes the checksum anew.
    #[inline]
    pub fn fill_checksum(&mut self, src: Ipv4Addr, dst: Ipv4Addr) {
        self.set_checksum(0);
        self.set_checksum(!self.sum(src, dst));
    }

    /// Updates the checksum for words that were replaced.
    #[inline]
    pub fn apply(&mut self, delta: Delta) {
        self.set_checksum(delta.apply(self.checksum()));
    }

    /// Lowers the maximum segment size that a SYN offers (RFC 9293 section 3.7.1) to `max`, and updates the checksum. A
    /// smaller one stays, and so does a segment that offers none.
    pub fn clamp_mss(&mut self, max: u16) {
        let Some(at) = mss_at(self.options()) else { return };
        let field = &mut self.options_mut()[at..at + 2];
        let old = read::<u16>(field, 0);
        if old <= max {
            return;
        }
        write(field, 0, max);
        // A word at an odd place adds to the sum with its octets swapped.
        let change = Delta::new().replace_u16(old, max);
        let swapped = Delta::new().replace_u16(old.swap_bytes(), max.swap_bytes());
        self.apply(if at.is_multiple_of(2) { change } else { swapped });
    }
}

/// Where the value of the option stands that offers a maximum segment size.
fn mss_at(options: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += match *options.get(at..)? {
            [option::NO_OPERATION, ..] => 1,
            [option::MSS, 4, _, _, ..] => return Some(at + 2),
            [option::END, ..] => return None,
            [_, len, ..] if len >= 2 => usize::from(len),
            _ => return None,
        };
    }
}

mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const MSS: u8 = 2;
}

mod field {
    pub(super) const SRC_PORT: usize = 0;
    pub(super) const DST_PORT: usize = 2;
    pub(super) const SEQ: usize = 4;
    pub(super) const ACK: usize = 8;
    pub(super) const DATA_OFFSET: usize = 12;
    pub(super) const FLAGS: usize = 13;
    pub(super) const WINDOW: usize = 14;
    pub(super) const CHECKSUM: usize = 16;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRC: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
    const PACKET: [u8; 28] =
        *b"\xbf\x00\x00\x50\x01\x23\x45\x67\x89\xab\xcd\xef\x60\x35\x01\x23\x01\xb6\x02\x01\
        \x03\x03\x0c\x01\xaa\x00\x00\xff";

    #[test]
    fn reads_every_field() {
        let packet = Packet::new_checked(PACKET).unwrap();
        assert_eq!((packet.src_port(), packet.dst_port()), (48896, 80));
        assert_eq!((packet.seq(), packet.ack()), (0x0123_4567, 0x89ab_cdef));
        assert_eq!((packet.header_len(), packet.window(), packet.checksum()), (24, 0x0123, 0x01b6));
        assert_eq!(packet.flags(), Flags::FIN | Flags::RST | Flags::ACK | Flags::URG);
        assert!(
            packet.flags().contains(Flags::ACK | Flags::FIN)
                && !packet.flags().contains(Flags::ACK | Flags::SYN)
        );
        assert!(packet.flags().intersects(Flags::SYN | Flags::RST) && !packet.flags().intersects(Flags::SYN));
        assert_eq!(
            (packet.options(), packet.payload()),
            (&b"\x03\x03\x0c\x01"[..], &b"\xaa\x00\x00\xff"[..])
        );
        assert!(packet.is_checksum_right(SRC, DST));
        assert!(!packet.is_checksum_right(SRC, SRC));
    }

    #[test]
    fn writes_every_field() {
        let mut packet = Packet::new_unchecked([0; 28]);
        packet.set_src_port(48896);
        packet.set_dst_port(80);
        packet.set_seq(0x0123_4567);
        packet.set_ack(0x89ab_cdef);
        packet.set_header_len(24);
        packet.set_flags(Flags::FIN | Flags::RST | Flags::ACK | Flags::URG);
        packet.set_window(0x0123);
        packet.0[18..20].copy_from_slice(&[2, 1]);
        packet.options_mut().copy_from_slice(b"\x03\x03\x0c\x01");
        packet.0[24..].copy_from_slice(b"\xaa\x00\x00\xff");
        packet.fill_checksum(SRC, DST);
        assert_eq!(packet.0, PACKET);
    }

    /// A segment with these options, clamped to 1000: the options then.
    fn clamped<const N: usize>(options: [u8; N]) -> [u8; N] {
        let mut bytes = [PACKET[..20].to_vec(), options.to_vec(), vec![7; 5]].concat();
        let mut segment = Packet::new_unchecked(&mut bytes[..]);
        segment.set_header_len(20 + N);
        segment.fill_checksum(SRC, DST);
        segment.clamp_mss(1000);
        assert!(segment.is_checksum_right(SRC, DST));
        segment.options().try_into().unwrap()
    }

    #[test]
    fn the_maximum_segment_size_is_only_ever_lowered() {
        assert_eq!(clamped([2, 4, 0x05, 0xb4]), [2, 4, 0x03, 0xe8]);
        assert_eq!(clamped([2, 4, 0x03, 0xe9]), [2, 4, 0x03, 0xe8]);
        for small in [[2, 4, 0x03, 0xe8], [2, 4, 0x03, 0xe7], [2, 4, 0, 0]] {
            assert_eq!(clamped(small), small);
        }
    }

    #[test]
    fn the_maximum_segment_size_is_found_among_other_options() {
        assert_eq!(clamped([1, 2, 4, 0x05, 0xb4, 1, 1, 1]), [1, 2, 4, 0x03, 0xe8, 1, 1, 1]);
        assert_eq!(clamped([4, 2, 1, 3, 3, 7, 2, 4, 0xff, 0xff, 0, 0])[8..], [0x03, 0xe8, 0, 0]);
        for without in [[0, 0, 2, 4], [4, 0, 2, 4], [4, 1, 2, 4], [2, 3, 9, 9], [1, 1, 2, 4], [3, 9, 2, 4]] {
            assert_eq!(clamped(without), without);
        }
        assert_eq!(clamped([]), [0; 0]);
    }

    #[test]
    fn checks_the_data_offset() {
        for (offset, expected) in
            [(4, Some(Error::TcpDataOffset)), (5, None), (7, None), (8, Some(Error::TcpDataOffset))]
        {
            let mut bytes = PACKET;
            bytes[12] = offset << 4;
            assert_eq!(Packet::new_checked(bytes).err(), expected, "{offset}");
        }
        assert_eq!(Packet::new_checked(&PACKET[..19]).err(), Some(Error::Truncated));
    }
}
