//! ARP between Ethernet and IPv4 (RFC 826).

use std::net::Ipv4Addr;

use super::Error;
use super::ethernet::{self, Mac};
use super::fields::read;

/// Octets of an Ethernet/IPv4 ARP packet.
pub const LEN: usize = 28;

/// What an ARP packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Operation {
    /// Who has the target's protocol address?
    Request = 1,
    /// The sender has.
    Reply = 2,
}

/// A view over an ARP packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view over any buffer; see the panic contract of [`super`].
    pub const fn new_unchecked(buffer: T) -> Packet<T> {
        Packet(buffer)
    }

    /// A view over a buffer that holds a request or reply between Ethernet and IPv4; padding may follow.
    ///
    /// # Errors
    /// [`Error::Truncated`], or [`Error::Arp`] for other hardware, protocols, address lengths and operations.
    pub fn new_checked(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    fn check_len(&self) -> Result<(), Error> {
        let bytes = self.0.as_ref();
        if bytes.len() < LEN {
            return Err(Error::Truncated);
        }
        let kinds =
            bytes[..field::OPERATION] == KINDS && matches!(bytes[field::OPERATION..field::SHA], [0, 1 | 2]);
        if kinds { Ok(()) } else { Err(Error::Arp) }
    }

    /// Request, or (anything else) reply.
    pub fn operation(&self) -> Operation {
        match read::<u16>(self.0.as_ref(), field::OPERATION) {
            1 => Operation::Request,
            _ => Operation::Reply,
        }
    }

    /// Sender's hardware address.
    pub fn sha(&self) -> Mac {
        self.mac(field::SHA)
    }

    /// Sender's protocol address.
    pub fn spa(&self) -> Ipv4Addr {
        read::<u32>(self.0.as_ref(), field::SPA).into()
    }

    /// Target's hardware address; means nothing in a request.
    pub fn tha(&self) -> Mac {
        self.mac(field::THA)
    }

    /// Target's protocol address.
    pub fn tpa(&self) -> Ipv4Addr {
        read::<u32>(self.0.as_ref(), field::TPA).into()
    }

    fn mac(&self, at: usize) -> Mac {
        ethernet::mac(self.0.as_ref(), at)
    }
}

/// What an ARP packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Request or reply.
    pub op: Operation,
    /// Sender's hardware address.
    pub sha: Mac,
    /// Sender's protocol address; zero in a probe (RFC 5227 section 1.1).
    pub spa: Ipv4Addr,
    /// Target's hardware address; means nothing in a request.
    pub tha: Mac,
    /// Target's protocol address.
    pub tpa: Ipv4Addr,
}

impl Repr {
    /// Reads a packet.
    ///
    /// # Errors
    /// As [`Packet::new_checked`].
    pub fn parse(bytes: &[u8]) -> Result<Repr, Error> {
        let packet = Packet::new_checked(bytes)?;
        let (sha, tha) = (packet.sha(), packet.tha());
        Ok(Repr { op: packet.operation(), sha, spa: packet.spa(), tha, tpa: packet.tpa() })
    }

    /// The packet's bytes.
    pub fn emit(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..field::OPERATION].copy_from_slice(&KINDS);
        bytes[field::OPERATION..field::SHA].copy_from_slice(&(self.op as u16).to_be_bytes());
        bytes[field::SHA..field::SPA].copy_from_slice(&self.sha.0);
        bytes[field::SPA..field::THA].copy_from_slice(&self.spa.octets());
        bytes[field::THA..field::TPA].copy_from_slice(&self.tha.0);
        bytes[field::TPA..].copy_from_slice(&self.tpa.octets());
        bytes
    }

    /// An ARP request for `tpa`.
    pub fn request(sha: Mac, spa: Ipv4Addr, tpa: Ipv4Addr) -> Repr {
        Repr { op: Operation::Request, sha, spa, tha: Mac::default(), tpa }
    }

    /// The answer to this request: `sha` has what it asked for.
    #[must_use]
    pub fn reply(&self, sha: Mac) -> Repr {
        Repr { op: Operation::Reply, sha, spa: self.tpa, tha: self.sha, tpa: self.spa }
    }
}

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const KINDS: [u8; 6] = [0, 1, 8, 0, 6, 4];

mod field {
    pub(super) const OPERATION: usize = 6;
    pub(super) const SHA: usize = 8;
    pub(super) const SPA: usize = 14;
    pub(super) const THA: usize = 18;
    pub(super) const TPA: usize = 24;
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 28] = *b"\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x0a\x0a\x40\x00\x02\
        \x00\x00\x00\x00\x00\x00\x0a\x40\x00\x01";

    #[test]
    fn reads_and_writes_a_request() {
        let mac = Mac([2, 0, 0, 0, 0, 10]);
        let repr = Repr::parse(&REQUEST).unwrap();
        assert_eq!(repr, Repr::request(mac, [10, 64, 0, 2].into(), [10, 64, 0, 1].into()));
        assert_eq!(repr.emit(), REQUEST);
    }

    #[test]
    fn answers_the_asker() {
        let reply = Repr::parse(&REQUEST).unwrap().reply(Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(
            reply.emit(),
            *b"\x00\x01\x08\x00\x06\x04\x00\x02\x02\x00\x00\x00\x00\x01\x0a\x40\x00\x01\
               \x02\x00\x00\x00\x00\x0a\x0a\x40\x00\x02"
        );
    }

    #[test]
    fn refuses_what_is_not_ethernet_and_ipv4() {
        assert_eq!(Repr::parse(&REQUEST[..27]), Err(Error::Truncated));
        for at in 0..8 {
            let mut bytes = REQUEST;
            bytes[at] ^= 0x40;
            assert_eq!(Repr::parse(&bytes), Err(Error::Arp), "octet {at}");
        }
    }
}
