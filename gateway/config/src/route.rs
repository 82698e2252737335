//! `[[routes]]`: what is reached through a router.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::address::{self, ClassE};
use super::interface::{Connected, Draft, Role};
use super::table_reader::Section;
use super::unique::Unique;
use super::value;

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations; no two routes have the same.
    pub prefix: Ipv4Net,
    /// Next hop, on the connected prefix of an interface.
    pub via: Ipv4Addr,
    /// Index into [`Config::interfaces`](super::Config::interfaces) of that interface.
    pub interface: usize,
}

/// Reads every `[[routes]]`; `None` unless all of them are whole. The next hops are looked up only if the interfaces
/// are known.
pub(super) fn read_all(
    root: &mut Section<'_>,
    interfaces: Option<&[Draft]>,
    class_e: ClassE,
) -> Option<Vec<Route>> {
    let mut prefixes = Unique::default();
    root.tables("routes", ROUTES_MAX, |section| read(section, interfaces, class_e, &mut prefixes))
}

fn read(
    section: &mut Section<'_>,
    interfaces: Option<&[Draft]>,
    class_e: ClassE,
    prefixes: &mut Unique,
) -> Option<Route> {
    let prefix = section.required("prefix", value::prefix_of_hosts(class_e));
    let via = section.required("via", value::host(class_e));
    if let Some(prefix) = &prefix {
        prefixes.claim(section, "prefix", prefix.line, prefix.value.to_string());
    }
    let (prefix, via) = (prefix?, via?);
    let drafts = interfaces?;
    let connected = Connected(drafts);

    let Some((interface, net)) = connected.find(via.value) else {
        let links: Vec<String> = drafts
            .iter()
            .flat_map(|draft| &draft.interface.addresses)
            .map(|net| net.trunc().to_string())
            .collect();
        let allowed = format!("a router on a connected prefix: {}", links.join(", "));
        section.wrong(via.line, "via", via.value, allowed);
        return None;
    };
    let is_reserved = address::reserved(net).is_some_and(|reserved| reserved.contains(&via.value));
    if is_reserved || connected.owner(via.value).is_some() {
        section.wrong(
            via.line,
            "via",
            via.value,
            "another host's address, neither own nor network nor broadcast",
        );
    }
    let is_connected =
        drafts.iter().flat_map(|draft| &draft.interface.addresses).any(|net| net.trunc() == prefix.value);
    if is_connected {
        section.wrong(prefix.line, "prefix", prefix.value, "a prefix that is not connected already");
    }
    if drafts[interface].interface.role == Role::Outside
        && let Some(block) = address::AddressRange::from(prefix.value).dead(ClassE::Reserved)
    {
        let allowed = format!("through an outside router, a prefix with hosts, not in {block}");
        section.wrong(prefix.line, "prefix", prefix.value, allowed);
    }
    if drafts[interface].interface.role == Role::Inside {
        let swallowed =
            connected.prefixes(Role::Outside).find(|outside| prefix.value.contains(&outside.trunc()));
        if let Some(outside) = swallowed {
            let allowed =
                format!("through an inside router, a prefix without the outside's {}", outside.trunc());
            section.wrong(prefix.line, "prefix", prefix.value, allowed);
        }
    }
    Some(Route { prefix: prefix.value, via: via.value, interface })
}

/// Where subscribers live: the inside interfaces' connected prefixes and what is routed through them.
pub(super) fn inside_prefixes(interfaces: &[Draft], routes: &[Route]) -> Vec<Ipv4Net> {
    let connected = Connected(interfaces).prefixes(Role::Inside).map(|net| net.trunc());
    connected.chain(inside_routed(interfaces, routes)).collect()
}

/// What is reached through inside routers.
pub(super) fn inside_routed(interfaces: &[Draft], routes: &[Route]) -> Vec<Ipv4Net> {
    let is_inside = |route: &&Route| interfaces[route.interface].interface.role == Role::Inside;
    routes.iter().filter(is_inside).map(|route| route.prefix).collect()
}

/// Most static routes.
pub const ROUTES_MAX: usize = 1024;
