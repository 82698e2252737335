//! The packet inside an ICMP error (RFC 5508 section 4).

use crate::packet::endpoint::Ends;
use crate::packet::ip_protocol::IpProtocol;
use crate::packet::parse::channel;
use crate::packet::verdict::{DropReason, Protocol};
use natgw_wire::ipv4;

/// The packet inside an error, as far as it is there.
pub(crate) struct Embedded {
    /// As the packet was on its way.
    pub(crate) ends: Ends,
    pub(crate) protocol: Protocol,
    pub(crate) header_len: usize,
    pub(crate) is_checksum_right: bool,
}

/// Reads the embedded packet; its layer 4 checksum is not looked at, its options are stepped over (RFC 5508 REQ-3).
pub(crate) fn embedded(bytes: &[u8]) -> Result<Embedded, DropReason> {
    let header = ipv4::Packet::new_header(bytes).map_err(|_| DropReason::IcmpEmbedded)?;
    if header.frag_offset() != 0 {
        return Err(DropReason::IcmpEmbedded);
    }
    let header_len = header.header_len();
    let number = IpProtocol(header.protocol());
    let (protocol, channel) = channel(number, &bytes[header_len..]).map_err(|_| DropReason::IcmpEmbedded)?;
    let ends = channel.between(header.src_bits(), header.dst_bits());
    Ok(Embedded { ends, protocol, header_len, is_checksum_right: header.is_checksum_right() })
}
