//! `[[interfaces]]`: the ports, which side they face and what addresses they have.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::address::{self, ClassE};
use super::diagnostic::At;
use super::table_reader::Section;
use super::unique::Unique;
use super::value;
use super::vdev::{self, Vdev};
use natgw_wire::ethernet::Mac;

/// One port of the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name in configuration, metrics and listings; no two are equal.
    pub name: String,
    /// What DPDK opens; no two are the same device.
    pub device: Device,
    /// The side it faces.
    pub role: Role,
    /// Own addresses with their connected prefixes, at least one. No prefix overlaps another interface's.
    pub addresses: Vec<Ipv4Net>,
    /// Largest IPv4 packet, bytes.
    pub mtu: u16,
    /// MAC address to use in place of the device's own.
    pub mac: Option<Mac>,
    /// VLAN (IEEE 802.1Q) that every frame is tagged with.
    pub vlan: Option<u16>,
    /// Descriptors of each receive queue; adjusted to what the device offers.
    pub rx_queue_size: u16,
    /// Descriptors of each transmit queue; adjusted to what the device offers.
    pub tx_queue_size: u16,
    /// Take frames for other stations from the device too (they are dropped and counted).
    pub promiscuous: bool,
}

impl Interface {
    /// What DPDK is told to open: the device, with the MAC address where its driver takes it so.
    pub fn devargs(&self) -> String {
        match &self.device {
            Device::Vdev(text) => Vdev(text).with_mac(self.mac),
            Device::Pci(address) => address.clone(),
        }
    }
}

/// What DPDK opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A virtual device with its arguments: `net_tap0,iface=tap-in`.
    Vdev(String),
    /// A PCI function with its domain: `0000:3b:00.0`.
    Pci(String),
}

impl Device {
    /// What DPDK calls the device: no two interfaces have the same.
    pub fn name(&self) -> &str {
        match self {
            Device::Vdev(text) => text.split(',').next().unwrap_or(text),
            Device::Pci(address) => address,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Device::Vdev(text) | Device::Pci(text)) = self;
        f.write_str(text)
    }
}

/// The side that an interface faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Towards the subscribers.
    Inside,
    /// Towards the remotes.
    Outside,
}

impl Role {
    /// The word of the configuration file.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Inside => "inside",
            Role::Outside => "outside",
        }
    }
}

/// An interface with the lines that later checks refer to.
pub(super) struct Draft {
    pub(super) interface: Interface,
    pub(super) addresses: Vec<At<Ipv4Net>>,
}

/// Reads every `[[interfaces]]`; `None` unless all of them are whole and both sides are there.
pub(super) fn read_all(root: &mut Section<'_>, class_e: ClassE) -> Option<Vec<Draft>> {
    let mut unique = Uniques::default();
    let mut line = None;
    let drafts = root.tables("interfaces", INTERFACES_MAX, |section| {
        line.get_or_insert(section.line());
        read(section, class_e, &mut unique)
    })?;
    refuse_overlaps(root, &drafts);
    let mut complete = true;
    for role in [Role::Inside, Role::Outside] {
        if !drafts.iter().any(|draft| draft.interface.role == role) {
            if !root.report().is_damaged() {
                let found = format_args!("none with role \"{}\"", role.name());
                root.wrong(line.unwrap_or(1), "interfaces", found, "at least one inside and one outside");
            }
            complete = false;
        }
    }
    complete.then_some(drafts)
}

/// What no two interfaces have both.
#[derive(Default)]
struct Uniques {
    names: Unique,
    devices: Unique,
    /// What a vdev opens beyond itself.
    opened: Unique,
}

fn read(section: &mut Section<'_>, class_e: ClassE, unique: &mut Uniques) -> Option<Draft> {
    let name = section.required("name", value::name);
    let device = section.required("device", value::text(DEVICES, device));
    let roles = [Role::Inside, Role::Outside].map(|role| (role.name(), role));
    let role = section.required("role", value::choice(&roles));
    let is_inside = role.as_ref().is_some_and(|role| role.value == Role::Inside);
    let class_e = if is_inside { class_e } else { ClassE::Reserved };
    let own = |text: &str| interface_address(text, class_e);
    let addresses = section.required_list("addresses", value::text(ADDRESSES, own));
    let mtu = section.or("mtu", 1500, value::integer(68..=9216));
    let mac = section.optional("mac", value::text(MACS, mac));
    let vlan = section.optional("vlan", value::integer(1..=4094));
    let rx_queue_size = section.or("rx_queue_size", 1024, value::integer(QUEUE_SIZES));
    let tx_queue_size = section.or("tx_queue_size", 1024, value::integer(QUEUE_SIZES));
    let promiscuous = section.or("promiscuous", false, value::boolean);
    if let Some(name) = &name {
        unique.names.claim(section, "name", name.line, name.value.clone());
    }
    if let Some(device) = &device {
        unique.devices.claim(section, "device", device.line, device.value.name().to_owned());
        if let Device::Vdev(text) = &device.value {
            let vdev = Vdev(text);
            vdev::refuse_arguments(section, device.line, vdev, mac.as_ref());
            vdev::claim(section, device.line, vdev, &mut unique.opened);
            vdev::check_mtu(section, vdev, &mtu);
        }
    }
    let addresses = addresses?;
    Some(Draft {
        interface: Interface {
            name: name?.value,
            device: device?.value,
            role: role?.value,
            addresses: addresses.iter().map(|address| address.value).collect(),
            mtu: mtu.value,
            mac: mac.map(|mac| mac.value),
            vlan: vlan.map(|vlan| vlan.value),
            rx_queue_size: rx_queue_size.value,
            tx_queue_size: tx_queue_size.value,
            promiscuous: promiscuous.value,
        },
        addresses,
    })
}

