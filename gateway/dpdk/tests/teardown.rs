//! The end of DPDK in the order that a program's scopes happen to give. One test: DPDK ends once a process.

mod dpdk_support;

use dpdk_support::args;
use natgw_dpdk::{BURST, Burst, Eal, Mempool, Port, PortConfig, launch};

#[test]
fn nothing_is_freed_under_its_users() {
    let eal = Eal::init(&args(1)).unwrap();
    let pool = Mempool::new(&eal, "again", 255, 32, Mempool::DATA_ROOM).unwrap();
    drop(pool);
    let pool = Mempool::new(&eal, "again", 255, 32, Mempool::DATA_ROOM).expect("the name is free again");

    let port = Port::open(&eal, "net_null0").unwrap();
    let port = port.start(&PortConfig::default(), std::slice::from_ref(&pool)).unwrap();
    let mut rx = port.take_rx_queue(0).unwrap();
    let worker = launch(&eal, eal.worker(0).unwrap(), move || {
        let mut burst = Burst::new();
        rx.receive(&mut burst);
        (rx, burst)
    });
    let (rx, mut burst) = worker.unwrap().join().unwrap();
    let kept = burst.pop().unwrap();
    drop(burst);
    assert_eq!(pool.in_use(), 1, "what the worker left in its cache counts as free");
    drop((eal, pool, port));
    drop(rx);

    // All handles of the pool and of DPDK are gone; the buffer is still ours to write and to return.
    let mut kept = kept;
    assert!(kept.set_len(BURST));
    kept.data_mut().fill(1);
    drop(kept);
}
