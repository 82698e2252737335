//! A gateway that runs nothing: two workers, two interfaces, one pool and a table of 250 sessions.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use natgw_api::types::{
    About, Cursor, Deleted, Drain, Endpoint, Explanation, Forward, Holder, Interface, Link, Mapping,
    Neighbor, NewForward, NicStats, Page, Pool, Query, Question, Readiness, Reloaded, Route, Session,
    Subscriber, Swept, Whose,
};
use natgw_api::{CaptureRequest, LISTING_TIMEOUT};
use natgw_config::{Diagnostic, LoadError};
use natgw_counters::{PoolCounters, PoolPorts, WorkerCounters};
use natgw_management::{
    Capture, ControlCounts, ForwardError, Gateway, LinkChanges, Mempool, Nic, ReloadError, Unavailable,
    Until, WorkerSnapshot, convert,
};
use natgw_nat::{Direction, DropReason, IpProtocol, PortBlocks, Protocol};

use crate::capture::FakeCapture;

pub(crate) const SESSIONS: u16 = 250;

/// The fake; its flags make it misbehave.
#[derive(Default)]
pub(crate) struct Fake {
    /// Workers don't answer: listings fail when their time is up.
    pub(crate) workers_hang: AtomicBool,
    /// The gateway itself doesn't answer for longer than it may.
    pub(crate) management_hangs: AtomicBool,
    pub(crate) not_ready: AtomicBool,
    pub(crate) file_is_wrong: AtomicBool,
    /// What each worker and each pool has counted, where a test says so.
    pub(crate) counted: Mutex<Option<(WorkerCounters, PoolCounters)>>,
    /// Captures always find another frame.
    pub(crate) is_busy: AtomicBool,
    /// Captures that run.
    pub(crate) captures: Arc<AtomicUsize>,
    /// Sessions that were to be ended, over all requests.
    pub(crate) deleted: Mutex<u64>,
    /// A drain under way.
    pub(crate) drain: Mutex<Option<Drain>>,
    /// Forwards that were added.
    pub(crate) added: Mutex<Vec<Forward>>,
}

impl Gateway for Fake {
    fn about(&self) -> About {
        About {
            version: "0.1.0".into(),
            dpdk: "DPDK \"22.11\"".into(),
            pid: 42,
            uptime_s: 7500,
            config_file: "gateway.toml".into(),
            config_generation: 1,
            memory: "no-huge".into(),
            idle: "backoff".into(),
            sessions_limit: 1_000_000,
            subscribers_limit: 250_000,
            tsc_hz: 2_600_000_000,
            drain: *self.drain.lock().unwrap(),
            ..About::default()
        }
    }

    fn readiness(&self) -> Readiness {
        let reasons: &[&str] = match self.not_ready.load(Ordering::Relaxed) {
            true => &["interface outside: link down", "gateway 203.0.113.1 does not answer ARP"],
            false => &[],
        };
        Readiness { ready: reasons.is_empty(), reasons: reasons.iter().map(ToString::to_string).collect() }
    }

    fn config(&self) -> serde_json::Value {
        serde_json::json!({ "dpdk": { "worker_lcores": [1, 2] } })
    }

    fn interfaces(&self) -> Vec<Interface> {
        let interface = |name: &str, addresses: &str| Interface {
            name: name.into(),
            device: format!("net_tap_{name}"),
            driver: "net_tap".into(),
            role: name.into(),
            addresses: vec![addresses.into()],
            mac: "02:00:00:00:00:01".into(),
            mtu: 1500,
            rx_queues: 2,
            tx_queues: 2,
            steering: "in software".into(),
            ..Interface::default()
        };
        vec![interface("inside", "10.64.0.1/24"), interface("outside", "203.0.113.2/24")]
    }

    fn nics(&self) -> Vec<Nic> {
        let link = Link { up: true, speed_mbps: Some(10_000), full_duplex: true };
        let stats = NicStats { rx_packets: 1, rx_missed: 5, ..NicStats::default() };
        let nic = Nic { link, stats, xstats: [("rx_q0_packets".into(), 9)].into() };
        vec![nic.clone(), nic]
    }

    fn control_counts(&self) -> ControlCounts {
        ControlCounts {
            links: vec![LinkChanges { ups: 2, downs: 1 }; 2],
            delayed: 3,
            ..ControlCounts::default()
        }
    }

    fn mempools(&self) -> Vec<Mempool> {
        vec![Mempool { name: "packets".into(), available: 8000, in_use: 192 }]
    }

