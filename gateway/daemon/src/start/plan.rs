//! What the configuration means for DPDK: lcores, memory, ports, queues.

use std::net::Ipv4Addr;

use super::StartError;
use super::dataplane::{DataplaneOptions, PortOptions};
use natgw_config::{Config, Device, Idle, Interface, Memory, PacketBuffers, Role};
use natgw_dpdk::{Eal, EalArgs, Port};
use natgw_nat::Direction;
use natgw_neighbor::{Connected, InterfaceId, OwnAddresses, RouteError, RouteTable, StaticRoute};

/// How DPDK is to be set up.
pub(super) fn eal_args(config: &Config) -> EalArgs {
    let pci = config.interfaces.iter().filter_map(|interface| match &interface.device {
        Device::Pci(address) => Some(address.clone()),
        Device::Vdev(_) => None,
    });
    EalArgs {
        main_cpu: config.dpdk.main_lcore.into(),
        worker_cpus: config.dpdk.worker_lcores.iter().map(|&cpu| cpu.into()).collect(),
        memory: match config.dpdk.memory {
            Memory::Auto => natgw_dpdk::Memory::Auto,
            Memory::HugePages => natgw_dpdk::Memory::Hugepages,
            Memory::NoHuge => natgw_dpdk::Memory::NoHuge,
        },
        memory_mib: (config.packet_buffers().bytes() >> 20) as u32 + Config::DPDK_SPARE_MIB,
        pci: pci.collect(),
        // Two gateways of one machine may have the same process number in their containers, never the same start.
        file_prefix: format!("nat-gateway-{}-{:x}", std::process::id(), started_ns()),
        extra: config.dpdk.eal_args.clone(),
    }
}

/// Opens every port and says what the data plane is made of.
pub(super) fn dataplane(config: &Config, eal: &Eal) -> Result<DataplaneOptions, StartError> {
    let mut ports = Vec::new();
    for (index, interface) in config.interfaces.iter().enumerate() {
        let port = Port::open(eal, &interface.devargs())
            .map_err(|source| StartError::of_interface(index, source))?;
        ports.push(port_options(config, InterfaceId(index as u8), interface, port));
    }
    Ok(DataplaneOptions {
        ports,
        workers: config.dpdk.worker_lcores.len() as u16,
        settings: config.settings.clone(),
        routes: routes(config)?,
        buffers: config.packet_buffers(),
        idle: match config.dpdk.idle {
            Idle::Poll => natgw_worker::Idle::Poll,
            Idle::Backoff => natgw_worker::Idle::Backoff,
        },
        seed: rand::random(),
    })
}

fn port_options(
    config: &Config,
    id: InterfaceId,
    interface: &Interface,
    port: Port<natgw_dpdk::Stopped>,
) -> PortOptions {
    let address = interface.addresses.first().map_or(Ipv4Addr::UNSPECIFIED, |net| net.addr());
    PortOptions {
        name: interface.name.clone(),
        port,
        direction: match interface.role {
            Role::Inside => Direction::Outbound,
            Role::Outside => Direction::Inbound,
        },
        mac: interface.mac,
        vlan: interface.vlan,
        mtu: interface.mtu,
        address,
        own: own(config, id, interface),
        rx_descriptors: interface.rx_queue_size,
        tx_descriptors: interface.tx_queue_size,
        promiscuous: interface.promiscuous,
    }
}

/// What the gateway answers ARP for on an interface.
pub(crate) fn own(config: &Config, id: InterfaceId, interface: &Interface) -> OwnAddresses {
    let proxies = config.proxied_addresses(interface).map(|address| address.to_bits()..=address.to_bits());
    OwnAddresses::new(id, &interface.addresses, proxies)
}

/// What leads where.
///
/// # Errors
/// When routes contradict one another.
pub(crate) fn routes(config: &Config) -> Result<RouteTable, RouteError> {
    let connected = config.interfaces.iter().enumerate().flat_map(|(index, interface)| {
        let interface_id = InterfaceId(index as u8);
        interface.addresses.iter().map(move |&address| Connected { interface: interface_id, address })
    });
    let statics = config.routes.iter().map(|route| StaticRoute { prefix: route.prefix, via: route.via });
    RouteTable::new(&connected.collect::<Vec<_>>(), &statics.collect::<Vec<_>>())
}

const _: () = assert!(PacketBuffers::HEADROOM == natgw_dpdk::Mempool::HEADROOM);

fn started_ns() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}
