//! The data plane's life: from start to teardown and again, under everything at once.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use natgw_nat::{Filter, MappingView, SessionView};
use natgw_worker::{Command, Listing, Page, RequestId, Rows};

use crate::lab::{Lab, ROUTER, Seen, Sent, Setup, Side};
use crate::packet::{ACK, Kind, Packet, SYN};
use crate::{allocations, main_lcore};

const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const KINDS: [Kind; 3] = [Kind::Udp, Kind::Tcp(SYN), Kind::EchoRequest];

fn host(nth: u16) -> Ipv4Addr {
    let [high, low] = nth.to_be_bytes();
    Ipv4Addr::new(10, 64, 1 + high, low)
}

fn out(kind: Kind, host: Ipv4Addr, port: u16) -> Packet {
    let remote = if kind == Kind::EchoRequest { 0 } else { 443 };
    Packet::new(kind, SocketAddrV4::new(host, port), SocketAddrV4::new(REMOTE, remote), b"whole")
}

fn misled(lab: &Lab, side: Side, packets: &[Packet]) -> Vec<Sent> {
    packets.iter().enumerate().map(|(nth, packet)| lab.misled(side, packet, nth)).collect()
}

fn answers(seen: &[Seen]) -> Vec<Packet> {
    seen.iter().map(|seen| seen.packet().answer()).collect()
}

#[test]
fn a_second_data_plane_starts_where_the_first_one_was() {
    main_lcore::run(|eal| {
        for workers in [2, 4, 1, 3, 3] {
            let mut lab = Setup::new(workers).start(eal);
            lab.learn_all([host(1)]);
            for kind in KINDS {
                let there = lab.one(Side::Inside, &out(kind, host(1), 5000));
                let back = lab.one(Side::Outside, &there.packet().answer());
                assert_eq!((there.side, back.side), (Side::Outside, Side::Inside));
            }
            lab.take_down();
        }
    });
}

/// Frames everywhere: on the wires, in a ring of a worker that has ended, in hold queues, and just on their way.
#[test]
fn every_buffer_comes_back_from_wherever_it_is() {
    main_lcore::run(|eal| {
        let mut lab = Setup { room: 64, ..Setup::new(3) }.start(eal);
        lab.learn(Side::Outside, ROUTER);
        let hosts = (2..).map(host);
        let hosts: Vec<Ipv4Addr> = { hosts }.take(60).collect();
        let there = lab.exchange(
            misled(
                &lab,
                Side::Inside,
                &hosts.iter().map(|&host| out(Kind::Udp, host, 5000)).collect::<Vec<_>>(),
            ),
            60,
        );
        for answer in answers(&there) {
            lab.send(&lab.misled(Side::Outside, &answer, 0));
        }
        assert_eq!(
            lab.rest().iter().map(|counters| counters.held).sum::<u64>(),
            60,
            "nobody knows the hosts"
        );
        lab.stop(1);
        for nth in 0..3000 {
            let packet = out(Kind::Udp, hosts[nth % hosts.len()], 6000);
            let frame = lab.frame(Side::Inside, &packet);
            lab.send(&Sent { side: Side::Inside, queue: nth % 3, frame });
        }
        lab.take_down();
    });
}

/// Everything that a worker can come to do, and not one allocation from the first moment on.
#[test]
fn workers_allocate_nothing() {
    Setup::new(3).run(|lab| {
        let before = allocations::on_workers();
        lab.learn_all((1..100).map(host));
        for round in 0..3 {
            let packets: Vec<Packet> = (1..120)
                .flat_map(|nth| KINDS.map(|kind| out(kind, host(nth), 5000 + round)))
                .filter(|packet| packet.from.ip() < &host(100))
                .collect();
            let there = lab.exchange(misled(lab, Side::Inside, &packets), packets.len());
            let back = answers(&there);
            lab.exchange(misled(lab, Side::Outside, &back), back.len());
            let errors: Vec<Packet> =
                there.iter().map(|seen| Packet::error(11, 0, ROUTER, &seen.packet())).collect();
            lab.exchange(misled(lab, Side::Outside, &errors), errors.len());
            let hairpinned: Vec<Packet> = there
                .iter()
                .map(|seen| seen.packet())
                .filter(|packet| packet.kind == Kind::Udp)
                .map(|packet| Packet { to: packet.from, ..out(Kind::Udp, host(7), 9000) })
                .collect();
            lab.exchange(misled(lab, Side::Inside, &hairpinned), hairpinned.len());
            let dying: Vec<Packet> =
                packets.iter().map(|packet| Packet { ttl: 1, ..packet.clone() }).collect();
            lab.exchange(misled(lab, Side::Inside, &dying), dying.len());
            let pings =
                Packet { to: SocketAddrV4::new(Side::Inside.own(), 0), ..out(Kind::EchoRequest, host(3), 7) };
            lab.one(Side::Inside, &pings);
            // Unknown neighbours, the listing of every table, and a neighbour that goes and comes.
            for nth in 200..240 {
                lab.send_packet(Side::Outside, &out(Kind::Udp, ROUTER, 1000 + nth));
            }
            assert!(!sessions(lab, |_| {}).is_empty());
            lab.dataplane().tell_all(|| Command::Forget(Side::Inside.interface(), host(5).to_bits()));
            lab.rest();
            lab.learn(Side::Inside, host(5));
        }
        lab.rest();
        assert_eq!(allocations::on_workers() - before, 0);
    });
}

