//! Flags of TCP segments (RFC 9293 section 3.1).

/// Flag bits of the TCP header's byte 13.
pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// Whether no sequence of RFC 9293 contains these flags.
#[inline(always)]
pub(crate) fn is_nonsense(flags: u8) -> bool {
    NONSENSE >> (flags & 0x1f) & 1 != 0
}

/// Bit `flags & 0x1f` is set where none of SYN, FIN, RST and ACK is, or SYN with FIN or RST.
const NONSENSE: u32 = {
    let mut nonsense = 0;
    let mut flags = 0;
    while flags < 0x20 {
        let none = flags & (SYN | FIN | RST | ACK) == 0;
        if none || flags & SYN != 0 && flags & (FIN | RST) != 0 {
            nonsense |= 1 << flags;
        }
        flags += 1;
    }
    nonsense
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_flags() {
        assert!(is_nonsense(0) && is_nonsense(SYN | FIN) && is_nonsense(SYN | RST) && is_nonsense(0x08));
        assert!(!is_nonsense(SYN) && !is_nonsense(RST) && !is_nonsense(ACK) && !is_nonsense(FIN | ACK));
    }
}
