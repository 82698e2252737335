//! UDP (RFC 768).

use std::net::Ipv4Addr;

use super::checksum::{self, Delta};
use super::{Error, ipv4};

/// Octets of a header.
pub const HEADER_LEN: usize = 8;

/// A view over a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view over any buffer; see the panic contract of [`super`].
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Packet<T> {
        Packet(buffer)
    }

    /// A view over a buffer that holds the whole datagram.
    ///
    /// # Errors
    /// [`Error::Truncated`], or [`Error::UdpLength`] when the length is below 8 or beyond the buffer.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet::new_header(buffer)?;
        let len = usize::from(packet.len());
        if len < HEADER_LEN || len > packet.0.as_ref().len() {
            return Err(Error::UdpLength);
        }
        Ok(packet)
    }

    /// A view over a buffer that holds the header, in a first fragment or an ICMP error, where the length speaks of
    /// octets that are not here.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    #[inline]
    pub fn new_header(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    fn check_len(&self) -> Result<(), Error> {
        if self.0.as_ref().len() < HEADER_LEN { Err(Error::Truncated) } else { Ok(()) }
    }

    /// The payload; of a datagram cut short, what is there.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..self.end()]
    }

    /// Does the checksum belong to this whole datagram between these addresses, or is there none?
    #[inline]
    pub fn is_checksum_right(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        self.checksum() == 0 || self.sum(src, dst) == 0xffff
    }

    fn sum(&self, src: Ipv4Addr, dst: Ipv4Addr) -> u16 {
        let pseudo_header = checksum::pseudo_header(src, dst, ipv4::UDP, self.len());
        checksum::add(pseudo_header, checksum::sum(&self.0.as_ref()[..self.end()]))
    }

    fn end(&self) -> usize {
        usize::from(self.len()).clamp(HEADER_LEN, self.0.as_ref().len())
    }
}

fields! {
    Packet:
    /// Source port.
    src_port, set_src_port: u16 = field::SRC_PORT;
    /// Destination port.
    dst_port, set_dst_port: u16 = field::DST_PORT;
    /// Octets of header and payload.
    #[expect(clippy::len_without_is_empty, reason = "a header field; a datagram has at least its header")]
    len, set_len: u16 = field::LEN;
    /// Checksum; 0 says that the sender computed none.
    checksum, set_checksum: u16 = field::CHECKSUM;
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// The payload.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let end = self.end();
        &mut self.0.as_mut()[HEADER_LEN..end]
    }

    /// Computes the checksum anew.
    #[inline]
    pub fn fill_checksum(&mut self, src: Ipv4Addr, dst: Ipv4Addr) {
        self.set_checksum(0);
        let checksum = !self.sum(src, dst);
        self.set_checksum(if checksum == 0 { 0xffff } else { checksum });
    }

    /// Updates the checksum, where there is one, for words that were replaced.
    #[inline]
    pub fn apply(&mut self, delta: Delta) {
        self.set_checksum(delta.apply_udp(self.checksum()));
    }
}

mod field {
    pub(super) const SRC_PORT: usize = 0;
    pub(super) const DST_PORT: usize = 2;
    pub(super) const LEN: usize = 4;
    pub(super) const CHECKSUM: usize = 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SRC: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
    const DST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
    /// Four octets of payload, one of padding.
    const PACKET: [u8; 13] = *b"\xbf\x00\x00\x35\x00\x0c\x12\x4d\xaa\x00\x00\xff\xee";

    #[test]
    fn reads_every_field() {
        let packet = Packet::new_checked(PACKET).unwrap();
        assert_eq!((packet.src_port(), packet.dst_port(), packet.len()), (48896, 53, 12));
        assert_eq!((packet.checksum(), packet.payload()), (0x124d, &b"\xaa\x00\x00\xff"[..]));
        assert!(packet.is_checksum_right(SRC, DST));
        assert!(!packet.is_checksum_right(SRC, SRC));
    }

    #[test]
    fn writes_every_field() {
        let mut packet = Packet::new_unchecked([0xee; 13]);
        packet.set_src_port(48896);
        packet.set_dst_port(53);
        packet.set_len(12);
        packet.payload_mut().copy_from_slice(b"\xaa\x00\x00\xff");
        packet.fill_checksum(SRC, DST);
        assert_eq!(packet.0, PACKET);
    }

    #[test]
    fn checks_the_length() {
        for (len, expected) in
            [(7, Some(Error::UdpLength)), (8, None), (13, None), (14, Some(Error::UdpLength))]
        {
            let mut bytes = PACKET;
            bytes[5] = len;
            assert_eq!(Packet::new_checked(bytes).err(), expected, "{len}");
            assert!(Packet::new_header(bytes).is_ok());
        }
        assert_eq!(Packet::new_checked(&PACKET[..7]).err(), Some(Error::Truncated));
        assert_eq!(Packet::new_header(&PACKET[..9]).unwrap().payload(), b"\xaa");
    }

    #[test]
    fn zero_is_no_checksum_and_is_never_computed() {
        let mut bytes = PACKET;
        bytes[6..8].copy_from_slice(&[0, 0]);
        assert!(Packet::new_unchecked(bytes).is_checksum_right(SRC, SRC));
        // A payload that carries the complement of all the rest: the checksum would be 0.
        bytes[8..10].copy_from_slice(&[0xaa + 0x12, 0x4d]);
        let mut packet = Packet::new_checked(bytes).unwrap();
        packet.fill_checksum(SRC, DST);
        assert_eq!(packet.checksum(), 0xffff);
        assert!(packet.is_checksum_right(SRC, DST));
    }
}
