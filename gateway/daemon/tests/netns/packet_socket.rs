//! Whole frames, sent past the kernel's own stack (AF_PACKET).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};

use crate::frame::Mac;
use crate::namespace::Namespace;

/// A packet socket on one interface.
pub(crate) struct PacketSocket {
    socket: OwnedFd,
    interface: LinkAddr,
}

impl PacketSocket {
    /// A socket on the interface `eth0` of `namespace`.
    pub(crate) fn new(namespace: &Namespace) -> PacketSocket {
        namespace.enter(|| {
            let link = |address: nix::ifaddrs::InterfaceAddress| {
                (address.interface_name == "eth0")
                    .then_some(address.address?.as_link_addr().copied())
                    .flatten()
            };
            let interface = getifaddrs().expect("interfaces").find_map(link).expect("eth0");
            // Without a protocol it sends only, and nothing piles up in it.
            let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None);
            PacketSocket { socket: socket.expect("root may open packet sockets"), interface }
        })
    }

    /// The interface's own address.
    pub(crate) fn mac(&self) -> Mac {
        self.interface.addr().expect("an Ethernet interface")
    }

    /// Sends a frame; a full queue is waited for.
    pub(crate) fn send(&self, frame: &[u8]) {
        while let Err(e) = sendto(self.socket.as_raw_fd(), frame, &self.interface, MsgFlags::empty()) {
            assert!(matches!(e, Errno::ENOBUFS | Errno::EINTR), "a frame of {} bytes: {e}", frame.len());
        }
    }
}