    fn neighbors(&self) -> Vec<Neighbor> {
        let neighbor = |last, mac: Option<&str>, state: &'static str| Neighbor {
            address: Ipv4Addr::new(203, 0, 113, last),
            mac: mac.map(Into::into),
            interface: "outside".into(),
            state: state.into(),
            age_s: 61,
            gateway: last == 1,
        };
        vec![neighbor(1, Some("02:00:00:00:00:02"), "reachable"), neighbor(9, None, "incomplete")]
    }

    fn routes(&self) -> Vec<Route> {
        let via = Some(Ipv4Addr::new(203, 0, 113, 1));
        vec![Route { prefix: "0.0.0.0/0".into(), via, interface: "outside".into(), kind: "static".into() }]
    }

    fn pools(&self) -> Vec<Pool> {
        let pool = natgw_nat::Pool {
            name: "main".into(),
            addresses: (10..=12).map(|last| Ipv4Addr::new(203, 0, 113, last)).collect(),
            port_blocks: Some(PortBlocks { size: 512, per_subscriber: 4 }),
            ..natgw_nat::Pool::default()
        };
        let blocks = PoolPorts { used: 7, held: 1, total: 378 };
        let mut counters = PoolCounters { blocks, ..PoolCounters::default() };
        counters.ports[Protocol::Udp as usize] = PoolPorts { used: 250, held: 3, total: 193_536 };
        let counters = self.counted.lock().unwrap().map_or(counters, |(_, counted)| counted);
        vec![convert::pool(&pool, &counters)]
    }

    fn forwards(&self) -> Vec<Forward> {
        let of_file = Forward {
            id: "tcp-203.0.113.13-8080".into(),
            origin: "file".into(),
            kind: "port-forward".into(),
            protocol: Some(Protocol::Tcp),
            external: "203.0.113.13:8080".into(),
            internal: "10.64.0.12:80".into(),
            worker: 1,
        };
        std::iter::once(of_file).chain(self.added.lock().unwrap().iter().cloned()).collect()
    }

    fn workers(&self) -> Vec<WorkerSnapshot> {
        let mut counters = WorkerCounters::default();
        counters.nat.translated[Direction::Outbound as usize][Protocol::Tcp as usize] = 1000;
        counters.nat.dropped[DropReason::NoRule as usize][Direction::Outbound as usize] = 4;
        counters.nat.sessions[Protocol::Udp as usize] = 125;
        counters.interfaces[1].tx_packets = 1000;
        counters.polls = 4000;
        counters.empty_polls = 1000;
        [1, 3, 32].into_iter().for_each(|size| counters.burst_size.record(size));
        let counters = self.counted.lock().unwrap().map_or(counters, |(counted, _)| counted);
        [0, 1].map(|worker| WorkerSnapshot { worker, cpu: 1 + u32::from(worker), counters }).into()
    }

    fn subscribers(&self, top: usize) -> Result<Vec<Subscriber>, Unavailable> {
        self.wait()?;
        let subscriber = |last| Subscriber {
            address: Ipv4Addr::new(10, 64, 0, last),
            outside: Some(Ipv4Addr::new(203, 0, 113, 10)),
            pool: Some("main".into()),
            sessions: 250 - u32::from(last),
            ports: 20,
            blocks: vec!["1024-1535".into()],
            worker: 0,
        };
        Ok((10..20).map(subscriber).take(top).collect())
    }

    fn whose(&self, whose: Whose) -> Vec<Holder> {
        let held = Holder {
            inside: Ipv4Addr::new(10, 64, 0, 10),
            outside: Ipv4Addr::new(203, 0, 113, 10),
            ports: "1024-1535".into(),
            pool: "main".into(),
            kind: "block".into(),
        };
        let is_held = whose == Whose::Subscriber(held.inside) || whose.to_string() == "203.0.113.10:1500";
        is_held.then_some(held).into_iter().collect()
    }

    fn mappings(&self, query: &Query) -> Result<Page<Mapping>, Unavailable> {
        self.wait()?;
        let mapping = Mapping {
            protocol: IpProtocol(17),
            inside: endpoint([10, 64, 0, 10], 1000),
            outside: endpoint([203, 0, 113, 10], 40_000),
            remote: None,
            kind: "pool".into(),
            pool: Some("main".into()),
            sessions: 250,
            resting: false,
            age_s: 5,
            worker: 0,
        };
        let asked = query.filter.inside.is_none_or(|inside| inside == mapping.inside.address);
        Ok(Page { items: asked.then_some(mapping).into_iter().collect(), next_cursor: None })
    }

    fn sessions(&self, query: &Query) -> Result<Page<Session>, Unavailable> {
        self.wait()?;
        let start = query.cursor.map_or(0, |cursor| cursor.position as u16);
        let all = (start..SESSIONS).map(session);
        let asked = all.filter(|session| is_asked_for(session, &query.filter));
        let items: Vec<Session> = asked.take(query.limit).collect();
        let next = items.last().map_or(SESSIONS, |last| last.inside.port.expect("a port") - 1000 + 1);
        let next_cursor = (next < SESSIONS).then(|| Cursor { worker: 0, position: next.into() });
        Ok(Page { items, next_cursor })
    }

    fn explain(&self, question: &Question) -> Result<Explanation, Unavailable> {
        self.wait()?;
        Ok(Explanation {
            direction: question.direction.map_or("outbound", Direction::name).into(),
            worker: 1,
            outcome: "new-session".into(),
            rule: Some(2),
            kind: Some("pool".into()),
            pool: Some("main".into()),
            filtering: Some("address-dependent".into()),
            destination: Some(question.destination),
            route: self.routes().pop(),
            next_hop: Some(Ipv4Addr::new(203, 0, 113, 1)),
            neighbor: self.neighbors().into_iter().next(),
            ..Explanation::default()
        })
    }

    fn capture(&self, request: &CaptureRequest) -> Result<Box<dyn Capture>, Unavailable> {
        self.wait()?;
        self.captures.fetch_add(1, Ordering::Relaxed);
        let frames = if self.is_busy.load(Ordering::Relaxed) { u32::MAX } else { 3 };
        Ok(Box::new(FakeCapture::new(request, frames, Arc::clone(&self.captures))))
    }

    fn delete_sessions(&self, filter: &natgw_nat::Filter) -> Result<Deleted, Unavailable> {
        self.wait()?;
        let sessions = (0..SESSIONS).filter(|&n| is_asked_for(&session(n), filter)).count() as u64;
        *self.deleted.lock().unwrap() += sessions;
        Ok(Deleted { sessions })
    }

    fn add_forward(&self, forward: &NewForward) -> Result<Forward, ForwardError> {
        let id = format!("{}-{}", forward.protocol, forward.external.replace(':', "-"));
        if forward.internal.parse::<SocketAddrV4>().is_err() {
            let mistake = mistake(&format!("forward {id}"), 0, "internal, found none");
            return Err(ReloadError::from(LoadError::Wrong(vec![mistake])).into());
        }
        let added = Forward {
            id,
            origin: "api".into(),
            kind: "port-forward".into(),
            protocol: Some(Protocol::Tcp),
            external: forward.external.clone(),
            internal: forward.internal.clone(),
            worker: 0,
        };
        self.added.lock().unwrap().push(added.clone());
        Ok(added)
    }

    fn delete_forward(&self, id: &str) -> Result<(), ForwardError> {
        let mut added = self.added.lock().unwrap();
        match added.iter().position(|forward| forward.id == id) {
            Some(place) => drop(added.remove(place)),
            None if id == "tcp-203.0.113.13-8080" => return Err(ForwardError::InFile),
            None => return Err(ForwardError::Unknown),
        }
        Ok(())
    }

    fn reload(&self, until: Until) -> Result<Reloaded, ReloadError> {
        match self.file_is_wrong.load(Ordering::Relaxed) {
            true => {
                let mistakes = [mistake("gateway.toml", 3, "first"), mistake("gateway.toml", 7, "second")];
                Err(LoadError::Wrong(mistakes.into()).into())
            }
            false => Ok(Reloaded {
                config_generation: 2,
                needs_restart: vec!["interfaces".into(), "nat.pools".into()],
                warnings: vec!["gateway.toml:9: hardly meant".into()],
                swept: (until == Until::Swept).then_some(Swept { sessions_ended: 12, mappings_ended: 3 }),
            }),
        }
    }

    fn drain(&self, limit: Option<Duration>) -> Result<Drain, Unavailable> {
        self.wait()?;
        let drain = Drain { sessions: SESSIONS.into(), ends_in_s: limit.map(|limit| limit.as_secs()) };
        *self.drain.lock().unwrap() = Some(drain);
        Ok(drain)
    }

    fn stop_drain(&self) -> Result<(), Unavailable> {
        self.wait()?;
        *self.drain.lock().unwrap() = None;
        Ok(())
    }
}

