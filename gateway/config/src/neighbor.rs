//! `[[neighbors]]`: stations whose MAC address stands in the file. They are never asked for, and nobody else is believed
//! to be them.

use std::net::Ipv4Addr;

use super::address;
use super::address::ClassE;
use super::interface::{Connected, Draft, MACS, mac};
use super::table_reader::Section;
use super::unique::Unique;
use super::value;
use natgw_wire::ethernet::Mac;

/// A static neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticNeighbor {
    /// Its address, on a connected prefix of the interface; no two have the same.
    pub address: Ipv4Addr,
    /// Its MAC address.
    pub mac: Mac,
    /// Index into [`Config::interfaces`](super::Config::interfaces) of the interface that it is reached by.
    pub interface: usize,
}

/// Reads every `[[neighbors]]`; `None` unless all of them are whole.
pub(super) fn read_all(
    root: &mut Section<'_>,
    interfaces: Option<&[Draft]>,
    class_e: ClassE,
) -> Option<Vec<StaticNeighbor>> {
    let mut addresses = Unique::default();
    root.tables("neighbors", NEIGHBORS_MAX, |section| read(section, interfaces, class_e, &mut addresses))
}

fn read(
    section: &mut Section<'_>,
    interfaces: Option<&[Draft]>,
    class_e: ClassE,
    addresses: &mut Unique,
) -> Option<StaticNeighbor> {
    let address = section.required("address", value::host(class_e));
    let mac = section.required("mac", value::text(MACS, mac));
    let interface = section.required("interface", value::name);
    if let Some(address) = &address {
        addresses.claim(section, "address", address.line, address.value.to_string());
    }
    let (address, mac, interface) = (address?, mac?, interface?);
    let drafts = interfaces?;
    let Some(index) = drafts.iter().position(|draft| draft.interface.name == interface.value) else {
        let names: Vec<&str> = drafts.iter().map(|draft| draft.interface.name.as_str()).collect();
        let allowed = format!("an interface: {}", value::nearest_of(&interface.value, &names));
        section.wrong(interface.line, "interface", value::quote(&interface.value), allowed);
        return None;
    };
    let nets = &drafts[index].interface.addresses;
    let around = nets.iter().find(|net| net.contains(&address.value));
    let is_host = around.is_some_and(|net| {
        !address::reserved(*net).is_some_and(|reserved| reserved.contains(&address.value))
            && Connected(drafts).owner(address.value).is_none()
    });
    if !is_host {
        let links: Vec<String> = nets.iter().map(|net| net.trunc().to_string()).collect();
        let allowed =
            format!("another host's address in {}, the prefix of {}", links.join(", "), interface.value);
        section.wrong(address.line, "address", address.value, allowed);
    }
    if drafts[index].interface.mac == Some(mac.value) {
        section.wrong(mac.line, "mac", mac.value, "another station's MAC address than the interface's own");
    }
    Some(StaticNeighbor { address: address.value, mac: mac.value, interface: index })
}

/// Most static neighbours.
pub const NEIGHBORS_MAX: usize = 1024;
