//! The file read again while the gateway runs: what of it can come into force, and what has to wait.

use super::Config;
use crate::nat::RuleAction;

/// A configuration for a gateway that runs with another.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// What is in force then: rules, timeouts, subscriber limits and the keys of `[nat]` itself are new, everything else is as it was.
    pub config: Config,
    /// The parts of the file that differ from what runs and need a restart, as the file names them.
    pub needs_restart: Vec<&'static str>,
}

/// A new rule names a pool that the running gateway does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rule uses pool \"{0}\", which is not there before a restart; nothing was changed")]
pub struct UnknownPool(pub String);

impl Config {
    /// What becomes of this configuration, which is in force, when `new` was read.
    ///
    /// # Errors
    /// [`UnknownPool`] where the new rules cannot stand without the new pools.
    pub fn reloaded(&self, new: Config) -> Result<Reloaded, UnknownPool> {
        let (old_nat, new_nat) = (&self.settings, &new.settings);
        let parts = [
            ("dpdk", self.dpdk == new.dpdk),
            ("interfaces", self.interfaces == new.interfaces),
            ("routes", self.routes == new.routes),
            ("nat.pools", old_nat.pools == new_nat.pools),
            ("nat.port_forwards", old_nat.port_forwards == new_nat.port_forwards),
            ("nat.static", old_nat.statics == new_nat.statics),
            ("nat.twice", old_nat.twice == new_nat.twice),
            ("nat.limits.sessions", old_nat.limits.sessions == new_nat.limits.sessions),
            ("nat.limits.fragments", old_nat.limits.fragments == new_nat.limits.fragments),
            ("management", self.management == new.management),
            ("log", self.log == new.log),
        ];
        let needs_restart = parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect();

        let mut rules = new.settings.rules.clone();
        for rule in &mut rules {
            if let RuleAction::Pool(index) = &mut rule.action {
                let name = &new_nat.pools[*index].name;
                let place = old_nat.pools.iter().position(|pool| pool.name == *name);
                *index = place.ok_or_else(|| UnknownPool(name.clone()))?;
            }
        }
        let mut config = Config { warnings: new.warnings, ..self.clone() };
        config.settings.rules = rules;
        config.settings.timeouts = new.settings.timeouts;
        config.settings.refuse = new.settings.refuse;
        config.settings.unsolicited_syn = new.settings.unsolicited_syn;
        config.settings.mss_clamp = new.settings.mss_clamp;
        config.settings.limits = crate::nat::Limits {
            sessions: old_nat.limits.sessions,
            fragments: old_nat.limits.fragments,
            ..new.settings.limits
        };
        Ok(Reloaded { config, needs_restart })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../tests/config/example.toml");

    fn parse(text: &str) -> Config {
        Config::parse(text, "example.toml").expect("a good file")
    }

    #[test]
    fn rules_timeouts_and_limits_come_into_force() {
        let old = parse(FILE);
        let drop = "[[nat.rules]]\nsource = \"10.64.0.7\"\naction = \"drop\"\n\n[[nat.rules]]";
        let text = FILE.replacen("[[nat.rules]]", drop, 1).replace("udp = 300", "udp = 200");
        let text = text.replace("ports_per_subscriber = 1024", "ports_per_subscriber = 99");
        let text =
            format!("{text}\n[nat]\nrefuse = \"drop\"\nunsolicited_syn = \"drop\"\nmss_clamp = 1300\n");
        let new = parse(&text);
        let reloaded = old.reloaded(new.clone()).unwrap();
        assert_eq!(reloaded.config, new);
        assert_eq!(reloaded.needs_restart, [""; 0]);
        assert_eq!(reloaded.config.settings.timeouts.udp_s, 200);
        assert_eq!(reloaded.config.settings.limits.ports_per_subscriber, 99);
        assert_eq!(reloaded.config.settings.rules.len(), old.settings.rules.len() + 1);
    }

    #[test]
    fn everything_else_waits_for_a_restart() {
        let old = parse(FILE);
        let text = FILE
            .replace("mtu = 1500", "mtu = 1400")
            .replace("1_000_000", "2_000_000")
            .replace("203.0.113.13:8080", "203.0.113.13:8081");
        let reloaded = old.reloaded(parse(&text)).unwrap();
        assert_eq!(reloaded.needs_restart, ["interfaces", "nat.port_forwards", "nat.limits.sessions"]);
        assert_eq!(reloaded.config, old);
    }

    #[test]
    fn rules_find_their_pools_by_name() {
        let pool = "[[nat.pools]]\nname = \"first\"\naddresses = [\"203.0.113.40\"]\n\n[[nat.pools]]";
        let text = FILE.replacen("[[nat.pools]]", pool, 1);
        let old = parse(FILE);
        let reloaded = old.reloaded(parse(&text)).unwrap();
        assert_eq!(reloaded.config.settings, old.settings);
        assert_eq!(reloaded.needs_restart, ["nat.pools"]);
        let text = text.replacen("pool = \"main\"", "pool = \"first\"", 1);
        assert_eq!(old.reloaded(parse(&text)).unwrap_err(), UnknownPool("first".into()));
    }
}
