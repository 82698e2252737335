//! The client's end of a memif connection, no more of it than is needed to come, send and go many times a second.
//!
//! Of the shared memory only one buffer in each direction exists: all slots of a ring refer to the same one.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, socket};

/// A connection that frames can be sent over. Dropped, it is gone without a word, as after a crash.
pub struct Peer {
    socket: OwnedFd,
    region: File,
}

impl Peer {
    /// Connects to interface `id` of the server at `path`; every slot of the ring to it holds `frame`.
    pub fn connect(path: &Path, id: u32, frame: &[u8]) -> io::Result<Peer> {
        let socket = connected(path)?;
        let region = File::from(memfd_create(c"peer", MFdFlags::MFD_CLOEXEC)?);
        region.set_len(REGION_LEN)?;
        for (ring, buffer) in [(TO_SERVER, BUFFERS), (FROM_SERVER, BUFFERS + BUFFER_LEN)] {
            region.write_all_at(&COOKIE.to_le_bytes(), ring)?;
            // No interrupts: both ends poll.
            region.write_all_at(&1u16.to_le_bytes(), ring + 4)?;
            let len = if ring == TO_SERVER { frame.len() as u64 } else { BUFFER_LEN };
            region.write_all_at(&descriptor(len as u32, buffer as u32).repeat(SLOTS.into()), ring + 128)?;
        }
        region.write_all_at(frame, BUFFERS)?;
        let peer = Peer { socket, region };
        peer.shake_hands(id)?;
        peer.set(FROM_SERVER + HEAD, SLOTS)?;
        Ok(peer)
    }

    fn shake_hands(&self, id: u32) -> io::Result<()> {
        self.expect(HELLO)?;
        let mut init = [0; 7];
        init[..2].copy_from_slice(&VERSION.to_le_bytes());
        init[2..6].copy_from_slice(&id.to_le_bytes());
        self.send(INIT, &init, None)?;
        self.expect(ACK)?;
        let region = [&[0, 0][..], &REGION_LEN.to_le_bytes()].concat();
        self.send(ADD_REGION, &region, Some(self.region.as_raw_fd()))?;
        self.expect(ACK)?;
        for (flags, ring) in [(1u16, TO_SERVER), (0, FROM_SERVER)] {
            let (offset, log2) = ((ring as u32).to_le_bytes(), [SLOTS.trailing_zeros() as u8]);
            let body = [&flags.to_le_bytes()[..], &[0; 4], &offset, &log2, &[0; 2]].concat();
            self.send(ADD_RING, &body, Some(self.region.as_raw_fd()))?;
            self.expect(ACK)?;
        }
        self.send(CONNECT, &[], None)?;
        self.expect(CONNECTED)
    }

    /// Fills the ring to the server again, and gives it the other one's slots back; how many frames it has taken so far.
    pub fn load(&self) -> io::Result<u16> {
        let taken = self.get(TO_SERVER + TAIL)?;
        self.set(TO_SERVER + HEAD, taken.wrapping_add(SLOTS))?;
        let sent = self.get(FROM_SERVER + TAIL)?;
        self.set(FROM_SERVER + HEAD, sent.wrapping_add(SLOTS))?;
        Ok(taken)
    }

    /// How many frames the server has sent.
    pub fn received(&self) -> io::Result<u16> {
        self.get(FROM_SERVER + TAIL)
    }

    /// Says that it goes.
    pub fn leave(self) -> io::Result<()> {
        self.send(DISCONNECT, &[], None)
    }

    fn get(&self, at: u64) -> io::Result<u16> {
        let mut value = [0; 2];
        self.region.read_exact_at(&mut value, at)?;
        Ok(u16::from_le_bytes(value))
    }

    fn set(&self, at: u64, value: u16) -> io::Result<()> {
        self.region.write_all_at(&value.to_le_bytes(), at)
    }

    fn send(&self, kind: u16, body: &[u8], descriptor: Option<RawFd>) -> io::Result<()> {
        let mut message = [0; MESSAGE_LEN];
        message[..2].copy_from_slice(&kind.to_le_bytes());
        message[2..2 + body.len()].copy_from_slice(body);
        let mut part = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: MESSAGE_LEN };
        let mut rights = [0u64; 4];
        // SAFETY: all zero is a message without parts and rights. It gets one part, and room for one descriptor, both of which
        // outlive the call; the room is aligned as a control message has to be, and large enough for it.
        let sent = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &mut part;
            header.msg_iovlen = 1;
            if let Some(descriptor) = descriptor {
                let len = size_of::<RawFd>() as u32;
                header.msg_control = rights.as_mut_ptr().cast();
                header.msg_controllen = libc::CMSG_SPACE(len) as _;
                let control = libc::CMSG_FIRSTHDR(&header);
                (*control).cmsg_level = libc::SOL_SOCKET;
                (*control).cmsg_type = libc::SCM_RIGHTS;
                (*control).cmsg_len = libc::CMSG_LEN(len) as _;
                libc::CMSG_DATA(control).cast::<RawFd>().write_unaligned(descriptor);
            }
            libc::sendmsg(self.socket.as_raw_fd(), &header, libc::MSG_NOSIGNAL)
        };
        if sent == MESSAGE_LEN as isize { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn expect(&self, kind: u16) -> io::Result<()> {
        let mut message = [0; MESSAGE_LEN];
        let len = recv(self.socket.as_raw_fd(), &mut message, MsgFlags::empty())?;
        if len == MESSAGE_LEN && message[..2] == kind.to_le_bytes() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&message[6..]).trim_end_matches('\0').to_owned();
        Err(io::Error::other(format!("{len} octets, type {} instead of {kind}: {said}", message[0])))
    }
}

/// A connection of which the server knows nothing yet.
pub fn connected(path: &Path) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

fn descriptor(len: u32, offset: u32) -> Vec<u8> {
    [&[0; 4][..], &len.to_le_bytes(), &offset.to_le_bytes(), &[0; 4]].concat()
}

const VERSION: u16 = 2 << 8;
const COOKIE: u32 = 0x3e3_1f20;
const MESSAGE_LEN: usize = 128;

const ACK: u16 = 1;
const HELLO: u16 = 2;
const INIT: u16 = 3;
const ADD_REGION: u16 = 4;
const ADD_RING: u16 = 5;
const CONNECT: u16 = 6;
const CONNECTED: u16 = 7;
const DISCONNECT: u16 = 8;

const SLOTS: u16 = 1 << 10;
const RING_LEN: u64 = 128 + 16 * SLOTS as u64;
const HEAD: u64 = 6;
const TAIL: u64 = 64;
const TO_SERVER: u64 = 0;
const FROM_SERVER: u64 = RING_LEN;
const BUFFERS: u64 = 2 * RING_LEN;
const BUFFER_LEN: u64 = 2048;
const REGION_LEN: u64 = BUFFERS + 2 * BUFFER_LEN;
