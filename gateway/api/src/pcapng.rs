//! Blocks of a pcapng file (draft-ietf-opsawg-pcapng), as they are written for captures, and told apart in a stream.
//!
//! ```text
//! | type | total length | body, options | total length |
//! ```
//!
//! Words are little-endian; everything is padded to whole words of four octets. Times are nanoseconds since 1970.

/// Block types.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// Options: of any block, of section headers, interfaces, packets and statistics.
const COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFDROP: u16 = 5;
const ISB_FILTERACCEPT: u16 = 6;

/// Frames are Ethernet's (LINKTYPE_ETHERNET).
const ETHERNET: u16 = 1;
/// Times count units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// What stands in for words that say which byte order the others have.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// Which way a frame went, where it went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heading {
    /// In from the link.
    Inbound = 1,
    /// Out to the link.
    Outbound = 2,
}

/// A frame to write.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The place of its interface among those of the section.
    pub interface: u32,
    /// When.
    pub time_ns: u64,
    /// Octets of the frame as it was.
    pub frame_len: usize,
    /// Its first octets.
    pub data: &'a [u8],
    /// Which way it went.
    pub heading: Option<Heading>,
    /// What there is to say about it.
    pub comment: &'a str,
}

/// What became of the frames of one interface that the filter accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// All of them.
    pub accepted: u64,
    /// Those that are not in the file.
    pub missed: u64,
}

/// Appends the block that a file begins with.
pub fn section_header(out: &mut Vec<u8>, application: &str) {
    block(out, SECTION_HEADER, |out| {
        out.extend(BYTE_ORDER.to_le_bytes());
        // Version 1.0, of a section whose length nobody knows yet.
        [1_u16, 0].iter().for_each(|half| out.extend(half.to_le_bytes()));
        out.extend(u64::MAX.to_le_bytes());
        option(out, SHB_USERAPPL, application.as_bytes());
    });
}

/// Appends an interface; the first one has place 0.
pub fn interface(out: &mut Vec<u8>, name: &str, description: &str, snap_len: u32) {
    block(out, INTERFACE, |out| {
        [ETHERNET, 0].iter().for_each(|half| out.extend(half.to_le_bytes()));
        out.extend(snap_len.to_le_bytes());
        option(out, IF_NAME, name.as_bytes());
        option(out, IF_DESCRIPTION, description.as_bytes());
        option(out, IF_TSRESOL, &[NANOSECONDS]);
    });
}

/// Appends a frame.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    block(out, PACKET, |out| {
        out.extend(packet.interface.to_le_bytes());
        time(out, packet.time_ns);
        [packet.data.len(), packet.frame_len].iter().for_each(|&len| out.extend((len as u32).to_le_bytes()));
        padded(out, packet.data);
        if let Some(heading) = packet.heading {
            option(out, EPB_FLAGS, &(heading as u32).to_le_bytes());
        }
        option(out, COMMENT, packet.comment.as_bytes());
    });
}

/// Appends what has been counted at an interface up to now.
pub fn statistics(out: &mut Vec<u8>, interface: u32, time_ns: u64, counted: &Statistics) {
    block(out, STATISTICS, |out| {
        out.extend(interface.to_le_bytes());
        time(out, time_ns);
        option(out, ISB_IFDROP, &counted.missed.to_le_bytes());
        option(out, ISB_FILTERACCEPT, &counted.accepted.to_le_bytes());
    });
}

fn block(out: &mut Vec<u8>, ty: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(ty.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    // The end of the options.
    out.extend([0; 4]);
    let len = ((out.len() - start + 4) as u32).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&len);
    out.extend(len);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    padded(out, value);
}

fn padded(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// High word first, whatever the byte order.
fn time(out: &mut Vec<u8>, time_ns: u64) {
    out.extend(((time_ns >> 32) as u32).to_le_bytes());
    out.extend((time_ns as u32).to_le_bytes());
}

/// Takes a stream apart into whole blocks, and adds up what it says.
#[derive(Debug, Default)]
pub struct Blocks {
    /// What has come of a block that is not whole yet.
    rest: Vec<u8>,
    frames: u64,
    /// By interface, as told last.
    statistics: Vec<Statistics>,
}

/// The stream is not of whole blocks in our byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a pcapng stream")]
pub struct Malformed;

impl Blocks {
    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames that are missing, as far as the stream has told.
    pub fn missed(&self) -> u64 {
        self.statistics.iter().map(|counted| counted.missed).sum()
    }

    /// Takes what comes next; gives the blocks that are whole by now.
    ///
    /// # Errors
    /// [`Malformed`]; what follows makes no sense.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        self.rest.extend(bytes);
        let mut whole = 0;
        while let Some(block) = first_block(&self.rest[whole..])? {
            let (len, ty, body) = (block.len(), word(block, 0), &block[8..block.len() - 4]);
            match ty {
                Some(PACKET) => self.frames += 1,
                Some(STATISTICS) => read_statistics(body, &mut self.statistics).ok_or(Malformed)?,
                _ => {}
            }
            whole += len;
        }
        Ok(self.rest.drain(..whole).collect())
    }
}

