//! ICMP for IPv4 (RFC 792, RFC 4884 for the extent of embedded packets).

mod answer;

pub use answer::{ERROR_LEN_MAX, echo_reply, error, error_about};

use super::Error;
use super::checksum::{self, Delta};

/// Octets in front of a query's data and of the packet that an error embeds.
pub const HEADER_LEN: usize = 8;

/// Message types.
pub mod message {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable; see [`super::unreachable`].
    pub const UNREACHABLE: u8 = 3;
    /// Source quench, deprecated (RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo.
    pub const ECHO: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Timestamp.
    pub const TIMESTAMP: u8 = 13;
    /// Timestamp reply.
    pub const TIMESTAMP_REPLY: u8 = 14;
    /// Information request, obsolete (RFC 6918).
    pub const INFORMATION: u8 = 15;
    /// Information reply, obsolete (RFC 6918).
    pub const INFORMATION_REPLY: u8 = 16;
    /// Address mask request, obsolete (RFC 6918).
    pub const MASK: u8 = 17;
    /// Address mask reply, obsolete (RFC 6918).
    pub const MASK_REPLY: u8 = 18;
}

/// Codes of [`message::UNREACHABLE`].
pub mod unreachable {
    /// Network unreachable.
    pub const NET: u8 = 0;
    /// Host unreachable.
    pub const HOST: u8 = 1;
    /// Protocol unreachable.
    pub const PROTOCOL: u8 = 2;
    /// Port unreachable.
    pub const PORT: u8 = 3;
    /// Fragmentation needed and DF set; the next hop's MTU is the low half of the rest (RFC 1191 section 4).
    pub const FRAG_NEEDED: u8 = 4;
    /// Communication administratively prohibited (RFC 1812 section 5.2.7.1).
    pub const PROHIBITED: u8 = 13;
}

/// Codes of [`message::TIME_EXCEEDED`].
pub mod time_exceeded {
    /// The time to live ran out on the way.
    pub const TTL: u8 = 0;
    /// Reassembly took too long.
    pub const REASSEMBLY: u8 = 1;
}

