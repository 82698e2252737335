//! The configuration file: read once, every mistake found, and what comes out needs no further check.
//!
//! The file is TOML. [`Config::parse`] walks its tables by hand rather than through serde, which would stop at the
//! first mistake and lose the line of a relation between two keys. Each part of the file has a module here that owns
//! its keys, their defaults and their limits; `claim` holds the outside addresses of all parts against each other.
//!
//! Invariants of a [`Config`]: names and devices are unique; there is an inside and an outside interface; connected
//! prefixes of two interfaces do not overlap; every next hop is on a connected prefix; no outside address has two
//! users, other than a port forward on a pool's; every pool has a port for every worker; every index is in range.
//!
//! # Example
//! Every mistake is found at once, with its line:
//!
//! ```
//! use natgw_config::Config;
//!
//! let mistakes = Config::parse("[log]\nlevle = \"info\"\nformat = \"xml\"", "gateway.toml").unwrap_err();
//! let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
//! assert!(lines.iter().any(|line| line.starts_with("gateway.toml:2: unknown key in log")));
//! assert!(lines.iter().any(|line| line.starts_with("gateway.toml:3: log.format")));
//! ```

mod added;
mod address;
mod address_conflicts;
mod buffers;
mod decisive;
mod deterministic;
mod diagnostic;
mod dpdk;
mod estimate;
mod explain;
mod forward;
mod holding;
mod interface;
mod limits;
pub mod log;
mod management;
mod nat;
mod neighbor;
mod place;
mod pool;
mod port_block;
mod protocol;
mod reload;
mod route;
mod rule;
mod table_reader;
#[cfg(test)]
mod tests;
mod twice;
mod unique;
mod uplink;
mod value;
mod vdev;

use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use added::{AddedForward, forward_id};
pub use buffers::PacketBuffers;
pub use decisive::decisive_key;
pub use diagnostic::Diagnostic;
pub use dpdk::{Dpdk, Idle, Memory, WORKERS_MAX};
pub use estimate::MemoryEstimate;
pub use forward::{FORWARDED_PORTS_MAX, PORT_FORWARDS_MAX, STATICS_MAX};
pub use holding::Holding;
pub use interface::{Device, INTERFACES_MAX, Interface, Role};
pub use limits::{SESSIONS_MAX, TIMEOUT_MAX_S};
pub use management::{Log, Management, Socket, Token};
pub use neighbor::{NEIGHBORS_MAX, StaticNeighbor};
pub use place::line_of;
pub use pool::{POOL_ADDRESSES_MAX, POOLS_MAX};
pub use reload::{NotNow, Part, Reloaded};
pub use route::{ROUTES_MAX, Route};
pub use rule::RULES_MAX;
pub use twice::TWICE_MAX;
pub use value::Hosts;

use address::ClassE;
use diagnostic::Report;
use forward::Inside;
use natgw_nat::{Settings, Static};
use table_reader::Section;

/// A configuration that can work, as far as a file can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// CPUs, memory and EAL arguments.
    pub dpdk: Dpdk,
    /// The ports, in the file's order.
    pub interfaces: Vec<Interface>,
    /// Static routes, in the file's order.
    pub routes: Vec<Route>,
    /// Static neighbours, in the file's order.
    pub neighbors: Vec<StaticNeighbor>,
    /// The HTTP API.
    pub management: Management,
    /// The log.
    pub log: Log,
    /// What the engine is told.
    pub settings: Settings,
    /// How many of the port forwards, the last ones, are not the file's.
    pub added_forwards: usize,
    /// What is allowed but hardly meant, to be logged at start.
    pub warnings: Vec<Diagnostic>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file was read and is wrong: at least one mistake, by line.
    #[error("{}", lines(.0))]
    Wrong(Vec<Diagnostic>),
}

impl Config {
    /// Reads `file`.
    pub fn load(file: &Path) -> Result<Config, LoadError> {
        Config::load_with_text(file).map(|(config, _)| config)
    }

    /// Reads `file`, and gives its text too.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with_text(file: &Path) -> Result<(Config, String), LoadError> {
        let text = Config::read(file)?;
        let config = Config::parse(&text, &file.display().to_string()).map_err(LoadError::Wrong)?;
        Ok((config, text))
    }

    /// The text of `file`.
    ///
    /// # Errors
    /// It cannot be read, is too large, or is no UTF-8.
    pub fn read(file: &Path) -> Result<String, LoadError> {
        let unreadable = |source| LoadError::Unreadable { path: file.to_owned(), source };
        let mut bytes = Vec::new();
        let mut limited = File::open(file).map_err(unreadable)?.take(FILE_BYTES_MAX + 1);
        limited.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let reason = format!("larger than {FILE_BYTES_MAX} bytes");
            return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, reason)));
        }
        String::from_utf8(bytes).map_err(|error| {
            let (valid, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
            LoadError::Wrong(vec![Diagnostic {
                file: file.display().to_string(),
                line: 1 + bytes[..valid].iter().filter(|byte| **byte == b'\n').count(),
                what: "text".to_owned(),
                found: Some(format!("byte 0x{:02x}", bytes[valid])),
                allowed: Some("UTF-8".to_owned()),
            }])
        })
    }

    /// Reads the text of `file`, whose name is used in messages only. All mistakes are reported, by line.
    ///
    /// ```
    /// let mistakes = natgw_config::Config::parse("[log]\nlevle = \"info\"", "gateway.toml").unwrap_err();
    /// assert!(mistakes.iter().any(|mistake| {
    ///     mistake.to_string()
    ///         == "gateway.toml:2: unknown key in log, found \"levle\", allowed level (nearest), format"
    /// }));
    /// ```
    pub fn parse(text: &str, file: &str) -> Result<Config, Vec<Diagnostic>> {
        Config::parse_with(text, file, &[])
    }

    /// As [`Config::parse`], with port forwards beside those of the file. A mistake in one of them names it.
    pub fn parse_with(text: &str, file: &str, added: &[AddedForward]) -> Result<Config, Vec<Diagnostic>> {
        let (table, syntax_errors) = DeTable::parse_recoverable(text);
        let report = Report::new(file, text, &syntax_errors).with_added(added);
        let config = Section::root(&report, table.get_ref(), read);
        let (mistakes, warnings) = report.finish();
        match config {
            Some(config) if mistakes.is_empty() => {
                Ok(Config { warnings, added_forwards: added.len(), ..config })
            }
            _ => Err(mistakes),
        }
    }

    /// The addresses, other than its own, for which the gateway answers ARP on an interface: those of pools, port
    /// forwards and static mappings that lie in one of an outside interface's connected prefixes. Some may come twice.
    pub fn proxied_addresses<'a>(&'a self, interface: &'a Interface) -> impl Iterator<Item = Ipv4Addr> + 'a {
        let settings = &self.settings;
        let pools = settings.pools.iter().flat_map(|pool| pool.addresses.iter().copied());
        let forwards = settings.port_forwards.iter().map(|forward| forward.external);
        let statics = settings.statics.iter().flat_map(Static::pairs).map(|(external, _)| external);
        pools.chain(forwards).chain(statics).filter(|address| {
            let is_linked = interface.addresses.iter().any(|net| net.contains(address));
            let is_own = interface.addresses.iter().any(|net| net.addr() == *address);
            interface.role == Role::Outside && is_linked && !is_own
        })
    }
}

