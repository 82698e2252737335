//! Two lcores that hand each other every packet and do nothing else with it: what crossing costs on a machine before
//! anybody translates.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use natgw_config::PacketBuffers;
use natgw_dpdk::{
    BURST, Burst, Consumer, Eal, Mempool, Port, PortConfig, Producer, RxQueue, Stopped, TxQueue,
};

use super::{MEASURED, Rate, WARM_UP};

/// What an lcore has.
struct Lane {
    /// A queue of each port.
    queues: Vec<(RxQueue, TxQueue)>,
    to: Producer,
    from: Consumer,
    /// Packets.
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Lane {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            for queue in 0..self.queues.len() {
                let mut burst = Burst::new();
                if self.to.capacity() - self.to.len() >= BURST {
                    self.queues[queue].0.receive(&mut burst);
                }
                burst.as_mut_slice().iter_mut().for_each(|packet| packet.set_tag(queue as u32));
                self.to.send(&mut burst);
                self.take();
            }
        }
    }

    /// Sends what came from the other lcore by the port opposite to where it arrived.
    fn take(&mut self) {
        let mut burst = Burst::new();
        self.from.receive(&mut burst);
        burst.prefetch_headers();
        burst.prefetch();
        let mut leaving = [Burst::new(), Burst::new()];
        for mut packet in burst.drain() {
            let opposite = 1 - packet.tag() as usize;
            // Both MAC addresses are written anew, whatever a gateway does.
            packet.data_mut()[..12].fill(2);
            let _ = leaving[opposite].push(packet);
        }
        for (burst, (_, queue)) in leaving.iter_mut().zip(&mut self.queues) {
            let sent = queue.send(burst);
            self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        }
    }
}

/// Runs lanes on the first and the last of the EAL's lcores, over the queues of the same places, and measures them.
pub(crate) fn run(
    eal: &Eal,
    ports: Vec<Port<Stopped>>,
    buffers: PacketBuffers,
) -> Result<Rate, Box<dyn Error>> {
    let pool = Mempool::new(eal, "packets", buffers.count, 256, buffers.data_room)?;
    let lcores: Vec<_> = eal.workers().collect();
    let queues = lcores.len() as u16;
    let config = PortConfig { rx_queues: queues, tx_queues: queues, ..PortConfig::default() };
    let ports = ports.into_iter().map(|port| port.start(&config, std::slice::from_ref(&pool)));
    let ports = ports.collect::<Result<Vec<_>, _>>()?;
    let (to_last, from_first) = natgw_dpdk::ring(eal, "first-last", PacketBuffers::RING)?;
    let (to_first, from_last) = natgw_dpdk::ring(eal, "last-first", PacketBuffers::RING)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (mut running, mut counts) = (Vec::new(), Vec::new());
    for (place, to, from) in [(0, to_last, from_last), (queues - 1, to_first, from_first)] {
        let queues = ports.iter().map(|port| port.take_rx_queue(place).zip(port.take_tx_queue(place)));
        let queues = queues.collect::<Option<_>>().ok_or("a queue is taken")?;
        let sent = Arc::new(AtomicU64::new(0));
        counts.push(sent.clone());
        let lane = Lane { queues, to, from, sent, stop: stop.clone() };
        running.push(natgw_dpdk::launch(eal, lcores[usize::from(place)], move || lane.run())?);
    }
    let sent = || counts.iter().map(|sent| sent.load(Ordering::Relaxed)).sum::<u64>();
    thread::sleep(WARM_UP);
    let before = sent();
    thread::sleep(MEASURED);
    let after = sent();
    stop.store(true, Ordering::Relaxed);
    drop(running);
    Ok(Rate { translated: (after - before) as f64 / MEASURED.as_secs_f64(), dropped: 0.0 })
}
