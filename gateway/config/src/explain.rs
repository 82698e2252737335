//! Says in words what a configuration means: `nat-gateway check`.

use std::fmt::{self, Write};

use super::pool::{FILTERINGS, MAPPINGS};
use super::protocol;
use super::value::{ALL_PORTS, Hosts, Ports};
use super::{Config, Device, Interface, Memory, Socket};
use natgw_nat::{
    ForwardSource, OtherProtocols, Pool, PortBlocks, PortForward, Protocol, Ranges, Refuse, Rule, RuleAction,
};

impl Config {
    /// What this configuration makes the gateway do, for a person.
    pub fn explain(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a String takes everything");
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let workers: Vec<String> = self.dpdk.worker_lcores.iter().map(u16::to_string).collect();
        writeln!(
            out,
            "CPUs: management on {}, {} on {}",
            self.dpdk.main_lcore,
            counted(workers.len() as u64, "worker"),
            workers.join(", ")
        )?;
        writeln!(out, "idle: {}; memory: {}", self.dpdk.idle.name(), self.dpdk.memory.name())?;
        if !self.dpdk.eal_args.is_empty() {
            writeln!(out, "further EAL arguments: {}", self.dpdk.eal_args.join(" "))?;
        }

        writeln!(out, "\nInterfaces")?;
        for interface in &self.interfaces {
            writeln!(out, "  {}", describe_interface(interface))?;
        }
        if !self.routes.is_empty() {
            writeln!(out, "\nRoutes")?;
            for route in &self.routes {
                let interface = &self.interfaces[route.interface].name;
                writeln!(out, "  {} via {} on {interface}", route.prefix, route.via)?;
            }
        }
        if !self.neighbors.is_empty() {
            writeln!(out, "\nStatic neighbors")?;
            for neighbor in &self.neighbors {
                let interface = &self.interfaces[neighbor.interface].name;
                writeln!(out, "  {} at {} on {interface}", neighbor.address, neighbor.mac)?;
            }
        }
        self.write_nat(out)?;

        let (limits, timeouts) = (&self.settings.limits, &self.settings.timeouts);
        writeln!(out, "\nLimits")?;
        writeln!(
            out,
            "  {}, {} and {} in fragments in all",
            counted(limits.sessions.into(), "session"),
            counted(limits.subscribers.into(), "subscriber"),
            counted(limits.fragments.into(), "datagram")
        )?;
        writeln!(
            out,
            "  each subscriber: {} per protocol, {} per second, {} in fragments",
            counted(limits.ports_per_subscriber.into(), "port"),
            counted(limits.new_sessions_per_subscriber_per_s.into(), "new session"),
            counted(limits.fragments_per_subscriber.into(), "datagram")
        )?;
        self.write_subscriber_limits(out)?;
        writeln!(out, "  redirects: {}", counted(limits.redirected_sessions.into(), "session"))?;
        writeln!(out, "\nIdle timeouts")?;
        writeln!(
            out,
            "  udp {} s, dns {} s, icmp {} s, other {} s",
            timeouts.udp_s, timeouts.udp_dns_s, timeouts.icmp_s, timeouts.other_s
        )?;
        writeln!(
            out,
            "  tcp {} s established, {} s opening, {} s closing",
            timeouts.tcp_established_s, timeouts.tcp_opening_s, timeouts.tcp_closing_s
        )?;
        if self.settings.unsolicited_syn == Refuse::Reject {
            let seconds = timeouts.tcp_unsolicited_syn_s;
            writeln!(out, "  a connection from outside that is not let in is refused after {seconds} s")?;
        }
        writeln!(out, "  redirects {} s half open", timeouts.redirect_half_open_s)?;
        writeln!(out, "  a freed port rests {} s", timeouts.port_hold_s)?;
        writeln!(out, "  the rest of a datagram in fragments {} s", timeouts.fragment_s)?;

        writeln!(out, "\nManagement")?;
        let token = if self.management.token.is_some() { "changes need the token" } else { "reads only" };
        writeln!(out, "  http://{} ({token})", self.management.listen)?;
        let Socket { path, mode, group } = &self.management.socket;
        let group = group.as_ref().map(|group| format!(", group {group}")).unwrap_or_default();
        writeln!(out, "  {}, mode {mode:04o}{group}", path.display())?;

        self.write_memory(out)
    }