/// Does a message of this type embed the packet that it complains about?
#[inline]
pub const fn is_error(ty: u8) -> bool {
    use message::*;
    matches!(ty, UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// Is a message of this type a question that another type answers, matched by its identifier?
#[inline]
pub const fn is_request(ty: u8) -> bool {
    use message::*;
    matches!(ty, ECHO | TIMESTAMP | INFORMATION | MASK)
}

/// Does a message of this type answer an [`is_request`]?
#[inline]
pub const fn is_reply(ty: u8) -> bool {
    use message::*;
    matches!(ty, ECHO_REPLY | TIMESTAMP_REPLY | INFORMATION_REPLY | MASK_REPLY)
}

/// A view over a message.
#[derive(Clone, Copy, Debug)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view over any buffer; see the panic contract of [`super`].
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Packet<T> {
        Packet(buffer)
    }

    /// A view over a buffer that holds at least the header. The checksum is not looked at: a fragment's and an
    /// embedded packet's covers octets that are not here.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    /// A view over a whole message whose checksum is right (RFC 5508 REQ-3).
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::IcmpChecksum`].
    #[inline]
    pub fn new_verified(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet::new_checked(buffer)?;
        if packet.is_checksum_right() { Ok(packet) } else { Err(Error::IcmpChecksum) }
    }

    fn check_len(&self) -> Result<(), Error> {
        if self.0.as_ref().len() < HEADER_LEN { Err(Error::Truncated) } else { Ok(()) }
    }

    /// A query's data, an error's embedded packet and extensions.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..]
    }

    /// The start of the packet that an error complains about, without the extensions behind it: types 3, 11 and 12
    /// say where it ends (RFC 4884 section 4), though not beyond the message.
    #[inline]
    pub fn embedded(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..self.embedded_end()]
    }

    /// Does the checksum belong to this whole message?
    #[inline]
    pub fn is_checksum_right(&self) -> bool {
        checksum::sum(self.0.as_ref()) == 0xffff
    }

    fn embedded_end(&self) -> usize {
        let bytes = self.0.as_ref();
        let has_length =
            matches!(self.ty(), message::UNREACHABLE | message::TIME_EXCEEDED | message::PARAMETER_PROBLEM);
        match usize::from(bytes[field::EMBEDDED_WORDS]) {
            words if has_length && words != 0 => bytes.len().min(HEADER_LEN + words * 4),
            _ => bytes.len(),
        }
    }
}

fields! {
    Packet:
    /// Message type, one of [`message`] perhaps.
    ty, set_ty: u8 = field::TYPE;
    /// Code.
    code, set_code: u8 = field::CODE;
    /// Checksum of the whole message.
    checksum, set_checksum: u16 = field::CHECKSUM;
    /// The four octets that each type reads its own way.
    rest, set_rest: u32 = field::REST;
    /// A query's identifier.
    ident, set_ident: u16 = field::IDENT;
    /// A query's sequence number.
    seq, set_seq: u16 = field::SEQ;
}

impl<'a> Packet<&'a [u8]> {
    /// [`Packet::embedded`], for as long as the buffer lives.
    #[inline]
    pub fn into_embedded(self) -> &'a [u8] {
        &self.0[HEADER_LEN..self.embedded_end()]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// A query's data, an error's embedded packet and extensions.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.0.as_mut()[HEADER_LEN..]
    }

    /// What [`Packet::embedded`] shows.
    #[inline]
    pub fn embedded_mut(&mut self) -> &mut [u8] {
        let end = self.embedded_end();
        &mut self.0.as_mut()[HEADER_LEN..end]
    }

    /// Computes the checksum anew.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.set_checksum(0);
        self.set_checksum(!checksum::sum(self.0.as_ref()));
    }

    /// Updates the checksum for words that were replaced.
    #[inline]
    pub fn apply(&mut self, delta: Delta) {
        match delta.apply(self.checksum()) {
            // An echo reply may have become all zeros, whose checksum is 0xffff. No pseudo header excludes that.
            0 if self.is_zero_but_checksum() => self.set_checksum(0xffff),
            checksum => self.set_checksum(checksum),
        }
    }

    fn is_zero_but_checksum(&self) -> bool {
        self.0.as_ref().iter().enumerate().all(|(at, &octet)| octet == 0 || matches!(at, 2 | 3))
    }
}

mod field {
    pub(super) const TYPE: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: usize = 2;
    pub(super) const REST: usize = 4;
    pub(super) const IDENT: usize = 4;
    pub(super) const EMBEDDED_WORDS: usize = 5;
    pub(super) const SEQ: usize = 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: [u8; 12] = *b"\x08\x00\x8e\xfe\x12\x34\xab\xcd\xaa\x00\x00\xff";

    #[test]
    fn reads_and_writes_a_query() {
        let echo = Packet::new_verified(ECHO).unwrap();
        assert_eq!((echo.ty(), echo.code(), echo.checksum()), (message::ECHO, 0, 0x8efe));
        assert_eq!((echo.ident(), echo.seq(), echo.rest()), (0x1234, 0xabcd, 0x1234_abcd));
        assert_eq!(echo.payload(), b"\xaa\x00\x00\xff");
        let mut written = Packet::new_unchecked([0xee; 12]);
        written.set_ty(message::ECHO);
        written.set_code(0);
        written.set_ident(0x1234);
        written.set_seq(0xabcd);
        written.payload_mut().copy_from_slice(b"\xaa\x00\x00\xff");
        written.fill_checksum();
        assert_eq!(written.0, ECHO);
    }

    #[test]
    fn checks_length_and_checksum() {
        let mut bytes = ECHO;
        bytes[11] = 0;
        assert_eq!(Packet::new_verified(bytes).err(), Some(Error::IcmpChecksum));
        assert!(Packet::new_checked(bytes).is_ok());
        assert_eq!(Packet::new_checked(&bytes[..7]).err(), Some(Error::Truncated));
    }

    #[test]
    fn an_embedded_packet_ends_where_rfc_4884_says() {
        let mut bytes = [0xee; 8 + 32];
        let embedded = |bytes: &mut [u8], ty: u8, words: u8| {
            (bytes[0], bytes[5]) = (ty, words);
            let len = Packet::new_unchecked(&*bytes).embedded().len();
            assert_eq!(Packet::new_unchecked(bytes).embedded_mut().len(), len);
            len
        };
        for ty in [message::UNREACHABLE, message::TIME_EXCEEDED, message::PARAMETER_PROBLEM] {
            assert_eq!(embedded(&mut bytes, ty, 0), 32);
            assert_eq!(embedded(&mut bytes, ty, 5), 20);
            assert_eq!(embedded(&mut bytes, ty, 9), 32);
            assert_eq!(embedded(&mut bytes, ty, 255), 32);
        }
        // The octet is part of a redirect's gateway address.
        assert_eq!(embedded(&mut bytes, message::REDIRECT, 5), 32);
        assert_eq!(embedded(&mut bytes[..8], message::UNREACHABLE, 5), 0);
    }

    #[test]
    fn a_message_that_becomes_all_zeros_keeps_a_right_checksum() {
        let mut reply = Packet::new_unchecked([0; 12]);
        reply.set_ident(0x1234);
        reply.fill_checksum();
        reply.set_ident(0);
        reply.apply(Delta::new().replace_u16(0x1234, 0));
        assert_eq!(reply.checksum(), 0xffff);
        assert!(reply.is_checksum_right());
    }

    #[test]
    fn every_type_is_at_most_one_of_error_request_and_reply() {
        for ty in 0..=u8::MAX {
            assert!(u8::from(is_error(ty)) + u8::from(is_request(ty)) + u8::from(is_reply(ty)) <= 1);
        }
    }
}
