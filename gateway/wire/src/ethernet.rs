//! Ethernet II frames (IEEE 802.3 clause 3, type interpretation), with or without one 802.1Q tag.

use std::fmt;
use std::str::FromStr;

use super::{Error, vlan};

/// Octets of an Ethernet header.
pub const HEADER_LEN: usize = 14;
/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of an 802.1Q customer tag.
pub const VLAN: u16 = 0x8100;
/// EtherType of an 802.1ad service tag.
pub const SERVICE_VLAN: u16 = 0x88a8;

/// A station's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// A group address; broadcast is one.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// An address that a station may have: neither a group's nor zero.
    pub const fn is_station(self) -> bool {
        !self.is_multicast() && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Text that is not six pairs of hexadecimal digits between colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address; write it as 02:00:5e:10:00:01")]
pub struct NotAMac;

impl FromStr for Mac {
    type Err = NotAMac;

    fn from_str(text: &str) -> Result<Mac, NotAMac> {
        let mut octets = [0; 6];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair = pairs.next().filter(|pair| pair.len() == 2).ok_or(NotAMac)?;
            let digit = |digit: u8| char::from(digit).to_digit(16).ok_or(NotAMac);
            let &[high, low] = pair.as_bytes() else { return Err(NotAMac) };
            *octet = (digit(high)? << 4 | digit(low)?) as u8;
        }
        pairs.next().map_or(Ok(Mac(octets)), |_| Err(NotAMac))
    }
}

/// A view over a frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<T>(T);

impl<T: AsRef<[u8]>> Frame<T> {
    /// A view over any buffer; see the panic contract of [`super`].
    pub const fn new_unchecked(buffer: T) -> Frame<T> {
        Frame(buffer)
    }

    /// A view over a buffer that holds at least the header.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    pub fn new_checked(buffer: T) -> Result<Frame<T>, Error> {
        let frame = Frame(buffer);
        frame.check_len()?;
        Ok(frame)
    }

    fn check_len(&self) -> Result<(), Error> {
        if self.0.as_ref().len() < HEADER_LEN { Err(Error::Truncated) } else { Ok(()) }
    }

    /// Destination station.
    pub fn dst(&self) -> Mac {
        mac(self.0.as_ref(), field::DST)
    }

    /// Source station.
    pub fn src(&self) -> Mac {
        mac(self.0.as_ref(), field::SRC)
    }

    /// What follows the header, padding included.
    pub fn payload(&self) -> &[u8] {
        &self.0.as_ref()[HEADER_LEN..]
    }
}

fields! {
    Frame:
    /// What the payload is: [`IPV4`], [`ARP`], [`VLAN`], …
    ethertype, set_ethertype: u16 = field::ETHERTYPE;
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Frame<T> {
    /// Sets the destination station.
    pub fn set_dst(&mut self, mac: Mac) {
        self.0.as_mut()[field::DST..][..6].copy_from_slice(&mac.0);
    }

    /// Sets the source station.
    pub fn set_src(&mut self, mac: Mac) {
        self.0.as_mut()[field::SRC..][..6].copy_from_slice(&mac.0);
    }

    /// What follows the header.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.0.as_mut()[HEADER_LEN..]
    }
}

/// The addresses, tag and type in front of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer2 {
    /// Destination station.
    pub dst: Mac,
    /// Source station.
    pub src: Mac,
    /// VLAN identifier; `None` for an untagged frame and for one that carries a priority only (identifier 0).
    pub vlan: Option<u16>,
    /// What the payload is, behind the tag.
    pub ethertype: u16,
    /// Where the payload starts.
    pub header_len: usize,
}

/// Reads the header and at most one tag.
///
/// # Errors
/// [`Error::Truncated`] when the header or its tag is cut short, [`Error::Vlan`] for a second tag.
#[inline]
pub fn parse(frame: &[u8]) -> Result<Layer2, Error> {
    let outer = Frame::new_checked(frame)?;
    let (dst, src) = (outer.dst(), outer.src());
    match outer.ethertype() {
        VLAN => {
            let tag = vlan::Packet::new_checked(outer.payload())?;
            if matches!(tag.ethertype(), VLAN | SERVICE_VLAN) {
                return Err(Error::Vlan);
            }
            let vlan = Some(tag.vid()).filter(|&vid| vid != 0);
            Ok(Layer2 {
                dst,
                src,
                vlan,
                ethertype: tag.ethertype(),
                header_len: HEADER_LEN + vlan::HEADER_LEN,
            })
        }
        SERVICE_VLAN => Err(Error::Vlan),
        ethertype => Ok(Layer2 { dst, src, vlan: None, ethertype, header_len: HEADER_LEN }),
    }
}

