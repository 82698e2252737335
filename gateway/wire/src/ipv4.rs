//! IPv4 headers (RFC 791, RFC 6864 for the identification), and fragments.

mod coverage;
mod fragment;

pub use coverage::{BLOCK, BLOCKS, Coverage, Fit};
pub use fragment::{Fragment, Fragments, HEADER_LEN_MAX};

use std::net::Ipv4Addr;

use super::Error;
use super::checksum::{self, Delta};
use super::fields::{read, write};

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;
/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// Whether `address` may be a host's: not in 0.0.0.0/8, loopback, multicast or limited broadcast (RFC 1122 section
/// 3.2.1.3). 240.0.0.0/4 is reserved, but some networks number hosts from it, so it may be.
#[inline]
pub const fn is_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..=239) && !address.is_broadcast()
}

/// Kinds of options (RFC 791 section 3.1).
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NO_OPERATION: u8 = 1;
    pub(super) const LOOSE_SOURCE_ROUTE: u8 = 131;
    pub(super) const STRICT_SOURCE_ROUTE: u8 = 137;
}

/// A view over a packet: header, options, payload, and perhaps padding of the frame that carried it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view over any buffer; see the panic contract of [`super`].
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Packet<T> {
        Packet(buffer)
    }

    /// A view over a buffer that holds the whole packet; padding may follow. The checksum is not looked at.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::IpVersion`], [`Error::IpHeaderLength`], [`Error::IpTotalLength`].
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet::new_header(buffer)?;
        packet.check_total_len()?;
        Ok(packet)
    }

    /// As [`Packet::new_checked`], with a header whose checksum is right (RFC 1812 section 5.2.2).
    ///
    /// # Errors
    /// Those of [`Packet::new_checked`], and [`Error::IpChecksum`].
    #[inline]
    pub fn new_verified(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet::new_checked(buffer)?;
        if packet.is_checksum_right() { Ok(packet) } else { Err(Error::IpChecksum) }
    }

    /// A view over a buffer that holds the whole header but perhaps not all of the payload: the packet embedded in
    /// an ICMP error. [`Packet::payload`] is then what is there.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::IpVersion`], [`Error::IpHeaderLength`].
    #[inline]
    pub fn new_header(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    fn check_len(&self) -> Result<(), Error> {
        let bytes = self.0.as_ref();
        if bytes.len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        if self.version() != 4 {
            return Err(Error::IpVersion);
        }
        if self.header_len() < HEADER_LEN || self.header_len() > bytes.len() {
            return Err(Error::IpHeaderLength);
        }
        Ok(())
    }

    fn check_total_len(&self) -> Result<(), Error> {
        let total_len = usize::from(self.total_len());
        let fits = self.header_len() <= total_len && total_len <= self.0.as_ref().len();
        if fits { Ok(()) } else { Err(Error::IpTotalLength) }
    }

    /// IP version.
    #[inline]
    pub fn version(&self) -> u8 {
        self.0.as_ref()[field::VERSION_IHL] >> 4
    }

    /// Octets of header and options: IHL times 4.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.0.as_ref()[field::VERSION_IHL] & 0xf) * 4
    }

    /// The "don't fragment" flag.
    #[inline]
    pub fn dont_frag(&self) -> bool {
        self.flags_and_offset() & DF != 0
    }

    /// The "more fragments" flag.
    #[inline]
    pub fn more_frags(&self) -> bool {
        self.flags_and_offset() & MF != 0
    }

    /// Where in the datagram this fragment's payload belongs, in octets.
    #[inline]
    pub fn frag_offset(&self) -> u16 {
        (self.flags_and_offset() & OFFSET) * 8
    }

    /// Is this a part of a datagram, first, middle or last?
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_and_offset() & (MF | OFFSET) != 0
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        self.src_bits().into()
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        self.dst_bits().into()
    }

    /// The options.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..self.header_len()]
    }

    /// The payload, without padding; of a packet cut short, what is there.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[self.header_len()..self.payload_end()]
    }

    /// Whether the options hold a loose or a strict source route. Options behind one that is malformed are not read.
    pub fn has_source_route(&self) -> bool {
        let mut options = self.options();
        while let Some((&kind, rest)) = options.split_first() {
            options = match kind {
                option::END => return false,
                option::LOOSE_SOURCE_ROUTE | option::STRICT_SOURCE_ROUTE => return true,
                option::NO_OPERATION => rest,
                _ => match rest.first().and_then(|&len| options.get(usize::from(len).max(2)..)) {
                    Some(rest) => rest,
                    None => return false,
                },
            };
        }
        false
    }

    /// Does the checksum belong to this header?
    #[inline]
    pub fn is_checksum_right(&self) -> bool {
        checksum::sum(&self.0.as_ref()[..self.header_len()]) == 0xffff
    }

    fn flags_and_offset(&self) -> u16 {
        read::<u16>(self.0.as_ref(), field::FLAGS_OFFSET)
    }

    fn payload_end(&self) -> usize {
        usize::from(self.total_len()).clamp(self.header_len(), self.0.as_ref().len())
    }
}