impl Fake {
    fn wait(&self) -> Result<(), Unavailable> {
        if self.management_hangs.load(Ordering::Relaxed) {
            std::thread::sleep(LISTING_TIMEOUT + Duration::from_secs(1));
        }
        match self.workers_hang.load(Ordering::Relaxed) {
            true => Err(Unavailable::NoAnswer { worker: 1 }),
            false => Ok(()),
        }
    }
}

fn mistake(file: &str, line: usize, what: &str) -> Diagnostic {
    Diagnostic { file: file.into(), line, what: what.into(), found: None, allowed: None }
}

fn is_asked_for(session: &Session, filter: &natgw_nat::Filter) -> bool {
    let addresses =
        [(filter.inside, session.inside), (filter.outside, session.outside), (filter.remote, session.remote)];
    let ports = [session.inside.port, session.outside.port, session.remote.port];
    addresses.iter().all(|(asked, endpoint)| asked.is_none_or(|asked| asked == endpoint.address))
        && filter.protocol.is_none_or(|asked| IpProtocol::of(asked, 0) == session.protocol)
        && filter.port.is_none_or(|asked| ports.contains(&Some(asked)))
}

fn endpoint(address: [u8; 4], port: u16) -> Endpoint {
    SocketAddrV4::new(address.into(), port).into()
}

fn session(n: u16) -> Session {
    Session {
        protocol: IpProtocol(if n.is_multiple_of(2) { 17 } else { 6 }),
        inside: endpoint([10, 64, 0, 10], 1000 + n),
        outside: endpoint([203, 0, 113, 10], 40_000 + n),
        remote: endpoint([198, 51, 100, 1], 443),
        remote_inside: None,
        state: "established".into(),
        age_s: 5,
        expires_in_s: 7435,
        packets_out: 10,
        packets_in: 12,
        pool: Some("main".into()),
        worker: 0,
    }
}
