//! `natctl explain`: what would become of a packet, a line for everything that has a part in it.

use std::fmt::Display;

use clap::{Args, ValueEnum};

use natgw_api::types::{Endpoint, Explanation, Holder};
use natgw_nat::IpProtocol;

/// The first packet of a flow.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Protocol: udp, tcp, icmp, gre, esp, sctp, udp-lite, dccp or a number.
    #[arg(value_name = "PROTO")]
    protocol: IpProtocol,
    /// Source; of ICMP, ADDRESS:IDENTIFIER; of protocols other than these three, ADDRESS.
    #[arg(value_name = "SRC:PORT")]
    source: Endpoint,
    /// Destination; of ICMP, ADDRESS, or ADDRESS:IDENTIFIER of a reply; of protocols other than these three, ADDRESS.
    #[arg(value_name = "DST:PORT")]
    destination: Endpoint,
    /// The side that the packet arrives on, where it is not the one that the route to its source leads to.
    #[arg(long, value_name = "SIDE")]
    from: Option<Side>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Side {
    Inside,
    Outside,
}

impl Asked {
    /// What to ask the API for.
    pub(super) fn path(&self) -> String {
        let Asked { protocol, source, destination, from } = self;
        let direction = match from {
            Some(Side::Inside) => "&direction=outbound",
            Some(Side::Outside) => "&direction=inbound",
            None => "",
        };
        format!("explain?protocol={protocol}&source={source}&destination={destination}{direction}")
    }
}

/// The lines for people.
pub(super) fn text(explanation: &Explanation) -> String {
    let mut lines = Lines(String::new());
    lines.write(explanation);
    let mut then = &explanation.then;
    while let Some(explanation) = then {
        lines.0.push('\n');
        lines.write(explanation);
        then = &explanation.then;
    }
    lines.0
}

struct Lines(String);

impl Lines {
    fn fact(&mut self, name: &str, fact: impl Display) {
        self.0.push_str(&format!("{name:<12}{fact}\n"));
    }

    fn fact_if(&mut self, name: &str, fact: Option<impl Display>) {
        if let Some(fact) = fact {
            self.fact(name, fact);
        }
    }

    fn write(&mut self, explanation: &Explanation) {
        let reason = explanation.reason.as_deref().unwrap_or_default();
        let outcome = match &*explanation.outcome {
            "session" => "forwarded by a session".to_owned(),
            "new-session" => "forwarded, and begins a session".to_owned(),
            "mapping" => "forwarded by a mapping, without a session".to_owned(),
            "local" => "for the gateway itself".to_owned(),
            "reject" => format!("dropped: {reason}, and the sender is told"),
            _ => format!("dropped: {reason}"),
        };
        self.fact("outcome", outcome);
        self.fact_if("decided by", explanation.key.as_ref());
        self.fact("worker", format!("{}, {}", explanation.worker, explanation.direction));
        self.fact_if("rule", explanation.rule);
        self.fact_if("subscriber", explanation.subscriber.as_ref());
        self.fact_if("outside by", explanation.kind.as_ref());
        let pool = explanation.pool.as_ref();
        let filtering = explanation.filtering.as_deref().unwrap_or_default();
        self.fact_if("pool", pool.map(|pool| format!("{pool}, {filtering} filtering")));
        self.fact_if("port block", explanation.port_block.as_ref());
        for Holder { inside, outside, ports, pool, kind } in &explanation.holders {
            self.fact("ports of", format!("{inside}: {outside}:{ports}, {kind}, pool {pool}"));
        }
        self.fact_if(
            "mapping",
            explanation.mapping.as_ref().map(|mapping| {
                let sessions = if mapping.resting {
                    "resting".into()
                } else {
                    format!("sessions: {}", mapping.sessions)
                };
                format!("{} is {} outside, {sessions}", mapping.inside, mapping.outside)
            }),
        );
        self.fact_if(
            "session",
            explanation.session.as_ref().map(|session| {
                format!(
                    "{} to {}, {}, ends in {} s, packets out {} and in {}",
                    session.inside,
                    session.remote,
                    session.state,
                    session.expires_in_s,
                    session.packets_out,
                    session.packets_in
                )
            }),
        );
        if explanation.is_forwarded() {
            let drawn =
                |end: Option<Endpoint>| end.map_or_else(|| "a free port".into(), |end| end.to_string());
            let arrow = format!("{} -> {}", drawn(explanation.source), drawn(explanation.destination));
            self.fact("leaves as", arrow);
        }
        if explanation.hairpins {
            self.fact("hairpins", "the destination is an outside endpoint of this gateway");
        }
        self.fact_if(
            "route",
            explanation.route.as_ref().map(|route| match route.via {
                Some(via) => format!("{} via {via} on {}", route.prefix, route.interface),
                None => format!("{} on {}", route.prefix, route.interface),
            }),
        );
        let mac = explanation.neighbor.as_ref().map_or_else(
            || "not asked for yet".into(),
            |neighbor| format!("{} {}", neighbor.mac.as_deref().unwrap_or("-"), neighbor.state),
        );
        self.fact_if("next hop", explanation.next_hop.map(|hop| format!("{hop}, {mac}")));
    }
}
