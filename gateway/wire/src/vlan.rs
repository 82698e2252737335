//! One 802.1Q tag: the four octets behind an EtherType of 0x8100.

use super::Error;
use super::fields::{read, write};

/// Octets of a tag, its inner EtherType included.
pub const HEADER_LEN: usize = 4;
/// The highest VLAN identifier that a network may use (IEEE 802.1Q table 9-2: 4095 is reserved).
pub const VID_MAX: u16 = 4094;

/// A view over a tag and what it carries.
#[derive(Clone, Copy, Debug)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view over any buffer; see the panic contract of [`super`].
    pub const fn new_unchecked(buffer: T) -> Packet<T> {
        Packet(buffer)
    }

    /// A view over a buffer that holds at least the tag.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn new_checked(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    fn check_len(&self) -> Result<(), Error> {
        if self.0.as_ref().len() < HEADER_LEN { Err(Error::Truncated) } else { Ok(()) }
    }

    /// VLAN identifier; 0 marks a tag that carries a priority only.
    pub fn vid(&self) -> u16 {
        read::<u16>(self.0.as_ref(), field::CONTROL) & 0xfff
    }

    /// What follows the tag.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..]
    }
}

fields! {
    Packet:
    /// What the payload is.
    ethertype, set_ethertype: u16 = field::ETHERTYPE;
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Sets the VLAN identifier, with priority 0 and not drop eligible.
    pub fn set_vid(&mut self, vid: u16) {
        write(self.0.as_mut(), field::CONTROL, vid & 0xfff);
    }
}

mod field {
    pub(super) const CONTROL: usize = 0;
    pub(super) const ETHERTYPE: usize = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_a_tag() {
        let mut bytes = *b"\xb0\x2a\x08\x00\x45";
        let mut tag = Packet::new_checked(&mut bytes[..]).unwrap();
        assert_eq!((tag.vid(), tag.ethertype(), tag.payload()), (42, 0x0800, &b"\x45"[..]));
        tag.set_vid(0x1fff);
        tag.set_ethertype(0x0806);
        assert_eq!(&bytes, b"\x0f\xff\x08\x06\x45");
        assert_eq!(Packet::new_checked(&bytes[..3]).err(), Some(Error::Truncated));
    }
}