fields! {
    Packet:
    /// Type of service: DSCP and ECN (RFC 2474, RFC 3168).
    tos, set_tos: u8 = field::TOS;
    /// Octets of header and payload.
    total_len, set_total_len: u16 = field::TOTAL_LEN;
    /// Identification.
    ident, set_ident: u16 = field::IDENT;
    /// Time to live.
    ttl, set_ttl: u8 = field::TTL;
    /// Protocol number of the payload.
    protocol, set_protocol: u8 = field::PROTOCOL;
    /// Header checksum.
    checksum, set_checksum: u16 = field::CHECKSUM;
    /// Source address as a number.
    src_bits, set_src_bits: u32 = field::SRC;
    /// Destination address as a number.
    dst_bits, set_dst_bits: u32 = field::DST;
}

impl<'a> Packet<&'a [u8]> {
    /// [`Packet::payload`], for as long as the buffer lives.
    #[inline]
    pub fn into_payload(self) -> &'a [u8] {
        &self.0[self.header_len()..self.payload_end()]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets version 4 and the octets of header and options, a multiple of 4.
    #[inline]
    pub fn set_header_len(&mut self, header_len: usize) {
        self.0.as_mut()[field::VERSION_IHL] = 0x40 | (header_len / 4) as u8 & 0xf;
    }

    /// Sets the "don't fragment" flag.
    #[inline]
    pub fn set_dont_frag(&mut self, dont_frag: bool) {
        self.set_flags_and_offset(DF, if dont_frag { DF } else { 0 });
    }

    /// Sets the "more fragments" flag.
    #[inline]
    pub fn set_more_frags(&mut self, more_frags: bool) {
        self.set_flags_and_offset(MF, if more_frags { MF } else { 0 });
    }

    /// Sets where the payload belongs in the datagram: octets, a multiple of 8.
    #[inline]
    pub fn set_frag_offset(&mut self, octets: u16) {
        self.set_flags_and_offset(OFFSET, octets / 8);
    }

    /// Sets the source address.
    #[inline]
    pub fn set_src(&mut self, src: Ipv4Addr) {
        self.set_src_bits(src.into());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_dst(&mut self, dst: Ipv4Addr) {
        self.set_dst_bits(dst.into());
    }

    /// The payload.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = self.header_len()..self.payload_end();
        &mut self.0.as_mut()[range]
    }

    /// Computes the checksum anew.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        let header_len = self.header_len();
        self.set_checksum(!checksum::sum(&self.0.as_ref()[..header_len]));
    }

    /// Updates the checksum for words that were replaced.
    #[inline]
    pub fn apply(&mut self, delta: Delta) {
        self.set_checksum(delta.apply(self.checksum()));
    }

    /// Takes one from a time to live that is above 0, and updates the checksum.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        let old = read::<u16>(self.0.as_ref(), field::TTL);
        self.set_ttl(self.ttl().saturating_sub(1));
        self.apply(Delta::new().replace_u16(old, read::<u16>(self.0.as_ref(), field::TTL)));
    }

    fn set_flags_and_offset(&mut self, mask: u16, bits: u16) {
        let word = self.flags_and_offset() & !mask | bits & mask;
        write(self.0.as_mut(), field::FLAGS_OFFSET, word);
    }
}

const DF: u16 = 0x4000;
const MF: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

mod field {
    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const TOS: usize = 1;
    pub(super) const TOTAL_LEN: usize = 2;
    pub(super) const IDENT: usize = 4;
    pub(super) const FLAGS_OFFSET: usize = 6;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: usize = 10;
    pub(super) const SRC: usize = 12;
    pub(super) const DST: usize = 16;
}

#[cfg(test)]
mod tests;
