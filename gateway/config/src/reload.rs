//! The file read again while the gateway runs: what of it can come into force, and what has to wait.

use std::fmt;

use super::Config;
use natgw_nat::{Limits, Pool, RuleAction, Settings};

/// A configuration for a gateway that runs with another.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// What is in force then. Pools stand where they stood; one that is gone has left its place, without an address.
    pub config: Config,
    /// What differs from the configuration before, and comes into force with this one.
    pub applied: Vec<Part>,
    /// What differs from the configuration before, and comes into force by a restart.
    pub needs_restart: Vec<Part>,
}

/// A part of the configuration in which two files can differ. As text, its key in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// `dpdk`.
    Dpdk,
    /// `interfaces`.
    Interfaces,
    /// `nat.limits.sessions`: the size of the tables.
    Sessions,
    /// `nat.limits.subscribers`: the size of the tables.
    Subscribers,
    /// `nat.limits.fragments`: the size of the tables.
    Fragments,
    /// `management`.
    Management,
    /// `log`.
    Log,
    /// A key of one of the pools, on which mappings stand.
    Pool {
        /// The pool.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// `routes`.
    Routes,
    /// `neighbors`.
    Neighbors,
    /// `nat.pools`.
    Pools,
    /// `nat.port_forwards`.
    PortForwards,
    /// `nat.static`.
    Static,
    /// `nat.twice`.
    Twice,
    /// `nat.class_e`.
    ClassE,
    /// `nat.rules`.
    Rules,
    /// `nat.timeouts`.
    Timeouts,
    /// `nat.limits` but for the sizes of the tables.
    Limits,
    /// `nat.refuse`.
    Refuse,
    /// `nat.tcp_pickup`.
    TcpPickup,
    /// `nat.unsolicited_syn`.
    UnsolicitedSyn,
    /// `nat.mss_clamp`.
    MssClamp,
    /// `nat.source_route`.
    SourceRoute,
    /// `nat.icmp_embedded_checksum`.
    IcmpEmbeddedChecksum,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Dpdk => "dpdk",
            Part::Interfaces => "interfaces",
            Part::Sessions => "nat.limits.sessions",
            Part::Subscribers => "nat.limits.subscribers",
            Part::Fragments => "nat.limits.fragments",
            Part::Management => "management",
            Part::Log => "log",
            Part::Pool { name, key } => return write!(f, "nat.pools.{name}.{key}"),
            Part::Routes => "routes",
            Part::Neighbors => "neighbors",
            Part::Pools => "nat.pools",
            Part::PortForwards => "nat.port_forwards",
            Part::Static => "nat.static",
            Part::Twice => "nat.twice",
            Part::ClassE => "nat.class_e",
            Part::Rules => "nat.rules",
            Part::Timeouts => "nat.timeouts",
            Part::Limits => "nat.limits",
            Part::Refuse => "nat.refuse",
            Part::TcpPickup => "nat.tcp_pickup",
            Part::UnsolicitedSyn => "nat.unsolicited_syn",
            Part::MssClamp => "nat.mss_clamp",
            Part::SourceRoute => "nat.source_route",
            Part::IcmpEmbeddedChecksum => "nat.icmp_embedded_checksum",
        })
    }
}

/// A part, and whether it is the same in two configurations.
type Comparison = (Part, fn(&Config, &Config) -> bool);

/// What the machine, the tables and the process got at start.
const NEEDS_RESTART: [Comparison; 7] = [
    (Part::Dpdk, |old, new| old.dpdk == new.dpdk),
    (Part::Interfaces, |old, new| old.interfaces == new.interfaces),
    (Part::Sessions, |old, new| old.settings.limits.sessions == new.settings.limits.sessions),
    (Part::Subscribers, |old, new| old.settings.limits.subscribers == new.settings.limits.subscribers),
    (Part::Fragments, |old, new| old.settings.limits.fragments == new.settings.limits.fragments),
    (Part::Management, |old, new| old.management == new.management),
    (Part::Log, |old, new| old.log == new.log),
];

/// These were checked against the interfaces of their file, and are applied with them.
const NEEDS_INTERFACES: [Comparison; 7] = [
    (Part::Routes, |old, new| old.routes == new.routes),
    (Part::Neighbors, |old, new| old.neighbors == new.neighbors),
    (Part::Pools, |old, new| old.settings.pools == new.settings.pools),
    (Part::PortForwards, |old, new| old.settings.port_forwards == new.settings.port_forwards),
    (Part::Static, |old, new| old.settings.statics == new.settings.statics),
    (Part::Twice, |old, new| old.settings.twice == new.settings.twice),
    (Part::ClassE, |old, new| old.settings.class_e == new.settings.class_e),
];