    fn write_memory(&self, out: &mut String) -> fmt::Result {
        let memory = self.memory_estimate(self.dpdk.memory != Memory::NoHuge);
        writeln!(out, "\nMemory, about {}", mebibytes(memory.total()))?;
        writeln!(
            out,
            "  sessions {}, ports {}, fragments {}, packet buffers {}, DPDK and the program {}",
            mebibytes(memory.sessions),
            mebibytes(memory.ports),
            mebibytes(memory.fragments),
            mebibytes(memory.buffers),
            mebibytes(memory.program)
        )?;
        writeln!(
            out,
            "  a session takes {} bytes with all that belongs to it; tables have indexes of powers of two, so that it is \
             least just below a step",
            self.bytes_per_session()
        )?;
        if self.dpdk.memory == Memory::Auto {
            let ordinary = self.memory_estimate(false).total();
            writeln!(out, "  without enough huge pages {}", mebibytes(ordinary))?;
        }
        Ok(())
    }

    fn write_subscriber_limits(&self, out: &mut String) -> fmt::Result {
        let limits = &self.settings.limits;
        let most = |limit: u32, noun| match limit {
            u32::MAX => format!("any number of {noun}s"),
            limit => counted(limit.into(), noun),
        };
        let sessions = most(limits.sessions_per_subscriber, "session");
        write!(out, "  each: {sessions}, {}", most(limits.half_open_per_subscriber, "half-open connection"))?;
        for protocol in Protocol::ALL {
            if let Some(&Some(ports)) = limits.protocol_ports_per_subscriber.get(protocol as usize) {
                write!(out, ", {} {}", counted(ports.into(), "port"), protocol.name())?;
            }
            let sessions = limits.protocol_sessions_per_subscriber[protocol as usize];
            if sessions != u32::MAX {
                write!(out, ", {} {}", counted(sessions.into(), "session"), protocol.name())?;
            }
            let rate = limits.protocol_new_sessions_per_subscriber_per_s[protocol as usize];
            if rate != u32::MAX {
                write!(out, ", {} per second {}", counted(rate.into(), "new session"), protocol.name())?;
            }
        }
        writeln!(out)
    }

    fn write_nat(&self, out: &mut String) -> fmt::Result {
        let settings = &self.settings;
        let mut pools = settings.pools.iter().filter(|pool| !pool.is_removed()).peekable();
        if pools.peek().is_some() {
            writeln!(out, "\nPools")?;
        }
        for pool in pools {
            writeln!(out, "  {}", self.describe_pool(pool))?;
        }
        writeln!(out, "\nRules, the first match decides")?;
        for (nth, rule) in settings.rules.iter().enumerate() {
            writeln!(out, "  {}. {}", nth + 1, self.describe_rule(rule))?;
        }
        writeln!(out, "  no match: not forwarded")?;
        if settings.refuse == Refuse::Reject {
            writeln!(
                out,
                "  a refused session is answered by ICMP, TCP without a session or to the gateway by RST"
            )?;
        }
        if settings.tcp_pickup {
            writeln!(out, "  TCP streams are taken up in the middle")?;
        }
        if let Some(octets) = settings.mss_clamp {
            writeln!(out, "  TCP segments of {octets} bytes at most are offered")?;
        }
        if !settings.port_forwards.is_empty() {
            writeln!(out, "\nPort forwards")?;
        }
        for forward in &settings.port_forwards {
            writeln!(out, "  {}", describe_forward(forward))?;
        }
        if !settings.statics.is_empty() {
            writeln!(out, "\nStatic 1:1")?;
        }
        for mapping in &settings.statics {
            writeln!(out, "  {} is {} outside", Hosts(mapping.internal), Hosts(mapping.external))?;
        }
        if !settings.twice.is_empty() {
            writeln!(out, "\nTwice NAT")?;
        }
        for twice in &settings.twice {
            writeln!(out, "  outside hosts {} are {} inside", Hosts(twice.external), Hosts(twice.internal))?;
        }
        Ok(())
    }

