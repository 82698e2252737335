//! Plain forwarding between two ports, by the same layer that the gateway uses: what is left of a gateway when it does
//! nothing. A generator's rate against this is its own ceiling.

use std::sync::atomic::{AtomicBool, Ordering};

use natgw_dpdk::{Burst, Mbuf, RxQueue, TxQueue};

/// Both directions of both ports.
pub type Queues = [Vec<(RxQueue, TxQueue)>; 2];

/// Forwards until `stop`; the frames forwarded and those that the other port did not take.
pub fn forward(mut queues: Queues, macswap: bool, stop: &AtomicBool) -> (u64, u64) {
    let (mut forwarded, mut dropped) = (0, 0);
    let mut burst = Burst::new();
    while !stop.load(Ordering::Relaxed) {
        for from in [0, 1] {
            for queue in 0..queues[from].len() {
                if queues[from][queue].0.receive(&mut burst) == 0 {
                    continue;
                }
                if macswap {
                    burst.prefetch();
                    burst.as_mut_slice().iter_mut().for_each(swap_macs);
                }
                forwarded += queues[1 - from][queue].1.send(&mut burst) as u64;
                dropped += burst.len() as u64;
                burst.free();
            }
        }
    }
    (forwarded, dropped)
}

fn swap_macs(packet: &mut Mbuf) {
    if let Some((dst, rest)) = packet.data_mut().split_first_chunk_mut::<6>()
        && let Some(src) = rest.first_chunk_mut::<6>()
    {
        std::mem::swap(dst, src);
    }
}