/// Every reload applies these.
const NEEDS_NOTHING: [Comparison; 9] = [
    (Part::Rules, |old, new| old.settings.rules == new.settings.rules),
    (Part::Timeouts, |old, new| old.settings.timeouts == new.settings.timeouts),
    (Part::Limits, |old, new| {
        let Limits { sessions, subscribers, fragments, .. } = old.settings.limits;
        old.settings.limits == Limits { sessions, subscribers, fragments, ..new.settings.limits }
    }),
    (Part::Refuse, |old, new| old.settings.refuse == new.settings.refuse),
    (Part::TcpPickup, |old, new| old.settings.tcp_pickup == new.settings.tcp_pickup),
    (Part::UnsolicitedSyn, |old, new| old.settings.unsolicited_syn == new.settings.unsolicited_syn),
    (Part::MssClamp, |old, new| old.settings.mss_clamp == new.settings.mss_clamp),
    (Part::SourceRoute, |old, new| old.settings.source_route == new.settings.source_route),
    (Part::IcmpEmbeddedChecksum, |old, new| {
        old.settings.icmp_embedded_checksum == new.settings.icmp_embedded_checksum
    }),
];

/// The parts in which `new` differs from `old`.
fn differing(parts: &[Comparison], old: &Config, new: &Config) -> Vec<Part> {
    parts.iter().filter(|(_, is_same)| !is_same(old, new)).map(|(part, _)| part.clone()).collect()
}

/// Why the new configuration cannot come into force, not even a part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// The interfaces differ, so the pools stay, and a new rule names another.
    #[error(
        "a rule uses pool \"{0}\", which is not there before a restart, as the interfaces differ; nothing was changed"
    )]
    UnknownPool(String),
    /// There are no tables for such a pool.
    #[error(
        "pool \"{pool}\" needs a restart: no pool had {key} when the gateway started; nothing was changed"
    )]
    NoTables {
        /// The new pool.
        pool: String,
        /// What needs them.
        key: &'static str,
    },
}

impl Config {
    /// What becomes of this configuration, which is in force, when `new` was read.
    ///
    /// # Errors
    /// See [`NotNow`].
    pub fn reloaded(&self, new: Config) -> Result<Reloaded, NotNow> {
        let mut needs_restart = differing(&NEEDS_RESTART, self, &new);
        let has_these_interfaces = self.interfaces == new.interfaces;
        let mut settings = new.settings;
        needs_restart.extend(keep_places(&self.settings.pools, &mut settings)?);
        let Limits { sessions, subscribers, fragments, .. } = self.settings.limits;
        settings.limits = Limits { sessions, subscribers, fragments, ..settings.limits };
        let mut config = Config {
            warnings: new.warnings,
            routes: new.routes,
            added_forwards: new.added_forwards,
            neighbors: new.neighbors,
            settings,
            ..self.clone()
        };
        let mut applied = differing(&NEEDS_NOTHING, self, &config);
        let with_interfaces = differing(&NEEDS_INTERFACES, self, &config);
        if has_these_interfaces {
            applied.extend(with_interfaces);
        } else {
            config.keep_what_needs_interfaces(self)?;
            needs_restart.extend(with_interfaces);
        }
        Ok(Reloaded { config, applied, needs_restart })
    }

    /// Other interfaces come with a restart, and what was checked against them ([`NEEDS_INTERFACES`]) comes with them.
    fn keep_what_needs_interfaces(&mut self, old: &Config) -> Result<(), NotNow> {
        let (settings, in_force) = (&mut self.settings, &old.settings);
        for rule in &settings.rules {
            let RuleAction::Pool(place) = rule.action else { continue };
            let name = &settings.pools[place].name;
            if in_force.pools.get(place).is_none_or(|pool| pool.name != *name) {
                return Err(NotNow::UnknownPool(name.clone()));
            }
        }
        self.routes.clone_from(&old.routes);
        self.neighbors.clone_from(&old.neighbors);
        // Every field is named, so that a new one is thought of.
        *settings = Settings {
            inside: in_force.inside.clone(),
            inside_routed: in_force.inside_routed.clone(),
            outside: in_force.outside.clone(),
            pools: in_force.pools.clone(),
            rules: std::mem::take(&mut settings.rules),
            port_forwards: in_force.port_forwards.clone(),
            statics: in_force.statics.clone(),
            twice: in_force.twice.clone(),
            limits: settings.limits,
            timeouts: settings.timeouts,
            refuse: settings.refuse,
            tcp_pickup: settings.tcp_pickup,
            unsolicited_syn: settings.unsolicited_syn,
            mss_clamp: settings.mss_clamp,
            class_e: in_force.class_e,
            source_route: settings.source_route,
            icmp_embedded_checksum: settings.icmp_embedded_checksum,
        };
        Ok(())
    }
}

