//! The owner that software computes is the queue that a NIC picks, as DPDK's `rte_softrss` models it.

use natgw_dpdk::softrss;
use natgw_nat::settings::{Pool, Settings};
use natgw_steer::{Nic, Steering, WorkerId};

const RETA_SIZES: [usize; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];

/// Addresses with nothing in common, the same in every run.
fn addresses() -> impl Iterator<Item = u32> {
    (1..=200_u32).map(|nth| nth.wrapping_mul(0x9e37_79b9) ^ nth << 16)
}

fn steering(reta_size: usize, key_len: usize, workers: u16) -> Steering {
    let pool = Pool {
        name: "main".into(),
        addresses: (0xcb00_7140..0xcb00_7180_u32).map(Into::into).collect(),
        ..Pool::default()
    };
    let settings = Settings { pools: vec![pool], ..Settings::default() };
    let nic = Nic { reta_size, key_len };
    Steering::new(&settings, workers, reta_size as u64, nic, nic).unwrap()
}

/// The queue of a NIC with a table of `size` entries.
fn queue(rss: &natgw_steer::Rss, size: usize, src: u32, dst: u32) -> WorkerId {
    let reta: Vec<WorkerId> = rss.reta(size).collect();
    reta[softrss(&[src, dst], rss.key().octets()) as usize & (size - 1)]
}

#[test]
fn the_inside_queue_is_the_owner_of_the_source_whatever_the_destination() {
    for reta_size in RETA_SIZES {
        for (key_len, workers) in [(40, 1), (40, 3), (52, 16)] {
            let steering = steering(reta_size, key_len, workers);
            assert_eq!(steering.inside().key().octets().len(), key_len);
            for (src, dst) in addresses().zip(addresses().skip(1)) {
                let owner = steering.outbound_owner(src);
                assert_eq!(queue(steering.inside(), reta_size, src, dst), owner, "{reta_size} entries");
                assert_eq!(queue(steering.inside(), reta_size, src, !dst), owner, "{reta_size} entries");
                assert_eq!(
                    queue(steering.inside(), 2 * reta_size, src, dst),
                    owner,
                    "{reta_size} entries, twice"
                );
            }
        }
    }
}

#[test]
fn the_outside_queue_is_the_owner_of_the_destination_whatever_the_source() {
    for reta_size in RETA_SIZES {
        for (key_len, workers) in [(40, 1), (40, 3), (52, 16)] {
            let steering = steering(reta_size, key_len, workers);
            assert_eq!(steering.unsteered_addresses(), 0);
            for (src, dst) in addresses().zip((0xcb00_7100..0xcb00_7200).cycle()) {
                let owner = steering.inbound_home(dst);
                assert_eq!(queue(steering.outside(), reta_size, src, dst), owner, "{reta_size} entries");
                assert_eq!(queue(steering.outside(), reta_size, !src, dst), owner, "{reta_size} entries");
            }
        }
    }
}