/// Reads the whole file. `None` only if a mistake was reported.
fn read(root: &mut Section<'_>) -> Option<Config> {
    let dpdk = root.table("dpdk", dpdk::read);
    let class_e = if root.is_set_in("nat", "class_e") { ClassE::Inside } else { ClassE::Reserved };
    let interfaces = interface::read_all(root, class_e);
    let routes = route::read_all(root, interfaces.as_deref(), class_e);
    let neighbors = neighbor::read_all(root, interfaces.as_deref(), class_e);
    let management = root.table("management", management::read);
    let log = root.table("log", management::read_log);

    let workers = dpdk.as_ref().map(|dpdk| dpdk.worker_lcores.len());
    let known = interfaces.as_deref().zip(routes.as_deref());
    let prefixes = known.map(|(interfaces, routes)| route::inside_prefixes(interfaces, routes));
    let inside = interfaces.as_deref().zip(prefixes.as_deref());
    let inside = inside.map(|(interfaces, prefixes)| Inside { interfaces, prefixes, class_e });
    let settings = root.table("nat", |section| {
        let mut claims = Vec::new();
        let pools = pool::read_all(section, interfaces.as_deref(), workers, class_e, &mut claims);
        let rules = rule::read_all(section, &pools, prefixes.as_deref(), class_e);
        let port_forwards = forward::read_forwards(section, inside.as_ref(), &mut claims);
        let statics = forward::read_statics(section, inside.as_ref(), &mut claims);
        let refuse = nat::read_refuse(section);
        let tcp_pickup = nat::read_tcp_pickup(section);
        let unsolicited_syn = nat::read_unsolicited_syn(section);
        let source_route = nat::read_source_route(section);
        let icmp_embedded_checksum = nat::read_icmp_embedded_checksum(section);
        let mss_clamp = nat::read_mss_clamp(section, interfaces.as_deref());
        let class_e = nat::read_class_e(section);
        let twice = twice::read_all(section, inside.as_ref(), &claims);
        let limits = section.table("limits", |limits| limits::read_limits(limits, workers));
        let timeouts = section.table("timeouts", limits::read_timeouts);
        if let Some((interfaces, routes)) = known {
            let neighbors = neighbors.as_deref().unwrap_or_default();
            address_conflicts::refuse_foreign(section.report(), &claims, interfaces, routes, neighbors);
        }
        address_conflicts::refuse_overlaps(section.report(), &claims);
        if let Some((pools, rules)) = pools.whole.as_deref().zip(rules.as_deref()) {
            address_conflicts::refuse_pools_without_ports(
                section.report(),
                &claims,
                pools,
                rules,
                port_forwards.as_deref(),
            );
        }
        if let Some(((interfaces, routes), rules)) = known.zip(rules.as_deref()) {
            uplink::warn_of_other_uplinks(section, &pools, rules, interfaces, routes);
        }
        Some(Settings {
            pools: pools.whole?,
            rules: rules?,
            port_forwards: port_forwards?,
            statics: statics?,
            twice: twice?,
            limits,
            timeouts,
            refuse,
            tcp_pickup,
            unsolicited_syn,
            mss_clamp,
            class_e,
            source_route,
            icmp_embedded_checksum,
            ..Settings::default()
        })
    });

    let (interfaces, routes) = (interfaces?, routes?);
    let facing = |role| interface::Connected(&interfaces).prefixes(role).collect();
    let settings = Settings {
        inside: facing(Role::Inside),
        inside_routed: route::inside_routed(&interfaces, &routes),
        outside: facing(Role::Outside),
        ..settings?
    };
    let interfaces = interfaces.into_iter().map(|draft| draft.interface).collect();
    Some(Config {
        dpdk: dpdk?,
        interfaces,
        routes,
        neighbors: neighbors?,
        management,
        log,
        settings,
        added_forwards: 0,
        warnings: Vec::new(),
    })
}

fn lines(mistakes: &[Diagnostic]) -> String {
    mistakes.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

/// Larger files are not configurations.
const FILE_BYTES_MAX: u64 = 16 << 20;