/// Lets the pools of `settings` stand where `old` ones of the same name stand, and the others at places that nothing is left at or
/// behind them all. What has to stay as it is, as far as it does.
fn keep_places(old: &[Pool], settings: &mut Settings) -> Result<Vec<Part>, NotNow> {
    let mut needs_restart = Vec::new();
    let mut places: Vec<Pool> =
        old.iter().map(|pool| Pool { addresses: Vec::new(), ..pool.clone() }).collect();
    let mut empty: Vec<usize> = (0..old.len()).rev().filter(|&place| old[place].is_removed()).collect();
    let mut moved = Vec::new();
    for pool in &settings.pools {
        let place = match old.iter().position(|old| old.name == pool.name && !old.is_removed()) {
            Some(place) => place,
            None => {
                has_tables(old, pool)?;
                empty.pop().unwrap_or(places.len())
            }
        };
        let stays = old.get(place).filter(|old| old.name == pool.name && !old.is_removed());
        let stands = match stays.map_or(Ok(()), |old| old.can_become(pool)) {
            Ok(()) => pool.clone(),
            Err(key) => {
                needs_restart.push(Part::Pool { name: pool.name.clone(), key });
                old[place].clone()
            }
        };
        moved.push(place);
        if place == places.len() { places.push(stands) } else { places[place] = stands }
    }
    for rule in &mut settings.rules {
        if let RuleAction::Pool(index) = &mut rule.action {
            *index = moved[*index];
        }
    }
    settings.pools = places;
    Ok(needs_restart)
}