    fn describe_pool(&self, pool: &Pool) -> String {
        let own = self
            .interfaces
            .iter()
            .flat_map(|interface| &interface.addresses)
            .any(|net| pool.addresses == [net.addr()]);
        let (first, last) = (pool.addresses.first(), pool.addresses.last());
        let addresses = match (first, last) {
            (Some(only), Some(last)) if only == last && own => format!("the gateway's own {only}"),
            (Some(first), Some(last)) if first != last => {
                format!("{} ({first} to {last})", counted(pool.addresses.len() as u64, "address"))
            }
            (Some(only), _) => only.to_string(),
            (None, _) => "no address".to_owned(),
        };
        let mut text = format!(
            "{}: {addresses}, ports {}: {} per protocol; {} mapping, {} filtering",
            pool.name,
            Ports(&pool.ports),
            counted(ports_of(pool), "port"),
            word(&MAPPINGS, pool.mapping),
            word(&FILTERINGS, pool.filtering),
        );
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let filtering = pool.filtering_of(protocol);
            if filtering != pool.filtering {
                text += &format!(", {} for {}", word(&FILTERINGS, filtering), protocol.name());
            }
        }
        if let Some(PortBlocks { size, per_subscriber }) = &pool.port_blocks {
            text += &format!(
                "; {} of {size} ports, at most {per_subscriber} for each subscriber",
                counted(blocks_of(pool), "block")
            );
        }
        if let (Some(ranges), Some(whose)) = (Ranges::of(pool), &pool.deterministic) {
            let inside: Vec<String> = whose.inside.iter().map(|net| Hosts(*net).to_string()).collect();
            text += &format!(
                "; deterministic for {} of {}: {} each, {} to an address",
                counted(whose.subscribers(), "address"),
                inside.join(", "),
                counted(whose.size.into(), "port"),
                ranges.ratio()
            );
        }
        if !pool.port_parity {
            text += "; parity is not kept";
        }
        if !pool.port_preservation {
            text += "; inside ports are not preserved";
        }
        if pool.other_protocols != OtherProtocols::NONE {
            text += &format!("; also {} by address", protocol::list(pool.other_protocols));
        }
        if pool.ping {
            text += "; pings of it are answered";
        }
        text
    }

    fn describe_rule(&self, rule: &Rule) -> String {
        let destination = match rule.destination.prefix_len() {
            0 => "anywhere".to_owned(),
            _ => rule.destination.to_string(),
        };
        let with_ports = rule.ports != ALL_PORTS || rule.source_ports != ALL_PORTS;
        let mut traffic = match rule.protocol {
            None if with_ports => "tcp and udp".to_owned(),
            None => "everything".to_owned(),
            Some(Protocol::Other) => protocol::name_of_rule(rule),
            Some(protocol) => protocol.name().to_owned(),
        };
        for (end, ports) in [("from", &rule.source_ports), ("to", &rule.ports)] {
            if *ports != ALL_PORTS && rule.protocol != Some(Protocol::Other) {
                traffic.push_str(&format!(" {end} port {}", Ports(ports)));
            }
        }
        if !rule.icmp_types.is_empty() {
            let types: Vec<String> = rule.icmp_types.iter().map(u8::to_string).collect();
            traffic.push_str(&format!(" of type {}", types.join(", ")));
        }
        let action = match rule.action {
            RuleAction::Pool(pool) => format!("translate from pool {}", self.settings.pools[pool].name),
            RuleAction::Exempt => "forward without translation".to_owned(),
            RuleAction::Reject => "drop, and tell the sender".to_owned(),
            RuleAction::Drop => "drop".to_owned(),
        };
        format!("{} to {destination}, {traffic}: {action}", rule.source)
    }
}

fn describe_interface(interface: &Interface) -> String {
    let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
    let bus = match interface.device {
        Device::Vdev(_) => "vdev",
        Device::Pci(_) => "PCI",
    };
    let mut text = format!(
        "{} faces {}: {bus} {}, {}, MTU {}",
        interface.name,
        interface.role.name(),
        interface.device,
        addresses.join(", "),
        interface.mtu
    );
    if let Some(vlan) = interface.vlan {
        text.push_str(&format!(", VLAN {vlan}"));
    }
    if let Some(mac) = interface.mac {
        text.push_str(&format!(", MAC {mac}"));
    }
    if interface.promiscuous {
        text.push_str(", promiscuous");
    }
    text
}

fn describe_forward(forward: &PortForward) -> String {
    let internal_last = forward.internal_port + (forward.external_ports.len() - 1) as u16;
    let source = match forward.source {
        ForwardSource::Remote => "",
        ForwardSource::Gateway => ", which sees the gateway as source",
    };
    format!(
        "{} {}:{} goes to {}:{}{source}",
        forward.protocol.name(),
        forward.external,
        Ports(&forward.external_ports),
        forward.internal,
        Ports(&(forward.internal_port..=internal_last)),
    )
}

/// Ports that can be handed out.
fn ports_of(pool: &Pool) -> u64 {
    let ports = pool.block_grid().map_or(pool.ports.clone(), |grid| grid.run(0, grid.count()));
    pool.addresses.len() as u64 * ports.len() as u64
}

pub(super) fn blocks_of(pool: &Pool) -> u64 {
    let grid = pool.block_grid().filter(|_| pool.port_blocks.is_some());
    grid.map_or(0, |grid| pool.addresses.len() as u64 * u64::from(grid.count()))
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("?", |(word, _)| word)
}

/// `193,536 ports`, `1 port`.
fn counted(count: u64, noun: &str) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let plural = match (count, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{grouped} {noun}{plural}")
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
