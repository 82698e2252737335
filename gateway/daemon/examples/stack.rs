//! A host built by hand from the library's parts, over one port: Ethernet, ARP, IPv4, ICMP echo.
//!
//! ```text
//! port ─► ethernet ─┬─► arp: who has our address? ──────┬─► port
//!                   └─► ipv4: ours? ─► icmp: an echo? ──┘
//! ```
//!
//! Each layer reads its own header, hands the rest up, and turns what comes back into an answer, in the very buffer
//! that the port received into. Nothing is copied and nothing is allocated.
//!
//! ```sh
//! sudo cargo run --package nat-gateway --example stack -- net_tap0,iface=stack0 10.9.0.1 &
//! sudo ip address add 10.9.0.2/24 dev stack0
//! ping 10.9.0.1
//! ```

use std::net::Ipv4Addr;
use std::time::Duration;
use std::{env, error, thread};

use natgw_dpdk::{Burst, Eal, EalArgs, Mbuf, Memory, Mempool, Port, PortConfig, RxQueue, TxQueue};
use natgw_wire::arp::{self, Operation};
use natgw_wire::ethernet::{self, Mac};
use natgw_wire::{icmpv4, ipv4};

fn main() -> Result<(), Box<dyn error::Error>> {
    let device = env::args().nth(1).unwrap_or("net_tap0,iface=stack0".into());
    let address = env::args().nth(2).unwrap_or("10.9.0.1".into()).parse()?;

    let (memory, file_prefix) = (Memory::NoHuge, "stack".into());
    let eal = Eal::init(&EalArgs { memory, memory_mib: 64, file_prefix, ..EalArgs::default() })?;
    let pool = Mempool::new(&eal, "packets", 4095, 256, Mempool::DATA_ROOM)?;
    let port = Port::open(&eal, &device)?.start(&PortConfig::default(), &[pool])?;
    let mut rx = port.take_rx_queue(0).ok_or("no receive queue")?;
    let mut tx = port.take_tx_queue(0).ok_or("no transmit queue")?;

    let stack = Stack { mac: Mac(port.mac()?), address };
    println!("{} is {address}, {}", port.name(), stack.mac);
    loop {
        if stack.poll(&mut rx, &mut tx) == 0 {
            thread::sleep(Duration::from_micros(50));
        }
    }
}

/// A host with one address on each layer.
pub(crate) struct Stack {
    pub(crate) mac: Mac,
    pub(crate) address: Ipv4Addr,
}

impl Stack {
    /// Takes a burst from the port and sends the answers. What is not answered is freed with its burst, and so is what
    /// the port does not take.
    pub(crate) fn poll(&self, rx: &mut RxQueue, tx: &mut TxQueue) -> usize {
        let (mut arrived, mut answers) = (Burst::new(), Burst::new());
        let count = rx.receive(&mut arrived);
        for mut frame in arrived.drain() {
            if self.ethernet(&mut frame).is_some() {
                answers.push(frame).expect("no more answers than frames");
            }
        }
        tx.send(&mut answers);
        count
    }

    /// Turns a frame into its answer, if there is one.
    fn ethernet(&self, frame: &mut Mbuf) -> Option<()> {
        let header = ethernet::parse(frame.data()).ok()?;
        let payload = &mut frame.data_mut()[header.header_len..];
        let answer_len = match header.ethertype {
            ethernet::ARP => self.arp(payload)?,
            ethernet::IPV4 if header.dst == self.mac => self.ipv4(payload)?,
            _ => return None,
        };
        frame.set_len(header.header_len + answer_len);
        ethernet::emit(frame.data_mut(), header.src, self.mac, header.vlan, header.ethertype).ok()
    }

    /// "Who has our address?" becomes "we have".
    fn arp(&self, message: &mut [u8]) -> Option<usize> {
        let asked = arp::Repr::parse(message).ok()?;
        if asked.op != Operation::Request || asked.tpa != self.address {
            return None;
        }
        message[..arp::LEN].copy_from_slice(&asked.reply(self.mac).emit());
        Some(arp::LEN)
    }

    /// An echo to our address becomes its reply.
    fn ipv4(&self, packet: &mut [u8]) -> Option<usize> {
        let header = ipv4::Packet::new_verified(&*packet).ok()?;
        if header.dst() == self.address { icmpv4::echo_reply(packet) } else { None }
    }
}