fn has_tables(old: &[Pool], new: &Pool) -> Result<(), NotNow> {
    let needs = |key, of: fn(&Pool) -> bool| {
        let has = !of(new) || old.iter().any(of);
        if has { Ok(()) } else { Err(NotNow::NoTables { pool: new.name.clone(), key }) }
    };
    needs("address-and-port-dependent mapping", |pool| pool.shares_ports())?;
    needs("port blocks", |pool| pool.port_blocks.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../fixtures/example.toml");

    fn parse(text: &str) -> Config {
        Config::parse(text, "example.toml").expect("a good file")
    }

    #[test]
    fn every_part_stands_in_the_reference() {
        let parts = [&NEEDS_RESTART[..], &NEEDS_INTERFACES, &NEEDS_NOTHING].concat();
        for (part, _) in parts {
            assert!(crate::tests::stands_in_the_reference(&part.to_string()), "{part}");
        }
    }

    fn texts(parts: &[Part]) -> Vec<String> {
        parts.iter().map(Part::to_string).collect()
    }

    #[test]
    fn rules_timeouts_and_limits_come_into_force() {
        let old = parse(FILE);
        let drop = "[[nat.rules]]\nsource = \"10.64.0.7\"\naction = \"drop\"\n\n[[nat.rules]]";
        let text = FILE.replacen("[[nat.rules]]", drop, 1).replace("udp = 300", "udp = 200");
        let text = text.replace("ports_per_subscriber = 1024", "ports_per_subscriber = 99");
        let text =
            format!("{text}\n[nat]\nrefuse = \"drop\"\nunsolicited_syn = \"drop\"\nmss_clamp = 1300\n");
        let text =
            format!("{text}tcp_pickup = true\nsource_route = \"pass\"\nicmp_embedded_checksum = \"drop\"\n");
        let new = parse(&text);
        let reloaded = old.reloaded(new.clone()).unwrap();
        assert!(reloaded.config.settings.tcp_pickup);
        assert_eq!(reloaded.config, new);
        assert_eq!(texts(&reloaded.needs_restart), [""; 0]);
        assert_eq!(reloaded.config.settings.timeouts.udp_s, 200);
        assert_eq!(reloaded.config.settings.limits.ports_per_subscriber, 99);
        assert_eq!(reloaded.config.settings.rules.len(), old.settings.rules.len() + 1);
        assert_eq!(
            reloaded.applied,
            [
                Part::Rules,
                Part::Timeouts,
                Part::Limits,
                Part::Refuse,
                Part::TcpPickup,
                Part::UnsolicitedSyn,
                Part::MssClamp,
                Part::SourceRoute,
                Part::IcmpEmbeddedChecksum,
            ]
        );
    }

    #[test]
    fn what_the_machine_has_waits_for_a_restart() {
        let old = parse(FILE);
        let text = FILE.replace("mtu = 1500", "mtu = 1400").replace("1_000_000", "2_000_000");
        let reloaded = old.reloaded(parse(&text)).unwrap();
        let limits = ["nat.limits.sessions", "nat.limits.subscribers"];
        assert_eq!(texts(&reloaded.needs_restart), [&["interfaces"][..], &limits].concat());
        assert_eq!(reloaded.applied, []);
        assert_eq!(reloaded.config, old);
        // What was checked against other interfaces waits with them.
        let reloaded = old.reloaded(parse(&text.replace("203.0.113.13:8080", "203.0.113.13:8081"))).unwrap();
        let waiting = [&["interfaces"][..], &limits, &["nat.port_forwards"]].concat();
        assert_eq!(texts(&reloaded.needs_restart), waiting);
        assert_eq!(reloaded.applied, []);
        assert_eq!(reloaded.config, old);
    }

    #[test]
    fn forwards_static_mappings_twice_nat_and_routes_come_into_force() {
        let old = parse(FILE);
        let more = "\n[[nat.twice]]\nexternal = \"10.64.0.0/24\"\ninternal = \"10.99.0.0/24\"\n\n\
                    [[routes]]\nprefix = \"198.51.100.0/24\"\nvia = \"203.0.113.9\"\n";
        let text =
            FILE.replace("203.0.113.13:8080", "203.0.113.13:8081").replace("203.0.113.20", "203.0.113.21");
        let new = parse(&format!("{text}{more}"));
        let reloaded = old.reloaded(new.clone()).unwrap();
        assert_eq!((reloaded.config, reloaded.needs_restart), (new, Vec::new()));
        assert_eq!(texts(&reloaded.applied), ["routes", "nat.port_forwards", "nat.static", "nat.twice"]);
    }

    #[test]
    fn class_e_comes_into_force_and_waits_with_other_interfaces() {
        let old = parse(FILE);
        let class_e = "\n[nat]\nclass_e = true\n";
        let reloaded = old.reloaded(parse(&format!("{FILE}{class_e}"))).unwrap();
        assert_eq!((texts(&reloaded.applied), reloaded.needs_restart), (vec!["nat.class_e".into()], vec![]));
        assert!(reloaded.config.settings.class_e);
        let text = FILE.replace("mtu = 1500", "mtu = 1400");
        let reloaded = old.reloaded(parse(&format!("{text}{class_e}"))).unwrap();
        assert_eq!(
            (reloaded.applied, texts(&reloaded.needs_restart)),
            (vec![], vec!["interfaces".into(), "nat.class_e".into()])
        );
        assert_eq!(reloaded.config, old);
    }

    const FIRST: &str = "[[nat.pools]]\nname = \"first\"\naddresses = [\"203.0.113.40\"]\n\n[[nat.pools]]";
    const OTHER: &str = "[[nat.pools]]\nname = \"other\"\naddresses = [\"203.0.113.41\"]\n\n[[nat.pools]]";

    fn names(config: &Config) -> Vec<(&str, usize)> {
        config.settings.pools.iter().map(|pool| (pool.name.as_str(), pool.addresses.len())).collect()
    }

    /// The pool of the first rule, by name.
    fn first_rule(config: &Config) -> &str {
        match config.settings.rules[0].action {
            RuleAction::Pool(place) => &config.settings.pools[place].name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pools_keep_their_places_and_rules_find_them() {
        let old = parse(FILE);
        let text =
            FILE.replacen("[[nat.pools]]", FIRST, 1).replacen("pool = \"main\"", "pool = \"first\"", 1);
        let two = old.reloaded(parse(&text)).unwrap();
        assert_eq!((names(&two.config), first_rule(&two.config)), (vec![("main", 3), ("first", 1)], "first"));
        assert_eq!(texts(&two.needs_restart), [""; 0]);
        // One that goes leaves its place, another takes it, and it comes back elsewhere.
        let one = two.config.reloaded(parse(FILE)).unwrap();
        assert_eq!(names(&one.config), [("main", 3), ("first", 0)]);
        assert_eq!(one.config.explain(), old.explain());
        let again = one.config.reloaded(parse(&text)).unwrap();
        assert_eq!(names(&again.config), [("main", 3), ("first", 1)]);
        let other = one.config.reloaded(parse(&FILE.replacen("[[nat.pools]]", OTHER, 1))).unwrap();
        assert_eq!(names(&other.config), [("main", 3), ("other", 1)]);
    }

    #[test]
    fn what_mappings_stand_on_waits_for_a_restart() {
        let old = parse(FILE);
        let block = "[[nat.pools]]\nport_block_size = 64\nport_blocks_per_subscriber = 2";
        let reloaded = old.reloaded(parse(&FILE.replacen("[[nat.pools]]", block, 1))).unwrap();
        assert_eq!(texts(&reloaded.needs_restart), ["nat.pools.main.port_block_size"]);
        assert_eq!(reloaded.config, old);
        // Addresses come to blocks, and go.
        let few = parse(&FILE.replacen("[[nat.pools]]", block, 1));
        let more = parse(
            &FILE
                .replacen("[[nat.pools]]", block, 1)
                .replace("10-203.0.113.12", "10-203.0.113.12\", \"203.0.113.44"),
        );
        let grown = few.reloaded(more.clone()).unwrap();
        assert_eq!((grown.needs_restart, names(&grown.config)), (vec![], vec![("main", 4)]));
        let shrunk = more.reloaded(few).unwrap();
        assert_eq!((shrunk.needs_restart, names(&shrunk.config)), (vec![], vec![("main", 3)]));
        let shared = FILE.replace("\"endpoint-independent\"", "\"address-and-port-dependent\"");
        let reloaded = old.reloaded(parse(&shared)).unwrap();
        assert_eq!(texts(&reloaded.needs_restart), ["nat.pools.main.mapping"]);
        assert_eq!(reloaded.config.settings, old.settings);
    }

    #[test]
    fn an_address_changes_hands_in_one_reload() {
        let old = parse(FILE);
        let given = FILE.replace("203.0.113.10-203.0.113.12", "203.0.113.10-203.0.113.11");
        let given = given.replacen("[[nat.pools]]", &OTHER.replace("203.0.113.41", "203.0.113.12"), 1);
        let new = old.reloaded(parse(&given)).unwrap();
        assert_eq!(names(&new.config), [("main", 2), ("other", 1)]);
        assert_eq!(texts(&new.needs_restart), [""; 0]);
    }

    #[test]
    fn a_kind_of_pool_that_has_no_tables_is_refused() {
        let old = parse(FILE);
        let shared = OTHER.replacen("name", "mapping = \"address-and-port-dependent\"\nname", 1);
        let text = FILE.replacen("[[nat.pools]]", &shared, 1);
        assert_eq!(
            old.reloaded(parse(&text)).unwrap_err().to_string(),
            "pool \"other\" needs a restart: no pool had address-and-port-dependent mapping when the gateway started; \
             nothing was changed"
        );
    }

    #[test]
    fn forwards_come_to_shared_ports() {
        let shared = FILE.replace("\"endpoint-independent\"", "\"address-and-port-dependent\"");
        let old = parse(&shared);
        let new = parse(&shared.replace("203.0.113.13:8080", "203.0.113.10:8080"));
        assert_eq!(old.reloaded(new.clone()).unwrap().config, new);
        assert_eq!(new.reloaded(old.clone()).unwrap().config, old);
    }

    #[test]
    fn with_other_interfaces_a_rule_cannot_name_a_new_pool() {
        let old = parse(FILE);
        let text = FILE.replacen("[[nat.pools]]", FIRST, 1).replace("mtu = 1500", "mtu = 1400");
        assert_eq!(old.reloaded(parse(&text)).unwrap().config.settings, old.settings);
        let text = text.replacen("pool = \"main\"", "pool = \"first\"", 1);
        assert_eq!(old.reloaded(parse(&text)).unwrap_err(), NotNow::UnknownPool("first".into()));
    }
}