#[test]
fn a_listing_of_20_000_sessions_is_complete_while_traffic_runs() {
    const HOSTS: u16 = 200;
    const PORTS: u16 = 100;
    Setup::new(3).run(|lab| {
        lab.learn_all((0..HOSTS).map(host));
        let packets: Vec<Packet> = (0..HOSTS)
            .flat_map(|nth| (0..PORTS).map(move |port| out(Kind::Udp, host(nth), 10_000 + port)))
            .collect();
        lab.exchange(misled(lab, Side::Inside, &packets), packets.len());
        let busy: Vec<Packet> = packets.iter().step_by(40).cloned().collect();
        let rows = sessions(lab, |lab| {
            let there = lab.exchange(misled(lab, Side::Inside, &busy), busy.len());
            let back = answers(&there);
            lab.exchange(misled(lab, Side::Outside, &back), back.len());
        });
        assert_eq!(rows.len(), packets.len());
        let listed: HashSet<(u32, u16)> =
            rows.iter().map(|row| (row.internal.address, row.internal.port)).collect();
        let made: HashSet<(u32, u16)> =
            packets.iter().map(|packet| (packet.from.ip().to_bits(), packet.from.port())).collect();
        assert_eq!(listed, made);
        assert_eq!(mappings(lab).len(), packets.len());
        assert_eq!(crate::lab::drops(&lab.rest()[0]), []);
    });
}

#[test]
fn a_listing_takes_what_is_asked_for() {
    Setup::new(2).run(|lab| {
        lab.learn_all((0..20).map(host));
        let packets: Vec<Packet> =
            (0..20).flat_map(|nth| [1, 2].map(|port| out(Kind::Tcp(SYN), host(nth), port))).collect();
        lab.exchange(misled(lab, Side::Inside, &packets), packets.len());
        let acks: Vec<Packet> =
            packets.iter().map(|packet| Packet { kind: Kind::Tcp(ACK), ..packet.clone() }).collect();
        lab.exchange(misled(lab, Side::Inside, &acks), acks.len());
        let owner = lab.owner(Side::Inside, &packets[0]).index();
        let filter = Filter { inside: Some(host(0)), ..Filter::default() };
        let page = wait_for(lab, &ask(lab, owner, filter, 0, Rows::Sessions(Vec::with_capacity(8))), |_| {});
        let Rows::Sessions(rows) = page.rows else { panic!("{page:?}") };
        assert_eq!((page.next, rows.len()), (None, 2));
        assert!(rows.iter().all(|row| row.internal.address == host(0).to_bits() && row.packets == [2, 0]));
        // Who asks and goes away stops nothing.
        drop(ask(lab, owner, filter, 0, Rows::Sessions(Vec::with_capacity(1))));
        assert_eq!(sessions(lab, |_| {}).len(), packets.len());
    });
}

#[test]
fn a_page_without_rows_ends_when_its_lines_have_been_looked_at() {
    Setup::new(1).run(|lab| {
        lab.learn_all((0..200).map(host));
        let packets: Vec<Packet> = (0..200)
            .flat_map(|nth| (0..100).map(move |port| out(Kind::Udp, host(nth), 10_000 + port)))
            .collect();
        lab.exchange(misled(lab, Side::Inside, &packets), packets.len());
        let (nobody, mut from, mut pages) =
            (Filter { port: Some(9), ..Filter::default() }, Some(0), Vec::new());
        while let Some(position) = from {
            let asked = ask(lab, 0, nobody, position, Rows::Sessions(Vec::with_capacity(PAGE)));
            from = wait_for(lab, &asked, |_| {}).next;
            pages.push(from);
        }
        assert_eq!(pages, [Some(LINES), Some(2 * LINES), None], "of {} lines", packets.len());
    });
}

/// Rows of a page.
const PAGE: usize = 1000;
/// Lines of a table looked at for a page: no multiple of those of a round.
const LINES: u32 = 8000;

/// All sessions of all workers, with `meanwhile` going on until each page is there.
fn sessions(lab: &mut Lab, meanwhile: impl FnMut(&mut Lab)) -> Vec<SessionView> {
    let rows = pages(lab, || Rows::Sessions(Vec::with_capacity(PAGE)), meanwhile).into_iter();
    rows.flat_map(|rows| if let Rows::Sessions(rows) = rows { rows } else { panic!("mappings") }).collect()
}

fn mappings(lab: &mut Lab) -> Vec<MappingView> {
    let rows = pages(lab, || Rows::Mappings(Vec::with_capacity(PAGE)), |_| {}).into_iter();
    rows.flat_map(|rows| if let Rows::Mappings(rows) = rows { rows } else { panic!("sessions") }).collect()
}

/// A table of all workers, page by page.
fn pages(lab: &mut Lab, empty: fn() -> Rows, mut meanwhile: impl FnMut(&mut Lab)) -> Vec<Rows> {
    let mut pages = Vec::new();
    for worker in 0..lab.dataplane().workers().len() {
        let mut from = Some(0);
        while let Some(position) = from {
            let asked = ask(lab, worker, Filter::default(), position, empty());
            let page = wait_for(lab, &asked, &mut meanwhile);
            pages.push(page.rows);
            from = page.next;
        }
    }
    pages
}

fn ask(lab: &Lab, worker: usize, filter: Filter, from: u32, rows: Rows) -> Receiver<Page> {
    let (answer, answered) = bounded(1);
    let listing = Listing { id: RequestId::next(), filter, from, lines: LINES, rows, answer };
    lab.dataplane().workers()[worker].commands.send(Command::List(listing)).unwrap();
    answered
}

fn wait_for(lab: &mut Lab, answered: &Receiver<Page>, mut meanwhile: impl FnMut(&mut Lab)) -> Page {
    loop {
        meanwhile(lab);
        match answered.try_recv() {
            Ok(page) => return page,
            Err(TryRecvError::Empty) => std::thread::yield_now(),
            Err(TryRecvError::Disconnected) => panic!("the listing was given up"),
        }
    }
}