/// Octets in front of a packet that leaves with this VLAN identifier.
pub const fn header_len(vlan: Option<u16>) -> usize {
    match vlan {
        Some(_) => HEADER_LEN + vlan::HEADER_LEN,
        None => HEADER_LEN,
    }
}

/// Writes a header of [`header_len`]`(vlan)` octets at the front of `frame`.
///
/// # Errors
/// [`Error::Truncated`] when `frame` is shorter than that; nothing is written then.
#[inline]
pub fn emit(frame: &mut [u8], dst: Mac, src: Mac, vlan: Option<u16>, ethertype: u16) -> Result<(), Error> {
    if frame.len() < header_len(vlan) {
        return Err(Error::Truncated);
    }
    let mut outer = Frame::new_unchecked(frame);
    outer.set_dst(dst);
    outer.set_src(src);
    match vlan {
        None => outer.set_ethertype(ethertype),
        Some(vid) => {
            outer.set_ethertype(VLAN);
            let mut tag = vlan::Packet::new_unchecked(outer.payload_mut());
            tag.set_vid(vid);
            tag.set_ethertype(ethertype);
        }
    }
    Ok(())
}

pub(super) fn mac(bytes: &[u8], at: usize) -> Mac {
    let b = &bytes[at..at + 6];
    Mac([b[0], b[1], b[2], b[3], b[4], b[5]])
}

mod field {
    pub(super) const DST: usize = 0;
    pub(super) const SRC: usize = 6;
    pub(super) const ETHERTYPE: usize = 12;
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTAGGED: [u8; 16] = *b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45\x00";
    const TAGGED: [u8; 20] =
        *b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x81\x00\xa0\x2a\x08\x06\x00\x01";

    #[test]
    fn reads_an_untagged_frame() {
        let layer2 = parse(&UNTAGGED).unwrap();
        assert_eq!(layer2.dst, Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(layer2.src, Mac([2, 0, 0, 0, 0, 2]));
        assert_eq!((layer2.vlan, layer2.ethertype, layer2.header_len), (None, IPV4, 14));
        assert_eq!(parse(&UNTAGGED[..13]), Err(Error::Truncated));
    }

    #[test]
    fn reads_one_tag_and_refuses_two() {
        let layer2 = parse(&TAGGED).unwrap();
        assert_eq!((layer2.vlan, layer2.ethertype, layer2.header_len), (Some(42), ARP, 18));
        assert_eq!(parse(&TAGGED[..17]), Err(Error::Truncated));
        let mut twice = TAGGED;
        twice[16..18].copy_from_slice(&VLAN.to_be_bytes());
        assert_eq!(parse(&twice), Err(Error::Vlan));
        twice[12..14].copy_from_slice(&SERVICE_VLAN.to_be_bytes());
        assert_eq!(parse(&twice), Err(Error::Vlan));
    }

    #[test]
    fn a_priority_tag_names_no_vlan() {
        let mut frame = TAGGED;
        frame[14..16].copy_from_slice(&[0xe0, 0]);
        assert_eq!(parse(&frame).unwrap().vlan, None);
    }

    #[test]
    fn writes_what_it_reads() {
        for vlan in [None, Some(42)] {
            let mut frame = [0xee; 18];
            let (dst, src) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
            emit(&mut frame, dst, src, vlan, IPV4).unwrap();
            let expected = Layer2 { dst, src, vlan, ethertype: IPV4, header_len: header_len(vlan) };
            assert_eq!(parse(&frame), Ok(expected));
            assert_eq!(emit(&mut frame[..13], dst, src, vlan, IPV4), Err(Error::Truncated));
        }
    }

    #[test]
    fn mac_text_goes_both_ways() {
        let mac: Mac = "02:00:5E:10:00:01".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:01");
        for wrong in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "2:0:5e:10:0:1",
            "+2:00:5e:10:00:01",
            "é:00:5e:10:00:01",
        ] {
            assert_eq!(wrong.parse::<Mac>(), Err(NotAMac), "{wrong}");
        }
        assert!(Mac::BROADCAST.is_multicast() && !mac.is_multicast() && mac.is_station());
        assert!(!Mac::default().is_station());
    }
}
