//! Requests of management to a worker, many at once.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use natgw_nat::{Direction, Endpoint, Explanation, Filter, Protocol, Question, Tuple};
use natgw_worker::{Command, Deleted, Deletion, Listing, Page, REQUESTS_MAX, RequestId, Rows};

use crate::lab::{Lab, Sent, Setup, Side};
use crate::packet::{Kind, Packet};

const HOSTS: u16 = 48;
const PORTS: u16 = 50;
const REMOTE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 443);
const PATIENCE: Duration = Duration::from_secs(20);

fn host(nth: u16) -> Ipv4Addr {
    Ipv4Addr::new(10, 64, 1, nth as u8)
}

fn of(nth: u16) -> Filter {
    Filter { inside: Some(host(nth)), ..Filter::default() }
}

/// Each command to every worker.
fn ask<T>(lab: &Lab, command: impl Fn(crossbeam_channel::Sender<T>) -> Command) -> Vec<Receiver<T>> {
    let workers = lab.dataplane().workers().iter();
    let ask = |commands: &crossbeam_channel::Sender<Command>| {
        let (answer, answered) = bounded(1);
        commands.send(command(answer)).unwrap();
        answered
    };
    workers.map(|worker| ask(&worker.commands)).collect()
}

fn list(lab: &Lab, filter: Filter) -> Vec<Receiver<Page>> {
    let rows = || Rows::Sessions(Vec::with_capacity(2 * usize::from(PORTS)));
    ask(lab, |answer| {
        let (id, lines) = (RequestId::next(), u32::MAX);
        Command::List(Listing { id, filter, from: 0, lines, rows: rows(), answer })
    })
}

fn delete(lab: &Lab, filter: Filter) -> Vec<Receiver<Deleted>> {
    let deletion = |answer| Deletion { id: RequestId::next(), filter, from: 0, sessions: 0, answer };
    ask(lab, |answer| Command::Delete(deletion(answer)))
}

fn explain(lab: &Lab, nth: u16) -> Vec<Receiver<Explanation>> {
    let end = |address: Ipv4Addr, port| Endpoint::new(address, port);
    let tuple = Tuple::new(end(host(nth), 10_000), end(*REMOTE.ip(), REMOTE.port()));
    let direction = Direction::Outbound;
    let question = Question { protocol: Protocol::Udp, tuple, direction, hairpinned: false };
    ask(lab, |answer| Command::Explain(question, answer))
}

/// As many as a worker takes: listings and deletions, of a host each, and explanations between them. Each answer is about
/// the host that was asked for.
#[test]
fn as_many_requests_at_once_as_a_worker_takes_are_each_answered_with_their_own() {
    Setup::new(2).run(|lab| {
        lab.learn_all((0..HOSTS).map(host));
        let flows = (0..HOSTS).flat_map(|nth| (0..PORTS).map(move |port| (host(nth), 10_000 + port)));
        let packets: Vec<Packet> = flows
            .map(|(host, port)| Packet::new(Kind::Udp, SocketAddrV4::new(host, port), REMOTE, b"one"))
            .collect();
        let sent: Vec<Sent> =
            packets.iter().enumerate().map(|(nth, one)| lab.misled(Side::Inside, one, nth)).collect();
        lab.exchange(sent, packets.len());

        assert!(usize::from(HOSTS) + usize::from(HOSTS / 3) <= REQUESTS_MAX);
        let asked: Vec<_> = (0..HOSTS)
            .map(|nth| {
                let deleted = (nth % 3 == 0).then(|| delete(lab, of(nth)));
                // Those of the next host stay.
                let listed = list(lab, of(if nth % 3 == 0 { nth + 1 } else { nth }));
                (deleted, listed, explain(lab, nth))
            })
            .collect();
        for (nth, (deleted, listed, explained)) in (0..).zip(asked) {
            let whose = host(if nth % 3 == 0 { nth + 1 } else { nth }).to_bits();
            let mut rows = Vec::new();
            for page in listed.iter().map(|page| page.recv_timeout(PATIENCE).expect("an answer")) {
                assert!(!page.refused);
                let Rows::Sessions(page) = page.rows else { panic!("mappings for sessions") };
                rows.extend(page);
            }
            assert_eq!(rows.len(), usize::from(PORTS), "of host {nth}");
            assert!(rows.iter().all(|row| row.internal.address == whose));
            let mut ended = 0;
            for answer in deleted.iter().flatten().map(|answer| answer.recv_timeout(PATIENCE)) {
                let Ok(Deleted::All(sessions)) = answer else { panic!("{answer:?}") };
                ended += sessions;
            }
            assert_eq!(ended, if nth % 3 == 0 { PORTS.into() } else { 0 });
            assert!(explained.iter().all(|answer| answer.recv_timeout(PATIENCE).is_ok()));
        }
    });
}
