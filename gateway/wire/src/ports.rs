//! The ports of TCP and UDP, which are the first four octets of both headers. RFC 792 promises eight octets of the packet
//! that an ICMP error embeds, so the ports are there, and they are enough to find its session.

use super::Error;

/// Octets of both ports.
pub const LEN: usize = 4;

/// A view over the start of a TCP or UDP header.
#[derive(Clone, Copy, Debug)]
pub struct Packet<T>(T);

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view over any buffer; see the panic contract of [`super`].
    #[inline]
    pub const fn new_unchecked(buffer: T) -> Packet<T> {
        Packet(buffer)
    }

    /// A view over a buffer that holds both ports.
    ///
    /// # Errors
    /// [`Error::Truncated`].
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Packet<T>, Error> {
        let packet = Packet(buffer);
        packet.check_len()?;
        Ok(packet)
    }

    fn check_len(&self) -> Result<(), Error> {
        if self.0.as_ref().len() < LEN { Err(Error::Truncated) } else { Ok(()) }
    }
}

fields! {
    Packet:
    /// Source port.
    src_port, set_src_port: u16 = field::SRC;
    /// Destination port.
    dst_port, set_dst_port: u16 = field::DST;
}

mod field {
    pub(super) const SRC: usize = 0;
    pub(super) const DST: usize = 2;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_ports() {
        let mut bytes = *b"\x04\x00\x00\x35\xff";
        let mut ports = Packet::new_checked(&mut bytes[..]).unwrap();
        assert_eq!((ports.src_port(), ports.dst_port()), (1024, 53));
        ports.set_src_port(0x1122);
        ports.set_dst_port(0x3344);
        assert_eq!(&bytes, b"\x11\x22\x33\x44\xff");
        assert_eq!(Packet::new_checked(&bytes[..3]).err(), Some(Error::Truncated));
    }
}