/// The block that bytes begin with, where all of it is there.
fn first_block(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let Some(len) = word(bytes, 4) else { return Ok(None) };
    if len < 12 || !len.is_multiple_of(4) || len > BLOCK_LEN_MAX {
        return Err(Malformed);
    }
    Ok(bytes.get(..len as usize))
}

/// The longest block that makes sense: a frame of the largest kind with a long comment.
const BLOCK_LEN_MAX: u32 = 1 << 18;

fn read_statistics(body: &[u8], statistics: &mut Vec<Statistics>) -> Option<()> {
    let interface = word(body, 0)? as usize;
    if interface >= INTERFACES_MAX {
        return None;
    }
    statistics.resize(statistics.len().max(interface + 1), Statistics::default());
    let mut options = body.get(12..)?;
    while let Some(head) = word(options, 0) {
        let (code, len) = (head as u16, (head >> 16) as usize);
        let value = options.get(4..4 + len)?;
        let number = || value.try_into().ok().map(u64::from_le_bytes);
        match code {
            ISB_IFDROP => statistics[interface].missed = number()?,
            ISB_FILTERACCEPT => statistics[interface].accepted = number()?,
            _ => {}
        }
        options = options.get(4 + len.next_multiple_of(4)..)?;
    }
    Some(())
}

/// Interfaces of a section.
const INTERFACES_MAX: usize = 1 << 12;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let mut out = Vec::new();
        section_header(&mut out, "gw");
        interface(&mut out, "inside", "inside", 96);
        let heading = Some(Heading::Inbound);
        let time_ns = 0x0102_0304_0506_0708;
        packet(
            &mut out,
            &Packet { interface: 0, time_ns, frame_len: 60, data: b"\xaa\xbb\xcc", heading, comment: "why" },
        );
        statistics(&mut out, 0, time_ns, &Statistics { accepted: 3, missed: 2 });
        out
    }

    #[test]
    #[rustfmt::skip]
    fn blocks_lie_as_the_format_says() {
        let expected: &[u8] = &[
            // Section header: byte order, version 1.0, no length; application "gw".
            0x0a, 0x0d, 0x0d, 0x0a, 40, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0,
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            4, 0, 2, 0, b'g', b'w', 0, 0, 0, 0, 0, 0, 40, 0, 0, 0,
            // Interface: Ethernet, 96 octets a frame; name, description, nanoseconds.
            1, 0, 0, 0, 56, 0, 0, 0, 1, 0, 0, 0, 96, 0, 0, 0,
            2, 0, 6, 0, b'i', b'n', b's', b'i', b'd', b'e', 0, 0,
            3, 0, 6, 0, b'i', b'n', b's', b'i', b'd', b'e', 0, 0,
            9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 56, 0, 0, 0,
            // Packet: interface 0, time, 3 of 60 octets; inbound; comment "why".
            6, 0, 0, 0, 56, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5, 3, 0, 0, 0, 60, 0, 0, 0,
            0xaa, 0xbb, 0xcc, 0, 2, 0, 4, 0, 1, 0, 0, 0, 1, 0, 3, 0, b'w', b'h', b'y', 0,
            0, 0, 0, 0, 56, 0, 0, 0,
            // Statistics of interface 0: 2 missed of 3.
            5, 0, 0, 0, 52, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5,
            5, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 6, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 52, 0, 0, 0,
        ];
        assert_eq!(file(), expected);
    }

    #[test]
    fn whole_blocks_come_out_of_any_pieces() {
        let file = file();
        for piece in 1..=file.len() {
            let mut blocks = Blocks::default();
            let out: Vec<u8> = file.chunks(piece).flat_map(|bytes| blocks.take(bytes).unwrap()).collect();
            assert_eq!(out, file);
            assert_eq!((blocks.frames(), blocks.missed()), (1, 2));
        }
        let mut cut = Blocks::default();
        assert_eq!(cut.take(&file[..file.len() - 1]).unwrap().len(), file.len() - 52, "a block short");
    }

    #[test]
    fn other_streams_are_refused() {
        for bytes in
            [&b"{\"type\":\"about:blank\"}"[..], &[6, 0, 0, 0, 8, 0, 0, 0], &[5, 0, 0, 0, 13, 0, 0, 0]]
        {
            assert_eq!(Blocks::default().take(bytes), Err(Malformed));
        }
        let short = [5, 0, 0, 0, 12, 0, 0, 0, 12, 0, 0, 0];
        assert_eq!(Blocks::default().take(&short), Err(Malformed));
    }
}