/// Two interfaces never claim one address, or else a packet would have two ways out; two addresses of one interface
/// may share a prefix.
fn refuse_overlaps(root: &Section<'_>, drafts: &[Draft]) {
    let all: Vec<(usize, &At<Ipv4Net>)> = drafts
        .iter()
        .enumerate()
        .flat_map(|(index, draft)| draft.addresses.iter().map(move |at| (index, at)))
        .collect();
    for (nth, (index, at)) in all.iter().enumerate() {
        let clash = all[..nth].iter().find(|(other_index, other)| {
            let (a, b) = (at.value, other.value);
            if index == other_index {
                a.addr() == b.addr()
            } else {
                a.contains(&b.network()) || b.contains(&a.network())
            }
        });
        if let Some((other_index, other)) = clash {
            let owner = &drafts[*other_index].interface.name;
            let allowed = format!("a prefix apart from {} of {owner} (line {})", other.value, other.line);
            root.wrong(at.line, "interfaces.addresses", at.value, allowed);
        }
    }
}

fn interface_address(text: &str, class_e: ClassE) -> Option<Ipv4Net> {
    let net: Ipv4Net = text.parse().ok()?;
    let is_host = address::AddressRange::from(net.addr()).unusable_where(class_e).is_none();
    let is_reserved = address::reserved(net).is_some_and(|reserved| reserved.contains(&net.addr()));
    (is_host && !is_reserved && net.prefix_len() >= 8).then_some(net)
}

fn device(text: &str) -> Option<Device> {
    if let Some(pci) = pci_address(text) {
        return Some(Device::Pci(pci));
    }
    let name = text.split(',').next().unwrap_or(text);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let driver = name.strip_prefix("net_").filter(|rest| !rest.is_empty());
    let is_vdev = driver.is_some() && name.len() < VDEV_NAME_MAX && name.chars().all(is_plain);
    (is_vdev && !text.chars().any(char::is_control)).then(|| Device::Vdev(text.to_owned()))
}

/// `DDDD:BB:DD.F` in lower case; a missing domain is 0000.
fn pci_address(text: &str) -> Option<String> {
    let is_hex =
        |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let full = if text.matches(':').count() == 1 { format!("0000:{text}") } else { text.to_owned() };
    let (bus_address, function) = full.split_once('.')?;
    let mut parts = bus_address.split(':');
    let is_pci = is_hex(parts.next()?, 4)
        && is_hex(parts.next()?, 2)
        && is_hex(parts.next()?, 2)
        && parts.next().is_none()
        && matches!(function.as_bytes(), [b'0'..=b'7']);
    is_pci.then(|| full.to_ascii_lowercase())
}

pub(super) fn mac(text: &str) -> Option<Mac> {
    text.parse().ok().filter(|mac: &Mac| mac.is_station())
}

/// Connected prefixes of every interface, to find where an address is reached.
#[derive(Clone, Copy)]
pub(super) struct Connected<'a>(pub(super) &'a [Draft]);

impl<'a> Connected<'a> {
    /// The interface whose connected prefix holds the address, and that prefix.
    pub(super) fn find(self, address: Ipv4Addr) -> Option<(usize, Ipv4Net)> {
        let holds =
            |draft: &Draft| draft.interface.addresses.iter().copied().find(|net| net.contains(&address));
        self.0.iter().enumerate().find_map(|(index, draft)| Some((index, holds(draft)?)))
    }

    /// The interface that has the address as its own.
    pub(super) fn owner(self, address: Ipv4Addr) -> Option<&'a Interface> {
        let owns = |draft: &&Draft| draft.interface.addresses.iter().any(|net| net.addr() == address);
        self.0.iter().find(owns).map(|draft| &draft.interface)
    }

    /// Connected prefixes of the interfaces that face this side.
    pub(super) fn prefixes(self, role: Role) -> impl Iterator<Item = Ipv4Net> + 'a {
        let faces = move |draft: &&Draft| draft.interface.role == role;
        self.0.iter().filter(faces).flat_map(|draft| draft.interface.addresses.iter().copied())
    }
}

/// Most interfaces.
pub const INTERFACES_MAX: usize = 8;

/// DPDK's `RTE_DEV_NAME_MAX_LEN`.
const VDEV_NAME_MAX: usize = 64;
const QUEUE_SIZES: std::ops::RangeInclusive<u16> = 32..=32768;
const DEVICES: &str =
    "a PCI address like \"0000:3b:00.0\" or a vdev \"net_...\" like \"net_tap0,iface=tap0\"";
const ADDRESSES: &str = "a host's address with its prefix length of 8 or more, like \"192.0.2.1/24\"";
pub(super) const MACS: &str = "a station's MAC address like \"02:00:00:00:00:01\"";
