//! The hand-built stack of `examples/stack.rs`, on a port made of rings.

#[path = "../../dpdk/tests/dpdk_support/mod.rs"]
mod dpdk_support;

#[path = "../examples/stack.rs"]
#[allow(dead_code)]
mod example;

use std::net::Ipv4Addr;

use dpdk_support::{eal, pool};
use natgw_dpdk::{Burst, Consumer, Mbuf, Mempool, Port, PortConfig, Producer, RxQueue, TxQueue, ring};
use natgw_neighbor::arp::{self, Sender};
use natgw_wire::arp::{Operation, Repr};
use natgw_wire::ethernet::{self, Mac};
use natgw_wire::{icmpv4, ipv4};

const PEER: Mac = Mac([2, 0, 0, 0, 0, 9]);
const PEERS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// The stack's port, and the other end of its wire.
struct Bench {
    stack: example::Stack,
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    to: Producer,
    from: Consumer,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let pool = pool(name);
        let (to, rx) = ring(eal(), &format!("{name}-rx"), 64).unwrap();
        let (tx, from) = ring(eal(), &format!("{name}-tx"), 64).unwrap();
        let port = Port::from_rings(eal(), name, vec![rx], vec![tx]).unwrap();
        let port = port.start(&PortConfig::default(), std::slice::from_ref(&pool)).unwrap();
        let stack = example::Stack { mac: Mac(port.mac().unwrap()), address: ADDRESS };
        let (rx, tx) = (port.take_rx_queue(0).unwrap(), port.take_tx_queue(0).unwrap());
        Bench { stack, rx, tx, pool, to, from }
    }

    /// What the stack answers to a frame.
    fn exchange(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let mut packet = self.pool.alloc().unwrap();
        assert!(packet.set_len(frame.len()));
        packet.data_mut().copy_from_slice(frame);
        let mut burst = Burst::new();
        burst.push(packet).unwrap();
        assert_eq!(self.to.send(&mut burst), 1);
        assert_eq!(self.stack.poll(&mut self.rx, &mut self.tx), 1);
        self.from.receive(&mut burst);
        let answer = burst.pop().map(|packet: Mbuf| packet.data().to_vec());
        assert!(burst.is_empty());
        assert_eq!(self.pool.in_use(), 0, "every buffer is back");
        answer
    }
}

#[test]
fn a_question_for_its_address_is_answered() {
    let mut bench = Bench::new("stack-arp");
    let peer = Sender { mac: PEER, vlan: None, ip: PEERS_ADDRESS.to_bits() };
    let answer = bench.exchange(&arp::request(peer, ADDRESS.to_bits(), Mac::BROADCAST)).unwrap();
    let header = ethernet::parse(&answer).unwrap();
    assert_eq!((header.dst, header.src), (PEER, bench.stack.mac));
    let expected =
        Repr { op: Operation::Reply, sha: bench.stack.mac, spa: ADDRESS, tha: PEER, tpa: PEERS_ADDRESS };
    assert_eq!(Repr::parse(&answer[header.header_len..]), Ok(expected));

    let other = arp::request(peer, PEERS_ADDRESS.to_bits() + 1, Mac::BROADCAST);
    assert_eq!(bench.exchange(&other), None);
}

#[test]
fn an_echo_is_answered() {
    let mut bench = Bench::new("stack-echo");
    for len in [0, 56, 1472] {
        let answer = bench.exchange(&ping(bench.stack.mac, ADDRESS, len)).unwrap();
        let header = ethernet::parse(&answer).unwrap();
        assert_eq!((header.dst, header.src), (PEER, bench.stack.mac));
        let packet = ipv4::Packet::new_verified(&answer[header.header_len..]).unwrap();
        assert_eq!((packet.src(), packet.dst()), (ADDRESS, PEERS_ADDRESS));
        let reply = icmpv4::Packet::new_verified(packet.payload()).unwrap();
        assert_eq!((reply.ty(), reply.ident(), reply.seq()), (icmpv4::message::ECHO_REPLY, 7, 1));
        assert_eq!(reply.payload(), vec![0xab; len]);
    }
}

#[test]
fn what_is_for_others_is_not_answered() {
    let mut bench = Bench::new("stack-others");
    let mac = bench.stack.mac;
    let right = ping(mac, ADDRESS, 56);
    let mut corrupt = right.clone();
    corrupt[14 + 20 + 8] ^= 1;
    let to_another_station = ping(PEER, ADDRESS, 56);
    let to_another_host = ping(mac, PEERS_ADDRESS, 56);
    for frame in [&corrupt, &to_another_station, &to_another_host, &right[..30].to_vec(), &vec![0; 9]] {
        assert_eq!(bench.exchange(frame), None);
    }
    assert!(bench.exchange(&right).is_some());
}

/// An echo request of the peer's with `len` octets of data.
fn ping(station: Mac, to: Ipv4Addr, len: usize) -> Vec<u8> {
    let mut frame = vec![0xab; ethernet::HEADER_LEN + ipv4::HEADER_LEN + icmpv4::HEADER_LEN + len];
    ethernet::emit(&mut frame, station, PEER, None, ethernet::IPV4).unwrap();
    let octets = &mut frame[ethernet::HEADER_LEN..];
    let total_len = octets.len() as u16;
    octets[..ipv4::HEADER_LEN + icmpv4::HEADER_LEN].fill(0);
    let mut packet = ipv4::Packet::new_unchecked(octets);
    packet.set_header_len(ipv4::HEADER_LEN);
    packet.set_total_len(total_len);
    packet.set_ttl(64);
    packet.set_protocol(ipv4::ICMP);
    packet.set_src(PEERS_ADDRESS);
    packet.set_dst(to);
    packet.fill_checksum();
    let mut echo = icmpv4::Packet::new_unchecked(packet.payload_mut());
    echo.set_ty(icmpv4::message::ECHO);
    echo.set_ident(7);
    echo.set_seq(1);
    echo.fill_checksum();
    frame
}
