//! One port of the generator, and the router that it plays there.
//!
//! All hosts of a side live behind this router, so the gateway has one neighbour a port and the generator answers ARP
//! for one address.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::Error;
use natgw_dpdk::{Burst, Eal, Mbuf, Mempool, Port, PortConfig, RxQueue, Started, TxQueue};
use natgw_wire::arp::{self, Operation};
use natgw_wire::ethernet::{self, Mac};

/// A started port with its queues.
#[derive(Debug)]
pub struct Station {
    /// One for each queue pair.
    pub queues: Vec<(RxQueue, TxQueue)>,
    /// The port's own MAC address.
    pub mac: Mac,
    /// The gateway's, once it is known.
    pub gateway_mac: Mac,
    own: Ipv4Addr,
    gateway: Ipv4Addr,
    port: Port<Started>,
    pool: Mempool,
}

/// How a port is to be opened.
#[derive(Clone, Debug)]
pub struct StationOptions {
    /// A vdev with arguments, or a PCI address.
    pub device: String,
    /// The address that it answers ARP for.
    pub own: Ipv4Addr,
    /// The gateway's address on this side.
    pub gateway: Ipv4Addr,
    /// Queue pairs.
    pub queues: u16,
    /// Descriptors of a queue.
    pub descriptors: u16,
}

impl Station {
    /// Opens and starts the port.
    pub fn open(eal: &Eal, pool: &Mempool, options: &StationOptions) -> Result<Station, Error> {
        let port = Port::open(eal, &options.device)?;
        Station::start(port, pool, options)
    }

    /// Starts a port that is open.
    pub fn start(
        port: Port<natgw_dpdk::Stopped>,
        pool: &Mempool,
        options: &StationOptions,
    ) -> Result<Station, Error> {
        let config = PortConfig {
            rx_queues: options.queues,
            tx_queues: options.queues,
            rx_descriptors: options.descriptors,
            tx_descriptors: options.descriptors,
            promiscuous: true,
            ..PortConfig::default()
        };
        let port = port.start(&config, std::slice::from_ref(pool))?;
        let queue = |index| Some((port.take_rx_queue(index)?, port.take_tx_queue(index)?));
        Ok(Station {
            queues: (0..options.queues).filter_map(queue).collect(),
            mac: Mac(port.mac()?),
            gateway_mac: Mac::BROADCAST,
            own: options.own,
            gateway: options.gateway,
            pool: pool.clone(),
            port,
        })
    }

    /// Waits until the link is up.
    pub fn wait_for_link(&self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        while !self.port.link()?.up {
            if Instant::now() > deadline {
                return Err(Error::Link(self.port.name().to_owned()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Asks for the gateway's MAC address until it answers.
    pub fn resolve(&mut self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        while self.gateway_mac == Mac::BROADCAST {
            if Instant::now() > deadline {
                return Err(Error::Unresolved(self.gateway));
            }
            let request = arp::Repr::request(self.mac, self.own, self.gateway);
            self.send_arp(&request, Mac::BROADCAST);
            let again = Instant::now() + Duration::from_millis(100);
            while self.gateway_mac == Mac::BROADCAST && Instant::now() < again {
                self.listen();
            }
        }
        Ok(())
    }

    /// Takes what has arrived, answers ARP and drops the rest.
    pub fn listen(&mut self) {
        let mut burst = Burst::new();
        for queue in 0..self.queues.len() {
            self.queues[queue].0.receive(&mut burst);
            for packet in burst.drain() {
                self.control(packet.data());
            }
        }
    }

    /// Answers an ARP request, or learns from an answer.
    #[cold]
    pub fn control(&mut self, frame: &[u8]) {
        let Ok(layer2) = ethernet::parse(frame) else { return };
        let Some(message) = frame.get(layer2.header_len..).filter(|_| layer2.ethertype == ethernet::ARP)
        else {
            return;
        };
        let Ok(message) = arp::Repr::parse(message) else { return };
        if message.spa == self.gateway {
            self.gateway_mac = message.sha;
        }
        if message.op == Operation::Request && message.tpa == self.own && message.spa != self.own {
            self.send_arp(&message.reply(self.mac), message.sha);
        }
    }

    fn send_arp(&mut self, message: &arp::Repr, to: Mac) {
        let Some(mut packet) = self.pool.alloc() else { return };
        if !packet.set_len(FRAME_MIN) {
            return;
        }
        let frame = packet.data_mut();
        if ethernet::emit(frame, to, self.mac, None, ethernet::ARP).is_ok() {
            frame[ethernet::HEADER_LEN..][..arp::LEN].copy_from_slice(&message.emit());
            self.send_one(packet);
        }
    }

    fn send_one(&mut self, packet: Mbuf) {
        let mut burst = Burst::new();
        if burst.push(packet).is_ok() {
            self.queues[0].1.send(&mut burst);
        }
    }
}

const FRAME_MIN: usize = 60;
