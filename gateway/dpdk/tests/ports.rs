//! Ports on real DPDK: rings and net_null as devices.

mod dpdk_support;

use dpdk_support::{eal, frames, pool, tags};
use natgw_dpdk::{
    BURST, Burst, Error, Mempool, Port, PortConfig, RssConfig, RssReport, Started, is_pci, ring,
};

fn null(name: &str, config: &PortConfig, pool: &Mempool) -> Port<Started> {
    let port = Port::open(eal(), name).unwrap();
    port.start(config, std::slice::from_ref(pool)).unwrap()
}

#[test]
fn a_port_of_rings_receives_and_sends() {
    let pool = pool("rings");
    let (mut wire_in, rx) = ring(eal(), "rings-rx", 64).unwrap();
    let (tx, mut wire_out) = ring(eal(), "rings-tx", 64).unwrap();
    let port = Port::from_rings(eal(), "rings", vec![rx], vec![tx]).unwrap();
    assert_eq!(port.name(), "net_ring_rings");
    let port = port.start(&PortConfig::default(), std::slice::from_ref(&pool)).unwrap();
    let mut receive = port.take_rx_queue(0).unwrap();
    let mut send = port.take_tx_queue(0).unwrap();

    wire_in.send(&mut frames(&pool, 0, 20));
    let mut burst = Burst::new();
    assert_eq!(receive.receive(&mut burst), 20);
    assert_eq!(send.send(&mut burst), 20);
    assert!(burst.is_empty());
    assert_eq!(wire_out.receive(&mut burst), 20);
    assert_eq!(tags(&burst), (0..20).collect::<Vec<_>>());
    let stats = port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (20, 20));
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_a_full_port_does_not_take_stays_owned_and_in_order() {
    let pool = pool("partial");
    let (tx, mut wire) = ring(eal(), "partial-tx", 40).unwrap();
    let (_idle, rx) = ring(eal(), "partial-rx", 8).unwrap();
    let port = Port::from_rings(eal(), "partial", vec![rx], vec![tx]).unwrap();
    let port = port.start(&PortConfig::default(), std::slice::from_ref(&pool)).unwrap();
    let mut queue = port.take_tx_queue(0).unwrap();
    assert_eq!(queue.send(&mut frames(&pool, 0, 32)), 32);
    let mut rest = frames(&pool, 32, 32);
    assert_eq!(queue.send(&mut rest), 8);
    assert_eq!(tags(&rest), (40..64).collect::<Vec<_>>());
    assert_eq!(pool.in_use(), 64);
    let mut burst = Burst::new();
    wire.receive(&mut burst);
    assert_eq!(queue.send(&mut rest), 24, "the rest goes when there is room");
    burst.free();
    wire.receive(&mut burst);
    assert_eq!(tags(&burst), (32..64).collect::<Vec<_>>());
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_queue_is_handed_out_once() {
    let pool = pool("once");
    let config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
    let port = null("net_null10", &config, &pool);
    assert!(port.take_rx_queue(0).is_some() && port.take_rx_queue(0).is_none());
    assert!(port.take_rx_queue(1).is_some() && port.take_rx_queue(2).is_none());
    assert!(port.take_tx_queue(1).is_some() && port.take_tx_queue(1).is_none());
    assert!(port.take_tx_queue(0).is_some() && port.take_tx_queue(9).is_none());
}

#[test]
fn queues_keep_a_dropped_port_running() {
    let pool = pool("outlive");
    let port = null("net_null11,size=60", &PortConfig::default(), &pool);
    let mut queue = port.take_rx_queue(0).unwrap();
    let unused = port.take_tx_queue(0).unwrap();
    drop(port);
    let mut burst = Burst::new();
    assert_eq!(queue.receive(&mut burst), BURST);
    assert_eq!(burst.as_slice()[0].len(), 60);
    let error = Port::open(eal(), "net_null11").unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    drop(queue);
    drop(unused);
    let again = null("net_null11", &PortConfig::default(), &pool);
    drop((again, burst));
    assert_eq!(pool.in_use(), 0, "the closed port holds no buffer");
}

#[test]
fn a_pool_dropped_before_its_port_stays() {
    let pool = pool("pool-first");
    let port = null("net_null12", &PortConfig::default(), &pool);
    let mut queue = port.take_rx_queue(0).unwrap();
    drop((pool, port));
    let mut burst = Burst::new();
    assert_eq!(queue.receive(&mut burst), BURST);
    drop(queue);
    burst.as_mut_slice()[0].data_mut().fill(1);
}

#[test]
fn counts_what_passes() {
    let pool = pool("stats");
    let port = null("net_null13,size=64", &PortConfig::default(), &pool);
    let (mut rx, mut tx) = (port.take_rx_queue(0).unwrap(), port.take_tx_queue(0).unwrap());
    let mut burst = Burst::new();
    let received = rx.receive(&mut burst) as u64;
    assert_eq!(tx.send(&mut burst), BURST);
    let stats = port.stats().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (received, received));
    let xstats = port.xstats().unwrap();
    assert!(xstats.contains(&("rx_good_packets".to_owned(), received)), "{xstats:?}");
    assert!(port.link().unwrap().up);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn reports_what_a_device_can_do() {
    let port = Port::open(eal(), "net_null14").unwrap();
    let info = port.info().unwrap();
    assert_eq!(info.driver, "net_null");
    assert!(info.max_rx_queues >= 2 && info.max_tx_queues >= 2);
    assert_eq!(info.mac, port.mac().unwrap());
    assert!(info.reta_size > 0 && info.rss_by_addresses() && info.max_mtu >= 1500);
}

#[test]
fn net_null_is_not_believed_to_distribute() {
    let pool = pool("rss");
    let port = Port::open(eal(), "net_null15").unwrap();
    let info = port.info().unwrap();
    let rss = RssConfig { key: vec![1; 40], reta: vec![0; usize::from(info.reta_size)] };
    let config = PortConfig { rx_queues: 2, tx_queues: 2, rss: Some(rss), ..PortConfig::default() };
    let port = port.start(&config, std::slice::from_ref(&pool)).unwrap();
    let text = port.rss_report().to_string();
    assert_eq!(text, "in software: net_null accepts any key and table and distributes nothing");
}

#[test]
fn a_device_without_rss_says_so() {
    let pool = pool("no-rss");
    let port = Port::open(eal(), "net_ring16").unwrap();
    let rss = Some(RssConfig { key: vec![1; 40], reta: vec![0; 128] });
    let config = PortConfig { rx_queues: 2, tx_queues: 2, rss, ..PortConfig::default() };
    let port = port.start(&config, std::slice::from_ref(&pool)).unwrap();
    assert_eq!(*port.rss_report(), RssReport::Software { reason: "net_ring offers no RSS".into() });
}

#[test]
fn refuses_a_configuration_that_cannot_work() {
    let pool = pool("refuse");
    let refusal = |config: PortConfig| {
        let port = Port::open(eal(), "net_null17").unwrap();
        port.start(&config, std::slice::from_ref(&pool)).unwrap_err().to_string()
    };
    let text = refusal(PortConfig { rx_queues: 9999, ..PortConfig::default() });
    assert!(text.starts_with("net_null17: 9999 receive and 1 transmit queues are too many"), "{text}");
    let text = refusal(PortConfig { mtu: 9000, ..PortConfig::default() });
    assert_eq!(text, "net_null17: frames of 9018 bytes do not fit the pool's buffers of 2048");
    let text = refusal(PortConfig { mtu: 20, ..PortConfig::default() });
    assert!(text.starts_with("net_null17: an MTU of 20: net_null allows "), "{text}");
}

#[test]
fn every_port_has_the_mac_address_that_is_configured() {
    let directory = tempfile::tempdir().unwrap();
    let memif = |id: u32, more: &str| {
        let socket = directory.path().join(format!("{id}"));
        format!("net_memif{id},role=server,socket={},socket-abstract=no{more}", socket.display())
    };
    let pool = pool("stations");
    let mac = [2, 0, 0, 0, 0, 7];
    for device in [
        // The driver has a call for it; none; none; an argument.
        "net_null18".to_owned(),
        "net_ring18".to_owned(),
        "net_pcap18,tx_pcap=/dev/null".to_owned(),
        memif(18, ""),
        memif(19, ",mac=02:00:00:00:00:07"),
    ] {
        let port = Port::open(eal(), &device).unwrap();
        assert_eq!(port.mac().unwrap() == mac, device.contains("mac="), "{device}");
        let config = PortConfig { mac: Some(mac), ..PortConfig::default() };
        let port = port.start(&config, std::slice::from_ref(&pool)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(port.mac().unwrap(), mac, "{device}");
    }
}

#[test]
fn an_mtu_is_held_against_the_longest_frame_of_the_driver() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("memif");
    let device = format!("net_memif20,role=server,socket={},socket-abstract=no", socket.display());
    let port = Port::open(eal(), &device).unwrap();
    assert_eq!(port.info().unwrap().max_mtu, 1500);
    let config = PortConfig { mtu: 1501, ..PortConfig::default() };
    let text = port.start(&config, std::slice::from_ref(&pool("mtu"))).unwrap_err().to_string();
    assert!(
        text.starts_with("net_memif20: an MTU of 1501: net_memif allows ") && text.ends_with(" to 1500"),
        "{text}"
    );
}

#[test]
fn names_what_is_missing() {
    let text = Port::open(eal(), "net_nosuch0").unwrap_err().to_string();
    assert!(text.starts_with("net_nosuch0: DPDK has no driver net_nosuch"), "{text}");
    assert!(is_pci("ffff:ff:1f.7"));
    let text = Port::open(eal(), "ffff:ff:1f.7").unwrap_err().to_string();
    assert_eq!(text, "ffff:ff:1f.7: no such PCI device: see lspci -D");
    let text = Port::open(eal(), "net_pcap0,rx_pcap=/no/such.pcap").unwrap_err().to_string();
    assert!(
        text.starts_with("rte_eal_hotplug_add: failed (net_pcap0") && text.contains("/no/such.pcap"),
        "{text}"
    );
    assert!(!text.contains("EAL:"), "callers say nothing new: {text}");
}
