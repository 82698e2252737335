//! Buffers, bursts and rings on real DPDK: nothing is lost, nothing is freed twice.

mod dpdk_support;

use dpdk_support::{BUFFERS, eal, frames, pool, tags};
use natgw_dpdk::{BURST, Burst, Clock, Error, Mempool, ring};

#[test]
fn a_dropped_buffer_returns_to_its_pool() {
    let pool = pool("drop");
    assert_eq!((pool.available(), pool.in_use()), (BUFFERS, 0));
    let mbuf = pool.alloc().unwrap();
    assert_eq!((pool.available(), pool.in_use()), (BUFFERS - 1, 1));
    drop(mbuf);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_empty_pool_gives_nothing_and_recovers() {
    let pool = pool("empty");
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), BUFFERS as usize);
    assert_eq!(pool.alloc_bulk(&mut Burst::new(), 1), 0);
    assert!(all[0].copy(&pool).is_none());
    drop(all);
    assert_eq!(pool.available(), BUFFERS);
}

#[test]
fn every_way_out_of_a_burst_returns_its_buffers() {
    let pool = pool("burst");
    drop(frames(&pool, 0, BURST));
    frames(&pool, 0, 7).free();
    let mut drained = frames(&pool, 0, 9);
    assert_eq!(drained.drain().map(|mbuf| mbuf.tag()).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
    let mut half_drained = frames(&pool, 0, 9);
    drop(half_drained.drain().next());
    assert!(half_drained.is_empty());
    assert_eq!(frames(&pool, 0, 5).into_iter().count(), 5);
    drop(frames(&pool, 0, 5).into_iter());
    let mut popped = frames(&pool, 0, 3);
    assert_eq!(popped.pop().unwrap().tag(), 2);
    drop(popped);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_full_burst_gives_the_buffer_back() {
    let pool = pool("full");
    let mut burst = frames(&pool, 0, BURST);
    assert!(burst.is_full());
    let refused = burst.push(pool.alloc().unwrap()).unwrap_err();
    assert_eq!(pool.alloc_bulk(&mut burst, 4), 0);
    assert_eq!(pool.in_use(), BURST as u32 + 1);
    drop((refused, burst));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_frame_grows_and_shrinks_within_its_buffer() {
    let pool = pool("edit");
    let mut mbuf = pool.alloc().unwrap();
    assert!(mbuf.is_empty() && !mbuf.is_segmented() && mbuf.rss_hash().is_none());
    assert!(mbuf.set_len(4));
    mbuf.data_mut().copy_from_slice(&[1, 2, 3, 4]);
    mbuf.prepend(2).unwrap().copy_from_slice(&[8, 9]);
    assert_eq!(mbuf.data(), [8, 9, 1, 2, 3, 4]);
    assert!(mbuf.trim_front(3));
    assert_eq!(mbuf.data(), [2, 3, 4]);
    assert!(!mbuf.trim_front(4) && mbuf.set_len(2) && mbuf.set_len(4));
    assert_eq!(mbuf.data(), [2, 3, 0, 0], "the tail is not what was there before");
    assert_eq!((mbuf.len(), mbuf.frame_len()), (4, 4));

    let most = mbuf.len() + mbuf.tailroom();
    assert!(mbuf.set_len(most) && !mbuf.set_len(most + 1) && !mbuf.set_len(1 << 20));
    let headroom = usize::from(Mempool::HEADROOM) + 1;
    assert!(mbuf.prepend(headroom + 1).is_none());
    assert_eq!(mbuf.prepend(headroom).unwrap().len(), headroom);
    assert_eq!(mbuf.len(), usize::from(Mempool::DATA_ROOM));
}

#[test]
fn a_copy_is_another_frame_with_the_same_bytes() {
    let pool = pool("copy");
    let mut mbuf = frames(&pool, 5, 1).pop().unwrap();
    mbuf.data_mut().fill(7);
    let copy = mbuf.copy(&pool).unwrap();
    mbuf.data_mut().fill(1);
    assert_eq!(copy.data(), [7; 60]);
    drop((mbuf, copy));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_frame_larger_than_the_buffer_is_copied_in_segments() {
    let pool = pool("large");
    let small = Mempool::new(eal(), "small", 63, 0, Mempool::HEADROOM + 64).unwrap();
    let mut mbuf = pool.alloc().unwrap();
    assert!(mbuf.set_len(100));
    let mut copy = mbuf.copy(&small).unwrap();
    assert!(copy.is_segmented());
    assert_eq!((copy.len(), copy.frame_len(), small.in_use()), (64, 100, 2));
    assert!(!copy.set_len(10), "the tail is in another segment");
    drop(copy);
    assert_eq!(small.in_use(), 0);
}

#[test]
fn a_ring_takes_what_fits_and_keeps_the_order_and_the_tags() {
    let pool = pool("ring");
    let (mut producer, mut consumer) = ring(eal(), "ring-order", 40).unwrap();
    assert_eq!((producer.capacity(), consumer.capacity()), (40, 40));
    assert_eq!(producer.send(&mut frames(&pool, 0, 32)), 32);
    let mut rest = frames(&pool, 32, 32);
    assert_eq!(producer.send(&mut rest), 8);
    assert_eq!(tags(&rest), (40..64).collect::<Vec<_>>());
    assert_eq!(producer.send(&mut rest), 0);
    assert_eq!((producer.len(), consumer.len(), rest.len(), pool.in_use()), (40, 40, 24, 64));

    let mut burst = frames(&pool, 100, 2);
    assert_eq!(consumer.receive(&mut burst), 30, "as much as there is room for");
    assert_eq!(tags(&burst)[..3], [100, 101, 0]);
    burst.free();
    assert_eq!(consumer.receive(&mut burst), 10);
    assert_eq!(tags(&burst), (30..40).collect::<Vec<_>>());
    assert_eq!(consumer.receive(&mut burst), 0);
    drop((burst, rest));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_ring_dropped_with_packets_in_it_returns_them() {
    let pool = pool("ring-drop");
    let (mut producer, consumer) = ring(eal(), "ring-drop", 100).unwrap();
    for _ in 0..3 {
        producer.send(&mut frames(&pool, 0, BURST));
    }
    drop(consumer);
    assert_eq!(pool.in_use(), 96, "the producer still holds the ring");
    drop(producer);
    assert_eq!(pool.in_use(), 0);
    ring(eal(), "ring-drop", 100).expect("the name is free again");
}

#[test]
fn packets_cross_threads_in_order() {
    let pool = pool("threads");
    let (mut producer, mut consumer) = ring(eal(), "threads", 64).unwrap();
    let sender = {
        let pool = pool.clone();
        std::thread::spawn(move || {
            let mut burst = Burst::new();
            let mut next = 0;
            while next < 10_000 {
                if burst.is_empty() && pool.alloc_bulk(&mut burst, 16) == 16 {
                    burst.as_mut_slice().iter_mut().for_each(|mbuf| {
                        mbuf.set_tag(next);
                        next += 1;
                    });
                }
                while !burst.is_empty() && producer.send(&mut burst) == 0 {
                    std::thread::yield_now();
                }
            }
        })
    };
    let mut burst = Burst::new();
    let mut expected = 0;
    while expected < 10_000 {
        if consumer.receive(&mut burst) == 0 {
            std::thread::yield_now();
        }
        for mbuf in burst.drain() {
            assert_eq!(mbuf.tag(), expected);
            expected += 1;
        }
    }
    sender.join().unwrap();
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_pool_without_memory_says_how_much_it_needs() {
    let error = Mempool::new(eal(), "huge", 1 << 20, 0, Mempool::DATA_ROOM).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("rte_pktmbuf_pool_create: Cannot allocate memory"), "{text}");
    assert!(text.contains("mempool huge: 1048576 buffers of 2176 bytes, about 2432 MiB"), "{text}");
    let error = ring(eal(), "nul\0", 8).unwrap_err();
    assert_eq!(error, Error::Nul("nul\0".into()));
}

#[test]
fn the_clock_runs_at_its_frequency() {
    eal();
    let (cycles, time) = (Clock::tsc(), std::time::Instant::now());
    std::thread::sleep(std::time::Duration::from_millis(50));
    let (cycles, time) = (Clock::tsc() - cycles, time.elapsed());
    let measured = cycles as f64 / time.as_secs_f64();
    assert!((measured / Clock::hz() as f64 - 1.0).abs() < 0.05, "{measured} is not {}", Clock::hz());
}
