//! A port on a tap device, where this process may make one; elsewhere the error that says what is missing.

mod dpdk_support;

use std::fs;

use dpdk_support::{eal, pool};
use natgw_dpdk::{Error, Mempool, Port, PortConfig};

#[test]
fn opens_a_tap_or_says_what_it_needs() {
    let interface = format!("gw{}", std::process::id());
    let device = format!("net_tap7,iface={interface}");
    let port = match Port::open(eal(), &device) {
        Ok(port) => port,
        Err(Error::Permission { reason, .. }) => return assert!(reason.contains("NET_ADMIN"), "{reason}"),
        Err(Error::NoDevice { reason, .. }) => return assert!(reason.contains("modprobe tun"), "{reason}"),
        Err(error) => panic!("{error}"),
    };
    let pool = pool("tap");
    let mac = [2, 0, 0, 0, 0, 7];
    let config = PortConfig {
        rx_queues: 2,
        tx_queues: 2,
        rx_descriptors: 64,
        mtu: 1400,
        mac: Some(mac),
        ..PortConfig::default()
    };
    let port = port.start(&config, std::slice::from_ref(&pool)).unwrap();
    assert_eq!(port.mac().unwrap(), mac);
    assert_eq!(port.info().unwrap().driver, "net_tap");
    let sys = |file: &str| fs::read_to_string(format!("/sys/class/net/{interface}/{file}"));
    assert_eq!(sys("mtu").unwrap().trim(), "1400");
    drop(port);
    assert!(sys("mtu").is_err(), "the device is gone with the port");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_tap_wants_as_many_queues_of_one_kind_as_of_the_other() {
    let device = format!("net_tap8,iface=gx{}", std::process::id());
    let Ok(port) = Port::open(eal(), &device) else { return };
    let config = PortConfig { rx_queues: 1, tx_queues: 2, ..PortConfig::default() };
    let text = port.start(&config, &[pool("tap-queues")]).unwrap_err().to_string();
    assert!(text.contains("net_tap wants as many of one as of the other"), "{text}");
}

#[test]
fn a_pool_too_small_for_the_queue_is_named() {
    let device = format!("net_tap9,iface=gy{}", std::process::id());
    let Ok(port) = Port::open(eal(), &device) else { return };
    let config = PortConfig { rx_descriptors: 1024, ..PortConfig::default() };
    let text = port.start(&config, &[pool("tap-small")]).unwrap_err().to_string();
    assert!(text.starts_with("rte_eth_rx_queue_setup: Cannot allocate memory"), "{text}");
    assert!(text.contains("net_tap9, queue 0 of 1024 descriptors; its pool has 255 free buffers"), "{text}");
}

#[test]
fn a_tap_starts_with_as_many_queues_as_it_says() {
    let device = format!("net_tap10,iface=gz{}", std::process::id());
    let Ok(port) = Port::open(eal(), &device) else { return };
    let queues = port.info().unwrap().max_rx_queues;
    assert!(queues >= 4, "{queues}");
    let config =
        PortConfig { rx_queues: queues, tx_queues: queues, rx_descriptors: 16, ..PortConfig::default() };
    // 4 queues with DPDK 22.11, many more with 24.11; each takes a buffer a descriptor and one more.
    let pool = Mempool::new(eal(), "tap-most", u32::from(queues) * 32, 0, Mempool::DATA_ROOM).unwrap();
    let port = port.start(&config, &[pool]).unwrap();
    assert!(port.take_rx_queue(queues - 1).is_some());
}

#[test]
fn no_tap_waits_for_a_signal() {
    /// `O_ASYNC`, as `fdinfo` shows it.
    const ASYNC: u32 = 0o20000;
    let device = format!("net_tap11,iface=gs{}", std::process::id());
    let Ok(port) = Port::open(eal(), &device) else { return };
    let config = PortConfig { rx_descriptors: 64, ..PortConfig::default() };
    let _port = port.start(&config, &[pool("tap-signal")]).unwrap();
    let mut taps = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap().flatten() {
        // Other tests close theirs meanwhile.
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        if target.as_os_str() != "/dev/net/tun" {
            continue;
        }
        let number = entry.file_name().into_string().unwrap();
        let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else { continue };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & ASYNC, 0, "{flags:o}: the driver's signals may get lost");
        taps += 1;
    }
    assert!(taps > 0);
}
